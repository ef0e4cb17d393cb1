"""port-exhaustion: a client with few ephemeral ports opens and closes until TIME_WAIT holds them all."""

import asyncio
from dataclasses import dataclass
from typing import Final

from utcp.aio.endpoint import Endpoint
from utcp.config import Config
from utcp.errors import AddressNotAvailable
from utcp.scenes.scene import Scene
from utcp.scenes.stage import SERVER_PORT, Reader, Stage, Writer, state_names
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, SYN_SENT, TIME_WAIT
from utcp.trace.ladder.width import pad

PORTS: Final = (50000, 50003)
CONFIG: Final = Config(ephemeral_ports=PORTS)

OTHER_PORT: Final = SERVER_PORT + 1
"""Where the server listens as well."""

INTERVAL: Final = 1.0
"""Seconds between two connections."""

FOLLOWED: Final = Text(
    "The first of four connections, one a second, each closed by the client. The ladder follows its port.",
    "每秒建立一条，共四条连接，都由客户端先关闭。这是第一条，时序图跟踪它的端口。",
)
OTHERS: Final = Text(
    "Three more connections have followed, from ports {ports}. All four are in TIME_WAIT.",
    "随后又建立了三条连接，来自端口 {ports}。四个端口全部处于 TIME_WAIT。",
)
FULL: Final = Text(
    "The fifth: AddressNotAvailable. TIME_WAIT holds all ports towards this server, for {seconds:.1f} s more.",
    "第五条连接：AddressNotAvailable。通往该服务器的所有端口都被 TIME_WAIT 占用，还要等 {seconds:.1f} 秒。",
)
ELSEWHERE: Final = Text(
    "A connection to the server's port {port} opens at once: a port is held towards one destination only.",
    "而通往服务器 {port} 端口的连接立即就能建立：端口只是针对同一个目的地被占用。",
)
FREED: Final = Text(
    "2 MSL are over for the port that closed first. The same call succeeds now.",
    "最先关闭的那个端口已过 2 MSL。同样的调用这次成功了。",
)

TABLE: Final = Text("The ports over time", "端口使用情况")
TIME: Final = Text("s", "秒")
OUTCOME: Final = Text("what open_connection() did", "open_connection() 的结果")
FREE: Final = Text("free", "空闲")
HELD: Final = Text("TIME_WAIT {seconds:.1f} s", "TIME_WAIT {seconds:.1f} 秒")
OPENED: Final = Text("opened from {port}", "从 {port} 建立")
FAILED: Final = Text("AddressNotAvailable", "AddressNotAvailable")
TO_OTHER: Final = Text("to port {other}: opened from {port}", "去往端口 {other}：从 {port} 建立")


@dataclass(frozen=True, slots=True)
class Row:
    """When a connection was tried, what each ephemeral port was doing then, towards the server's first port, and what
    came of it."""

    time: float
    ports: tuple[Text, ...]
    outcome: Text


async def play(stage: Stage) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    await stage.server_endpoint(serve, ports=(SERVER_PORT, OTHER_PORT))
    client = await stage.client_endpoint(CONFIG)
    rows: list[Row] = []

    used = []
    stage.note(FOLLOWED)
    for _ in range(4):
        time, ports = stage.now, _ports(stage, client)
        used.append(await _visit(stage, client, SERVER_PORT))
        rows.append(Row(time, ports, OPENED.format(port=used[-1])))
        await asyncio.sleep(INTERVAL - stage.now % INTERVAL)
    comma = ", " if stage.language == "en" else "、"
    stage.note(OTHERS.format(ports=comma.join(map(str, used[1:]))))
    tried, ports = stage.now, _ports(stage, client)
    seconds = None
    try:
        await _visit(stage, client, SERVER_PORT)
    except AddressNotAvailable as error:
        seconds = error.seconds
        stage.note(FULL.format(seconds=seconds))
    rows.append(Row(tried, ports, FAILED))
    other = await _visit(stage, client, OTHER_PORT)
    stage.note(ELSEWHERE.format(port=OTHER_PORT))
    rows.append(Row(tried, ports, TO_OTHER.format(port=other, other=OTHER_PORT)))
    await stage.until("client", CLOSED)
    stage.expect("seconds until TIME_WAIT freed a port", round(stage.now - tried, 2), round(seconds or 0.0, 2))
    stage.note(FREED)
    time, ports = stage.now, _ports(stage, client)
    used.append(await _visit(stage, client, SERVER_PORT))
    rows.append(Row(time, ports, OPENED.format(port=used[-1])))

    stage.expect("the first four took all ports", sorted(used[:4]), list(range(PORTS[0], PORTS[1] + 1)))
    stage.expect("the last connection took the port that was freed", used[4], used[0])
    stage.expect(
        "the second destination was reached from a port that TIME_WAIT held towards the first destination",
        other in used[:4],
        True,
    )
    life = (CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, TIME_WAIT)
    stage.expect("states of the first port", state_names(stage.recorder.path("client")), state_names((*life, *life)))
    stage.exhibit(TABLE, table(stage, rows))


async def _visit(stage: Stage, client: Endpoint, port: int) -> int:
    """Open a connection and close it, as far as TIME_WAIT; its local port."""
    _, writer = await stage.client.run(client.open_connection("server", port, udp_port=SERVER_PORT))
    local: int = writer.get_extra_info("sockname")[1]
    writer.close()
    await stage.until("client", TIME_WAIT)
    await stage.served()
    return local


def _ports(stage: Stage, client: Endpoint) -> tuple[Text, ...]:
    """What each ephemeral port is doing now, towards the server's first port."""
    remote = client.link.remote((stage.server.address, SERVER_PORT))
    found = []
    for port in range(PORTS[0], PORTS[1] + 1):
        seconds = client.stack.time_wait.seconds_left((remote, SERVER_PORT, port), stage.now)
        found.append(FREE if seconds is None else HELD.format(seconds=seconds))
    return tuple(found)


def table(stage: Stage, rows: list[Row]) -> list[str]:
    """`rows` as lines of text."""
    language = stage.language
    ports = map(str, range(PORTS[0], PORTS[1] + 1))
    cells = [[TIME.in_(language), *ports, OUTCOME.in_(language)]]
    cells += [
        [f"{row.time:.1f}", *(port.in_(language) for port in row.ports), row.outcome.in_(language)] for row in rows
    ]
    return ["  ".join([pad(line[0], 4), *(pad(cell, 17) for cell in line[1:5]), line[5]]) for line in cells]


SCENE: Final = Scene(
    name="port-exhaustion",
    title=Text("When TIME_WAIT holds every port", "端口耗尽"),
    before=(
        Text(
            "Each connection that the client closes first keeps its port towards that server for 2 MSL. A client that"
            " opens and closes fast enough runs out of ports, though hardly a connection is open. This one has four"
            " ephemeral ports in place of {count}; the ladder follows the first of them.",
            "由客户端先关闭的每一条连接，都会把它通往该服务器的端口占用 2 MSL。如果客户端不断地打开和关闭连接，"
            "即使几乎没有连接处于打开状态，端口也会耗尽。这个客户端只有四个临时端口，而不是 {count} 个；"
            "时序图跟踪其中的第一个。",
        ).format(count=len(range(*Config().ephemeral_ports)) + 1),
    ),
    after=(
        Text(
            "With n ports and 2 MSL of 60 s a client opens no more than n/60 connections a second to one destination,"
            " about 470 with the default range. The error says how long it takes until one is free."
            " What helps: keep connections open and use them again; let the server close first, which then has the"
            " TIME_WAIT, where it takes up no ephemeral port; more ports, or more destinations.",
            "若有 n 个端口，2 MSL 为 60 秒，则客户端每秒最多向同一目的地建立 n/60 条连接，默认范围约为 470 条。"
            "错误信息会说明还要等多久才有端口空出来。解决办法：保持连接并重复使用；让服务器先关闭，"
            "这样 TIME_WAIT 就在服务器一侧，不占用临时端口；或者增加端口，增加目的地。",
        ),
    ),
    sources="RFC 9293 3.4.2, 3.6; RFC 6056",
    knobs="ephemeral_ports, msl",
    script=play,
)
