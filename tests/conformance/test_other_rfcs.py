"""Requirements of RFCs 3168, 6928 and 8899 that no other test shows."""

import pytest

from tests.tcp.reach import established
from tests.tcp.script import MSS, Script
from utcp.tcp.path_mtu import BASE, MAX_PROBES, RAISE_AFTER
from utcp.wire import ECE, HEADER_LENGTH, encode
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.segment import CONGESTION_EXPERIENCED


@pytest.mark.parametrize(("seq", "echoed"), [(1, True), (1 << 30, False), (-1000, False)])
@pytest.mark.rfc("3168", "6.1.5-2")
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


@pytest.mark.rfc("3168", "6.1.1-6")
def test_a_plain_syn_that_comes_again_ends_ecn() -> None:
    """RFC 3168 6.1.1: the first, which asked, may have been lost for asking."""
    t = Script(ecn="accept")
    t.listen()
    t.receives(f"SEW 0:0 <mss {MSS}>")
    t.sends("SE. 0:0 ack 1")
    t.receives(f"S 0:0 <mss {MSS}>")
    t.sends("S. 0:0 ack 1")
    t.receives(". 1:1 ack 1")
    assert not t.accept().ecn.agreed


@pytest.mark.rfc("6928", "2-4")
def test_the_first_window_offered_takes_ten_segments() -> None:
    """RFC 6928 2: else the peer's initial window would be of no use."""
    t = established()
    assert t.info.rcv_wnd >= 10 * MSS


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.rfc("8899", "3-14")
def test_a_probe_of_the_path_mtu_waits_for_the_congestion_window(room: bool) -> None:
    """RFC 8899 3 (7)."""
    t = established(mss=1400, options="mss 1400")
    t.write(BASE)
    t.drain()
    connection = t.connection
    connection.path_mtu.black_hole_suspected(2, t.connection.mss, t.now)
    connection.use_mss(connection.path_mtu.size, t.now)
    probe = connection.path_mtu.due(1 << 16, t.now)
    assert probe > BASE
    connection.congestion.cwnd = BASE + probe - (not room)
    t.write(20 * BASE)
    assert [len(segment.payload) for segment in t.drain()] == [probe if room else BASE]


@pytest.mark.rfc("8899", "5.1.1-2", "5.1.2-1", "5.1.2-2")
def test_constants_of_the_search_for_the_path_mtu() -> None:
    """RFC 8899 5.1; tests of the search itself go by their names."""
    assert (BASE + HEADER_LENGTH + TIMESTAMPS_LENGTH, MAX_PROBES, RAISE_AFTER) == (1200, 3, 600.0)
