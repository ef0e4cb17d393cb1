"""How wide text is, on a terminal and in a drawing: Chinese characters take twice the room of Latin ones."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

_LATIN: Final = 0.52
_BROAD: Final = 0.68
"""Of capitals and what is as broad."""
_CLOSING: Final = frozenset("，。、；：！？）》」』”’…,.;:!?)")
"""Punctuation that does not begin a line."""


def columns(text: str) -> int:
    """The columns that `text` takes on a terminal (Unicode Standard Annex 11)."""
    return sum(_columns(character) for character in text)


def pad(text: str, width: int) -> str:
    """`text`, filled with spaces up to `width` columns."""
    return text + " " * (width - columns(text))


def ems(text: str) -> float:
    """About how wide `text` is in a sans-serif font, as a multiple of the font's size."""
    return sum(map(_ems, text))


def wrap(text: str, width: float) -> list[str]:
    """`text` in lines of at most `width` ems: broken at spaces, and between Chinese characters. A word longer than a
    line has one for itself."""
    lines = [""]
    for word in _words(text):
        if lines[-1] and ems((lines[-1] + word).rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(word.lstrip())
        else:
            lines[-1] += word
    lines[-1] = lines[-1].rstrip()
    return lines


def _words(text: str) -> Iterator[str]:
    """What must not be broken, one after the other; a space belongs to the word before."""
    word = ""
    for character in text.replace("\n", " "):
        breakable = word and (word[-1] == " " or _columns(character) == 2 or _columns(word[-1]) == 2)
        if breakable and character != " " and character not in _CLOSING:
            yield word
            word = ""
        word += character
    if word:
        yield word


def _ems(character: str) -> float:
    columns = _columns(character)
    if columns == 1:
        return _BROAD if character.isupper() or character in "mw_=@%&" else _LATIN
    return columns / 2


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
