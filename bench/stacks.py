"""The TCPs to compare, behind the one API that they share: asyncio's streams, and its protocols.

A `Stack` has two halves, since the two ends may live in two processes: `serve` and `dial`, async context managers on
the running loop and on loopback.
"""

import asyncio
import importlib
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import utcp as utcp_api

BACKLOG = 1024
"""Connections that may wait to be accepted. Whoever opens more at a time must wait for the server now and then: kernel
TCP drops the SYNs of those that find no room, and each costs its client a second."""

Address = tuple[str, int]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ProtocolFactory = Callable[[], asyncio.Protocol]


class StreamApp(ABC):
    """A server's application on streams. What else it has as coroutine methods, the client's side may `ask`."""

    @abstractmethod
    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, from its opening until both ends of it are closed."""


class ProtocolApp(ABC):
    """The same on protocols."""

    @abstractmethod
    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""


App = StreamApp | ProtocolApp


@dataclass(frozen=True, slots=True)
class Setting:
    """What a measurement asks of both ends alike: the loopback address to serve on, and the largest segment's payload
    (None: what loopback's MTU carries)."""

    host: str = "127.0.0.1"
    mss: int | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of one end, or of both. Kernel TCP's are those of the whole machine; None is what nobody counts."""

    segments: int | None
    """Sent, retransmissions included."""
    retransmissions: int | None
    system_calls: int | None
    """To send, to receive, and receives that found nothing; not the loop's own polling."""

    def since(self, before: "Counts") -> "Counts":
        """What was counted between `before` and this."""
        return Counts(
            _sum(self.segments, before.segments, -1),
            _sum(self.retransmissions, before.retransmissions, -1),
            _sum(self.system_calls, before.system_calls, -1),
        )

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            _sum(self.segments, other.segments),
            _sum(self.retransmissions, other.retransmissions),
            _sum(self.system_calls, other.system_calls),
        )

    def per(self, count: float, unit: str) -> dict[str, float | None]:
        """As figures: segments and system calls for each of `count` units, retransmissions in all."""
        return {
            f"segments_per_{unit}": None if self.segments is None else self.segments / count,
            f"system_calls_per_{unit}": None if self.system_calls is None else self.system_calls / count,
            "retransmissions": self.retransmissions,
        }


UNKNOWN: Final = Counts(None, None, None)


@dataclass(frozen=True, slots=True)
class Server:
    """An end that listens."""

    address: Address
    counts: Callable[[], Counts]


@dataclass(frozen=True, slots=True)
class Client:
    """An end that connects, by streams or (None: it cannot) by a protocol."""

    connect: Callable[[], Awaitable[Streams]]
    counts: Callable[[], Counts]
    connect_protocol: Callable[[ProtocolFactory], Awaitable[tuple[asyncio.BaseTransport, object]]] | None = None


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Stack:
    """One TCP, or what stands for one. `serve` raises TypeError for an App whose API it does not have; `missing` says
    why it cannot be measured here, None if it can."""

    serve: Callable[[App, Setting], AbstractAsyncContextManager[Server]]
    dial: Callable[[Address, Setting], AbstractAsyncContextManager[Client]]
    missing: Callable[[], str | None] = _nothing


@asynccontextmanager
async def _kernel_serve(app: App, setting: Setting) -> AsyncIterator[Server]:
    """asyncio's own streams or protocols, over the kernel's TCP."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if setting.mss is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, setting.mss)  # accepted sockets inherit it
    sock.bind((setting.host, 0))
    if isinstance(app, ProtocolApp):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(app.protocol, sock=sock, backlog=BACKLOG)
    else:
        server = await asyncio.start_server(app.handle, sock=sock, backlog=BACKLOG)
    try:
        # The client's end reads the machine's counters, for both.
        yield Server((setting.host, sock.getsockname()[1]), lambda: Counts(0, 0, None))
    finally:
        server.close()  # no wait_closed(): after a failed round it would wait for connections that nobody ends


@asynccontextmanager
async def _kernel_dial(address: Address, setting: Setting) -> AsyncIterator[Client]:
    loop = asyncio.get_running_loop()

    async def connected() -> socket.socket:
        """A connected socket, where asyncio's own calls do not take the option that it needs."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, setting.mss or 0)
            await loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    async def connect() -> Streams:
        if setting.mss is None:
            return await asyncio.open_connection(*address)
        return await asyncio.open_connection(sock=await connected())

    async def connect_protocol(factory: ProtocolFactory) -> tuple[asyncio.BaseTransport, object]:
        if setting.mss is None:
            return await loop.create_connection(factory, *address)
        return await loop.create_connection(factory, sock=await connected())

    yield Client(connect, _kernel_counts, connect_protocol)


def _config(setting: Setting) -> utcp_api.Config | None:
    return None if setting.mss is None else utcp_api.Config(mss=setting.mss)


def _utcp_counts(endpoint: utcp_api.Endpoint) -> Counts:
    stack, link = endpoint.stack.counters, endpoint.link.counters
    return Counts(stack.out_segs, stack.retrans_segs, link.send_calls + link.receive_calls)


@asynccontextmanager
async def _utcp_serve(app: App, setting: Setting) -> AsyncIterator[Server]:
    """utcp's streams or protocols: one endpoint that serves, one that connects."""
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
"""Those that every bench measures."""

PEERS: Final = ("aioquic", "aiokcp")
"""Those that some benches measure besides, if they are installed. `bench.peers.PEERS` has their Stacks by these names;
it is imported only where one of them is measured."""


def find(name: str) -> Stack:
    """The Stack of that name."""
    if name in STACKS:
        return STACKS[name]
    peers: dict[str, Stack] = importlib.import_module(".peers", __package__).PEERS
    return peers[name]


def _kernel_counts() -> Counts:
    try:
        lines = Path("/proc/net/snmp").read_text().splitlines()
    except FileNotFoundError:
        return UNKNOWN
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    tcp = dict(zip(names, values, strict=True))
    retransmissions = int(tcp["RetransSegs"])
    return Counts(int(tcp["OutSegs"]) + retransmissions, retransmissions, None)  # OutSegs leaves retransmissions out


def _sum(one: int | None, other: int | None, sign: int = 1) -> int | None:
    return None if one is None or other is None else one + sign * other
