"""TIME_WAIT on either side, and new connections from the same ports that meet it (RFC 6191)."""

import asyncio
from dataclasses import replace

import pytest

from tests.interop import kernel
from tests.interop.namespace import sysctl
from tests.interop.wire import DEFAULT, KERNEL, PORT, Wire, until
from utcp import AddressInUse

KERNEL_PORT = 5000
UTCP_PORT = 6000


@pytest.mark.parametrize("timestamps", [True, False])
async def test_kernel_reconnects_into_utcps_time_wait(timestamps: bool) -> None:
    async with Wire(replace(DEFAULT, timestamps=timestamps)) as wire:
        accepted = await wire.serve(PORT)
        for turn in range(5):
            sock = await kernel.connect(wire.host, PORT, local_port=KERNEL_PORT)
            reader, writer = await accepted.get()
            writer.write(b"incarnation %d" % turn)
            await writer.drain()
            assert await kernel.receive(sock) == b"incarnation %d" % turn
            writer.close()
            assert await kernel.receive(sock) == b""
            sock.close()
            assert await reader.read() == b""
            await until(lambda: len(wire.endpoint.stack.time_wait) == 1 and not kernel.states(PORT))
        assert wire.endpoint.stack.counters.time_wait_reuses == 4
        assert wire.trace.flags("<").count("SYN") == 5  # each was accepted at once


@pytest.mark.parametrize("timestamps", [1, 0])
async def test_utcp_reconnects_into_the_kernels_time_wait(timestamps: int) -> None:
    sysctl("ipv4/tcp_timestamps", timestamps)
    async with Wire() as wire:
        with kernel.listen(KERNEL, PORT) as listener:
            for turn in range(5):
                reader, writer = await wire.endpoint.open_connection(KERNEL, PORT, local_port=UTCP_PORT)
                sock = await kernel.accept(listener)
                await kernel.send(sock, b"incarnation %d" % turn)
                sock.close()
                assert await reader.read() == b"incarnation %d" % turn
                writer.close()
                await writer.wait_closed()
                assert kernel.states(PORT) == ["TIME_WAIT"]
        assert wire.trace.flags(">").count("SYN") == 5


async def test_port_in_utcps_time_wait_is_not_free() -> None:
    async with Wire(replace(DEFAULT, msl=0.25)) as wire:
        with kernel.listen(KERNEL, PORT) as listener:
            _, writer = await wire.endpoint.open_connection(KERNEL, PORT, local_port=UTCP_PORT)
            sock = await kernel.accept(listener)
            writer.close()
            assert await kernel.receive(sock) == b""
            sock.close()
            await until(lambda: len(wire.endpoint.stack.time_wait))
            with pytest.raises(AddressInUse) as caught:
                await wire.endpoint.open_connection(KERNEL, PORT, local_port=UTCP_PORT)
            assert caught.value.seconds is not None
            await asyncio.sleep(caught.value.seconds + 0.01)
            _, writer = await wire.endpoint.open_connection(KERNEL, PORT, local_port=UTCP_PORT)
            (await kernel.accept(listener)).close()
            writer.close()
