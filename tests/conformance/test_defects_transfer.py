"""Known defects of carrying data: numbers, windows, timers, loss."""

from itertools import pairwise

import pytest

from tests.tcp.reach import established
from tests.tcp.script import Script
from utcp.errors import RetransmissionTimedOut
from utcp.tcp.state import CLOSED, ESTABLISHED
from utcp.wire.seq import diff


def in_flight(segments: int) -> Script:
    t = established()
    t.write(1000 * segments)
    assert len(t.drain()) == segments
    return t


@pytest.mark.defect(1)
def test_acks_and_resets_after_a_timeout_carry_snd_nxt() -> None:
    """A retransmission resends a range; SND.NXT does not go back to it."""
    t = established()
    t.write(3000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:3001 ack 1")
    t.sends_after(0.2, ". 1:1001 ack 1")
    t.receives(". 1:1001 ack 1", "P. 1001:2001 ack 1")
    assert {t.flow.seq(ack) for ack in t.drain() if not ack.payload} == {3001}
    t.abort()
    t.sends("R? 3001:3001")


@pytest.mark.defect(1)
def test_acks_and_resets_after_a_fast_retransmission_carry_snd_nxt() -> None:
    t = in_flight(4)
    t.receives(*[". 1:1 ack 1"] * 3)
    t.sends(". 1:1001 ack 1")
    t.receives(". 1:1001 ack 1", "P. 1001:2001 ack 1")
    t.sends(". 4001:4001 ack 2001")
    t.abort()
    t.sends("R? 4001:4001")


@pytest.mark.defect(1)
def test_outage_on_both_sides_ends_in_agreement() -> None:
    """Both peers have timed out and resend; each accepts the other's ACKs at once."""
    t = established()
    t.write(2000)
    t.drain()
    t.advance(3.0)  # several timeouts
    t.drain()
    t.receives(". 1:1001 ack 1")
    t.receives("P. 1001:2001 ack 2001")
    acks = t.drain()
    assert {t.flow.seq(ack) for ack in acks} == {2001}
    assert t.connection.send_queue == 0
    assert t.read() == 2000


@pytest.mark.defect(3)
@pytest.mark.parametrize("flags", ["", "P", "F"])
def test_ack_of_what_was_never_sent_is_refused_with_its_segment(flags: str) -> None:
    """RFC 9293 3.10.7.4, fifth check: ACK, drop."""
    t = established()
    t.write(100)
    t.drain()
    end = 101 if flags == "P" else 1
    t.receives(f"{flags}. 1:{end} ack 102")
    t.sends(". 101:101 ack 1")
    assert t.connection.send_queue == 100
    assert t.connection.readable == 0
    assert t.state == ESTABLISHED


@pytest.mark.defect(4)
def test_dead_peer_is_given_up_by_default() -> None:
    """MUST-20: R2."""
    t = established()
    t.write(100)
    t.advance(3600)
    t.drain()
    assert isinstance(t.error, RetransmissionTimedOut)
    assert t.state == CLOSED
    assert t.stack.next_timeout() is None


@pytest.mark.defect(5)
def test_octet_of_a_window_probe_counts_in_snd_nxt() -> None:
    t = established(window=0)
    t.write(100)
    t.silent()
    t.sends_after(0.2, ". 1:2 ack 1")
    t.receives("P. 1:11 ack 1 win 0")
    t.advance(0.04)
    t.sends(". 1:1 ack 11")
    t.receives(". 11:11 ack 2 win 0")
    t.silent()
    t.receives(". 11:11 ack 2 win 1000")
    t.sends("P. 2:101 ack 11")


def right_edges(t: Script) -> list[int]:
    """SEG.ACK + SEG.WND of what has left now: how far the peer may send."""
    shift = 0 if t.flow.peer_shift is None else t.flow.our_shift or 0
    return [diff(ack.ack, t.flow.peer_iss) + (ack.window << shift) for ack in t.drain()]


@pytest.mark.defect(10)
@pytest.mark.parametrize("options", ["mss 1000", "mss 1000,wscale 7"])
def test_right_window_edge_never_moves_left(options: str) -> None:
    """SHLD-14: whether the user reads or not, and whatever the scale rounds away."""
    t = established(options=options, recv_buffer=200_000, delayed_ack=0.0)
    edges: list[int] = []
    seq = 1
    for size in (1000, 1, 999, 127, 129, 3, 1000, 640) * 8:
        t.receives(f". {seq}:{seq + size} ack 1")
        seq += size
        edges += right_edges(t)
        if seq % 3 == 0:
            t.read(size // 2)
            edges += right_edges(t)
    assert len(edges) >= 64
    assert all(before <= after for before, after in pairwise(edges))


@pytest.mark.defect(15)
@pytest.mark.rfc("6582", "3.2-4")
def test_partial_ack_in_recovery_resends_the_next_hole() -> None:
    """RFC 6582 3.2 step 3."""
    t = in_flight(8)
    t.receives(*[". 1:1 ack 1"] * 3)
    t.sends(". 1:1001 ack 1")
    t.receives(". 1:1 ack 3001")
    assert t.flow.seq(t.drain()[0]) == 3001
    t.receives(". 1:1 ack 5001")
    assert t.flow.seq(t.drain()[0]) == 5001


@pytest.mark.defect(15)
@pytest.mark.rfc("5681", "3.2-3")
def test_first_duplicate_acks_let_new_segments_go() -> None:
    """RFC 3042, limited transmit."""
    t = established()
    t.write(20_000)
    assert t.flow.seq(t.drain()[-1]) == 9001  # the congestion window is full
    t.receives(". 1:1 ack 1")
    t.sends(". 10001:11001 ack 1")
    t.receives(". 1:1 ack 1")
    t.sends(". 11001:12001 ack 1")


@pytest.mark.defect(16)
def test_partial_ack_with_a_closed_window_keeps_the_retransmission_timer() -> None:
    """A persist timer stands beside it, never in its place."""
    t = established(window=2000)
    t.write(3000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.receives(". 1:1 ack 1001 win 0")
    t.sends_after(0.2, ". 1001:2001 ack 1")
    t.sends_after(0.4, ". 1001:2001 ack 1")


@pytest.mark.defect(18)
def test_sender_waits_for_more_than_a_silly_window() -> None:
    """MUST-38: 10 octets are no window for 3000."""
    t = established(window=2000)
    t.write(5000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.receives(". 1:1 ack 2001 win 10")
    t.silent()
    t.receives(". 1:1 ack 2001 win 2000")
    t.sends(". 2001:3001 ack 1", ". 3001:4001 ack 1")


@pytest.mark.defect(18)
def test_receiver_offers_no_silly_window() -> None:
    """MUST-39: the edge waits for a segment's worth of room."""
    t = established(recv_buffer=4096, delayed_ack=0.0)
    t.receives(*(f". {seq}:{seq + 1000} ack 1" for seq in (1, 1001, 2001)), "P. 3001:4001 ack 1")
    t.drain()
    t.receives("P. 4001:4097 ack 1")
    t.sends(". 1:1 ack 4097 win 0")
    for _ in range(9):
        t.read(100)
        t.silent()
    t.receives(". 4097:4098 ack 1")  # a window probe
    t.sends(". 1:1 ack 4097 win 0")
    t.read(100)
    (update,) = t.sends(". 1:1 ack 4097")
    assert update.window >= 1000


@pytest.mark.defect(19)
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.5, 5.0])
def test_window_that_shrank_to_zero_and_opens_again_stalls_nothing(seconds: float) -> None:
    """MUST-34: SND.UNA + SND.WND lies before SND.NXT for a while."""
    t = established(window=2000)
    t.write(5000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.receives(". 1:1 ack 1 win 0")
    t.advance(seconds)
    t.drain()
    t.receives(". 1:1 ack 2001 win 0")
    t.advance(seconds)
    received = max(2001, t.flow.snd_nxt)
    t.drain()
    t.receives(f". 1:1 ack {received} win 60000")
    t.drain()
    assert t.flow.snd_nxt == 5001
    t.receives(". 1:1 ack 5001 win 60000")
    assert t.connection.send_queue == 0
    t.silent_for(60)


@pytest.mark.defect(19)
def test_window_that_shrank_to_zero_is_probed() -> None:
    """The segment that opens it may be lost: the answer to a probe tells it again."""
    t = established(window=2000)
    t.write(5000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.receives(". 1:1 ack 1 win 0")
    t.sends_after(0.2, ". 1:1001 ack 1")
    t.receives(". 1:1 ack 2001 win 0")
    t.silent()
    t.advance(1.0)
    assert t.flow.seq(t.drain()[0]) == 2001
    t.receives(f". 1:1 ack {t.flow.snd_nxt} win 60000")
    t.drain()
    assert t.flow.snd_nxt == 5001


@pytest.mark.defect(35)
def test_idle_connection_outlives_the_user_timeout() -> None:
    """It bounds how long data stays unacknowledged, not how long nobody speaks."""
    t = established(user_timeout=10.0)
    t.write(100)
    t.drain()
    t.receives(". 1:1 ack 101")
    t.silent_for(86_400)
    assert t.state == ESTABLISHED
    t.write(100)
    t.sends("P. 101:201 ack 1")
