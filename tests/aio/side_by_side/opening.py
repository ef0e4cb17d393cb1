"""Rows: parameters of `create_connection` and `open_connection`."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any, Final

from tests.aio.side_by_side.sides import LOCALHOST, Notes, Side, attempt, until
from tests.aio.side_by_side.table import Program, Table
from tests.certificates import client_context, server_context

OPENING: Final = Table("opening")

PORT: Final = "<port>"
"""Stands for the port of an echo server."""
FREE: Final = "<free port>"
"""Stands for a port on which nobody listens."""


async def with_ports(side: Side, value: Any, port: int | None = None) -> Any:
    """`value` with numbers where PORT and FREE stand."""
    if isinstance(value, tuple):
        return tuple([await with_ports(side, each, port) for each in value])
    return port if value == PORT else await side.free_port() if value == FREE else value


def opens(host: Any = LOCALHOST, port: Any = PORT, **options: Any) -> Program:
    """Connect, and say whether what is written comes back."""

    async def program(side: Side) -> Any:
        near = side.notes()
        number = await side.serve_both()
        filled = {key: await with_ports(side, value, number) for key, value in options.items()}
        transport, protocol = await side.create_connection(
            lambda: near, await with_ports(side, host, number), await with_ports(side, port, number), **filled
        )
        assert protocol is near
        assert transport is near.transport
        transport.write(b"ping")
        await until(lambda: near.received == b"ping")
        return transport.get_extra_info("socket").family.name

    return program


for host, defects in (
    (None, ()),
    ("", ()),
    ("localhost", ()),
    (b"127.0.0.1", ()),
    ("::1", ()),
    ("0.0.0.0", ()),
    ("::", ()),
    ("::ffff:127.0.0.1", (79,)),
    ("127.1", ()),
    ("127.0.0.1 ", ()),
    ("[::1]", ()),
    ("no-such-name.invalid", ()),
    ("a b", ()),
    ("x" * 70, ()),
    ("x..y", ()),
    ("nul\0nul", ()),
    (2130706433, ()),
    (1.5, ()),
    (("127.0.0.1",), ()),
    ("255.255.255.255", ()),
    ("224.0.0.1", ()),
    ("fe80::1", ()),
    ("two-addresses.test", ()),
    ("both-refuse.test", ()),
):
    OPENING.add(f"host {host!r}", opens(host), *defects)

OPENING.add("IPv6 only to a name of both", opens("localhost", family=socket.AF_INET6))

for port, defects in (
    (None, (80,)),
    (0, (80,)),
    ("", ()),
    ("0", ()),
    (-1, ()),
    (65536, ()),
    (1.5, ()),
    (FREE, ()),
    (b"x", ()),
    ("no-such-service", ()),
    ("-1", ()),
    ("65536", ()),
    (" 1", ()),
    ((), ()),
):
    OPENING.add(f"port {port!r}", opens(LOCALHOST, port), *defects)


@OPENING.row("port as text")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    results = []
    for text in (str(port), str(port).encode()):
        transport, _ = await side.create_connection(side.notes, LOCALHOST, text)
        results.append(transport.get_extra_info("peername")[1] == port)
    return results


@OPENING.row("port 0 of a name", 80)
async def _(side: Side) -> Any:
    return await attempt(side.create_connection(side.notes, "localhost", 0))


OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "family IPv6, address IPv4": {"family": socket.AF_INET6},
    "family IPv4, address IPv6": {"host": "::1", "family": socket.AF_INET},
    "family Unix": {"family": socket.AF_UNIX},
    "family 12345": {"family": 12345},
    "family as text": {"family": "4"},
    "proto TCP": {"proto": socket.IPPROTO_TCP},
    "proto UDP": {"proto": socket.IPPROTO_UDP},
    "proto UDP, name": {"host": "localhost", "proto": socket.IPPROTO_UDP},
    "proto 12345": {"proto": 12345},
    "flags numeric host, name": {"host": "localhost", "flags": socket.AI_NUMERICHOST},
    "flags numeric service": {"flags": socket.AI_NUMERICSERV},
    "flags passive, no host": {"host": None, "flags": socket.AI_PASSIVE},
    "flags 1 << 30": {"host": "localhost", "flags": 1 << 30},
    "local host, port 0": {"local_addr": (LOCALHOST, 0)},
    "local host, free port": {"local_addr": (LOCALHOST, FREE)},
    "local host, port of the server": {"local_addr": (LOCALHOST, PORT)},
    "local port None": {"local_addr": (LOCALHOST, None)},
    "local port as text": {"local_addr": (LOCALHOST, "0")},
    "local port -1": {"local_addr": (LOCALHOST, -1)},
    "local port 65536": {"local_addr": (LOCALHOST, 65536)},
    "local host None": {"local_addr": (None, 0)},
    "local host empty": {"local_addr": ("", 0)},
    "local host a name": {"local_addr": ("localhost", 0)},
    "local host unknown": {"local_addr": ("no-such-name.invalid", 0)},
    "local host of the other family": {"local_addr": ("::1", 0)},
    "local host of nobody": {"local_addr": ("203.0.113.1", 0)},
    "local address a list": {"local_addr": [LOCALHOST, 0]},
    "local address of one part": {"local_addr": (LOCALHOST,)},
    "local address of four parts": {"local_addr": ("::1", 0, 0, 0), "host": "::1"},
    "local address empty": {"local_addr": ()},
    "local address an integer": {"local_addr": 1},
    "server_hostname without ssl": {"server_hostname": "localhost"},
    "empty server_hostname without ssl": {"server_hostname": ""},
    "handshake timeout without ssl": {"ssl_handshake_timeout": 1.0},
    "shutdown timeout without ssl": {"ssl_shutdown_timeout": 1.0},
    "handshake timeout 0 without ssl": {"ssl_handshake_timeout": 0},
    "ssl False": {"ssl": False},
    "ssl to a server without": {"ssl": client_context(), "ssl_handshake_timeout": 0.5},
    "ssl as text": {"ssl": "yes"},
    "ssl 1": {"ssl": 1},
    "ssl context of a server": {"ssl": server_context(), "ssl_handshake_timeout": 0.5},
    "ssl handshake timeout 0": {"ssl": client_context(), "ssl_handshake_timeout": 0},
    "ssl handshake timeout -1": {"ssl": client_context(), "ssl_handshake_timeout": -1},
    "ssl shutdown timeout 0": {"ssl": client_context(), "ssl_shutdown_timeout": 0},
    "ssl handshake timeout as text": {"ssl": client_context(), "ssl_handshake_timeout": "1"},
    "ssl, no host": {"host": None, "ssl": client_context()},
    "ssl, empty host": {"host": "", "ssl": client_context()},
    "ssl, empty server_hostname": {"ssl": client_context(), "server_hostname": "", "ssl_handshake_timeout": 10},
    "happy eyeballs 0": {"host": "localhost", "happy_eyeballs_delay": 0},
    "happy eyeballs 0.01": {"host": "two-addresses.test", "happy_eyeballs_delay": 0.01},
    "happy eyeballs 5, first refuses": {"host": "two-addresses.test", "happy_eyeballs_delay": 5.0},
    "happy eyeballs -1": {"host": "localhost", "happy_eyeballs_delay": -1},
    "happy eyeballs, one address": {"happy_eyeballs_delay": 0.01},
    "happy eyeballs, both refuse": {"host": "both-refuse.test", "happy_eyeballs_delay": 0.01},
    "happy eyeballs as text": {"host": "two-addresses.test", "happy_eyeballs_delay": "1"},
    "interleave 0": {"host": "localhost", "interleave": 0},
    "interleave 1": {"host": "localhost", "interleave": 1},
    "interleave 2": {"host": "localhost", "interleave": 2},
    "interleave -1": {"host": "localhost", "interleave": -1},
    "interleave as text": {"host": "localhost", "interleave": "1"},
    "nothing": {"host": None, "port": None},
    "no host, port None, local address": {"host": None, "port": None, "local_addr": (LOCALHOST, 0)},
    "unknown option": {"no_such_option": 1},
}
for name, options in OPTIONS.items():
    OPENING.add(name, opens(**options), *((80,) if name == "local port as text" else ()))

OPENING.add("local address a text", opens(local_addr=LOCALHOST), 80)

if sys.version_info >= (3, 12):  # asyncio of 3.11 has no all_errors
    ERRORS: Final[dict[str, dict[str, Any]]] = {
        "all errors, one address": {"port": FREE},
        "all errors, both refuse": {"host": "both-refuse.test"},
        "all errors, second connects": {"host": "two-addresses.test"},
        "all errors, both refuse at once": {"host": "both-refuse.test", "happy_eyeballs_delay": 0.01},
        "all errors, no local address": {"local_addr": ("203.0.113.1", 0)},
    }
    for name, options in ERRORS.items():
        OPENING.add(name, opens(all_errors=True, **options))


# --- sock=


@OPENING.row("sock connected")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    sock = side.socket()
    sock.connect((LOCALHOST, port))
    local = sock.getsockname()
    near = side.notes()
    transport, _ = await side.create_connection(lambda: near, sock=sock)
    transport.write(b"ping")
    await until(lambda: near.received)
    name = transport.get_extra_info("sockname")
    return [name[0] == local[0], name[1] == local[1], transport.get_extra_info("peername")[1] == port]


@OPENING.row("sock and host")
async def _(side: Side) -> Any:
    with side.socket() as sock:
        return [
            await attempt(side.create_connection(side.notes, LOCALHOST, 1, sock=sock)),
            await attempt(side.create_connection(side.notes, None, 1, sock=sock)),
            await attempt(side.create_connection(side.notes, LOCALHOST, None, sock=sock)),
            sock.fileno() >= 0,
        ]


@OPENING.row("sock of another kind")
async def _(side: Side) -> Any:
    other = {socket.SOCK_STREAM: socket.SOCK_DGRAM, socket.SOCK_DGRAM: socket.SOCK_STREAM}[side.kind]
    with socket.socket(socket.AF_INET, other) as sock:
        return [await attempt(side.create_connection(side.notes, sock=sock)), sock.fileno() >= 0]


@OPENING.row("sock closed")
async def _(side: Side) -> Any:
    sock = side.socket()
    sock.close()
    return await attempt(side.create_connection(side.notes, sock=sock))


@OPENING.row("sock of no type")
async def _(side: Side) -> Any:
    return await attempt(side.create_connection(side.notes, sock="socket"))


@OPENING.row("sock unconnected")
async def _(side: Side) -> Any:
    result = await attempt(side.create_connection(side.notes, sock=side.socket()))
    return result if isinstance(result, str) else "connected"


@OPENING.row("sock with ssl and no server_hostname")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    with side.socket() as sock:
        sock.connect((LOCALHOST, port))
        return await attempt(side.create_connection(side.notes, sock=sock, ssl=client_context()))


@OPENING.row("sock with ssl")
async def _(side: Side) -> Any:
    _, port = await side.serve(ssl=server_context())
    sock = side.socket()
    sock.connect((LOCALHOST, port))
    near = side.notes()
    transport, _ = await side.create_connection(
        lambda: near, sock=sock, ssl=client_context(), server_hostname="localhost"
    )
    transport.write(b"ping")
    await until(lambda: near.received)
    return near.calls


# --- TLS


def opens_tls(*, name: str | None = None, ssl: Any = None, **options: Any) -> Program:
    async def program(side: Side) -> Any:
        _, port = await side.serve(ssl=server_context())
        near = side.notes()
        if name is not None:
            options["server_hostname"] = name
        transport, _ = await side.create_connection(
            lambda: near, LOCALHOST, port, ssl=ssl or client_context(), **options
        )
        transport.write(b"ping")
        await until(lambda: near.received)
        return [near.calls, transport.get_extra_info("peername")[1] == port]

    return program


OPENING.add("ssl", opens_tls())
OPENING.add("ssl, server_hostname", opens_tls(name="localhost"))
OPENING.add("ssl, wrong server_hostname", opens_tls(name="example.org"))
OPENING.add("ssl True, unknown authority", opens_tls(ssl=True))
OPENING.add("ssl, handshake timeout", opens_tls(ssl_handshake_timeout=5.0))
OPENING.add("ssl, server_hostname an integer", opens_tls(name=1))  # type: ignore[arg-type]  # that is the row


@OPENING.row("ssl, server that does not answer")
async def _(side: Side) -> Any:
    _, port = await side.serve(side.notes)
    near = side.notes()
    result = await attempt(
        side.create_connection(lambda: near, LOCALHOST, port, ssl=client_context(), ssl_handshake_timeout=0.1)
    )
    return [result, near.calls]


@OPENING.row("ssl, server that closes")
async def _(side: Side) -> Any:
    class Closing(Notes):
        def connection_made(self, transport: Any) -> None:
            transport.close()

    _, port = await side.serve(lambda: side.noted(Closing()))
    near = side.notes()
    return [await attempt(side.create_connection(lambda: near, LOCALHOST, port, ssl=client_context())), near.calls]


@OPENING.row("ssl, server that resets")
async def _(side: Side) -> Any:
    class Resetting(Notes):
        def data_received(self, data: bytes) -> None:
            side.reset(self.transport)

    _, port = await side.serve(lambda: side.noted(Resetting()))
    near = side.notes()
    return [await attempt(side.create_connection(lambda: near, LOCALHOST, port, ssl=client_context())), near.calls]


@OPENING.row("ssl, server that speaks something else")
async def _(side: Side) -> Any:
    class Greeting(Notes):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"220 mail.example ready\r\n")

    _, port = await side.serve(lambda: side.noted(Greeting()))
    near = side.notes()
    result = await attempt(side.create_connection(lambda: near, LOCALHOST, port, ssl=client_context()))
    return [result.removeprefix(ssl.SSLError.__name__)[:1], near.calls]


# --- the protocol factory


@OPENING.row("factory raises")
async def _(side: Side) -> Any:
    _, port = await side.serve()

    def factory() -> asyncio.Protocol:
        raise LookupError

    return await attempt(side.create_connection(factory, LOCALHOST, port))


@OPENING.row("factory raises, refused")
async def _(side: Side) -> Any:
    return await attempt(side.create_connection(lambda: 1 / 0, LOCALHOST, await side.free_port()))


@OPENING.row("factory is no function")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    return await attempt(side.create_connection(None, LOCALHOST, port))


@OPENING.row("factory returns None")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    transport, protocol = await side.create_connection(lambda: None, LOCALHOST, port)
    await asyncio.sleep(0.02)
    return [protocol, transport.is_closing()]


# --- open_connection


for name, limit in {"limit 0": 0, "limit -1": -1, "limit None": None, "limit as text": "1", "limit 1.5": 1.5}.items():

    async def limited(side: Side, limit: Any = limit) -> Any:
        _, port = await side.serve()
        reader, writer = await side.open_connection(LOCALHOST, port, limit=limit)
        writer.write(b"ping\n")
        return await reader.readexactly(5)

    OPENING.add(f"open_connection {name}", limited)


@OPENING.row("open_connection refused")
async def _(side: Side) -> Any:
    return await attempt(side.open_connection(LOCALHOST, await side.free_port()))


@OPENING.row("open_connection without arguments")
async def _(side: Side) -> Any:
    return await attempt(side.open_connection())


@OPENING.row("open_connection by keyword")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    _, writer = await side.open_connection(host=LOCALHOST, port=port, family=socket.AF_INET)
    return type(writer.get_extra_info("socket").getsockname()).__name__


@OPENING.row("open_connection ssl by keyword")
async def _(side: Side) -> Any:
    _, port = await side.serve(ssl=server_context())
    reader, writer = await side.open_connection(LOCALHOST, port, ssl=client_context(), server_hostname="localhost")
    writer.write(b"ping")
    return await reader.readexactly(4)
