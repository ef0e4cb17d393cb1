"""Runs many measurements, as many at a time as the machine can bear."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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
    with ProcessPoolExecutor(
        most,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C ends these processes too, silently
        initargs=(signal.SIGINT, signal.SIG_DFL),
    ) as pool:
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
