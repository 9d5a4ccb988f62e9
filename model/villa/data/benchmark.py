"""A split's requests, in the annotation format of MeViS and ReVOS: one reader serves these clips and the public sets.

Beside the fields of that format an expression has `answer`, `kind`, `asked_at` (the frame at which it is asked live),
`after` (the expression that it follows up on), and for multiple choice `choices` with the right one's index, `choice`.
A video has `names`: all words that name each of its objects.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.clips import ClipFacts, ClipReader, ObjectFacts, list_clips
from villa.data.language.naming import FrameWords, plain_name
from villa.data.language.requests import ALL_KINDS, REQUEST_KINDS, RequestSample, sample_requests
from villa.data.splits import Split, is_unseen
from villa.files.whole import write_text

META, MASKS, FRAMES = "meta_expressions.json", "mask_dict.json", "JPEGImages"
OPENING = "opening"  # kind of a request that only opens a conversation: not scored
REQUESTS = 4  # raise it when the same facts would give another file
_DRAW = 1  # of the seed that requests are drawn with
# Each kind once a round, and twice what fails in the most ways.
_ROUND = (*REQUEST_KINDS, "absent", "time")
_WIDE_ROUND = (*ALL_KINDS, "absent", "time")
_ROUNDS = 4
_CHOICES = 4
_HIDDEN_FRAMES = 4  # of a cover after which a track has to find its object again


@dataclass(frozen=True)
class _Asked:
    sample: RequestSample
    at: int  # frame


def annotate(folder: Path, split: Split, workers: int = 1) -> Path:
    """Write the requests and masks of all finished clips of a split's folder; returns the path of the requests.

    Raises:
        ClipError: a clip is damaged.
    """
    clips = list_clips(folder)
    work = partial(_annotated, split)
    if workers > 1 and len(clips) > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            done = list(pool.map(work, clips, chunksize=8))
    else:
        done = [work(clip) for clip in clips]
    videos: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    frames = folder / FRAMES
    frames.mkdir(exist_ok=True)
    for number, (clip, (video, own)) in enumerate(zip(clips, done, strict=True)):
        videos[clip.name] = {"vid_id": number, **video}
        masks |= own
        link = frames / clip.name
        if not link.is_symlink():
            link.symlink_to(Path("..") / clip.name / "frames", target_is_directory=True)
    write_json(folder / MASKS, masks)
    write_json(folder / META, {"split": split.name, "requests": REQUESTS, "videos": videos})
    return folder / META


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write compact JSON, the whole file or none of it."""
    write_text(path, json.dumps(data, separators=(",", ":")))


def _annotated(split: Split, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    clip = ClipReader(folder)
    facts = clip.facts
    masks: dict[str, list[Any]] = {_mask_id(folder, thing.id): [] for thing in facts.objects}
    for t in range(len(clip)):
        drawn = clip.mask(t)
        for thing in facts.objects:
            masks[_mask_id(folder, thing.id)].append(run_lengths(drawn == thing.id))
    video = {
        "fps": facts.fps,
        "height": facts.height,
        "width": facts.width,
        "frames": [f"{t:04d}" for t in range(len(clip))],
        "objects": list(masks),
        "names": {_mask_id(folder, thing.id): _words(thing) for thing in facts.objects},
        "expressions": _expressions(folder, facts, split),
    }
    return video, masks


def run_lengths(mask: NDArray[Any]) -> dict[str, Any] | None:
    """Mask [H, W] -> COCO run lengths as JSON holds them; None where it is empty."""
    from pycocotools import mask as coco

    if not mask.any():
        return None
    coded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(coded["size"]), "counts": coded["counts"].decode()}


def _words(thing: ObjectFacts) -> list[str]:
    """All words that name an object, its colour among them."""
    return sorted({word for name in (thing.name, *thing.names) for word in name.lower().split()})


def _mask_id(folder: Path, identity: int) -> str:
    return f"{folder.name}_{identity}"


def _expressions(folder: Path, facts: ClipFacts, split: Split) -> dict[str, Any]:
    rng = np.random.default_rng([_DRAW, facts.seed])
    written: dict[str, Any] = {}

    def add(sample: RequestSample, at: int, after: str | None) -> str:
        entry: dict[str, Any] = {
            "exp": sample.text,
            "obj_id": [identity - 1 for identity in sample.targets],
            "anno_id": [_mask_id(folder, identity) for identity in sample.targets],
            "answer": sample.answer,
            "kind": sample.kind,
        }
        if split.asked_at is not None:
            entry["asked_at"] = at
        if after is not None:
            entry["after"] = after
        entry |= _choices(facts, sample, at, rng)
        written[str(len(written))] = entry
        return str(len(written) - 1)

    for asked in _requests(facts, split, rng):
        after = None
        for turn in asked.sample.history:
            # Asked only so that the next one has something to follow up on.
            after = add(RequestSample(OPENING, turn.request, (turn.target,), turn.answer), asked.at, after)
        add(asked.sample, asked.at, after)
    return written


def _requests(facts: ClipFacts, split: Split, rng: np.random.Generator) -> list[_Asked]:
    """Requests of as many kinds as the clip offers; where others have to find objects again, mostly about those."""
    last = len(facts.frames) - 1
    at = last if split.asked_at is None else min(split.asked_at, last)
    also = () if split.asked_at is not None else tuple(int(t) for t in np.linspace(0, last, 4)[:-1])
    wanted = _worth_asking(facts, split, at)
    chosen: list[_Asked] = []
    rest: list[_Asked] = []
    said: set[str] = set()
    for _ in range(_ROUNDS):
        for kind in rng.permutation(_WIDE_ROUND if split.wide else _ROUND):
            for sample in sample_requests(facts, at, rng, 1, (str(kind),), also_on=also, wording=split.wording):
                if sample.text in said or len(chosen) >= split.requests:
                    continue
                said.add(sample.text)
                fits = wanted is None or (sample.targets and set(sample.targets) <= wanted)
                (chosen if fits else rest).append(_Asked(sample, at))
    if split.unseen_objects:  # what asks for other objects belongs to another split
        rest = [asked for asked in rest if not asked.sample.targets][: split.requests // 4]
    return chosen + rest[: split.requests - len(chosen)]


def _worth_asking(facts: ClipFacts, split: Split, at: int) -> set[int] | None:
    """Ids of the objects that a split is about; None: all."""
    if split.unseen_objects:
        return {thing.id for thing in facts.objects if is_unseen(thing)}
    if split.story == "hidden":
        return {
            event.object_id
            for event in facts.events
            if event.kind == "occluded"
            and event.first > at
            and event.last - event.first + 1 >= _HIDDEN_FRAMES
            and event.last < len(facts.frames) - 1
        }
    return None


def _choices(facts: ClipFacts, sample: RequestSample, at: int, rng: np.random.Generator) -> dict[str, Any]:
    """Names to choose from, for requests that mean one thing; nothing where fewer than three differ."""
    if len(sample.targets) != 1:
        return {}
    things = FrameWords(facts, at).things
    right = next((plain_name(thing) for thing in things if thing.id == sample.targets[0]), None)
    names = [plain_name(thing) for thing in things]
    if right is None or names.count(right) != 1:
        return {}
    wrong = sorted(set(names) - {right})
    if len(wrong) < 2:
        return {}
    picked = [str(name) for name in rng.permutation(wrong)[: _CHOICES - 1]]
    place = int(rng.integers(len(picked) + 1))
    return {"choices": [*picked[:place], right, *picked[place:]], "choice": place}
