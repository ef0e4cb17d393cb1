"""Data over a wire that loses, reorders and doubles packets."""

import asyncio

import pytest

from tests.interop import kernel
from tests.interop.bulk import MIB, digest, octets, send, write
from tests.interop.wire import PumpedWire
from utcp.testing.path import Conditions

DATA = octets(4 * MIB)


@pytest.mark.parametrize(("loss", "seed"), [(0.01, 1), (0.02, 2)], ids=["one-percent", "two-percent"])
@pytest.mark.parametrize("way", ["to-kernel", "from-kernel"])
async def test_bulk(way: str, loss: float, seed: int) -> None:
    conditions = Conditions(latency=0.001, loss=loss, reorder=0.01, reorder_delay=0.002, duplicate=0.01)
    async with PumpedWire(conditions=conditions, seed=seed) as wire:
        sock, reader, writer = await wire.open("kernel")
        with sock:
            if way == "to-kernel":
                received, _ = await asyncio.gather(kernel.receive_all(sock), write(writer, DATA))
            else:
                received, _ = await asyncio.gather(reader.read(), send(sock, DATA))
            assert digest(received) == digest(DATA)
        writer.close()
        assert wire.pump.counts["lost"] > 10
        assert wire.pump.counts["duplicated"] > 10
