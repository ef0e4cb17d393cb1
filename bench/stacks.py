"""The two TCPs to compare, behind the one API that both offer: asyncio streams.

Each is an async context manager that serves `handler` and yields the `Ends` of both sides, all on the running loop and
on loopback. Kernel TCP gets what it needs to do its best: a backlog that no burst of `open_many` can fill.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import utcp as utcp_api

HOST = "127.0.0.1"
BACKLOG = 1024
AT_ONCE = 100

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of both ends. Kernel TCP's are those of the whole machine; None is what nobody counts."""

    segments: int | None
    """Sent, retransmissions included."""
    retransmissions: int | None
    system_calls: int | None
    """To send, to receive, and receives that found nothing; not the loop's own polling."""

    def since(self, before: "Counts") -> "Counts":
        """What was counted between `before` and this."""
        return Counts(
            _difference(self.segments, before.segments),
            _difference(self.retransmissions, before.retransmissions),
            _difference(self.system_calls, before.system_calls),
        )


@dataclass(frozen=True, slots=True)
class Ends:
    """A server that listens, and the way to connect to it."""

    connect: Callable[[], Awaitable[Streams]]
    counts: Callable[[], Counts]


@asynccontextmanager
async def kernel_tcp(handler: Handler) -> AsyncIterator[Ends]:
    """asyncio's own streams, over the kernel's TCP."""
    server = await asyncio.start_server(handler, HOST, 0, backlog=BACKLOG)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Ends(partial(asyncio.open_connection, HOST, port), _kernel_counts)
    finally:
        server.close()  # no wait_closed(): after a failed round it would wait for connections that nobody ends


@asynccontextmanager
async def utcp(handler: Handler) -> AsyncIterator[Ends]:
    """utcp's streams: one endpoint that serves, one that connects."""
    async with (
        utcp_api.Endpoint((HOST, 0)) as serving,
        utcp_api.Endpoint((HOST, 0)) as connecting,
    ):
        port = serving.address[1]
        await serving.start_server(handler, port, backlog=BACKLOG)

        def counts() -> Counts:
            stacks = [serving.stack.counters, connecting.stack.counters]
            links = [serving.link.counters, connecting.link.counters]
            return Counts(
                segments=sum(counters.out_segs for counters in stacks),
                retransmissions=sum(counters.retrans_segs for counters in stacks),
                system_calls=sum(counters.send_calls + counters.receive_calls for counters in links),
            )

        yield Ends(partial(connecting.open_connection, HOST, port), counts)


STACKS: dict[str, Callable[[Handler], AbstractAsyncContextManager[Ends]]] = {"utcp": utcp, "kernel_tcp": kernel_tcp}


async def open_many(ends: Ends, count: int) -> list[Streams]:
    """Open `count` connections, at most `AT_ONCE` of them at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def connect() -> Streams:
        async with gate:
            return await ends.connect()

    return await asyncio.gather(*(connect() for _ in range(count)))


def _kernel_counts() -> Counts:
    try:
        lines = Path("/proc/net/snmp").read_text().splitlines()
    except FileNotFoundError:
        return Counts(None, None, None)
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    tcp = dict(zip(names, values, strict=True))
    retransmissions = int(tcp["RetransSegs"])
    return Counts(int(tcp["OutSegs"]) + retransmissions, retransmissions, None)  # OutSegs leaves retransmissions out


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before
