"""The interface of a bench.

A bench is a module `bench/NAME.py`, listed in `bench/registry.py`, with a constant

    BENCH = Bench(name="churn", title="...", options=(...), cases=_cases, measure=_measure, figures=(...), goals=(...))

and `if __name__ == "__main__": command.main("NAME")` at its end. Its docstring defines exactly what is measured, and
appears on the page of results.

`cases` returns Cases for the options' values: the things to measure, with their parameters. `measure` is a function of
a module. It gets a Trial, one stack in one case, and returns Figures: a number for each of `figures`, None if this
stack or machine does not provide it. It is called in a fresh process for each stack, round, case, loop and number of
processes, with utcp and kernel TCP taking turns. It consists of

    async def _run(trial: Trial) -> Figures:
        async with trial.ends(Server, connections=100) as ends:    # class Server(StreamApp), in this module
            before = await ends.usage()
            ...                                                    # ends.connect(), await ends.ask("method", ...)
            used = (await ends.usage()).since(before)
        return {"connections_per_second": ...}

    def measure(trial: Trial) -> Figures:
        return trial.run(_run)

which works for one process and for two, for both loops and every stack. A bench that does not support one of these
excludes it by `loops` or `processes`, or by a Case's `without`.

A Figure with `better` is compared with kernel TCP by its ratio in each round; the result is the median of these ratios.
`Goal.of` finds a goal's value among the results (`ratio`, `figure`), or computes it (any function of `Outcomes`), and
its aims say what the value must be, for each variant of utcp and each loop.
Command line, JSON, table, plot and page are derived from these declarations.
"""

import asyncio
import math
import statistics
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from . import loops
from .ends import Ends, open_ends
from .stacks import STACKS, App, Setting
from .trouble import Guard

TIME_LIMIT: Final = 120.0
"""Seconds after which a trial fails, in addition to its parameter `seconds`."""

PEER_TIME_LIMIT: Final = 20.0
"""Seconds after which a peer's trial fails, which is then its result."""

Figures = dict[str, float | None]
Values = Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Option:
    """A numeric option on the bench's command line; `quick` is its value in a smoke test."""

    name: str
    default: int | float
    quick: int | float
    help: str


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure. `parameters` are for `measure`. `peers` maps each peer to measure to its different
    parameters, for peers that are too slow for the normal ones. `without` maps each of STACKS that is not measured to
    the reason."""

    name: str
    parameters: Values
    peers: Mapping[str, Values] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that `measure` returns. `better` is the better direction if the figure is compared; a ratio is always
    utcp's value over kernel TCP's. `headline` figures are plotted."""

    name: str
    label: str
    decimals: int = 0
    better: Literal["higher", "lower"] | None = None
    headline: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """All rounds of one case, on one loop, with one or two processes."""

    case: Case
    loop: str
    processes: int
    rounds: Mapping[str, Sequence[Figures]]
    """The figures of each round, by stack."""
    absent: Mapping[str, str]
    """The reason why a stack has no rounds, or fewer than others (a peer that failed), by stack."""

    def median(self, stack: str, figure: str) -> float | None:
        """Return the median over the rounds, or None unless every round has the figure."""
        return median([each.get(figure) for each in self.rounds.get(stack, [])])

    def ratios(self, figure: str, other: str = "kernel_tcp") -> list[float]:
        """Return utcp's value over the other's, for each round that has both."""
        return [ours / theirs for ours, theirs in self._pairs(figure, other) if theirs]

    def speeds(self, figure: str, other: str = "kernel_tcp") -> list[float]:
        """Return the other's value over utcp's, for each round that has both."""
        return [theirs / ours for ours, theirs in self._pairs(figure, other) if ours]

    def _pairs(self, figure: str, other: str) -> Iterator[tuple[float, float]]:
        for mine, others in zip(self.rounds.get("utcp", []), self.rounds.get(other, []), strict=False):
            ours, theirs = mine.get(figure), others.get(figure)
            if ours is not None and theirs is not None:
                yield ours, theirs

    def ratio(self, figure: str, other: str = "kernel_tcp") -> float | None:
        """Return the median of `ratios`."""
        return median(self.ratios(figure, other))


Outcomes = Sequence[Outcome]
"""The outcomes of all cases of one bench, on one loop, with one number of processes."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a value must be, and the goal beyond it."""

    must: float
    goal: float


Aims = Mapping[str, Aim]
"""What a value must be on each loop."""


def aims(must: float, goal: float, *, uvloop: tuple[float, float] | None = None) -> Aims:
    """Return aims. `uvloop`: (must, goal), if they are different on this loop."""
    return {"asyncio": Aim(must, goal), "uvloop": Aim(*uvloop or (must, goal))}


@dataclass(frozen=True, slots=True)
class Goal:
    """A row of the table of goals. `of` returns the value, or None if it was not measured. `interpreted`: the aims of
    interpreted utcp; None if it has none. `speed`: the value is utcp's speed beside kernel TCP's, which `bench.summary`
    shows."""

    label: str
    of: Callable[[Outcomes], float | None]
    compiled: Aims
    interpreted: Aims | None = None
    better: Literal["higher", "lower"] = "higher"
    unit: str = "x"
    decimals: int = 2
    speed: bool = False

    def aim(self, variant: str, loop: str) -> Aim | None:
        """Return the aim of `variant`, "compiled" or "interpreted"."""
        found = self.compiled if variant == "compiled" else self.interpreted
        return found[loop] if found else None


def ratio(figure: str, case: str | None = None, other: str = "kernel_tcp") -> Callable[[Outcomes], float | None]:
    """Return a function for Goal: the ratio of the figure in the case (None: the first)."""
    return lambda outcomes: next(
        (found.ratio(figure, other) for found in outcomes if case in (None, found.case.name)), None
    )


def speed(figure: str, case: str | None = None, other: str = "kernel_tcp") -> Callable[[Outcomes], float | None]:
    """Return a function for Goal: the speed ratio of a figure that is a time, as the median over the rounds."""

    def of(outcomes: Outcomes) -> float | None:
        for found in outcomes:
            if case in (None, found.case.name):
                return median(found.speeds(figure, other))
        return None

    return of


def figure(name: str, case: str | None = None, stack: str = "utcp") -> Callable[[Outcomes], float | None]:
    """Return a function for Goal: the figure's median over the rounds in the case (None: the first)."""
    return lambda outcomes: next(
        (found.median(stack, name) for found in outcomes if case in (None, found.case.name)), None
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """A single run of one stack in one case."""

    stack: str
    loop: str
    processes: int
    parameters: Values
    serial: int
    """Number of the trial in its run."""

    @property
    def host(self) -> str:
        """Return the server's loopback address, a different one for each trial. Connections that earlier trials left in
        TIME_WAIT therefore never share address and port with a new one, so that no port is refused."""
        return f"127.1.{self.serial // 250 % 250}.{1 + self.serial % 250}"

    def integer(self, name: str) -> int:
        """Return a parameter that is a count."""
        return int(self.parameters[name])

    def ends(
        self, app: Callable[[], App], *, connections: int, mss: int | None = None
    ) -> AbstractAsyncContextManager[Ends]:
        """Return both ends with the trial's settings (see `open_ends`)."""
        return open_ends(
            self.stack,
            app,
            Setting(self.host, mss),
            processes=self.processes,
            loop=self.loop,
            connections=connections,
        )

    def run(self, main: Callable[["Trial"], Coroutine[object, object, Figures]]) -> Figures:
        """Run `main` on the trial's loop and return its figures. Raises TimeoutError when it takes too long,
        CallbackFailed when a server's handler or another callback fails."""

        async def limited() -> Figures:
            limit = TIME_LIMIT if self.stack in STACKS else PEER_TIME_LIMIT
            async with asyncio.timeout(limit + self.parameters.get("seconds", 0)), Guard():
                return await main(self)

        return loops.run(limited(), self.loop)


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench (see the module's docstring)."""

    name: str
    title: str
    cases: Callable[[Values], Sequence[Case]]
    measure: Callable[[Trial], Figures]
    figures: Sequence[Figure]
    options: Sequence[Option] = ()
    goals: Sequence[Goal] = ()
    loops: Sequence[str] = tuple(loops.LOOPS)
    processes: Sequence[int] = (1, 2)
    rounds: int = 5
    rounds_in_all: int = 3
    seconds: float = 1.0
    """How long a round takes on two CPUs, with the default options, in one configuration: a loop and a number of
    processes."""
    options_in_all: Mapping[str, Any] = field(default_factory=dict)
    """Option values of `python -m bench all` that differ from the defaults."""
    draw: Callable[[Any, Sequence[Outcome]], None] | None = None
    """Draws on a matplotlib Figure; None: bars of the headline figures and dots of their ratios."""


def median(values: Sequence[float | None]) -> float | None:
    """Return the median, or None if a value is unknown or there is none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known and len(known) == len(values) else None


def per(total: float | None, count: float) -> float | None:
    """Return `total` / `count`, or None if the total is unknown or there was nothing."""
    return None if total is None or not count else total / count


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that is at least as large as `percent` of the values (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
