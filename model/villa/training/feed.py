"""Training batches: a stretch of a clip, requests about its newest frame, and the masks they mean.

Made on a background thread while the model computes; OpenCV releases the interpreter's lock.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from villa import answers
from villa.data.clips import ClipFacts, ClipReader, ObjectFacts, list_clips
from villa.data.describe import check, describe
from villa.data.naming import FrameWords
from villa.data.requests import RequestSample, sample_requests
from villa.data.vocabulary import COLOURS, KINDS
from villa.interface import Rgb
from villa.light.encoder import normalize
from villa.tokenizer import SEG, TextCodec
from villa.training.packing import Question

_MIXED = -100
_CHECKED = 0.6  # of the questions about what is in view: those that name nouns
_MISNAMED = 0.25  # of the answers in which it is possible
_DOUBTED = 0.5  # of the requests for what is not there: their answer has a [SEG] all the same
_MISTAKEN = 0.5  # of those: it names something else


@dataclass(frozen=True)
class FeedConfig:
    """What a batch looks like; sizes in px of the model's input."""

    root: Path
    frames: int
    requests: int  # of a batch; 0: none
    seed: int
    height: int
    width: int
    device: str = "cpu"
    augment: bool = True
    zoom: bool = False  # crop and mirror: images and dense labels stay true, boxes and requests do not
    absent: int = 0  # requests for what is not there, beside those that come among the requests
    looks: int = 1  # questions of a batch about what is in view, beside its requests
    max_request_tokens: int = 96
    visual_tokens: int = 48  # of a frame


@dataclass(frozen=True)
class Batch:
    """T frames of one clip and R questions that name K objects; without questions, K are all its objects."""

    images: Tensor  # [T, 3, H, W], normalised
    times_s: Tensor  # [T] seconds before the newest
    questions: list[Question]
    targets: Tensor  # [K, T, H/4, W/4] in 0..1
    kinds: Tensor  # [T, H/8, W/8] index into KINDS + 1, 0 background, -100 mixed
    colours: Tensor  # [T, H/8, W/8] likewise
    things: Tensor  # [K, 2] kind and colour of each object, index + 1; 0 for what is not there
    boxes: Tensor  # [K, T, 4] middle x, y, width, height as shares of the image; 0 when unseen
    coloured: Tensor  # [K] the colour was asked for, or tells the object from others of its kind
    twins: Tensor  # [K] another object has the same kind and colour


class Feed:
    """Endless batches from the clips under a folder, in an order fixed by the seed."""

    def __init__(self, config: FeedConfig, codec: TextCodec) -> None:
        self.config = config
        self.codec = codec
        self._rng = np.random.default_rng(config.seed)
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=6)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="villa-feed", daemon=True)
        self._folders = list_clips(config.root)
        if not self._folders:
            raise FileNotFoundError(f"no clips under {config.root}: make some with `villa data build`")

    def __iter__(self) -> Iterator[Batch]:
        if not self._thread.is_alive():
            self._thread.start()
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop the background thread."""
        self._closed.set()

    def _work(self) -> None:
        made = 0
        try:
            while not self._closed.is_set():
                made += 1
                if made % 500 == 0:  # a renderer may be adding clips while training runs
                    self._folders = list_clips(self.config.root)
                folder = self._folders[int(self._rng.integers(len(self._folders)))]
                batch = self.make(ClipReader(folder), self._rng)
                while not self._closed.is_set():
                    try:
                        self._ready.put(batch, timeout=0.2)
                        break
                    except queue.Full:
                        continue
        except Exception as error:
            self._ready.put(error)

    def make(self, clip: ClipReader, rng: np.random.Generator) -> Batch:
        """One batch from one clip."""
        config = self.config
        chosen = choose_frames(len(clip), config.frames, rng)
        look = Look.draw(rng) if config.augment else None
        images = [clip.rgb(index) for index in chosen]
        if look is not None:
            images = [look.apply(image, rng) for image in images]
        masks = [clip.mask(index) for index in chosen]
        if config.zoom:
            images, masks = zoomed(images, masks, rng)
        facts = clip.facts
        size = (config.width, config.height)
        resized = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images])
        tensor = normalize(torch.from_numpy(resized))
        times = torch.tensor([(chosen[-1] - index) / facts.fps for index in chosen], dtype=torch.float32)
        questions: list[Question] = []
        meant: list[int] = []
        words: list[str] = []
        if config.requests:
            frame = FrameWords(facts, chosen[-1])
            asked = sample_requests(facts, chosen[-1], rng, config.requests, since=chosen[0])
            asked += sample_requests(facts, chosen[-1], rng, config.absent, ("absent",), since=chosen[0])
            for _ in range(config.looks):
                checked = check(facts, chosen[-1], rng) if rng.random() < _CHECKED else None
                asked.append(checked or describe(facts, chosen[-1], rng))
            for sample in asked:
                question, ids = self._question(sample, frame, times.tolist())
                questions.append(question)
                meant += ids
                words += [sample.text.lower().replace("grey", "gray")] * len(ids)
        else:
            meant = [thing.id for thing in facts.objects]
            words = [""] * len(meant)
        grid = (config.width // 4, config.height // 4)
        targets = [np.stack([soft_mask(mask == i, grid) for mask in masks]) for i in meant]
        things = {t.id: (KINDS.index(t.kind) + 1, COLOURS.index(t.colour) + 1) for t in facts.objects}
        pairs = list(things.values())
        kinds_of = [kind for kind, _ in pairs]
        coloured = [
            i in things and (COLOURS[things[i][1] - 1] in text or kinds_of.count(things[i][0]) > 1)
            for i, text in zip(meant, words, strict=True)
        ]
        twins = [i in things and pairs.count(things[i]) > 1 for i in meant]
        boxes = [[_box(facts, index, i) for index in chosen] for i in meant]
        kinds, colours = dense_labels(masks, facts.objects, (config.width // 8, config.height // 8))
        shape = (0, len(chosen), config.height // 4, config.width // 4)
        return Batch(
            images=tensor.to(config.device),
            times_s=times.to(config.device),
            questions=questions,
            targets=torch.from_numpy(np.stack(targets) if targets else np.zeros(shape, np.float32)).to(config.device),
            kinds=torch.from_numpy(kinds).to(config.device),
            colours=torch.from_numpy(colours).to(config.device),
            things=torch.tensor([things.get(i, (0, 0)) for i in meant], dtype=torch.long, device=config.device).reshape(
                -1, 2
            ),
            coloured=torch.tensor(coloured, dtype=torch.bool, device=config.device),
            twins=torch.tensor(twins, dtype=torch.bool, device=config.device),
            boxes=torch.tensor(boxes, dtype=torch.float32, device=config.device).reshape(-1, len(chosen), 4),
        )

    def _question(
        self, sample: RequestSample, frame: FrameWords, times_s: list[float]
    ) -> tuple[Question, tuple[int, ...]]:
        config = self.config
        # As a session remembers them: without marks.
        history = [(turn.request, answers.read(turn.answer).text) for turn in sample.history]
        prompt = self.codec.prompt(sample.text, history, times_s, config.visual_tokens, config.max_request_tokens)
        answer, targets = sample.answer, tuple(sample.targets)
        if len(targets) == 1 and self._rng.random() < _MISNAMED:
            answer = recoloured(sample, self._rng) or answer
        elif sample.kind == "absent" and self._rng.random() < _DOUBTED:
            # Presence must say no where the words fail to.
            answer, targets = mistaken(sample, frame, self._rng), (-1,)
        question = Question(prompt, tuple(self.codec.answer_ids(answer)), text_loss=answer == sample.answer)
        return question, targets


def mistaken(sample: RequestSample, frame: FrameWords, rng: np.random.Generator) -> str:
    """What a model that errs answers to a request for what is not there: its words, or something else in view."""
    nothing = "There is no "
    echoes = sample.answer.startswith(nothing)
    if frame.things and (not echoes or rng.random() < _MISTAKEN):
        (name,) = frame.names([frame.things[int(rng.integers(len(frame.things)))]])
    else:
        name = sample.answer.removeprefix(nothing).rstrip(".") if echoes else "object"
    return f"The {name} {SEG}."


def recoloured(sample: RequestSample, rng: np.random.Generator) -> str | None:
    """The answer with a wrong colour that the request did not name, or None.

    A model that gets a colour wrong while it answers shall still point at what was asked for.
    """
    said = set(sample.plain.split())
    for colour in COLOURS:
        # Right before [SEG] it is a noun: an orange.
        wrong, found = re.subn(rf" {colour} (?!\[SEG\])", f" {_another(colour, rng)} ", sample.answer, count=1)
        if found and colour not in said:
            return wrong
    return None


def _another(colour: str, rng: np.random.Generator) -> str:
    return str(rng.choice([other for other in COLOURS if other != colour]))


def zoomed(
    images: list[Rgb], masks: list[NDArray[np.uint8]], rng: np.random.Generator
) -> tuple[list[Rgb], list[NDArray[np.uint8]]]:
    """The same random part of each frame, at least half as wide as the whole, mirrored half of the time."""
    height, width = masks[0].shape
    share = float(rng.uniform(0.5, 1.0))
    rows, columns = round(height * share), round(width * share)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    step = -1 if rng.random() < 0.5 else 1
    part = (slice(top, top + rows), slice(left, left + columns))
    return (
        [np.ascontiguousarray(image[part][:, ::step]) for image in images],
        [np.ascontiguousarray(mask[part][:, ::step]) for mask in masks],
    )


def choose_frames(length: int, count: int, rng: np.random.Generator) -> list[int]:
    """Indices of `count` frames, ascending, at a random even stride with jitter."""
    if count == 1 or length == 1:
        return [int(rng.integers(length))]
    count = min(count, length)
    longest = (length - 1) // (count - 1)
    stride = int(rng.integers(1, min(longest, 4) + 1))
    span = stride * (count - 1)
    start = int(rng.integers(length - span))
    return [start + stride * index for index in range(count)]


def _box(facts: ClipFacts, index: int, identity: int) -> tuple[float, float, float, float]:
    """Where an object is on a frame, as shares of the image: middle x, y, width, height."""
    for view in facts.frames[index]:
        if view.id == identity and view.visible_px:
            x, y, w, h = view.bbox
            return (x + w / 2) / facts.width, (y + h / 2) / facts.height, w / facts.width, h / facts.height
    return 0.0, 0.0, 0.0, 0.0


def soft_mask(mask: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Mask [H, W] -> share of each cell that is inside [h, w]; `grid` is (w, h)."""
    return np.asarray(cv2.resize(mask.astype(np.float32), grid, interpolation=cv2.INTER_AREA), np.float32)


def dense_labels(
    masks: list[NDArray[np.uint8]], objects: Sequence[ObjectFacts], grid: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Instance masks -> kind and colour of each cell that belongs mostly to one object (or to none)."""
    kinds, colours = [], []
    for mask in masks:
        kind = np.full(grid[::-1], _MIXED, np.int64)
        colour = kind.copy()
        empty = soft_mask(mask == 0, grid)
        kind[empty > 0.9] = 0
        colour[empty > 0.9] = 0
        for thing in objects:
            share = soft_mask(mask == thing.id, grid)
            kind[share > 0.5] = KINDS.index(thing.kind) + 1
            colour[share > 0.5] = COLOURS.index(thing.colour) + 1
        kinds.append(kind)
        colours.append(colour)
    return np.stack(kinds), np.stack(colours)


@dataclass(frozen=True)
class Look:
    """How a camera might have seen the same clip: one draw for all its frames."""

    gain: float
    offset: float
    gamma: float
    saturation: float
    tint: tuple[float, float, float]
    blur_px: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """Mild enough that colour words stay true."""
        return cls(
            gain=float(rng.uniform(0.7, 1.25)),
            offset=float(rng.uniform(-20, 20)),
            gamma=float(rng.uniform(0.75, 1.3)),
            saturation=float(rng.uniform(0.75, 1.3)),
            tint=tuple(float(x) for x in rng.uniform(0.94, 1.06, 3)),  # type: ignore[arg-type]
            blur_px=float(rng.choice([0.0, 0.0, 0.5, 0.9])),
            noise=float(rng.choice([0.0, 2.0, 5.0])),
        )

    def apply(self, image: Rgb, rng: np.random.Generator) -> Rgb:
        """Image [H, W, 3] uint8 -> the same size."""
        x = image.astype(np.float32)
        gray = x.mean(axis=2, keepdims=True)
        x = gray + (x - gray) * self.saturation
        x = 255 * (np.clip(x, 0, 255) / 255) ** self.gamma
        x = x * (self.gain * np.asarray(self.tint, np.float32)) + self.offset
        if self.blur_px:
            x = np.asarray(cv2.GaussianBlur(x, (0, 0), self.blur_px))
        if self.noise:
            x = x + rng.standard_normal(x.shape, np.float32) * self.noise
        return np.asarray(np.clip(x, 0, 255), np.uint8)
