"""What waits for room: in order, within bounds of octets and of age."""

import errno
import socket

import pytest

from tests.udp.conftest import Keep
from tests.udp.sockets import LOOPBACK, ScriptedSocket, all_arrive
from utcp.tcp.transmit import Transmit
from utcp.udp.base import LinkCounters
from utcp.udp.link import UdpLink
from utcp.udp.pending import PENDING_LIFETIME, PENDING_OVERHEAD, Pending


def test_what_is_too_old_is_dropped_and_counted() -> None:
    counters = LinkCounters()
    pending = Pending[str](counters)
    for name, now in (("old", 10.0), ("older than it seems", 10.1), ("young", 10.2)):
        pending.add(name, 100, 2, now)
    assert pending.first(10.0 + PENDING_LIFETIME) == "old"
    pending.shorten_first("rest", 50, 1)  # a part of it has left; the rest is as old as it was
    assert pending.octets == 250 + 3 * PENDING_OVERHEAD
    assert pending.first(10.15 + PENDING_LIFETIME) == "young"
    assert counters.datagrams_dropped == 1 + 2
    assert pending.octets == 100 + PENDING_OVERHEAD
    assert pending.first(20.0) is None
    assert (len(pending), pending.octets, counters.datagrams_dropped) == (0, 0, 5)


@pytest.mark.defect(90)
def test_a_link_sends_nothing_stale(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections have given it up for lost, or are about to."""
    sock = ScriptedSocket()
    a = keep(UdpLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    now = 100.0
    monkeypatch.setattr(a, "now", lambda: now)
    sock.send_script.append(errno.EAGAIN)
    a.send([Transmit(b.address, [bytes((number,))], 1) for number in range(2)])
    now += PENDING_LIFETIME / 2
    sock.send_script.append(errno.EAGAIN)
    a.send([Transmit(b.address, [b"\2"], 1)])
    now += PENDING_LIFETIME / 2 + 0.01
    assert a.flush_pending() == []
    assert not a.pending
    assert all_arrive(b, 1) == [b"\2"]
    assert a.counters.datagrams_dropped == 2
