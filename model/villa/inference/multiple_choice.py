"""Multiple choice: which of several names the model thinks a request about a video means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from villa.inference.answering import encode_clip, focused, prompt_about
from villa.interface import ClipFrame, Rgb, finish
from villa.modeling import packed_forward
from villa.modeling.language.tokenizer import SEG
from villa.modeling.objects.referring_head import tokens_of
from villa.modeling.villa import ViLLaModel


@torch.inference_mode()
def rank(
    model: ViLLaModel,
    video: Sequence[Rgb],
    text: str,
    names: Sequence[str],
    *,
    fps: float = 10.0,
    history: Sequence[tuple[str, str]] = (),
    newest: bool = False,
) -> tuple[float, ...]:
    """How likely each name is the answer to a request: log-probabilities of "The NAME [SEG].", in the order of `names`.

    `newest`: the request is about the last of the images, as it is live. The names are not told to the model; it says
    how likely it would have said each.

    Raises:
        ValueError: the video has no frame, or there is no name.
        RequestError: the request is too long.
    """
    if not names:
        raise ValueError("there is nothing to choose from: wanted at least one name")
    clip = [ClipFrame(t / fps, partial(video.__getitem__, t)) for t in range(len(video))]
    encoded = finish(encode_clip(model, text, clip, model.config.clip_frames, newest=newest))
    prompt = prompt_about(model, encoded, text, history)
    answers = [tuple(model.codec.answer_ids(f"The {name} {SEG}.")) for name in names]
    questions = [packed_forward.Question(prompt, answer) for answer in answers]
    shown = tokens_of(focused(model, prompt, encoded.visual), encoded.visual.tokens)
    focus = [shown] * len(questions)
    packed = packed_forward.forward(model, encoded.visual, encoded.times_s, questions, focus=focus, every_frame=False)
    chances = model.language.logits(packed.states).float().log_softmax(dim=-1)
    taught = (packed.labels != packed_forward.IGNORE).nonzero().flatten()
    each = chances[taught, packed.labels[taught]]
    return tuple(float(part.sum()) for part in torch.split(each, [len(answer) for answer in answers]))
