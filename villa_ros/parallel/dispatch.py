"""Items handed to workers, one at a time to each; the workers are of any engine.

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


class ParallelError(RuntimeError):
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

    def receive(self) -> Any:
        """What it says, once the engine has heard of it: `Begun` or `CannotBegin`, then a result or `Failed` an item.

        Raises:
            DiedError: it is gone.
        """
        ...

    def terminate(self) -> None:
        """End it, whatever it does."""
        ...


W = TypeVar("W", bound=Worker)


class Engine(Protocol[W]):
    """What workers come from."""

    def spawn(self) -> W:
        """A new worker."""
        ...

    def wait(self, workers: Sequence[W], any_began: bool) -> Sequence[W]:
        """Wait for one or more of these workers to say something, or to die.

        Raises:
            ParallelError: none will.
        """
        ...


def dispatch(
    engine: Engine[W], items: Sequence[Item], workers: int, retries: int
) -> Generator[tuple[int, Any | Failed], None, None]:
    """Hand items to workers, one at a time to each, until all are done; who dies is replaced, and its item waits again.

    Raises:
        ParallelError: no worker can begin.
    """
    waiting = deque(range(len(items)))
    deaths = [0] * len(items)
    idle_deaths = 0  # one after the other, of workers that had no item
    any_began = False
    left = len(items)
    crew: dict[W, int | None] = {}  # worker -> index of its item
    try:
        for _ in range(min(workers, len(items))):
            crew[engine.spawn()] = None
        while left:
            for worker in engine.wait(list(crew), any_began):
                done: tuple[int, Any] | None = None
                try:
                    told = worker.receive()
                    if isinstance(told, CannotBegin):
                        raise ParallelError(no_beginning(told.reason))
                    index, crew[worker] = crew[worker], None
                    if index is not None:
                        done = index, told
                    idle_deaths, any_began = 0, True
                    if waiting:
                        worker.give(waiting[0], items[waiting[0]])
                        crew[worker] = waiting.popleft()
                    else:
                        worker.terminate()
                        del crew[worker]
                except DiedError as death:
                    worker.terminate()
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
                            crew[engine.spawn()] = None
                    elif not crew:
                        raise ParallelError(no_beginning(_died(death, idle_deaths))) from None
                if done is not None:
                    left -= 1
                    yield done
    finally:
        for worker in crew:
            worker.terminate()


def _died(death: DiedError, times: int) -> str:
    """How workers died over one item, and what may help."""
    tries = f"each of {times} workers" if times > 1 else "the worker"
    return f"{tries} {death}; where memory runs out, fewer workers help"


def no_beginning(reason: str) -> str:
    """Why there is no worker."""
    return f"a worker cannot begin: {reason}"
