"""Knobs of the transport with a kernel's TCP at the other end: congestion control, options, marks, cookies."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.interop import kernel
from tests.interop.bulk import MIB, digest, octets, send, write
from tests.interop.namespace import sysctl
from tests.interop.pump import Pump
from tests.interop.trace import Direction
from tests.interop.wire import DEFAULT, INTERFACE, Opener, PumpedWire, Wire
from utcp import Config, ConnectionInfo
from utcp.link.tun import TunLink, interface_mtu, open_tun
from utcp.testing.path import CE, Conditions

THERE, BACK = octets(MIB, 1), octets(MIB, 2)
IMPAIRED = Conditions(latency=0.001, loss=0.01, reorder=0.01, reorder_delay=0.002, duplicate=0.01)


class MarkingPump(Pump):
    """Also marks every twentieth ECN-capable packet, by chance (RFC 3168)."""

    def __init__(self, tun: int, conditions: Conditions, seed: int) -> None:
        super().__init__(tun, conditions, seed)
        self._random = Random(seed)
        self.marked: dict[Direction, int] = {"<": 0, ">": 0}

    def _write(self, direction: Direction, packet: bytes) -> None:
        if packet[1] & 3 in (1, 2) and self._random.random() < 0.05:
            self.marked[direction] += 1
            packet = with_mark(packet)
        super()._write(direction, packet)


class MarkingWire(PumpedWire):
    """A wire whose pump marks packets."""

    def _link(self) -> TunLink:
        self.pump = self.marking = MarkingPump(open_tun(INTERFACE), self._conditions, self._seed)
        return TunLink(self.pump.far_end, self.host, mtu=interface_mtu(INTERFACE))


def with_mark(packet: bytes) -> bytes:
    """The IPv4 packet with CE, and its header's checksum."""
    header = bytearray(packet[:20])
    header[1] |= CE
    header[10:12] = b"\0\0"
    total = sum(int.from_bytes(header[at : at + 2]) for at in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header[10:12] = (~total & 0xFFFF).to_bytes(2)
    return bytes(header) + packet[20:]


async def both_ways(wire: Wire, opener: Opener) -> ConnectionInfo:
    """A connection that carries a mebibyte each way at once; what utcp says of it in the end."""
    sock, reader, writer = await wire.open(opener)
    with sock:
        back, there, _, _ = await asyncio.gather(
            reader.read(), kernel.receive_all(sock), write(writer, THERE), send(sock, BACK)
        )
    assert digest(there) == digest(THERE)
    assert digest(back) == digest(BACK)
    info: ConnectionInfo = writer.get_extra_info("utcp")
    writer.close()
    return info


@pytest.mark.parametrize(
    "knobs",
    [{}, {"congestion_control": "newreno"}, {"congestion_control": "bbr"}, {"sack": False}, {"timestamps": False}],
    ids=["cubic", "newreno", "bbr", "no-sack", "no-timestamps"],
)
async def test_loss_and_reordering(knobs: dict[str, Any]) -> None:
    config = replace(DEFAULT, **knobs)
    async with PumpedWire(config, conditions=IMPAIRED, seed=4) as wire:
        info = await both_ways(wire, "kernel")
        assert (info.sack, info.timestamps) == ("sack" not in knobs, "timestamps" not in knobs)
        assert wire.pump.counts["lost"] > 5
        assert info.total_retrans > 0


@pytest.mark.parametrize(
    ("opener", "controller"), [("kernel", "cubic"), ("utcp", "cubic"), ("utcp", "newreno"), ("kernel", "bbr")]
)
async def test_marks(opener: Opener, controller: str) -> None:
    """Each end asks, marks its data, echoes the other's marks, and slows down for its own."""
    sysctl("ipv4/tcp_ecn", 1)
    config = Config(close_timeout=30.0, congestion_control=controller, ecn="request")
    async with MarkingWire(config, conditions=Conditions(latency=0.001), seed=4) as wire:
        info = await both_ways(wire, opener)
        assert wire.marking.marked[">"] > 0
        assert wire.marking.marked["<"] > 0
        assert wire.endpoint.stack.counters.in_ce_pkts == wire.marking.marked["<"]
        assert info.delivered_ce > 0  # the kernel has echoed
        assert wire.endpoint.stack.counters.retrans_segs <= 5  # a mark is no loss


@pytest.mark.parametrize("knobs", [{}, {"timestamps": False}], ids=["all", "no-timestamps"])
async def test_cookies_of_utcp(knobs: dict[str, Any]) -> None:
    """Without timestamps a cookie remembers the MSS alone."""
    config = replace(DEFAULT, syn_cookies="always", **knobs)
    async with PumpedWire(config, conditions=IMPAIRED, seed=5) as wire:
        info = await both_ways(wire, "kernel")
        assert wire.endpoint.stack.counters.syncookies_recv == 1
        assert info.sack == info.window_scaling == (not knobs)


@pytest.mark.parametrize("knobs", [{}, {"timestamps": False}], ids=["all", "no-timestamps"])
async def test_cookies_of_the_kernel(knobs: dict[str, Any]) -> None:
    sysctl("ipv4/tcp_syncookies", 2)
    config = replace(DEFAULT, **knobs)
    async with PumpedWire(config, conditions=IMPAIRED, seed=6) as wire:
        info = await both_ways(wire, "utcp")
        assert info.sack == (not knobs)
