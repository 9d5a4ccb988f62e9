"""Training batches: a stretch of a clip, requests about its newest frame, and the masks they mean.

Made while the model computes: on a background thread, as OpenCV releases the interpreter's lock, or by processes where
the model computes faster than one thread can ask (a GPU).
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from villa.data.clips import ClipFacts, ClipReader, ObjectFacts, list_clips
from villa.data.language.describe import check, describe
from villa.data.language.motion_events import first_and_last, happenings
from villa.data.language.naming import MANY_COLOURED, FrameWords
from villa.data.language.requests import MOST_TARGETS, REQUEST_KINDS, RequestSample, sample_requests
from villa.data.language.vocabulary import COLOURS, KIND, KINDS, PEOPLE, TABLETOP
from villa.data.language.wordings import TRAINED, Wording
from villa.data.language.wordings.widened import WIDENED
from villa.interface import Rgb
from villa.modeling.language import answer_text
from villa.modeling.language.tokenizer import SEG, Prompt, RequestError, TextCodec
from villa.modeling.objects.recogniser import stretch_of
from villa.modeling.objects.referring_head import ANCHOR, CANDIDATE, ROLES, TARGET
from villa.modeling.packed_forward import Question
from villa.training.augmentation import Augmentation, scaled
from villa.training.auxiliary_heads import LESSONS
from villa.training.batch import LEAST_PX, UNCLEAR, Aims, Batch, outlined
from villa.training.photos import PhotoConfig, PhotoFeed

_LONGEST_BATCH_S = 60.0
_NEW_CLIPS_S = 60.0  # a renderer may be adding clips while training runs
_READY = 6  # batches that wait to be learnt from
_LOADER_SEEDS = 7_919  # between those of one process's loaders
_CLOSEST = 0.33  # share of a picture's width that may fill the whole: real things are often seen from near
_UNEVEN = 0.5  # of the choices of frames
_CHECKED = 0.6  # of the questions about what is in view: those that name nouns
_MISNAMED = 0.15  # of the answers in which it is possible
_MISLED = 0.4  # of the answers that name one thing
_DOUBTED = 0.5  # of the requests for what is not there: their answer has a [SEG] all the same
_MISTAKEN = 0.5  # of those: it names something else
# Of the requests for the focus so many are of kinds that need more practice than their usual share gives.
_PRACTICE = (
    (0.27, ("relation", "superlative", "size", "negation")),
    (0.2, ("time",)),
    (0.2, ("follow-up", "several", "ambiguous", "absent")),
)


@dataclass(frozen=True)
class FeedConfig:
    """What a batch looks like; sizes in px of the model's input."""

    root: Path
    frames: int  # of a batch at most
    requests: int  # of a batch; 0: none
    seed: int
    height: int
    width: int
    device: str = "cpu"
    augment: bool = True
    zoom: bool = False  # crop and mirror half of the clips: what is seen stays true, requests do not
    absent: int = 0  # requests for what is not there, beside those that come among the requests
    looks: int = 1  # questions of a batch about what is in view, beside its requests
    max_request_tokens: int = 96
    visual_tokens: int = 18  # of a frame
    fewest_frames: int | None = None  # None: always `frames`
    misled: float = _MISLED  # share of the answers with one thing that name another one
    aims: int = 0  # requests for the focus alone, which are not answered
    pictures: bool = True  # False: only what is on them is told
    wordings: tuple[Wording, ...] = (WIDENED,)  # sentences of the requests: of one of them at a time
    kinds: tuple[str, ...] = REQUEST_KINDS  # of requests
    most: int = MOST_TARGETS  # things that a request may mean
    known: tuple[str, ...] = TABLETOP  # kinds that are asked for though they are not there
    usual: float = 0.0  # share of them that is asked in the usual sentences, which are few among all
    part: tuple[int, int] = (0, 1)  # of so many processes the one whose clips these are
    loaders: int = 0  # processes that make batches; 0: a thread of this one
    photos: PhotoConfig | None = None  # pictures with outlines, for phases without words
    photo_share: float = 0.0  # of the batches that are of photos


def clips_under(root: Path) -> list[Path]:
    """The clips of a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    if not (clips := list_clips(root)):
        raise FileNotFoundError(f"no clips under {root}: make some with `villa data build`")
    return clips


class Feed:
    """Endless batches from the clips under a folder, in an order fixed by the seed and the count of loaders."""

    def __init__(self, config: FeedConfig, codec: TextCodec) -> None:
        self.config = config
        self.codec = codec
        self._rng = np.random.default_rng(config.seed)
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=_READY)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="villa-feed", daemon=True)
        self._photos = None if config.photos is None else PhotoFeed(config.photos)
        self._folders = self._own_clips()

    def __iter__(self) -> Iterator[Batch]:
        if self.config.loaders:
            yield from self._loaded()
            return
        if not self._thread.is_alive():
            self._thread.start()
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def _own_clips(self) -> list[Path]:
        which, count = self.config.part
        clips = clips_under(self.config.root)
        return clips[which::count] or clips

    def close(self) -> None:
        """Stop the background thread, and wait until it has: one that is cut off inside OpenCV as the process ends
        takes the process down with it. Loader processes end with the iterator.
        """
        self._closed.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_LONGEST_BATCH_S)

    def _loaded(self) -> Iterator[Batch]:
        """Batches that processes make, which hold none of the device.

        Forked off a server that has no threads. A fork of this process has OpenCV's pool of threads without the
        threads, and waits for them for ever; a spawned process ends as an interpreter does, which aborts where a thread
        is still inside torch.
        """
        config = self.config
        stream = _Loader(replace(config, device="cpu", loaders=0), self.codec)
        ahead = max(2, _READY // config.loaders)
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=config.loaders,
            prefetch_factor=ahead,
            multiprocessing_context="forkserver",
        )
        for batch in loader:
            yield batch.to(config.device)

    def endless(self) -> Iterator[Batch]:
        """Batches one after the other, each made when it is asked for."""
        looked = time.monotonic()
        while True:
            if time.monotonic() - looked > _NEW_CLIPS_S:
                self._folders, looked = self._own_clips(), time.monotonic()
            if self._photos is not None and self._rng.random() < self.config.photo_share:
                yield self._photos.make(self._rng).to(self.config.device)
                continue
            folder = self._folders[int(self._rng.integers(len(self._folders)))]
            yield self.make(ClipReader(folder), self._rng)

    def _work(self) -> None:
        batches = self.endless()
        try:
            while not self._closed.is_set():
                batch = next(batches)
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
        fewest = config.frames if config.fewest_frames is None else min(config.fewest_frames, config.frames)
        count = rng.integers(fewest, config.frames + 1)
        chosen = choose_frames(len(clip), int(count), rng)
        augmentation = Augmentation.draw(rng) if config.augment else None
        images = [clip.rgb(index) for index in chosen] if config.pictures else []
        if augmentation is not None:
            images = [augmentation.apply(image, rng) for image in images]
        masks = [clip.mask(index) for index in chosen]
        if config.zoom and rng.random() < 0.5:
            images, masks = zoomed(images, masks, rng)
        facts = clip.facts
        size = (config.width, config.height)
        tensor = scaled(images, size) if images else torch.zeros(0, 3, config.height, config.width)
        times = torch.tensor([(chosen[-1] - index) / facts.fps for index in chosen], dtype=torch.float32)
        questions: list[Question] = []
        targets: list[int] = []
        if config.requests:
            frame = FrameWords(facts, chosen[-1])
            ask = partial(self._ask, facts, chosen, rng)
            asked = ask(config.requests) + ask(config.absent, ("absent",))
            for _ in range(config.looks):
                checked = check(facts, chosen[-1], rng, config.known) if rng.random() < _CHECKED else None
                short = checked is not None and self._is_short(checked)
                if checked and short:
                    asked.append(checked)
                elif not facts.labelled:  # else who knows what else there is
                    asked.append(describe(facts, chosen[-1], rng))
            for sample in asked:
                question, ids = self._question(sample, frame, times.tolist())
                questions.append(question)
                targets += ids
        numbers = {thing.id: row for row, thing in enumerate(facts.objects)}
        aims = self._aims(facts, chosen, numbers, rng) if config.aims else None
        drawn = outlined(masks, list(numbers), (config.width // 4, config.height // 4))
        colours = [_colour(thing) for thing in facts.objects]

        def on_device(values: Any, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(values, dtype=dtype, device=config.device)

        return Batch(
            folder=clip.folder,
            chosen=tuple(chosen),
            images=tensor.to(config.device),
            times_s=times.to(config.device),
            questions=questions,
            masks=on_device(drawn.masks, torch.float32),
            boxes=on_device(drawn.boxes, torch.float32),
            middles=on_device(drawn.middles, torch.float32),
            kinds=on_device([_kind(thing) for thing in facts.objects], torch.long),
            colours=on_device(colours, torch.long),
            targets=on_device([numbers.get(identity, -1) for identity in targets], torch.long),
            happened=on_device(lessons(facts, chosen), torch.long),
            aims=aims,
            stretch=stretch_of((facts.width, facts.height), size),
        )

    def _ask(
        self,
        facts: ClipFacts,
        chosen: list[int],
        rng: np.random.Generator,
        count: int,
        kinds: Sequence[str] | None = None,
    ) -> list[RequestSample]:
        """Requests about the newest chosen frame and what happened since the first; in usual sentences all or none."""
        config = self.config
        # Without a share nothing is drawn for it: validation goes on asking what it asked of earlier runs.
        usual = config.usual > 0 and rng.random() < config.usual
        several = len(config.wordings) > 1
        wording = config.wordings[int(rng.integers(len(config.wordings))) if several else 0]
        samples = sample_requests(
            facts,
            chosen[-1],
            rng,
            count,
            config.kinds if kinds is None else kinds,
            since=chosen[0],
            wording=TRAINED if usual else wording,
            known=config.known,
            most=config.most,
        )
        return [sample for sample in samples if self._is_short(sample)]

    def _aims(self, facts: ClipFacts, chosen: list[int], rows: dict[int, int], rng: np.random.Generator) -> Aims:
        """Requests for the focus about the newest of the chosen frames."""
        config = self.config
        asked: list[RequestSample] = []
        ask = partial(self._ask, facts, chosen, rng)
        for share, kinds in _PRACTICE:
            asked += ask(round(share * config.aims), kinds)
        asked += ask(config.aims - len(asked))
        about = torch.zeros(len(asked), len(facts.objects), ROLES, dtype=torch.bool)
        for one, sample in zip(about, asked, strict=True):
            for aspect, ids in ((TARGET, sample.targets), (ANCHOR, sample.anchors), (CANDIDATE, sample.candidates)):
                one[[rows[identity] for identity in ids], aspect] = True
        tails = [self._prompt(sample, ()).tail for sample in asked]
        return Aims(tails, [sample.kind for sample in asked], about.to(config.device))

    def _is_short(self, sample: RequestSample) -> bool:
        """Is it read to its end? Long names in long sentences may be more than is."""
        try:
            self._prompt(sample, ())
        except RequestError:
            return False
        return True

    def _prompt(self, sample: RequestSample, times_s: Sequence[float]) -> Prompt:
        config = self.config
        # As a session remembers them: without marks.
        history = [(turn.request, answer_text.read(turn.answer).text) for turn in sample.history]
        return self.codec.prompt(sample.text, history, times_s, config.visual_tokens, config.max_request_tokens)

    def _question(
        self, sample: RequestSample, frame: FrameWords, times_s: list[float]
    ) -> tuple[Question, tuple[int, ...]]:
        config = self.config
        prompt = self._prompt(sample, times_s)
        answer, targets = sample.answer, tuple(sample.targets)
        if len(targets) == 1 and self._rng.random() < config.misled:
            # What is meant must be found in the request, not in the name that the answer gives it.
            answer = misled(targets[0], frame, self._rng) or answer
        elif len(targets) == 1 and self._rng.random() < _MISNAMED:
            answer = recoloured(sample, self._rng) or answer
        elif sample.kind == "absent" and self._rng.random() < _DOUBTED:
            # Presence must say no where the words fail to.
            answer, targets = mistaken(sample, frame, self._rng), (-1,)
        question = Question(
            prompt, tuple(self.codec.answer_ids(answer)), text_loss=answer == sample.answer, kind=sample.kind
        )
        return question, targets


class _Loader(IterableDataset[Batch]):
    """What one of several loader processes makes, each from a seed of its own."""

    def __init__(self, config: FeedConfig, codec: TextCodec) -> None:
        super().__init__()
        self.config, self.codec = config, codec

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number = 0 if worker is None else worker.id
        cv2.setNumThreads(1)  # the loaders share the cores among them
        yield from Feed(replace(self.config, seed=self.config.seed + _LOADER_SEEDS * number), self.codec).endless()


def lessons(facts: ClipFacts, chosen: Sequence[int]) -> list[list[int]]:
    """What happened to each object over the chosen frames, ascending: LESSONS of each; -1 where it is not plain."""
    seen = happenings(facts, chosen[0], chosen[-1])
    ends = None if seen.unsure else first_and_last(facts, seen)
    told = []
    for row, thing in enumerate(facts.objects):
        unsure = thing.id in seen.unsure
        # Between two chosen frames it may have been hidden and be back: who looks at those alone cannot know.
        missed = thing.id in seen.hidden and all(facts.frames[at][row].visible_px >= LEAST_PX for at in chosen)
        first, last = (-1 if who is None else int(thing.id == who) for who in ends or (None, None))
        moving = [int(thing.id in ids) for ids in (seen.moved, seen.fell, seen.lifted, seen.by_arm)]
        if thing.kind in PEOPLE:
            told.append([-1] * len(LESSONS))
            continue
        if thing.id in seen.passed_on:
            moving[-1] = -1
        told.append(
            [
                *(-1 if unsure else yes for yes in moving),
                -1 if unsure or missed else int(thing.id in seen.hidden),
                first,
                last,
            ]
        )
    return told


def _colour(thing: ObjectFacts) -> int:
    return UNCLEAR if thing.kind in MANY_COLOURED or not thing.colour else COLOURS.index(thing.colour)


def _kind(thing: ObjectFacts) -> int:
    return KINDS.index(thing.kind) if thing.kind in KIND else UNCLEAR


def mistaken(sample: RequestSample, frame: FrameWords, rng: np.random.Generator) -> str:
    """What a model that errs answers to a request for what is not there: its words, or something else in view."""
    nothing = "There is no "
    echoes = sample.answer.startswith(nothing)
    if frame.things and (not echoes or rng.random() < _MISTAKEN):
        (name,) = frame.names([frame.things[int(rng.integers(len(frame.things)))]])
    else:
        name = sample.answer.removeprefix(nothing).rstrip(".") if echoes else "object"
    return f"The {name} {SEG}."


def misled(target: int, frame: FrameWords, rng: np.random.Generator) -> str | None:
    """An answer that names another thing in view, or None where there is none.

    A model that names the wrong thing shall still point at what was asked for.
    """
    others = [thing for thing in frame.things if thing.id != target]
    if not others:
        return None
    (name,) = frame.names([others[int(rng.integers(len(others)))]])
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
    """The same random part of each frame, at least a third as wide as the whole, mirrored half of the time."""
    height, width = masks[0].shape
    share = float(rng.uniform(_CLOSEST, 1.0))
    rows, columns = round(height * share), round(width * share)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    step = -1 if rng.random() < 0.5 else 1
    part = (slice(top, top + rows), slice(left, left + columns))
    return (
        [np.ascontiguousarray(image[part][:, ::step]) for image in images],
        [np.ascontiguousarray(mask[part][:, ::step]) for mask in masks],
    )


def choose_frames(length: int, count: int, rng: np.random.Generator) -> list[int]:
    """Indices of `count` frames, ascending: half of the time at an even stride, else as it comes."""
    if count == 1 or length == 1:
        return [int(rng.integers(length))]
    count = min(count, length)
    if rng.random() < _UNEVEN:
        return sorted(map(int, rng.choice(length, count, replace=False)))
    longest = (length - 1) // (count - 1)
    stride = int(rng.integers(1, min(longest, 4) + 1))
    span = stride * (count - 1)
    start = int(rng.integers(length - span))
    return [start + stride * index for index in range(count)]
