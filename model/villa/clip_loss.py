"""The losses of one clip: words, masks of every frame, presence, quality, key frame, propagation, dense classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa import packing
from villa.data.vocabulary import COLOURS, KINDS
from villa.encoder import Pyramid
from villa.feed import Batch
from villa.losses import mask_losses, soft_iou
from villa.model import ViLLa
from villa.propagator import Memory

# Weights of the sum; text is 1.
MASK_ENTROPY, MASK_DICE, PRESENT, IOU, KEY, DENSE = 4.0, 1.0, 0.3, 0.1, 0.1, 0.3
_ROLLOUT_OBJECTS = 3
_SEED_LOGIT = 6.0  # a ground-truth mask as logits


class DenseHead(nn.Module):
    """Kinds and colours of each stride-8 cell; used in training only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kinds = nn.Conv2d(channels, len(KINDS) + 1, 1)
        self.colours = nn.Conv2d(channels, len(COLOURS) + 1, 1)


def dense_loss(head: DenseHead, pyramid: Pyramid, kinds: Tensor, colours: Tensor) -> dict[str, Tensor]:
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


class ClipLoss:
    """Batch (one clip, several requests) -> named losses; "total" is what to minimise."""

    def __init__(self, model: ViLLa, head: DenseHead, freeze_backbone: bool) -> None:
        self.model = model
        self.head = head
        self.freeze_backbone = freeze_backbone

    def _pyramid(self, images: Tensor) -> Pyramid:
        images = images.contiguous(memory_format=torch.channels_last)
        if not self.freeze_backbone:
            return self.model.encoder(images)  # type: ignore[no-any-return]
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
            levels = self.model.encoder.backbone(images)
        return self.model.encoder.pyramid([level.float() for level in levels])

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """One clip's losses by name, each already weighted; "total" is their sum."""
        model = self.model
        pyramid = self._pyramid(batch.images)
        parts = {k: DENSE * v for k, v in dense_loss(self.head, pyramid, batch.kinds, batch.colours).items()}
        with torch.autocast(batch.images.device.type, torch.bfloat16):
            visual = model.visual_tokens(pyramid, batch.times_s)
            packed = packing.forward(model, visual, batch.times_s, batch.questions)
            keep = packed.labels != packing.IGNORE
            logits = model.language.logits(packed.states[0, keep])
            parts["text"] = F.cross_entropy(logits.float(), packed.labels[keep])
            if len(packed.video):
                parts.update(self._masks(batch, pyramid, packed))
        parts["total"] = torch.stack(list(parts.values())).sum()
        return parts

    def _masks(self, batch: Batch, pyramid: Pyramid, packed: packing.Packed) -> dict[str, Tensor]:
        model = self.model
        tokens = model.image_tokens(pyramid)
        count, frames = packed.frames.shape[:2]
        device = tokens.device
        video = model.to_video_prompt(packed.video)
        per_frame = model.to_frame_prompt(packed.frames)
        prompts = model.synchronizer(video, per_frame, tokens, packed.groups)
        target = batch.targets  # [K, T, h, w]
        visible = target.sum(dim=(2, 3)) > 0.5  # [K, T]

        frame = torch.arange(frames, device=device).repeat(count)
        masks = model.decode(prompts.frames.flatten(0, 1), tokens, pyramid, frame)
        out = self._mask_terms(masks.logits, masks.iou, masks.present, target.flatten(0, 1), "")
        probe = torch.randint(frames, (count,), device=device)
        of_video = model.decode(prompts.video, tokens, pyramid, probe)
        rows = torch.arange(count, device=device)
        for name, value in self._mask_terms(
            of_video.logits, of_video.iou, of_video.present, target[rows, probe], "v_"
        ).items():
            out[name] = 0.5 * value

        seen = visible.any(dim=1)
        if bool(seen.any()):
            best = target.sum(dim=(2, 3)).argmax(dim=1)
            out["key"] = KEY * F.cross_entropy(prompts.key_scores[seen].float(), best[seen])
        rollout = self._rollout(batch, pyramid, tokens, prompts.frames, masks.logits, masks.token)
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
        pyramid: Pyramid,
        tokens: Tensor,
        prompts: Tensor,
        logits: Tensor,
        pointers: Tensor,
    ) -> dict[str, Tensor]:
        """Seed on one end of the clip and carry on to the other, in either direction of time."""
        model, target = self.model, batch.targets
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
        memories = [self._memory(tokens, seed, first, pointers[chosen, seed], asked, batch)]
        got_logits, got_iou, got_present, wanted = [], [], [], []
        for at in order[1:]:
            index = torch.full((len(chosen),), at, device=target.device)
            masks = model.propagate(memories, tokens, pyramid, index, batch.times_s[at])
            got_logits.append(masks.logits)
            got_iou.append(masks.iou)
            got_present.append(masks.present)
            wanted.append(target[chosen, at])
            limit = model.config.propagator.memories
            memories = [memories[0], *memories[1:][-(limit - 2) :]] if limit > 1 else memories[:1]
            memories.append(self._memory(tokens, at, masks.logits.detach(), masks.token, asked, batch))
        return self._mask_terms(
            torch.cat(got_logits), torch.cat(got_iou), torch.cat(got_present), torch.cat(wanted), "r_"
        )

    def _memory(
        self, tokens: Tensor, at: int, logits: Tensor, pointer: Tensor, asked: Tensor, batch: Batch
    ) -> Memory:
        image = tokens[at : at + 1].expand(len(logits), -1, -1)
        return self.model.remember(image, logits, pointer, asked, batch.times_s[at])
