"""How fast many connections open, and how fast they close together.

N connections are opened over loopback, at most 100 at a time, in waves of 500. The next wave starts after the server's
handlers have started for all connections of the last. Otherwise, kernel TCP's accept queue overflows on uvloop, which
accepts one connection per turn of the loop, and each dropped SYN costs a second. Then every client calls
`writer.close()` in the same turn of the loop and awaits `writer.wait_closed()`; the server's handler waits for the end
of the stream and does the same.

closes per second: N / the time from just before the first close until *both* ends of *every* connection have returned
from `wait_closed()`. One close is the end of one connection at both ends.

opens per second: N / the time from just before the first `open_connection` until all of them have returned and the
server's handlers of all N have started. Retransmissions while opening show whether SYNs were dropped nevertheless.

close: for each client, the time from its `close()` until its `wait_closed()` has returned. It has different meanings
for the two stacks. utcp: the peer has acknowledged the FIN. Kernel TCP: asyncio has closed its socket, and the kernel
may still have to deliver the FIN.

both ends: for each connection, the time from the client's `close()` until the server's `wait_closed()` has returned. It
has the same meaning for both stacks, because the server closes only after the client's FIN.

peak memory: the highest resident memory of the processes in the whole round, including opening, in excess of that
before the server's start. It contains streams, tasks and, for utcp, the whole TCP. Kernel memory belongs to no process
and is not counted for either stack: two sockets for each connection with kernel TCP, two in total with utcp.

segments, system calls, retransmissions: from the first close to the last, for both ends together. Kernel TCP's counts
are those of the whole machine, so they are valid only on an otherwise idle one; its system calls are not counted.

Every measurement has its own server address in 127.0.0.0/8. Connections that earlier measurements left in TIME_WAIT
therefore never share addresses and ports with a new connection, so that kernel TCP does not run out of ports.
"""

import asyncio
import gc
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from . import command
from .ends import open_many
from .frame import Bench, Case, Figure, Figures, Goal, Option, Trial, Values, aims, percentile, ratio
from .stacks import StreamApp, Streams

WAVE: Final = 500


class Server(StreamApp):
    """Reads to the end, then closes."""

    def __init__(self) -> None:
        self._begun = 0
        self._closed: dict[int, float] = {}  # time of this end's close, by the client's port
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
        """Wait until `wanted` connections have been accepted. Return the time."""
        self._wanted = wanted
        if self._begun < wanted:
            await self._reached.wait()
        self._reached.clear()
        return perf_counter()

    async def closed(self) -> dict[int, float]:
        """Wait until all of them are closed. Return the time of each, by the client's port."""
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

        gc.collect()  # so that closing does not include the garbage of opening
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
    """Run one trial in this process."""
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
        Goal(
            "closing many connections together",
            ratio("closes_per_second"),
            aims(2.0, 3.0),
            interpreted=aims(1.0, 1.3, uvloop=(0.7, 1.0)),
            speed=True,
        ),
        Goal("opening them", ratio("opens_per_second"), aims(3.0, 4.0, uvloop=(1.3, 2.0)), speed=True),
    ),
    seconds=6,
)

if __name__ == "__main__":
    command.main("closes")
