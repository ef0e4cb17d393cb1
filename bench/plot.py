"""Plots in SVG, drawn by matplotlib, which the bench extra installs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from utcp.extras import not_installed
from utcp.trace import figure as figures

from .frame import Bench, Outcome
from .peers import PEERS
from .report import NAMES
from .stacks import STACKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = {
    "utcp": figures.BLUE,
    "kernel_tcp": figures.GREY,
    "aioquic": figures.ORANGE,
    "aiokcp": figures.PURPLE,
}

WIDE: Final = 30
"""Maximum ratio of the largest to the smallest value on a linear scale."""


def missing() -> str | None:
    """Return the error text that names the extra to install, or None if matplotlib is installed."""
    return not_installed("matplotlib", "bench") if figures.missing() else None


def save(bench: Bench, outcomes: Sequence[Outcome], file: Path) -> None:
    """Draw the results of a bench. Raises OSError if the file cannot be written."""
    with figures.style(bench.name):
        from matplotlib.figure import Figure  # installed only with the bench extra

        figure = Figure(layout="constrained")
        if bench.draw is not None:
            bench.draw(figure, outcomes)
        else:
            _bars(figure, bench, outcomes)
        figure.suptitle(bench.title)
        figures.save(figure, file, "svg")


def _bars(figure: "Figure", bench: Bench, outcomes: Sequence[Outcome]) -> None:
    """Draw a row for each headline figure: each stack's values on the left, the ratios of the rounds on the right."""
    headlines = [each for each in bench.figures if each.headline]
    stacks = [stack for stack in (*STACKS, *PEERS) if any(stack in outcome.rounds for outcome in outcomes)]
    labels = [f"{each.case.name}\n{each.loop}, {_short(each.processes)}" for each in outcomes]
    figure.set_size_inches(10, len(headlines) * (1.2 + 0.16 * len(outcomes) * (1 + len(stacks))))
    grid: list[list[Axes]] = figure.subplots(len(headlines), 2, squeeze=False, sharey="row").tolist()
    height = 0.8 / len(stacks)
    for (absolute, relative), headline in zip(grid, headlines, strict=True):
        for number, stack in enumerate(stacks):
            medians = [outcome.median(stack, headline.name) for outcome in outcomes]
            places = [place + number * height - 0.4 + height / 2 for place in range(len(outcomes))]
            known = [(place, value) for place, value in zip(places, medians, strict=True) if value is not None]
            absolute.barh(
                [place for place, _ in known],
                [value for _, value in known],
                height=height,
                color=COLOURS[stack],
                label=NAMES.get(stack, stack),
            )
        absolute.set_yticks(range(len(outcomes)), labels)
        absolute.invert_yaxis()
        absolute.set_xlabel(headline.label)
        absolute.legend()
        for place, outcome in enumerate(outcomes):
            ratios = outcome.ratios(headline.name)
            relative.plot(ratios, [place] * len(ratios), "o", color=COLOURS["utcp"], alpha=0.4, markersize=4)
            middle = outcome.ratio(headline.name)
            if middle is not None:
                relative.plot([middle], [place], "|", color="black", markersize=14)
        relative.axvline(1.0, color=COLOURS["kernel_tcp"], linewidth=1)
        everything = [
            value for outcome in outcomes for stack in stacks if (value := outcome.median(stack, headline.name))
        ]
        if everything and max(everything) > WIDE * min(everything):
            absolute.set_xscale("log")
            relative.set_xscale("log")
        else:
            relative.set_xlim(left=0)
        relative.set_xlabel(f"utcp / kernel TCP: {'more' if headline.better == 'higher' else 'less'} is better")


def _short(processes: int) -> str:
    return "one process" if processes == 1 else "two processes"
