"""Everything that ends, or prevents, a connection by RST, both ways."""

import asyncio
import socket
import time
from dataclasses import replace

import pytest

from tests.interop import kernel
from tests.interop.pump import DropFirst
from tests.interop.wire import DEFAULT, KERNEL, PORT, Opener, PumpedWire, Wire, until
from utcp import StreamWriter, Transport
from utcp.wire import RST

both_openers = pytest.mark.parametrize("opener", ["kernel", "utcp"])


def transport_of(writer: StreamWriter) -> Transport:
    assert isinstance(writer.transport, Transport)
    return writer.transport


async def test_closed_port_of_utcp() -> None:
    async with Wire() as wire:
        with pytest.raises(ConnectionRefusedError):
            await kernel.connect(wire.host, PORT)
        assert wire.trace.flags() == ["< SYN", "> RST,ACK"]


async def test_closed_port_of_the_kernel() -> None:
    async with Wire() as wire:
        with pytest.raises(ConnectionRefusedError):
            await wire.endpoint.open_connection(KERNEL, PORT)
        assert wire.trace.flags() == ["> SYN", "< RST,ACK"]
        assert not wire.endpoint.stack.connections


@both_openers
async def test_kernel_lingers_zero(opener: Opener) -> None:
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        kernel.reset_on_close(sock)
        sock.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()
        assert not wire.endpoint.stack.connections
        assert not kernel.states(PORT)
        writer.close()


@both_openers
async def test_utcp_lingers_zero(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            kernel.reset_on_close(writer.get_extra_info("socket"))
            writer.close()
            await writer.wait_closed()
            with pytest.raises(ConnectionResetError):
                await kernel.receive(sock)
            assert not wire.endpoint.stack.connections


@both_openers
async def test_utcp_aborts(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            transport_of(writer).abort()
            with pytest.raises(ConnectionResetError):
                await kernel.receive(sock)
            assert not wire.endpoint.stack.connections
            assert wire.trace.flags(">")[-1] == "RST"


@both_openers
async def test_kernel_closes_with_unread_data(opener: Opener) -> None:
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        writer.write(b"nobody reads this")
        await until(lambda: writer.get_extra_info("utcp").bytes_acked)
        sock.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert "RST" in wire.trace.flags("<")[-1]
        writer.close()


@both_openers
async def test_utcp_closes_with_unread_data(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            transport_of(writer).pause_reading()
            await kernel.send(sock, b"nobody reads this")
            await until(lambda: writer.get_extra_info("utcp").unread)
            writer.close()
            await writer.wait_closed()
            with pytest.raises(ConnectionResetError):
                await kernel.receive(sock)
            assert not wire.endpoint.stack.connections


@both_openers
async def test_data_after_utcp_closed(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            writer.close()
            await writer.wait_closed()
            assert await kernel.receive(sock) == b""
            await kernel.send(sock, b"too late")
            await until(lambda: kernel.tcp_info(sock).state == "CLOSED")
            assert kernel.error_of(sock) in ("EPIPE", "ECONNRESET")
            assert not wire.endpoint.stack.connections


@both_openers
async def test_data_after_the_kernel_closed(opener: Opener) -> None:
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        sock.close()
        assert await reader.read() == b""
        writer.write(b"too late")
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()
        assert not wire.endpoint.stack.connections
        writer.close()


@both_openers
async def test_reset_meets_a_reset(opener: Opener) -> None:
    """Both abort at once: each RST finds nobody, and nothing answers it."""
    async with PumpedWire() as wire:
        sock, _, writer = await wire.open(opener)
        wire.pump.hold()
        kernel.reset_on_close(sock)
        sock.close()
        transport_of(writer).abort()
        await until(lambda: wire.pump.held("<") and wire.pump.held(">"))
        before = len(wire.trace.entries)
        wire.pump.release()
        await asyncio.sleep(0.05)
        assert [flags[:5] for flags in wire.trace.flags(start=before)] == ["< RST"]
        assert not wire.endpoint.stack.connections


async def test_syn_meets_last_ack() -> None:
    """The kernel has forgotten a connection that is in LAST_ACK here, and connects again from its port."""
    async with PumpedWire() as wire:
        await leave_in_last_ack(wire)
        before = len(wire.trace.entries)
        with pytest.raises(ConnectionRefusedError):
            await kernel.connect(wire.host, PORT, local_port=5000)
        segments = wire.trace.flags(start=before)
        assert [flags for flags in segments if "FIN" not in flags] == ["< SYN", "> RST,ACK"]
        assert wire.trace.states[-1] == "LAST_ACK"
        await until(lambda: not wire.endpoint.stack.connections)  # its FIN comes again, and the kernel answers RST
        assert wire.trace.flags()[-2:] == ["> FIN,ACK", "< RST"]


async def test_syn_meets_last_ack_that_challenges() -> None:
    """RFC 5961's way: the kernel answers the challenge by RST, and its second SYN finds the port free."""
    async with PumpedWire(replace(DEFAULT, syn_in_last_ack="challenge")) as wire:
        await leave_in_last_ack(wire)
        before = len(wire.trace.entries)
        with await kernel.connect(wire.host, PORT, local_port=5000) as sock:
            segments = wire.trace.flags(start=before)
            assert segments[:3] == ["< SYN", "> ACK", "< RST"]
            assert segments[3:5] == ["< SYN", "> SYN,ACK"]
            assert kernel.tcp_info(sock).state == "ESTABLISHED"


@pytest.mark.defect(55)
async def test_our_syn_meets_a_connection_that_only_the_kernel_has() -> None:
    """It is half open there. The kernel answers by a challenge ACK, and our second SYN follows our RST at once."""
    async with PumpedWire(replace(DEFAULT, rto_initial=60.0)) as wire:
        with kernel.listen(KERNEL, PORT) as listener:
            _, old_writer = await wire.endpoint.open_connection(KERNEL, PORT, local_port=5000)
            with await kernel.accept(listener) as old:
                wire.pump.drop = lost = DropFirst(">", RST)
                transport_of(old_writer).abort()
                await until(lambda: lost.dropped)
                before, began = len(wire.trace.entries), time.monotonic()
                _, writer = await wire.endpoint.open_connection(KERNEL, PORT, local_port=5000)
                assert time.monotonic() - began < 30  # it has not waited for its timer
                assert wire.trace.flags(start=before)[:5] == ["> SYN", "< ACK", "> RST", "> SYN", "< SYN,ACK"]
                assert kernel.error_of(old) == "ECONNRESET"
                (await kernel.accept(listener)).close()
                writer.close()
                await writer.wait_closed()


async def leave_in_last_ack(wire: PumpedWire) -> None:
    """A connection from the kernel's port 5000, gone there without a word, in LAST_ACK here."""
    accepted = await wire.serve(PORT)
    sock = await kernel.connect(wire.host, PORT, local_port=5000)
    reader, writer = await accepted.get()
    sock.shutdown(socket.SHUT_WR)
    assert await reader.read() == b""
    wire.pump.drop = lambda way, packet: True
    kernel.reset_on_close(sock)
    sock.close()
    writer.close()
    await until(lambda: wire.trace.states[-1] == "LAST_ACK" and "FIN" in wire.trace.flags(">")[-1])
    wire.pump.drop = None
