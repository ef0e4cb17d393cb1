"""The page that shows a ladder, to step through and, with the server of `utcp lab`, to change: one HTML document, whose
styles, scripts and texts are files of this package."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from utcp.trace.ladder.style import PAGE_STYLE

SCRIPTS: Final = (
    "dom",
    "texts",
    "address",
    "server",
    "drawing",
    "edits",
    "table",
    "ends",
    "player",
    "step",
    "experiment",
    "settings",
    "exercises",
    "about",
    "panels",
    "keys",
    "main",
)
"""The modules of `js/`. Each imports only modules before it."""

_LINKS: Final = re.compile(r"^import .*\n|^export ", re.MULTILINE)


def render(data: Mapping[str, object] | None) -> str:
    """Return the document, which loads nothing else.

    Args:
        data: None if the server of the laboratory serves the page; else what it shows without one: an object with
            `experiments` False and, in each of its languages, the catalogue and the run that the server would return.
            `plain` True: the ladder alone, without the laboratory's panels.
    """
    return (
        _read("page.html")
        .replace("{css}", f"{PAGE_STYLE}\n{_read('page.css').strip()}")
        .replace("{js}", script())
        .replace("{texts}", _json(tomllib.loads(_read("texts.toml"))))
        .replace("{data}", _json(data))  # last, because it contains the user's text
    )


def script() -> str:
    """Return the modules as one script, because modules within a document cannot import each other."""
    return "\n".join(_LINKS.sub("", _read(f"js/{name}.js")).strip() for name in SCRIPTS)


def _read(name: str) -> str:
    return files("utcp.trace.ladder.page").joinpath(name).read_text("utf-8")


def _json(value: object) -> str:
    # In a script element, only "</" and "<!--" could end the script or change its parsing.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
