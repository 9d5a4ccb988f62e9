"""The same work on many items: in this process, in processes of this machine, or over a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from villa_ros.parallel.dispatch import (
    Ctx,
    Failed,
    Item,
    ParallelError,
    Result,
    attempt,
    dispatch,
    in_one_line,
    no_beginning,
    share_of_cores,
    use_threads,
)
from villa_ros.parallel.processes import Processes


def parallel_map(
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
        ParallelError: a number that cannot be, `begin` failed, Ray is not installed or does not answer.
    """
    if workers < 1 or retries < 0 or threads < 0:
        raise ParallelError(
            f"workers is {workers}, retries {retries}, threads {threads}: wanted at least 1, at least 0, at least 0"
        )
    if ray is not None:
        from villa_ros.parallel.ray_actors import map_over_ray

        return map_over_ray(work, items, workers, ray, begin, retries, threads, gpus)
    if workers == 1:
        return _here(work, items, begin, threads)
    return dispatch(Processes(work, begin, threads or share_of_cores(workers)), items, workers, retries)


def _here(
    work: Callable[[Ctx, Item], Result], items: Sequence[Item], begin: Callable[[], Ctx], threads: int
) -> Generator[tuple[int, Result | Failed], None, None]:
    if not items:
        return
    try:
        context = begin()
    except Exception as error:
        raise ParallelError(no_beginning(in_one_line(error))) from error
    use_threads(threads)
    for index, item in enumerate(items):
        yield index, attempt(work, context, index, item)
