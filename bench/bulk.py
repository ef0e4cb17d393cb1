"""Throughput in one direction, over one connection and over several, with loopback's MTU and with segments of 1400
octets.

Streams: each client writes 256 KiB at a time and awaits `drain()` until the time is over, then half-closes
(`write_eof`). The server's handler reads at most 256 KiB at a time until the end of the stream. Protocols: the client
writes 256 KiB whenever it is not paused (`pause_writing`, `resume_writing`), and the server counts the octets of
`data_received`. With streams, part of the ratio is utcp's StreamReader against asyncio's; protocols exclude that part.

The clock runs from just before the first write until the server has read the last octet and the end of the last stream.
The connections are open before that. MB/s: 10^6 octets read by the server's application / that time.

MSS 1400: for kernel TCP by TCP_MAXSEG on the listening and on the connecting socket before the handshake, for utcp by
`Config(mss=1400)`. Both still use segmentation offload, kernel TCP on loopback (GSO), utcp by UDP_SEGMENT and UDP_GRO.
Loopback's MTU is 65536 octets. Buffers have each stack's default sizes.

CPU: processor time of both ends' processes in the same time. segments, system calls: in the same time, for both ends
together, including acknowledgments. Both stacks count segments after segmentation offload. Kernel TCP's counts are
those of the whole machine, so they are valid only on an otherwise idle one; its system calls are not counted.
"""

import asyncio
import gc
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, cast

from . import command
from .ends import Ends, open_many
from .frame import Aims, Bench, Case, Figure, Figures, Goal, Option, Trial, Values, aims, ratio
from .stacks import App, ProtocolApp, StreamApp

CHUNK: Final = bytes(1 << 18)


class _Totals:
    """Octets received by a server, and the time of the last stream's end."""

    def __init__(self) -> None:
        self._octets = 0
        self._begun = 0
        self._ended = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def _check(self, number: int) -> None:
        if number == self._wanted:
            self._reached.set()

    async def accepted(self, wanted: int) -> None:
        """Wait for `wanted` connections."""
        self._wanted = wanted
        if self._begun < wanted:
            await self._reached.wait()
        self._reached.clear()

    async def ended(self) -> tuple[int, float]:
        """Wait for the end of all of them. Return the octets received and the time."""
        if self._ended < self._wanted:
            await self._reached.wait()
        return self._octets, perf_counter()


class StreamServer(_Totals, StreamApp):
    """Reads to the end and closes."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._begun += 1
        self._check(self._begun)
        while data := await reader.read(len(CHUNK)):
            self._octets += len(data)
        self._ended += 1
        self._check(self._ended)
        writer.close()
        await writer.wait_closed()


class ProtocolServer(_Totals, ProtocolApp):
    """The same with protocols, whose transports close automatically at the end."""

    def protocol(self) -> asyncio.Protocol:
        return _Receiver(self)

    def begun(self) -> None:
        """Count a new connection."""
        self._begun += 1
        self._check(self._begun)

    def received(self, octets: int) -> None:
        """Count received octets."""
        self._octets += octets

    def end(self) -> None:
        """Count an ended connection."""
        self._ended += 1
        self._check(self._ended)


class _Receiver(asyncio.Protocol):
    def __init__(self, server: ProtocolServer) -> None:
        self._server = server

    def connection_made(self, _: asyncio.BaseTransport) -> None:
        self._server.begun()

    def data_received(self, data: bytes) -> None:
        self._server.received(len(data))

    def eof_received(self) -> None:
        self._server.end()


class _Sender(asyncio.Protocol):
    """Writes whenever it is not paused, from `send()` until the time is over."""

    def __init__(self) -> None:
        self._paused = False
        self._until = 0.0
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is not a subclass of it

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self.lost.set_result(None)
        else:
            self.lost.set_exception(error)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write()

    def send(self, until: float) -> None:
        """Start to write: one chunk at least, however late it is."""
        self._until = until
        self._transport.write(CHUNK)
        self._write()

    def _write(self) -> None:
        while not self._paused and perf_counter() < self._until:
            self._transport.write(CHUNK)
        if not self._paused and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()


async def _stream_clients(ends: Ends, connections: int) -> Callable[[float], asyncio.Future[object]]:
    streams = await open_many(ends, connections)

    async def send(writer: asyncio.StreamWriter, until: float) -> None:
        late = False
        while not late:  # one chunk at least
            writer.write(CHUNK)
            await writer.drain()
            late = perf_counter() >= until
        writer.write_eof()

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def all_of_them(until: float) -> None:
        await asyncio.gather(*(send(writer, until) for _, writer in streams))
        await asyncio.gather(*(close(reader, writer) for reader, writer in streams))

    return lambda until: asyncio.ensure_future(all_of_them(until))


async def _protocol_clients(ends: Ends, connections: int) -> Callable[[float], asyncio.Future[object]]:
    connect = ends.client.connect_protocol
    if connect is None:
        raise TypeError("it has no protocols")
    senders: list[_Sender] = []

    def factory() -> _Sender:
        senders.append(_Sender())
        return senders[-1]

    for _ in range(connections):
        await connect(factory)

    async def all_of_them(until: float) -> None:
        for sender in senders:
            sender.send(until)
        await asyncio.gather(*(sender.lost for sender in senders))

    return lambda until: asyncio.ensure_future(all_of_them(until))


async def _run(trial: Trial) -> Figures:
    connections, protocols = trial.integer("connections"), bool(trial.parameters["protocols"])
    mss = trial.integer("mss") or None
    app: Callable[[], App] = ProtocolServer if protocols else StreamServer
    async with trial.ends(app, connections=connections, mss=mss) as ends:
        send = await (_protocol_clients if protocols else _stream_clients)(ends, connections)
        await ends.ask("accepted", connections)
        gc.collect()
        before = await ends.usage()
        start = perf_counter()
        sent = send(start + trial.parameters["seconds"])
        octets, ended = await ends.ask("ended")
        used = (await ends.usage()).since(before)
        await sent
    megabytes = octets / 1e6
    return {
        "mb_per_second": megabytes / (ended - start),
        "cpu_ms": 1e3 * used.cpu / megabytes,
        **used.counts.per(megabytes, "mb"),
    }


def measure(trial: Trial) -> Figures:
    """Run one trial in this process."""
    return trial.run(_run)


ONE, ONE_1400 = "one connection", "one connection, MSS 1400"
PROTOCOLS, PROTOCOLS_1400 = "one connection, protocols", "one connection, protocols, MSS 1400"


def _cases(values: Values) -> Sequence[Case]:
    seconds, many = values["seconds"], values["connections"]
    half = {"seconds": seconds / 2}

    def case(name: str, connections: float, mss: int, *, protocols: bool = False, peers: bool = False) -> Case:
        parameters = {"seconds": seconds, "connections": connections, "mss": mss, "protocols": protocols}
        return Case(name, parameters, peers={"aioquic": half, "aiokcp": half} if peers else {})

    return [
        case(ONE, 1, 0, peers=True),
        case(f"{many} connections", many, 0),
        case(PROTOCOLS, 1, 0, protocols=True),
        case(ONE_1400, 1, 1400),
        case(f"{many} connections, MSS 1400", many, 1400),
        case(PROTOCOLS_1400, 1, 1400, protocols=True),
    ]


def _speed(label: str, case: str, compiled: Aims) -> Goal:
    return Goal(label, ratio("mb_per_second", case), compiled, speed=True)


BENCH: Final = Bench(
    name="bulk",
    title="Bulk transfer",
    options=(
        Option("seconds", 1.0, 0.1, "how long each measurement sends"),
        Option("connections", 10, 3, "how many are several"),
    ),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("mb_per_second", "MB/s", better="higher", headline=True),
        Figure("cpu_ms", "CPU, ms per MB", 2, better="lower"),
        Figure("segments_per_mb", "segments per MB", 1),
        Figure("system_calls_per_mb", "system calls per MB", 1),
        Figure("retransmissions", "retransmissions"),
    ),
    goals=(
        _speed("bulk through streams (loopback's MTU)", ONE, aims(1.5, 2.0, uvloop=(1.2, 1.5))),
        _speed("bulk through streams (MSS 1400)", ONE_1400, aims(1.0, 1.3, uvloop=(0.9, 1.2))),
        _speed("bulk through protocols (loopback's MTU)", PROTOCOLS, aims(0.6, 1.0, uvloop=(0.5, 0.9))),
        _speed("bulk through protocols (MSS 1400)", PROTOCOLS_1400, aims(0.4, 0.8, uvloop=(0.35, 0.7))),
        Goal("bulk against aioquic", ratio("mb_per_second", ONE, other="aioquic"), aims(50, 50), decimals=0),
    ),
    seconds=16,
)

if __name__ == "__main__":
    command.main("bulk")
