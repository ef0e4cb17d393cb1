"""Readers that stop: the window closes, is probed, and opens again."""

import asyncio

import pytest

from tests.interop import kernel
from tests.interop.bulk import MIB, digest, octets, send, write
from tests.interop.wire import Opener, Wire, until
from utcp.tcp.connection import Connection
from utcp.wire.seq import MASK

DATA = octets(8 * MIB)

STALL = 0.45
"""Seconds for which a reader stops."""

both_openers = pytest.mark.parametrize("opener", ["kernel", "utcp"])


def connection_on(wire: Wire) -> Connection:
    (connection,) = wire.endpoint.stack.connections.values()
    return connection


@both_openers
async def test_kernel_stops_reading(opener: Opener) -> None:
    async with Wire(trace=False) as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            writing = asyncio.ensure_future(write(writer, DATA))
            connection = connection_on(wire)
            await until(lambda: connection.send_side.snd_wnd == 0)
            acked = connection.info().bytes_acked
            await until(lambda: connection.persist.probes >= 1)
            assert connection.info().snd_wnd == 0
            assert connection.info().bytes_acked == acked < len(DATA)
            assert digest(await kernel.receive_all(sock)) == digest(DATA)
            await writing
        writer.close()


@both_openers
async def test_utcp_stops_reading(opener: Opener) -> None:
    async with Wire() as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            sending = asyncio.ensure_future(send(sock, DATA))
            connection = connection_on(wire)
            await until(lambda: connection.receive_side.window == 0)
            received = connection.info().bytes_received
            closed = len(wire.trace.entries)
            # The kernel probes with an empty segment one octet to the left of what it may send.
            probe = (connection.receive_side.rcv_nxt - 1 & MASK, b"")
            await until(
                lambda: any(
                    (entry.direction, entry.segment.seq, entry.segment.payload) == ("<", *probe)
                    for entry in wire.trace.entries[closed:]
                )
            )
            assert connection.info().rcv_wnd == 0
            assert connection.info().bytes_received == received < len(DATA)
            assert {entry.segment.window for entry in wire.trace.entries[closed:] if entry.direction == ">"} == {0}
            resumed = len(wire.trace.entries)
            assert digest(await reader.read()) == digest(DATA)
            await sending
            first = wire.trace.entries[resumed]
            assert first.direction == ">", "the kernel had to ask"
            assert first.segment.window > 0
        writer.close()


async def test_fin_behind_a_closed_window() -> None:
    """utcp has written all and closed; what does not fit into the kernel's window arrives when it reads again."""
    async with Wire(trace=False) as wire:
        sock, _, writer = await wire.open("kernel")
        with sock:
            writer.write(DATA)
            writer.close()
            connection = connection_on(wire)
            await until(lambda: connection.send_side.snd_wnd == 0)
            await asyncio.sleep(STALL)
            assert connection.info().state == "FIN_WAIT_1"
            assert digest(await kernel.receive_all(sock)) == digest(DATA)
            await writer.wait_closed()
