"""How far a run has come on clips that it does not learn from: what is found, and what is pointed at, kind by kind."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from villa.data.clips import ClipReader, list_clips
from villa.modeling import packed_forward
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.interface import Visual
from villa.modeling.objects.referring_head import TARGET, chosen, in_order, marks, tokens_of
from villa.modeling.objects.relation_encoder import EncodedScene
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.villa import ViLLaModel
from villa.training.auxiliary_heads import LESSONS, AuxiliaryHeads
from villa.training.batch import Aims, Batch
from villa.training.batches import Feed, FeedConfig
from villa.training.detection_loss import matched
from villa.training.glances import glanced
from villa.training.losses import soft_iou
from villa.training.precision import mixed


class Validation:
    """Fixed frames and requests of the first clips of a folder."""

    def __init__(self, config: FeedConfig, clips: int) -> None:
        self.config = config
        self.folders = list_clips(config.root)[:clips]

    @torch.inference_mode()
    def __call__(self, model: ViLLaModel, teacher: AuxiliaryHeads) -> dict[str, float]:
        """Shares of 1: "found", "kind", "colour", "iou" of things; with requests also "right" of [SEG] by their kind.

        Of what happened to things, the share that is known to have ("moved seen"), and known not to ("moved not seen").

        A [SEG] is right where it points at its object on the newest frame, or at nothing where the object is not there.
        Answers are given; `config.misled` of those that name a single thing name the wrong one. "first word" is the
        model's own, after the request. "focus": of the aims, those of which exactly what they mean is found.
        """
        seen: dict[str, list[float]] = defaultdict(list)
        feed = Feed(self.config, model.codec)
        for number, folder in enumerate(self.folders):
            rng = np.random.default_rng(self.config.seed + number)
            batch = feed.make(ClipReader(folder), rng)
            with mixed(batch.images.device.type):
                pyramid = model.segmenter.encode(batch.images)
                assert isinstance(pyramid, LightPyramid)
                language = model.language
                assert isinstance(language, CausalLLM)
                visual = language.seen(pyramid, batch.times_s, glanced(language, batch.images))
                assert visual.scene is not None
                which = matched(visual.scene.proposals, batch)
                _look(model, teacher, batch, pyramid, visual.scene, which, seen)
                if batch.aims is not None:
                    _aim(model, batch.aims, visual.scene, which, seen)
                if batch.questions:
                    _ask(model, batch, pyramid, visual, which, seen)
        # What these clips hold no case of has no share.
        return {name: float(np.mean(values)) for name, values in sorted(seen.items()) if values}


def _look(
    model: ViLLaModel,
    teacher: AuxiliaryHeads,
    batch: Batch,
    pyramid: LightPyramid,
    scene: EncodedScene,
    which: Tensor,
    seen: dict[str, list[float]],
) -> None:
    found = which >= 0
    hit = torch.stack([(which == row).any(dim=1) for row in range(len(batch.kinds))])
    seen["found"] += hit[batch.visible].float().tolist()
    if not bool(found.any()):
        return
    features = scene.proposals.features[found].float()
    kinds, colours = batch.kinds[which[found]], batch.colours[which[found]]
    seen["kind"] += (teacher.kinds(features).argmax(dim=-1) == kinds).float().tolist()
    clear = colours >= 0
    seen["colour"] += (teacher.colours(features[clear]).argmax(dim=-1) == colours[clear]).float().tolist()
    guessed = teacher.happened(scene.states[found].float()) > 0
    for lesson, guess, true in zip(LESSONS, guessed.T, batch.happened[which[found]].T, strict=True):
        seen[f"{lesson} seen"] += guess[true == 1].float().tolist()
        seen[f"{lesson} not seen"] += (~guess[true == 0]).float().tolist()
    frame = torch.arange(len(which), device=which.device)[:, None].expand_as(which)[found]
    masks = model.segmenter.decode(scene.prompts[found], pyramid, frame)
    seen["iou"] += soft_iou(masks.logits, batch.masks[which[found], frame]).tolist()


def _aim(model: ViLLaModel, aims: Aims, scene: EncodedScene, which: Tensor, seen: dict[str, list[float]]) -> None:
    logits = model.refer(aims.tails, scene)
    for own, kind, about in zip(logits, aims.kinds, aims.about[..., TARGET], strict=True):
        picked = [int(which[at]) for at in chosen(own, scene)]
        wanted = about.nonzero().flatten().tolist()
        for name in ("focus", f"focus: {kind}"):
            seen[name].append(float(sorted(picked) == wanted))


def _ask(
    model: ViLLaModel, batch: Batch, pyramid: LightPyramid, visual: Visual, which: Tensor, seen: dict[str, list[float]]
) -> None:
    assert visual.scene is not None
    logits = model.refer([question.prompt.tail for question in batch.questions], visual.scene)
    picked = [chosen(own, visual.scene) for own in logits]
    focus = [tokens_of(one, visual.tokens) for one in picked]
    packed = packed_forward.forward(model, visual, batch.times_s, batch.questions, focus=focus)
    firsts = (packed.weights > 1) & (packed.labels != packed_forward.IGNORE)
    guessed = model.language.logits(packed.states[firsts]).argmax(dim=-1)
    seen["first word"] += (guessed == packed.labels[firsts]).float().tolist()
    if not len(packed.video):
        return
    said = packed.words_of_objects()
    counts = torch.bincount(packed.groups, minlength=len(picked)).tolist()
    stands_for = [one for own, count in zip(picked, counts, strict=True) for one in in_order(own, count)]
    marked = marks(stands_for, visual.scene)
    prompts = model.prompts(packed.video, packed.frames, pyramid.tokens, packed.groups, visual.scene, said, marked)
    assert prompts.scores is not None
    pointed = prompts.scores[:, -1].argmax(dim=-1).tolist()
    nothing = which.shape[1]
    for at, group, targets in zip(pointed, packed.groups.tolist(), batch.targets.tolist(), strict=True):
        right = at == nothing if targets < 0 else at < nothing and int(which[-1, at]) == targets
        seen[f"right: {batch.questions[group].kind}"].append(float(right))
        seen["right"].append(float(right))
