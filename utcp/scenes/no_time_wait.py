"""no-time-wait: the last ACK is lost and nobody is there to repeat it; the server is left in LAST_ACK."""

import asyncio
from typing import Final

from utcp.config import Config
from utcp.scenes.lost_last_ack import LosesLastAck
from utcp.scenes.scene import Scene
from utcp.scenes.stage import PAUSE, Reader, Stage, Writer
from utcp.scenes.text import Text
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.wire import FIN

ANSWER: Final = b"Goodbye.\n"

CLOSES: Final = Text(
    "The client closes its half, and reads on. Its TIME_WAIT is set to nothing: msl=0.",
    "客户端半关闭，继续读取。它的 TIME_WAIT 被设置为零：msl=0。",
)
GONE: Final = Text(
    "The client's last ACK is lost, and its process ends. Nobody is left who could repeat it.",
    "客户端的最后一个 ACK 丢失了，进程随即退出。再没有人能重发这个 ACK。",
)
LIMIT: Final = Text(
    "{probes} tail loss probe and {timeouts} retransmissions at timeouts (fin_retries) in {seconds:.0f} s: RST, and"
    " TimeoutError.",
    "{seconds:.0f} 秒内，{probes} 次尾部丢失探测，{timeouts} 次超时重传（fin_retries）："
    "发出 RST，应用程序得到 TimeoutError。",
)


async def play(stage: Stage) -> None:
    errors: list[OSError] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        writer.write(ANSWER)
        await asyncio.sleep(PAUSE)
        writer.close()
        try:
            await writer.wait_closed()
        except TimeoutError as error:
            errors.append(error)

    server = await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint(Config(msl=0))
    with stage.network.rule(LosesLastAck()):
        reader, writer = await stage.open(endpoint)
        await asyncio.sleep(PAUSE)
        stage.note(CLOSES)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await stage.client.run(endpoint.aclose())
        stage.note(GONE)
        await stage.served()
    fins = [arrow for arrow in stage.closing() if arrow.sender == "server" and arrow.flags & FIN]
    counters = server.stack.counters
    seconds = (stage.arrows()[-1].sent or 0.0) - (fins[0].sent or 0.0)
    stage.note(LIMIT.format(probes=counters.loss_probes, timeouts=counters.timeouts, seconds=seconds))

    stage.expect("the client read", answer, ANSWER)
    stage.expect("errors at the server", [type(error).__name__ for error in errors], ["FinTimedOut"])
    stage.expect_paths(
        (CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT, CLOSED),
        (LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED),
    )
    stage.expect("retransmission timeouts", counters.timeouts, server.config.fin_retries)
    resent = counters.loss_probes + counters.timeouts
    last = ["client ACK 2 ack 11 lost", *["server FIN,ACK 10 ack 2 lost"] * resent, "server RST 11 lost"]
    stage.expect_segments(stage.arrows()[-len(last) :], *last)


SCENE: Final = Scene(
    name="no-time-wait",
    title=Text("Nobody in TIME_WAIT", "没有 TIME_WAIT 会怎样"),
    before=(
        Text(
            "The same loss as in lost-last-ack, but this client has no TIME_WAIT: its configuration says msl=0, and its"
            " process ends as soon as the connection is closed. (A user-space TCP ends with its process; a kernel's"
            " would go on. Had the process stayed, its stack would answer the FIN with RST, for it knows of no such"
            " connection.)",
            "与 lost-last-ack 相同的丢失，但这个客户端没有 TIME_WAIT：它的配置是 msl=0，连接一关闭进程就退出。"
            "（用户态 TCP 随进程一起消失，内核 TCP 则会留下来。如果进程还在，它的协议栈不认识这条连接，"
            "会用 RST 回答重传的 FIN。）",
        ),
    ),
    after=(
        Text(
            "Every byte was delivered, and yet the server's application gets an error, after more than two minutes in"
            " LAST_ACK. A TCP without a limit would stay there for ever. In LAST_ACK a connection belongs to nobody but"
            " TCP: the limit is what frees its memory, and its ports.",
            "所有数据都已送达，可服务器在 LAST_ACK 中停留两分多钟之后，应用程序得到的却是一个错误。"
            "没有重传上限的 TCP 会永远停在那里。处于 LAST_ACK 的连接只归 TCP 管，"
            "唯有这个上限能释放它占用的内存和端口。",
        ),
        Text(
            "msl=0 exists to show this. A program that must end at once should let its peer close first.",
            "msl=0 只是为了演示这一点而存在。必须马上退出的程序，应当让对方先关闭连接。",
        ),
    ),
    sources="RFC 9293 3.6, 3.8.3 (R2), 3.10.7.4; RFC 8985 7 (the probe)",
    knobs="msl, fin_retries, rto_min, rto_max",
    script=play,
)
