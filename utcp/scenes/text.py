"""What a scene says, in each of its languages; and lines of it that fit a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from utcp.trace.ladder.width import columns

Language: TypeAlias = Literal["en", "zh"]

LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")

_OPENING: Final = "（《“‘"
_CLOSING: Final = "，。、；：？！）》”’…"
_WIDE: Final = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60"

# A line may break between two of these. Chinese has no spaces: each character stands alone, but for the punctuation
# that must not begin or end a line.
_PIECE: Final = re.compile(rf"\s+|[{_OPENING}]*(?:[{_WIDE}]|[^\s{_WIDE}{_OPENING}{_CLOSING}]+)?[{_CLOSING}]*")


@dataclass(frozen=True, slots=True)
class Text:
    """The same in English and in Chinese. Raises ValueError if one of them is missing."""

    en: str
    zh: str

    def __post_init__(self) -> None:
        if not self.en.strip() or not self.zh.strip():
            raise ValueError(f"a text needs both languages: {self}")

    def in_(self, language: Language) -> str:
        """The text in this language."""
        return self.en if language == "en" else self.zh

    def format(self, **values: object) -> Text:
        """Both with `values` filled in, as str.format() does."""
        return Text(self.en.format(**values), self.zh.format(**values))


def preferred_language(environment: Mapping[str, str]) -> Language:
    """Chinese where the locale of messages is (POSIX: LC_ALL, LC_MESSAGES, LANG; the first that is set counts)."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(variable):
            return "zh" if environment[variable].lower().startswith("zh") else "en"
    return "en"


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns; a word that is longer has a line of its own."""
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and columns(lines[-1]) + columns(piece.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        if lines[-1] or not piece.isspace():
            lines[-1] += " " if piece.isspace() else piece
    return [*lines[:-1], lines[-1].rstrip()]
