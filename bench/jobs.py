"""Many measurements, as many at a time as the machine bears."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A call of a module's function. `load` is the share of a CPU that it takes, `name` is for whoever waits for it."""

    name: str
    load: float
    function: Callable[..., T]
    arguments: tuple[Any, ...]


def run_all(jobs: Sequence[Job[T]], capacity: float) -> Iterator[tuple[Job[T], T]]:
    """Run every job in a process, no more than `capacity` CPUs' load at a time, the heaviest first; each with what it
    returned, as they end. Raises what a job raises, once those that run have ended."""
    if not jobs:
        return
    waiting = sorted(jobs, key=lambda job: -job.load)
    running: dict[Future[T], Job[T]] = {}
    most = min(len(jobs), int(capacity / min(job.load for job in jobs)) + 1)
    with ProcessPoolExecutor(
        most,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C reaches them too: they die of it in silence
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
