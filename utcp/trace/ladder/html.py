"""A ladder as a page to step through, in one file that needs no server and no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Final
from xml.sax.saxutils import escape

from utcp.tcp.state import NAMES
from utcp.trace.ladder.diagram import state_diagram
from utcp.trace.ladder.explain import explain
from utcp.trace.ladder.rungs import Rung
from utcp.trace.ladder.style import PAGE_STYLE
from utcp.trace.ladder.svg import render_svg
from utcp.trace.ladder.words import Clock

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{css}
</style>
</head>
<body>
<main>
<section id="ladder" aria-label="Ladder">
<div class="drawing wide">
{svg}</div>
<div class="drawing narrow">
{narrow}</div>
</section>
<aside>
<nav aria-label="Steps">
<button id="first" title="First step (Home)" aria-label="First step">|◀</button>
<button id="previous" title="Previous step (←)" aria-label="Previous step">◀</button>
<button id="play" title="Play (space)" aria-label="Play">Play</button>
<button id="next" title="Next step (→)" aria-label="Next step">▶</button>
<input id="slider" type="range" min="1" max="{steps}" value="1" aria-label="Step">
<output id="number"></output>
</nav>
<p id="keys"><kbd>←</kbd> <kbd>→</kbd> one step, <kbd>Home</kbd> <kbd>End</kbd> first and last, <kbd>space</kbd> play.
A click on a row shows its step.</p>
<article aria-live="polite">
<h1 id="heading"></h1>
<p id="time"></p>
<div id="said"></div>
<dl id="fields"></dl>
</article>
<div id="ends">
<section class="end client"><h2>{client}</h2><p class="state"></p><table></table></section>
<section class="end server"><h2>{server}</h2><p class="state"></p><table></table></section>
</div>
{diagram}
<p id="legend">Arrows: <span class="again">retransmission</span>, <span class="lost">✕ lost</span>,
<span class="copy">dashed</span> if the network repeated a segment. A zigzag shortens a silence. The colours of the
lines are those of the states.</p>
</aside>
</main>
<script id="data" type="application/json">{data}</script>
<script>
{js}
</script>
</body>
</html>
"""


def render_html(
    rungs: Sequence[Rung], *, title: str = "A TCP connection", names: tuple[str, str] = ("client", "server")
) -> str:
    """Return the ladder as a self-contained HTML page.

    It has the drawing twice, for wide screens and for phones. Buttons, a slider and keys move from rung to rung. Each
    rung is explained: the segment's fields and fate, the states of both ends and, if known, their variables. The
    address ends in `#step=N`.
    """
    clock = Clock(rungs)
    steps = [
        {**step, "time": f"{clock.text(rung.time)} {clock.unit}"}
        for step, rung in zip(explain(rungs, names), rungs, strict=True)
    ]
    data = {"steps": steps, "states": NAMES}
    # In a script element, only "</" and "<!--" could end the script or change its parsing.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    here = files("utcp.trace.ladder")
    return _PAGE.format(
        title=escape(title or "A TCP connection"),
        css=f"{PAGE_STYLE}\n{here.joinpath('page.css').read_text('utf-8').strip()}",
        svg=render_svg(rungs, title=title, names=names, steps=True),
        narrow=render_svg(rungs, title=title, names=names, steps=True, narrow=True),
        steps=max(1, len(steps)),
        client=escape(names[0]),
        server=escape(names[1]),
        diagram=state_diagram(),
        data=text,
        js=here.joinpath("page.js").read_text("utf-8").strip(),
    )
