"""Two active opens that cross (RFC 9293 3.5, figure 7)."""

import asyncio
import time

import pytest

from tests.interop import kernel
from tests.interop.wire import KERNEL, PumpedWire, until
from utcp import ConnectionInfo

KERNEL_PORT = 5000
UTCP_PORT = 6000

SOON = 0.9
"""Seconds: sooner than any SYN or SYN-ACK is sent again, after a second."""


@pytest.mark.parametrize("together", [False, True], ids=["syns-cross", "syn-and-syn-ack-together"])
async def test_simultaneous_open(together: bool) -> None:
    """`together`: the kernel's SYN is delayed so that it arrives in one batch with its SYN-ACK."""
    async with PumpedWire() as wire:
        wire.pump.hold()
        ours = asyncio.ensure_future(wire.endpoint.open_connection(KERNEL, KERNEL_PORT, local_port=UTCP_PORT))
        theirs = asyncio.ensure_future(kernel.connect(wire.host, UTCP_PORT, local_port=KERNEL_PORT))
        await until(lambda: wire.pump.held("<") and wire.pump.held(">"))
        assert wire.trace.states == ["SYN_SENT"]
        began = time.monotonic()
        if together:
            wire.pump.release(">")
            await until(lambda: wire.pump.held("<") == 2)
        wire.pump.release()
        reader, writer = await ours
        sock = await theirs
        with sock:
            await until(lambda: kernel.tcp_info(sock).state == "ESTABLISHED")
            assert time.monotonic() - began < SOON
            info: ConnectionInfo = writer.get_extra_info("utcp")
            assert info.path == ("CLOSED", "SYN_SENT", "SYN_RCVD", "ESTABLISHED")
            assert (info.window_scaling, info.timestamps, info.sack, info.snd_mss) == (True, True, True, 1448)
            writer.write(b"there" * 1000)
            writer.write_eof()
            assert await kernel.receive_all(sock) == b"there" * 1000
            await kernel.send(sock, b"and back" * 1000)
        assert await reader.read() == b"and back" * 1000
        writer.close()
