"""Ladder diagrams of a connection with both ends: recorded by one observer per end, drawn as text, SVG, Mermaid or
HTML.

    recorder = LadderRecorder()
    ...  # run Endpoint(..., observer=recorder.client) and Endpoint(..., observer=recorder.server)
    print(render_text(recorder.rungs()))
    Path("ladder.svg").write_text(render_svg(recorder.rungs(), title="A connection"))

The rungs are plain values, for other renderers too. `utcp.trace.ladder.from_capture` creates them from captures.
"""

from utcp.trace.ladder.html import render_html
from utcp.trace.ladder.mermaid import render_mermaid
from utcp.trace.ladder.recorder import LadderRecorder
from utcp.trace.ladder.rungs import Arrow, End, Rung
from utcp.trace.ladder.svg import render_svg
from utcp.trace.ladder.text import render_text

__all__ = ["Arrow", "End", "LadderRecorder", "Rung", "render_html", "render_mermaid", "render_svg", "render_text"]
