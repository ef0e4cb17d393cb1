"""The texts of the laboratory in English and Chinese, from `texts/*.toml`."""

from __future__ import annotations

from functools import cache
from typing import Any

from utcp.scenes.text import Language, Text, read_texts, texts_of


@cache
def tables(name: str) -> dict[str, Any]:
    """Return the content of `texts/NAME.toml`."""
    return read_texts(name, "utcp.lab")


@cache
def _words() -> dict[str, Text]:
    return texts_of(tables("words"))


def text(key: str, /, **values: object) -> Text:
    """Return a text of `texts/words.toml`, with `values` filled in as by str.format(). A value that is a Text is filled
    in in each language."""
    found = _words()[key]
    return Text(found.en.format(**_in(values, "en")), found.zh.format(**_in(values, "zh")))


def _in(values: dict[str, object], language: Language) -> dict[str, object]:
    return {name: value.in_(language) if isinstance(value, Text) else value for name, value in values.items()}


def quoted(value: str) -> str:
    """Return a part of an address in quotation marks, cut to 60 characters."""
    return repr(value if len(value) <= 60 else f"{value[:59]}…")


def number(value: float) -> str:
    """Return a number without exponent and without trailing zeros, to a microsecond."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def name_of(end: str) -> Text:
    """Return the name of an end."""
    return text(f"end_{end}")


def checked(what: str) -> Text:
    """Return what a check of a scene looks at (`Stage.expect`)."""
    return Text(what, tables("chinese")["checks"].get(what, what))


def shown(value: object) -> Text:
    """Return a value that a scene checks. A segment begins with the name of its sender."""
    if value is None or isinstance(value, bool):
        return text("nothing" if value is None else "true" if value else "false")
    said = str(value)
    end, space, rest = said.partition(" ")
    return Text(said, f"{name_of(end).zh} {rest}") if space and end in ("client", "server") else Text(said, said)


def translated(language: Language) -> dict[str, str]:
    """Return the sentences of `utcp.trace.ladder.explain`, and the events of transitions, by the English ones."""
    if language == "en":
        return {}
    found = tables("chinese")
    return {**found["sentences"], **found["events"]}


def drawing_words(language: Language) -> dict[str, str]:
    """Return the words of drawn ladders by the English ones."""
    return {} if language == "en" else dict(tables("chinese")["drawing"])
