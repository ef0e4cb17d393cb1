"""Every order in which a connection with the kernel can end gracefully, and who keeps TIME_WAIT."""

import asyncio
import socket

import pytest

from tests.interop import kernel
from tests.interop.pump import DropFirst
from tests.interop.wire import PORT, Opener, PumpedWire, Wire, until
from utcp.wire import ACK, FIN

both_openers = pytest.mark.parametrize("opener", ["kernel", "utcp"])


@both_openers
async def test_kernel_closes_first(opener: Opener) -> None:
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        sock.close()
        assert await reader.read() == b""
        assert wire.trace.states[-1] == "CLOSE_WAIT"
        await until(lambda: kernel.states(PORT) == ["FIN_WAIT_2"])
        writer.close()
        await writer.wait_closed()
        assert wire.trace.states[-3:] == ["CLOSE_WAIT", "LAST_ACK", "CLOSED"]
        assert kernel.states(PORT) == ["TIME_WAIT"]
        assert not wire.endpoint.stack.connections
        assert not len(wire.endpoint.stack.time_wait)


@both_openers
async def test_utcp_closes_first(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        writer.close()
        await writer.wait_closed()  # the kernel has acknowledged the FIN; it may close when it likes
        assert await kernel.receive(sock) == b""
        assert kernel.tcp_info(sock).state == "CLOSE_WAIT"
        assert wire.trace.states[-2:] == ["FIN_WAIT_1", "FIN_WAIT_2"]
        sock.close()
        await until(lambda: len(wire.endpoint.stack.time_wait) == 1 and not kernel.states(PORT))
        assert wire.trace.states[-1] == "TIME_WAIT"
        assert not wire.endpoint.stack.connections


class ClosesAtEof(asyncio.Protocol):
    """A server's: answers the end of the stream with close(), from within the callback."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


async def test_three_segments() -> None:
    async with Wire() as wire:
        protocol = ClosesAtEof()
        await wire.endpoint.create_server(lambda: protocol, PORT)
        sock = await kernel.connect(wire.host, PORT)
        await until(lambda: wire.endpoint.stack.connections)
        opened = len(wire.trace.entries)
        sock.close()
        assert await protocol.lost is None
        assert wire.trace.flags(start=opened) == ["< FIN,ACK", "> FIN,ACK", "< ACK"]
        assert kernel.states(PORT) == ["TIME_WAIT"]


@both_openers
async def test_kernel_half_closes(opener: Opener) -> None:
    answer = bytes(range(256)) * 4096
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            await kernel.send(sock, b"the question")
            sock.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"the question"
            await asyncio.sleep(0.05)
            assert kernel.tcp_info(sock).state == "FIN_WAIT_2"
            writer.write(answer)
            writer.close()
            assert await kernel.receive_all(sock) == answer
            await writer.wait_closed()
            assert wire.trace.states[-3:] == ["CLOSE_WAIT", "LAST_ACK", "CLOSED"]


@both_openers
async def test_utcp_half_closes(opener: Opener) -> None:
    answer = bytes(range(256)) * 4096
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            writer.write(b"the question")
            writer.write_eof()
            assert await kernel.receive_all(sock) == b"the question"
            await asyncio.sleep(0.05)
            assert wire.trace.states[-1] == "FIN_WAIT_2"
            assert kernel.tcp_info(sock).state == "CLOSE_WAIT"
            await kernel.send(sock, answer)
        assert await reader.read() == answer
        await until(lambda: wire.trace.states[-1] == "TIME_WAIT")
        writer.close()
        await writer.wait_closed()


@both_openers
async def test_fin_with_data_from_the_kernel(opener: Opener) -> None:
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            await kernel.send(sock, b"the last words")
            sock.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"the last words"
            last = next(entry.segment for entry in wire.trace.entries if entry.segment.flags & FIN)
            assert last.payload == b"the last words"
            writer.close()
            await writer.wait_closed()


@both_openers
async def test_fin_with_data_from_utcp(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            writer.write(b"the last words")
            writer.close()
            await writer.wait_closed()
            last = next(entry.segment for entry in wire.trace.entries if entry.segment.flags & FIN)
            assert last.payload == b"the last words"
            assert await kernel.receive_all(sock) == b"the last words"


@both_openers
@pytest.mark.parametrize("data", [b"", b"in flight"], ids=["bare", "with-data"])
async def test_simultaneous_close(opener: Opener, data: bytes) -> None:
    async with PumpedWire() as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            wire.pump.hold()
            if data:
                writer.write(data)
                await kernel.send(sock, data)
            writer.write_eof()
            sock.shutdown(socket.SHUT_WR)
            await until(lambda: wire.pump.held("<") and wire.pump.held(">"))
            assert kernel.tcp_info(sock).state == "FIN_WAIT_1"
            await asyncio.sleep(0.02)
            wire.pump.release()
            assert await reader.read() == data
            assert await kernel.receive_all(sock) == data
            await until(lambda: len(wire.endpoint.stack.time_wait) == 1)
            assert wire.trace.states[-3:] == ["FIN_WAIT_1", "CLOSING", "TIME_WAIT"]
            await until(lambda: kernel.states(PORT) == ["TIME_WAIT"])
            writer.close()
            await writer.wait_closed()


@both_openers
async def test_fin_of_utcp_lost(opener: Opener) -> None:
    async with PumpedWire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            wire.pump.drop = rule = DropFirst(">", FIN)
            writer.close()
            assert await kernel.receive(sock) == b""
            await writer.wait_closed()
            assert rule.dropped
            assert wire.trace.flags(">").count("FIN,ACK") == 2
        await until(lambda: len(wire.endpoint.stack.time_wait) == 1)


@both_openers
async def test_fin_of_the_kernel_lost(opener: Opener) -> None:
    async with PumpedWire() as wire:
        sock, reader, writer = await wire.open(opener)
        wire.pump.drop = rule = DropFirst("<", FIN)
        sock.close()
        assert await reader.read() == b""
        assert rule.dropped
        writer.close()
        await writer.wait_closed()
        assert kernel.states(PORT) == ["TIME_WAIT"]


@both_openers
async def test_last_ack_of_utcp_lost(opener: Opener) -> None:
    """The kernel sends its FIN again, to the TIME_WAIT record, which acknowledges it again."""
    async with PumpedWire() as wire:
        sock, _, writer = await wire.open(opener)
        writer.close()
        await writer.wait_closed()
        wire.pump.drop = rule = DropFirst(">", ACK)
        sock.close()
        await until(lambda: rule.dropped)
        assert kernel.states(PORT) == ["LAST_ACK"]
        await until(lambda: not kernel.states(PORT))
        assert wire.trace.flags("<").count("FIN,ACK") == 2
        assert "RST" not in "".join(wire.trace.flags())
        assert len(wire.endpoint.stack.time_wait) == 1


@both_openers
async def test_last_ack_of_the_kernel_lost(opener: Opener) -> None:
    """The roles exchanged: our FIN comes again to the kernel's TIME_WAIT."""
    async with PumpedWire() as wire:
        sock, reader, writer = await wire.open(opener)
        sock.close()
        assert await reader.read() == b""
        wire.pump.drop = rule = DropFirst("<", ACK)
        writer.close()
        await writer.wait_closed()
        assert rule.dropped
        assert wire.trace.flags(">").count("FIN,ACK") == 2
        assert wire.trace.states[-2:] == ["LAST_ACK", "CLOSED"]
        assert "RST" not in "".join(wire.trace.flags())
        assert kernel.states(PORT) == ["TIME_WAIT"]
