"""Clients of control sockets, on the loop that serves them: what they see of it, they see while it runs."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from utcp.aio.registry import LoopEndpoints
from utcp.inspect.control import Control
from utcp.inspect.loop import LoopInspection
from utcp.trace.capture_file import packets
from utcp.trace.comments import Comment, parse_comment
from utcp.wire import Segment, decode


class Seen(NamedTuple):
    """A captured packet."""

    time_ns: int
    hosts: tuple[str, str]
    segment: Segment
    comment: Comment


def read_capture(data: bytes) -> list[Seen]:
    found = []
    for packet in packets(io.BytesIO(data)):
        source, destination = (".".join(map(str, packet.octets[start : start + 4])) for start in (12, 16))
        segment = decode(packet.octets[20:])
        found.append(Seen(packet.time_ns, (source, destination), segment, parse_comment(packet.comment)))
    return found


Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def calling(path: str | Path) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield reader, writer
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass


async def ask(path: str | Path, request: object) -> list[dict[str, Any]]:
    """The lines of the whole answer. `request` is sent as it is if it is octets, else as JSON."""
    async with calling(path) as (reader, writer):
        writer.write(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
        return [json.loads(line) for line in (await reader.read()).splitlines()]


async def table(path: str | Path) -> list[dict[str, Any]]:
    """The rows of the table."""
    greeting, *rows, end = await ask(path, {"request": "table"})
    assert greeting["utcp"] == 1
    assert end == {"type": "end"}
    return rows


@asynccontextmanager
async def capturing(
    path: str | Path, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A capture that has begun."""
    async with calling(path) as (reader, writer):
        writer.write(json.dumps({"request": "capture", **options}).encode() + b"\n")
        assert json.loads(await reader.readline())["utcp"] == 1
        yield reader, writer


def controls() -> list[Control]:
    """Those of the running loop that are open, or not done with."""
    inspection = LoopInspection.of(LoopEndpoints.of_running_loop())
    return list(inspection.controls)
