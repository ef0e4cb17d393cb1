"""A ladder as a Mermaid sequence diagram, a text that GitHub, GitLab and many editors draw."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from utcp.trace.ladder.layout import is_break, usual_flight
from utcp.trace.ladder.rungs import ENDS, PEER, Rung, duration
from utcp.trace.ladder.width import wrap
from utcp.trace.ladder.words import beside_lines, label_of

_NOTE_WIDTH: Final = 32.0
"""Width of the space between the two ends, ems."""


def render_mermaid(rungs: Sequence[Rung], *, title: str = "", names: tuple[str, str] = ("client", "server")) -> str:
    """Return the ladder as the text of a Mermaid diagram, which Markdown has between ```` ```mermaid ```` and ```` ```
    ````.

    Mermaid has no time axis, so rows are in order of sending, and long silences are notes. A cross ends the arrow of a
    lost segment, and a dotted arrow is a duplicate. Timers and states are notes beside their end, before the segment
    that they caused or after the one that caused them.
    """
    lines = [f"---\ntitle: {json.dumps(title, ensure_ascii=False)}\n---"] if title else []
    lines.append("sequenceDiagram")
    for end, name in zip(ENDS, names, strict=True):
        lines.append(f"    participant {end[0]} as {_escape(name)}")
    beside = beside_lines(rungs)
    flight = usual_flight(rungs)
    latest = rungs[0].time if rungs else 0.0
    for index, rung in enumerate(rungs):
        if is_break(rung.time - latest, flight):
            lines.append(f"    Note over c,s: {duration(rung.time - latest)} later")
        latest = max(latest, rung.time)
        if rung.note is not None:
            lines.append(f"    Note over c,s: {'<br/>'.join(map(_escape, wrap(rung.note, _NOTE_WIDTH)))}")
            continue
        arrow = rung.arrow
        sides = {"client": "left of c", "server": "right of s"}
        notes = {
            end: f"    Note {sides[end]}: {'<br/>'.join(_beside(kind, text) for kind, text in beside[index, end])}"
            for end in ENDS
            if (index, end) in beside
        }
        if arrow is None:
            lines += notes.values()
            continue
        sender, receiver = arrow.sender, PEER[arrow.sender]
        if sender in notes:
            lines.append(notes[sender])
        head = "-x" if arrow.received is None else "-->>" if arrow.sent is None else "->>"
        lines.append(f"    {sender[0]}{head}{receiver[0]}: {_escape(label_of(rungs, index))}")
        if receiver in notes:
            lines.append(notes[receiver])
        if arrow.received is not None:
            latest = max(latest, arrow.received)
    return "\n".join(lines) + "\n"


def _beside(kind: str, text: str) -> str:
    return f"timer: {_escape(text)}" if kind == "timer" else _escape(text)


def _escape(text: str) -> str:
    """Replace Mermaid's syntax characters by its entity codes (decimal, between # and ;)."""
    text = re.sub(r"[#;<>%{}\"\\&]", _code, " ".join(text.split()))
    return re.sub(r"\b[Ee](?=[Nn][Dd]\b)", _code, text)


def _code(found: re.Match[str]) -> str:
    return f"#{ord(found[0])};"
