"""Tiny folders in the format of each public benchmark, and a model that answers what it is told to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import mevis
import numpy as np
from numpy.typing import NDArray

from villa import masks
from villa.evaluation.submission import palette
from villa.inference.video import Segmentation, Tracklet

Mask = NDArray[np.bool_]
Track = Sequence[Mask | None]
SIZE = (40, 60)
FRAMES = 5
NAMES = [f"{t:05d}" for t in range(FRAMES)]


def track(number: int, shift: int = 0) -> list[Mask]:
    """Object 1 is a box that goes right, object 2 one that goes up."""
    found = []
    for t in range(FRAMES):
        mask = np.zeros(SIZE, np.bool_)
        y, x = ((4, 4 + 4 * t), (24 - 2 * t, 40))[number - 1]
        mask[y : y + 12, x + shift : x + shift + 14] = True
        found.append(mask)
    return found


def labels() -> list[NDArray[np.uint8]]:
    """Label images of both objects; the last row of each is void."""
    images = []
    for one, two in zip(track(1), track(2), strict=True):
        image = np.zeros(SIZE, np.uint8)
        image[one], image[two], image[-1] = 1, 2, 255
        images.append(image)
    return images


def images(folder: Path, names: Sequence[str] = NAMES) -> None:
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.jpg"), np.full((*SIZE, 3), 120, np.uint8))


def label_images(folder: Path, drawn_labels: Sequence[NDArray[np.uint8]] | None = None) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    for name, image in zip(NAMES, labels() if drawn_labels is None else drawn_labels, strict=True):
        drawn = Image.fromarray(image)
        drawn.putpalette(palette().reshape(-1).tolist())
        drawn.save(folder / f"{name}.png")


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def edit(path: Path, change: Any) -> None:
    """Change a JSON file in place."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


# -- one maker a set -------------------------------------------------------------------------------------------------


def make_mevis(root: Path, videos: int = 2) -> Path:
    for split in ("valid_u", "valid"):
        mevis.draw(root / split, FRAMES, answers=False, videos=videos)
    (root / "valid" / "mask_dict.json").unlink()

    def hide(data: dict[str, Any]) -> None:
        for video in data["videos"].values():
            video["expressions"] = {key: {"exp": e["exp"]} for key, e in video["expressions"].items()}

    edit(root / "valid" / "meta_expressions.json", hide)
    return root


def make_mevis_v2(root: Path) -> Path:
    make_mevis(root)
    (root / "valid_u/meta_expressions.json").rename(root / "valid_u/meta_expressions_v2.json")
    (root / "valid/meta_expressions.json").rename(root / "valid/meta_expressions_v2_release.json")
    return root


def make_revos(root: Path) -> Path:
    mevis.draw(root, FRAMES, answers=False)

    def typed(data: dict[str, Any]) -> None:
        for video in data["videos"].values():
            video |= {"height": 64, "width": 96}
            for key, value in video["expressions"].items():
                value["type_id"] = {"0": 0, "1": 1, "2": 1, "3": 2}[key]

    edit(root / "meta_expressions.json", typed)
    (root / "meta_expressions.json").rename(root / "meta_expressions_valid_.json")
    coded = json.loads((root / "mask_dict.json").read_text())
    from pycocotools import mask as coco

    merged = []
    for t in range(FRAMES):
        union = np.zeros((64, 96), np.bool_)
        for own in coded.values():
            if own[t] is not None:
                union |= coco.decode(own[t]).astype(np.bool_)
        merged.append(mevis.rle(union))
    write(root / "mask_dict_foreground.json", {"video0": {"masks_rle": merged, "foreground_ratio": [0.1] * FRAMES}})
    return root


def _told(words: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {key: {"exp": exp, "obj_id": identity} for key, (exp, identity) in words.items()}


def make_ref_youtube_vos(root: Path) -> Path:
    told = {"0": ("the box that goes right", "1"), "1": ("the box that goes up", "2")}
    for split, names in (("train", ["a"]), ("valid", ["b", "c"]), ("test", ["c"])):
        hidden = {key: {"exp": value["exp"]} for key, value in _told(told).items()}
        expressions = _told(told) if split == "train" else hidden
        videos = {name: {"frames": NAMES, "expressions": expressions} for name in names}
        write(root / "meta_expressions" / split / "meta_expressions.json", {"videos": videos})
        for name in names:
            images(root / split / "JPEGImages" / name)
    label_images(root / "train/Annotations/a")
    return root


WORDS = ("right, first", "right, whole", "box one, first", "box one, whole")
OTHERS = ("up, first", "up, whole", "box two, first", "box two, whole")


def make_ref_davis17(root: Path) -> Path:
    told = {str(key): (exp, "1") for key, exp in enumerate(WORDS)}
    told |= {str(key + 4): (exp, "2") for key, exp in enumerate(OTHERS)}
    meta = {"videos": {"goat": {"frames": NAMES, "expressions": _told(told)}}}
    write(root / "meta_expressions/valid/meta_expressions.json", meta)
    images(root / "valid/JPEGImages/goat")
    label_images(root / "valid/Annotations/goat")
    return root


def make_published_davis(root: Path) -> Path:
    images(root / "DAVIS/JPEGImages/480p/goat")
    label_images(root / "DAVIS/Annotations_unsupervised/480p/goat")
    (root / "DAVIS/ImageSets/2017").mkdir(parents=True)
    (root / "DAVIS/ImageSets/2017/val.txt").write_text("goat\n")
    (root / "davis_text_annotations").mkdir()
    files = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")
    for name, one, two in zip(files, WORDS, OTHERS, strict=True):
        lines = f'goat 2 "{two}"\ngoat 1 "{one}"\nclasic-car 1 "a café"\n'
        encoding = "latin-1" if "2" in name else "utf-8"
        (root / f"davis_text_annotations/Davis17_{name}.txt").write_text(lines, encoding)
    return root


def make_davis2016(root: Path, tracks: Sequence[int] = (1, 1)) -> Path:
    """As DAVIS 2016 lies: a red box on gray, masks of 0 and 255, and a list with the paths of all frames."""
    lines = []
    for video, number in zip(("bear", "camel"), tracks, strict=False):
        images(root / "JPEGImages/480p" / video)
        folder = root / "Annotations/480p" / video
        folder.mkdir(parents=True)
        for name, mask in zip(NAMES, track(number), strict=True):
            picture = np.full((*SIZE, 3), 120, np.uint8)
            picture[mask] = (30, 30, 200)  # blue first
            cv2.imwrite(str(root / f"JPEGImages/480p/{video}/{name}.jpg"), picture)
            cv2.imwrite(str(folder / f"{name}.png"), mask.astype(np.uint8) * 255)
            lines.append(f"/JPEGImages/480p/{video}/{name}.jpg /Annotations/480p/{video}/{name}.png")
    (root / "ImageSets/480p").mkdir(parents=True)
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines) + "\n")
    return root


def make_davis2017(root: Path) -> Path:
    """The same sequences as DAVIS 2017 has them: label images of several objects, and a list of names."""
    for video in ("bear", "camel"):
        images(root / "JPEGImages/480p" / video)
        drawn = [np.where(image == 255, 0, image).astype(np.uint8) for image in labels()]
        label_images(root / "Annotations/480p" / video, drawn)
    (root / "ImageSets/2016").mkdir(parents=True)
    (root / "ImageSets/2016/val.txt").write_text("bear\ncamel\n")
    return root


def make_reason_vos(root: Path) -> Path:
    asked = [
        {"obj_id": 1, "exp_id": 0, "exp_text": "What goes right?", "is_sent": True},
        {"obj_id": 2, "exp_id": 0, "exp_text": "the one that rises", "is_sent": False},
    ]
    entry = {"source": "BURST", "frames": NAMES, "expressions": asked}
    write(root / "meta_expressions.json", {"videos": {"a_b": entry}})
    images(root / "JPEGImages/a_b")
    for number, kept in ((1, range(0, FRAMES, 2)), (2, range(FRAMES))):
        folder = root / "Annotations" / f"BURST_a_b_{number}"
        folder.mkdir(parents=True)
        for t in kept:
            cv2.imwrite(str(folder / f"{NAMES[t]}.png"), track(number)[t].astype(np.uint8) * 255)
    return root


def make_video_reason_seg(root: Path) -> Path:
    mevis.draw(root / "test", FRAMES)

    def ask(data: dict[str, Any]) -> None:
        told = data["videos"]["video0"]["expressions"]
        told["0"] |= {"kind": "short", "choices": ["red box", "blue box"], "choice": 0}
        told["1"] |= {"kind": "long", "choices": ["red box", "blue box"], "choice": 1}
        told["2"] |= {"kind": "long", "after": "0"}

    edit(root / "test/meta_expressions.json", ask)
    return root


def make_tabletop(root: Path) -> Path:
    mevis.draw(root / "val", FRAMES)

    def ask(data: dict[str, Any]) -> None:
        told = data["videos"]["video0"]["expressions"]
        told["0"]["kind"] = "opening"
        told["1"] |= {"kind": "follow-up", "after": "0"}
        told["3"]["kind"] = "absent"

    edit(root / "val/meta_expressions.json", ask)
    return root


def make_real_clips(root: Path) -> Path:
    """A half of which one clip could not be had."""
    mevis.draw(root / "seen", FRAMES, answers=False)

    def ask(data: dict[str, Any]) -> None:
        data |= {"split": "seen", "missing": {"cup": "no network"}}
        for key, value in data["videos"]["video0"]["expressions"].items():
            value["kind"] = "absent" if key == "3" else "name"

    edit(root / "seen/meta_expressions.json", ask)
    return root


def make_coco_names(root: Path) -> Path:
    """Two photos of one source that labels everything, and one of a source that does not."""
    folder = root / "images"
    images(folder, ["0", "1", "2"])

    def box(left: int, top: int, width: int, height: int) -> dict[str, Any]:
        right, bottom = left + width, top + height
        polygon = [left, top, right, top, right, bottom, left, bottom]
        return {"segmentation": [polygon], "bbox": [left, top, width, height], "iscrowd": 0}

    crowd = np.zeros(SIZE, np.uint8)
    crowd[30:, :] = 1
    labelled = [
        (0, 1, box(5, 5, 12, 12)),  # one cup
        (0, 2, box(25, 5, 8, 8)),  # two knives
        (0, 2, box(40, 5, 8, 8)),
        (0, 3, {"segmentation": mevis.rle(crowd.astype(np.bool_)), "bbox": [0, 30, 60, 10], "iscrowd": 1}),
        (1, 3, box(0, 0, 60, 40)),  # too large to be asked for
        (1, 1, box(2, 2, 1, 1)),  # too small
        (2, 4, box(10, 10, 10, 10)),
    ]
    annotations = [
        {"id": number, "image_id": image, "category_id": category, **rest}
        for number, (image, category, rest) in enumerate(labelled)
    ]
    height, width = SIZE
    sources = ("kitchen", "kitchen", "pantry")
    pictures = [
        {"id": n, "file_name": f"{n}.jpg", "width": width, "height": height, "source": source, "split": "val"}
        for n, source in enumerate(sources)
    ]
    pictures.append({**pictures[0], "id": 9, "split": "train"})
    names = [{"id": 1, "name": "cup"}, {"id": 2, "name": "knife"}, {"id": 3, "name": "book"}, {"id": 4, "name": "jar"}]
    write(root / "instances.json", {"images": pictures, "annotations": annotations, "categories": names})
    return root


MAKERS = {
    "mevis": make_mevis,
    "mevis-v2": make_mevis_v2,
    "revos": make_revos,
    "ref-youtube-vos": make_ref_youtube_vos,
    "ref-davis17": make_ref_davis17,
    "reason-vos": make_reason_vos,
    "video-reason-seg": make_video_reason_seg,
    "tabletop": make_tabletop,
    "coco-names": make_coco_names,
    "real-clips": make_real_clips,
    "davis2016": make_davis2016,
}


# -- models ----------------------------------------------------------------------------------------------------------


class Told:
    """Answers words with the masks that it is told, all others with nothing; knows no image."""

    def __init__(self, answers: Mapping[str, Sequence[Track]], breaks_at: str = "", error: type = RuntimeError) -> None:
        self.answers, self.breaks_at, self.error = answers, breaks_at, error
        self.heard: list[str] = []
        self.given: list[Mask] = []
        self.histories: list[tuple[tuple[str, str], ...]] = []

    def segment(self, video, text, *, fps=10.0, history=()) -> Segmentation:
        self.heard.append(text)
        self.histories.append(tuple(history))
        assert video[0].dtype == np.uint8
        if text == self.breaks_at:
            raise self.error(f"no answer to {text}")
        tracks = self.answers.get(text, ())
        coded = [tuple(None if mask is None else masks.encode(mask) for mask in own) for own in tracks]
        return Segmentation(f"about {text}", "", "stop", (0,), tuple(Tracklet("it", 1.0, 0, own, ()) for own in coded))

    def propagate(self, frames, mask, *, fps=10.0):
        """The masks that it is told for no words; `given` holds the first masks."""
        self.given.append(mask)
        told = self.answers.get("", ())
        for t, frame in enumerate(frames):
            assert frame.dtype == np.uint8
            found = next((own[t] for own in told if own[t] is not None), None)
            yield None if found is None else masks.encode(found)


class Choosing(Told):
    """Takes the first of the answers that it is given."""

    def rank(self, video, text, names, *, fps=10.0, history=()):
        return [-float(index) for index in range(len(names))]


def truth_of(benchmark) -> dict[str, list[Track]]:
    """The true masks of every expression by its words."""
    found: dict[str, list[Track]] = {}
    for video in benchmark.videos:
        shape = benchmark.rgb(video, 0).shape[:2]
        for expression in video.expressions:
            scored = benchmark.scored_frames(video, expression)
            frames = range(len(video.frames))
            own = [benchmark.mask(video, expression, t, shape) if t in scored else None for t in frames]
            found[expression.text] = [own] if expression.masks else []
    return found
