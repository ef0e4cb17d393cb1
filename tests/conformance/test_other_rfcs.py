"""Requirements of RFCs 3168, 6928 and 8899 that no other test shows."""

import pytest

from tests.tcp.reach import established
from tests.tcp.script import MSS, Script
from utcp.tcp.path_mtu import BASE
from utcp.wire import ECE, encode
from utcp.wire.segment import CONGESTION_EXPERIENCED


@pytest.mark.parametrize(("seq", "echoed"), [(1, True), (1 << 30, False), (-1000, False)])
def test_a_mark_outside_the_window_is_ignored(seq: int, echoed: bool) -> None:
    """RFC 3168 6.1.5: whoever forges one has to hit the window."""
    t = Script(ecn="accept")
    t.listen()
    t.receives(f"SEW 0:0 <mss {MSS}>")
    t.sends("SE. 0:0 ack 1")
    t.receives(". 1:1 ack 1")
    segment = encode(t.flow.segment(f"P. {seq}:{seq + 100} ack 1"))
    t.stack.receive_datagram(segment, t.flow.remote, t.now, ecn=CONGESTION_EXPERIENCED)
    (answer,) = t.drain()
    assert bool(answer.flags & ECE) == echoed


def test_the_first_window_offered_takes_ten_segments() -> None:
    """RFC 6928 2: else the peer's initial window would be of no use."""
    t = established()
    assert t.info.rcv_wnd >= 10 * MSS


@pytest.mark.parametrize("room", [True, False])
def test_a_probe_of_the_path_mtu_waits_for_the_congestion_window(room: bool) -> None:
    """RFC 8899 3 (7)."""
    t = established(mss=1400, options="mss 1400")
    t.write(BASE)
    t.drain()
    connection = t.connection
    connection.path_mtu.black_hole_suspected(2, t.now)
    connection.use_mss(connection.path_mtu.size)
    probe = connection.path_mtu.due(t.now)
    assert probe > BASE
    connection.congestion.cwnd = BASE + probe - (not room)
    t.write(20 * BASE)
    assert [len(segment.payload) for segment in t.drain()] == [probe if room else BASE]
