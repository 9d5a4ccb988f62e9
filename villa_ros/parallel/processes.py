"""Workers that are processes of this machine, each behind a pipe of its own.

The pools of the standard library and of loky give up all that is in flight when one of their processes is killed, and
say neither which item it had nor how it ended. A pipe for each process tells both.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from villa_ros.parallel.dispatch import (
    Begun,
    CannotBegin,
    Ctx,
    DiedError,
    Item,
    attempt,
    failure,
    in_one_line,
    use_threads,
)
from villa_ros.runtime.process import PARENT_VARIABLE, end_with_parent

_JOIN_S = 5.0  # for a process to end that was asked to


class Processes:
    """Engine of `villa_ros.parallel.dispatch.dispatch`."""

    def __init__(self, work: Callable[[Ctx, Item], object], begin: Callable[[], Ctx], threads: int) -> None:
        self._payload, self._threads = pickle.dumps((work, begin)), threads

    def spawn(self) -> Process:
        """A new process; it begins at once."""
        return Process(self._payload, self._threads)

    def wait(self, workers: Sequence[Process], any_began: bool) -> Sequence[Process]:
        """The processes that said something or ended."""
        lines = wait([worker.line for worker in workers])
        return [worker for worker in workers if worker.line in lines]


class Process:
    """A process and our end of its pipe."""

    def __init__(self, payload: bytes, threads: int) -> None:
        spawn = get_context("spawn")
        self.line, its = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(its, os.getpid(), payload, threads), daemon=True)
        self._process.start()
        its.close()  # so that the end of the process is the end of the line

    def give(self, index: int, item: Any) -> None:
        """See `villa_ros.parallel.dispatch.Worker`."""
        try:
            self.line.send((index, item))
        except OSError as error:
            raise DiedError(self._ending()) from error

    def receive(self) -> Any:
        """See `villa_ros.parallel.dispatch.Worker`."""
        try:
            return self.line.recv()
        except (EOFError, OSError) as error:
            raise DiedError(self._ending()) from error

    def terminate(self) -> None:
        """See `villa_ros.parallel.dispatch.Worker`."""
        self._process.terminate()
        self._process.join(_JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.line.close()

    def _ending(self) -> str:
        self._process.join(_JOIN_S)
        code = self._process.exitcode
        if code is None:
            return "hung up"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


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
