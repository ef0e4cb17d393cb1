"""Short connections: opened, used for one echo, closed.

A number of clients work concurrently. Each repeatedly opens a connection, writes 64 octets, reads them back,
half-closes (`write_eof`), reads to the end of the stream, calls `close()` and awaits `wait_closed()`. The server's
handler reads 64 octets, writes them back, reads to the end of the stream, closes and awaits `wait_closed()`.

The clock runs from just before the first client opens its first connection until *both* ends of *every* connection have
returned from `wait_closed()`. The listener, sockets and loops exist before that, but no connection.

connections per second: connections / that time. CPU: processor time of both ends' processes in that time, including
system calls. Kernel TCP does part of its work in interrupts, whose time may be charged to other processes.

segments, system calls, retransmissions: in the same time, for both ends together. Kernel TCP's counts are those of the
whole machine, so they are valid only on an otherwise idle one; its system calls are not counted. QUIC and KCP have no
counters in common with TCP.

aioquic has fewer connections and clients. Its client's `wait_closed()` returns when CONNECTION_CLOSE is sent, its
server's when that has arrived. The closing and draining periods of three probe timeouts each, which correspond to
TIME_WAIT, are outside the clock, as TCP's TIME_WAIT is. The goal against aioquic is processor time per connection,
including the handshake and TLS 1.3.

Every measurement has its own server address in 127.0.0.0/8. Connections that earlier measurements left in TIME_WAIT
therefore never share addresses and ports with a new connection, so that kernel TCP does not run out of ports.
"""

import asyncio
import gc
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from . import command
from .ends import Ends
from .frame import Bench, Case, Figure, Figures, Goal, Option, Trial, Values, aims, figure, ratio, speed
from .stacks import StreamApp

MESSAGE: Final = bytes(range(64))


class Server(StreamApp):
    """Echoes once, then closes after its client."""

    def __init__(self) -> None:
        self._closed = 0
        self._wanted = 0
        self._all_closed = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(MESSAGE)))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        self._closed += 1
        if self._closed == self._wanted:
            self._all_closed.set()

    async def all_closed(self, wanted: int) -> float:
        """Wait until `wanted` connections are closed. Return the time."""
        self._wanted = wanted
        if self._closed < wanted:
            await self._all_closed.wait()
        return perf_counter()


async def _client(ends: Ends, connections: int) -> None:
    for _ in range(connections):
        reader, writer = await ends.connect()
        writer.write(MESSAGE)
        if await reader.readexactly(len(MESSAGE)) != MESSAGE:
            raise OSError("the echo is not what was sent")
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def _run(trial: Trial) -> Figures:
    connections, clients = trial.integer("connections"), trial.integer("at_once")
    each = [connections // clients + (number < connections % clients) for number in range(clients)]
    async with trial.ends(Server, connections=clients) as ends:
        gc.collect()
        before = await ends.usage()
        start = perf_counter()
        await asyncio.gather(*(_client(ends, share) for share in each))
        elapsed = await ends.ask("all_closed", connections) - start
        used = (await ends.usage()).since(before)
    return {
        "connections_per_second": connections / elapsed,
        "cpu_us": 1e6 * used.cpu / connections,
        **used.counts.per(connections, "connection"),
    }


def measure(trial: Trial) -> Figures:
    """Run one trial in this process."""
    return trial.run(_run)


def _cases(values: Values) -> Sequence[Case]:
    few = {"connections": max(1, int(values["connections"]) // 40), "at_once": min(values["at_once"], 20)}
    return [Case(f"{values['at_once']} at a time", values, peers={"aioquic": few, "aiokcp": few})]


def _count(label: str, name: str, limit: float) -> Goal:
    most = aims(limit, limit)
    return Goal(label, figure(name), most, interpreted=most, better="lower", unit="")


BENCH: Final = Bench(
    name="churn",
    title="Open, echo 64 octets, close",
    options=(
        Option("connections", 4000, 40, "connections in each measurement"),
        Option("at_once", 100, 10, "clients that work at the same time"),
    ),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("connections_per_second", "connections per second", better="higher", headline=True),
        Figure("cpu_us", "CPU, µs per connection", better="lower"),
        Figure("segments_per_connection", "segments per connection", 2),
        Figure("system_calls_per_connection", "system calls per connection", 2),
        Figure("retransmissions", "retransmissions"),
    ),
    goals=(
        Goal(
            "opening, echo and closing",
            ratio("connections_per_second"),
            aims(2.2, 3.0, uvloop=(1.6, 2.2)),
            interpreted=aims(1.0, 1.3, uvloop=(0.7, 1.0)),
            speed=True,
        ),
        Goal("processor time of these, against aioquic", speed("cpu_us", other="aioquic"), aims(50, 50), decimals=0),
        _count("segments of one", "segments_per_connection", 7),
        _count("system calls of one", "system_calls_per_connection", 0.4),
    ),
    rounds_in_all=5,
    seconds=3,
)

if __name__ == "__main__":
    command.main("churn")
