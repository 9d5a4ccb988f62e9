"""The losses of one clip: words, masks of every frame, presence, quality, key frame, propagation, dense classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.data.vocabulary import COLOURS, KINDS
from villa.light.encoder import LightPyramid
from villa.light.propagator import Look
from villa.light.segmenter import LightSegmenter
from villa.mllm.interface import Visual
from villa.model import ViLLa
from villa.training import packing
from villa.training.feed import Batch
from villa.training.losses import mask_losses, soft_iou
from villa.training.reading import Reading
from villa.training.teacher import Teacher

# Weights of the sum; text is 1.
MASK_ENTROPY, MASK_DICE, PRESENT, IOU, KEY, DENSE, GUIDE, READING = 4.0, 1.0, 1.0, 0.1, 0.1, 0.3, 4.0, 1.0
_ROLLOUT_OBJECTS = 3
_SEED_LOGIT = 6.0  # a ground-truth mask as logits


def dense_loss(head: Teacher, pyramid: LightPyramid, kinds: Tensor, colours: Tensor) -> dict[str, Tensor]:
    """Stride-8 labels [N, H/8, W/8] (0 background, -100 mixed) -> losses.

    Background cells are ten times as many as object cells and weigh as much less.
    """
    weight = torch.full((len(KINDS) + 1,), 1.0, device=kinds.device)
    weight[0] = 0.15
    features = pyramid.s8.float()
    return {
        "kind": F.cross_entropy(head.kinds(features), kinds, weight=weight, ignore_index=-100),
        "colour": F.cross_entropy(
            head.colours(features), colours, weight=weight[: len(COLOURS) + 1], ignore_index=-100
        ),
    }


def summed(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same losses with their sum as "total"."""
    return {**parts, "total": torch.stack(list(parts.values())).sum()}


class ClipLoss:
    """Batch (one clip, several requests) -> named losses; "total" is what to minimise."""

    def __init__(self, model: ViLLa, head: Teacher, freeze_backbone: bool) -> None:
        self.model = model
        if not isinstance(model.segmenter, LightSegmenter):
            raise TypeError("these losses are of the light segmenter")
        self.segmenter = model.segmenter
        self.head = head
        self.freeze_backbone = freeze_backbone
        self.reading = Reading(model)

    def _pyramid(self, images: Tensor) -> LightPyramid:
        images = images.contiguous(memory_format=torch.channels_last)
        if not self.freeze_backbone:
            return self.segmenter.encoder(images)  # type: ignore[no-any-return]
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
            levels = self.segmenter.encoder.backbone(images)
        return self.segmenter.encoder.pyramid([level.float() for level in levels])

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """One clip's losses by name, each already weighted; "total" is their sum."""
        model = self.model
        pyramid = self._pyramid(batch.images)
        parts = {k: DENSE * v for k, v in dense_loss(self.head, pyramid, batch.kinds, batch.colours).items()}
        with torch.autocast(batch.images.device.type, torch.bfloat16):
            visual = model.language.see((), pyramid, batch.times_s)
            parts.update(self._read(batch, visual))
            packed = packing.forward(model, visual, batch.times_s, batch.questions)
            parts.update(self._text(packed))
            if len(packed.video):
                parts.update(self._masks(batch, pyramid, packed))
        return summed(parts)

    def from_cells(self, batch: Batch) -> dict[str, Tensor]:
        """Teach projector and synthesizer what cells show, without a language model: a tenth of a whole step."""
        with torch.no_grad():
            pyramid = self._pyramid(batch.images)
        visual = self.model.language.see((), pyramid, batch.times_s)
        parts = self._read(batch, visual)
        return summed(parts)

    def from_answers(self, batch: Batch) -> dict[str, Tensor]:
        """Teach the language model to look and to answer, with the prompts of facts for its `[SEG]`, without masks."""
        model = self.model
        with torch.no_grad():
            pyramid = self._pyramid(batch.images)
        with torch.autocast(batch.images.device.type, torch.bfloat16):
            visual = model.language.see((), pyramid, batch.times_s)
            parts = self._read(batch, visual)
            packed = packing.forward(model, visual, batch.times_s, batch.questions, every_frame=False)
            parts.update(self._text(packed))
            prompts = model.to_video_prompt(packed.video)
            parts.update(self._guide(batch, prompts[:, None].expand(-1, len(batch.times_s), -1)))
        return summed(parts)

    def _read(self, batch: Batch, visual: Visual) -> dict[str, Tensor]:
        read = self.reading(visual.tokens, batch.times_s, batch.kinds, batch.colours)
        return {name: READING * value for name, value in read.items()}

    def _text(self, packed: packing.Packed) -> dict[str, Tensor]:
        keep = packed.labels != packing.IGNORE
        if not bool(keep.any()):  # every question may be one that teaches no words
            return {}
        logits = self.model.language.logits(packed.states[keep])
        each = F.cross_entropy(logits.float(), packed.labels[keep], reduction="none")
        weights = packed.weights[keep]
        return {"text": (each * weights).sum() / weights.sum()}

    def from_facts(self, batch: Batch) -> dict[str, Tensor]:
        """Teach decoder and propagator with prompts of facts, no language: a sixth of the cost of a whole step."""
        model = self.model
        pyramid = self._pyramid(batch.images)
        parts = {k: DENSE * v for k, v in dense_loss(self.head, pyramid, batch.kinds, batch.colours).items()}
        count, frames = batch.targets.shape[:2]
        device = batch.targets.device
        with torch.autocast(device.type, torch.bfloat16):
            kind, colour = batch.things[:, None].expand(-1, frames, -1).flatten(0, 1).unbind(-1)
            target = batch.targets.flatten(0, 1)
            seen = target.sum(dim=(1, 2)) > 0.5
            alike = batch.things[:, None] == batch.things[None]
            twins = alike.all(-1).sum(1).repeat_interleave(frames) > 1
            only = alike[..., 0].sum(1).repeat_interleave(frames) == 1

            def often(share: float) -> Tensor:
                return torch.rand(len(kind), device=device) < share

            # Words may leave out what tells nothing apart: the place of a thing that is like no other, the colour of
            # the only one of its kind, and either where the place is said.
            located = seen & (often(0.5) | twins)
            kind = torch.where(located & often(0.15), 0, kind)
            colour = torch.where((located | only) & often(0.35) & (kind > 0), 0, colour)
            box = batch.boxes.flatten(0, 1) * (1 + 0.08 * torch.randn(len(kind), 4, device=device))
            asked = self.head.prompt(kind, colour, box, located)
            usable = seen | ~twins
            frame = torch.arange(frames, device=device).repeat(count)
            masks = model.segmenter.decode(asked, pyramid, frame)
            logits, iou, present = masks.logits[usable], masks.iou[usable], masks.present[usable]
            parts.update(self._mask_terms(logits, iou, present, target[usable], ""))
            # Kinds and colours that the scene does not pair are not there.
            wrong = torch.roll(batch.things[:, 1], 1)
            absent = ~(
                (batch.things[:, 0][:, None] == batch.things[:, 0]) & (wrong[:, None] == batch.things[:, 1])
            ).any(1)
            if bool(absent.any()):
                at = torch.randint(frames, (int(absent.sum()),), device=device)
                nowhere = torch.zeros(len(at), dtype=torch.bool, device=device)
                false = self.head.prompt(
                    batch.things[absent, 0], wrong[absent], torch.zeros(len(at), 4, device=device), nowhere
                )
                empty = model.segmenter.decode(false, pyramid, at).present.float()
                parts["absent"] = PRESENT * F.binary_cross_entropy_with_logits(empty, torch.zeros_like(empty))
            prompts = asked.reshape(count, frames, -1)
            parts.update(self._rollout(batch, pyramid, prompts, masks.logits, masks.token))
        return summed(parts)

    def _guide(self, batch: Batch, prompts: Tensor) -> dict[str, Tensor]:
        """How far prompts p_t [K, T, C] are from those of the facts, on frames that show the object.

        The facts say no more than the words can: the colour where it was asked for or tells things apart, the place
        only where twins leave nothing else.
        """
        known = (batch.things[:, :1] > 0) & (batch.boxes[..., 2] > 0)  # [K, T]
        if not bool(known.any()):
            return {}
        rows, frames = known.nonzero(as_tuple=True)
        kind, colour = batch.things[rows].unbind(-1)
        with torch.no_grad():
            colour = torch.where(batch.coloured[rows], colour, 0)
            wanted = self.head.prompt(kind, colour, batch.boxes[rows, frames], batch.twins[rows])
        return {"guide": GUIDE * F.smooth_l1_loss(prompts[rows, frames].float(), wanted.float())}

    def _masks(self, batch: Batch, pyramid: LightPyramid, packed: packing.Packed) -> dict[str, Tensor]:
        model = self.model
        tokens = pyramid.tokens
        count, frames = packed.frames.shape[:2]
        device = tokens.device
        prompts = model.prompts(packed.video, packed.frames, tokens, packed.groups)
        target = batch.targets  # [K, T, h, w]
        visible = target.sum(dim=(2, 3)) > 0.5  # [K, T]

        frame = torch.arange(frames, device=device).repeat(count)
        masks = model.segmenter.decode(prompts.frames.flatten(0, 1), pyramid, frame)
        out = self._mask_terms(masks.logits, masks.iou, masks.present, target.flatten(0, 1), "")
        probe = torch.randint(frames, (count,), device=device)
        of_video = model.segmenter.decode(prompts.video, pyramid, probe)
        rows = torch.arange(count, device=device)
        for name, value in self._mask_terms(
            of_video.logits, of_video.iou, of_video.present, target[rows, probe], "v_"
        ).items():
            out[name] = 0.5 * value

        seen = visible.any(dim=1)
        if bool(seen.any()):
            best = target.sum(dim=(2, 3)).argmax(dim=1)
            out["key"] = KEY * F.cross_entropy(prompts.key_scores[seen].float(), best[seen])
        out.update(self._guide(batch, prompts.frames))
        rollout = self._rollout(batch, pyramid, prompts.frames, masks.logits, masks.token)
        out.update(rollout)
        return out

    def _mask_terms(
        self, logits: Tensor, iou: Tensor, present: Tensor, target: Tensor, prefix: str
    ) -> dict[str, Tensor]:
        visible = target.sum(dim=(1, 2)) > 0.5
        out = {
            f"{prefix}present": PRESENT * F.binary_cross_entropy_with_logits(present.float(), visible.float()),
            f"{prefix}iou": IOU * (iou.float() - soft_iou(logits, target)).abs().mean(),
        }
        if bool(visible.any()):
            entropy, dice = mask_losses(logits[visible], target[visible])
            out[f"{prefix}bce"] = MASK_ENTROPY * entropy.mean()
            out[f"{prefix}dice"] = MASK_DICE * dice.mean()
        return out

    def _rollout(
        self,
        batch: Batch,
        pyramid: LightPyramid,
        prompts: Tensor,
        logits: Tensor,
        pointers: Tensor,
    ) -> dict[str, Tensor]:
        """Seed on one end of the clip and carry on to the other, in either direction of time."""
        target = batch.targets
        count, frames = target.shape[:2]
        if frames < 2:
            return {}
        order = list(range(frames))
        if torch.rand(()) < 0.4:
            order.reverse()
        seed = order[0]
        candidates = torch.nonzero(target[:, seed].sum(dim=(1, 2)) > 1.0).flatten()
        if len(candidates) == 0:
            return {}
        chosen = candidates[torch.randperm(len(candidates))[:_ROLLOUT_OBJECTS]]
        logits = logits.reshape(count, frames, *logits.shape[1:])
        pointers = pointers.reshape(count, frames, -1)
        truth = (target[chosen, seed] * 2 - 1) * _SEED_LOGIT
        own = torch.rand((), device=target.device) < 0.5
        first = logits[chosen, seed].detach() if own else truth
        asked = prompts[chosen, seed]
        memories = [self._look(pyramid, seed, first, pointers[chosen, seed], asked, batch)]
        got_logits, got_iou, got_present, wanted = [], [], [], []
        for at in order[1:]:
            index = torch.full((len(chosen),), at, device=target.device)
            masks = self.segmenter.propagate(memories, pyramid, index, batch.times_s[at])
            got_logits.append(masks.logits)
            got_iou.append(masks.iou)
            got_present.append(masks.present)
            wanted.append(target[chosen, at])
            limit = self.segmenter.config.propagator.memories
            memories = [memories[0], *memories[1:][-(limit - 2) :]] if limit > 1 else memories[:1]
            memories.append(self._look(pyramid, at, masks.logits.detach(), masks.token, asked, batch))
        return self._mask_terms(
            torch.cat(got_logits), torch.cat(got_iou), torch.cat(got_present), torch.cat(wanted), "r_"
        )

    def _look(
        self, pyramid: LightPyramid, at: int, logits: Tensor, pointer: Tensor, asked: Tensor, batch: Batch
    ) -> Look:
        image = pyramid.tokens[at : at + 1].expand(len(logits), -1, -1)
        return self.segmenter.remember(image, logits, pointer, asked, batch.times_s[at])
