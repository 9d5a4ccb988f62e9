"""Spreading work: the same results whoever does it, and nothing lost when a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from colour_model import load_colours, load_fragile
from parallel_work import Begin, load_nothing, marks, square, threads, trouble

from villa.evaluation.split_evaluation import Shown, evaluate
from villa_ros.bench.parallel import ParallelBenchError, draw_split, measure
from villa_ros.evaluation.split_run import UnscoredError, score_split
from villa_ros.parallel.dispatch import WORKER_DIED, Failed, ParallelError, share_of_cores
from villa_ros.parallel.map import parallel_map

SUPPORT = Path(__file__).resolve().parents[1] / "support"
from mevis import draw  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A real Ray on this machine, that all tests of this file share; its workers import what these tests do."""
    ray = pytest.importorskip("ray", reason="no Ray here: pip install -r requirements/ray.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((os.environ["PYTHONPATH"], str(SUPPORT))))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@pytest.fixture(params=["processes", "ray"])
def spreading(request: pytest.FixtureRequest) -> dict[str, object]:
    """Two workers: processes, and actors."""
    ray = request.getfixturevalue("cluster") if request.param == "ray" else None
    return {"workers": 2, "ray": ray}


def test_one_worker_is_this_process_and_works_as_it_is_asked(tmp_path: Path) -> None:
    given = parallel_map(square, [3, 4], begin=Begin(tmp_path))
    assert marks(tmp_path, "began") == 0
    assert next(given) == (0, (9, os.getpid()))
    assert list(given) == [(1, (16, os.getpid()))]
    assert marks(tmp_path, "began") == 1


def test_two_workers_give_each_item_its_result(tmp_path: Path, spreading: dict) -> None:
    done = dict(parallel_map(square, range(8), begin=Begin(tmp_path), **spreading))
    assert {index: value for index, (value, _) in done.items()} == {n: n * n for n in range(8)}
    assert os.getpid() not in {pid for _, pid in done.values()}
    assert 1 <= marks(tmp_path, "began") <= 2


def test_the_item_of_a_killed_worker_is_tried_again(tmp_path: Path, spreading: dict) -> None:
    items = ["a", "die once", "b", "c"]
    done = dict(parallel_map(trouble, items, begin=Begin(tmp_path), **spreading))
    assert done == {n: f"{item}, done" for n, item in enumerate(items)}
    assert marks(tmp_path, "once") == 2
    assert marks(tmp_path, "began") >= 2


def test_an_item_that_always_kills_its_worker_costs_no_other(tmp_path: Path, spreading: dict) -> None:
    items = ["die", "a", "b", "c", "d"]
    done = dict(parallel_map(trouble, items, begin=Begin(tmp_path), retries=1, **spreading))
    failed = done.pop(0)
    assert done == {n: f"{items[n]}, done" for n in range(1, 5)}
    assert isinstance(failed, Failed)
    assert (failed.index, failed.type, failed.traceback) == (0, WORKER_DIED, "")
    assert "each of 2 workers was killed" in failed.message
    assert marks(tmp_path, "died") == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_raises_costs_no_other(tmp_path: Path, workers: int) -> None:
    done = dict(parallel_map(trouble, ["a", "raise", "b"], begin=Begin(tmp_path), workers=workers))
    failed = done[1]
    assert (done[0], done[2]) == ("a, done", "b, done")
    assert isinstance(failed, Failed)
    assert str(failed) == "ValueError: this item is no good"
    assert "parallel_work.py" in failed.traceback


def test_a_result_that_cannot_be_sent_is_a_failure(tmp_path: Path, spreading: dict) -> None:
    done = dict(parallel_map(trouble, ["raise", "a", "exit", "b"], begin=Begin(tmp_path), retries=0, **spreading))
    assert (done[1], done[3]) == ("a, done", "b, done")
    assert str(done[0]) == "ValueError: this item is no good"
    assert isinstance(done[2], Failed)
    unsent = dict(parallel_map(trouble, ["a", "cannot be sent"], begin=Begin(tmp_path), workers=2))
    assert unsent[0] == "a, done"
    assert isinstance(unsent[1], Failed)
    assert "lambda" in unsent[1].message


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_begin_says_why(tmp_path: Path, workers: int) -> None:
    with pytest.raises(ParallelError, match="cannot begin: FileNotFoundError: no weights there"):
        list(parallel_map(square, range(4), begin=Begin(tmp_path, refuse="no weights there"), workers=workers))


def test_an_actor_that_cannot_begin_says_why(tmp_path: Path, cluster: str) -> None:
    with pytest.raises(ParallelError, match="cannot begin: FileNotFoundError: no weights there"):
        list(parallel_map(square, range(4), begin=Begin(tmp_path, refuse="no weights there"), ray=cluster))


def test_workers_that_are_killed_as_they_begin_are_given_up(tmp_path: Path) -> None:
    with pytest.raises(ParallelError, match=r"each of [23] workers was killed by SIGKILL; where memory runs out"):
        list(parallel_map(square, range(4), begin=Begin(tmp_path, die=True), workers=2, retries=1))


def test_workers_share_the_cores(tmp_path: Path) -> None:
    done = dict(parallel_map(threads, range(2), begin=Begin(tmp_path), workers=2))
    share = share_of_cores(2)
    assert set(done.values()) == {(share, str(share))}


def test_no_item_needs_no_worker(tmp_path: Path) -> None:
    for workers in (1, 2):
        assert list(parallel_map(square, [], begin=Begin(tmp_path), workers=workers)) == []
    assert marks(tmp_path, "began") == 0


def test_numbers_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParallelError, match="workers is 0"):
        parallel_map(square, [1], begin=Begin(tmp_path), workers=0)


# -- the end of workers ----------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_who_stops_listening_ends_the_workers(tmp_path: Path) -> None:
    given = parallel_map(square, range(100), begin=Begin(tmp_path), workers=2)
    _, (_, pid) = next(given)
    given.close()
    assert not alive(pid)


@pytest.mark.parametrize(
    ("how", "ray"), [(signal.SIGINT, None), (signal.SIGKILL, None), (signal.SIGINT, "local"), (signal.SIGKILL, "local")]
)
def test_no_worker_outlives_the_command(tmp_path: Path, how: signal.Signals, ray: str | None) -> None:
    """Ctrl-C, and a command that is killed itself."""
    if ray is not None:
        pytest.importorskip("ray", reason="no Ray here: pip install -r requirements/ray.txt")
    script = (
        "from pathlib import Path\n"
        "from parallel_work import Begin, sleep\n"
        "from villa_ros.parallel.map import parallel_map\n"
        "if __name__ == '__main__':\n"
        f"    list(parallel_map(sleep, range(4), begin=Begin(Path({str(tmp_path)!r})), workers=2, ray={ray!r}))\n"
    )
    (tmp_path / "command.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((os.environ["PYTHONPATH"], str(SUPPORT)))}
    command = subprocess.Popen(
        [sys.executable, tmp_path / "command.py"],
        env=environment,
        stderr=subprocess.PIPE,
        # Whoever started these tests in the background had Ctrl-C ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert wait_for(lambda: marks(tmp_path, "asleep") == 2)
    pids = [int(path.suffix[1:]) for path in tmp_path.glob("asleep.*")]
    command.send_signal(how)
    _, told = command.communicate(timeout=30)
    assert told.count(b"Traceback") == (how == signal.SIGINT), told.decode()
    assert wait_for(lambda: not any(map(alive, pids)), 30)


# -- Ray -------------------------------------------------------------------------------------------------------------


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ParallelError, match=r"Ray is not installed: pip install villa-ros\[ray\]"):
        parallel_map(square, [1], begin=Begin(tmp_path), ray="local")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 .*start its head there with `ray start --head`"),
        ("ray://head:10001", "no address of a Ray cluster; wanted HOST:PORT"),
        ("head", "no address of a Ray cluster; wanted HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_told(
    tmp_path: Path, address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="no Ray here: pip install -r requirements/ray.txt")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ParallelError, match=message):
        parallel_map(square, [1], begin=Begin(tmp_path), ray=address)


def run_command(script: str, *arguments: object) -> list[str]:
    """Lines that a script prints in a process of its own, which is connected to no Ray yet."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((os.environ["PYTHONPATH"], str(SUPPORT)))}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


SQUARES = """
import os, sys
from pathlib import Path
from parallel_work import Begin, square
from villa_ros.parallel.map import parallel_map
folder, address, os.environ["PYTHONPATH"] = sys.argv[1:]
done = dict(parallel_map(square, range(4), begin=Begin(Path(folder)), ray=address, workers=2))
print(sorted(value for value, _ in done.values()))
import ray
print(ray.is_initialized())
"""


def test_a_running_cluster_is_joined_and_left(tmp_path: Path, cluster: str) -> None:
    assert run_command(SQUARES, tmp_path, cluster, SUPPORT) == ["[0, 1, 4, 9]", "False"]


def test_a_cluster_with_other_code_gets_ours(tmp_path: Path) -> None:
    """`local` starts a Ray of its own, whose workers would find an old, empty villa_ros."""
    (tmp_path / "old" / "villa_ros").mkdir(parents=True)
    (tmp_path / "old" / "villa_ros" / "__init__.py").touch()
    paths = os.pathsep.join((str(tmp_path / "old"), str(SUPPORT)))
    assert run_command(SQUARES, tmp_path, "local", paths) == ["[0, 1, 4, 9]", "False"]


TWO_MACHINES = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from parallel_work import Begin, square
from villa_ros.parallel.map import parallel_map
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=1)
done = {}
for index, result in parallel_map(square, range(40), begin=Begin(Path(sys.argv[1])), workers=2, ray=cluster.address):
    done[index] = result
    if len({pid for _, pid in done.values()}) == 2 and second is not None:
        cluster.remove_node(second, allow_graceful=False)
        second = None
print(second, [done[index][0] for index in range(40)] == [n * n for n in range(40)])
cluster.shutdown()
"""


def test_a_machine_of_the_cluster_that_is_lost_costs_no_item(tmp_path: Path, cluster: str) -> None:
    assert run_command(TWO_MACHINES, tmp_path)[-1] == "None True"


# -- scores ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("split"), videos=3)


def test_scores_are_those_of_a_serial_run(split: Path, spreading: dict) -> None:
    shown: list[Shown] = []
    told: list[tuple[int, int]] = []
    serial = evaluate(load_colours("", "cpu"), split, seed=3, show=shown.append)
    assert len(serial) == 12
    assert 0 < sum(score.jf for score in serial) < 12
    again: list[Shown] = []
    scores = score_split(
        split, seed=3, load=load_colours, progress=lambda *done: told.append(done), show=again.append, **spreading
    )
    assert scores == serial
    assert [one.score for one in again] == [one.score for one in shown]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert score_split(split, seed=3, load=load_colours, limit=2, requests=2) == serial[:2] + serial[4:6]


def test_clips_that_fail_are_named_once_the_others_are_scored(tmp_path: Path) -> None:
    split = draw(tmp_path, videos=2, frames=6)
    short = draw(tmp_path / "short", videos=1, frames=5)
    for name in ("meta_expressions.json", "mask_dict.json"):
        mine, its = (json.loads((root / name).read_text()) for root in (split, short))
        if name.startswith("meta"):
            mine["videos"]["short"] = its["videos"]["video0"]
            for expression in mine["videos"]["short"]["expressions"].values():
                expression["anno_id"] = [f"short{identity}" for identity in expression["anno_id"]]
        else:
            mine |= {f"short{identity}": track for identity, track in its.items()}
        (split / name).write_text(json.dumps(mine))
    (short / "JPEGImages" / "video0").rename(split / "JPEGImages" / "short")
    with pytest.raises(UnscoredError, match="1 of 3 clips could not be scored, the first of them short: RuntimeError"):
        score_split(split, load=load_fragile)
    with pytest.raises(UnscoredError) as error:
        score_split(split, load=load_fragile, workers=2)
    assert [score.video for score in error.value.scores] == ["video0"] * 4 + ["video1"] * 4
    assert list(error.value.failed) == ["short"]
    assert "this clip breaks it" in error.value.failed["short"].traceback


def test_a_checkpoint_that_is_not_there_is_told(split: Path) -> None:
    with pytest.raises(ParallelError, match=r"cannot begin: FileNotFoundError: nothing at /.*/missing"):
        score_split(split, checkpoint="missing", load=load_nothing, workers=2)


def test_the_benchmark_measures_the_same_scores_with_each_number_of_workers(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    result = measure(3, (1, 2), load=load_colours, progress=lambda *done: told.append(done))
    assert [timing.workers for timing in result.timings] == [1, 2]
    assert result.equal
    assert told[2] == ("1 worker(s)", 3, 3)
    assert "2 worker(s): " in result.text()
    assert "scores of all runs are equal" in result.text()
    scores = evaluate(load_colours("", "cpu"), draw_split(tmp_path, 2))
    assert [score.right for score in scores] == [True] * 4
    assert min(score.j for score in scores) > 0.9
    with pytest.raises(ParallelBenchError, match="1 clips"):
        measure(1)
