"""half-close: a FIN as the end of a request, and an answer long after it; and what a full close does then."""

import asyncio
from typing import Final

from utcp.config import Config
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

LINES: Final = b"pear\napple\nfig\n"
SORTED: Final = b"apple\nfig\npear\n"

WORK: Final = 90.0
"""Seconds that the server takes to answer: longer than FIN_WAIT_2 may last after a full close."""

UNPROBED: Final = Config(keepalive=False)
"""A keepalive probe while the server works would divert from the story."""

HALF: Final = Text(
    "write_eof(): data, then FIN. The server must see the end of its input before it can sort.",
    "write_eof()：先是数据，然后是 FIN。服务器必须看到输入结束才能排序。",
)
SORTING: Final = Text(
    "{work:g} s later, longer than fin_wait_2_timeout ({limit:g} s), the answer. Half-closed, one waits without limit.",
    "{work:g} 秒之后，已超过 fin_wait_2_timeout（{limit:g} 秒），答复来了。半关闭的一端可以无限期地等待。",
)
FULL: Final = Text(
    "The same again from the same port, but with close(): nobody will read at the client any more.",
    "用同一个端口再来一次，但这次调用 close()：客户端不会再有人读取数据。",
)
TOO_LATE: Final = Text(
    "The answer finds no reader. RST tells the server that it was not read; the client is gone.",
    "答复到达时已没有读者。客户端用 RST 告诉服务器：数据没有被读取。连接就此消失。",
)


async def play(stage: Stage) -> None:
    errors: list[OSError] = []
    seconds = [WORK, PAUSE]

    async def serve(reader: Reader, writer: Writer) -> None:
        lines = (await reader.read()).splitlines(keepends=True)
        await asyncio.sleep(seconds[0])
        stage.note(TOO_LATE if seconds.pop(0) == PAUSE else SORTING.format(work=WORK, limit=limit))
        writer.write(b"".join(sorted(lines)))
        await asyncio.sleep(PAUSE)
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionResetError as error:
            errors.append(error)

    await stage.server_endpoint(serve, UNPROBED)
    endpoint = await stage.client_endpoint(UNPROBED)
    limit = endpoint.config.fin_wait_2_timeout
    reader, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    stage.note(HALF)
    writer.write(LINES)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    await stage.served()
    first = stage.closing()
    await stage.until("client", CLOSED)
    stage.expect_time_wait("client", 2 * endpoint.config.msl)

    await asyncio.sleep(PAUSE)
    stage.note(FULL)
    _, writer = await stage.open(endpoint)
    await asyncio.sleep(PAUSE)
    writer.write(LINES)
    writer.close()
    await writer.wait_closed()
    await stage.served()

    stage.expect("the client read", answer, SORTED)
    stage.expect("how the second connection ended at the server", len(errors), 1)
    opened, lifted = (CLOSED, SYN_SENT, ESTABLISHED), (LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT)
    stage.expect_paths(
        (*opened, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT, *opened, FIN_WAIT_1, FIN_WAIT_2, CLOSED),
        (*lifted, LAST_ACK, CLOSED, *lifted, CLOSED),
    )
    stage.expect_segments(
        first,
        "client FIN,PSH,ACK 1:16 ack 1",
        "server ACK 1 ack 17",
        "server PSH,ACK 1:16 ack 17",
        "client ACK 17 ack 16",
        "server FIN,ACK 16 ack 17",
        "client ACK 17 ack 17",
    )
    stage.expect_segments(
        stage.arrows()[-4:],
        "client FIN,PSH,ACK 1:16 ack 1",
        "server ACK 1 ack 17",
        "server PSH,ACK 1:16 ack 17",
        "client RST 17",
    )


SCENE: Final = Scene(
    name="half-close",
    title=Text("Half-close: a FIN says that the question is complete", "半关闭：FIN 表示问题已经说完"),
    before=(
        Text(
            "A FIN closes one direction only. A program whose input ends with it, such as sort, can answer long after,"
            " and the answer arrives: the client has closed its half, and reads on. That is write_eof(), the socket"
            " interface's shutdown(SHUT_WR).",
            "FIN 只关闭一个方向。像 sort 这样要读到输入结束才能工作的程序，可以在收到 FIN 很久以后才答复，"
            "而答复照样能到达：客户端只关闭了自己的发送方向，仍在读取。这就是半关闭，即 write_eof()，"
            "相当于套接字接口的 shutdown(SHUT_WR)。",
        ),
        Text(
            "The second connection shows the difference to close(), which gives up reading as well. On the wire its"
            " FIN looks the same.",
            "第二条连接展示它与 close() 的区别：close() 连读取也一并放弃。而从网络上看，两者的 FIN 完全一样。",
        ),
    ),
    after=(
        Text(
            "Use write_eof() when you still want to read, and close() when you are done with both directions. After"
            " close(), data that arrives is answered with RST, and FIN_WAIT_2 lasts no longer than"
            " fin_wait_2_timeout: nobody is there to wait for it.",
            "还想读取对方的数据，就用 write_eof()；两个方向都不再需要，才用 close()。close() 之后到达的数据会得到 RST，"
            "FIN_WAIT_2 也最多持续 fin_wait_2_timeout 秒，因为已经没有人在等待了。",
        ),
    ),
    sources="RFC 9293 3.6, 3.6.1, 3.10.4; RFC 1122 4.2.2.13",
    knobs="fin_wait_2_timeout",
    script=play,
)
