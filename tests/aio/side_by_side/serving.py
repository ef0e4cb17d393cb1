"""Rows: parameters of `create_server` and `start_server`, and the life of a Server."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.aio.side_by_side.opening import FREE, with_ports
from tests.aio.side_by_side.sides import LOCALHOST, Notes, Side, attempt, done, port_of, settled, until
from tests.aio.side_by_side.table import Program, Table
from tests.certificates import client_context, server_context

SERVING: Final = Table("serving")

THREE_ELEVEN: Final = sys.version_info < (3, 12)


async def _ping(side: Side, host: str, port: int) -> None:
    near = side.notes()
    transport, _ = await side.create_connection(lambda: near, host, port)
    transport.write(b"ping")
    await until(lambda: near.received)


def serves(host: Any = LOCALHOST, port: Any = 0, connect: bool = True, **options: Any) -> Program:
    """Listen, and say on what; let a client connect to each address."""

    async def program(side: Side) -> Any:
        server = await side.create_server(side.echo, host, await with_ports(side, port), **options)
        seen: list[Any] = [server.is_serving()]
        for sock in server.sockets:
            family, address = sock.family, sock.getsockname()
            seen.append((family.name, sock.type.name, len(address), address[0]))
            if connect:
                await _ping(side, *address[:2])
        return sorted(seen, key=str)

    return program


for host in (
    "",
    "localhost",
    "::1",
    "0.0.0.0",
    "::",
    (LOCALHOST, "::1"),
    [LOCALHOST, LOCALHOST],
    (),
    [None],
    [""],
    ["", LOCALHOST],
    b"127.0.0.1",
    [b"127.0.0.1"],
    "127.0.0.1 ",
    "no-such-name.invalid",
    (LOCALHOST, "no-such-name.invalid"),
    "203.0.113.1",
    (LOCALHOST, "203.0.113.1"),
    "fe80::1",
    "x" * 70,
    1,
    (1,),
):
    SERVING.add(f"host {host!r}", serves(host))

for port in (None, "0", "", FREE, -1, 65536, "-1", 1.5, "no-such-service", b"0"):
    SERVING.add(f"port {port!r}", serves(LOCALHOST, port))

for name, options, defects in (
    ("host None", {"host": None}, ()),
    ("nothing", {"host": None, "port": None}, ()),
    ("host a name, port -1", {"host": "localhost", "port": -1}, ()),
    ("family IPv6, host IPv4", {"family": socket.AF_INET6}, ()),
    ("family IPv6, host None", {"host": None, "family": socket.AF_INET6}, ()),
    ("family IPv4, host None", {"host": None, "family": socket.AF_INET}, ()),
    ("family Unix", {"family": socket.AF_UNIX}, ()),
    ("flags 0, host None", {"host": None, "flags": 0}, ()),
    ("flags numeric host, host a name", {"host": "localhost", "flags": socket.AI_NUMERICHOST}, ()),
    ("backlog 0", {"backlog": 0, "connect": False}, (78,)),
    ("backlog -1", {"backlog": -1, "connect": False}, (78,)),
    ("backlog 1", {"backlog": 1}, ()),
    ("backlog 1.5", {"backlog": 1.5, "connect": False}, (78,)),
    ("backlog as text", {"backlog": "1"}, (78,)),
    ("backlog None", {"backlog": None}, (78,)),
    ("backlog 1 << 40", {"backlog": 1 << 40}, (78,)),
    ("ssl True", {"ssl": True}, ()),
    ("ssl False", {"ssl": False}, ()),
    ("ssl as text", {"ssl": "yes", "connect": False}, ()),
    ("handshake timeout without ssl", {"ssl_handshake_timeout": 1.0}, ()),
    ("shutdown timeout without ssl", {"ssl_shutdown_timeout": 1.0}, ()),
    ("ssl, handshake timeout 0", {"ssl": server_context(), "ssl_handshake_timeout": 0, "connect": False}, ()),
    # asyncio accepts no connection with a backlog of 0, and reports only in debug mode that an SSL option is wrong.
    ("ssl, handshake timeout -1", {"ssl": server_context(), "ssl_handshake_timeout": -1, "connect": False}, ()),
    ("reuse_address True", {"reuse_address": True}, ()),
    ("reuse_address False", {"reuse_address": False}, ()),
    ("reuse_port True", {"reuse_port": True}, ()),
    ("reuse_port False", {"reuse_port": False}, ()),
    ("unknown option", {"no_such_option": 1}, ()),
):
    SERVING.add(name, serves(**options), *defects)

if sys.version_info >= (3, 13):
    SERVING.add("keep_alive True", serves(keep_alive=True))
    SERVING.add("keep_alive False", serves(keep_alive=False))


@SERVING.row("ssl context of a client")
async def _(side: Side) -> Any:
    _, port = await side.serve(ssl=client_context())
    return await attempt(
        side.create_connection(side.notes, LOCALHOST, port, ssl=client_context(), ssl_handshake_timeout=0.5)
    )


@SERVING.row("sock bound")
async def _(side: Side) -> Any:
    sock = side.socket()
    server = await side.create_server(side.echo, sock=sock)
    near = side.notes()
    transport, _ = await side.create_connection(lambda: near, *sock.getsockname())
    transport.write(b"ping")
    await until(lambda: near.received)
    return [port_of(server) == sock.getsockname()[1], sock.getblocking()]


@SERVING.row("sock and host")
async def _(side: Side) -> Any:
    with side.socket() as sock:
        return [
            await attempt(side.create_server(side.echo, LOCALHOST, 0, sock=sock)),
            await attempt(side.create_server(side.echo, None, 0, sock=sock)),
            await attempt(side.create_server(side.echo, "", None, sock=sock)),
            sock.fileno() >= 0,
        ]


@SERVING.row("sock of another kind")
async def _(side: Side) -> Any:
    other = {socket.SOCK_STREAM: socket.SOCK_DGRAM, socket.SOCK_DGRAM: socket.SOCK_STREAM}[side.kind]
    with socket.socket(socket.AF_INET, other) as sock:
        return [await attempt(side.create_server(side.echo, sock=sock)), sock.fileno() >= 0]


@SERVING.row("sock closed")
async def _(side: Side) -> Any:
    sock = side.socket()
    sock.close()
    return await attempt(side.create_server(side.echo, sock=sock))


@SERVING.row("sock unbound")
async def _(side: Side) -> Any:
    server = await side.create_server(side.echo, sock=side.socket(None))
    return [port_of(server) > 0, server.sockets[0].getsockname()[0]]


@SERVING.row("sock is closed with the server")
async def _(side: Side) -> Any:
    sock = side.socket()
    server = await side.create_server(side.echo, sock=sock)
    server.close()
    await asyncio.sleep(0.02)
    return sock.fileno() >= 0


@SERVING.row("address in use")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    return await attempt(side.create_server(side.echo, LOCALHOST, port))


@SERVING.row("address in use by the wildcard")
async def _(side: Side) -> Any:
    server = await side.create_server(side.echo, "0.0.0.0", 0)
    return await attempt(side.create_server(side.echo, LOCALHOST, port_of(server)))


@SERVING.row("second of two addresses in use")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    failed = await attempt(side.create_server(side.echo, ["127.0.0.2", LOCALHOST], port))
    again = await side.create_server(side.echo, "127.0.0.2", port)
    return [failed, again.is_serving()]


@SERVING.row("reuse_port, two servers")
async def _(side: Side) -> Any:
    first = await side.create_server(side.echo, LOCALHOST, 0, reuse_port=True)
    second = await side.create_server(side.echo, LOCALHOST, port_of(first), reuse_port=True)
    transport, _ = await side.create_connection(side.notes, LOCALHOST, port_of(first))
    return [second.is_serving(), transport.is_closing()]


@SERVING.row("address again after close")
async def _(side: Side) -> Any:
    server, port = await side.serve()
    transport, near = await side.create_connection(side.notes, LOCALHOST, port)
    await asyncio.sleep(0.02)
    server.close()
    again = await side.create_server(side.echo, LOCALHOST, port)
    transport.write(b"ping")
    await until(lambda: near.received)
    other, _ = await side.create_connection(side.notes, LOCALHOST, port)
    return [again.is_serving(), other.is_closing()]


@SERVING.row("factory raises")
async def _(side: Side) -> Any:
    def factory() -> asyncio.Protocol:
        raise LookupError

    _, port = await side.serve(factory)
    near = side.notes()
    await side.create_connection(lambda: near, LOCALHOST, port)
    await settled(near)
    return near.calls


@SERVING.row("factory is no function")
async def _(side: Side) -> Any:
    server = await side.create_server(None, LOCALHOST, 0)
    return server.is_serving()


# --- start_serving=False


@SERVING.row("start_serving False")
async def _(side: Side) -> Any:
    server, port = await side.serve(start_serving=False)
    seen = [server.is_serving(), await attempt(side.create_connection(side.notes, LOCALHOST, port))]
    await server.start_serving()
    await server.start_serving()
    transport, _ = await side.create_connection(side.notes, LOCALHOST, port)
    return [*seen, server.is_serving(), transport.is_closing()]


@SERVING.row("start_serving after close")
async def _(side: Side) -> Any:
    server, _ = await side.serve(start_serving=False)
    server.close()
    return [await attempt(server.start_serving()), server.is_serving()]


@SERVING.row("serve_forever starts to serve")
async def _(side: Side) -> Any:
    server, port = await side.serve(start_serving=False)
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    transport, _ = await side.create_connection(side.notes, LOCALHOST, port)
    seen = [server.is_serving(), transport.is_closing()]
    transport.abort()
    serving.cancel()
    return [*seen, await attempt(serving), server.is_serving(), len(server.sockets)]


# --- the life of a server


@SERVING.row("what a server says of itself")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    seen = [server.is_serving(), len(server.sockets), type(server.sockets).__name__, server.get_loop() is side.loop]
    server.close()
    seen += [server.is_serving(), server.sockets, server.get_loop() is side.loop]
    server.close()
    return [*seen, await attempt(server.wait_closed()), await attempt(server.wait_closed())]


@SERVING.row("wait_closed without close")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    waiting = asyncio.create_task(server.wait_closed())
    await asyncio.sleep(0.02)
    seen = waiting.done()
    server.close()
    return [seen, await attempt(waiting)]


@SERVING.row("wait_closed with a client")
async def _(side: Side) -> Any:
    server, port = await side.serve()
    transport, _ = await side.create_connection(side.notes, LOCALHOST, port)
    await asyncio.sleep(0.02)
    server.close()
    waiting = asyncio.create_task(server.wait_closed())
    await asyncio.sleep(0.02)
    seen = waiting.done()
    transport.close()
    return [seen, await attempt(waiting)]


@SERVING.row("close with a client that goes on")
async def _(side: Side) -> Any:
    server, port = await side.serve()
    transport, near = await side.create_connection(side.notes, LOCALHOST, port)
    await asyncio.sleep(0.02)
    server.close()
    transport.write(b"ping")
    await until(lambda: near.received)
    refused = await attempt(side.create_connection(side.notes, LOCALHOST, port))
    return [near.calls, refused]


@SERVING.row("close in the turn in which a client is told that it is connected", 75)
async def _(side: Side) -> Any:
    server, port = await side.serve()
    transport, near = await side.create_connection(side.notes, LOCALHOST, port)
    await asyncio.sleep(0)
    server.close()
    transport.write(b"ping")
    await settled(near)
    return near.calls


@SERVING.row("close from the handler")
async def _(side: Side) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
        server.close()
        writer.write(await reader.read(4))
        writer.close()

    server = await side.start_server(handler, LOCALHOST, 0)
    reader, writer = await side.open_connection(LOCALHOST, port_of(server))
    writer.write(b"ping")
    seen = await reader.read()
    writer.close()
    return [seen, await attempt(server.wait_closed())]


@SERVING.row("async with")
async def _(side: Side) -> Any:
    server, port = await side.serve()
    async with server as entered:
        seen = [entered is server, server.is_serving()]
        transport, _ = await side.create_connection(side.notes, LOCALHOST, port)
        transport.close()
        await asyncio.sleep(0.05)
    return [*seen, server.is_serving()]


@SERVING.row("async with start_serving False")
async def _(side: Side) -> Any:
    server, _ = await side.serve(start_serving=False)
    async with server:
        seen = server.is_serving()
    return [seen, server.is_serving()]


@SERVING.row("async with, exception")
async def _(side: Side) -> Any:
    server, _ = await side.serve()

    async def failing() -> None:
        async with server:
            raise LookupError

    return [await attempt(failing()), server.is_serving()]


@SERVING.row("serve_forever cancelled")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0.01)
    serving.cancel()
    return [await attempt(serving), server.is_serving(), await attempt(server.wait_closed())]


@SERVING.row("serve_forever cancelled before its first turn")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    serving = asyncio.create_task(server.serve_forever())
    serving.cancel()
    return [await attempt(serving), server.is_serving()]


@SERVING.row("serve_forever cancelled with an idle client")
async def _(side: Side) -> Any:
    server, port = await side.serve()
    serving = asyncio.create_task(server.serve_forever())
    near = side.notes(keep_open=False)
    await side.create_connection(lambda: near, LOCALHOST, port)
    await asyncio.sleep(0.02)
    serving.cancel()
    seen = [await done(serving), near.calls]
    near.transport.close()
    return [*seen, await attempt(serving)]


@SERVING.row("serve_forever twice")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    seen = [await attempt(server.serve_forever()), serving.done()]
    server.close()
    return [*seen, await attempt(serving)]


@SERVING.row("serve_forever after close")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    server.close()
    return await attempt(server.serve_forever())


@SERVING.row("serve_forever again after its end")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    return await attempt(server.serve_forever())


@SERVING.row("close ends serve_forever")
async def _(side: Side) -> Any:
    server, _ = await side.serve()
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    server.close()
    return [await attempt(serving), server.is_serving()]


@SERVING.row("wait_closed cancelled")
async def _(side: Side) -> Any:
    server, port = await side.serve()
    transport, _ = await side.create_connection(side.notes, LOCALHOST, port)
    await asyncio.sleep(0.02)
    server.close()
    waiting = asyncio.create_task(server.wait_closed())
    await asyncio.sleep(0)
    waiting.cancel()
    seen = await attempt(waiting)
    transport.close()
    return [seen, await attempt(server.wait_closed())]


if sys.version_info >= (3, 13):

    def ends(end: Callable[[Any], None]) -> Callable[[Side], Awaitable[Any]]:
        async def program(side: Side) -> Any:
            server, port = await side.serve()
            near = side.notes(keep_open=False)
            await side.create_connection(lambda: near, LOCALHOST, port)
            await asyncio.sleep(0.02)
            end(server)
            await settled(near)
            seen = [near.calls, server.is_serving()]
            server.close()
            end(server)
            return [*seen, await attempt(server.wait_closed())]

        return program

    SERVING.add("close_clients", ends(lambda server: server.close_clients()))
    SERVING.add("abort_clients", ends(lambda server: server.abort_clients()))


# --- start_server


def handled(callback: Any, speak: bool = True) -> Program:
    """What a client sees of a server with this callback."""

    async def program(side: Side) -> Any:
        server = await side.start_server(callback, LOCALHOST, 0)
        near = side.notes()
        transport, _ = await side.create_connection(lambda: near, LOCALHOST, port_of(server))
        if speak:
            transport.write(b"ping")
        await settled(near)
        return [near.received, near.calls]

    return program


async def _raises(reader: asyncio.StreamReader, writer: Any) -> None:
    await reader.read(4)
    raise LookupError


async def _cancelled(reader: asyncio.StreamReader, writer: Any) -> None:
    await reader.read(4)
    raise asyncio.CancelledError


async def _returns(reader: asyncio.StreamReader, writer: Any) -> None:
    await reader.read(4)


async def _closes(reader: asyncio.StreamReader, writer: Any) -> None:
    writer.write(await reader.read(4))
    writer.close()
    await writer.wait_closed()


def _plain_raises(reader: asyncio.StreamReader, writer: Any) -> None:
    raise LookupError


SERVING.add("handler raises", handled(_raises))
SERVING.add("handler is cancelled", handled(_cancelled))
SERVING.add("handler returns without close", handled(_returns))
SERVING.add("handler closes", handled(_closes))
SERVING.add("handler is a function", handled(lambda reader, writer: writer.close(), speak=False))
SERVING.add("handler is a function that raises", handled(_plain_raises, speak=False))


@SERVING.row("start_server refuses what create_server refuses")
async def _(side: Side) -> Any:
    return [
        await attempt(side.start_server(_returns)),
        await attempt(side.start_server(_returns, LOCALHOST, 0, ssl=True)),
        await attempt(side.start_server(_returns, LOCALHOST, 0, ssl_handshake_timeout=1)),
    ]


@SERVING.row("start_server limit 0")
async def _(side: Side) -> Any:
    server = await side.start_server(_closes, LOCALHOST, 0, limit=0)
    near = side.notes()
    await side.create_connection(lambda: near, LOCALHOST, port_of(server))
    await settled(near)
    return near.calls


class _Closing(Notes):
    """Closes at once."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.write(b"bye")
        transport.close()


@SERVING.row("server that writes and closes at once")
async def _(side: Side) -> Any:
    _, port = await side.serve(lambda: side.noted(_Closing()))
    near = side.notes(keep_open=False)
    await side.create_connection(lambda: near, LOCALHOST, port)
    await settled(near)
    return [near.received, near.calls]
