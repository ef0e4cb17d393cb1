"""Prints scenes and ladders, in colour on a terminal and as plain text elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

from utcp.cli.options import PLAIN_WIDTH
from utcp.scenes.text import Language, Text, read_texts, texts_of
from utcp.trace.ladder import render_text
from utcp.trace.ladder.narrow import render_narrow
from utcp.trace.ladder.text import needed_width
from utcp.trace.ladder.width import columns, wrap

if TYPE_CHECKING:
    from rich.console import Console

    from utcp.scenes.scene import Result, Scene
    from utcp.trace.ladder import Rung

_INDENT: Final = " " * 11
"""Indentation of a ladder's notes."""

_MARK: Final = "\0"

_STYLES: Final = (
    (r"^ *[\d.]+(?=  )", "dim"),
    (r"\b(?:LISTEN|SYN_SENT|SYN_RCVD|ESTABLISHED)\b", "green"),
    (r"\b(?:FIN_WAIT_[12]|CLOSE_WAIT|CLOSING|LAST_ACK)\b", "yellow"),
    (r"\bTIME_WAIT\b", "bold magenta"),
    (r"\bCLOSED\b", "dim"),
    (r"(?<=[- ])SYN\b|\bSYN(?=,)", "bold green"),
    (r"(?<=[- ])FIN\b|\bFIN(?=,)", "bold cyan"),
    (r"(?<=[- ])RST\b|\bRST(?=,)", "bold red"),
    (r"--x(?= )|--x$|(?<= )x--", "bold red"),
    (r"\((?:retransmission|timer)[^)]*\)", "yellow"),
)
"""Styles of the highlighted parts of a ladder's line."""


@cache
def _texts() -> dict[str, Text]:
    return texts_of(read_texts("narration"))


def names(language: Language) -> tuple[str, str]:
    """Return the names of the two ends, for the heading of a ladder."""
    texts = _texts()
    return texts["client"].in_(language), texts["server"].in_(language)


def narrate(console: Console, result: Result, width: int | None = None) -> None:
    """Print a played scene: introduction, ladder, conclusion. `width` is in columns; None: the terminal's."""
    width = width or _width(console)
    scene, language, texts = result.scene, result.language, _texts()
    _lines(console, f"{scene.name}: {scene.title.in_(language)}", width, "bold")
    _print(console)
    for text in scene.before:
        _paragraph(console, text.in_(language), width)
    _paragraph(console, texts["virtual"].in_(language), width, "dim")
    print_ladder(console, result.rungs, width, language)
    _print(console)
    for exhibit in result.exhibits:
        _lines(console, exhibit.title, width, "bold")
        for line in exhibit.lines:
            print_wrapped(console, line, width)
        _print(console)
    for text in scene.after:
        _paragraph(console, text.in_(language), width)
    for reference in (texts["sources"].format(sources=scene.sources), texts["knobs"].format(knobs=scene.knobs)):
        _lines(console, reference.in_(language), width, "dim")


def print_ladder(console: Console, rungs: Sequence[Rung], width: int | None = None, language: Language = "en") -> None:
    """Print a ladder below a legend, with its notes wrapped to the width. If the width is too small, print a list of
    its segments."""
    from rich.text import Text as Line

    width, texts = width or _width(console), _texts()
    legend = [texts["legend"]] + ([texts["colours"]] if console.color_system else [])
    for text in legend:
        _paragraph(console, text.in_(language), width, "dim")
    called = names(language)
    render = render_narrow if needed_width(rungs, called) > width else render_text
    notes = [rung.note for rung in rungs if rung.note is not None]
    marked = [rung if rung.note is None else replace(rung, note=_MARK) for rung in rungs]
    for line in render(marked, width, called).splitlines():
        if line.endswith(_MARK):
            for part in wrap(notes.pop(0), width - len(_INDENT), columns):
                _print(console, _INDENT + part, "italic")
        else:
            styled = Line(line)
            for pattern, style in _STYLES:
                styled.highlight_regex(re.compile(pattern), style)
            console.print(styled, soft_wrap=True)


def print_wrapped(console: Console, text: str, width: int | None = None) -> None:
    """Print lines of text. The rest of a line that is too long is indented like the line itself, and 4 columns more."""
    width = width or _width(console)
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        first, *rest = wrap(line.lstrip(), width - len(indent), columns)
        _print(console, indent + first)
        for part in wrap(" ".join(rest), width - len(indent) - 4, columns) if rest else ():
            _print(console, f"{indent}    {part}")


def list_scenes(console: Console, scenes: Sequence[Scene], language: Language, width: int | None = None) -> None:
    """Print names and titles of scenes. `width` is in columns; None: the terminal's."""
    longest = max(len(scene.name) for scene in scenes)
    for scene in scenes:
        first, *rest = wrap(scene.title.in_(language), (width or _width(console)) - longest - 2, columns)
        _print(console, f"{scene.name:<{longest}}  {first}")
        for line in rest:
            _print(console, f"{'':<{longest}}  {line}")


def _width(console: Console) -> int:
    return console.width if console.is_terminal else PLAIN_WIDTH


def _paragraph(console: Console, text: str, width: int, style: str = "") -> None:
    _lines(console, text, min(width, PLAIN_WIDTH), style)
    _print(console)


def _lines(console: Console, text: str, width: int, style: str = "") -> None:
    for line in wrap(text, width, columns):
        _print(console, line, style)


def _print(console: Console, text: str = "", style: str = "") -> None:
    # No markup and no wrapping, because the text is wrapped already.
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
