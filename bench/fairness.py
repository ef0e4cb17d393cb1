"""Measures how two or four flows share a bottleneck."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, Final

from utcp.tcp.congestion import CONTROLLERS
from utcp.testing.path import Conditions

from . import kernel_path, simulated_path
from .kernel_path import LINUX, PACED_LINUX, UTCP
from .path_cells import Cell, Run
from .processes import Job, run_all

SECONDS: Final = 45.0
STAGGER: Final = 2.0
"""Seconds between the starts of two flows, so that the second finds the path full."""
FOUR_STAGGER: Final = 0.3
"""Seconds between the starts of four flows, which all start within one second."""

PATH: Final = Cell(20e6, 0.04)

JITTER: Final = 0.002
"""Jitter, seconds. Without any, packets arrive in step with the bottleneck, and the flow whose ACKs return just before
a place in the full queue is free loses packets while the other takes the places. This phase effect of a deterministic
simulation does not occur on real paths (Floyd and Jacobson, 1992). Jitter of three packet times suffices to avoid
it."""

_SEED: Final = 1

_AGAINST: Final = {"cubic": "cubic", "bbr": "bbr", "newreno": "reno"}
"""Linux's names of the controllers that utcp's are compared with."""

Flow = tuple[str, str]
"""A TCP and a congestion controller."""


def jain(rates: Sequence[float]) -> float:
    """Return Jain's fairness index: 1 for equal rates, 1/n if one flow has everything (Jain, Chiu and Hawe, 1984)."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 1.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Flows that share a bottleneck, in order of their start."""

    flows: tuple[Flow, ...]
    stagger: float = STAGGER
    queue: int = 1
    """Capacity of the queue, bandwidth-delay products."""
    jitter: float = JITTER
    odd: int | None = None
    """Index of the flow whose share is measured; None: no such flow."""

    @property
    def conditions(self) -> Conditions:
        return replace(PATH.conditions, queue=self.queue * PATH.queue, jitter=self.jitter)

    @property
    def real(self) -> bool:
        """Return whether the scenario runs in real time, because Linux takes part."""
        return any(tcp != UTCP for tcp, _ in self.flows)

    @property
    def load(self) -> float:
        """Return the approximate load in CPUs: one in virtual time, otherwise that of the relay and utcp's senders."""
        return 0.2 + 0.1 * sum(tcp == UTCP for tcp, _ in self.flows) if self.real else 1.0

    @property
    def name(self) -> str:
        names = ", ".join(" ".join(flow) for flow in self.flows)
        return f"{names}, queue of {self.queue} BDP, {1e3 * self.jitter:g} ms of jitter"


def share(rates: Sequence[float], odd: int) -> float:
    """Return the rate of one flow as a multiple of the mean of the others; 1.0 is fair."""
    others = [rate for number, rate in enumerate(rates) if number != odd]
    mean = sum(others) / len(others)
    return rates[odd] / mean if mean else inf


def run(scenario: Scenario, seconds: float) -> Run:
    """Run a scenario, in virtual time if all flows are utcp's, otherwise in real time."""
    if not scenario.real:
        controllers = [controller for _, controller in scenario.flows]
        return simulated_path.run(scenario.conditions, controllers, seconds, _SEED, scenario.stagger)
    return kernel_path.run(scenario.conditions, scenario.flows, seconds, _SEED, scenario.stagger)


def scenarios(*, kernel: bool) -> list[Scenario]:
    """Return scenarios of each controller against itself; with `kernel`, also against Linux's in both orders, and four
    CUBIC flows of which one is of another TCP."""
    found = [Scenario(((UTCP, name), (UTCP, name))) for name in CONTROLLERS]
    if not kernel:
        return found
    for name, other in _AGAINST.items():
        ours, theirs = (UTCP, name), (LINUX, other)
        found.append(Scenario((theirs, theirs)))
        if name in CONTROLLERS:
            found += [Scenario((ours, theirs)), Scenario((theirs, ours))]
    for odd, others in ((UTCP, LINUX), (PACED_LINUX, LINUX), (LINUX, UTCP), (LINUX, PACED_LINUX)):
        for queue in (1, 4):
            for jitter in (0.0, JITTER):
                for place in (0, 3):
                    tcps = [others] * 3
                    tcps.insert(place, odd)
                    flows = tuple((tcp, "cubic") for tcp in tcps)
                    found.append(Scenario(flows, FOUR_STAGGER, queue, jitter, place))
    return found


def measure(seconds: float, jobs: int, *, kernel: bool, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure all scenarios, and return them ready for JSON."""
    wanted = scenarios(kernel=kernel)
    results: dict[Scenario, Run] = {}
    for real in (False, True):
        todo = [
            Job(scenario.name, scenario.load, run, (scenario, seconds)) for scenario in wanted if scenario.real == real
        ]
        for number, (job, result) in enumerate(run_all(todo, 0.7 * jobs if real else jobs), 1):
            results[job.arguments[0]] = result
            progress(f"{number} of {len(todo)}: {job.name}: Jain's index {jain(result.mbit):.3f}")
    return [
        {
            "flows": scenario.flows,
            "queue": scenario.queue,
            "jitter": scenario.jitter,
            "odd": scenario.odd,
            "jain": jain(results[scenario].mbit),
            "share": None if scenario.odd is None else share(results[scenario].mbit, scenario.odd),
            "run": asdict(results[scenario]),
        }
        for scenario in wanted
    ]
