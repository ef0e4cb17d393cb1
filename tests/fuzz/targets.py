"""What a fuzzer runs: each target takes any octets, and raises when utcp breaks a promise."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.fuzz.captures import capture_of
from tests.fuzz.ordeal import Ordeal
from tests.fuzz.source import Source
from utcp.lab.captured import captured_run
from utcp.trace.capture_file import Captured, CaptureError, iter_capture
from utcp.trace.connections import find_connections
from utcp.trace.ladder import render_mermaid, render_svg, render_text
from utcp.trace.ladder.from_capture import marked_inferred, rungs_from_capture
from utcp.trace.ladder.narrow import render_narrow
from utcp.trace.ladder.rungs import ENDS
from utcp.trace.series import series_of
from utcp.wire import MalformedSegment, decode, encode


def decode_segment(data: bytes) -> None:
    """`decode` raises nothing but MalformedSegment, and what it makes of a segment survives `encode`."""
    try:
        segment = decode(data)
    except MalformedSegment:
        return
    assert decode(memoryview(b"\xff" + data + b"\xff"), 1, 1 + len(data)) == segment
    again = decode(encode(segment))
    assert decode(encode(again)) == again
    # Aligned as utcp sends them, the other options may leave less room for SACK blocks: the last ones go.
    assert again.sack_blocks == segment.sack_blocks[: len(again.sack_blocks)]
    again.sack_blocks = segment.sack_blocks
    assert again == segment


def receive_datagrams(data: bytes) -> None:
    """A stack in any state keeps its promises whatever arrives."""
    source = Source(data)
    ordeal = Ordeal(source)
    while not source.exhausted:
        ordeal.step()
    ordeal.end()


def draw_captures(data: bytes) -> None:
    """Reading a file raises nothing but CaptureError, and what was read can be drawn, in memory of the file's size."""
    source = Source(data)
    kind = source.number(1)
    contents = [capture_of(source) for _ in range(1 + kind % 2)] if kind < 240 else [data[1:]]
    captures = [_segments(content) for content in contents]
    found = find_connections(captures)
    for connection in found[:3]:
        rungs = marked_inferred(rungs_from_capture(captures, connection))
        assert render_text(rungs)
        assert render_narrow(rungs, 40)
        assert render_mermaid(rungs)
        assert "nan" not in render_svg(rungs)
        addresses = str(connection.client), str(connection.server)
        assert json.dumps(captured_run(rungs, "capture", addresses, "en"), allow_nan=False)
        for side in ENDS:
            series_of(captures, connection, side)
    if found:
        rungs_from_capture(captures, *(one for one in found if one.shares_ports_with(found[0])))


def _segments(content: bytes) -> list[Captured]:
    found: list[Captured] = []
    with TemporaryDirectory() as folder, suppress(CaptureError):
        path = Path(folder, "capture")
        path.write_bytes(content)
        for captured in iter_capture(path):
            found.append(captured)  # noqa: PERF402  # those before an error count, too
    held = sum(len(one.segment.payload) for one in found if isinstance(one.segment.payload, bytes))
    assert held <= len(content) + 4096 * len(found)
    assert 20 * len(found) <= len(content)
    return found


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "captures": draw_captures,
    "decode": decode_segment,
    "stack": receive_datagrams,
}
