"""Two flows at one bottleneck: do they share it?"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from utcp.tcp.congestion import CONTROLLERS

from . import kernel_path, simulated_path
from .jobs import Job, run_all
from .kernel_path import LINUX, UTCP
from .path_cells import Cell, Run

SECONDS: Final = 60.0
STAGGER: Final = 2.0
"""Seconds by which the first flow is ahead: the second finds the path full."""

PATH: Final = Cell(20e6, 0.04)

JITTER: Final = 0.002
"""Seconds. Without any, packets keep the beat of the bottleneck, and whose ACKs return just before a place in the full
queue is free loses packets while the other takes the places: the phase effect of a clockwork, which no real path is
(Floyd and Jacobson, 1992). Three packets' time of chance is enough to end it."""

CONDITIONS: Final = replace(PATH.conditions, jitter=JITTER)
_SEED: Final = 1

_AGAINST: Final = {"cubic": "cubic", "bbr": "bbr", "newreno": "reno"}
"""Linux's names for the controllers that utcp's are put against."""

Flow = tuple[str, str]
"""A TCP and a congestion controller."""


def jain(rates: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything (Jain, Chiu and Hawe, 1984)."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 1.0


def run_simulated(flows: Sequence[Flow], seconds: float) -> Run:
    """utcp's flows, in virtual time."""
    return simulated_path.run(CONDITIONS, [controller for _, controller in flows], seconds, _SEED, STAGGER)


def run_real(flows: Sequence[Flow], seconds: float) -> Run:
    """Flows of which at least one is Linux's, in real time."""
    return kernel_path.run(CONDITIONS, flows, seconds, _SEED, STAGGER)


def scenarios(*, kernel: bool) -> list[tuple[Flow, Flow]]:
    """Each controller against itself; with `kernel`, against Linux's too, whichever is first."""
    found: list[tuple[Flow, Flow]] = [((UTCP, name), (UTCP, name)) for name in CONTROLLERS]
    if kernel:
        for name, other in _AGAINST.items():
            ours, theirs = (UTCP, name), (LINUX, other)
            found.append((theirs, theirs))
            if name in CONTROLLERS:
                found += [(ours, theirs), (theirs, ours)]
    return found


def measure(seconds: float, jobs: int, *, kernel: bool, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """All scenarios, ready for JSON."""
    wanted = scenarios(kernel=kernel)
    results: dict[tuple[Flow, Flow], Run] = {}
    for real in (False, True):
        todo = [
            Job(
                " and ".join(" ".join(flow) for flow in flows),
                0.35 if real else 1.0,
                run_real if real else run_simulated,
                (flows, seconds),
            )
            for flows in wanted
            if any(tcp == LINUX for tcp, _ in flows) == real
        ]
        for number, (job, run) in enumerate(run_all(todo, 0.7 * jobs if real else jobs), 1):
            results[job.arguments[0]] = run
            progress(f"{number} of {len(todo)}: {job.name}: Jain's index {jain(run.mbit):.3f}")
    return [{"flows": flows, "jain": jain(results[flows].mbit), "run": asdict(results[flows])} for flows in wanted]
