"""Rounds of trials, with the stacks taking turns, each trial in its own process."""

from collections.abc import Iterator, Sequence
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


def run(
    bench: Bench,
    values: Values,
    *,
    rounds: int,
    loops: Sequence[str],
    processes: Sequence[int],
    peers: bool,
    progress: Progress,
) -> list[Outcome]:
    """Run all measurements of the bench with these options, within `bench.loops` and `bench.processes`.

    Raises TrialFailed.
    """
    serials = count()
    return [
        _outcome(bench, case, loop, number, rounds, serials, progress, peers=peers)
        for loop in loops
        if loop in bench.loops
        for number in processes
        if number in bench.processes
        for case in bench.cases(values)
    ]


def trials(bench: Bench, values: Values, rounds: int, loops: Sequence[str], processes: Sequence[int]) -> int:
    """Return the number of rounds that `run` will make, for a progress bar."""
    configurations = sum(loop in bench.loops for loop in loops) * sum(each in bench.processes for each in processes)
    return configurations * len(bench.cases(values)) * rounds


def _outcome(
    bench: Bench,
    case: Case,
    loop: str,
    processes: int,
    rounds: int,
    serials: Iterator[int],
    progress: Progress,
    *,
    peers: bool,
) -> Outcome:
    done: dict[str, list[Figures]] = {stack: [] for stack in STACKS if stack not in case.without}
    absent = dict(case.without)
    for peer in PEERS:
        if peer not in case.peers:
            continue
        reason = find(peer).missing() if peers else NO_PEERS
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
