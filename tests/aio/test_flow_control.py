"""Back-pressure: a reader that stops closes the TCP window, a writer that is too fast is paused."""

import asyncio
from typing import Any, Final

import pytest

from tests.aio.peers import Peers, Polite, Recorder, connection_of, turns, until
from utcp import Config

BUFFER: Final = 60_000
SMALL = Config(msl=0.05, close_timeout=30, send_buffer=BUFFER, recv_buffer=BUFFER)
TOTAL = 1_000_000


class Stopped(Polite):
    """Reads nothing until it is told to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()


async def test_a_paused_reader_closes_the_window_and_pauses_the_writer() -> None:
    async with Peers(SMALL) as peers:
        transport, client, server = await peers.connect(Recorder, Stopped)
        for _ in range(TOTAL // 10_000):
            transport.write(b"x" * 10_000)
        assert client.calls == ["made", "pause"]
        assert transport.get_write_buffer_size() == TOTAL - BUFFER
        await until(lambda: connection_of(transport).info().snd_wnd == 0)
        assert connection_of(server.transport).readable == BUFFER
        assert server.received == b""
        # The connection has taken in what the peer holds, and its own buffer full again.
        await until(lambda: transport.get_write_buffer_size() == TOTAL - BUFFER - BUFFER)
        assert client.calls == ["made", "pause"]

        before = peers.server.stack.counters.out_segs
        server.transport.resume_reading()
        await turns(3)
        assert peers.server.stack.counters.out_segs == before + 1  # the window update, without waiting for a probe
        await until(lambda: len(server.received) == TOTAL)
        assert client.calls == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await until(lambda: client.lost)


async def test_the_writer_is_resumed_at_the_low_water_mark() -> None:
    async with Peers(SMALL) as peers:
        transport, client, server = await peers.connect(Recorder, Stopped)
        sizes: list[int] = []

        def resume_writing() -> None:
            sizes.append(transport.get_write_buffer_size())

        client.resume_writing = resume_writing  # type: ignore[method-assign]  # a spy
        transport.set_write_buffer_limits(high=50_000, low=10_000)
        transport.write(b"x" * (BUFFER + 50_000))
        assert client.calls == ["made"]  # not above the mark
        transport.write(b"x")
        assert client.calls == ["made", "pause"]
        server.transport.resume_reading()
        await until(lambda: sizes)
        assert sizes[0] <= 10_000
        transport.close()
        await until(lambda: server.lost)
        assert len(server.received) == BUFFER + 50_001


async def test_with_a_limit_of_zero_small_writes_do_not_pause(peers: Peers) -> None:
    """anyio sets the limit to 0 and takes "not paused" for sent: only what the connection has not accepted counts."""
    transport, client, _ = await peers.connect(Recorder)
    transport.set_write_buffer_limits(0)
    transport.write(b"x" * 50_000)
    assert transport.get_write_buffer_size() == 0
    assert client.calls == ["made"]


@pytest.mark.parametrize("half", [True, False], ids=["write_eof", "close"])
async def test_closing_hands_over_all_and_lets_the_writer_go_on(half: bool) -> None:
    async with Peers(SMALL) as peers:
        transport, client, server = await peers.connect(Recorder, Stopped)
        transport.write(b"x" * TOTAL)
        assert client.calls == ["made", "pause"]
        if half:
            transport.write_eof()
        else:
            transport.close()
        assert connection_of(transport).info().state == "FIN_WAIT_1"  # at the call, though nothing has been sent
        assert transport.get_write_buffer_size() == 0
        assert client.calls == ["made", "pause"]  # not inside the call
        await turns(2)
        assert client.calls == ["made", "pause", "resume"]
        server.transport.resume_reading()
        await until(lambda: len(server.received) == TOTAL)
        await until(lambda: server.lost)
        transport.close()
        await until(lambda: client.lost)
        assert client.lost == server.lost == [None]


async def test_a_paused_writer_is_not_resumed_after_connection_lost() -> None:
    contexts: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    async with Peers(SMALL) as peers:
        transport, client, server = await peers.connect(Stopped, Stopped)
        transport.write(b"x" * TOTAL)
        server.transport.write(b"unread")
        await until(lambda: connection_of(transport).readable)
        # Closing resets; a flush that is due already tells that before the writer would be resumed.
        asyncio.get_running_loop().call_soon(transport.close)
        peers.client.driver.schedule_flush()
        await until(lambda: client.lost)
        await turns(3)
        assert client.calls == ["made", "pause", "lost"]
        assert contexts == []
        peers.abort_server()


async def test_drain_waits_for_a_slow_reader() -> None:
    async with Peers(SMALL) as peers:
        release = asyncio.Event()
        received = bytearray()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            received.extend(await reader.read())
            writer.close()
            await writer.wait_closed()

        await peers.server.start_server(slow)
        _, writer = await peers.client.open_connection(peers.host, peers.port)
        written = 0

        async def write() -> None:
            nonlocal written
            while written < 4 * TOTAL:
                writer.write(b"x" * 10_000)
                await writer.drain()
                written += 10_000
            writer.close()
            await writer.wait_closed()

        writing = asyncio.create_task(write())
        (connection,) = peers.client.stack.connections.values()
        await until(lambda: connection.info().snd_wnd == 0)
        await turns(20)
        held = written
        # Both buffers, both marks, and the reader's own limit twice: no more than that is on its way.
        assert held < BUFFER + BUFFER + 4 * 65536
        release.set()
        await writing
        await until(lambda: len(received) == 4 * TOTAL)
