"""old-duplicate: a stray segment of an old connection corrupts the new one, unless 2 MSL lie between them."""

import asyncio
from typing import Final

from utcp.aio.endpoint import Endpoint
from utcp.config import Config
from utcp.errors import AddressInUse
from utcp.scenes.scene import Scene
from utcp.scenes.stage import CLIENT_UDP_PORT, SERVER_PORT, Reader, Stage, Writer, told
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED
from utcp.testing import PASS, Packet, Verdict
from utcp.wire import RST

LATENCY: Final = 0.0005
"""Seconds: a local network. The first connection has to be over before the clock of initial sequence numbers, 250 ticks
a millisecond, has passed all that it sent."""

RECORDS: Final = 240
SEGMENT: Final = 960
"""Octets: sixty records of sixteen."""

STRAY: Final = 3
"""Which segment with data the network doubles."""

SHORT: Final = 0.005
"""Seconds between two phases."""

CONFIG: Final = Config(timestamps=False, mss=SEGMENT)
WITHOUT: Final = Config(timestamps=False, mss=SEGMENT, msl=0)

FIRST: Final = Text(
    "WITHOUT 2 MSL (msl=0). The client sends {records} records and closes. The network keeps a copy of one segment.",
    "没有 2 MSL（msl=0）：客户端发送 {records} 条记录后关闭。网络中滞留了其中一个报文段的副本。",
)
AGAIN: Final = Text(
    "No TIME_WAIT: at once a new connection on the same ports. Its numbers begin only {ahead} above the old ones.",
    "没有 TIME_WAIT：同一对端口上立刻建立新连接。它的初始序号只比旧连接大 {ahead}。",
)
STRAYS: Final = Text(
    "The copy arrives. Counted in the new numbers it lies inside the window, and that its ACK is an old one is no"
    " reason to refuse it: the server keeps it.",
    "滞留的副本到达。按新连接的序号计算，它正好落在接收窗口之内；ACK 号虽旧，也不成为拒收的理由：服务器收下了它。",
)
CORRUPTED: Final = Text(
    "The client's own records follow. Octets {first} to {last} the server has from the copy, and drops the right ones.",
    "随后到达的是客户端自己的记录。第 {first} 至 {last} 字节服务器已从副本中得到，反而丢弃了正确的数据。",
)
SECOND: Final = Text(
    "WITH 2 MSL (msl={msl:g}): the same from the beginning.",
    "有 2 MSL（msl={msl:g}）：一切从头再来一遍。",
)
HELD: Final = Text(
    "A new connection from this port? TIME_WAIT holds it: AddressInUse, for another {seconds:.1f} s.",
    "想用这个端口建立新连接？TIME_WAIT 占着它：AddressInUse，还要等 {seconds:.1f} 秒。",
)
HARMLESS: Final = Text(
    "The copy finds no connection at the server: RST. It has an old number, and TIME_WAIT takes no notice.",
    "副本到达服务器，那里已没有连接，于是回以 RST。这个 RST 的序号已经过时，TIME_WAIT 置之不理。",
)
SAFE: Final = Text(
    "2 MSL are over. No segment lives that long: the new connection has the ports to itself.",
    "2 MSL 已过，没有哪个报文段能活这么久：这对端口现在完全属于新连接。",
)

READ_WITHOUT: Final = Text(
    "What the second connection's server read, without 2 MSL", "没有 2 MSL 时，服务器从第二条连接读到的内容"
)
READ_WITH: Final = Text("What it read with 2 MSL", "有 2 MSL 时读到的内容")
ALIKE: Final = Text("    ... {count} lines like these", "    …… 类似的 {count} 行")


class Copies:
    """A rule that copies one of the client's segments with data. The original goes its way."""

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
    """What a connection carries."""
    return b"".join(b"%s record %04d\n" % (word.encode(), number) for number in range(1, RECORDS + 1))


async def play(stage: Stage) -> None:
    stage.network.link(stage.client, stage.server, latency=LATENCY)
    stage.expect("octets in a segment", len(records("OLD")) % SEGMENT, 0)
    read: list[bytes] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        read.append(await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await stage.server_endpoint(serve, WITHOUT)
    client = await stage.client_endpoint(WITHOUT)
    stage.note(FIRST.format(records=RECORDS))
    began = stage.now
    stray = await _send_old(stage, client)
    ahead = int(stage.now * 250_000) - int(began * 250_000)
    stage.note(AGAIN.format(ahead=ahead))
    _, writer = await stage.open(client)
    await asyncio.sleep(SHORT)
    stage.note(STRAYS)
    _deliver(stage, stray)
    await asyncio.sleep(SHORT)
    arrow = stage.arrows()[-2]
    stage.expect("the copy", told(arrow), f"client ACK {1921 - ahead}:{2881 - ahead} ack {1 - ahead}")
    stage.note(CORRUPTED.format(first=2 * SEGMENT + 1, last=3 * SEGMENT - ahead))
    await _send_new(stage, writer)
    for endpoint, host in ((client, stage.client), (server, stage.server)):
        await host.run(endpoint.aclose())

    await asyncio.sleep(SHORT)
    server = await stage.server_endpoint(serve, CONFIG)
    client = await stage.client_endpoint(CONFIG)
    stage.note(SECOND.format(msl=CONFIG.msl))
    stray = await _send_old(stage, client)
    try:
        await stage.open(client)
    except AddressInUse as error:
        stage.note(HELD.format(seconds=error.seconds))
        held = error.seconds or 0.0
    await asyncio.sleep(SHORT)
    stage.note(HARMLESS)
    _deliver(stage, stray)
    await asyncio.sleep(SHORT)
    stage.expect_segments(stage.arrows()[-2:], "client ACK 1921:2881 ack 1", "server RST 1")
    await stage.until("client", CLOSED)
    stage.expect_time_wait("client", 2 * CONFIG.msl)
    stage.expect("the port was held for what remained of 2 MSL", 2 * CONFIG.msl - 0.1 < held <= 2 * CONFIG.msl, True)
    stage.note(SAFE)
    _, writer = await stage.open(client)
    await asyncio.sleep(SHORT)
    await _send_new(stage, writer)

    stage.expect("connections", len(read), 4)
    old, new = records("OLD"), records("NEW")
    stage.expect("the first connections' records", [read[0] == old, read[2] == old], [True, True])
    # The copy is of the third segment, and overlaps the second of the new connection, which comes in order and counts.
    corrupted = new[: 2 * SEGMENT] + old[2 * SEGMENT + ahead : 3 * SEGMENT] + new[3 * SEGMENT - ahead :]
    stage.expect("octets were corrupted", corrupted != new, True)
    stage.expect("what was read without 2 MSL is the corrupted stream", read[1] == corrupted, True)
    stage.expect("what was read with 2 MSL is what was sent", read[3] == new, True)
    stage.exhibit(READ_WITHOUT, excerpt(stage, read[1]))
    stage.exhibit(READ_WITH, excerpt(stage, read[3]))
    stage.expect("RSTs", sum(1 for arrow in stage.arrows() if arrow.flags & RST), 1)


async def _send_old(stage: Stage, client: Endpoint) -> bytes:
    """The first connection, up to its end; the segment of which the network has a copy."""
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
    """The network lets go of the copy."""
    sender, address = (stage.client.address, CLIENT_UDP_PORT), (stage.server.address, SERVER_PORT)
    stage.network.carry(stage.client, sender, address, stray)


def excerpt(stage: Stage, data: bytes) -> list[str]:
    """The lines of `data` where its kind changes, with their neighbours."""
    lines = data.decode().splitlines()
    kinds = [{word for word in ("OLD", "NEW") if word in line} or {"?"} for line in lines]
    edges = {0, len(lines) - 1} | {i for i in range(1, len(lines)) if kinds[i] != kinds[i - 1]}
    shown = sorted({i for edge in edges for i in range(edge - 1, edge + 2) if 0 <= i < len(lines)})
    found, next_line = [], 0
    for i in shown:
        if i > next_line:
            found.append(ALIKE.format(count=i - next_line).in_(stage.language))
        found.append(lines[i])
        next_line = i + 1
    return found


SCENE: Final = Scene(
    name="old-duplicate",
    title=Text("An old duplicate in a new connection", "旧连接的重复报文段"),
    before=(
        Text(
            "The second reason for TIME_WAIT: networks delay packets, and double them. A segment of a connection that"
            " is over may still be under way; if a new connection has the same addresses and ports by then, nothing but"
            " the sequence number tells the two apart. Wait for 2 MSL, and nothing of the old connection is left.",
            "TIME_WAIT 存在的第二个理由：网络会延迟报文，也会复制报文。连接结束之后，它的某个报文段可能还在途中；"
            "如果这时新连接用了相同的地址和端口，能区分两者的就只剩序号。等过 2 MSL，旧连接的报文段便全都消失了。",
        ),
        Text(
            "Initial sequence numbers follow a clock of 250 ticks a millisecond, to keep the numbers of connections"
            " apart. The first connection here sends faster than that, as any does above 2 Mbit/s: so its numbers lie"
            " ahead of where the next one begins. All of it is played twice, without 2 MSL and with them.",
            "初始序号跟随一个每毫秒走 250 步的时钟，以便错开先后两条连接的序号。这里的第一条连接发送得比时钟快"
            "（只要超过 2 Mbit/s 就会如此），所以它用过的序号超过了下一条连接的初始序号。整个过程演两遍："
            "先是没有 2 MSL，再是有 2 MSL。",
        ),
        Text(
            "What is faked: the network keeps a copy of one segment, and delivers it when the scene asks for it."
            " Timestamps are off, because PAWS (RFC 7323) would see through the copy.",
            "人为安排之处：网络留下一个报文段的副本，在剧情需要时才投递。时间戳选项被关闭，否则 PAWS（"
            "RFC 7323）会识破这个副本。",
        ),
    ),
    after=(
        Text(
            "No error, no warning: both ends closed in good order, and the application read what nobody had sent to it."
            " A checksum does not help, for the segment is intact.",
            "没有报错，也没有告警：双方都正常关闭，应用程序却读到了不是发给它的数据。校验和也无济于事，"
            "因为报文段本身完好无损。",
        ),
        Text(
            "With 2 MSL the same copy is harmless twice over: the port is not given out, and the RST that the copy"
            " causes does not end TIME_WAIT (RFC 1337). Timestamps are a second line of defence. msl=0 is for showing"
            " this, and for nothing else.",
            "有了 2 MSL，同样的副本就无从作怪：端口不会被重新分配，副本引起的 RST 也结束不了 TIME_WAIT（RFC 1337）。"
            "时间戳是第二道防线。msl=0 只为演示这一点而存在，别无他用。",
        ),
    ),
    sources="RFC 9293 3.4.1, 3.4.2, 3.6, 3.10.7.1, 3.10.7.4; RFC 1337; RFC 7323 5",
    knobs="msl, timestamps",
    script=play,
)
