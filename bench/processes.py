"""Runs measurements in processes of their own, so that none inherits memory, caches or garbage."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module's function in a fresh interpreter. Return its result or raise its error."""
    with _pool(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A call of a module's function. `load` is its share of a CPU, `name` its description for the user."""

    name: str
    load: float
    function: Callable[..., T]
    arguments: tuple[Any, ...]


def run_all(jobs: Sequence[Job[T]], capacity: float) -> Iterator[tuple[Job[T], T]]:
    """Run every job in a process, heaviest first, with a total load of at most `capacity` CPUs.

    Yields each job with its result as it ends. Raises a job's error after the running jobs have ended.
    """
    if not jobs:
        return
    waiting = sorted(jobs, key=lambda job: -job.load)
    running: dict[Future[T], Job[T]] = {}
    most = min(len(jobs), int(capacity / min(job.load for job in jobs)) + 1)
    with _pool(most) as pool:
        while waiting or running:
            used = sum(job.load for job in running.values())
            for job in list(waiting):
                if running and used + job.load > capacity:
                    continue
                waiting.remove(job)
                running[pool.submit(job.function, *job.arguments)] = job
                used += job.load
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _pool(size: int) -> ProcessPoolExecutor:
    """Return a pool of processes, which Ctrl-C ends silently, because their parent reports it."""
    end_silently = (signal.SIGINT, signal.SIG_DFL)
    return ProcessPoolExecutor(size, get_context("spawn"), initializer=signal.signal, initargs=end_silently)
