"""Rows: readers and writers of streams."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from tests.aio.side_by_side.sides import LOCALHOST, MUCH, Side, attempt, done, port_of, until
from tests.aio.side_by_side.table import Program, Table

STREAMS: Final = Table("streams")

Read: TypeAlias = Callable[[asyncio.StreamReader], Awaitable[Any]]

READS: Final[dict[str, Read]] = {
    "read()": lambda reader: reader.read(),
    "read(0)": lambda reader: reader.read(0),
    "read(4)": lambda reader: reader.read(4),
    "read(100)": lambda reader: reader.read(100),
    "readline()": lambda reader: reader.readline(),
    "readexactly(0)": lambda reader: reader.readexactly(0),
    "readexactly(4)": lambda reader: reader.readexactly(4),
    "readexactly(100)": lambda reader: reader.readexactly(100),
    "readexactly(-1)": lambda reader: reader.readexactly(-1),
    "readuntil()": lambda reader: reader.readuntil(),
    "readuntil(;)": lambda reader: reader.readuntil(b";"),
    "readuntil(empty)": lambda reader: reader.readuntil(b""),
    "at_eof()": lambda reader: _value(reader.at_eof()),
    "iterate": lambda reader: _lines(reader),
}


async def _value(value: Any) -> Any:
    return value


async def _lines(reader: asyncio.StreamReader) -> list[bytes]:
    return [line async for line in reader]


async def told(reading: Awaitable[Any]) -> Any:
    """As attempt(), with what IncompleteReadError and LimitOverrunError say beside."""

    async def read() -> Any:
        try:
            return await reading
        except asyncio.IncompleteReadError as error:
            return ["incomplete", error.partial, error.expected]
        except asyncio.LimitOverrunError as error:
            return ["limit overrun", error.consumed]

    task = asyncio.ensure_future(attempt(read()))
    if await done(task, 40):
        return task.result()
    task.cancel()
    return "waits"


def reads(what: Read, prepare: Callable[[Side, Any], object], **options: Any) -> Program:
    """What is read after the peer did something; and read again; then the rest."""

    async def program(side: Side) -> Any:
        reader, _, _, far_writer = await side.streams(**options)
        prepare(side, far_writer)
        for _ in range(10):
            await asyncio.sleep(0.001)
        return [await told(what(reader)), await told(what(reader)), reader.at_eof()]

    return program


def _sends(side: Side, writer: Any) -> None:
    writer.write(b"one\ntwo;")


def _sends_and_closes(side: Side, writer: Any) -> None:
    writer.write(b"one\ntwo;")
    writer.close()


def _closes(side: Side, writer: Any) -> None:
    writer.close()


def _resets(side: Side, writer: Any) -> None:
    side.reset(writer.transport)


def _sends_much(side: Side, writer: Any) -> None:
    writer.write(b"x" * 300 + b"\n;")


for name, what in READS.items():
    STREAMS.add(f"{name}, the peer sends", reads(what, _sends))
    STREAMS.add(f"{name}, the peer sends and closes", reads(what, _sends_and_closes))
    STREAMS.add(f"{name}, the peer closes", reads(what, _closes))
    STREAMS.add(f"{name}, the peer resets", reads(what, _resets))
    STREAMS.add(f"{name}, the peer sends more than the limit", reads(what, _sends_much, limit=100))


@STREAMS.row("a separator beyond the limit is left to read")
async def _(side: Side) -> Any:
    reader, _, _, far_writer = await side.streams(limit=10)
    far_writer.write(b"0123456789abcdef\nrest")
    return [await told(reader.readuntil()), await told(reader.readline()), await told(reader.read(4))]


@STREAMS.row("two read at once")
async def _(side: Side) -> Any:
    reader, _, _, far_writer = await side.streams()
    first = asyncio.create_task(reader.read(4))
    await asyncio.sleep(0)
    seen = await attempt(reader.read(4))
    far_writer.write(b"ping")
    return [seen, await attempt(first)]


@STREAMS.row("a read that is cancelled loses nothing")
async def _(side: Side) -> Any:
    reader, _, _, far_writer = await side.streams()
    reading = asyncio.create_task(reader.readexactly(4))
    await asyncio.sleep(0)
    far_writer.write(b"pi")
    await asyncio.sleep(0.01)
    reading.cancel()
    seen = await attempt(reading)
    far_writer.write(b"ng")
    return [seen, await attempt(reader.readexactly(4))]


@STREAMS.row("unread octets, then a reset")
async def _(side: Side) -> Any:
    reader, _, _, far_writer = await side.streams()
    far_writer.write(b"before")
    await asyncio.sleep(0.02)
    _resets(side, far_writer)
    await until(lambda: reader.exception())
    return [await attempt(reader.read(100)), await attempt(reader.readexactly(1))]


@STREAMS.row("a read that waits meets a reset")
async def _(side: Side) -> Any:
    reader, _, _, far_writer = await side.streams()
    reading = asyncio.create_task(reader.read(4))
    await asyncio.sleep(0)
    _resets(side, far_writer)
    return await attempt(reading)


# --- writers


@STREAMS.row("what a writer offers")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    return [
        writer.can_write_eof(),
        writer.is_closing(),
        writer.get_extra_info("no such key", 7),
        writer.transport.get_write_buffer_limits(),
        len(writer.get_extra_info("peername")),
    ]


for name, data in {"str": "x", "None": None, "int": 1, "bytearray": bytearray(b"x"), "nothing": b""}.items():

    async def written(side: Side, data: Any = data) -> Any:
        _, writer, far_reader, _ = await side.streams()
        result = await attempt(lambda: writer.write(data))
        writer.close()
        return [result, await attempt(far_reader.read())]

    STREAMS.add(f"write {name}", written)


@STREAMS.row("writelines")
async def _(side: Side) -> Any:
    _, writer, far_reader, _ = await side.streams()
    writer.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
    writer.write_eof()
    return [await far_reader.read(), await attempt(lambda: writer.write(b"x"))]


@STREAMS.row("drain when nothing waits")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    return await attempt(writer.drain())


@STREAMS.row("drain after close")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    writer.write(b"x")
    writer.close()
    return [await attempt(writer.drain()), await attempt(writer.wait_closed()), await attempt(writer.drain())]


@STREAMS.row("drain after reset")
async def _(side: Side) -> Any:
    reader, writer, _, far_writer = await side.streams()
    _resets(side, far_writer)
    await until(reader.exception)
    return [await attempt(writer.drain()), await attempt(writer.drain())]


@STREAMS.row("drain after abort")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    writer.transport.abort()
    at_once = await attempt(writer.drain())
    await asyncio.sleep(0.01)
    return [at_once, await attempt(writer.drain()), await attempt(writer.wait_closed())]


@STREAMS.row("drain that waits meets a reset")
async def _(side: Side) -> Any:
    _, writer, _, far_writer = await side.streams()
    far_writer.transport.pause_reading()
    writer.write(bytes(MUCH))
    draining = asyncio.create_task(writer.drain())
    await asyncio.sleep(0.05)
    seen = draining.done()
    _resets(side, far_writer)
    return [seen, await attempt(draining)]


@STREAMS.row("two drain at once, and both go on")
async def _(side: Side) -> Any:
    _, writer, far_reader, _ = await side.streams()
    writer.write(bytes(MUCH))
    draining = [asyncio.create_task(writer.drain()) for _ in range(2)]
    await asyncio.sleep(0.01)
    seen = [each.done() for each in draining]
    await far_reader.readexactly(MUCH)
    return [seen, [await attempt(each) for each in draining]]


@STREAMS.row("drain that waits is cancelled")
async def _(side: Side) -> Any:
    _, writer, far_reader, _ = await side.streams()
    writer.write(bytes(MUCH))
    draining = asyncio.create_task(writer.drain())
    await asyncio.sleep(0.01)
    draining.cancel()
    seen = await attempt(draining)
    await far_reader.readexactly(MUCH)
    return [seen, await attempt(writer.drain())]


@STREAMS.row("wait_closed twice")
async def _(side: Side) -> Any:
    _, writer, far_reader, far_writer = await side.streams()
    writer.close()
    await far_reader.read()
    far_writer.close()
    return [
        await attempt(writer.wait_closed()),
        await attempt(writer.wait_closed()),
        await attempt(far_writer.wait_closed()),
        writer.is_closing(),
    ]


@STREAMS.row("wait_closed by two at once")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    writer.close()
    return await asyncio.gather(attempt(writer.wait_closed()), attempt(writer.wait_closed()))


@STREAMS.row("wait_closed without close")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    waiting = asyncio.create_task(writer.wait_closed())
    await asyncio.sleep(0.02)
    seen = waiting.done()
    writer.close()
    return [seen, await attempt(waiting)]


@STREAMS.row("wait_closed after reset")
async def _(side: Side) -> Any:
    reader, writer, _, far_writer = await side.streams()
    _resets(side, far_writer)
    await until(reader.exception)
    writer.close()
    return [await attempt(writer.wait_closed()), await attempt(writer.wait_closed())]


@STREAMS.row("wait_closed after abort")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    writer.transport.abort()
    return await attempt(writer.wait_closed())


@STREAMS.row("close twice")
async def _(side: Side) -> Any:
    _, writer, far_reader, _ = await side.streams()
    writer.write(b"last")
    writer.close()
    writer.close()
    return [await far_reader.read(), await attempt(writer.wait_closed())]


@STREAMS.row("write after close")
async def _(side: Side) -> Any:
    _, writer, far_reader, _ = await side.streams()
    writer.close()
    seen = await attempt(lambda: writer.write(b"late"))
    return [seen, await far_reader.read(), await attempt(writer.wait_closed())]


@STREAMS.row("write_eof, and the other direction goes on")
async def _(side: Side) -> Any:
    reader, writer, far_reader, far_writer = await side.streams()
    writer.write(b"question")
    writer.write_eof()
    question = await far_reader.read()
    far_writer.write(b"answer")
    far_writer.close()
    return [question, await reader.read(), await attempt(lambda: writer.write_eof())]


@STREAMS.row("write_eof after the peer has closed")
async def _(side: Side) -> Any:
    reader, writer, far_reader, far_writer = await side.streams()
    far_writer.write_eof()
    seen = await reader.read()
    writer.write(b"answer")
    writer.write_eof()
    answer = await far_reader.read()
    writer.close()
    far_writer.close()
    return [seen, answer, await attempt(writer.wait_closed()), await attempt(far_writer.wait_closed())]


@STREAMS.row("large transfer in both directions")
async def _(side: Side) -> Any:
    size = 2 << 20
    reader, writer, far_reader, far_writer = await side.streams()

    async def send(to: Any) -> None:
        for _ in range(size >> 16):
            to.write(bytes(1 << 16))
            await to.drain()
        to.write_eof()

    sending = asyncio.gather(send(writer), send(far_writer))
    received = await asyncio.gather(reader.read(), far_reader.read())
    await sending
    return [len(each) for each in received]


@STREAMS.row("a handler that leaves without close keeps the connection")
async def _(side: Side) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
        writer.write(b"hello")

    server = await side.start_server(handler, LOCALHOST, 0)
    reader, _ = await side.open_connection(LOCALHOST, port_of(server))
    return [await told(reader.readexactly(5)), await told(reader.read())]


@STREAMS.row("a writer's context")
async def _(side: Side) -> Any:
    _, writer, _, _ = await side.streams()
    return [hasattr(writer, "__aenter__"), hasattr(writer, "start_tls")]
