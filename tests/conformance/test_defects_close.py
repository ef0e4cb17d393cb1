"""Known defects of closing: FIN, its retransmission and limits, half-close, TIME_WAIT."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from tests.tcp.reach import (
    close_wait,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    time_wait,
)
from tests.tcp.script import Script
from utcp.errors import AddressInUse, FinTimedOut
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    TIME_WAIT,
)
from utcp.trace.ladder import LadderRecorder
from utcp.wire import ACK, FIN, RST
from utcp.wire.seq import add, gt

Reach: TypeAlias = Callable[..., Script]

FINS: tuple[float, ...] = (0.2, 0.6, 1.4, 3.0, 6.2, 12.6, 25.4, 51.0)
"""Seconds after the first FIN at which the default configuration sends it again."""


# --- the peer's FIN


@pytest.mark.defect(6)
def test_time_wait_ends_and_unread_data_stays() -> None:
    t = fin_wait_2(half=True)
    t.receives("F. 1:101 ack 2")
    t.sends(". 2:2 ack 102")
    assert t.state == TIME_WAIT
    t.advance(60.1)
    assert t.state == CLOSED
    assert t.read() == 100
    assert t.connection.at_eof


@pytest.mark.defect(11)
def test_fin_before_a_gap_is_remembered() -> None:
    t = established()
    t.receives("F. 1001:2001 ack 1")
    t.sends(". 1:1 ack 1")
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 2002")
    assert t.state == CLOSE_WAIT
    assert t.read() == 2000
    assert t.connection.at_eof


@pytest.mark.defect(13)
def test_no_data_is_taken_after_the_fin() -> None:
    t = close_wait()
    t.receives("P. 2:102 ack 1")
    t.drain()
    assert t.connection.readable == 0
    assert t.state == CLOSE_WAIT
    t.write(100)
    t.sends("P. 1:101 ack 2")


@pytest.mark.defect(23)
@pytest.mark.parametrize("acked", [1, 2], ids=["FIN_WAIT_1", "FIN_WAIT_2"])
def test_data_out_of_order_after_our_fin_is_held(acked: int) -> None:
    t = established()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.receives(f". 1:1 ack {acked}")
    t.receives(f"F. 1001:2001 ack {acked}")
    t.sends(". 2:2 ack 1")
    t.receives(f". 1:1001 ack {acked}")
    t.sends(". 2:2 ack 2002")
    assert t.read() == 2000
    assert t.state == (CLOSING if acked == 1 else TIME_WAIT)


@pytest.mark.defect(23)
def test_unacceptable_segment_in_closing_gets_an_ack() -> None:
    """The peer's FIN again: the ACK of the first was lost."""
    t = closing()
    t.receives("F. 1:1 ack 1")
    t.sends(". 2:2 ack 2")
    assert t.state == CLOSING


# --- our FIN


@pytest.mark.defect(26)
def test_close_leaves_established_at_once() -> None:
    """However long the FIN waits behind data and a closed window."""
    t = established(window=0)
    t.write(5000)
    t.close()
    t.silent()
    assert t.state == FIN_WAIT_1
    t = close_wait(window=0)
    t.write(5000)
    t.close()
    t.silent()
    assert t.state == LAST_ACK


@pytest.mark.defect(26)
def test_fin_behind_a_closed_window_leaves_when_it_opens() -> None:
    t = established(window=0)
    t.write(100)
    t.close()
    t.receives(". 1:1 ack 1 win 1000")
    t.sends("FP. 1:101 ack 1")


@pytest.mark.defect(27)
def test_fin_does_not_wait_for_the_congestion_window() -> None:
    t = established()
    t.write(10_000)
    assert len(t.drain()) == 10
    assert t.info.unacked == t.info.snd_cwnd
    t.close()
    t.sends("F. 10001:10001 ack 1")


@pytest.mark.defect(27)
def test_rst_does_not_wait_for_the_congestion_window() -> None:
    t = established()
    t.write(20_000)
    t.drain()
    t.abort()
    t.sends("R? 10001:10001")


@pytest.mark.defect(30)
@pytest.mark.parametrize("octets", [1000, 2000, 999])
def test_full_segment_still_has_its_fin(octets: int) -> None:
    t = established()
    t.write(octets)
    t.close()
    segments = t.drain()
    assert sum(bool(segment.flags & FIN) for segment in segments) == 1
    assert segments[-1].flags & FIN
    assert t.flow.snd_nxt == octets + 2


@pytest.mark.defect(20)
def test_duplicate_acks_of_a_lone_fin_leave_its_timer_running() -> None:
    t = fin_wait_1()
    t.receives(*[". 1:1 ack 1"] * 3)
    t.drain()
    t.advance(7.0)
    assert [segment.flags for segment in t.drain()] == [FIN | ACK] * 5


@pytest.mark.defect(36)
@pytest.mark.parametrize(
    ("reach", "fin"),
    [(fin_wait_1, "F. 1:1 ack 1"), (closing, "F. 1:1 ack 2"), (last_ack, "F. 1:1 ack 2")],
    ids=["FIN_WAIT_1", "CLOSING", "LAST_ACK"],
)
def test_fin_is_sent_again_a_bounded_number_of_times(reach: Reach, fin: str) -> None:
    """With its number, doubling the interval; then RST, and silence."""
    t = reach()
    for time in FINS:
        t.sends_at(time, fin)
    t.sends_at(102.2, "R? 2:2")
    assert isinstance(t.error, FinTimedOut)
    t.silent_for(3600)


@pytest.mark.defect(22)
def test_lost_fin_in_closing_is_sent_again() -> None:
    t = closing()
    t.sends_at(0.2, "F. 1:1 ack 2")
    t.receives(". 2:2 ack 2")
    t.silent()
    assert t.state == TIME_WAIT
    t.advance(60.1)
    assert t.state == CLOSED
    assert t.stack.next_timeout() is None


@pytest.mark.defect(25)
@pytest.mark.parametrize("reach", [closing, last_ack])
def test_exhausted_retries_are_an_error(reach: Reach) -> None:
    t = reach(fin_retries=2)
    t.advance(60)
    assert [bool(segment.flags & RST) for segment in t.drain()] == [False, False, True]
    assert t.state == CLOSED
    assert isinstance(t.error, FinTimedOut)
    assert isinstance(t.error, TimeoutError)


# --- LAST_ACK


@pytest.mark.defect(14)
def test_ack_that_does_not_advance_still_opens_the_window_in_last_ack() -> None:
    t = close_wait(window=0)
    t.write(100)
    t.close()
    t.silent()
    t.receives(". 2:2 ack 1 win 1000")
    t.sends("FP. 1:101 ack 2")
    t.receives(". 2:2 ack 102")
    t.silent()
    assert t.state == CLOSED
    assert t.error is None


@pytest.mark.defect(24)
def test_partial_ack_in_last_ack_counts() -> None:
    t = close_wait()
    t.write(2000)
    t.close()
    t.sends(". 1:1001 ack 2", "FP. 1001:2001 ack 2")
    t.receives(". 2:2 ack 1001")
    t.silent()
    assert t.state == LAST_ACK
    assert t.info.unacked == 1001
    t.sends_after(0.2, "FP. 1001:2001 ack 2")
    t.receives(". 2:2 ack 2002")
    t.silent()
    assert t.state == CLOSED
    assert t.error is None


@pytest.mark.defect(41)
def test_syn_in_last_ack_provokes_nothing_that_reads_as_the_ack_of_the_fin() -> None:
    """A tracer that takes any ACK seen in LAST_ACK for the last one is not given one: the answer is a RST whose ACK is
    of the SYN, and the connection is still there."""
    t = last_ack()
    t.receives("S 5000:5000")
    (answer,) = t.sends("R. #0:#0 ack 5001")
    assert answer.flags & RST
    t.sends_at(0.2, "F. 1:1 ack 2")
    assert t.state == LAST_ACK


@pytest.mark.defect(41)
def test_ladder_does_not_take_the_challenge_in_last_ack_for_the_ack_of_the_fin() -> None:
    """`syn_in_last_ack="challenge"` sends that ACK; the ladder's states come from the connection, not from flags."""
    t = last_ack(syn_in_last_ack="challenge")
    recorder = LadderRecorder()
    t.stack.observe(recorder.server)
    recorder.server.state_changed(t.connection, CLOSE_WAIT, LAST_ACK, t.now)
    t.receives("S 5000:5000")
    t.sends(". 2:2 ack 2")
    assert recorder.path("server")[-1] == LAST_ACK
    t.receives(". 2:2 ack 2")
    t.silent()
    assert recorder.path("server")[-1] == CLOSED


# --- FIN_WAIT_2 and half-close


@pytest.mark.defect(17)
@pytest.mark.parametrize("seconds", [60.0, 5.0])
def test_fin_wait_2_ends(seconds: float) -> None:
    t = fin_wait_2(fin_wait_2_timeout=seconds)
    t.silent_for(seconds - 0.1)
    assert t.state == FIN_WAIT_2
    t.silent_for(0.2)
    assert t.state == CLOSED
    assert not t.stack.connections
    assert t.stack.next_timeout() is None


@pytest.mark.defect(29)
def test_half_close_lasts_as_long_as_the_peer_sends() -> None:
    t = fin_wait_2(half=True)
    t.silent_for(30 * 86_400)
    assert t.state == FIN_WAIT_2
    t.receives("P. 1:101 ack 2")
    t.advance(0.04)
    t.sends(". 2:2 ack 101")
    assert t.read() == 100
    t.silent_for(30 * 86_400)
    t.receives("F. 101:101 ack 2")
    t.sends(". 2:2 ack 102")
    assert t.state == TIME_WAIT


# --- TIME_WAIT


@pytest.mark.defect(21)
def test_connecting_from_a_port_in_time_wait_leaves_the_record_alone() -> None:
    t = time_wait()
    t.advance(10)
    with pytest.raises(AddressInUse) as refusal:
        t.stack.connect("peer", 80, t.now, local_port=50000)
    assert refusal.value.seconds == pytest.approx(50)
    assert t.stack.time_wait.seconds_left(t.flow.key, t.now) == pytest.approx(50)
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")


@pytest.mark.defect(21)
def test_new_incarnation_begins_above_the_old_snd_nxt() -> None:
    """RFC 9293 3.6.1: even when the clock of ISNs has not moved since."""
    t = established(passive=True)
    t.write(8000)
    t.close()
    t.drain()
    t.receives("F. 1:1 ack 8002")
    t.sends(". 8002:8002 ack 2")
    assert t.flow.our_iss is not None
    old_snd_nxt = add(t.flow.our_iss, 8002)
    t.receives("S 100000:100000")
    (syn_ack,) = t.drain()
    assert gt(syn_ack.seq, old_snd_nxt)


@pytest.mark.defect(34)
def test_no_timer_but_2_msl_runs_in_time_wait() -> None:
    t = established(keepalive=True, keepalive_idle=1.0, user_timeout=5.0, delayed_ack=0.4)
    t.write(100)
    t.close()
    t.drain()
    t.receives("F. 1:1 ack 102")
    t.sends(". 102:102 ack 2")
    assert t.state == TIME_WAIT
    assert t.stack.next_timeout() == t.now + 60
    t.silent_for(60.1)
    assert t.state == CLOSED
    assert t.stack.next_timeout() is None
