"""What waits for room: in order, within bounds of octets and of age."""

import errno
import socket

import pytest

from tests.link.conftest import Keep
from tests.link.sockets import LOOPBACK, ReplaceableLink, ScriptedSocket
from utcp.link.base import LinkCounters
from utcp.link.pending import PENDING_LIFETIME, PENDING_OVERHEAD, Pending
from utcp.link.udp import UdpLink
from utcp.tcp.transmit import Transmit


def test_what_is_too_old_is_dropped_and_counted() -> None:
    counters = LinkCounters()
    pending = Pending[str](counters)
    for name, now in (("old", 10.0), ("older than it seems", 10.1), ("young", 10.2)):
        pending.add(name, 100, 2, now)
    pending.drop_stale(10.0 + PENDING_LIFETIME)
    assert pending.first() == "old"
    pending.shorten_first("rest", 50, 1)  # a part of it has left; the rest is as old as it was
    assert pending.octets == 250 + 3 * PENDING_OVERHEAD
    pending.drop_stale(10.15 + PENDING_LIFETIME)
    assert pending.first() == "young"
    assert counters.datagrams_dropped == 1 + 2
    assert pending.octets == 100 + PENDING_OVERHEAD
    pending.drop_stale(20.0)
    assert pending.first() is None
    assert (len(pending.waiting), pending.octets, counters.datagrams_dropped) == (0, 0, 5)


@pytest.mark.defect(90)
@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_link_drops_what_is_stale_and_finds_no_room(room: int, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is room, the loop was late, and everything is sent."""
    sock = ScriptedSocket()
    a = keep(ReplaceableLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    now = 100.0
    monkeypatch.setattr(a, "now", lambda: now)
    sock.send_script.append(errno.EAGAIN)
    a.send([Transmit(b.address, [bytes((number,))], 1) for number in range(2)])
    now += PENDING_LIFETIME / 2
    sock.send_script.append(errno.EAGAIN)
    a.send([Transmit(b.address, [b"\2"], 1)])
    now += PENDING_LIFETIME / 2 + 0.01
    sent: list[Transmit] = []

    def send(transmit: Transmit, _: object) -> Transmit | None:
        if len(sent) == room:
            return transmit
        sent.append(transmit)
        return None

    monkeypatch.setattr(a, "_send", send)
    assert a.flush_pending() == []
    assert [transmit.buffers[0] for transmit in sent] == [b"\0", b"\1", b"\2"][:room]
    assert bool(a.pending) == (room < 3)
    assert a.counters.datagrams_dropped == (0 if room == 3 else 2 - room)
