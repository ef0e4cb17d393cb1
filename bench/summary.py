"""utcp's speed divided by kernel TCP's, in all recorded results: the tables in README.md and in bench/README.md.

`python -m bench.summary` writes them, between two comments of each page. `tests/bench/test_summary.py` fails if they
are not those of the recorded results.

A recorded result is `results/NAME/performance.json`, written by `python -m bench all --into bench/results/NAME`. The
rows are the benches' goals that are speeds (`Goal.speed`), each by the median of the rounds' ratios.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from . import loops, report, table
from .frame import Case, Goal, Outcome
from .registry import load

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = Path(__file__).parent / "results"
BEGIN: Final = "<!-- {}: written by python -m bench.summary -->\n"
END: Final = "<!-- end -->\n"


@dataclass(frozen=True, slots=True)
class Recording:
    """The result of one run of all benches. `variant`: "compiled" or "interpreted"; `python`: such as "3.13"."""

    variant: str
    python: str
    machine: str
    outcomes: Mapping[str, Sequence[Outcome]]

    def value(self, bench: str, goal: Goal, loop: str, processes: int) -> float | None:
        """Return the value of a goal on this loop with this number of processes."""
        return goal.of([each for each in self.outcomes[bench] if (each.loop, each.processes) == (loop, processes)])


def recordings(directory: Path = RESULTS) -> list[Recording]:
    """Return the recorded results: compiled ones first, newest Python first."""
    found = [_recording(json.loads(file.read_text())) for file in directory.glob("*/performance.json")]
    return sorted(found, key=lambda each: (each.variant, [-int(part) for part in each.python.split(".")]))


def _recording(result: dict[str, Any]) -> Recording:
    machine = result["machine"]
    python = ".".join(machine["python"].split()[1].split(".")[:2])
    outcomes = {
        each["benchmark"]: [
            Outcome(Case(one["case"], one["parameters"]), one["loop"], one["processes"], one["rounds"], one["absent"])
            for one in each["outcomes"]
        ]
        for each in result["results"]
    }
    where = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['kernel']}, uvloop {machine['uvloop']}"
    return Recording(machine["utcp"], python, where, outcomes)


def front(found: Sequence[Recording]) -> str:
    """Return the part of README.md: the default install, which is compiled, on each Python."""
    compiled = [each for each in found if each.variant == "compiled"]
    rows = [["", *(f"{loop}, Python {each.python}" for each in compiled for loop in loops.LOOPS)]]
    for bench, goal in _speeds(compiled[0]):
        row = [goal.label]
        for recording, loop in product(compiled, loops.LOOPS):
            row.append(" / ".join(table.number(recording.value(bench, goal, loop, number), 2) for number in (1, 2)))
        rows.append(row)
    return _lines(*table.markdown(rows), "", *textwrap.wrap(_exceptions(compiled), 120))


def _exceptions(found: Sequence[Recording]) -> str:
    """Return one sentence on where kernel TCP is faster."""
    always: list[str] = []
    sometimes: list[str] = []
    for bench, goal in _speeds(found[0]):
        values = [each.value(bench, goal, loop, number) for each in found for loop in loops.LOOPS for number in (1, 2)]
        slower = [value < 1 for value in values if value is not None]
        if any(slower):
            (always if all(slower) else sometimes).append(f"*{goal.label}*")
    parts = [
        f"{when} at {_listed(labels)}"
        for when, labels in (("in all cases", always), ("in some cases", sometimes))
        if labels
    ]
    return f"Kernel TCP is faster {', and '.join(parts) or 'at none of these'}."


def _listed(labels: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def details(found: Sequence[Recording]) -> str:
    """Return the part of bench/README.md: all recordings, in one process and in two."""
    header = ["", *(f"{each.variant}, {each.python}, {loop}" for each in found for loop in loops.LOOPS)]
    lines: list[str] = []
    for processes in (1, 2):
        rows = [header]
        for bench, goal in _speeds(found[0]):
            values = [each.value(bench, goal, loop, processes) for each in found for loop in loops.LOOPS]
            rows.append([goal.label, *(table.number(value, 2) for value in values)])
        heading = report.ends(processes)
        lines += [f"{heading[0].upper()}{heading[1:]}:", "", *table.markdown(rows), ""]
    machines = " and ".join(sorted({each.machine for each in found}))
    return _lines(*lines, f"Measured on {machines}.")


def _speeds(recording: Recording) -> Iterator[tuple[str, Goal]]:
    for bench in recording.outcomes:
        for goal in load(bench).goals:
            if goal.speed:
                yield bench, goal


def _lines(*lines: str) -> str:
    return "\n" + "\n".join(lines) + "\n\n"


PAGES: Final = ((ROOT / "README.md", "fast", front), (ROOT / "bench" / "README.md", "speeds", details))
"""The pages, each with the name of its part and the function that returns it."""


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each page with its text as it must be."""
    found = recordings()
    for page, name, part in PAGES:
        before, begin, rest = page.read_text().partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"{page} has no part {name!r}")
        yield page, f"{before}{begin}{part(found)}{end}{after}"


def main() -> None:
    """Write the pages."""
    for page, text in pages():
        page.write_text(text)


if __name__ == "__main__":
    main()
