"""How fast a named configuration is at its real size, part by part, with random weights: no download, no data.

Speed does not depend on what weights say, as long as as much is computed: the answer is forced, objects always count as
seen, and memories are filled before the fast pass is timed. What the masks look like is not measured here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from itertools import count as count_from
from multiprocessing import get_context
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from villa_ros.bench.device import device_of, free_bytes, name_of, peak_bytes
from villa_ros.bench.model_report import ModelBench, Timed
from villa_ros.runtime.process import PARENT_VARIABLE, end_with_parent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from villa.checkpoints.presets import NamedConfig
    from villa.interface import ClipFrame, Rgb
    from villa.modeling.language.interface import Visual
    from villa.modeling.segmenters.interface import Masks, Memory, Pyramid
    from villa.modeling.villa import ViLLaModel

HEIGHT, WIDTH = 480, 640  # px
CLIP_FRAMES = 8  # that a request is made about
FULL_AFTER = 18  # carried frames after which the memory of every family is as full as it gets
REQUEST = "follow the red mug that stands left of the carton"
_PERIOD_S = 0.1
T = TypeVar("T")


class ModelBenchError(RuntimeError):
    """A configuration cannot be measured here."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Raises:
        ModelBenchError: a value that cannot be.
    """

    device: str = ""  # empty: cuda where there is one, else cpu
    dtype: str = ""  # empty: bfloat16 on cuda, float32 on a CPU
    objects: tuple[int, ...] = (1, 5, 20)
    answer_tokens: int = 20  # [SEG] among them
    repeats: int = 5
    budget_s: float = 20.0  # for one number; what is slower is repeated less often
    threads: int = 0  # 0: torch decides
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.dtype not in ("", "float32", "bfloat16"):
            raise ModelBenchError(f"the type is {self.dtype!r}: wanted float32 or bfloat16")
        if min(self.objects, default=0) < 1:
            raise ModelBenchError(f"objects are {list(self.objects)}: wanted at least one number, from 1 on")
        if self.answer_tokens < 2:
            raise ModelBenchError(f"the answer has {self.answer_tokens} tokens: wanted at least 2")


def measure(named: NamedConfig, options: Options) -> ModelBench:
    """Build a configuration with random weights and measure it in this process.

    Raises:
        ModelBenchError: the device's memory does not hold the model.
        DeviceError: there is no such device.
    """
    import torch

    from villa.inference.out_of_memory import DeviceMemoryError

    device = device_of(options.device)
    try:
        with torch.inference_mode():
            return _Run(named, options, device).go()
    except (torch.OutOfMemoryError, DeviceMemoryError) as error:
        raise ModelBenchError(f"{named.name} does not fit into the memory of {device}: {error}") from error


def measure_apart(named: NamedConfig, options: Options) -> ModelBench:
    """The same in a process of its own: its peak memory is this model's alone, and is given back.

    Raises:
        ModelBenchError: as `measure`, or the process was killed.
        DeviceError: there is no such device.
    """
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin, initargs=(os.getpid(),)) as pool:
        try:
            return pool.submit(measure, named, options).result()
        except BrokenProcessPool as error:
            raise ModelBenchError(
                f"the process that measured {named.name} was killed, most likely for want of memory"
            ) from error


def _begin(parent: int) -> None:
    """A benchmark that is killed leaves no process with gigabytes of weights behind."""
    os.environ[PARENT_VARIABLE] = str(parent)
    end_with_parent()


class _Run:
    """One model, what it is shown, and a clock."""

    def __init__(self, named: NamedConfig, options: Options, device: torch.device) -> None:
        import torch

        from villa import ViLLa
        from villa.checkpoints.checkpoint import channels_last
        from villa.checkpoints.presets import build
        from villa.config import CausalConfig
        from villa.interface import ClipFrame
        from villa.training.model_size import gigabytes, size_of

        self.named, self.options, self.device = named, options, device
        if options.threads:
            torch.set_num_threads(options.threads)
        wanted = options.dtype or ("bfloat16" if device.type == "cuda" else "float32")
        # The small default is made for float32 and always loaded so.
        self.dtype = "float32" if isinstance(named.config.language, CausalConfig) else wanted
        # Before the machine begins to swap or to kill: the weights alone have to fit.
        need, free = size_of(named).weight_bytes(self.dtype), free_bytes(device)
        if need > free:
            raise ModelBenchError(
                f"{named.name} needs {gigabytes(need)} for its weights in {self.dtype}, {gigabytes(free)} are free on "
                f"{device}"
            )
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        torch.manual_seed(0)
        self.model = build(named, None, device, getattr(torch, self.dtype))
        self.model.config = replace(
            self.model.config,
            least_presence=0.0,  # random weights see nothing: every object counts as visible
            max_new_tokens=max(options.answer_tokens + 1, self.model.config.max_new_tokens),
        )
        if isinstance(named.config.language, CausalConfig):  # as a checkpoint of it is loaded
            channels_last(self.model.segmenter.encoder)  # type: ignore[arg-type]
        if options.compile:
            ViLLa(self.model).compile_fast_pass()
        rng = np.random.default_rng(0)
        self.images: list[Rgb] = [rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(CLIP_FRAMES)]
        self.clip: list[ClipFrame] = [
            ClipFrame(t * _PERIOD_S, partial(self.images.__getitem__, t)) for t in range(CLIP_FRAMES)
        ]
        self.frames = min(self.model.config.clip_frames, CLIP_FRAMES)

    def go(self) -> ModelBench:
        """All measurements, in the order in which a request needs them."""
        import torch

        model = self.model
        encode, _ = self.timed(lambda: model.encode(self.images[0]))
        features = [model.encode(image) for image in self.images]
        times = torch.tensor([_PERIOD_S * (self.frames - 1 - t) for t in range(self.frames)], device=self.device)
        see, visual = self._see(features, times)
        words = _Words(model, visual, times)
        prefill, _ = self.timed(words.read)
        prefill_whole, _ = self.timed(lambda: words.read(words.length))
        token, _ = self.timed(words.say_one)
        frm_pass, states = self.timed(words.frame_states)
        decode, seed, memory = self._drawn(features, words, states, visual)
        fast = self._fast(memory)
        self._force_answer()
        first_mask, _ = self.timed(lambda: self._request(self.clip))
        encoded = [replace(frame, features=seen) for frame, seen in zip(self.clip, features, strict=True)]
        first_mask_encoded, _ = self.timed(lambda: self._request(encoded))
        peak, kind = peak_bytes(self.device)
        return ModelBench(
            name=self.named.name,
            device=name_of(self.device),
            dtype=self.dtype,
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            compiled=self.options.compile,
            parameters=sum(p.numel() for p in model.parameters()),
            frames=self.frames,
            visual_tokens=visual.grid[0] * visual.grid[1],
            prompt_tokens=words.length,
            answer_tokens=self.options.answer_tokens,
            encode=encode,
            see=see,
            prefill=prefill,
            prefill_whole=prefill_whole,
            token=token,
            frm_pass=frm_pass,
            decode=decode,
            seed=seed,
            fast=fast,
            first_mask=first_mask,
            first_mask_encoded=first_mask_encoded,
            peak_bytes=peak,
            peak_kind=kind,
        )

    def timed(self, work: Callable[[], T]) -> tuple[Timed, T]:
        """Median time of some work, after one run to warm up; what takes longer than the budget is run once."""
        took, result = self._clocked(work)
        if self.options.compile:  # the first run was for the compiler
            took, result = self._clocked(work)
        spent: list[float] = []
        runs = min(self.options.repeats, int(self.options.budget_s / max(took, 1e-6)))
        for _ in range(runs):
            once, result = self._clocked(work)
            spent.append(once)
        spent = spent or [took]
        return Timed(1e3 * median(spent), len(spent)), result

    def _clocked(self, work: Callable[[], T]) -> tuple[float, T]:
        self._wait()
        began = time.perf_counter()
        result = work()
        self._wait()
        return time.perf_counter() - began, result

    def _wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)

    def _see(self, features: Sequence[Pyramid], times: Tensor) -> tuple[Timed, Visual]:
        """One frame's visual tokens timed, and those of all frames."""
        from villa.modeling.language.interface import Visual
        from villa.modeling.segmenters.interface import joined

        language = self.model.language
        if not language.needs_pixels:
            first, some = ([self.images[at] for at in language.glances(count)] for count in (1, len(times)))
            took, _ = self.timed(lambda: language.see(first, features[0], times[:1]))
            return took, language.see(some, joined(features[: self.frames]), times)
        took, one = self.timed(lambda: language.see((self.images[0],), None, times[:1]))
        return took, Visual.joined([one] * self.frames)

    def _drawn(
        self, features: Sequence[Pyramid], words: _Words, states: Tensor, visual: Visual
    ) -> tuple[Timed, Timed, Memory]:
        """A mask, and the memory that an answer begins."""
        import torch

        from villa.modeling.objects.referring_head import marks
        from villa.modeling.objects.seg_selector import Words
        from villa.modeling.segmenters.interface import Moment

        model, segmenter = self.model, self.model.segmenter
        image = torch.cat([seen.tokens for seen in features[: self.frames]])
        said = None if visual.scene is None else Words.of([words.said])
        marked = None if visual.scene is None else marks([None], visual.scene)
        prompts = model.prompts(words.state[None], states, image, None, visual.scene, said, marked)
        prompt = prompts.frames[:, -1]
        at = torch.zeros(1, dtype=torch.long, device=self.device)
        decode, masks = self.timed(lambda: segmenter.decode(prompt, features[0], at))

        def begun(t: int) -> Memory:
            return segmenter.seed(masks, prompt, features[t], at, [Moment(t, t * _PERIOD_S)])[0]

        seed, memory = self.timed(lambda: begun(0))
        if self.model.config.seed_every_frame:
            memory = segmenter.join([begun(t) for t in range(self.frames)])
        return decode, seed, memory

    def _fast(self, memory: Memory) -> dict[int, Timed]:
        """Encode a frame and carry objects to it, each with a full memory; masks arrive on the host."""
        from villa.inference.grounding import on_cpu
        from villa.modeling.segmenters.interface import Moment

        model = self.model
        numbers: Iterator[int] = count_from(self.frames)

        def step(memories: Sequence[Memory]) -> Masks:
            number = next(numbers)
            seen = model.encode(self.images[number % CLIP_FRAMES])
            masks = model.segmenter.carry(memories, seen, Moment(number, number * _PERIOD_S), learn=True)
            on_cpu(masks.logits)
            return masks

        for _ in range(FULL_AFTER):
            step([memory])
        found = {}
        for objects in self.options.objects:
            # One full memory many times over costs what many different ones would.
            memories = [memory.copy() for _ in range(objects)]
            found[objects], _ = self.timed(partial(step, memories))
            memory = memories[0]
        return found

    def _force_answer(self) -> None:
        """The next answers have one [SEG] and the wanted length; what the model would have said is computed as well."""
        import torch

        language, codec = self.model.language, self.model.codec
        words = codec.plain(" and so it is")
        said = [words[i % len(words)] for i in range(self.options.answer_tokens - 1)]
        answer = [*said[:-1], codec.seg_id, said[-1], codec.end_id]
        plain = language.logits
        place = count_from()

        def logits(states: Tensor) -> Tensor:
            scores = torch.zeros_like(plain(states))
            scores[..., answer[next(place) % len(answer)]] = 50.0
            return scores

        language.logits = logits  # type: ignore[method-assign]

    def _request(self, clip: Sequence[ClipFrame]) -> None:
        """A whole slow pass in a new session."""
        from villa.inference.stream_session import StreamSession
        from villa.interface import finish

        result = finish(StreamSession(self.model).request(REQUEST, clip))
        seen = len(result.clip_index)
        if seen < self.frames:
            raise ModelBenchError(f"{self.named.name}: memory is enough for {seen} of {self.frames} frames only")
        if len(result.objects) != 1 or result.finish_reason != "stop":
            raise ModelBenchError(f"{self.named.name}: the forced answer came out as {result.raw_text!r}")


class _Words:
    """What the language model does with a prompt: `villa.inference.answering.say`, piece by piece."""

    def __init__(self, model: ViLLaModel, visual: Visual, times_s: Tensor) -> None:
        from villa.inference.answering import tail_embeds
        from villa.modeling.language.interface import next_position

        self.model, self.times_s = model, times_s
        language = model.language
        prompt = language.prompt(REQUEST, (), visual, times_s.tolist(), model.config.max_request_tokens)
        video = language.video_inputs(prompt, visual)
        tail = tail_embeds(model, prompt, visual, times_s)
        self.parts = (video, language.text_inputs(tail, next_position(video.positions)))
        self.length = sum(map(len, self.parts))
        self.position = next_position(self.parts[1].positions)
        self.state = tail[0]
        self.said = tail
        self.cache = language.new_cache()

    def read(self, chunk: int = 0) -> None:
        """The whole prompt, at most `chunk` tokens at a time; 0: as many as the slow pass takes."""
        from villa.inference.answering import PREFILL_TOKENS, PREFILL_TOKENS_GPU

        usual = PREFILL_TOKENS if self.model.device.type == "cpu" else PREFILL_TOKENS_GPU
        self.cache = self.model.language.new_cache()
        for part in self.parts:
            for piece in part.chunks(chunk or usual):
                self.said = self.model.language.read(piece, cache=self.cache)
                self.state = self.said[-1]

    def say_one(self) -> None:
        """Choose a token and read it; it is forgotten again."""
        language = self.model.language
        token = int(language.logits(self.state).float().softmax(dim=-1).argmax())
        word = language.text_inputs(language.embed(language.ids([token])), self.position)
        language.read(word, cache=self.cache)
        self.cache.crop(-1)

    def frame_states(self) -> Tensor:
        """The `[FRM]` tokens of one object."""
        from villa.inference.answering import frame_states

        at, position = [self.length - 1], [self.position - 1]
        return frame_states(self.model, self.state[None], self.times_s, at, position, self.cache)
