"""The TCPs to compare, behind their common API: asyncio's streams and protocols.

A `Stack` has two halves, because the two ends may be in two processes: `serve` and `dial`, async context managers on
the running loop and on loopback.
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import utcp as utcp_api

BACKLOG = 1024
"""Maximum number of connections waiting to be accepted. A client that opens more at a time must wait for the server,
because kernel TCP drops SYNs beyond the limit, and each costs a second."""

Address = tuple[str, int]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ProtocolFactory = Callable[[], asyncio.Protocol]


class StreamApp(ABC):
    """A server's application on streams. The client's side can call its other coroutine methods by `ask`."""

    @abstractmethod
    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, from its opening until both ends of it are closed."""


class ProtocolApp(ABC):
    """A server's application on protocols."""

    @abstractmethod
    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""


App = StreamApp | ProtocolApp


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings of both ends: the server's address, the MSS, octets (None: from the interface's MTU), and the congestion
    controller (None: the stack's default)."""

    host: str = "127.0.0.1"
    mss: int | None = None
    congestion_control: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of one end or of both. Kernel TCP's are those of the whole machine; None: not counted."""

    segments: int | None
    """Segments sent, including retransmissions."""
    retransmissions: int | None
    system_calls: int | None
    """Calls to send and to receive, including receives without data, but not the loop's own polling."""

    def since(self, before: "Counts") -> "Counts":
        """Return the counts between `before` and this."""
        return Counts(
            _sum(self.segments, before.segments, -1),
            _sum(self.retransmissions, before.retransmissions, -1),
            _sum(self.system_calls, before.system_calls, -1),
        )

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum of both."""
        return Counts(
            _sum(self.segments, other.segments),
            _sum(self.retransmissions, other.retransmissions),
            _sum(self.system_calls, other.system_calls),
        )

    def per(self, count: float, unit: str) -> dict[str, float | None]:
        """Return the counts as figures: segments and system calls per unit, and total retransmissions."""
        return {
            f"segments_per_{unit}": None if self.segments is None else self.segments / count,
            f"system_calls_per_{unit}": None if self.system_calls is None else self.system_calls / count,
            "retransmissions": self.retransmissions,
        }


UNKNOWN: Final = Counts(None, None, None)


@dataclass(frozen=True, slots=True)
class Server:
    """A listening end."""

    address: Address
    counts: Callable[[], Counts]


@dataclass(frozen=True, slots=True)
class Client:
    """A connecting end, with streams and, unless None, protocols."""

    connect: Callable[[], Awaitable[Streams]]
    counts: Callable[[], Counts]
    connect_protocol: Callable[[ProtocolFactory], Awaitable[tuple[asyncio.BaseTransport, object]]] | None = None


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Stack:
    """One TCP or a substitute. `serve` raises TypeError for an App whose API it does not have. `missing` returns why it
    cannot be measured here, or None."""

    serve: Callable[[App, Setting], AbstractAsyncContextManager[Server]]
    dial: Callable[[Address, Setting], AbstractAsyncContextManager[Client]]
    missing: Callable[[], str | None] = _nothing


@asynccontextmanager
async def _kernel_serve(app: App, setting: Setting) -> AsyncIterator[Server]:
    """Serve with asyncio's own streams or protocols, over the kernel's TCP."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _apply(setting, sock)  # accepted sockets inherit the options
    sock.bind((setting.host, 0))
    if isinstance(app, ProtocolApp):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(app.protocol, sock=sock, backlog=BACKLOG)
    else:
        server = await asyncio.start_server(app.handle, sock=sock, backlog=BACKLOG)
    try:
        # The client's end reads the machine's counters for both.
        yield Server((setting.host, sock.getsockname()[1]), lambda: Counts(0, 0, None))
    finally:
        server.close()  # without wait_closed(), which after a failed round would wait for connections that never end


@asynccontextmanager
async def _kernel_dial(address: Address, setting: Setting) -> AsyncIterator[Client]:
    loop = asyncio.get_running_loop()

    async def connected() -> socket.socket:
        """Return a connected socket, because asyncio's own calls do not accept the required option."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            _apply(setting, sock)
            await loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    has_options = setting.mss is not None or setting.congestion_control is not None

    async def connect() -> Streams:
        if not has_options:
            return await asyncio.open_connection(*address)
        return await asyncio.open_connection(sock=await connected())

    async def connect_protocol(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, object]:
        if not has_options:
            return await loop.create_connection(factory, *address)
        return await loop.create_connection(factory, sock=await connected())

    yield Client(connect, kernel_counts, connect_protocol)


def _apply(setting: Setting, sock: socket.socket) -> None:
    """Set the options of a kernel TCP socket."""
    if setting.mss is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, setting.mss)
    if setting.congestion_control is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, setting.congestion_control.encode())


def _config(setting: Setting) -> utcp_api.Config:
    config = utcp_api.Config(mss=setting.mss)
    controller = setting.congestion_control
    return config if controller is None else replace(config, congestion_control=controller)


def _utcp_counts(endpoint: utcp_api.Endpoint) -> Counts:
    stack, link = endpoint.stack.counters, endpoint.link.counters
    return Counts(stack.out_segs, stack.retrans_segs, link.send_calls + link.receive_calls)


@asynccontextmanager
async def _utcp_serve(app: App, setting: Setting) -> AsyncIterator[Server]:
    """Serve with utcp's streams or protocols, on an endpoint of its own."""
    async with utcp_api.Endpoint((setting.host, 0), config=_config(setting)) as endpoint:
        port = endpoint.address[1]
        if isinstance(app, ProtocolApp):
            await endpoint.create_server(app.protocol, port, backlog=BACKLOG)
        else:
            await endpoint.start_server(app.handle, port, backlog=BACKLOG)
        yield Server((setting.host, port), partial(_utcp_counts, endpoint))


@asynccontextmanager
async def _utcp_dial(address: Address, setting: Setting) -> AsyncIterator[Client]:
    async with utcp_api.Endpoint((setting.host, 0), config=_config(setting)) as endpoint:
        yield Client(
            partial(endpoint.open_connection, *address),
            partial(_utcp_counts, endpoint),
            lambda factory: endpoint.create_connection(factory, *address),
        )


STACKS: Final = {"utcp": Stack(_utcp_serve, _utcp_dial), "kernel_tcp": Stack(_kernel_serve, _kernel_dial)}
"""The stacks that every bench measures."""


def kernel_counts() -> Counts:
    """Return the totals of this network namespace; UNKNOWN without /proc."""
    try:
        lines = Path("/proc/net/snmp").read_text().splitlines()
    except FileNotFoundError:
        return UNKNOWN
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    tcp = dict(zip(names, values, strict=True))
    retransmissions = int(tcp["RetransSegs"])
    return Counts(int(tcp["OutSegs"]) + retransmissions, retransmissions, None)  # OutSegs excludes retransmissions


def _sum(one: int | None, other: int | None, sign: int = 1) -> int | None:
    return None if one is None or other is None else one + sign * other
