"""The page of all results: the goals with their values, then the results of each bench."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utcp.trace.output import write_output

from . import machine, report, table
from .frame import Bench, Outcome

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
        "each measurement in a fresh process: the median of the rounds' ratios. The goals are for both ends in one",
        "process, and what came of a process for each end stands beside. A bench that always has a process for each",
        "end has goals for that. *goal*: the goal is reached; *must*: what must be is; *missed*: neither.",
        "",
        *table.markdown(goals(results), 3),
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


def goals(results: Results) -> list[list[str]]:
    """Return the table of goals: a row for each goal, a column for each loop and number of processes."""
    groups: dict[str, dict[tuple[str, int], list[Outcome]]] = {}
    for bench, outcomes in results:
        found = groups.setdefault(bench.name, {})
        for outcome in outcomes:
            found.setdefault((outcome.loop, outcome.processes), []).append(outcome)
    columns = sorted({key for each in groups.values() for key in each}, key=lambda key: (key[1], key[0]))
    header = [f"{loop}{'' if processes == 1 else ', two processes'}" for loop, processes in columns]
    rows = [["", "goal", "must", *header]]
    for bench, _ in results:
        for goal in bench.goals:
            row = [goal.label, report.amount(goal, goal.goal), report.amount(goal, goal.must)]
            for key in columns:
                group = groups[bench.name].get(key)
                value = goal.of(group) if group else None
                if value is None:
                    row.append("-")
                elif key[1] == bench.processes[0]:
                    row.append(f"{report.amount(goal, value)} *{report.verdict(goal, value)}*")
                else:
                    row.append(report.amount(goal, value))
            rows.append(row)
    return rows


def _prose(docstring: str) -> list[str]:
    """Return a module's docstring without its first line, which repeats the title."""
    return docstring.partition("\n")[2].strip().splitlines()


def write(directory: Path, text: str, document: str) -> None:
    """Write the page and its figures."""
    write_output(directory / "performance.md", text.encode(), signature=0)
    write_output(directory / "performance.json", document.encode(), signature=1)
