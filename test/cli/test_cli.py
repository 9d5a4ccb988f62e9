"""The `villa` command: what it prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import BlobModel, painted
from small_bags import stamp, write_bag
from typer.testing import CliRunner

from villa_ros.bags.run import read_run
from villa_ros.bench import stop_latency
from villa_ros.bench.memory_soak import slope
from villa_ros.bench.tracking import Bench
from villa_ros.cli import bench, main
from villa_ros.pipeline.request import Request

FakeModel = list[tuple[str, str]]


def villa(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one call; a traceback is never an answer."""
    from villa_ros.cli import terminal

    with terminal.out.capture() as told, terminal.err.capture() as complained:
        result = CliRunner().invoke(main.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, told.get() + result.stdout, complained.get() + result.stderr


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.png"), painted(red=(2 + index, 10, 12, 12))[..., ::-1])
    return folder


def test_help_comes_without_loading_what_is_heavy() -> None:
    program = (
        "import sys; sys.argv = ['villa', '--help']\n"
        "from villa_ros.cli import main\n"
        "try:\n    main.main()\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = [n for n in ('torch', 'cv2', 'rclpy', 'transformers', 'rosbags', 'numpy') if n in sys.modules]\n"
        "sys.exit(f'help loads {heavy}' if heavy or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "replay", "segment", "train", "data", "node", "info", "bench", "soak"):
        assert command in done.stdout


def test_replay_prints_the_answer_and_ends_with_paths_that_exist(
    bag: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    code, told, _ = villa("replay", bag, "--out", tmp_path / "out", "--checkpoint", "mine.safetensors")
    assert code == 0
    assert "the red box" in told
    assert "TRACKING" in told
    paths = [Path(line.split(":", 1)[1].strip()) for line in told.splitlines() if str(tmp_path) in line]
    assert [path.name for path in paths] == ["run.mcap", "overlay.mp4", "contact_sheet.png"]
    assert all(path.stat().st_size for path in paths)
    assert fake_model == [("mine.safetensors", "cpu")]


def test_replay_takes_requests_from_the_command_line(bag: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    code, _, _ = villa(
        "replay", bag, "--command", "the blue box", "--at", "0.3", "--command", "the red box", "--at", "1.2",
        "--out", tmp_path / "out", "--no-pictures",
    )  # fmt: skip
    assert code == 0
    run = read_run(tmp_path / "out" / "run")
    assert {timed.value.text: timed.log_ns for timed in run.commands.values()} == {
        "the blue box": stamp(3),
        "the red box": stamp(12),
    }
    assert not (tmp_path / "out" / "overlay.mp4").exists()


def test_replay_like_says_same_and_returns_0(bag: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    villa("replay", bag, "--out", tmp_path / "one", "--no-pictures")
    run = tmp_path / "one" / "run" / "run.mcap"
    code, told, _ = villa("replay", bag, "--like", run, "--out", tmp_path / "two", "--no-pictures")
    assert code == 0
    assert "same: 15 frames, 15 instances, worst mask IoU 1.0000" in told


def test_replay_like_a_run_of_other_tracks_returns_1(bag: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    villa("replay", bag, "--out", tmp_path / "one", "--no-pictures")
    other = write_bag(tmp_path / "other", boxes=lambda index: {"red": (40 - index, 20, 12, 12)})
    run = tmp_path / "one" / "run" / "run.mcap"
    code, told, complained = villa("replay", other, "--like", run, "--out", tmp_path / "two", "--no-pictures")
    assert code == 1
    assert "different" in told
    assert "differs from" in complained


def test_a_refused_request_makes_replay_fail(bag: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    code, _, complained = villa("replay", bag, "--command", "x" * 100_000, "--out", tmp_path, "--no-pictures")
    assert code == 1
    assert "REJECTED" in complained
    assert "100000 characters" in complained


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("replay", "BAG", "--command", "a", "--commands-from-bag"), "exclude each other"),
        (("replay", "BAG", "--command", "a", "--like", "run.mcap"), "exclude each other"),
        (("replay", "BAG", "--command", "a", "--at", "1", "--at", "2"), "2 times --at for 1 requests"),
        (("replay", "BAG", "--at", "soon"), "--at"),
        (("segment", "0"), "--request"),
        (("fly",), "fly"),
        (("train", "--data", "/nowhere/clips", "--out", "x"), "does not exist"),
        (("node", "--params-file", "/nowhere/p.yaml"), "does not exist"),
    ],
)
def test_wrong_usage_returns_2_and_says_what_is_wrong(
    bag: Path, arguments: tuple[str, ...], wanted: str, fake_model: FakeModel
) -> None:
    code, _, complained = villa(*(str(bag) if argument == "BAG" else argument for argument in arguments))
    assert code == 2
    assert wanted in " ".join(complained.split())
    assert fake_model == [], "no model is loaded for that"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("replay", "/nowhere/a.mcap"), "no bag at /nowhere/a.mcap"),
        (("replay", "BAG", "--camera-topic", "/nose"), "/nose is not in the bag"),
        (("replay", "BAG", "--command-topic", "/nose"), "/nose is not in the bag; its command topics are /command"),
        (("replay", "BAG", "--like", "/nowhere/run.mcap"), "no bag at /nowhere/run.mcap"),
        (("replay", "BAG", "--like", "BAG"), "holds no journal"),
        (("demo", "--offline", "--bag", "BAG"), "/ground_truth/tracklets is not in the bag"),
        (("demo", "--bag", "/nowhere/a.mcap"), "no bag at /nowhere/a.mcap"),
        (("segment", "/nowhere/v.mp4", "--request", "a"), "no video, folder or camera"),
        (("bench", "--bag", "/nowhere/a.mcap"), "no bag at /nowhere/a.mcap"),
        (("data", "show", "."), "holds no clip.json"),
    ],
)
def test_what_cannot_work_returns_1_and_one_message(
    bag: Path, tmp_path: Path, arguments: tuple[str, ...], wanted: str, fake_model: FakeModel
) -> None:
    given = [str(bag) if argument == "BAG" else argument for argument in arguments]
    extra = [] if given[0] in ("data",) else ["--out", str(tmp_path / "out")]
    code, told, complained = villa(*given, *extra)
    assert code == 1
    assert wanted in " ".join(complained.split())
    assert complained.count("villa:") == 1
    assert "Traceback" not in told + complained


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(None, "no checkpoint at"), (b"not a checkpoint at all", "safetensors")],
)
def test_a_missing_or_broken_checkpoint_is_one_message(
    bag: Path, tmp_path: Path, content: bytes | None, wanted: str
) -> None:
    checkpoint = tmp_path / "model.safetensors"
    if content is not None:
        checkpoint.write_bytes(content)
    code, _, complained = villa("replay", bag, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    assert code == 1
    assert wanted in " ".join(complained.split())
    assert "Traceback" not in complained


def test_segment_prints_the_answer_and_writes_everything(images: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    code, told, _ = villa("segment", images, "--request", "the red box", "--at", "0.2", "--out", tmp_path / "out")
    assert code == 0
    assert "the red box" in told
    assert "masks on 6 of 8 frames" in told
    assert json.loads((tmp_path / "out" / "tracks.json").read_text())["answer"] == "the red box"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "overlay.mp4", "contact_sheet.png", "tracks.json", "run",
    }  # fmt: skip


def test_the_version_is_printed() -> None:
    code, told, _ = villa("--version")
    assert code == 0
    assert told.startswith("villa ")


def test_bench_measures_and_tells_whether_the_aims_are_reached(
    tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = {"red": (2, 10, 12, 12), "blue": (40, 30, 10, 8), "green": (20, 30, 8, 8)}
    bag = write_bag(tmp_path / "bag", frames=5, boxes=lambda index: boxes)
    monkeypatch.setattr(
        "villa_ros.bench.tracking.PHRASES", ("the red box", "the blue box", "a banana", "the green box")
    )
    code, told, complained = villa("bench", "--bag", bag, "--frames", "10", "--stops", "0", "--out", tmp_path / "out")
    assert code == 0, complained
    assert "64x48, 3 objects" in told
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["frames"] == 10
    assert told.count("reached") == 2
    slow = Bench(3, 640, 480, 10, 11.9, 500.0, 600.0, 1.5, 4.0)
    assert "11.9 frames/s (aim at least 12: not reached)" in slow.text()
    assert "1.50 s median (aim at most 1.5: reached)" in slow.text()


def test_stops_are_measured_where_they_find_the_model_at_work(tmp_path: Path) -> None:
    boxes = {"red": (2, 10, 12, 12)}
    bag = write_bag(tmp_path / "bag", frames=5, boxes=lambda index: boxes)
    stops = stop_latency.measure(bag, BlobModel(sleep_s=0.05), trials=6)
    assert stops.told_ms
    assert len(stops.ended_ms) <= len(stops.told_ms)
    assert all(value >= 0 for value in (*stops.told_ms, *stops.ended_ms))
    assert "CANCELED out after" in stops.text()
    assert "nothing to tell" in stop_latency.Stops((), ()).text()


def test_soak_writes_its_curve_and_tells_the_slope(
    tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = {"red": (2, 10, 12, 12), "blue": (40, 30, 10, 8), "green": (20, 30, 8, 8)}
    bag = write_bag(tmp_path / "bag", frames=5, boxes=lambda index: boxes)
    monkeypatch.setattr("villa_ros.bench.tracking.PHRASES", ("the red box", "the blue box", "the green box"))
    _, told, _ = villa("soak", "--bag", bag, "--frames", "400", "--warm-up", "100", "--out", tmp_path / "out")
    rows = (tmp_path / "out" / "soak.csv").read_text().splitlines()
    assert rows[0] == "frame,resident_mb,objects"
    assert len(rows) == 501
    assert {row.rsplit(",", 1)[1] for row in rows[1:]} == {"3"}
    assert "400 frames with 3 objects and 5 requests" in told
    assert cv2.imread(str(tmp_path / "out" / "soak.png")) is not None


def test_a_growing_process_is_found_out_by_its_slope() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.5, 2000)
    assert slope(100.0 + 0.003 * np.arange(2000) + noise) == pytest.approx(3.0, abs=0.2)
    assert abs(slope(100.0 + noise)) < 0.2


def test_the_bench_commands_know_the_same_model_door() -> None:
    assert bench.open_model is main.open_model


def test_demo_says_by_name_what_is_missing_for_a_live_graph(
    bag: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from small_bags import tracklets

    topic = "/ground_truth/tracklets"
    extra = [(topic, stamp(9), tracklets("red", [stamp(9)], []))]
    truth = write_bag(tmp_path / "t", commands=[Request("red", "a", stamp_ns=stamp(2))], extra=extra)
    monkeypatch.setattr("villa_ros.replay.live_graph.have_ros", lambda: False)
    code, _, complained = villa("demo", "--bag", truth, "--out", tmp_path / "out")
    assert code == 1
    assert "--offline" in complained


def test_demo_fails_by_the_criterion_that_is_broken_and_writes_what_came(tmp_path: Path, fake_model: FakeModel) -> None:
    from told_runs import write_truth_bag

    bag = write_truth_bag(tmp_path / "truth")
    code, told, complained = villa("demo", "--offline", "--no-baseline", "--bag", bag, "--out", tmp_path / "good")
    assert code == 0, complained
    assert told.count("passed") == 2
    assert "absent: 1 of 1 right" in told
    paths = [Path(line.split(":", 1)[1].strip()) for line in told.splitlines() if str(tmp_path) in line]
    assert [path.name for path in paths] == ["run.mcap", "overlay.mp4", "contact_sheet.png", "report.json"]
    assert all(path.stat().st_size for path in paths)
    asked = write_truth_bag(tmp_path / "other", red="the purple box")
    code, told, complained = villa("demo", "--offline", "--no-baseline", "--bag", asked, "--out", tmp_path / "bad")
    assert code == 1
    assert "refused < 100 %: it is 1.000" in complained
    assert json.loads((tmp_path / "bad" / "result.json").read_text())["passed"] is False
