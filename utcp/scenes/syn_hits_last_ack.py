"""syn-hits-last-ack: a port that is used again too early; its SYN meets LAST_ACK, and is refused."""

import asyncio
from typing import Final

from utcp.config import Config
from utcp.scenes.lost_last_ack import LosesLastAck
from utcp.scenes.scene import Scene
from utcp.scenes.stage import PAUSE, Reader, Stage, Writer, state_names
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

CLOSES: Final = Text(
    "The client closes. It has no TIME_WAIT (msl=0), and its last ACK will be lost.",
    "客户端关闭连接。它没有 TIME_WAIT（msl=0），而且最后一个 ACK 将会丢失。",
)
TOO_EARLY: Final = Text(
    "At once a new connection from the same port. Its SYN meets the old one, which the server still has: RST.",
    "客户端随即用同一个端口建立新连接。SYN 撞上了服务器上仍处于 LAST_ACK 的旧连接，得到 RST。",
)
REFUSED: Final = Text(
    "ConnectionRefusedError at the client. The server is still in LAST_ACK: its FIN comes again, when it is due.",
    "客户端得到 ConnectionRefusedError。服务器仍处于 LAST_ACK，到时间照样重传 FIN。",
)
ENDED: Final = Text(
    "The client knew of no such connection, and answered with RST. Only that has ended LAST_ACK.",
    "客户端已经不认识这条连接，于是回了 RST。LAST_ACK 到这时才结束。",
)
CONNECTS: Final = Text(
    "Now the port is free on both sides, and a SYN opens a connection.", "现在端口在两端都已空闲，SYN 可以建立连接了。"
)


async def play(stage: Stage) -> None:
    errors: list[OSError] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        await asyncio.sleep(PAUSE)
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionResetError as error:
            errors.append(error)

    await stage.server_endpoint(serve)
    endpoint = await stage.client_endpoint(Config(msl=0))
    with stage.network.rule(LosesLastAck()):
        _, writer = await stage.open(endpoint)
        await asyncio.sleep(PAUSE)
        stage.note(CLOSES)
        writer.close()
        await stage.until("client", CLOSED)
        await asyncio.sleep(PAUSE / 20)
        stage.note(TOO_EARLY)
        try:
            _, writer = await stage.open(endpoint)
        except ConnectionRefusedError as error:
            errors.append(error)
        else:
            writer.close()
            stage.expect("the connection", "opened", "refused")
            return
    stage.expect("the server's state", state_names(stage.recorder.path("server")[-1:]), state_names((LAST_ACK,)))
    stage.note(REFUSED)
    await stage.until("server", CLOSED)
    stage.note(ENDED)
    await stage.served()
    await asyncio.sleep(PAUSE)
    stage.note(CONNECTS)
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)

    stage.expect("the last connection is closing", writer.is_closing(), False)
    stage.expect("errors", [type(error).__name__ for error in errors], ["ConnectionRefused", "ConnectionReset"])
    opened = (CLOSED, SYN_SENT, ESTABLISHED)
    stage.expect_paths(
        (*opened, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT, CLOSED, SYN_SENT, *opened),
        (LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED, LISTEN, SYN_RCVD, ESTABLISHED),
    )
    stage.expect_segments(
        stage.closing(),
        "client FIN,ACK 1 ack 1",
        "server ACK 1 ack 2",
        "server FIN,ACK 1 ack 2",
        "client ACK 2 ack 2 lost",
        "client SYN 0",
        "server RST,ACK 0 ack 1",
        "server FIN,ACK 1 ack 2",
        "client RST 2",
        "client SYN 0",
        "server SYN,ACK 0 ack 1",
        "client ACK 1 ack 1",
    )


SCENE: Final = Scene(
    name="syn-hits-last-ack",
    title=Text("A SYN meets LAST_ACK", "SYN 撞上 LAST_ACK"),
    before=(
        Text(
            "A port that is used again before its last connection has ended at both ends meets that connection. Here"
            " the client skips TIME_WAIT (msl=0), its last ACK is lost, and it connects from the same port at once. The"
            " server is still in LAST_ACK: it waits for an ACK, and what comes is a SYN.",
            "如果旧连接还没有在两端都结束，就重新使用同一个端口，新连接会撞上旧连接。"
            "这里的客户端跳过了 TIME_WAIT（msl=0），最后一个 ACK 又丢失了，它随即用同一个端口发起连接。"
            "服务器还在 LAST_ACK，等的是 ACK，来的却是 SYN。",
        ),
    ),
    after=(
        Text(
            "RST tells the new client at once: not now. The old connection is not touched, so a forged SYN kills"
            " nothing, and its FIN goes out again when it is due. With TIME_WAIT nothing of this would have happened:"
            " the port would not have been given out, and the FIN would have been answered.",
            "RST 立刻告诉新的客户端：现在不行。旧连接丝毫不受影响，所以伪造的 SYN 破坏不了任何东西，FIN 也照常重传。"
            "如果有 TIME_WAIT，这一切都不会发生：端口不会被重新分配，重传的 FIN 也会得到确认。",
        ),
        Text(
            "This RST is utcp's own choice. By RFC 793 a SYN inside the window would end the old connection as well;"
            ' RFC 5961, to which RFC 9293 refers, has a challenge ACK in its place: syn_in_last_ack="challenge". The'
            " client then answers it with RST, which ends LAST_ACK, and connects with its second SYN, a second later.",
            "只回 RST 而不动旧连接，是 utcp 自己的选择。按 RFC 793，落在窗口之内的 SYN 还会终止旧连接；"
            'RFC 9293 所援引的 RFC 5961 则改用挑战 ACK（challenge ACK）：syn_in_last_ack="challenge"。'
            "客户端会用 RST 回答它，LAST_ACK 因此结束；约一秒后，重传的 SYN 便能建立连接。",
        ),
    ),
    sources="RFC 9293 3.5.2, 3.10.7.1, 3.10.7.4 (fourth check); RFC 5961 4",
    knobs="syn_in_last_ack, msl",
    script=play,
)
