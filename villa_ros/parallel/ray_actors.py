"""Workers that are actors of a Ray cluster: Ray puts them where there is room, and tells of their death."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villa_ros.parallel.dispatch import (
    Begun,
    CannotBegin,
    Ctx,
    DiedError,
    Failed,
    Item,
    ParallelError,
    Result,
    attempt,
    dispatch,
    failure,
    in_one_line,
    share_of_cores,
    use_threads,
)

if TYPE_CHECKING:
    from types import ModuleType

LOCAL, AUTO = "local", "auto"
_PACKAGES = ("villa_ros", "villa")
_ANSWER_S = 5.0  # for the head of a cluster to take a connection
_BEGIN_S = 900.0  # for the first worker: a cluster may have to start a machine for it


def map_over_ray(
    work: Callable[[Ctx, Item], Result],
    items: Sequence[Item],
    workers: int,
    address: str,
    begin: Callable[[], Ctx],
    retries: int,
    threads: int,
    gpus: float,
) -> Generator[tuple[int, Result | Failed], None, None]:
    """See `villa_ros.parallel.map.parallel_map`. A process that is connected to Ray stays so, whatever the address.

    Raises:
        ParallelError: Ray is not installed, or the address cannot be one; later, that nobody answers there.
    """
    try:
        import ray
    except ImportError as error:
        raise ParallelError(
            "Ray is not installed: pip install villa-ros[ray], or leave the address out to use processes here"
        ) from error
    if not ray.is_initialized():
        _check(address)
    if not threads:
        threads = share_of_cores(workers) if address == LOCAL else 1
    return _map(ray, work, items, workers, address, begin, retries, threads, gpus)


def _check(address: str) -> None:
    """Refuse an address where nobody answers: Ray itself tries for two minutes, and then ends this process.

    Raises:
        ParallelError: so it is, or it is no address.
    """
    if address in (LOCAL, AUTO):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ParallelError(
            f"{address!r} is no address of a Ray cluster; wanted HOST:PORT of its head (ray start --head prints it), "
            f"{AUTO} on a machine of the cluster, or {LOCAL} to start one here"
        )
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ParallelError(
            f"no Ray cluster answers at {address} ({error}): start its head there with `ray start --head`, or leave "
            "the address out to use processes here"
        ) from error


def _map(
    ray: ModuleType,
    work: Callable[[Ctx, Item], Result],
    items: Sequence[Item],
    workers: int,
    address: str,
    begin: Callable[[], Ctx],
    retries: int,
    threads: int,
    gpus: float,
) -> Generator[tuple[int, Result | Failed], None, None]:
    if not items:
        return
    with _connected(ray, address, cpus=min(workers, len(items)) * threads):
        yield from dispatch(_Actors(ray, work, begin, threads, gpus), items, workers, retries)


class _Actors:
    """Engine of `villa_ros.parallel.dispatch.dispatch`.

    Ray would restart actors and their tasks by itself (max_restarts, max_task_retries). Of a machine that is lost it
    notices late, though, and until then uses up an item's tries on it within a second.
    """

    def __init__(
        self, ray: ModuleType, work: Callable[[Ctx, Item], object], begin: Callable[[], Ctx], threads: int, gpus: float
    ) -> None:
        self._ray, self._threads, self._gpus = ray, threads, gpus
        self._payload = pickle.dumps((work, begin))
        self._kind = ray.remote(_Inside).options(num_cpus=threads, num_gpus=gpus, max_restarts=0, max_task_retries=0)

    def spawn(self) -> _Actor:
        """A new actor, once and where the cluster has room for it; it begins at once."""
        return _Actor(self._ray, self._kind.remote(self._payload, self._threads))

    def wait(self, workers: Sequence[_Actor], any_began: bool) -> Sequence[_Actor]:
        """The actors that answered or died; for the first one there is a time to wait."""
        # An actor that the cluster has no room for answers nothing, and so gets no item.
        answers = [worker.answer for worker in workers]
        done, _ = self._ray.wait(answers, num_returns=1, timeout=None if any_began else _BEGIN_S)
        if not done:
            has = self._ray.cluster_resources()
            raise ParallelError(
                f"no worker began within {_BEGIN_S:g} s: each wants {self._threads} CPUs and {self._gpus:g} GPUs, the "
                f"cluster has {has.get('CPU', 0):g} and {has.get('GPU', 0):g} in all; see `ray status`"
            )
        return [worker for worker in workers if worker.answer in done]


class _Actor:
    """An actor from the outside, and what it was asked last."""

    def __init__(self, ray: ModuleType, handle: Any) -> None:
        self._ray, self._handle = ray, handle
        self._index: int | None = None
        self.answer = handle.begin.remote()

    def give(self, index: int, item: Any) -> None:
        """See `villa_ros.parallel.dispatch.Worker`; an actor that is gone says so by its answer."""
        self._index, self.answer = index, self._handle.do.remote(index, item)

    def receive(self) -> Any:
        """See `villa_ros.parallel.dispatch.Worker`."""
        try:
            return self._ray.get(self.answer)
        except self._ray.exceptions.RayTaskError as error:  # what the work returned cannot be sent
            return CannotBegin(in_one_line(error)) if self._index is None else failure(self._index, error)
        except self._ray.exceptions.RayError as error:
            raise DiedError(f"was killed ({type(error).__name__})") from error

    def terminate(self) -> None:
        """See `villa_ros.parallel.dispatch.Worker`."""
        self._ray.kill(self._handle)


class _Inside:
    """An actor from the inside."""

    def __init__(self, payload: bytes, threads: int) -> None:
        self._payload, self._threads = payload, threads
        self._work: Callable[[Any, Any], Any] | None = None
        self._context: Any = None

    def begin(self) -> Begun | CannotBegin:
        """Load what is needed."""
        use_threads(self._threads)
        try:
            self._work, begin = pickle.loads(self._payload)
            self._context = begin()
        except Exception as error:
            return CannotBegin(in_one_line(error))
        use_threads(self._threads)
        return Begun()

    def do(self, index: int, item: Any) -> Any:
        """The work on one item."""
        assert self._work is not None
        return attempt(self._work, self._context, index, item)


# -- the cluster -----------------------------------------------------------------------------------------------------


@contextmanager
def _connected(ray: ModuleType, address: str, cpus: int) -> Iterator[None]:
    """Connected to a cluster whose workers have this code; a connection that was there before stays."""
    if ray.is_initialized():
        yield
        return
    try:
        _connect(ray, address, cpus, None)
        if not _has_code(ray):
            ray.shutdown()
            # Only a connection as a whole can bring folders along.
            _connect(ray, address, cpus, {"py_modules": [str(folder) for folder in _folders().values()]})
        yield
    finally:
        ray.shutdown()


def _connect(ray: ModuleType, address: str, cpus: int, runtime_env: dict[str, Any] | None) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry
    here: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, runtime_env=runtime_env, log_to_driver=False, logging_level="error", **here)
    except (OSError, RuntimeError, ValueError) as error:
        advice = (
            "the machine needs free memory in /dev/shm and /tmp" if here else "start its head with `ray start --head`"
        )
        raise ParallelError(f"no Ray cluster at {address!r} ({in_one_line(error)}): {advice}") from error


def _folders() -> dict[str, Path]:
    import villa
    import villa_ros

    return {name: Path(str(module.__file__)).parent for name, module in zip(_PACKAGES, (villa_ros, villa), strict=True)}


def _has_code(ray: ModuleType) -> bool:
    """Does every machine of the cluster import the very code that this process runs?"""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def fingerprint(names: Sequence[str]) -> str:
        """Of the sources of packages. It travels by value, so it may use nothing of this module."""
        import hashlib
        import importlib.util
        from pathlib import Path

        seen = hashlib.sha256()
        for name in names:
            found = importlib.util.find_spec(name)
            if found is None or found.origin is None:
                return ""
            folder = Path(found.origin).parent
            for path in sorted(folder.rglob("*.py")):
                seen.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        return seen.hexdigest()

    ask = ray.remote(num_cpus=0)(fingerprint)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    strategies = [NodeAffinitySchedulingStrategy(node, soft=True) for node in nodes]
    seen = ray.get([ask.options(scheduling_strategy=strategy).remote(_PACKAGES) for strategy in strategies])
    return set(seen) == {fingerprint(_PACKAGES)}
