"""The same work on many items, spread over processes of this machine or over a Ray cluster.

Each worker holds one item at a time, so that of a worker that dies it is known which item it had: only that one is
tried again, by whoever is free, and only that worker is replaced.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

WORKER_DIED = "WorkerDied"  # `Failed.type` of an item whose workers were killed
_OMP_VARIABLE = "OMP_NUM_THREADS"  # torch, MKL and OpenBLAS read it as they are loaded

Ctx = TypeVar("Ctx")
Item = TypeVar("Item")
Result = TypeVar("Result")


class SpreadingError(RuntimeError):
    """Work cannot be spread: no worker can begin, or the engine is not there."""


@dataclass(frozen=True)
class Failed:
    """An item without a result: the exception that its work raised, or `WORKER_DIED`."""

    index: int
    type: str
    message: str
    traceback: str  # empty where a worker was killed

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


@dataclass(frozen=True)
class Begun:
    """A worker is ready for items."""


@dataclass(frozen=True)
class CannotBegin:
    """`begin` raised in a worker, or what was sent there cannot be loaded."""

    reason: str


def spread(
    work: Callable[[Ctx, Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    ray: str | None = None,
    begin: Callable[[], Ctx],
    retries: int = 2,
    threads: int = 0,
    gpus: float = 0.0,
) -> Generator[tuple[int, Result | Failed], None, None]:
    """Items -> (index, result) as each is done. One worker without Ray is this process, and works as it is asked.

    An exception in `work` becomes a `Failed` and costs nothing else. A worker that is killed is replaced and its item
    tried again. Closing the iterator, and an exception such as Ctrl-C, end all workers.

    Args:
        work: Of a module that the workers can import; given what `begin` made, and an item.
        items: To pickle, like the results.
        workers: Processes, or actors in the cluster.
        ray: Address of a Ray cluster: HOST:PORT of its head, `auto`, or `local` for one that is started here.
        begin: Runs once in each worker, and once more in its replacement.
        retries: How often an item is tried again whose worker was killed.
        threads: Of one torch or OpenCV operation in a worker; 0: the machine's cores by `workers`, one in a cluster.
            In this process 0 leaves them as they are.
        gpus: Of one worker in a cluster.

    Raises:
        SpreadingError: a number that cannot be, `begin` failed, Ray is not installed or does not answer.
    """
    if workers < 1 or retries < 0 or threads < 0:
        raise SpreadingError(
            f"workers is {workers}, retries {retries}, threads {threads}: wanted at least 1, at least 0, at least 0"
        )
    if ray is not None:
        from villa_ros.parallel.ray_actors import spread_over_ray

        return spread_over_ray(work, items, workers, ray, begin, retries, threads, gpus)
    if workers == 1:
        return _here(work, items, begin, threads)
    from villa_ros.parallel.processes import Processes

    return employ(Processes(work, begin, threads or share_of_cores(workers)), items, workers, retries)


def share_of_cores(workers: int) -> int:
    """Threads for each of so many workers that share this machine's cores, at least one."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


def attempt(work: Callable[[Ctx, Item], Result], context: Ctx, index: int, item: Item) -> Result | Failed:
    """The work on one item, or what it raised."""
    try:
        return work(context, item)
    except Exception as error:
        return failure(index, error)


def failure(index: int, error: BaseException) -> Failed:
    """An exception as a value that any process can read."""
    return Failed(index, type(error).__qualname__, str(error), "".join(traceback.format_exception(error)))


def use_threads(count: int) -> None:
    """Give one operation of torch and OpenCV `count` threads: where they are loaded, and where they will be."""
    if not count:
        return
    os.environ[_OMP_VARIABLE] = str(count)
    if "torch" in sys.modules:
        from villa_ros.runtime.model_loading import limit_threads

        limit_threads(count)
    if "cv2" in sys.modules:
        import cv2

        cv2.setNumThreads(count)


def _here(
    work: Callable[[Ctx, Item], Result], items: Sequence[Item], begin: Callable[[], Ctx], threads: int
) -> Generator[tuple[int, Result | Failed], None, None]:
    if not items:
        return
    try:
        context = begin()
    except Exception as error:
        raise SpreadingError(no_beginning(in_one_line(error))) from error
    use_threads(threads)
    for index, item in enumerate(items):
        yield index, attempt(work, context, index, item)


def in_one_line(error: BaseException) -> str:
    """Type and message of an exception."""
    return f"{type(error).__qualname__}: {error}"


# -- engines ---------------------------------------------------------------------------------------------------------


class DiedError(RuntimeError):
    """A worker is gone; the message says how it ended."""


class Worker(Protocol):
    """A worker of an engine, from the outside. It begins by itself."""

    def give(self, index: int, item: Any) -> None:
        """Let it work on an item.

        Raises:
            DiedError: it is gone.
        """
        ...

    def told(self) -> Any:
        """What it says, once the engine has heard of it: `Begun` or `CannotBegin`, then a result or `Failed` an item.

        Raises:
            DiedError: it is gone.
        """
        ...

    def dismiss(self) -> None:
        """End it, whatever it does."""
        ...


W = TypeVar("W", bound=Worker)


class Engine(Protocol[W]):
    """What workers come from."""

    def hire(self) -> W:
        """A new worker."""
        ...

    def hear(self, workers: Sequence[W], any_began: bool) -> Sequence[W]:
        """Wait for one or more of these workers to say something, or to die.

        Raises:
            SpreadingError: none will.
        """
        ...


def employ(
    engine: Engine[W], items: Sequence[Item], workers: int, retries: int
) -> Generator[tuple[int, Any | Failed], None, None]:
    """Hand items to workers, one at a time to each, until all are done; who dies is replaced, and its item waits again.

    Raises:
        SpreadingError: no worker can begin.
    """
    waiting = deque(range(len(items)))
    deaths = [0] * len(items)
    idle_deaths = 0  # one after the other, of workers that had no item
    any_began = False
    left = len(items)
    crew: dict[W, int | None] = {}  # worker -> index of its item
    try:
        for _ in range(min(workers, len(items))):
            crew[engine.hire()] = None
        while left:
            for worker in engine.hear(list(crew), any_began):
                done: tuple[int, Any] | None = None
                try:
                    told = worker.told()
                    if isinstance(told, CannotBegin):
                        raise SpreadingError(no_beginning(told.reason))
                    index, crew[worker] = crew[worker], None
                    if index is not None:
                        done = index, told
                    idle_deaths, any_began = 0, True
                    if waiting:
                        worker.give(waiting[0], items[waiting[0]])
                        crew[worker] = waiting.popleft()
                    else:
                        worker.dismiss()
                        del crew[worker]
                except DiedError as death:
                    worker.dismiss()
                    index = crew.pop(worker)
                    if index is None:
                        idle_deaths += 1
                    else:
                        deaths[index] += 1
                        if deaths[index] <= retries:
                            waiting.appendleft(index)
                        else:
                            done = index, Failed(index, WORKER_DIED, _died(death, deaths[index]), "")
                    if idle_deaths <= retries:
                        if waiting:
                            crew[engine.hire()] = None
                    elif not crew:
                        raise SpreadingError(no_beginning(_died(death, idle_deaths))) from None
                if done is not None:
                    left -= 1
                    yield done
    finally:
        for worker in crew:
            worker.dismiss()


def _died(death: DiedError, times: int) -> str:
    """How workers died over one item, and what may help."""
    tries = f"each of {times} workers" if times > 1 else "the worker"
    return f"{tries} {death}; where memory runs out, fewer workers help"


def no_beginning(reason: str) -> str:
    """Why there is no worker."""
    return f"a worker cannot begin: {reason}"
