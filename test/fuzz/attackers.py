"""What is attacked: all that takes bytes from a stranger. Each attacker makes inputs, and gives one to the product.

An attack may end in the errors that the product documents; whatever else comes out is a finding.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import cv2
import numpy as np
import yaml
from fakes import BlobModel, frame, painted
from mutation import NASTY_NUMBERS, NASTY_TEXTS, damaged, garbled, json_of, twisted

REFUSED, TAKEN = "refused", "taken"


class Attacker:
    """One kind of input."""

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """`folder` is the attacker's own, for the files it attacks with."""
        self.folder = folder

    def make(self, rng: random.Random) -> bytes:
        """An input."""
        raise NotImplementedError

    def undamaged(self) -> bytes:
        """An input as it should be, which is TAKEN: else nothing behind the first check is attacked."""
        raise NotImplementedError

    def attack(self, data: bytes) -> str:
        """Give it to the product: was it REFUSED, by an error that is documented, or TAKEN?"""
        raise NotImplementedError

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


def _refusing(call: Callable[[], Any], *refusals: type[Exception]) -> str:
    try:
        call()
    except refusals as error:
        words = str(error)
    else:
        return TAKEN
    assert words, "an error without words"
    return REFUSED


class Images(Attacker):
    """Compressed pictures and depth, as they come on a topic."""

    name = "images"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        rng = np.random.default_rng(0)
        picture = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (48, 36), interpolation=cv2.INTER_CUBIC)
        gray16 = rng.integers(0, 3000, (20, 30), np.uint16)
        self._seeds = [
            cv2.imencode(".jpg", picture)[1].tobytes(),
            cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
            cv2.imencode(".jpg", picture[..., 0])[1].tobytes(),
            cv2.imencode(".png", picture)[1].tobytes(),
            cv2.imencode(".png", np.dstack((picture, picture[..., 0])))[1].tobytes(),
            cv2.imencode(".png", gray16)[1].tobytes(),
            cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes(),
        ]
        header = np.array([0], np.int32).tobytes() + np.array([1.0, 0.0], np.float32).tobytes()
        self._depths = [header + self._seeds[5], header + np.array([30, 20], np.int32).tobytes() + bytes(range(200))]

    def make(self, rng: random.Random) -> bytes:
        kind = rng.randrange(5)
        if kind < 3:
            return bytes([0]) + damaged(rng.choice(self._seeds), rng, self._seeds)
        return bytes([kind - 2]) + damaged(self._depths[kind - 3], rng, self._depths)

    def undamaged(self) -> bytes:
        return bytes([0]) + self._seeds[0]

    def attack(self, data: bytes) -> str:
        from villa_ros.conversions.images import BadImage, depth_from_message, frame_from_compressed

        header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="c")
        form = {0: "jpeg", 1: "16UC1; compressedDepth png", 2: "16UC1; compressedDepth rvl"}.get(
            data[0] if data else 0, ""
        )
        message = SimpleNamespace(header=header, format=form, data=np.frombuffer(data[1:], np.uint8))
        if form == "jpeg":
            return _refusing(lambda: frame_from_compressed(message, "camera").rgb(), BadImage)
        return _refusing(lambda: depth_from_message(message).metres(slice(None), slice(None)), BadImage)


class RawImages(Attacker):
    """Fields of sensor_msgs/Image that contradict each other."""

    name = "raw-images"

    def make(self, rng: random.Random) -> bytes:
        from villa_ros.pipeline.raw_encodings import names

        encoding = rng.choice(names())
        height, width = rng.choice((1, 2, 3, 8, 33)), rng.choice((1, 2, 4, 7, 64))
        step = width * rng.choice((1, 2, 3, 4, 6, 8, 12, 16))
        values = {
            "encoding": encoding, "height": height, "width": width, "step": step, "big": rng.randrange(2),
            "bytes": height * step * rng.choice((1, 1, 1, 2, 3)) // rng.choice((1, 1, 1, 2)),
            "tones": rng.choice((None, [0, 9])),
        }  # fmt: skip
        if rng.random() < 0.4:
            key = rng.choice(("height", "width", "step", "bytes"))
            values[key] = rng.choice(
                (0, 1, 2**31 - 1, 2**32 - 1, values[key] + 1, values[key] * 2, max(0, values[key] - 1))
            )
        if rng.random() < 0.1:
            values["encoding"] = garbled(encoding, rng)
        return json.dumps(values).encode("utf-8", "surrogatepass")

    def undamaged(self) -> bytes:
        good = {"encoding": "rgb8", "height": 3, "width": 4, "step": 12, "big": 0, "bytes": 36, "tones": None}
        return json.dumps(good).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.pipeline.image_view import ImageError, raw_view

        values = json.loads(data)
        pixels = np.arange(min(int(values["bytes"]), 100_000), dtype=np.int64).astype(np.uint8)
        tones = None if values["tones"] is None else tuple(values["tones"])
        return _refusing(
            lambda: raw_view(
                values["height"],
                values["width"],
                values["encoding"],
                values["step"],
                pixels,
                bool(values["big"]),
                tones,
            ).rgb(),
            ImageError,
        )


class Video(Attacker):
    """H.264 packets, several in a row to one stream."""

    name = "video"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from videos import packets

        self._packets = packets([np.full((48, 64, 3), 20 * row, np.uint8) for row in range(6)], key_every=3)

    def make(self, rng: random.Random) -> bytes:
        sent = [damaged(one, rng, self._packets) if rng.random() < 0.4 else one for one in self._packets]
        rng.random() < 0.3 and rng.shuffle(sent)
        return json.dumps([list(one) for one in sent]).encode()

    def undamaged(self) -> bytes:
        return json.dumps([list(one) for one in self._packets]).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.pipeline.image_view import ImageError
        from villa_ros.pipeline.video_stream import VideoStream

        stream = VideoStream()
        results = [
            _refusing(lambda one=one: stream.picture(bytes(one), "h264"), ImageError) for one in json.loads(data)
        ]
        return REFUSED if REFUSED in results else TAKEN


_COMMAND: dict[str, Any] = {
    "action": 1, "request_id": "r1", "text": "the red mug", "camera": "", "conversation_id": "c", "locale": "en",
    "confidence": 0.5, "track": True, "timeout": 1.5, "clip_duration": 0.0, "stamp": 1_000_000_000,
}  # fmt: skip


class Commands(Attacker):
    """Bursts of commands to an engine that works between them."""

    name = "commands"

    def make(self, rng: random.Random) -> bytes:
        script = []
        for _ in range(rng.randrange(1, 6)):
            command = dict(
                _COMMAND, action=rng.randrange(6), text=rng.choice(("the red box", "blue box", "stop", *NASTY_TEXTS))
            )
            for _ in range(rng.choice((0, 1, 1, 2))):
                key = rng.choice(list(command))
                value = command[key]
                if isinstance(value, str):
                    command[key] = garbled(value, rng)
                elif key == "action":
                    command[key] = rng.randrange(256)
                elif isinstance(value, bool):
                    command[key] = not value
                else:
                    command[key] = rng.choice(
                        [one for one in NASTY_NUMBERS if -(2**31) <= one < 2**31 or not math.isfinite(one)]
                    )
            script.append(command)
        return json.dumps(script).encode("utf-8", "surrogatepass")

    def undamaged(self) -> bytes:
        return json.dumps([_COMMAND]).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.conversions.events import request_from_message
        from villa_ros.pipeline.config import PipelineConfig
        from villa_ros.pipeline.events import StatusEvent
        from villa_ros.pipeline.request import RequestState
        from villa_ros.pipeline.worker import Worker

        events: list[Any] = []
        config = PipelineConfig(policy="queue" if len(data) % 2 else "preempt")
        worker = Worker(BlobModel(), config, events.append, clock=lambda: 1_000_000, nonce="n")
        worker.offer(frame(0))
        for command in json.loads(data):
            message = _message(command)
            request_id = worker.submit(request_from_message(message, camera=""))
            told = [event for event in events if isinstance(event, StatusEvent) and event.request_id == request_id]
            assert told or message.action in (3,), f"nothing was said of {request_id!r}"
            for _ in range(3):
                worker.turn()
        for _ in range(200):
            if not worker.turn():
                break
        stats = worker.stats()
        assert not stats.internal_errors, stats.last_error
        assert not stats.sink_errors, stats.last_error
        worker.stop()
        states = [event.state for event in events if isinstance(event, StatusEvent)]
        return REFUSED if RequestState.REJECTED in states else TAKEN


def _message(values: dict[str, Any]) -> Any:
    """Fields as DDS can carry them, in the shape of villa_msgs/Command."""

    def duration(seconds: Any) -> Any:
        whole = int(seconds) if math.isfinite(seconds) else 2**31 - 1
        return SimpleNamespace(sec=max(-(2**31), min(2**31 - 1, whole)), nanosec=abs(whole) % 2**32)

    action = values["action"]
    return SimpleNamespace(
        header=SimpleNamespace(stamp=duration(values["stamp"]), frame_id=""),
        action=action,
        request_id=values["request_id"],
        conversation_id=values["conversation_id"],
        text=values["text"],
        locale=values["locale"],
        confidence=float(values["confidence"]),
        camera=values["camera"],
        track=bool(values["track"]),
        timeout=duration(values["timeout"]),
        clip_duration=duration(values["clip_duration"]),
    )


class Words(Attacker):
    """Texts for a language model's tokenizer, and for whoever looks for a stop."""

    name = "words"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from tiny import tiny_model

        from villa.predictor import ViLLa

        self._model = ViLLa(tiny_model())

    def make(self, rng: random.Random) -> bytes:
        base = rng.choice(("the red mug", "all mugs left of the plate", "stop the robot", "don't stop", *NASTY_TEXTS))
        return garbled(base, rng).encode("utf-8", "surrogatepass")

    def undamaged(self) -> bytes:
        return b"the red mug"

    def attack(self, data: bytes) -> str:
        from villa_ros.pipeline.command_validation import refusal
        from villa_ros.pipeline.config import PipelineConfig
        from villa_ros.pipeline.request import Request
        from villa_ros.pipeline.stop_words import is_stop
        from villa_ros.speech.stop_phrases import is_spoken_stop

        text = data.decode("utf-8", "surrogatepass")
        is_stop(text), is_spoken_stop(text)
        if refusal(Request("r", text), PipelineConfig()) is not None:
            return REFUSED
        return REFUSED if self._model.objection(text) else TAKEN


class Bags(Attacker):
    """Damaged recordings, MCAP and sqlite."""

    name = "bags"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from small_bags import write_bag

        from villa_ros.pipeline.request import Request

        made = write_bag(folder / "seed", frames=4, commands=[Request("one", "the red box", stamp_ns=1)])
        self._mcap = next(made.glob("*.mcap")).read_bytes() if made.is_dir() else made.read_bytes()
        self._db = self._sqlite(folder / "sqlite")

    @staticmethod
    def _sqlite(path: Path) -> bytes:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from small_bags import IMAGE_TOPIC, raw_image, stamp

        from villa_ros.bags.typestore import villa_typestore

        store = villa_typestore()
        with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
            images = writer.add_connection(IMAGE_TOPIC, "sensor_msgs/msg/Image", typestore=store)
            for row in range(4):
                message = raw_image(row, painted(red=(2, 2, 8, 8)))
                writer.write(images, stamp(row), store.serialize_cdr(message, "sensor_msgs/msg/Image"))
        return next(path.glob("*.db3")).read_bytes()

    def make(self, rng: random.Random) -> bytes:
        seed = self._mcap if rng.random() < 0.6 else self._db
        data = damaged(seed, rng)
        if rng.random() < 0.3:  # where most formats say how long what is
            head = damaged(seed[:400], rng)
            data = head + seed[400:]
        return data

    def undamaged(self) -> bytes:
        return self._mcap

    def attack(self, data: bytes) -> str:
        from villa_ros.bags.reader import Bag, BagError
        from villa_ros.conversions.images import BadImage

        path = self.file("bag.db3" if data[:6] == b"SQLite" else "bag.mcap", data)

        def read() -> None:
            with Bag(path) as bag:
                for topic in list(bag.colour_topics())[:2]:
                    for one in islice(bag.frames(topic, "camera"), 20):
                        with suppress(BadImage):
                            one.rgb()
                for topic in bag.topics_of("villa_msgs/msg/Command"):
                    bag.commands(topic, "camera")

        return _refusing(read, BagError)


class Scenarios(Attacker):
    """Files for villa eval."""

    name = "scenarios"

    _SEED: ClassVar[dict[str, Any]] = {
        "name": "s", "mode": "real-time", "seed": 1, "model": {"device": "cpu", "threads": 1},
        "latencies": {"fast": "40 ms", "slow_step": 0.1}, "settings": {"policy": "queue", "clip_frames": 8},
        "criteria": ["J&F >= 0.5", "p95 first mask <= 2 s"],
        "bags": [{
            "name": "b", "path": "sample", "cameras": {"camera": "/image"}, "command_topic": "/command",
            "requests": [{"id": "r", "text": "the mug", "at": "1 s", "timeout": 3, "objects": [1, 2], "absent": False}],
            "truth": {"folder": "labels", "video": "v"}, "criteria": ["J >= 0.5"],
        }],
    }  # fmt: skip

    def make(self, rng: random.Random) -> bytes:
        kind = rng.random()
        if kind < 0.05:
            depth = rng.randrange(8, 40)
            lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
            lines += [f"a{row}: &a{row} [{', '.join([f'*a{row - 1}'] * 9)}]" for row in range(1, depth)]
            return "\n".join([*lines, f"name: *a{depth - 1}", "bags: *a3"]).encode()
        if kind < 0.08:
            return b"a: " + b"[" * 5000
        try:
            text = yaml.safe_dump(twisted(self._SEED, rng), allow_unicode=True)
        except (yaml.YAMLError, UnicodeError, RecursionError):
            text = "bags: [1"
        if kind < 0.3:
            text = garbled(text, rng)
        return text.encode("utf-8", "surrogatepass")

    def undamaged(self) -> bytes:
        return yaml.safe_dump(self._SEED).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.evaluation.scenario import ScenarioError, read_scenario

        return _refusing(lambda: read_scenario(self.file("scenario.yaml", data)), ScenarioError)


class Results(Attacker):
    """What villa eval wrote, read again to be compared."""

    name = "results"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from villa_ros.evaluation.results import Asked, BagResult, ScenarioResult, Verdict, to_json

        asked = Asked(**{row.name: _example(row) for row in fields(Asked)})
        verdicts = (Verdict("jf >= 0.5", True, 0.7),)
        bag = BagResult("b", "bag", "b", {"camera": 3}, {"camera": {"late": 1}}, 1, 2, (asked,))
        result = ScenarioResult(
            "s", "s.yaml", "every-frame", {"checkpoint": "x"}, {"policy": "queue"}, 0, (bag,), verdicts
        )
        self._seed = to_json(result)

    def make(self, rng: random.Random) -> bytes:
        return json_of(rng, self._seed)

    def undamaged(self) -> bytes:
        return json.dumps(self._seed).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.evaluation.results import ResultError, read_result

        path = self.file("result.json", data)

        def read() -> None:
            result = read_result(path)
            [asked.right for _, asked in result.requests]
            str(result.passed)

        return _refusing(read, ResultError)


def _example(row: Any) -> Any:
    kind = str(row.type)
    if "tuple" in kind:
        return ()
    if kind.startswith("str"):
        return "x"
    if kind.startswith("bool"):
        return True
    return 1 if kind.startswith("int") else 0.5 if kind.startswith("float") else None


class Benchmarks(Attacker):
    """Annotations of published sets, and of our own."""

    name = "benchmarks"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import mevis

        self._root = mevis.draw(folder / "set" / "valid_u", frames=3, size=(24, 32))
        self._meta = json.loads((self._root / "meta_expressions.json").read_text())
        self._masks = json.loads((self._root / "mask_dict.json").read_text())

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return b"m" + json_of(rng, self._meta)
        return b"k" + json_of(rng, self._masks)

    def undamaged(self) -> bytes:
        return b"k" + json.dumps(self._masks).encode()

    def attack(self, data: bytes) -> str:
        from villa.evaluation.benchmarks.interface import BenchmarkError
        from villa.evaluation.benchmarks.mevis import MeViS

        meta, masks = json.dumps(self._meta).encode(), json.dumps(self._masks).encode()
        (self._root / "meta_expressions.json").write_bytes(data[1:] if data[:1] == b"m" else meta)
        (self._root / "mask_dict.json").write_bytes(data[1:] if data[:1] == b"k" else masks)

        def read() -> None:
            made = MeViS(self.folder / "set", "valid_u")
            for video in made.videos:
                for expression in video.expressions:
                    for index in range(min(3, len(video.frames))):
                        made.mask(video, expression, index, (24, 32))

        return _refusing(read, BenchmarkError)


class Labels(Attacker):
    """Folders of labels that a person edited."""

    name = "labels"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from PIL import Image

        from villa_ros.evaluation.labels.format import ANNOTATIONS, davis_palette
        from villa_ros.pipeline.request import Request

        self._images = folder / ANNOTATIONS
        self._images.mkdir(parents=True)
        pixels = np.zeros((24, 32), np.uint8)
        pixels[4:12, 5:20] = 1
        self._pngs = {}
        for at in (1000, 2000):
            image = Image.fromarray(pixels, "P")
            image.putpalette(davis_palette().reshape(-1).tolist())
            image.save(self._images / f"{at}.png")
            self._pngs[at] = (self._images / f"{at}.png").read_bytes()
        from pycocotools import mask as coco

        coded = coco.encode(np.asfortranarray((pixels == 1).astype(np.uint8)))
        runs = {"size": [24, 32], "counts": coded["counts"].decode()}
        command = {
            key: value for key, value in asdict(Request("r", "the mug")).items() if key not in ("request_id", "text")
        }
        command["confidence"] = None
        self._seed = {
            "videos": [{"height": 24, "width": 32, "stamps_ns": [1000, 2000], "camera": "camera", "topic": "/image"}],
            "categories": [{"id": 1, "name": "mug"}],
            "annotations": [{"id": 1, "track_id": "t1", "category_id": 1, "segmentations": [runs, None]}],
            "requests": [
                {
                    "request_id": "r",
                    "text": "the mug",
                    "objects": [1],
                    "begin_ns": 1000,
                    "end_ns": None,
                    "command": command,
                }
            ],
        }

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return b"p" + damaged(self._pngs[1000], rng)
        return b"j" + json_of(rng, self._seed)

    def undamaged(self) -> bytes:
        return b"j" + json.dumps(self._seed).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.evaluation.labels.format import LABELS
        from villa_ros.evaluation.labels.read import LabelsError, read_labels

        described = data[1:] if data[:1] == b"j" else json.dumps(self._seed).encode()
        (self.folder / LABELS).write_bytes(described)
        (self._images / "1000.png").write_bytes(data[1:] if data[:1] == b"p" else self._pngs[1000])
        return _refusing(lambda: read_labels(self.folder).truth(), LabelsError)


class Photos(Attacker):
    """COCO folders, with which people tune."""

    name = "photos"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "images").mkdir()
        cv2.imwrite(str(folder / "images" / "a.png"), painted(red=(3, 3, 9, 9)))
        self._png = (folder / "images" / "a.png").read_bytes()
        self._seed = {
            "images": [{"id": 1, "file_name": "a.png", "height": 48, "width": 64}],
            "categories": [{"id": 1, "name": "mug"}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "segmentation": [[3, 3, 12, 3, 12, 12, 3, 12]],
                    "bbox": [3, 3, 9, 9],
                },
                {
                    "id": 2,
                    "image_id": 1,
                    "category_id": 1,
                    "segmentation": {"size": [48, 64], "counts": [0, 48 * 64]},
                    "iscrowd": 1,
                },
            ],
        }

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return b"p" + damaged(self._png, rng)
        return b"j" + json_of(rng, self._seed)

    def undamaged(self) -> bytes:
        return b"j" + json.dumps(self._seed).encode()

    def attack(self, data: bytes) -> str:
        from villa.data.coco_folder import CocoError, CocoFolder

        (self.folder / "annotations.json").write_bytes(
            data[1:] if data[:1] == b"j" else json.dumps(self._seed).encode()
        )
        (self.folder / "images" / "a.png").write_bytes(data[1:] if data[:1] == b"p" else self._png)

        def read() -> None:
            made = CocoFolder(self.folder)
            for picture in made.pictures:
                made.rgb(picture)
                for instance in picture.instances:
                    made.mask(picture, instance)

        return _refusing(read, CocoError)


class Clips(Attacker):
    """Rendered clips' facts."""

    name = "clips"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from drawn_clips import draw_clip

        draw_clip(folder / "clip", seed=1, frames=2)
        self._seed = json.loads((folder / "clip" / "clip.json").read_text())

    def make(self, rng: random.Random) -> bytes:
        return json_of(rng, self._seed)

    def undamaged(self) -> bytes:
        return json.dumps(self._seed).encode()

    def attack(self, data: bytes) -> str:
        from villa.data.clips import ClipError, ClipFacts

        def read() -> None:
            ClipFacts.from_json(data.decode("utf-8")).without_unseen().to_json()

        return _refusing(read, ClipError, UnicodeDecodeError)


class Checkpoints(Attacker):
    """Files of weights: their header, their configuration, their numbers."""

    name = "checkpoints"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from tiny import tiny_model

        from villa.checkpoints.checkpoint import save

        save(tiny_model(), folder / "tiny.safetensors")
        self._seed = (folder / "tiny.safetensors").read_bytes()
        length = int.from_bytes(self._seed[:8], "little")
        self._header = json.loads(self._seed[8 : 8 + length])
        self._body = self._seed[8 + length :]

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return damaged(self._seed[:4000], rng) + self._seed[4000:]
        header = json.loads(json.dumps(self._header))
        kind = rng.random()
        if kind < 0.6:
            config = twisted(json.loads(header["__metadata__"]["config"]), rng)
            header["__metadata__"]["config"] = json.dumps(config)
        elif kind < 0.75:
            header["__metadata__"] = twisted(header["__metadata__"], rng)
        else:
            header = twisted(header, rng)
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        text += b" " * (-len(text) % 8)
        body = bytearray(self._body)
        if rng.random() < 0.1:
            at = rng.randrange(len(body) - 4)
            body[at : at + 2] = b"\xc0\x7f"  # a bfloat16 that is no number
        return len(text).to_bytes(8, "little") + text + bytes(body)

    def undamaged(self) -> bytes:
        return self._seed

    def attack(self, data: bytes) -> str:
        from villa.checkpoints.checkpoint import CheckpointError, load

        return _refusing(lambda: load(self.file("attacked.safetensors", data)), CheckpointError)


class ModelFolders(Attacker):
    """Folders of models, as hubs give them: one of their files damaged.

    An input is the path of the file, a line end, and its bytes.
    """

    name = "folders"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import torch
        from tiny_parts import parts_config, save_parts
        from transformers.utils import logging

        from villa.checkpoints.build import from_folders
        from villa.checkpoints.checkpoint import save

        logging.set_verbosity_error()
        parts = save_parts(folder / "parts", "qwen3_vl")
        self._attacked = folder / "attacked"
        save(from_folders(parts_config("qwen3_vl"), *parts, torch.float32), self._attacked, None)
        self._files = {
            str(path.relative_to(self._attacked)): path.read_bytes()
            for path in sorted(self._attacked.rglob("*"))
            if path.is_file()
        }
        self._changed = ""

    def make(self, rng: random.Random) -> bytes:
        name = rng.choice([name for name in self._files if name.endswith(".json") or rng.random() < 0.3])
        data = self._files[name]
        if name.endswith(".json") and rng.random() < 0.8:
            data = json_of(rng, json.loads(data))
        else:
            data = damaged(data[:3000], rng) + data[3000:]
        return name.encode() + b"\n" + data

    def undamaged(self) -> bytes:
        name, data = next(iter(self._files.items()))
        return name.encode() + b"\n" + data

    def attack(self, data: bytes) -> str:
        from villa.checkpoints.checkpoint import CheckpointError, load

        told, _, content = data.partition(b"\n")
        name = told.decode("utf-8", "replace")
        if name not in self._files:
            return REFUSED
        if self._changed:
            (self._attacked / self._changed).write_bytes(self._files[self._changed])
        (self._attacked / name).write_bytes(content)
        self._changed = name
        return _refusing(lambda: load(self._attacked), CheckpointError)


class ConsoleMessages(Attacker):
    """What a page sends, or somebody who says to be one."""

    name = "console"

    _SEEDS: ClassVar[list[dict[str, Any]]] = [
        {"kind": "watch", "cameras": ["camera"], "masks": True},
        {"kind": "shown", "camera": "camera"},
        {
            "kind": "ask",
            "number": 1,
            "text": "the red mug",
            "camera": "",
            "conversation": "c",
            "track": True,
            "confidence": 0.5,
        },
        {"kind": "stop", "request": ""},
        {"kind": "confirm", "yes": True},
        {"kind": "again"},
        {"kind": "talk", "rate": 16000},
        {"kind": "talked"},
        {"kind": "hush"},
    ]

    def make(self, rng: random.Random) -> bytes:
        sent = []
        for _ in range(rng.randrange(1, 8)):
            if rng.random() < 0.15:
                sent.append({"bytes": [rng.randrange(256) for _ in range(rng.choice((0, 1, 2, 7, 640)))]})
            else:
                text = (
                    json_of(rng, rng.choice(self._SEEDS))
                    if rng.random() < 0.7
                    else json.dumps(rng.choice(self._SEEDS)).encode()
                )
                sent.append({"text": text.decode("utf-8", "replace")})
        return json.dumps(sent).encode()

    def undamaged(self) -> bytes:
        return json.dumps([{"text": json.dumps(one)} for one in self._SEEDS]).encode()

    def attack(self, data: bytes) -> str:
        return asyncio.run(self._talk(json.loads(data)))

    async def _talk(self, sent: list[dict[str, Any]]) -> str:
        from starlette.websockets import WebSocketState
        from told import QuietSource, picture

        from villa_ros.viewers.node_state import NodeState
        from villa_ros.viewers.web.access import Access, WrongTokens
        from villa_ros.viewers.web.browser_session import BrowserLink, Served
        from villa_ros.viewers.web.recognition import Recognition
        from villa_ros.viewers.web.settings import ConsoleSettings

        heard = NodeState()
        heard.picture(picture(1))
        waiting = [{"type": "websocket.receive", **one} for one in sent]
        for one in waiting:
            if "bytes" in one:
                one["bytes"] = bytes(one["bytes"])
        codes: list[int] = []

        class Socket:
            """One browser; says the token, then what it was told to."""

            application_state = client_state = WebSocketState.CONNECTED
            client = None

            async def receive_text(self) -> str:
                return json.dumps({"kind": "hello", "token": "t"})

            async def receive(self) -> dict[str, Any]:
                await asyncio.sleep(0)
                return waiting.pop(0) if waiting else {"type": "websocket.disconnect"}

            async def send_text(self, text: str) -> None:
                json.loads(text)

            async def send_bytes(self, data: bytes) -> None:
                assert data

            async def close(self, code: int, reason: str) -> None:
                assert reason
                assert len(reason.encode()) <= 123  # more does not fit into a frame that closes
                codes.append(code)

        access = Access("t", frozenset())
        served = Served(
            heard,
            QuietSource(),
            access,
            ConsoleSettings(),
            Recognition(lambda samples, rate: ("the mug", 0.5)),
            WrongTokens(time.monotonic),
        )
        await BrowserLink(Socket(), served).run()  # type: ignore[arg-type]
        return REFUSED if codes else TAKEN


class ParameterValues(Attacker):
    """Values for parameters, of every type that rcl_interfaces has."""

    name = "parameters"

    def make(self, rng: random.Random) -> bytes:
        from villa_ros.node.parameters import CAMERA_TABLE, TABLE

        names = [*TABLE, *(f"camera.{name}" for name in CAMERA_TABLE), "", "no.such", "camera."]
        wanted = {}
        for _ in range(rng.choice((1, 1, 2, 4))):
            value = rng.choice(
                (*NASTY_NUMBERS, *NASTY_TEXTS, True, False, [], ["a"], [1.5], [1], [True], ["camera", "camera"])
            )
            wanted[rng.choice(names)] = value
        return json.dumps(wanted).encode("utf-8", "surrogatepass")

    def undamaged(self) -> bytes:
        return json.dumps({"clip_duration_s": 2.5}).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.node.parameters import CAMERA_TABLE, TABLE, CameraParameters, Parameters
        from villa_ros.pipeline.config import ConfigError
        from villa_ros.runtime.parameter_table import ParameterError, plain_value

        # Types are rcl's business: a parameter has the type of its default for good.
        defaults = {name: row.default for name, row in TABLE.items()}
        defaults |= {f"camera.{name}": row.default for name, row in CAMERA_TABLE.items()}
        values = {
            name: value
            for name, value in json.loads(data).items()
            if name not in defaults
            or (
                type(plain_value(value)) is type(defaults[name])
                and (name != "cameras" or set(map(type, value)) <= {str})
            )
        }

        def anew() -> None:
            own = {name: plain_value(value) for name, value in values.items() if name in TABLE}
            shared = {name[7:]: plain_value(value) for name, value in values.items() if name[7:] in CAMERA_TABLE}
            own = {name: value for name, value in own.items() if type(value) is type(TABLE[name].default)}
            shared = {name: value for name, value in shared.items() if type(value) is type(CAMERA_TABLE[name].default)}
            cameras = own.get("cameras", ("camera",))
            made = Parameters(**own, of_cameras={name: CameraParameters(**shared) for name in cameras})
            made.check()
            made.pipeline_config()

        started = Parameters(of_cameras={"camera": CameraParameters()})
        first = _refusing(lambda: started.changed(values), ParameterError, ConfigError)
        return REFUSED if REFUSED in (first, _refusing(anew, ParameterError, ConfigError)) else TAKEN


class Journals(Attacker):
    """Lines of a recorded run, which villa replay repeats."""

    name = "journals"

    _SEED: ClassVar[dict[str, Any]] = {}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from villa_ros.conversions.events import journal_line
        from villa_ros.pipeline.config import PipelineConfig
        from villa_ros.pipeline.events import JournalEvent
        from villa_ros.pipeline.request import Request

        event = JournalEvent(1, "submit", "camera", 0, "r", PipelineConfig())
        self._seed = json.loads(journal_line(event, Request("r", "the red box")))

    def make(self, rng: random.Random) -> bytes:
        return json_of(rng, self._seed)

    def undamaged(self) -> bytes:
        return json.dumps(self._seed).encode()

    def attack(self, data: bytes) -> str:
        from villa_ros.conversions.events import MappingError, parse_journal_line
        from villa_ros.pipeline.config import PipelineConfig
        from villa_ros.pipeline.engine import Engine
        from villa_ros.pipeline.journal import JournalError, repeat

        def read() -> None:
            event, request = parse_journal_line(data.decode("utf-8", "replace"))
            if request is not None:
                engine = Engine(BlobModel(), PipelineConfig(), lambda event: None, "n")
                repeat(engine, event, lambda camera, stamp: frame(0), lambda request_id: request)

        return _refusing(read, MappingError, JournalError)


class Masks(Attacker):
    """Tracks that somebody else publishes."""

    name = "masks"

    _SEED: ClassVar[dict[str, Any]] = {
        "height": 48, "width": 64, "x": 3, "y": 4, "box_width": 10, "box_height": 5, "encoding": 1, "area": 37,
        "runs": [3, 7, 3, 7, 30],
    }  # fmt: skip

    def make(self, rng: random.Random) -> bytes:
        values = dict(self._SEED)
        for _ in range(rng.choice((1, 1, 2, 4))):
            key = rng.choice(list(values))
            if key == "runs":
                values[key] = [rng.choice((0, 1, 5, 50, 2**31, 2**32 - 1)) for _ in range(rng.randrange(8))]
            else:
                values[key] = rng.choice((0, 1, 10, 48, 64, 65535, 2**31, 2**32 - 1))
        return json.dumps(values).encode()

    def undamaged(self) -> bytes:
        return json.dumps(self._SEED).encode()

    def attack(self, data: bytes) -> str:
        from villa.masks import MaskError, decode
        from villa_ros.conversions.events import MappingError, mask_from_message

        values = json.loads(data)
        message = SimpleNamespace(**{**values, "runs": np.asarray(values["runs"], np.uint32)})
        message.roi = SimpleNamespace(
            x_offset=values["x"], y_offset=values["y"], width=values["box_width"], height=values["box_height"]
        )
        return _refusing(lambda: decode(mask_from_message(message)), MaskError, MappingError)


class Sounds(Attacker):
    """WAV files and audio messages."""

    name = "sounds"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from villa_ros.speech.audio import write_wav

        write_wav(folder / "seed.wav", np.sin(np.arange(3200, dtype=np.float32)))
        self._seed = (folder / "seed.wav").read_bytes()

    def make(self, rng: random.Random) -> bytes:
        return damaged(self._seed[:64], rng) + self._seed[64:] if rng.random() < 0.8 else damaged(self._seed, rng)

    def undamaged(self) -> bytes:
        return self._seed

    def attack(self, data: bytes) -> str:
        from villa_ros.speech.audio import SoundError, from_pcm16, read_wav

        first = _refusing(lambda: read_wav(self.file("sound.wav", data)), SoundError)
        return (
            REFUSED
            if REFUSED in (first, _refusing(lambda: from_pcm16(data, 16_000, 1 + len(data) % 2), SoundError))
            else TAKEN
        )


ATTACKERS: dict[str, type[Attacker]] = {
    one.name: one
    for one in (
        Images, RawImages, Video, Commands, Words, Bags, Scenarios, Results, Benchmarks, Labels, Photos, Clips,
        Checkpoints, ModelFolders, ConsoleMessages, ParameterValues, Journals, Masks, Sounds,
    )
}  # fmt: skip


def made(name: str, folder: Path) -> Attacker:
    """An attacker with an empty folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return ATTACKERS[name](folder)


def numbered(attacker: Attacker, seed: int, first: int, count: int) -> Iterator[tuple[int, bytes]]:
    """Inputs by number, each the same whenever it is made."""
    from mutation import generator

    for number in range(first, first + count):
        yield number, attacker.make(generator(attacker.name, seed, number))
