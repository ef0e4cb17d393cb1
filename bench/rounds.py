"""Rounds of trials, with the stacks taking turns, each trial in its own process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from . import processes as fresh
from .frame import Bench, Case, Figures, Outcome, Trial, Values
from .peers import PEERS, find
from .progress import Progress
from .stacks import STACKS

NO_PEERS: Final = "not asked for"


class TrialFailed(Exception):
    """A trial of utcp or kernel TCP failed, so there is no comparison."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The measurements of a bench, with these values of its options. Of the loops and numbers of processes, those that
    the bench supports."""

    bench: Bench
    values: Values
    rounds: int
    loops: Sequence[str]
    processes: Sequence[int]
    peers: bool

    def configurations(self) -> list[tuple[str, int]]:
        """Return the loop and the number of processes of each configuration."""
        return [
            (loop, number)
            for loop in self.loops
            if loop in self.bench.loops
            for number in self.processes
            if number in self.bench.processes
        ]

    def trials(self) -> int:
        """Return the number of rounds of all cases, for a progress bar."""
        return len(self.configurations()) * len(self.bench.cases(self.values)) * self.rounds

    def seconds(self) -> float:
        """Return how long it takes with the default options, without peers."""
        return len(self.configurations()) * self.rounds * self.bench.seconds


def run(plan: Plan, progress: Progress) -> list[Outcome]:
    """Run all measurements. Raises TrialFailed."""
    serials = count()
    return [
        _outcome(plan, case, loop, number, serials, progress)
        for loop, number in plan.configurations()
        for case in plan.bench.cases(plan.values)
    ]


def _outcome(plan: Plan, case: Case, loop: str, processes: int, serials: Iterator[int], progress: Progress) -> Outcome:
    bench, rounds = plan.bench, plan.rounds
    done: dict[str, list[Figures]] = {stack: [] for stack in STACKS if stack not in case.without}
    absent = dict(case.without)
    for peer in PEERS:
        if peer not in case.peers:
            continue
        reason = find(peer).missing() if plan.peers else NO_PEERS
        if reason is None:
            done[peer] = []
        else:
            absent[peer] = reason
    measured = list(done)  # stacks that have not failed
    headline = next(figure for figure in bench.figures if figure.headline)
    where = f"{bench.name}, {case.name}, {loop}, {_count(processes)}"
    for number in range(1, rounds + 1):
        for stack in list(measured):
            progress.show(f"{where}: round {number} of {rounds}: {stack}")
            trial = Trial(stack, loop, processes, {**case.parameters, **case.peers.get(stack, {})}, next(serials))
            try:
                done[stack].append(fresh.run(bench.measure, trial))
            except Exception as error:  # the possible errors depend on the stack
                reason = str(error) or f"it was not over in time ({type(error).__name__})"
                if stack in STACKS:
                    raise TrialFailed(f"{where}: {stack}: {reason}") from error
                absent[stack] = f"failed: {reason}" if number == 1 else f"failed in round {number}: {reason}"
                measured.remove(stack)
                if not done[stack]:
                    del done[stack]
        speeds = ", ".join(
            f"{stack} {value:,.{headline.decimals}f}"
            for stack in measured
            if (value := done[stack][-1].get(headline.name)) is not None
        )
        progress.step(f"{where}: round {number} of {rounds}: {speeds} {headline.label}")
    return Outcome(case, loop, processes, done, absent)


def document(bench: Bench, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the outcomes, ready for JSON."""
    compared = [figure for figure in bench.figures if figure.better]
    return [
        {
            "case": outcome.case.name,
            "loop": outcome.loop,
            "processes": outcome.processes,
            "parameters": dict(outcome.case.parameters),
            "peers": {name: dict(values) for name, values in outcome.case.peers.items()},
            "absent": dict(outcome.absent),
            "ratios": {
                figure.name: {"median": outcome.ratio(figure.name), "rounds": outcome.ratios(figure.name)}
                for figure in compared
            },
            "medians": {
                stack: {figure.name: outcome.median(stack, figure.name) for figure in bench.figures}
                for stack in outcome.rounds
            },
            "rounds": {stack: list(measured) for stack, measured in outcome.rounds.items()},
        }
        for outcome in outcomes
    ]


def _count(processes: int) -> str:
    return "one process" if processes == 1 else "two processes"
