"""Known defects that an application meets: delivery at close, back-pressure, leaks, idle load. Over UDP on loopback."""

import asyncio
import gc
from dataclasses import replace
from typing import Final

import pytest

import utcp
from tests.aio.peers import until
from utcp.tcp.connection import Connection
from utcp.tcp.state import FIN_WAIT_2, TIME_WAIT

BUFFER: Final = 65536
CONFIG: Final = utcp.Config(msl=0.05, close_timeout=1.0, recv_buffer=BUFFER, send_buffer=BUFFER)
HOST: Final = "127.0.0.1"


@pytest.mark.defect(28)
async def test_wait_closed_means_delivered() -> None:
    """Whoever writes, closes and leaves has lost nothing, and learns when that is certain."""
    size = 3_000_000
    received: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(len(await reader.read()))
        writer.close()

    async with utcp.Endpoint((HOST, 0), config=CONFIG) as server, utcp.Endpoint((HOST, 0), config=CONFIG) as client:
        await server.start_server(swallow)
        _, writer = await client.open_connection(HOST, server.address[1])
        (connection,) = client.stack.connections.values()
        writer.write(bytes(size))
        writer.close()
        assert connection.send_queue > 0
        await writer.wait_closed()
        assert connection.info().bytes_acked == size
        assert connection.state in (FIN_WAIT_2, TIME_WAIT)  # it waits for neither the peer's close nor 2 MSL
        assert await received == size


@pytest.mark.defect(31)
async def test_side_that_never_wrote_closes_like_any_other() -> None:
    """After the peer's end, and before it."""
    closed: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(5) == b"hello"
        try:
            if reader.at_eof():
                writer.write_eof()
            writer.close()
            await writer.wait_closed()
        except OSError as error:
            closed.put_nowait(error)
        else:
            closed.put_nowait(None)

    async with utcp.Endpoint((HOST, 0), config=CONFIG) as server, utcp.Endpoint((HOST, 0), config=CONFIG) as client:
        await server.start_server(listen_only)
        for half_close in (True, False):
            reader, writer = await client.open_connection(HOST, server.address[1])
            writer.write(b"hello")
            if half_close:
                writer.write_eof()
            assert await reader.read() == b""
            assert await closed.get() is None
            writer.close()
            await writer.wait_closed()


@pytest.mark.defect(32)
async def test_drain_waits_for_a_peer_that_does_not_read() -> None:
    """And what waits is bounded by the buffers that were asked for, on either side."""
    stop = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.transport.abort()

    async with utcp.Endpoint((HOST, 0), config=CONFIG) as server, utcp.Endpoint((HOST, 0), config=CONFIG) as client:
        await server.start_server(deaf)
        _, writer = await client.open_connection(HOST, server.address[1])
        written = 0

        async def write_for_ever() -> None:
            nonlocal written
            while True:
                writer.write(bytes(10_000))
                written += 10_000
                await writer.drain()

        writing = asyncio.create_task(write_for_ever())
        before = -1
        while written != before and written < 10_000_000:
            before = written
            await asyncio.sleep(0.1)
        assert not writing.done()
        # Both connections' buffers; the StreamReader, which stops at twice its limit with a batch on top; the
        # transport's high-water mark; and the write that goes beyond it.
        buffers = BUFFER + BUFFER + 2 * 65536 + BUFFER + 65536 + 10_000
        assert written <= buffers + 10_000
        writing.cancel()
        stop.set()
        writer.transport.abort()


@pytest.mark.defect(39)
async def test_connection_after_connection_leaves_nothing() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, Connection | utcp.Transport) for thing in gc.get_objects())

    before = alive()
    async with utcp.Endpoint((HOST, 0), config=CONFIG) as server, utcp.Endpoint((HOST, 0), config=CONFIG) as client:
        await server.start_server(echo)
        for _ in range(100):
            reader, writer = await client.open_connection(HOST, server.address[1])
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
        del reader, writer
        for stack in (server.stack, client.stack):
            await until(lambda stack=stack: not stack.connections and not len(stack.time_wait))  # type: ignore[misc]  # a loop variable, bound
            assert stack.next_timeout() is None
        assert alive() == before


@pytest.mark.defect(40)
async def test_idle_connection_costs_no_cpu() -> None:
    """No timer, no wakeup: the loop sleeps. With keepalive it wakes once a minute."""
    stop = asyncio.Event()

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.close()

    config = replace(CONFIG, keepalive=False)
    async with utcp.Endpoint((HOST, 0), config=config) as server, utcp.Endpoint((HOST, 0), config=config) as client:
        await server.start_server(idle)
        _, writer = await client.open_connection(HOST, server.address[1])
        writer.write(b"hello")
        drivers = server.driver, client.driver
        await until(lambda: all(driver._timer is None for driver in drivers))  # the last finds nothing to do
        assert server.stack.next_timeout() is None
        assert client.stack.next_timeout() is None
        calls = [driver.link.counters.receive_calls for driver in drivers]
        await asyncio.sleep(0.3)
        assert [driver.link.counters.receive_calls for driver in drivers] == calls
        assert all(driver._timer is None for driver in drivers)
        stop.set()
        writer.close()
        await writer.wait_closed()
