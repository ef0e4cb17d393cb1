"""The width of text on a terminal and in a drawing, where Chinese characters are twice as wide as Latin ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

_LATIN: Final = 0.52
_BROAD: Final = 0.68
"""Width of capitals and similar characters, ems."""
_OPENING: Final = "（《「『“‘"
_CLOSING: Final = "，。、；：？！）》」』”’…"
_WIDE: Final = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60"
_PIECE: Final = re.compile(rf"\s+|[{_OPENING}]*(?:[{_WIDE}][,.;:!?)]*|[^\s{_WIDE}{_OPENING}{_CLOSING}]+)?[{_CLOSING}]*")
"""Pieces between which a line may break."""


def columns(text: str) -> int:
    """Return the number of columns that `text` takes on a terminal (Unicode Standard Annex 11)."""
    return sum(_columns(character) for character in text)


def pad(text: str, width: int) -> str:
    """Return `text`, padded with spaces to `width` columns."""
    return text + " " * (width - columns(text))


def ems(text: str) -> float:
    """Return the approximate width of `text` in a sans-serif font, as a multiple of the font's size."""
    return sum(map(_ems, text))


def wrap(text: str, width: float, measure: Callable[[str], float] = ems) -> list[str]:
    """Break `text` into lines of at most `width`, measured by `measure` (`ems`, `columns`).

    Lines break at spaces and between Chinese characters, except at punctuation that must not begin or end a line. A
    word longer than a line gets a line of its own.
    """
    lines = [""]
    for piece in filter(None, _PIECE.findall(text)):
        if lines[-1] and measure(lines[-1] + piece.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        if lines[-1] or not piece.isspace():
            lines[-1] += " " if piece.isspace() else piece
    return [*lines[:-1], lines[-1].rstrip()]


def _ems(character: str) -> float:
    columns = _columns(character)
    if columns == 1:
        return _BROAD if character.isupper() or character in "mw_=@%&" else _LATIN
    return columns / 2


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
