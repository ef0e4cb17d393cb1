"""The page of all results: the goals with their values, then the results of each bench."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utcp.trace.output import write_output

from . import machine, report, table
from .frame import Aim, Bench, Goal, Outcome

Results = Sequence[tuple[Bench, Sequence[Outcome]]]


def page(results: Results, where: Mapping[str, Any], plots: Mapping[str, str], failures: Sequence[str]) -> str:
    """Return the page in Markdown.

    Args:
        results: outcomes of each bench.
        where: the result of `command.where`.
        plots: file names by bench.
        failures: one line for each bench without results, with the reason.
    """
    lines = [
        "# utcp against kernel TCP",
        "",
        "Written by `python -m bench all`; the figures of every round are in `performance.json`.",
        "",
        machine.summary(where["machine"]) + f", commit {where['commit'] or 'unknown'}; measured on {where['date']}, "
        f"in {where['seconds'] / 60:.1f} minutes.",
        "",
        *(["**Quick run: these numbers say nothing.**", ""] if where["quick"] else []),
        "## Goals",
        "",
        "Ratios are utcp over kernel TCP through the same API of asyncio on the same loop, taken by turns in one run,",
        "each measurement in a fresh process: the median of the rounds' ratios. In parentheses: what the value must",
        "be, and the goal. *goal*: the value reaches the goal; *must*: only what it must be; *missed*: neither. These",
        "are for both ends in one process, except where a bench always has two. Interpreted utcp has goals for some",
        "rows only.",
        "",
        *table.markdown(goals(results, where["machine"]["utcp"])),
        *(line for failure in failures for line in ("", f"Not measured: {failure}")),
    ]
    for bench, outcomes in results:
        module = importlib.import_module(f".{bench.name}", __package__)
        lines += ["", f"## {bench.title}", "", *_prose(inspect.getdoc(module) or "")]
        if bench.name in plots:
            lines += ["", f"![{bench.title}]({plots[bench.name]})"]
        for heading, group in report.configurations(outcomes):
            lines += ["", f"### {bench.name}: {heading}", "", *table.markdown(report.rows(bench, group))]
            lines += [line for absence in report.absences(group) for line in ("", absence)]
    return "\n".join(lines) + "\n"


def goals(results: Results, variant: str) -> list[list[str]]:
    """Return the table of goals: a row for each goal, a column for each loop and number of processes. `variant`: of
    utcp, "compiled" or "interpreted"."""
    groups: dict[str, dict[tuple[str, int], list[Outcome]]] = {}
    for bench, outcomes in results:
        found = groups.setdefault(bench.name, {})
        for outcome in outcomes:
            found.setdefault((outcome.loop, outcome.processes), []).append(outcome)
    columns = sorted({key for each in groups.values() for key in each}, key=lambda key: (key[1], key[0]))
    header = [f"{loop}{'' if processes == 1 else ', two processes'}" for loop, processes in columns]
    rows = [["", *header]]
    for bench, _ in results:
        for goal in bench.goals:
            row = [goal.label]
            for loop, processes in columns:
                group = groups[bench.name].get((loop, processes))
                value = goal.of(group) if group else None
                aim = goal.aim(variant, loop) if processes == bench.processes[0] else None
                row.append(_judged(goal, aim, value))
            rows.append(row)
    return rows


def _judged(goal: Goal, aim: Aim | None, value: float | None) -> str:
    if value is None:
        return "-"
    shown = report.amount(goal, value)
    if aim is None:
        return shown
    limits = ", ".join(dict.fromkeys(report.amount(goal, limit) for limit in (aim.must, aim.goal)))
    return f"{shown} *{report.verdict(goal, aim, value)}* ({limits})"


def _prose(docstring: str) -> list[str]:
    """Return a module's docstring without its first line, which repeats the title."""
    return docstring.partition("\n")[2].strip().splitlines()


def write(directory: Path, text: str, document: str) -> None:
    """Write the page and its figures."""
    write_output(directory / "performance.md", text.encode(), signature=0)
    write_output(directory / "performance.json", document.encode(), signature=1)
