"""How fast many connections open, and how fast they close together.

N connections are opened over loopback, at most 100 at a time, in waves of 500: the next wave begins when the server's
handlers have begun for the last. Otherwise kernel TCP's queue of connections to accept overflows on uvloop, which
accepts one in a turn of the loop, and each SYN that is dropped then costs a second. Then every client calls
`writer.close()` in the same turn of the loop and awaits `writer.wait_closed()`; the server's handler waits for the end
of the stream and does the same.

closes per second: N / the time from just before the first close until *both* ends of *every* connection have returned
from `wait_closed()`. One close is one connection ended, both of its ends.

opens per second: N / the time from just before the first `open_connection` until all of them have returned and the
server's handlers of all N have begun. Retransmissions while opening show whether SYNs were dropped after all.

close: for each client, from its `close()` until its `wait_closed()` has returned. The two stacks do not promise the
same by then. utcp: the peer has acknowledged our FIN. Kernel TCP: asyncio has closed its socket; the FIN, and whatever
becomes of it, is left to the kernel.

both ends: for each connection, from the client's `close()` until the server's `wait_closed()` has returned. It means
the same for both stacks, since only the client's FIN tells the server of the close.

peak memory: the highest resident memory of the processes in the whole round, opening included, above what they had
before the server started. It holds streams, tasks and, for utcp, the whole TCP. What the kernel keeps is in no
process's memory and counted for neither: for kernel TCP that is two sockets for each connection, for utcp two in all.

segments, system calls, retransmissions: from the first close to the last, both ends together. Kernel TCP's are those of
the whole machine, so they hold for an otherwise idle one; nobody counts its system calls.

Every measurement has a server address of its own in 127.0.0.0/8: what earlier ones left in TIME_WAIT never has the
addresses and ports of a new connection, so kernel TCP is never short of ports.
"""

import asyncio
import gc
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from . import command
from .ends import open_many
from .frame import Bench, Case, Figure, Figures, Goal, Option, Trial, Values, percentile, ratio
from .stacks import StreamApp, Streams

WAVE: Final = 500


class Server(StreamApp):
    """Reads to the end, then closes."""

    def __init__(self) -> None:
        self._begun = 0
        self._closed: dict[int, float] = {}  # by the client's port: when this end had closed
        self._wanted = 0
        self._reached = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        self._begun += 1
        if self._begun == self._wanted:
            self._reached.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        self._closed[port] = perf_counter()
        if len(self._closed) == self._wanted:
            self._reached.set()

    async def accepted(self, wanted: int) -> float:
        """Wait until `wanted` connections have been accepted: the time by then."""
        self._wanted = wanted
        if self._begun < wanted:
            await self._reached.wait()
        self._reached.clear()
        return perf_counter()

    async def closed(self) -> dict[int, float]:
        """Wait until all of them are closed: when each was, by the client's port."""
        if len(self._closed) < self._wanted:
            await self._reached.wait()
        return self._closed


async def _run(trial: Trial) -> Figures:
    connections = trial.integer("connections")

    async def close(writer: asyncio.StreamWriter) -> tuple[int, float, float]:
        port = writer.get_extra_info("sockname")[1]
        began = perf_counter()
        writer.close()
        await writer.wait_closed()
        return port, began, perf_counter()

    async with trial.ends(Server, connections=connections) as ends:
        before_opening = await ends.usage()
        start = perf_counter()
        streams: list[Streams] = []
        while len(streams) < connections:
            streams += await open_many(ends, min(WAVE, connections - len(streams)))
            accepted: float = await ends.ask("accepted", len(streams))
        opened = accepted - start

        gc.collect()  # what opening left behind is not closing's to pay for
        before = await ends.usage()
        opening = before.since(before_opening)
        start = perf_counter()
        clients = await asyncio.gather(*(close(writer) for _, writer in streams))
        server_closed: dict[int, float] = await ends.ask("closed")
        elapsed = max(*server_closed.values(), *(ended for _, _, ended in clients)) - start
        usage = await ends.usage()
    used = usage.since(before)

    close_times = [1000 * (ended - began) for _, began, ended in clients]
    both_times = [1000 * (server_closed[port] - began) for port, began, _ in clients]
    return {
        "closes_per_second": connections / elapsed,
        "opens_per_second": connections / opened,
        "close_ms_p50": percentile(close_times, 50),
        "close_ms_p99": percentile(close_times, 99),
        "both_ends_ms_p50": percentile(both_times, 50),
        "both_ends_ms_p99": percentile(both_times, 99),
        "cpu_us": 1e6 * used.cpu / connections,
        "opening_cpu_us": 1e6 * opening.cpu / connections,
        "opening_retransmissions": opening.counts.retransmissions,
        "peak_memory_mb": None if usage.peak_memory is None else usage.peak_memory / 1e6,
        **used.counts.per(connections, "connection"),
    }


def measure(trial: Trial) -> Figures:
    """One trial, in this process."""
    return trial.run(_run)


def _cases(values: Values) -> Sequence[Case]:
    return [Case(f"{values['connections']:,} connections", values)]


BENCH: Final = Bench(
    name="closes",
    title="Many connections open, and close together",
    options=(Option("connections", 8000, 50, "connections that are open at the same time"),),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("closes_per_second", "closes per second", better="higher", headline=True),
        Figure("opens_per_second", "opens per second", better="higher", headline=True),
        Figure("close_ms_p50", "close, ms p50", 1),
        Figure("close_ms_p99", "close, ms p99", 1),
        Figure("both_ends_ms_p50", "both ends, ms p50", 1),
        Figure("both_ends_ms_p99", "both ends, ms p99", 1),
        Figure("cpu_us", "CPU, µs per close", better="lower"),
        Figure("opening_cpu_us", "CPU, µs per opening", better="lower"),
        Figure("opening_retransmissions", "retransmissions while opening"),
        Figure("peak_memory_mb", "peak memory, MB", 1, better="lower"),
        Figure("segments_per_connection", "segments per close", 2),
        Figure("system_calls_per_connection", "system calls per close", 2),
        Figure("retransmissions", "retransmissions"),
    ),
    goals=(
        Goal("close storm", 3.0, 1.5, ratio("closes_per_second")),
        Goal("opening as many", 4.0, 2.0, ratio("opens_per_second")),
    ),
)

if __name__ == "__main__":
    command.main("closes")
