"""A segment that lies wholly before RCV.NXT is not acceptable, but what it newly acknowledges counts (RFC 9293 A.2):
the peer sends such a segment when an ACK was lost. And the RST that answers text after close()."""

import pytest

from tests.tcp.pair import DROP, PASS, Pair
from tests.tcp.reach import closing, established, fin_wait_1, last_ack, simultaneous_open
from tests.tcp.script import MSS
from utcp.errors import ConnectionReset
from utcp.tcp.state import CLOSED, CLOSING, FIN_WAIT_2, LAST_ACK, SYN_RCVD, TIME_WAIT
from utcp.wire import FIN


@pytest.mark.defect(49)
def test_repeated_fin_that_acknowledges_ours_ends_closing() -> None:
    """The pure ACK of our FIN was lost, and so was our ACK."""
    t = closing()
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT
    assert t.ended
    t.silent_for(59)


@pytest.mark.defect(49)
def test_repeated_fin_that_acknowledges_nothing_new_leaves_closing() -> None:
    t = closing()
    t.receives("F. 1:1 ack 1")
    t.sends(". 2:2 ack 2")
    assert t.state == CLOSING


@pytest.mark.defect(49)
@pytest.mark.parametrize("line", [". 1:1 ack 2", "F. 1:1 ack 2"], ids=["keepalive", "FIN"])
def test_what_repeats_the_fins_octet_may_acknowledge_ours_in_last_ack(line: str) -> None:
    t = last_ack()
    t.receives(line)
    t.silent()
    assert t.state == CLOSED
    assert t.error is None
    assert t.stack.endings.delivered == 1


@pytest.mark.defect(49)
def test_repeated_text_may_acknowledge_our_fin() -> None:
    t = established(delayed_ack=0.0)
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")
    t.read()
    t.close()
    t.sends("F. 1:1 ack 101")
    t.receives("P. 1:101 ack 2")
    t.sends(". 2:2 ack 101")
    assert t.state == FIN_WAIT_2
    t.silent_for(59)
    t.advance(2)
    assert t.state == CLOSED, "a close waits for the peer's FIN no longer than fin_wait_2_timeout"


@pytest.mark.defect(49)
def test_repeated_text_may_acknowledge_ours() -> None:
    t = established(options=f"mss {MSS},sackOK", delayed_ack=0.0)
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")
    t.write(100)
    t.sends("P. 1:101 ack 101")
    t.receives("P. 1:101 ack 101 win 500")
    t.sends(". 101:101 ack 101 <sack 1:101>")
    assert t.connection.send_queue == 0
    assert t.info.snd_wnd == 500
    t.silent_for(60)


@pytest.mark.defect(49)
def test_old_segments_are_no_duplicate_acks() -> None:
    t = established(delayed_ack=0.0)
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")
    t.write(4000)
    t.drain()
    for _ in range(4):
        t.receives("P. 1:101 ack 1 win 500")
        t.sends(". 4001:4001 ack 101")
    assert t.info.snd_wnd == 65535


@pytest.mark.defect(49)
def test_ack_of_nothing_that_was_sent_is_not_read_there() -> None:
    t = last_ack()
    t.receives("F. 1:1 ack 3")
    t.sends(". 2:2 ack 2")
    assert t.state == LAST_ACK


@pytest.mark.defect(49)
def test_old_segment_completes_no_handshake() -> None:
    t = simultaneous_open()
    t.receives(". 0:0 ack 1")
    t.drain()
    assert t.state == SYN_RCVD


@pytest.mark.defect(49)
def test_old_by_more_than_a_window_is_a_guess() -> None:
    t = fin_wait_1(recv_buffer=4096)
    t.receives(". -4096:-4096 ack 2")
    t.drain()
    assert not t.ended
    t.receives(". -4095:-4095 ack 2")
    t.drain()
    assert t.state == FIN_WAIT_2


@pytest.mark.defect(49)
def test_simultaneous_close_whose_acks_are_all_lost_ends_with_the_first_repetition() -> None:
    """Each FIN comes again, is old, and acknowledges the other one."""
    p = Pair()
    near, far = p.established()
    p.rule = lambda packet: PASS if packet.segment.flags & FIN else DROP
    near.close(p.now)
    far.close(p.now)
    began = p.time
    p.run(lambda: near.ended and far.ended)
    assert p.time - began < 0.3, "a retransmission timeout, and no more"
    assert near.error is far.error is None


@pytest.mark.defect(50)
def test_reset_for_text_after_close_is_exact_for_a_peer_without_our_fin() -> None:
    """RFC 9293 3.5.2, group 1: SEQ=SEG.ACK. A RST elsewhere in the window would be challenged (RFC 5961 3.2), and our
    process may be gone by then. If the FIN arrives first, the second RST is exact, and the first one old."""
    t = fin_wait_1()
    t.receives("P. 1:101 ack 1")
    t.sends("R 1:1", "R 2:2")
    assert t.state == CLOSED


@pytest.mark.defect(50)
def test_reset_for_text_after_close_at_a_closed_window_is_one() -> None:
    t = established(window=0)
    t.write(100)
    t.sends_after(0.2, ". 1:2 ack 1")
    t.close()
    t.silent()
    t.receives("P. 1:101 ack 1")
    t.sends("R 1:1")


@pytest.mark.defect(50)
def test_reset_for_text_after_an_acknowledged_fin_is_one() -> None:
    t = fin_wait_1()
    t.receives(". 1:1 ack 2")
    t.receives("P. 1:101 ack 1")  # sent before that
    t.sends("R 2:2")


@pytest.mark.defect(50)
@pytest.mark.parametrize("fin_is_lost", [False, True])
def test_peer_learns_at_once_that_its_text_came_after_close(fin_is_lost: bool) -> None:
    """And nothing needs to be asked of the side that is gone."""
    p = Pair()
    near, far = p.established()
    p.rule = lambda packet: DROP if fin_is_lost and packet.segment.flags & FIN else PASS
    near.close(p.now)
    far.send(b"too late")
    before = p.counts["server"]
    p.run(lambda: far.ended)
    assert isinstance(far.error, ConnectionReset)
    assert p.counts["server"] - before == (1 if fin_is_lost else 2), "the text, and the ACK of the FIN: no challenge"
