"""The ladders that explain a failure."""

import asyncio

from utcp.testing import Network
from utcp.testing.explain import explain

PORT = 80


async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def transfer() -> None:
    async with await asyncio.start_server(receive, "0.0.0.0", PORT):
        _, writer = await asyncio.open_connection("main", PORT)
        for _ in range(2000):
            writer.write(b"line")
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()


def test_the_page_of_a_long_connection_shows_its_end() -> None:
    """The arrangement of all rungs took minutes."""
    network = Network()
    network.run(transfer())
    (ladder,) = explain(network)
    left_out = len(ladder.rungs) - 300
    assert left_out > 1000
    assert f"({left_out} segments before)" in ladder.page()
