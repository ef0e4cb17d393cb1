"""port-exhaustion: a client with few ephemeral ports opens and closes connections until all ports are in TIME_WAIT."""

import asyncio
from dataclasses import dataclass
from typing import Final

from utcp.aio.endpoint import Endpoint
from utcp.config import Config
from utcp.errors import AddressNotAvailable
from utcp.scenes.scene import Scene
from utcp.scenes.stage import OPEN, SERVER_PORT, Reader, Stage, Writer, close, state_names
from utcp.tcp.state import CLOSED, TIME_WAIT
from utcp.trace.ladder.width import pad

PORTS: Final = (50000, 50003)
CONFIG: Final = Config(ephemeral_ports=PORTS)

OTHER_PORT: Final = SERVER_PORT + 1
"""Second port of the server."""

INTERVAL: Final = 1.0
"""Seconds between two connections."""


@dataclass(frozen=True, slots=True)
class Row:
    """An attempt to connect: its time, the state of each ephemeral port towards the server's first port, and the
    result."""

    time: float
    ports: tuple[str, ...]
    outcome: str


async def play(stage: Stage) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()
        await close(writer)

    await stage.server_endpoint(serve, ports=(SERVER_PORT, OTHER_PORT))
    client = await stage.client_endpoint(CONFIG)
    rows: list[Row] = []

    used = []
    stage.note("followed")
    for _ in range(4):
        time, ports = stage.now, _ports(stage, client)
        used.append(await _visit(stage, client, SERVER_PORT))
        rows.append(Row(time, ports, stage.text("opened", port=used[-1])))
        await asyncio.sleep(INTERVAL - stage.now % INTERVAL)
    stage.note("others", first=used[1], second=used[2], third=used[3])
    tried, ports = stage.now, _ports(stage, client)
    seconds = None
    try:
        await _visit(stage, client, SERVER_PORT)
    except AddressNotAvailable as error:
        seconds = error.seconds
        stage.note("full", seconds=seconds)
    rows.append(Row(tried, ports, "AddressNotAvailable"))
    other = await _visit(stage, client, OTHER_PORT)
    stage.note("elsewhere", port=OTHER_PORT)
    rows.append(Row(tried, ports, stage.text("to_other", port=other, other=OTHER_PORT)))
    await stage.until("client", CLOSED)
    stage.expect("seconds until TIME_WAIT freed a port", round(stage.now - tried, 2), round(seconds or 0.0, 2))
    stage.note("freed")
    time, ports = stage.now, _ports(stage, client)
    used.append(await _visit(stage, client, SERVER_PORT))
    rows.append(Row(time, ports, stage.text("opened", port=used[-1])))

    stage.expect("the first four took all ports", sorted(used[:4]), list(range(PORTS[0], PORTS[1] + 1)))
    stage.expect("the last connection took the port that was freed", used[4], used[0])
    stage.expect(
        "the second destination was reached from a port that TIME_WAIT held towards the first destination",
        other in used[:4],
        True,
    )
    life = f"{OPEN} > FIN_WAIT_1 > TIME_WAIT"
    stage.expect("states of the first port", state_names(stage.recorder.path("client")), f"{life} > {life}")
    stage.exhibit("table", table(stage, rows))


async def _visit(stage: Stage, client: Endpoint, port: int) -> int:
    """Open a connection and close it, until it enters TIME_WAIT. Return its local port."""
    _, writer = await stage.client.run(client.open_connection("server", port, udp_port=SERVER_PORT))
    local: int = writer.get_extra_info("sockname")[1]
    writer.close()
    await stage.until("client", TIME_WAIT)
    await stage.served()
    return local


def _ports(stage: Stage, client: Endpoint) -> tuple[str, ...]:
    """Return the state of each ephemeral port towards the server's first port."""
    remote = client.link.remote((stage.server.address, SERVER_PORT))
    found = []
    for port in range(PORTS[0], PORTS[1] + 1):
        seconds = client.stack.time_wait.seconds_left((remote, SERVER_PORT, port), stage.now)
        found.append(stage.text("free") if seconds is None else stage.text("held", seconds=seconds))
    return tuple(found)


def table(stage: Stage, rows: list[Row]) -> list[str]:
    """Return `rows` as lines of text."""
    ports = map(str, range(PORTS[0], PORTS[1] + 1))
    cells = [[stage.text("time"), *ports, stage.text("outcome")]]
    cells += [[f"{row.time:.1f}", *row.ports, row.outcome] for row in rows]
    return ["  ".join([pad(line[0], 4), *(pad(cell, 17) for cell in line[1:5]), line[5]]) for line in cells]


SCENE: Final = Scene.load("port-exhaustion", play, count=len(range(*Config().ephemeral_ports)) + 1)
