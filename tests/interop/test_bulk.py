"""Much data over the bare interface, both ways."""

import asyncio

import pytest

from tests.interop import kernel
from tests.interop.bulk import MIB, digest, octets, send, write
from tests.interop.wire import Opener, Wire

MUCH = 20 * MIB
"""Octets: several times what all buffers on the way hold."""


async def test_much_data_to_the_kernel() -> None:
    data = octets(MUCH)
    async with Wire(trace=False) as wire:
        sock, _, writer = await wire.open("kernel")
        with sock:
            received, _ = await asyncio.gather(kernel.receive_all(sock), write(writer, data))
            assert digest(received) == digest(data)
        writer.close()


async def test_much_data_from_the_kernel() -> None:
    data = octets(MUCH)
    async with Wire(trace=False) as wire:
        sock, reader, writer = await wire.open("kernel")
        with sock:
            received, _ = await asyncio.gather(reader.read(), send(sock, data))
            assert digest(received) == digest(data)
        writer.close()


@pytest.mark.parametrize("opener", ["kernel", "utcp"])
@pytest.mark.parametrize("mtu", [576, 1500, 65535])
async def test_both_ways_at_once(opener: Opener, mtu: int) -> None:
    async with Wire(trace=False, mtu=mtu) as wire:
        sock, reader, writer = await wire.open(opener)
        there, back = octets(2 * MIB, 1), octets(2 * MIB, 2)
        with sock:
            results = await asyncio.gather(
                reader.read(), kernel.receive_all(sock), write(writer, there), send(sock, back)
            )
            assert digest(results[0]) == digest(back)
            assert digest(results[1]) == digest(there)
        writer.close()
