"""The response time of a request: 64 octets each way on an open connection, alone and beside other load.

One client writes 64 octets and reads 64 octets, repeatedly, for the given time; the server's handler reads 64 octets
and writes them back. The first hundredth of the time is a warm-up and is not counted.

Response time: from just before `write()` until `readexactly()` has returned. p50, p99, p99.9: nearest rank over all
responses, with at least 100 responses for p99 and 1000 for p99.9. requests per second: those of the measured
connection.

idle: there is no other load on either loop. Beside others: the given number of other connections do the same, each as
fast as possible. The response time then consists mostly of the work for all others, so it shows the capacity of the
stack. Beside a transfer: another connection sends 256 KiB at a time, with `drain()`, to a handler that reads. The table
has its throughput as well, because a stack that transfers less answers sooner.
"""

import asyncio
import gc
from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import Final

from . import command
from .ends import Ends, open_many
from .frame import Bench, Case, Figure, Figures, Goal, Option, Trial, Values, aims, percentile, speed
from .stacks import StreamApp, Streams

MESSAGE: Final = bytes(range(64))
CHUNK: Final = bytes(1 << 18)

ECHO: Final = b"e"
SINK: Final = b"s"
"""The first octet on a connection selects the server's behaviour."""


class Server(StreamApp):
    """Echoes, or only reads."""

    def __init__(self) -> None:
        self._sunk = 0
        self._open = 0
        self._none_open = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if await reader.readexactly(1) == ECHO:
                while True:
                    writer.write(await reader.readexactly(len(MESSAGE)))
            while data := await reader.read(len(CHUNK)):
                self._sunk += len(data)
        except asyncio.IncompleteReadError:
            pass  # the client has finished
        finally:
            writer.close()
            await writer.wait_closed()
            self._open -= 1
            if not self._open:
                self._none_open.set()

    async def all_closed(self) -> None:
        """Wait until the last connection is closed."""
        await self._none_open.wait()

    async def sunk(self) -> int:
        """Return the octets that were only read."""
        return self._sunk


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float) -> list[float]:
    """Return the times of all requests until then, seconds: one at least, however late it is."""
    times: list[float] = []
    ended = 0.0
    while not times or ended < until:
        began = perf_counter()
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))
        ended = perf_counter()
        times.append(ended - began)
    return times


async def _transfer(writer: asyncio.StreamWriter, until: float) -> None:
    while perf_counter() < until:
        writer.write(CHUNK)
        await writer.drain()


async def _begin(ends: Ends, count: int, what: bytes) -> list[Streams]:
    streams = await open_many(ends, count)
    for _, writer in streams:
        writer.write(what)
    return streams


async def _run(trial: Trial) -> Figures:
    seconds, others, transfers = (
        trial.parameters["seconds"],
        trial.integer("others"),
        trial.integer("transfers"),
    )
    async with trial.ends(Server, connections=1 + others + transfers) as ends:
        (asking,) = await _begin(ends, 1, ECHO)
        beside = await _begin(ends, others, ECHO)
        sending = await _begin(ends, transfers, SINK)
        warm = perf_counter() + seconds / 100
        until = warm + seconds
        load: list[Awaitable[object]] = [_ask(*streams, until) for streams in beside]
        load += [_transfer(writer, until) for _, writer in sending]
        running = asyncio.gather(*load)
        await _ask(*asking, warm)
        gc.collect()
        sunk, before, start = await ends.ask("sunk"), await ends.usage(), perf_counter()
        times = await _ask(*asking, until)
        elapsed = perf_counter() - start
        used = (await ends.usage()).since(before)
        transferred = await ends.ask("sunk") - sunk
        await running
        for _, writer in (asking, *beside, *sending):
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in (asking, *beside, *sending)))
        await ends.ask("all_closed")
    counts = used.counts.per(len(times), "request")
    return {
        "us_p50": 1e6 * percentile(times, 50),
        "us_p99": 1e6 * percentile(times, 99) if len(times) >= 100 else None,
        "us_p999": 1e6 * percentile(times, 99.9) if len(times) >= 1000 else None,
        "requests_per_second": len(times) / elapsed,
        "transfer_mb_per_second": transferred / 1e6 / elapsed if transfers else None,
        "segments_per_request": None if others or transfers else counts["segments_per_request"],
        "system_calls_per_request": None if others or transfers else counts["system_calls_per_request"],
    }


def measure(trial: Trial) -> Figures:
    """Run one trial in this process."""
    return trial.run(_run)


IDLE: Final = "idle"


def _beside(others: float) -> str:
    return f"beside {others} others"


def _cases(values: Values) -> Sequence[Case]:
    seconds, others = values["seconds"], values["others"]
    half = {"seconds": seconds / 2}
    return [
        Case(IDLE, {"seconds": seconds, "others": 0, "transfers": 0}, peers={"aioquic": half, "aiokcp": half}),
        Case(_beside(others), {"seconds": seconds, "others": others, "transfers": 0}),
        Case("beside a transfer", {"seconds": seconds, "others": 0, "transfers": 1}),
    ]


BENCH: Final = Bench(
    name="latency",
    title="Request and response",
    options=(
        Option("seconds", 1.0, 0.2, "how long each measurement asks"),
        Option("others", 100, 5, "connections beside it in the loaded case"),
    ),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("us_p50", "µs p50", 1, better="lower", headline=True),
        Figure("us_p99", "µs p99", 1, better="lower", headline=True),
        Figure("us_p999", "µs p99.9", 1, better="lower"),
        Figure("requests_per_second", "requests per second"),
        Figure("transfer_mb_per_second", "the transfer's MB/s", 1, better="higher"),
        Figure("segments_per_request", "segments per request", 2),
        Figure("system_calls_per_request", "system calls per request", 2),
    ),
    goals=(
        Goal("a request alone (p50)", speed("us_p50", IDLE), aims(0.6, 0.9, uvloop=(0.45, 0.7)), speed=True),
        Goal(
            "a request beside 100 others (p50)",
            speed("us_p50", _beside(100)),
            aims(1.7, 2.5, uvloop=(1.3, 1.8)),
            speed=True,
        ),
    ),
    seconds=8,
)

if __name__ == "__main__":
    command.main("latency")
