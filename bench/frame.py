"""What a bench is, and how it plugs in.

A bench is a module `bench/NAME.py`, named in `bench/registry.py`, with a constant

    BENCH = Bench(name="churn", title="...", options=(...), cases=_cases, measure=_measure, figures=(...), goals=(...))

and `if __name__ == "__main__": command.main("NAME")` at its end. Its docstring says exactly what the clock runs over;
it stands on the page of results.

`cases` makes Cases of the options' values: what is measured, with its parameters. `measure` is a module's function. It
is given a Trial, one stack in one case, and returns Figures: a number for each of `figures`, None for what this stack
or this machine does not tell. It is called in a fresh process for each stack, round, case, loop and number of
processes; utcp and kernel TCP take turns. It has nothing to do but

    async def _run(trial: Trial) -> Figures:
        async with trial.ends(Server, connections=100) as ends:    # class Server(StreamApp), in this module
            before = await ends.usage()
            ...                                                    # ends.connect(), await ends.ask("method", ...)
            used = (await ends.usage()).since(before)
        return {"connections_per_second": ...}

    def measure(trial: Trial) -> Figures:
        return trial.run(_run)

which does for one process and for two, for both loops and every stack. A bench may be without one of these: then it
says so in `loops` or `processes`, or a Case in `without`.

A Figure with `better` is one of which a ratio to kernel TCP is taken, in each round; the median of these counts.
`Goal.of` finds a goal's value among the results (`ratio`, `figure`), or computes it (any function of `Results`).
Everything else, the command line, JSON, table, plot, page, comes of these declarations.
"""

import asyncio
import math
import statistics
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from . import loops
from .ends import Ends, open_ends
from .stacks import STACKS, App, Setting
from .trouble import Guard

TIME_LIMIT: Final = 120.0
"""Seconds after which a trial has failed, beside those for which it is told to go on (its parameter `seconds`)."""

PEER_TIME_LIMIT: Final = 20.0
"""Seconds after which a peer's has, which is then its result."""

Figures = dict[str, float | None]
Values = Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Option:
    """A number on the bench's command line; `quick` is what it is for a smoke test."""

    name: str
    default: int | float
    quick: int | float
    help: str


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure. `parameters` are for `measure`; with peers of STACKS come the parameters that are other for
    them, for what they cannot do in the time; a peer that is not named is not measured. `without` are those of STACKS
    that are not measured, each with the reason."""

    name: str
    parameters: Values
    peers: Mapping[str, Values] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that `measure` returns. `better`: which way is the better one, if it is to be compared; a ratio is
    always utcp's over kernel TCP's. `headline` figures are plotted."""

    name: str
    label: str
    decimals: int = 0
    better: Literal["higher", "lower"] | None = None
    headline: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """All rounds of one case on one loop with one or two processes."""

    case: Case
    loop: str
    processes: int
    rounds: Mapping[str, Sequence[Figures]]
    """By stack."""
    absent: Mapping[str, str]
    """Why a stack has no rounds, or (a peer that failed) fewer than there were."""

    def median(self, stack: str, figure: str) -> float | None:
        """Over the rounds; None unless every round has it."""
        return median([each.get(figure) for each in self.rounds.get(stack, [])])

    def ratios(self, figure: str, other: str = "kernel_tcp") -> list[float]:
        """utcp's over the other's, in each round that has both."""
        pairs = zip(self.rounds.get("utcp", []), self.rounds.get(other, []), strict=False)
        return [
            ours / theirs
            for mine, others in pairs
            if (ours := mine.get(figure)) is not None and (theirs := others.get(figure))
        ]

    def ratio(self, figure: str, other: str = "kernel_tcp") -> float | None:
        """The median of `ratios`."""
        return median(self.ratios(figure, other))


Outcomes = Sequence[Outcome]
"""Those of one bench on one loop and with one number of processes: the cases."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A row of the table of goals: better than `goal` is best, `must` is the least. `of` finds the value, None if it
    was not measured."""

    label: str
    goal: float
    must: float
    of: Callable[[Outcomes], float | None]
    better: Literal["higher", "lower"] = "higher"
    unit: str = "x"
    decimals: int = 2


def ratio(figure: str, case: str | None = None, other: str = "kernel_tcp") -> Callable[[Outcomes], float | None]:
    """For a Goal: the ratio of that figure in the case (None: the first)."""
    return lambda outcomes: next(
        (found.ratio(figure, other) for found in outcomes if case in (None, found.case.name)), None
    )


def speed(figure: str, case: str | None = None, other: str = "kernel_tcp") -> Callable[[Outcomes], float | None]:
    """For a Goal: how many times as fast, where the figure is a time. The median of what the rounds have."""

    def of(outcomes: Outcomes) -> float | None:
        for found in outcomes:
            if case in (None, found.case.name):
                return median([1 / each for each in found.ratios(figure, other)])
        return None

    return of


def figure(name: str, case: str | None = None, stack: str = "utcp") -> Callable[[Outcomes], float | None]:
    """For a Goal: the figure itself, the median over rounds, in the case (None: the first)."""
    return lambda outcomes: next(
        (found.median(stack, name) for found in outcomes if case in (None, found.case.name)), None
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """One stack, once, in one case."""

    stack: str
    loop: str
    processes: int
    parameters: Values
    serial: int
    """Counts the trials of a run."""

    @property
    def host(self) -> str:
        """The server's loopback address: another one for each trial. What an earlier one has left in TIME_WAIT then
        never has the address and port of a connection that is opened now, so no port is refused for it."""
        return f"127.1.{self.serial // 250 % 250}.{1 + self.serial % 250}"

    def integer(self, name: str) -> int:
        """A parameter that counts something."""
        return int(self.parameters[name])

    def ends(
        self, app: Callable[[], App], *, connections: int, mss: int | None = None
    ) -> AbstractAsyncContextManager[Ends]:
        """Both ends as the trial has them; see `open_ends`."""
        return open_ends(
            self.stack,
            app,
            Setting(self.host, mss),
            processes=self.processes,
            loop=self.loop,
            connections=connections,
        )

    def run(self, main: Callable[["Trial"], Coroutine[object, object, Figures]]) -> Figures:
        """The figures of `main`, run on the trial's loop. Raises TimeoutError when it takes too long, CallbackFailed
        when a server's handler fails, or something else that nobody awaits."""

        async def limited() -> Figures:
            limit = TIME_LIMIT if self.stack in STACKS else PEER_TIME_LIMIT
            async with asyncio.timeout(limit + self.parameters.get("seconds", 0)), Guard():
                return await main(self)

        return loops.run(limited(), self.loop)


@dataclass(frozen=True, slots=True)
class Bench:
    """See the module's docstring. `note`: what the tables' reader must know, in Markdown."""

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
    options_in_all: Mapping[str, Any] = field(default_factory=dict)
    """Where `python -m bench all` has other values."""
    draw: Callable[[Any, Sequence[Outcome]], None] | None = None
    """Draws on a matplotlib Figure; None: bars of the headline figures and dots of their ratios."""


def median(values: Sequence[float | None]) -> float | None:
    """The middle one, or the mean of the two in the middle; None of nothing, or if one is not known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known and len(known) == len(values) else None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below `percent` of them (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
