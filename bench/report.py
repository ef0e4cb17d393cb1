"""Reports of a bench for readers: the rows of tables, and their ratios."""

from collections.abc import Iterator, Sequence
from typing import Final

from . import table
from .frame import Aim, Bench, Goal, Outcome
from .peers import PEERS
from .stacks import STACKS

NAMES: Final = {"kernel_tcp": "kernel TCP"}


def text(bench: Bench, outcomes: Sequence[Outcome]) -> str:
    """Return a table for each loop and number of processes, each with the stacks that are missing."""
    parts = [bench.title]
    for heading, group in configurations(outcomes):
        parts += ["", heading, "", table.render(rows(bench, group)), *absences(group)]
    return "\n".join(parts)


def configurations(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    """Yield the outcomes by loop and number of processes, each group with its heading."""
    for loop, processes in dict.fromkeys((outcome.loop, outcome.processes) for outcome in outcomes):
        group = [outcome for outcome in outcomes if (outcome.loop, outcome.processes) == (loop, processes)]
        yield configuration(loop, processes), group


def configuration(loop: str, processes: int) -> str:
    """Return the heading of a group."""
    return f"{loop}, {ends(processes)}"


def ends(processes: int) -> str:
    """Return where the two ends run."""
    return "both ends in one process" if processes == 1 else "a process for each end"


def rows(bench: Bench, group: Sequence[Outcome]) -> list[list[str]]:
    """Return medians over the rounds of each figure in each case, and ratios with their range over the rounds."""
    stacks = [stack for stack in (*STACKS, *PEERS) if any(stack in outcome.rounds for outcome in group)]
    found = [["median of the rounds", *(NAMES.get(stack, stack) for stack in stacks), "utcp / kernel TCP"]]
    several = len({outcome.case.name for outcome in group}) > 1
    for outcome in group:
        for figure in bench.figures:
            medians = [outcome.median(stack, figure.name) for stack in stacks]
            if all(value is None for value in medians):
                continue
            label = f"{outcome.case.name}: {figure.label}" if several else figure.label
            ratios = outcome.ratios(figure.name) if figure.better else []
            found.append(
                [label, *(table.number(value, figure.decimals) for value in medians), ratio_text(outcome, figure.name)]
                if ratios
                else [label, *(table.number(value, figure.decimals) for value in medians), ""]
            )
    return found


def ratio_text(outcome: Outcome, figure: str) -> str:
    """Return the median ratio to kernel TCP, and its range."""
    ratios = outcome.ratios(figure)
    return f"{outcome.ratio(figure):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def absences(group: Sequence[Outcome]) -> list[str]:
    """Return a line for each stack that was not measured, or not in all rounds, with the reason."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for outcome in group:
        for stack, reason in outcome.absent.items():
            extent = "is not measured" if stack not in outcome.rounds else "is not measured in all rounds"
            reasons.setdefault((stack, extent, reason), []).append(outcome.case.name)
    return [
        f"{NAMES.get(stack, stack)} {extent} ({', '.join(cases)}): {reason}"
        for (stack, extent, reason), cases in reasons.items()
    ]


def verdict(goal: Goal, aim: Aim, value: float) -> str:
    """Return whether a value reaches the aim: "goal", "must" or "missed"."""

    def reached(limit: float) -> bool:
        return value >= limit if goal.better == "higher" else value <= limit

    return "goal" if reached(aim.goal) else "must" if reached(aim.must) else "missed"


def amount(goal: Goal, value: float) -> str:
    """Return a value in the goal's format."""
    return f"{value:,.{goal.decimals}f}{goal.unit}"
