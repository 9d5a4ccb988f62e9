"""The same work on many items, spread over processes of this machine or over a Ray cluster.

Each worker is a process of its own behind a pipe of its own. The pools of the standard library and of loky give up all
that is in flight when one of their processes is killed, and say neither which item was under work nor how the process
ended; a pipe for each worker says both, so only that item is tried again and only that worker is replaced.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TypeVar

from villa_ros.process_setup import PARENT_VARIABLE, end_with_parent

WORKER_DIED = "WorkerDied"  # `Failed.type` of an item whose workers were killed
_OMP_VARIABLE = "OMP_NUM_THREADS"  # torch, MKL and OpenBLAS read it as they are loaded
_JOIN_S = 5.0  # from asking a worker to end to killing it

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
        from villa_ros.spreading_ray import spread_over_ray

        return spread_over_ray(work, items, workers, ray, begin, retries, threads, gpus)
    if workers == 1:
        return _here(work, items, begin, threads)
    return _over_processes(work, items, workers, begin, retries, threads or share_of_cores(workers))


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
        from villa_ros.model_loading import limit_threads

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


# -- processes of this machine ---------------------------------------------------------------------------------------


@dataclass
class _Worker:
    """A process, its pipe, and the item that it works on."""

    process: SpawnProcess
    line: Connection
    index: int | None = None

    def give(self, waiting: deque[int], items: Sequence[object]) -> None:
        """The next item; one that cannot be given, as the process has just died, goes on waiting."""
        index = waiting.popleft()
        try:
            self.line.send((index, items[index]))
        except OSError:
            self.index = None
            waiting.appendleft(index)
        else:
            self.index = index

    def ending(self) -> str:
        """How the process ended."""
        self.process.join(_JOIN_S)
        code = self.process.exitcode
        if code is None:
            return "hung up"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _over_processes(
    work: Callable[[Ctx, Item], Result],
    items: Sequence[Item],
    workers: int,
    begin: Callable[[], Ctx],
    retries: int,
    threads: int,
) -> Generator[tuple[int, Result | Failed], None, None]:
    spawn = get_context("spawn")
    payload = pickle.dumps((work, begin))
    waiting = deque(range(len(items)))
    deaths = [0] * len(items)
    idle_deaths = 0  # one after the other, of workers that had no item
    crew: list[_Worker] = []
    try:
        crew.extend(_hire(spawn, payload, threads) for _ in range(min(workers, len(items))))
        while crew:
            for line in wait([worker.line for worker in crew]):
                worker = next(worker for worker in crew if worker.line is line)
                index = worker.index
                try:
                    told: Begun | CannotBegin | Result | Failed = worker.line.recv()
                except (EOFError, OSError):
                    ending = worker.ending()
                    crew.remove(worker)
                    _dismiss([worker])
                    if index is None:
                        idle_deaths += 1
                        if idle_deaths > retries:
                            raise SpreadingError(no_beginning(died(ending, idle_deaths))) from None
                    else:
                        deaths[index] += 1
                        if deaths[index] <= retries:
                            waiting.appendleft(index)
                    if waiting:
                        crew.append(_hire(spawn, payload, threads))
                    if index is not None and deaths[index] > retries:
                        yield index, Failed(index, WORKER_DIED, died(ending, deaths[index]), "")
                    continue
                if isinstance(told, CannotBegin):
                    raise SpreadingError(no_beginning(told.reason))
                idle_deaths = 0
                if waiting:
                    worker.give(waiting, items)
                else:
                    crew.remove(worker)
                    _dismiss([worker])
                if index is not None and not isinstance(told, Begun):
                    yield index, told
    finally:
        _dismiss(crew)


def died(ending: str, times: int) -> str:
    """How workers died over one item, and what may help."""
    tries = f"each of {times} workers" if times > 1 else "the worker"
    return f"{tries} {ending}; where memory runs out, fewer workers help"


def no_beginning(reason: str) -> str:
    """Why there is no worker."""
    return f"a worker cannot begin: {reason}"


def _hire(spawn: SpawnContext, payload: bytes, threads: int) -> _Worker:
    mine, its = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(its, os.getpid(), payload, threads), daemon=True)
    process.start()
    its.close()  # so that the end of the process is the end of the line
    return _Worker(process, mine)


def _dismiss(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(_JOIN_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.line.close()


def _serve(line: Connection, parent: int, payload: bytes, threads: int) -> None:
    """A worker's life: begin, then item for item until the other end hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    os.environ[PARENT_VARIABLE] = str(parent)
    end_with_parent()
    use_threads(threads)
    try:
        work, begin = pickle.loads(payload)  # here, so that what it imports finds the number of threads
        context = begin()
    except Exception as error:
        line.send(CannotBegin(in_one_line(error)))
        return
    use_threads(threads)
    line.send(Begun())
    while True:
        try:
            index, item = line.recv()
        except EOFError:
            return
        done = attempt(work, context, index, item)
        try:
            line.send(done)
        except Exception as error:  # a result that cannot be pickled raises what its class likes
            line.send(failure(index, error))
