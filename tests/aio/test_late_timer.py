"""A loop that is late: what waits in the socket is heard before anything is taken to be lost."""

import asyncio
import time

import utcp


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
    await writer.wait_closed()


async def test_nothing_is_retransmitted_because_the_loop_was_busy() -> None:
    """The ACK lies in the socket while the loop is blocked for longer than the retransmission timeout."""
    config = utcp.Config(msl=0.05)
    async with (
        utcp.Endpoint(("127.0.0.1", 0), config=config) as far,
        utcp.Endpoint(("127.0.0.1", 0), config=config) as near,
    ):
        server = await far.start_server(answer)
        reader, writer = await near.open_connection("127.0.0.1", far.address[1])
        writer.write(b"question")
        await asyncio.sleep(0)
        near.driver.flush()  # it is in the other's socket now,
        far.driver._readable()
        far.driver.flush()  # and the ACK, which it owes at once for the FIN below, in ours
        writer.write_eof()
        near.driver.flush()
        far.driver._readable()
        far.driver.flush()
        time.sleep(0.3)  # noqa: ASYNC251  # longer than rto_min: the timer is due when the loop comes back
        near.driver._on_timer()
        assert near.stack.counters.timeouts == 0
        assert await reader.read() == b"question"
        assert near.stack.counters.retrans_segs == 0
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
