"""Texts in English and Chinese. The texts of the scenes are in `texts/*.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeAlias

Language: TypeAlias = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text in English and Chinese. Raises ValueError if one of them is missing."""

    en: str
    zh: str

    def __post_init__(self) -> None:
        if not self.en.strip() or not self.zh.strip():
            raise ValueError(f"a text needs both languages: {self}")

    def in_(self, language: Language) -> str:
        """Return the text in a language."""
        return self.en if language == "en" else self.zh

    def format(self, **values: object) -> Text:
        """Return both texts with `values` filled in as by str.format()."""
        return Text(self.en.format(**values), self.zh.format(**values))


def read_texts(name: str, package: str = "utcp.scenes") -> dict[str, Any]:
    """Return the content of `texts/NAME.toml` of a package."""
    return tomllib.loads(files(package).joinpath("texts", f"{name}.toml").read_text("utf-8"))


def texts_of(tables: Mapping[str, Mapping[str, str]]) -> dict[str, Text]:
    """Return the texts of `tables` by their names. Raises TypeError if a language is missing."""
    return {name: Text(**table) for name, table in tables.items()}


def preferred_language(environment: Mapping[str, str]) -> Language:
    """Return Chinese if the locale of messages is (POSIX: the first set variable of LC_ALL, LC_MESSAGES, LANG), else
    English."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(variable):
            return "zh" if environment[variable].lower().startswith("zh") else "en"
    return "en"
