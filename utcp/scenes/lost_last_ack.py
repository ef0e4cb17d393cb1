"""lost-last-ack: the last ACK is lost, the FIN comes again, and TIME_WAIT is there to answer it."""

import asyncio
from typing import Final

from utcp.scenes.scene import Scene
from utcp.scenes.stage import ACTIVE, PASSIVE, PAUSE, Reader, Stage, Writer
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED, LAST_ACK, TIME_WAIT
from utcp.testing import DROP, PASS, Packet, Verdict
from utcp.wire import FIN

CLOSES: Final = Text(
    "The client closes. The network will lose its last ACK.", "客户端关闭连接。它的最后一个 ACK 将在网络中丢失。"
)
SECOND_FIN: Final = Text(
    "The server closes too. The client is in TIME_WAIT, and its ACK is lost.",
    "服务器也关闭连接。客户端进入 TIME_WAIT，而它的 ACK 丢失了。",
)
AGAIN: Final = Text(
    "The server hears nothing and sends its FIN again. TIME_WAIT answers with the same ACK; 2 MSL begin anew.",
    "服务器没有等到确认，重传 FIN。TIME_WAIT 再次发回同样的 ACK，2 MSL 重新开始计时。",
)
WAITING: Final = Text(
    "The server is done. TIME_WAIT ends 2 MSL = {seconds:g} s after the repeated FIN, not after the first.",
    "服务器的工作到此结束。TIME_WAIT 从重传的 FIN 算起，再过 2 MSL = {seconds:g} 秒才结束，而不是从第一个 FIN 算起。",
)


class LosesLastAck:
    """A rule: the first packet that the client sends after the server's FIN is lost."""

    def __init__(self) -> None:
        self._fin_seen = self._done = False

    def __call__(self, packet: Packet) -> Verdict:
        segment = packet.segment
        if packet.source == "server" and segment is not None and segment.flags & FIN:
            self._fin_seen = True
        elif self._fin_seen and not self._done and packet.source == "client":
            self._done = True
            return DROP
        return PASS


async def play(stage: Stage) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        await asyncio.sleep(PAUSE)
        stage.note(SECOND_FIN)
        writer.close()
        await writer.wait_closed()

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint()
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note(CLOSES)
    with stage.network.rule(LosesLastAck()):
        writer.close()
        await writer.wait_closed()
        stage.expect("wait_closed() returned before the server closed", stage.moments["server"].at(LAST_ACK), None)
        await stage.until("client", TIME_WAIT)
        await asyncio.sleep(PAUSE / 5)
        stage.note(AGAIN)
        await stage.served()
    stage.note(WAITING.format(seconds=2 * endpoint.config.msl))
    await stage.until("client", CLOSED)

    stage.expect_paths(ACTIVE, PASSIVE)
    stage.expect_segments(
        stage.closing(),
        "client FIN,ACK 1 ack 1",
        "server ACK 1 ack 2",
        "server FIN,ACK 1 ack 2",
        "client ACK 2 ack 2 lost",
        "server FIN,ACK 1 ack 2",
        "client ACK 2 ack 2",
    )
    fins = [arrow for arrow in stage.closing() if arrow.sender == "server" and arrow.flags & FIN]
    between = (fins[-1].received or 0.0) - (fins[0].received or 0.0)
    stage.expect("the FIN was repeated after a retransmission timeout", between > endpoint.config.rto_min, True)
    stage.expect_time_wait("client", between + 2 * endpoint.config.msl)


SCENE: Final = Scene(
    name="lost-last-ack",
    title=Text("The last ACK is lost", "最后一个 ACK 丢失"),
    before=(
        Text(
            "Nobody acknowledges an ACK: who sends the last one cannot know whether it has arrived. If it has not, the"
            " peer, in LAST_ACK, sends its FIN again, and somebody must still know what to answer. That is the first"
            " reason for TIME_WAIT.",
            "ACK 本身不会得到确认，所以发出最后一个 ACK 的一方无从知道它是否到达。如果它丢失了，"
            "处于 LAST_ACK 的对方就会重传 FIN，而这时必须还有人知道该怎样回答。这就是 TIME_WAIT 存在的第一个理由。",
        ),
    ),
    after=(
        Text(
            "A FIN that comes again says that the last ACK has not arrived: TIME_WAIT repeats it, and its 2 MSL begin"
            " anew. MSL is the maximum segment lifetime: in 2 MSL an ACK can have died on its way, and a FIN sent for"
            " the lack of it can have come. RFC 9293 takes MSL to be two minutes; utcp waits 60 s in all, as Linux"
            " does.",
            "重复到来的 FIN 说明最后一个 ACK 没有到达：TIME_WAIT 再发一次，并重新开始 2 MSL 的计时。"
            "MSL 是最大报文段生存时间：2 MSL 足以让 ACK 在途中消失，再让因此重传的 FIN 到达。"
            "RFC 9293 规定 MSL 为 2 分钟；utcp 与 Linux 一样，总共等待 60 秒。",
        ),
        Text(
            "The application waits for none of this: wait_closed() returned when the server had acknowledged the"
            " client's FIN.",
            "应用程序不必等待这一切：服务器确认了客户端的 FIN 之后，wait_closed() 就已返回。",
        ),
    ),
    sources="RFC 9293 3.4.2, 3.6, 3.10.7.4 (eighth check, TIME-WAIT)",
    knobs="msl, fin_retries",
    script=play,
)
