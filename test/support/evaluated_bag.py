"""A small recording, run with the fake model, scored, and with its video: what a report is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fakes import HEIGHT, WIDTH, BlobModel, painted
from replays import replayed
from small_bags import IMAGE_TOPIC, moving_red, stamp, write_bag

from villa.masks import RleMask, encode
from villa_ros.bags.reader import Bag
from villa_ros.bags.run import Run
from villa_ros.evaluation.ground_truth import RequestTruth
from villa_ros.evaluation.report.html import write_report
from villa_ros.evaluation.report.moment_views import Pictures
from villa_ros.evaluation.report.web_videos import write_web_video
from villa_ros.evaluation.request_scores import score_request
from villa_ros.evaluation.results import Asked, BagResult, Fault, ScenarioResult, Timing, Verdict
from villa_ros.pipeline.request import Request

FRAMES = 40
PERIOD_S = 0.1
HOSTILE = '<script>window.hurt = 1; alert("hurt")</script><img src=x onerror="window.hurt = 2"> red </script>'
TEXTS = {"red": "the red box", "blue": "the blue box & its <b>lid</b>", "hostile": HOSTILE, "green": "the green box"}
ASKED_AT = {"red": 5, "blue": 12, "hostile": 20, "green": 30}


def _requests() -> list[Request]:
    return [Request(name, text, stamp_ns=stamp(ASKED_AT[name])) for name, text in TEXTS.items()]


def _truth(name: str) -> RequestTruth:
    """Red is where it is painted, blue is meant a little beside it, and hostile means what is nowhere near red."""
    masks = {}
    for index in range(FRAMES):
        boxes = moving_red(index)
        x, y, width, height = boxes["blue" if name in ("blue", "hostile") else "red"]
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[y : y + height, x - 4 * (name == "blue") : x + width] = name != "green"
        masks[stamp(index)] = encode(mask)
    return RequestTruth("painted", tuple(masks), {"object": masks})


def _asked(run: Run) -> tuple[Asked, ...]:
    starts = sorted(ASKED_AT.values())
    ends = dict(zip(starts, [*starts[1:], FRAMES], strict=True))
    sizes = {stamp(index): (HEIGHT, WIDTH) for index in range(FRAMES)}
    return tuple(
        score_request(
            request,
            run,
            [stamp(index) for index in range(ASKED_AT[name], ends[ASKED_AT[name]])],
            _truth(name),
            sizes,
            IMAGE_TOPIC,
            every_frame=True,
            first_mask_s=0.25 if name == "red" else None,
        )
        for request in _requests()
        for name in [request.request_id]
    )


@dataclass(frozen=True)
class Evaluated:
    """A result with its folder."""

    result: ScenarioResult
    folder: Path

    def pictures(self) -> Pictures:
        def frame_of(bag: str, camera: str, stamp_ns: int) -> Any:
            index = round((stamp_ns - stamp(0)) / (1e9 * PERIOD_S))
            return painted(**moving_red(index))

        def truth_of(bag: str, request_id: str, stamp_ns: int) -> list[RleMask]:
            return _truth(request_id).masks(stamp_ns)

        return Pictures(truth_of, frame_of)

    def written(self, **options: Any) -> Path:
        return write_report(self.result, self.folder, self.pictures(), **options)


def evaluate_small_bag(folder: Path) -> Evaluated:
    """A recording that was run with the fake model and scored, and one that cannot be read."""
    bag = write_bag(folder / "source", FRAMES)
    done = replayed(bag, _requests(), BlobModel(), folder / "table top", pictures=False)
    with Bag(bag) as source:
        write_web_video(source, IMAGE_TOPIC, "camera", done.run, folder / "table top" / "camera.webm")
    read = BagResult(
        name="table top",
        bag="source",
        folder="table top",
        frames={"camera": FRAMES},
        dropped={"camera": {"bad image: cut short": 3}},
        start_ns=stamp(0),
        end_ns=stamp(FRAMES - 1),
        requests=_asked(done.run),
        timing=Timing(latency_s=tuple(0.01 + 0.001 * n for n in range(30))),
        videos={"camera": "table top/camera.webm"},
    )
    broken = BagResult("kitchen", "kitchen.mcap", "kitchen", faults=(Fault("kitchen.mcap", "it is cut short"),))
    verdicts = (
        Verdict("J&F >= 0.2", True, 0.4321),
        Verdict("p95 latency < 0.1 s", True, 0.0375, shown="38 ms"),
        Verdict(f"J&F of '{HOSTILE}' >= 0.5", False, 0.0, "below 0.5", "table top"),
    )
    result = ScenarioResult(
        f"night run {HOSTILE}", "night.yaml", "every-frame", {"name": "blobs"}, {"policy": HOSTILE}, 7,
        (read, replace(broken, failed=True)), verdicts,
    )  # fmt: skip
    return Evaluated(result, folder)


def decoded_frames(video: Path) -> list[np.ndarray]:
    """Every picture of a video [H, W, 3], RGB, as OpenCV decodes it."""
    capture = cv2.VideoCapture(str(video))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1].astype(np.float64))
    capture.release()
    return frames
