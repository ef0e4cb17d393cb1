"""old-duplicate: a delayed segment of an old connection corrupts the new one, unless 2 MSL have passed."""

import asyncio
from typing import Final

from utcp.aio.endpoint import Endpoint
from utcp.config import Config
from utcp.errors import AddressInUse
from utcp.scenes.scene import Scene
from utcp.scenes.stage import CLIENT_UDP_PORT, SERVER_PORT, Reader, Stage, Writer, close, segment_text
from utcp.tcp.state import CLOSED
from utcp.testing import PASS, Packet, Verdict
from utcp.wire import RST

LATENCY: Final = 0.0005
"""One-way delay, seconds, of a local network. The first connection must end before the clock of initial sequence
numbers (250 ticks per millisecond) has advanced beyond its data."""

RECORDS: Final = 240
SEGMENT: Final = 960
"""Payload of a segment, bytes: sixty records of sixteen."""

STRAY: Final = 3
"""Number of the data segment that the network duplicates."""

SHORT: Final = 0.005
"""Seconds between two phases."""

CONFIG: Final = Config(timestamps=False, mss=SEGMENT)
WITHOUT: Final = Config(timestamps=False, mss=SEGMENT, msl=0)


class Copies:
    """A rule that copies one of the client's data segments. The original passes."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.copy = b""

    def __call__(self, packet: Packet) -> Verdict:
        segment = packet.segment
        if packet.source == "client" and segment is not None and segment.payload:
            self._left -= 1
            if self._left == 0:
                self.copy = packet.data
        return PASS


def records(word: str) -> bytes:
    """Return the data of a connection."""
    return b"".join(b"%s record %04d\n" % (word.encode(), number) for number in range(1, RECORDS + 1))


async def play(stage: Stage) -> None:
    stage.network.link(stage.client, stage.server, latency=LATENCY)
    stage.expect("bytes in a segment", len(records("OLD")) % SEGMENT, 0)
    read: list[bytes] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        read.append(await reader.read())
        await close(writer)

    server = await stage.server_endpoint(serve, WITHOUT)
    client = await stage.client_endpoint(WITHOUT)
    stage.note("first", records=RECORDS)
    began = stage.now
    stray = await _send_old(stage, client)
    ahead = int(stage.now * 250_000) - int(began * 250_000)
    stage.note("again", ahead=ahead)
    _, writer = await stage.open(client)
    await asyncio.sleep(SHORT)
    stage.note("strays")
    _deliver(stage, stray)
    await asyncio.sleep(SHORT)
    arrow = stage.arrows()[-2]
    stage.expect("the copy", segment_text(arrow), f"client ACK {1921 - ahead}:{2881 - ahead} ack {1 - ahead}")
    stage.note("corrupted", first=2 * SEGMENT + 1, last=3 * SEGMENT - ahead)
    await _send_new(stage, writer)
    for endpoint, host in ((client, stage.client), (server, stage.server)):
        await host.run(endpoint.aclose())

    await asyncio.sleep(SHORT)
    server = await stage.server_endpoint(serve, CONFIG)
    client = await stage.client_endpoint(CONFIG)
    stage.note("second", msl=CONFIG.msl)
    stray = await _send_old(stage, client)
    held = 0.0
    try:
        await stage.open(client)
    except AddressInUse as error:
        stage.note("held", seconds=error.seconds)
        held = error.seconds or 0.0
    await asyncio.sleep(SHORT)
    stage.note("harmless")
    _deliver(stage, stray)
    await asyncio.sleep(SHORT)
    stage.expect_segments(stage.arrows()[-2:], "client ACK 1921:2881 ack 1", "server RST 1")
    await stage.until("client", CLOSED)
    stage.expect_time_wait("client", 2 * CONFIG.msl)
    stage.expect("the port was held for what remained of 2 MSL", 2 * CONFIG.msl - 0.1 < held <= 2 * CONFIG.msl, True)
    stage.note("safe")
    _, writer = await stage.open(client)
    await asyncio.sleep(SHORT)
    await _send_new(stage, writer)

    stage.expect("connections", len(read), 4)
    old, new = records("OLD"), records("NEW")
    stage.expect("the first connections' records", [read[0] == old, read[2] == old], [True, True])
    # The copy is of the third segment. It overlaps the new connection's second segment, which arrives in order and
    # takes precedence.
    corrupted = new[: 2 * SEGMENT] + old[2 * SEGMENT + ahead : 3 * SEGMENT] + new[3 * SEGMENT - ahead :]
    stage.expect("bytes were corrupted", corrupted != new, True)
    stage.expect("what was read without 2 MSL is the corrupted stream", read[1] == corrupted, True)
    stage.expect("what was read with 2 MSL is what was sent", read[3] == new, True)
    stage.exhibit("read_without", excerpt(stage, read[1]))
    stage.exhibit("read_with", excerpt(stage, read[3]))
    stage.expect("RSTs", sum(1 for arrow in stage.arrows() if arrow.flags & RST), 1)


async def _send_old(stage: Stage, client: Endpoint) -> bytes:
    """Run the first connection to its end. Return the segment that the network has copied."""
    copies = Copies(STRAY)
    with stage.network.rule(copies):
        _, writer = await stage.open(client)
        writer.write(records("OLD"))
        writer.close()
        await stage.until("server", CLOSED)
    await stage.served()
    return copies.copy


async def _send_new(stage: Stage, writer: Writer) -> None:
    writer.write(records("NEW"))
    writer.close()
    await stage.until("server", CLOSED)
    await stage.served()


def _deliver(stage: Stage, stray: bytes) -> None:
    """Deliver the copy."""
    sender, address = (stage.client.address, CLIENT_UDP_PORT), (stage.server.address, SERVER_PORT)
    stage.network.carry(stage.client, sender, address, stray)


def excerpt(stage: Stage, data: bytes) -> list[str]:
    """Return the lines of `data` around each change of their kind."""
    lines = data.decode().splitlines()
    kinds = [{word for word in ("OLD", "NEW") if word in line} or {"?"} for line in lines]
    edges = {0, len(lines) - 1} | {i for i in range(1, len(lines)) if kinds[i] != kinds[i - 1]}
    shown = sorted({i for edge in edges for i in range(edge - 1, edge + 2) if 0 <= i < len(lines)})
    found, next_line = [], 0
    for i in shown:
        if i > next_line:
            found.append(stage.text("alike", count=i - next_line))
        found.append(lines[i])
        next_line = i + 1
    return found


SCENE: Final = Scene.load("old-duplicate", play)
