"""A ladder as a page to step through, in one file that needs no server and no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from utcp.tcp.state import NAMES
from utcp.trace.ladder.diagram import state_diagram
from utcp.trace.ladder.page import render
from utcp.trace.ladder.rungs import Rung
from utcp.trace.ladder.svg import render_svg
from utcp.trace.ladder.told import told

_NOTHING: Final = ("parts", "intro", "outro", "exhibits", "edits", "checks")
"""What runs of the laboratory have besides."""


def render_html(
    rungs: Sequence[Rung], *, title: str = "A TCP connection", names: tuple[str, str] = ("client", "server")
) -> str:
    """Return the ladder as a self-contained HTML page.

    It has the drawing twice, for wide screens and for phones, and as a table. Buttons, a slider and keys move from rung
    to rung. Each rung is explained: the segment's fields and fate, the states of both ends and, if known, their
    variables and timers. The address ends in `#step=N`.
    """
    title = title or "A TCP connection"
    run = {
        "address": "",
        "scene": "",
        "title": title,
        "edited": False,
        "origin": "ladder",
        "names": names,
        "svg": {
            "wide": render_svg(rungs, names=names, steps=True),
            "narrow": render_svg(rungs, names=names, steps=True, narrow=True),
        },
        "rungs": told(rungs, names),
        **{name: [] for name in _NOTHING},
    }
    catalogue = {
        "states": NAMES,
        "diagram": state_diagram(),
        "scenes": [],
        "settings": [],
        "edits": [],
        "exercises": [],
    }
    page = {"catalogue": catalogue, "comparison": None, "run": run}
    return render({"address": "", "experiments": False, "plain": True, "why": {"en": ""}, "title": title, "en": page})
