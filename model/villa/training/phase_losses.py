"""The losses of one clip, phase by phase: things first, then words about things, then all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.modeling import packed_forward
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.interface import Visual
from villa.modeling.objects.referring_head import TARGET
from villa.modeling.objects.relation_encoder import EncodedScene, or_none
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.segmenters.light.segmenter import LightSegmenter
from villa.modeling.villa import ViLLaModel
from villa.training.auxiliary_heads import AuxiliaryHeads
from villa.training.batch import Batch
from villa.training.detection_loss import DetectionLoss, MaskTerms, Places, beside, matched, point_loss
from villa.training.feature_cache import FeatureCache, Looks, eyes_of
from villa.training.glances import glanced
from villa.training.precision import mixed
from villa.training.referring_loss import SegTargets, focus_loss, lessons_of, wordless
from villa.training.sight_memory import SightMemory
from villa.training.token_alignment_loss import Reading

# Weights of the sum; text is 1.
POINT, FOCUS, SPOKEN, LINK, READING, HAPPENED, KEY = 0.5, 5.0, 2.0, 0.3, 0.5, 1.0, 0.1
_LOOKED = 0.8  # of the clips that teach things are looked at by the recogniser, too
_RECALLED = 256  # things that one clip more is a reason to learn from, in the phase of names
_LOOKED_AT_CLOSELY = 2  # frames of such a clip


def summed(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same losses with their sum as "total"."""
    return {**parts, "total": torch.stack(list(parts.values())).sum()}


class ClipLoss:
    """Batch (one clip, several requests) -> named losses; "total" is what to minimise.

    Raises:
        TypeError: the model is not of the light family with things.
    """

    def __init__(
        self, model: ViLLaModel, head: AuxiliaryHeads, freeze_backbone: bool, looks: Path | None = None
    ) -> None:
        """`looks` is a folder for what frozen eyes see of clips, for the phase of focus."""
        if not isinstance(model.segmenter, LightSegmenter) or not isinstance(model.language, CausalLLM):
            raise TypeError("these losses are of the light segmenter and a causal language model")
        if model.language.config.things is None:
            raise TypeError("these losses are of a model that is told of things: set language.things")
        self.model = model
        self.segmenter, self.language = model.segmenter, model.language
        self.head = head
        self.freeze_backbone = freeze_backbone
        self.reading = Reading(model)
        self.masks = MaskTerms(self.segmenter)
        size = self.segmenter.config.encoder
        self.closer_frames = model.language.config.things.closer_frames
        if looks is not None:
            seeing = ("segmenter.encoder.", "language.finder.", "language.recogniser.")
            looks /= eyes_of({name: x for name, x in model.state_dict().items() if name.startswith(seeing)})
        self.cache = FeatureCache(self._found, size.height, size.width, self.closer_frames, looks)
        self.memory = SightMemory()
        self.of_things = DetectionLoss(self.segmenter, self.language.finder, head)
        self.of_phase: dict[str, Callable[[Batch], dict[str, Tensor]]] = {
            "things": self.from_things,
            "names": self.from_names,
            "masks": self.from_masks,
            "focus": self.from_aims,
            "answers": self.from_answers,
            "joint": self.from_all,
        }

    def _pyramid(self, images: Tensor) -> LightPyramid:
        images = images.contiguous(memory_format=torch.channels_last)
        encoder = self.segmenter.encoder
        if not self.freeze_backbone:
            # On a CPU, convolutions in bfloat16 are four times as fast forwards and half again as slow backwards.
            with mixed(images.device.type, enabled=images.device.type != "cpu"):
                return encoder(images)  # type: ignore[no-any-return]
        with mixed(images.device.type):
            with torch.no_grad():
                levels = encoder.backbone(images)
            return encoder.pyramid(levels, images)

    def _found(self, images: Tensor, stretch: float) -> Looks:
        """Things on images: without what is recognised on them, with it, and looked at closely."""
        pyramid, finder = self._pyramid(images), self.language.finder
        every = range(len(images))
        recognised = glanced(self.language, images, every, stretch)
        looks = [finder(pyramid)]
        if recognised is not None:
            looks.append(finder(pyramid, recognised, ()))
            if self.closer_frames:
                looks.append(finder(pyramid, recognised, every))
        return tuple(looks)

    def from_things(self, batch: Batch) -> dict[str, Tensor]:
        """Teach encoder, finder, mask decoder and propagator; no language."""
        with mixed(batch.images.device.type):
            # Now and then without it, so that what is found and described does not lean on it alone.
            looked = torch.rand(()) < _LOOKED
            every = range(len(batch.images))
            recognised = glanced(self.language, batch.images, every, batch.stretch) if looked else None
            closely = torch.randperm(len(every))[:_LOOKED_AT_CLOSELY].tolist()
            return summed(self.of_things(batch, self._pyramid(batch.images), recognised, closely))

    def from_names(self, batch: Batch) -> dict[str, Tensor]:
        """Teach what things are called, by the looks of networks that learn nothing; nothing is found or drawn."""
        with mixed(batch.images.device.type):
            every = range(len(batch.images))
            with torch.no_grad():
                pyramid = self._pyramid(batch.images)
                recognised = glanced(self.language, batch.images, every, batch.stretch)
                self.of_things.look(batch, pyramid, recognised, every, self.memory)
            if not len(self.memory):  # the first pictures may show nothing that has a name
                return summed({"kind": self.head.kinds.weight.sum() * 0.0})
            return summed(self.of_things.naming(self.memory.draw(_RECALLED)))

    def from_masks(self, batch: Batch) -> dict[str, Tensor]:
        """Teach mask decoder and propagator alone: what was found and read, and so what words mean, stays as it is."""
        with mixed(batch.images.device.type):
            return summed(self.of_things.drawing(batch, self._pyramid(batch.images)))

    def from_aims(self, batch: Batch) -> dict[str, Tensor]:
        """Teach to find what requests are about; nothing is answered, and the pictures of the batch are not used."""
        with mixed(batch.images.device.type):
            glances = self.language.glances(len(batch.chosen))
            proposals = replace(
                self.cache(batch.folder, batch.chosen, glances, batch.times_s.device),
                least=self.language.finder.config.least_score,
            )
            no_picture = proposals.features.new_zeros(len(batch.chosen), 0, self.language.width)
            visual = self.language.told(proposals, no_picture, batch.times_s)
            scene = visual.scene
            assert scene is not None
            which = matched(proposals, batch)
            return summed(self._seen(batch, visual, scene, which) | self._aimed(batch, scene, which))

    def from_answers(self, batch: Batch) -> dict[str, Tensor]:
        """Teach the language model to read a scene, to answer and to point; nothing is drawn."""
        with mixed(batch.images.device.type):
            pyramid, visual, _ = self._scene(batch)
            parts, _ = self._said(batch, pyramid, visual)
        return summed(parts)

    def _scene(self, batch: Batch) -> tuple[LightPyramid, Visual, EncodedScene]:
        """What is seen, by eyes that do not learn."""
        with torch.no_grad():
            pyramid = self._pyramid(batch.images)
            proposals = self.language.finder(pyramid, glanced(self.language, batch.images, stretch=batch.stretch))
        visual = self.language.told(proposals, self.language.projector(pyramid, batch.times_s), batch.times_s)
        assert visual.scene is not None
        return pyramid, visual, visual.scene

    def from_all(self, batch: Batch) -> dict[str, Tensor]:
        """Teach everything at once."""
        with mixed(batch.images.device.type):
            pyramid = self._pyramid(batch.images)
            recognised = glanced(self.language, batch.images, stretch=batch.stretch)
            parts = self.of_things(batch, pyramid, recognised)
            visual = self.language.seen(pyramid, batch.times_s, recognised)
            said, prompts = self._said(batch, pyramid, visual)
            parts.update({f"w_{name}" if name in parts else name: value for name, value in said.items()})
            there = batch.targets >= 0
            if prompts is not None and bool(there.any()):
                count, frames = len(batch.targets), len(batch.times_s)
                target = batch.masks[batch.targets.clamp(min=0)]
                seen = (there[:, None] & batch.visible[batch.targets.clamp(min=0)]).flatten()
                frame = torch.arange(frames, device=target.device).repeat(count)
                masks = self.segmenter.decode(prompts.flatten(0, 1)[seen], pyramid, frame[seen])
                drawn = self.masks.drawn(masks, target.flatten(0, 1)[seen], "w_")
                parts.update({name: value for name, value in drawn.items() if name in ("w_bce", "w_dice")})
        return summed(parts)

    def _said(self, batch: Batch, pyramid: LightPyramid, visual: Visual) -> tuple[dict[str, Tensor], Tensor | None]:
        """Losses of words and of pointing, and the prompts [K, T, C] that the [SEG] gave."""
        scene = visual.scene
        assert scene is not None
        which = matched(scene.proposals, batch)  # [T, N]
        parts = self._seen(batch, visual, scene, which) | self._aimed(batch, scene, which)
        hits = (which[None] == batch.targets[:, None, None]) & (batch.targets >= 0)[:, None, None]
        questions = wordless(batch.questions, hits, batch.targets, self.model.codec.seg_id)
        targets = SegTargets(hits, scene, questions, self.model.codec.seg_id)
        with torch.no_grad():
            told = self.model.refer([question.prompt.tail for question in questions], scene)
        focus, marked = targets.shown(visual.tokens, told)
        packed = packed_forward.forward(self.model, visual, batch.times_s, questions, focus=focus)
        parts.update(self._text(packed))
        if not len(packed.video):
            return parts, None
        words = packed.words_of_objects()
        prompts = self.model.prompts(packed.video, packed.frames, pyramid.tokens, packed.groups, scene, words, marked)
        assert prompts.scores is not None
        there, rows = batch.targets >= 0, batch.targets.clamp(min=0)
        places = Places(batch.boxes[rows], batch.middles[rows])
        parts["point"] = POINT * point_loss(prompts.scores, scene.proposals, places, there)
        if bool(there.any()):
            best = batch.masks[batch.targets[there]].sum(dim=(2, 3)).argmax(dim=1)
            parts["key"] = KEY * F.cross_entropy(prompts.key_scores[there].float(), best)
        return parts, prompts.frames

    def _seen(self, batch: Batch, visual: Visual, scene: EncodedScene, which: Tensor) -> dict[str, Tensor]:
        """Are things told in their own words, what happened to them, and is each known again on other frames?"""
        found = which >= 0
        if not bool(found.any()):
            return {}
        kinds, colours = batch.kinds[which[found]], batch.colours[which[found]]
        tokens = visual.tokens[:, : which.shape[1]][found]
        parts = {"read": READING * self.reading(tokens, kinds, colours)}
        parts["happened"] = HAPPENED * self.head.told(scene.states[found], batch.happened[which[found]])
        flat = which.flatten()
        frame = torch.arange(len(which), device=flat.device).repeat_interleave(which.shape[1])
        same = (flat[:, None] == flat[None]) & (flat >= 0)[:, None]
        links = scene.links.reshape(len(flat), *which.shape)
        target = same.reshape(len(flat), *which.shape).float()
        asked = (flat >= 0)[:, None].expand(-1, len(which)).clone()
        asked[torch.arange(len(flat), device=flat.device), frame] = False
        if bool(asked.any()):
            seen = torch.where(target.sum(dim=-1) > 0.5, target.argmax(dim=-1), which.shape[1])
            parts["link"] = LINK * F.cross_entropy(or_none(links[asked].float()), seen[asked])
        return parts

    def _aimed(self, batch: Batch, scene: EncodedScene, which: Tensor) -> dict[str, Tensor]:
        """Is it known what requests are about?"""
        aims = batch.aims
        if aims is None or not aims.tails:
            return {}
        logits = self.model.roles(aims.tails, scene)
        wanted, known = lessons_of(aims.about, which, beside(scene.proposals, batch, which), scene)
        others = slice(TARGET + 1, None)
        return {
            "focus": FOCUS * focus_loss(logits[..., TARGET], wanted[..., TARGET], scene, known[..., TARGET]),
            "spoken": SPOKEN * focus_loss(logits[..., others], wanted[..., others], scene, known[..., others]),
        }

    def _text(self, packed: packed_forward.Packed) -> dict[str, Tensor]:
        keep = packed.labels != packed_forward.IGNORE
        if not bool(keep.any()):  # every question may be one that teaches no words
            return {}
        logits = self.model.language.logits(packed.states[keep])
        each = F.cross_entropy(logits.float(), packed.labels[keep], reduction="none")
        weights = packed.weights[keep]
        return {"text": (each * weights).sum() / weights.sum()}
