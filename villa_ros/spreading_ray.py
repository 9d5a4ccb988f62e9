"""Work spread over a Ray cluster: one actor a worker, which Ray starts anew, where it likes, when it dies."""

from __future__ import annotations

import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villa_ros.spreading import (
    WORKER_DIED,
    Begun,
    CannotBegin,
    Ctx,
    Failed,
    Item,
    Result,
    SpreadingError,
    attempt,
    died,
    failure,
    in_one_line,
    no_beginning,
    share_of_cores,
    use_threads,
)

if TYPE_CHECKING:
    from types import ModuleType

LOCAL, AUTO = "local", "auto"
_PACKAGES = ("villa_ros", "villa")
_ANSWER_S = 5.0  # for the head of a cluster to take a connection
_BEGIN_S = 900.0  # for the first worker: a cluster may have to start a machine for it


def spread_over_ray(
    work: Callable[[Ctx, Item], Result],
    items: Sequence[Item],
    workers: int,
    address: str,
    begin: Callable[[], Ctx],
    retries: int,
    threads: int,
    gpus: float,
) -> Generator[tuple[int, Result | Failed], None, None]:
    """See `villa_ros.spreading.spread`. A process that is connected to Ray already stays so, whatever the address.

    Raises:
        SpreadingError: Ray is not installed, or the address cannot be one; later, that nobody answers there.
    """
    try:
        import ray
    except ImportError as error:
        raise SpreadingError(
            "Ray is not installed: pip install villa-ros[ray], or leave the address out to use processes here"
        ) from error
    if not ray.is_initialized():
        _check(address)
    if not threads:
        threads = share_of_cores(workers) if address == LOCAL else 1
    return _spread(ray, work, items, workers, address, begin, retries, threads, gpus)


def _check(address: str) -> None:
    """Refuse an address where nobody answers: Ray itself tries for two minutes, and then ends this process.

    Raises:
        SpreadingError: so it is, or it is no address.
    """
    if address in (LOCAL, AUTO):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise SpreadingError(
            f"{address!r} is no address of a Ray cluster; wanted HOST:PORT of its head (ray start --head prints it), "
            f"{AUTO} on a machine of the cluster, or {LOCAL} to start one here"
        )
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise SpreadingError(
            f"no Ray cluster answers at {address} ({error}): start its head there with `ray start --head`, or leave "
            "the address out to use processes here"
        ) from error


def _spread(
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
    count = min(workers, len(items))
    if not count:
        return
    payload = pickle.dumps((work, begin))
    waiting = deque(range(len(items)))
    with _connected(ray, address, cpus=count * threads):
        kind = ray.remote(_Worker).options(num_cpus=threads, num_gpus=gpus, max_restarts=-1, max_task_retries=retries)
        actors = [kind.remote(payload, threads) for _ in range(count)]
        # A worker gets its first item once it is there: one that the cluster has no room for must keep none.
        under_way: dict[Any, tuple[Any, int | None]] = {actor.begin.remote(): (actor, None) for actor in actors}
        left, any_began = len(items), False
        try:
            while left:
                done, _ = ray.wait(list(under_way), num_returns=1, timeout=None if any_began else _BEGIN_S)
                if not done:
                    raise SpreadingError(_no_room(ray, threads, gpus))
                (reference,) = done
                actor, index = under_way.pop(reference)
                told = _told(ray, reference, index, retries)
                if isinstance(told, CannotBegin):
                    raise SpreadingError(no_beginning(told.reason))
                any_began = True
                if waiting:
                    following = waiting.popleft()
                    under_way[actor.do.remote(following, items[following])] = (actor, following)
                if index is not None and not isinstance(told, Begun):
                    left -= 1
                    yield index, told
        finally:
            for actor in actors:
                ray.kill(actor)


class _Worker:
    """An actor; one that Ray has started anew begins with its next item."""

    def __init__(self, payload: bytes, threads: int) -> None:
        self._payload, self._threads = payload, threads
        self._begun: tuple[Callable[[Any, Any], Any], Any] | None = None

    def begin(self) -> Begun | CannotBegin:
        """Load what is needed, once."""
        if self._begun is None:
            use_threads(self._threads)
            try:
                work, begin = pickle.loads(self._payload)
                self._begun = work, begin()
            except Exception as error:
                return CannotBegin(in_one_line(error))
            use_threads(self._threads)
        return Begun()

    def do(self, index: int, item: Any) -> Any:
        """The work on one item."""
        told = self.begin()
        if self._begun is None:
            return told
        work, context = self._begun
        return attempt(work, context, index, item)


def _told(ray: ModuleType, reference: Any, index: int | None, retries: int) -> Any:
    """What an actor says of an item, or of its beginning where there is no index."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # what the work returned cannot be sent
        return CannotBegin(in_one_line(error)) if index is None else failure(index, error)
    except ray.exceptions.RayError as error:
        reason = f"{died('was killed', retries + 1)} ({type(error).__name__})"
        return CannotBegin(reason) if index is None else Failed(index, WORKER_DIED, reason, "")


def _no_room(ray: ModuleType, threads: int, gpus: float) -> str:
    has = ray.cluster_resources()
    return (
        f"no worker began within {_BEGIN_S:g} s: each wants {threads} CPUs and {gpus:g} GPUs, the cluster has "
        f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g} in all; see `ray status`"
    )


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
        raise SpreadingError(f"no Ray cluster at {address!r} ({in_one_line(error)}): {advice}") from error


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
