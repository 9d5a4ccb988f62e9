"""The losses of any ViLLa: words, masks, presence, quality, key frame, choice of frames, tracking.

Everything goes through the same interfaces as inference, so that one file serves every family of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from villa.interface import Rgb
from villa.modeling import packed_forward
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.interface import Visual
from villa.modeling.objects.relation_encoder import EncodedScene
from villa.modeling.segmenters.interface import Masks, Moment, Pyramid, frame_of
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.villa import ViLLaModel
from villa.training.detection_loss import Places, found_at, heat_loss, point_loss, sides_loss
from villa.training.losses import soft_iou
from villa.training.referring_loss import SegTargets, focus_loss

# Weights of the sum; text is 1.
MASK_ENTROPY, MASK_DICE, PRESENT, IOU, KEY, RELEVANCE, POINT, FOUND, FOCUS = 2.0, 0.5, 0.1, 0.1, 0.1, 0.1, 0.5, 0.5, 3.0
POINTS = 12_544  # a mask with more pixels than that is compared at so many points (arXiv 1912.08193)
_OVERSAMPLED, _UNCERTAIN = 3, 0.75  # points are drawn from three times as many; so many of them where it is unsure
_SEED_LOGIT = 8.0  # a ground-truth mask as logits


@dataclass(frozen=True)
class Asked:
    """One request with its answer; its [SEG] mean the next objects of the batch, in order if `ordered`."""

    text: str
    answer: str
    ordered: bool
    history: tuple[tuple[str, str], ...] = ()  # earlier requests and answers


@dataclass(frozen=True)
class TuneBatch:
    """T frames of one video and requests that mean K objects."""

    images: Sequence[Rgb]
    times_s: Tensor  # [T] seconds before the newest
    asked: Sequence[Asked]
    targets: Tensor  # [K, T, h, w] in 0..1 on the grid of mask logits


@dataclass(frozen=True)
class TuneLosses:
    """What is trained beside the answer."""

    rollout: bool  # carry masks over the clip with memory: for a propagator that may learn
    recompute: bool = False  # read the sequence twice instead of keeping its cache: gradient checkpointing needs it
    frozen_eyes: bool = True  # image encoder and the language model's own vision encoder do not learn


class AnswerLoss:
    """Batch -> named losses, each already weighted; "total" is what to minimise."""

    def __init__(self, model: ViLLaModel, config: TuneLosses) -> None:
        self.model = model
        self.config = config

    def __call__(self, batch: TuneBatch) -> dict[str, Tensor]:
        """One video's losses."""
        model = self.model
        segmenter, language = model.segmenter, model.language
        times = batch.times_s.to(model.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen_eyes):
            pyramid = segmenter.encode(segmenter.preprocess(batch.images))
        eyes_learn = not (self.config.frozen_eyes and language.needs_pixels)
        with torch.set_grad_enabled(torch.is_grad_enabled() and eyes_learn):
            images = [batch.images[frame] for frame in language.glances(len(batch.images))]
            visual = language.see(images, pyramid, times)
        questions = [
            packed_forward.Question(
                language.prompt(a.text, a.history, visual, times.tolist(), model.config.max_request_tokens),
                tuple(model.codec.answer_ids(a.answer)),
            )
            for a in batch.asked
        ]
        parts, focus, marked = self._focused(batch, visual, questions)
        packed = packed_forward.forward(model, visual, times, questions, focus=focus, recompute=self.config.recompute)
        parts["text"] = self._text(packed)
        if len(packed.video):
            parts |= self._masks(batch, pyramid, visual, packed, marked)
        return {**parts, "total": torch.stack([value.float() for value in parts.values()]).sum()}

    def _focused(
        self, batch: TuneBatch, visual: Visual, questions: Sequence[packed_forward.Question]
    ) -> tuple[dict[str, Tensor], list[Tensor] | None, Tensor | None]:
        """Is it known what requests are about? And the tokens of that, which the answers follow, and its marks."""
        model, scene = self.model, visual.scene
        if scene is None:
            return {}, None, None
        found = found_at(scene.proposals, Places.of_masks(batch.targets.to(model.device)))
        targets = SegTargets.at(found, scene, questions, model.codec.seg_id)
        told = model.refer([question.prompt.tail for question in questions], scene)
        shown, marked = targets.shown(visual.tokens, told)
        return {"focus": FOCUS * focus_loss(told, targets.proposals, scene)}, shown, marked

    def _text(self, packed: packed_forward.Packed) -> Tensor:
        keep = packed.labels != packed_forward.IGNORE
        logits = self.model.language.logits(packed.states[keep])
        return F.cross_entropy(logits.float(), packed.labels[keep])

    def _masks(
        self, batch: TuneBatch, pyramid: Pyramid, visual: Visual, packed: packed_forward.Packed, marked: Tensor | None
    ) -> dict[str, Tensor]:
        model, segmenter = self.model, self.model.segmenter
        count, frames = packed.frames.shape[:2]
        words = None if visual.scene is None else packed.words_of_objects()
        prompts = model.prompts(packed.video, packed.frames, pyramid.tokens, packed.groups, visual.scene, words, marked)
        frame = torch.arange(frames, device=model.device).repeat(count)
        masks = segmenter.decode(prompts.frames.flatten(0, 1), pyramid, frame)
        if prompts.present is not None:
            masks = replace(masks, present=prompts.present.flatten())
        target = batch.targets.to(model.device)
        target = target[matched(masks, target, batch.asked, packed.groups)]
        seen = target.sum(dim=(2, 3)) > 0.5  # [K, T]
        parts = mask_terms(masks, target.flatten(0, 1))
        if visual.scene is not None and prompts.scores is not None:
            parts |= self._pointed(pyramid, visual.scene, prompts.scores, target)
        probe = torch.randint(frames, (count,), device=model.device)
        of_video = segmenter.decode(prompts.video, pyramid, probe)
        rows = torch.arange(count, device=model.device)
        parts |= {f"v_{name}": value for name, value in mask_terms(of_video, target[rows, probe]).items()}
        if bool(seen.any()):
            shown = seen.any(dim=1)
            best = target.sum(dim=(2, 3)).argmax(dim=1)
            parts["key"] = KEY * F.cross_entropy(prompts.key_scores[shown].float(), best[shown])
            parts["relevance"] = RELEVANCE * self._relevance(batch, pyramid, packed, best, shown)
        if self.config.rollout and frames > 1:
            parts |= self._rollout(batch, pyramid, masks, prompts.frames, target)
        return parts

    def _pointed(self, pyramid: Pyramid, scene: EncodedScene, scores: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The objects that are meant are to be found, and pointed at; what else is in view is not known here."""
        places = Places.of_masks(target)
        there = places.visible.any(dim=1)
        parts = {"point": POINT * point_loss(scores, scene.proposals, places, there)}
        language = self.model.language
        if isinstance(language, CausalLLM) and isinstance(pyramid, LightPyramid) and not self.config.frozen_eyes:
            maps = language.finder.maps(pyramid)
            parts["heat"] = FOUND * heat_loss(maps, places, outside=0.0)
            parts["sides"] = FOUND * sides_loss(maps, places)
        return parts

    def _relevance(
        self, batch: TuneBatch, pyramid: Pyramid, packed: packed_forward.Packed, best: Tensor, shown: Tensor
    ) -> Tensor:
        """The frame that shows an object best is the one its request wants to see."""
        model = self.model
        descriptors = pyramid.s16.mean(dim=(2, 3))
        queries = []
        for asked in batch.asked:
            words = model.language.embed(model.language.ids(model.codec.request_ids(asked.text)))
            queries.append(words.float().mean(dim=0))
        query = torch.stack(queries)[packed.groups]
        scores = torch.stack([model.sampler(q.to(model.sampler.relevance.weight.dtype), descriptors) for q in query])
        return F.cross_entropy(scores[shown].float(), best[shown])

    def _rollout(
        self, batch: TuneBatch, pyramid: Pyramid, drawn: Masks, prompts: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """Seed on a random frame, by the truth or by what was drawn, and carry both ways through the clip."""
        segmenter = self.model.segmenter
        frames = target.shape[1]
        seed = int(torch.randint(frames, ()))
        chosen = torch.nonzero(target[:, seed].sum(dim=(1, 2)) > 1.0).flatten()
        if not len(chosen):
            return {}
        truth = (target[chosen, seed] * 2 - 1) * _SEED_LOGIT
        at = chosen * frames + seed
        first = drawn.logits[at].detach() if torch.rand(()) < 0.5 else truth
        begun = Masks(first, drawn.iou[at], drawn.present[at], drawn.token[at])
        times = [-float(t) for t in batch.times_s]
        where = torch.full((len(chosen),), seed, device=target.device)
        moments = [Moment(seed, times[seed])] * len(chosen)
        seeds = segmenter.seed(begun, prompts[chosen, seed], pyramid, where, moments)
        carried, wanted = [], []
        ways = ((range(seed + 1, frames), False), (range(seed - 1, -1, -1), True))
        for order, reverse in ways:
            memories = [memory.copy(reverse=reverse) for memory in seeds]
            for t in order:
                carried.append(segmenter.carry(memories, frame_of(pyramid, t), Moment(t, times[t]), learn=True))
                wanted.append(target[chosen, t])
        terms = mask_terms(Masks.joined(carried), torch.cat(wanted))
        return {f"r_{name}": value for name, value in terms.items()}


def mask_terms(masks: Masks, target: Tensor) -> dict[str, Tensor]:
    """Masks and targets [N, h, w] in 0..1 of N pairs -> weighted losses; what is not visible teaches presence only."""
    seen = target.sum(dim=(1, 2)) > 0.5
    parts = {
        "present": PRESENT * F.binary_cross_entropy_with_logits(masks.present.float(), seen.float()),
        "iou": IOU * (masks.iou.float() - soft_iou(masks.logits, target)).abs().mean(),
    }
    if bool(seen.any()):
        logits, truth = sampled(masks.logits[seen].float(), target[seen].float())
        parts["bce"] = MASK_ENTROPY * F.binary_cross_entropy_with_logits(logits, truth)
        inside = logits.sigmoid()
        overlap = (inside * truth).sum(dim=1)
        parts["dice"] = MASK_DICE * (1 - (2 * overlap + 1) / (inside.sum(dim=1) + truth.sum(dim=1) + 1)).mean()
    return parts


def sampled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Maps [N, h, w] -> values [N, P]: all pixels of small ones, of large ones points, most where it is unsure."""
    if logits[0].numel() <= POINTS:
        return logits.flatten(1), target.flatten(1)
    count = len(logits)
    many = torch.rand(count, POINTS * _OVERSAMPLED, 2, device=logits.device)
    with torch.no_grad():
        doubt = -_at(logits, many).abs()
    unsure = doubt.topk(int(POINTS * _UNCERTAIN), dim=1).indices
    chosen = many.gather(1, unsure[..., None].expand(-1, -1, 2))
    rest = torch.rand(count, POINTS - chosen.shape[1], 2, device=logits.device)
    points = torch.cat((chosen, rest), dim=1)
    return _at(logits, points), _at(target, points)


def _at(maps: Tensor, points: Tensor) -> Tensor:
    """Maps [N, h, w] at points [N, P, 2] in 0..1 (x, y) -> [N, P], bilinear."""
    return F.grid_sample(maps[:, None], points[:, :, None] * 2 - 1, align_corners=False)[:, 0, :, 0]


@torch.no_grad()
def matched(masks: Masks, target: Tensor, asked: Sequence[Asked], groups: Tensor) -> Tensor:
    """Which target each of K objects is: as written, or where the order means nothing the cheapest pairing.

    `masks` are of K * T pairs, targets [K, T, h, w], groups [K].
    """
    count, frames = target.shape[:2]
    order = torch.arange(count, device=target.device)
    inside = masks.logits.float().sigmoid().reshape(count, frames, -1)
    truth = target.float().reshape(count, frames, -1)
    for index, one in enumerate(asked):
        own = torch.nonzero(groups == index).flatten()
        if one.ordered or len(own) < 2:
            continue
        mine, theirs = inside[own][:, None], truth[own][None]
        overlap = (mine * theirs).sum(dim=(2, 3))
        cost = 1 - (2 * overlap + 1) / (mine.sum(dim=(2, 3)) + theirs.sum(dim=(2, 3)) + 1)
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        order[own[torch.as_tensor(rows)]] = own[torch.as_tensor(columns, device=own.device)]
    return order
