"""Rows: `start_tls`, TLS connections' ends, and `sendfile`."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.aio.side_by_side.sides import LOCALHOST, MUCH, Echo, Notes, Side, attempt, done, port_of, settled, until
from tests.aio.side_by_side.table import Program, Table
from tests.certificates import client_context, server_context

SECURING: Final = Table("securing")


# --- start_tls


def upgrades(*, server: Any = None, **options: Any) -> Program:
    """The client calls start_tls() with these options; the server's protocol upgrades itself."""

    async def program(side: Side) -> Any:
        transport, near, far_transport, far = await side.pair(Notes(keep_open=False), Echo())
        arguments = {"context": client_context(), "protocol": near, "server_hostname": "localhost", **options}
        upgrade = asyncio.ensure_future(
            attempt(side.start_tls(far_transport, far, server or server_context(), server_side=True))
        )
        context, protocol = arguments.pop("context"), arguments.pop("protocol")
        try:
            upgraded = await side.start_tls(transport, protocol, context, **arguments)
            side.noted(near).transport = upgraded
            result = await upgrade
            far.transport = result
            upgraded.write(b"ping")
            await until(lambda: near.received)
            return [near.received, near.calls, upgraded.get_extra_info("ssl_object") is not None]
        finally:
            if not upgrade.done():
                far_transport.abort()
                await upgrade

    return program


UPGRADES: Final[dict[str, dict[str, Any]]] = {
    "start_tls": {},
    "start_tls, no server_hostname": {"server_hostname": None},
    "start_tls, wrong server_hostname": {"server_hostname": "example.org"},
    "start_tls, context None": {"context": None},
    "start_tls, context True": {"context": True},
    "start_tls, context as text": {"context": "yes"},
    "start_tls, handshake timeout": {"ssl_handshake_timeout": 5.0},
    "start_tls, handshake timeout 0": {"ssl_handshake_timeout": 0},
    "start_tls, handshake timeout -1": {"ssl_handshake_timeout": -1},
    "start_tls, shutdown timeout 0": {"ssl_shutdown_timeout": 0},
    "start_tls, unknown option": {"no_such_option": 1},
}
for name, options in UPGRADES.items():
    SECURING.add(name, upgrades(**options))


@SECURING.row("start_tls of no transport")
async def _(side: Side) -> Any:
    return [
        await attempt(side.start_tls(None, side.notes(), client_context(), server_hostname="localhost")),
        await attempt(side.start_tls(asyncio.Transport(), side.notes(), client_context(), server_hostname="localhost")),
    ]


@SECURING.row("start_tls, the peer closes")
async def _(side: Side) -> Any:
    transport, near, far_transport, _ = await side.pair(Notes(keep_open=False))
    far_transport.close()
    return [
        await attempt(side.start_tls(transport, near, client_context(), server_hostname="localhost")),
        near.calls,
    ]


@SECURING.row("start_tls, the peer resets")
async def _(side: Side) -> Any:
    transport, near, far_transport, _ = await side.pair(Notes(keep_open=False))
    upgrade = asyncio.ensure_future(
        attempt(side.start_tls(transport, near, client_context(), server_hostname="localhost"))
    )
    await asyncio.sleep(0.01)
    side.reset(far_transport)
    return [await upgrade, near.calls]


@SECURING.row("start_tls, the peer is silent")
async def _(side: Side) -> Any:
    transport, near, _, _ = await side.pair(Notes(keep_open=False))
    result = await attempt(
        side.start_tls(transport, near, client_context(), server_hostname="localhost", ssl_handshake_timeout=0.05)
    )
    return [result, near.calls, transport.is_closing()]


@SECURING.row("start_tls, the peer speaks something else")
async def _(side: Side) -> Any:
    transport, near, far_transport, _ = await side.pair(Notes(keep_open=False))
    far_transport.pause_reading()
    upgrade = asyncio.ensure_future(
        attempt(side.start_tls(transport, near, client_context(), server_hostname="localhost"))
    )
    await asyncio.sleep(0)
    far_transport.write(b"no TLS here, go away\r\n")
    return [(await upgrade)[:8], near.calls]


@SECURING.row("start_tls after close")
async def _(side: Side) -> Any:
    transport, near, _, _ = await side.pair(Notes(keep_open=False), Notes(keep_open=False))
    transport.close()
    await until(lambda: near.lost)
    upgrade = asyncio.ensure_future(
        side.start_tls(transport, near, client_context(), server_hostname="localhost", ssl_handshake_timeout=0.1)
    )
    if not await done(upgrade):
        upgrade.cancel()
        return "hangs"
    return await attempt(upgrade)


# --- StreamWriter.start_tls


@SECURING.row("streams upgrade between two lines")
async def _(side: Side) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
        await reader.readline()
        writer.write(b"go ahead\n")
        await writer.start_tls(server_context())
        writer.write(b"secret " + await reader.readline())
        await writer.drain()
        writer.close()

    server = await side.start_server(handler, LOCALHOST, 0)
    reader, writer = await side.open_connection(LOCALHOST, port_of(server))
    writer.write(b"STARTTLS\n")
    seen = [await reader.readline()]
    await writer.start_tls(client_context(), server_hostname="localhost")
    writer.write(b"line\n")
    seen.append(await reader.readline())
    writer.close()
    return [*seen, await attempt(writer.wait_closed())]


@SECURING.row("streams upgrade, wrong name")
async def _(side: Side) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
        await attempt(writer.start_tls(server_context()))
        writer.close()

    server = await side.start_server(handler, LOCALHOST, 0)
    _, writer = await side.open_connection(LOCALHOST, port_of(server))
    seen = await attempt(writer.start_tls(client_context(), server_hostname="example.org"))
    writer.close()
    return [seen, (await attempt(writer.wait_closed())) in (None, seen)]


# --- TLS connections


@asynccontextmanager
async def secured(side: Side, far: Notes) -> AsyncIterator[tuple[Any, Notes]]:
    near = side.notes(keep_open=False)
    side.noted(far)
    _, port = await side.serve(lambda: far, ssl=server_context())
    transport, _ = await side.create_connection(lambda: near, LOCALHOST, port, ssl=client_context())
    await until(lambda: far.transport)
    yield transport, near


for name, act in {
    "close": lambda transport: transport.close(),
    "write and close": lambda transport: (transport.write(b"last"), transport.close()),
    "abort": lambda transport: transport.abort(),
    "write_eof": lambda transport: transport.write_eof(),
    "can_write_eof": lambda transport: transport.can_write_eof(),
    "write str": lambda transport: transport.write("x"),
    "write nothing": lambda transport: transport.write(b""),
    "writelines": lambda transport: transport.writelines([b"a", b"b"]),
    "limits, high -1": lambda transport: transport.set_write_buffer_limits(high=-1),
    "limits": lambda transport: transport.get_write_buffer_limits(),
    "pause_reading twice": lambda transport: (transport.pause_reading(), transport.pause_reading())[0],
    "resume_reading twice": lambda transport: (transport.resume_reading(), transport.resume_reading())[0],
    "is_reading": lambda transport: transport.is_reading(),
    "extra": lambda transport: [
        type(transport.get_extra_info(key)).__name__
        for key in ("sslcontext", "ssl_object", "peercert", "cipher", "compression", "peername", "sockname")
    ],
}.items():

    async def act_on_tls(side: Side, act: Any = act) -> Any:
        far = Echo()
        async with secured(side, far) as (transport, near):
            result = await attempt(lambda: act(transport))
            await settled(near, far)
            return [result if not isinstance(result, tuple) else len(result), near.calls, near.received, far.received]

    SECURING.add(f"TLS: {name}", act_on_tls)


@SECURING.row("TLS: the peer closes")
async def _(side: Side) -> Any:
    far = Notes(keep_open=False)
    async with secured(side, far) as (_, near):
        far.transport.write(b"last")
        far.transport.close()
        await settled(near, far)
        return [near.received, near.calls, far.calls]


@SECURING.row("TLS: close twice and wait_closed twice")
async def _(side: Side) -> Any:
    _, port = await side.serve(ssl=server_context())
    reader, writer = await side.open_connection(LOCALHOST, port, ssl=client_context())
    writer.write(b"ping")
    seen = await reader.readexactly(4)
    writer.close()
    writer.close()
    return [seen, await attempt(writer.wait_closed()), await attempt(writer.wait_closed())]


@SECURING.row("TLS: handler that answers and closes")
async def _(side: Side) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
        writer.write(await reader.readline() + bytes(1 << 20))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await side.start_server(handler, LOCALHOST, 0, ssl=server_context())
    reader, writer = await side.open_connection(LOCALHOST, port_of(server), ssl=client_context())
    writer.write(b"question\n")
    seen = len(await reader.read())
    writer.close()
    return [seen, await attempt(writer.wait_closed())]


@SECURING.row("TLS: the peer aborts")
async def _(side: Side) -> Any:
    far = Notes(keep_open=False)
    async with secured(side, far) as (_, near):
        far.transport.abort()
        await settled(near, far)
        return [near.calls, far.calls]


@SECURING.row("TLS: the peer resets")
async def _(side: Side) -> Any:
    far = Notes(keep_open=False)
    async with secured(side, far) as (_, near):
        side.reset(far.transport)
        await settled(near, far)
        return [near.calls, far.calls]


@SECURING.row("TLS: the peer resets streams")
async def _(side: Side) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
        writer.write(await reader.readexactly(4))
        await reader.readexactly(1)
        side.reset(writer.transport)

    server = await side.start_server(handler, LOCALHOST, 0, ssl=server_context())
    reader, writer = await side.open_connection(LOCALHOST, port_of(server), ssl=client_context())
    writer.write(b"ping")
    seen = [await reader.readexactly(4)]
    writer.write(b"!")
    seen.append(await attempt(reader.read()))
    writer.close()
    return [*seen, await attempt(writer.wait_closed())]


@SECURING.row("TLS: much to a peer that reads late")
async def _(side: Side) -> Any:
    far = Notes(keep_open=False)
    async with secured(side, far) as (transport, near):
        far.transport.pause_reading()
        transport.write(bytes(MUCH))
        await settled(near)
        seen = [*near.calls]
        far.transport.resume_reading()
        await until(lambda: len(far.data) == MUCH)
        transport.close()
        await settled(near, far)
        return [seen, near.calls, far.calls]


def talks(say: bytes, end: Callable[[Side, Any], object] | None = None, **options: Any) -> Program:
    """What a server with TLS does about a client without."""

    async def program(side: Side) -> Any:
        far = side.notes(keep_open=False)
        _, port = await side.serve(lambda: far, ssl=server_context(), **options)
        near = side.notes(keep_open=False)
        transport, _ = await side.create_connection(lambda: near, LOCALHOST, port)
        transport.write(say)
        await settled(near)
        if end is not None:
            end(side, transport)
        await asyncio.sleep(0.15)
        await settled(near)
        return [bool(near.received), near.calls, far.calls]

    return program


SECURING.add("TLS server: a client that says something else", talks(b"GET / HTTP/1.0\r\n\r\n"))
SECURING.add("TLS server: a client that says nothing", talks(b"", ssl_handshake_timeout=0.1))
SECURING.add("TLS server: a client that leaves", talks(b"", lambda side, transport: transport.close()))
SECURING.add("TLS server: a client that resets", talks(b"", lambda side, transport: side.reset(transport)))
SECURING.add(
    "TLS server: half a ClientHello, and the end", talks(b"\x16\x03\x01", lambda _, transport: transport.close())
)


# --- sendfile


def sends_file(prepare: Any = None, *, data: bytes = b"0123456789" * 1000, **options: Any) -> Program:
    async def program(side: Side) -> Any:
        transport, near, _, far = await side.pair()
        with tempfile.TemporaryFile() as file:
            file.write(data)
            if prepare is None:
                file.seek(0)
            else:
                prepare(file)
            result = await attempt(side.loop.sendfile(transport, file, **options))
            position = file.tell()
        transport.close()
        await settled(near, far)
        return [result, position, len(far.data), far.received[:4]]

    return program


for name, program in {
    "sendfile": sends_file(),
    "sendfile after writes to the file": sends_file(lambda file: None),
    "sendfile from a position": sends_file(lambda file: file.seek(5)),
    "sendfile, offset 3": sends_file(offset=3),
    "sendfile, offset beyond the end": sends_file(offset=100_000),
    "sendfile, offset -1": sends_file(offset=-1),
    "sendfile, offset as text": sends_file(offset="1"),
    "sendfile, count 0": sends_file(count=0),
    "sendfile, count 7": sends_file(count=7),
    "sendfile, count -1": sends_file(count=-1),
    "sendfile, count beyond the end": sends_file(count=100_000),
    "sendfile, count 1.5": sends_file(count=1.5),
    "sendfile, offset and count": sends_file(offset=3, count=4),
    "sendfile, empty file": sends_file(data=b""),
    "sendfile, no fallback": sends_file(fallback=False),
}.items():
    SECURING.add(name, program, 76)


@SECURING.row("sendfile of a BytesIO", 76)
async def _(side: Side) -> Any:
    transport, near, _, far = await side.pair()
    result = await attempt(side.loop.sendfile(transport, io.BytesIO(b"12345")))
    await settled(near, far)
    return [result, far.received]


@SECURING.row("sendfile of a text file", 76)
async def _(side: Side) -> Any:
    transport, *_ = await side.pair()
    file: Any
    with tempfile.TemporaryFile("w+") as file:
        return await attempt(side.loop.sendfile(transport, file))


@SECURING.row("sendfile of nothing", 76)
async def _(side: Side) -> Any:
    transport, *_ = await side.pair()
    return await attempt(side.loop.sendfile(transport, None))  # type: ignore[arg-type]  # that is the row


@SECURING.row("sendfile after close", 76)
async def _(side: Side) -> Any:
    transport, *_ = await side.pair()
    transport.close()
    with tempfile.TemporaryFile() as file:
        return await attempt(side.loop.sendfile(transport, file))


@SECURING.row("sendfile behind a write", 76)
async def _(side: Side) -> Any:
    transport, _, _, far = await side.pair()
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1 << 20))
        file.flush()
        file.seek(0)
        transport.write(b"head")
        result = await attempt(side.loop.sendfile(transport, file))
        transport.write(b"tail")
    transport.close()
    await until(lambda: "eof" in far.calls)
    return [result, len(far.data), far.received[:4], far.received[-4:]]
