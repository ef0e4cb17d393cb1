"""Retransmission: the timer (RFC 6298), fast retransmit and recovery (RFC 5681, 6582, 3042), the congestion window."""

from dataclasses import replace
from typing import Any

import pytest

from tests.tcp.notation import stream
from tests.tcp.pair import Pair
from tests.tcp.reach import established, fin_wait_1, syn_sent
from tests.tcp.script import MSS, Script
from utcp.errors import FinTimedOut, RetransmissionTimedOut, UserTimedOut
from utcp.tcp.event import ENDED, TROUBLE
from utcp.tcp.rtt import RttEstimator
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1
from utcp.wire import FIN, RST


def in_flight(segments: int, **knobs: Any) -> Script:
    """So many full segments of a longer stream have left, as many as the congestion window lets go."""
    t = established(congestion_control="newreno", **knobs)
    assert t.info.snd_cwnd == 10 * MSS  # RFC 6928
    t.write(1000 * segments if segments < 10 else 100_000)
    assert sum(len(segment.payload) for segment in t.drain()) == 1000 * segments
    return t


# --- RFC 6298: the numbers


@pytest.mark.rfc9293("MUST-18")
@pytest.mark.rfc("6298", "2.2")
def test_first_sample() -> None:
    """2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR."""
    t = established(rtt=0.1)
    assert (t.info.rtt, t.info.rttvar, t.info.rto) == pytest.approx((0.1, 0.05, 0.3))
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.sends_at(0.4, "P. 1:101 ack 1")


@pytest.mark.rfc9293("MUST-18")
@pytest.mark.rfc("6298", "2.3", "2.3-a", "3-3")
def test_second_sample() -> None:
    """2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'|, SRTT = 7/8 SRTT + 1/8 R'."""
    t = established(rtt=0.1)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.advance(0.2)
    t.receives(". 1:1 ack 101")
    assert (t.info.rtt, t.info.rttvar, t.info.rto) == pytest.approx((0.1125, 0.0625, 0.3625))
    t.write(100)
    t.sends("P. 101:201 ack 1")
    t.sends_after(0.3625, "P. 101:201 ack 1")


@pytest.mark.rfc("6298", "2.1")
def test_before_the_first_sample_rto_is_1_second() -> None:
    """2.1."""
    t = syn_sent()
    assert t.info.rtt == 0
    assert t.info.rto == 1.0


def test_rto_has_a_lower_bound() -> None:
    """It bounds what RTO has beyond SRTT."""
    t = established(rtt=0.001)
    assert t.info.rto == pytest.approx(0.201)
    assert established(rtt=0.001, rto_min=1.0).info.rto == pytest.approx(1.001)


@pytest.mark.rfc("6298", "2.5")
def test_rto_has_an_upper_bound() -> None:
    """2.5."""
    assert established(rtt=0.9, rto_max=2.0).info.rto == 2.0


@pytest.mark.rfc9293("MUST-19")
@pytest.mark.rfc("6298", "5.5", "5.6")
def test_timeout_doubles_rto() -> None:
    """5.5."""
    t = established(rtt=0.1)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    for time in (0.4, 1.0, 2.2, 4.6, 9.4):
        t.sends_at(time, "P. 1:101 ack 1")
    assert t.stack.counters.timeouts == 5
    assert t.stack.counters.retrans_segs == 5


@pytest.mark.rfc("6298", "2.5")
def test_backed_off_rto_has_an_upper_bound() -> None:
    t = established(rtt=0.1, rto_max=1.0)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    for time in (0.4, 1.0, 2.0, 3.0, 4.0):
        t.sends_at(time, "P. 1:101 ack 1")


@pytest.mark.rfc9293("MUST-18")
@pytest.mark.rfc("6298", "3-1")
def test_karn_a_retransmitted_segment_gives_no_sample_and_keeps_the_back_off() -> None:
    """3, 5 (MUST-18)."""
    t = established(rtt=0.1)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.sends_at(0.4, "P. 1:101 ack 1")
    t.advance(0.1)
    t.receives(". 1:1 ack 101")
    assert t.info.rtt == pytest.approx(0.1)
    t.write(100)
    t.sends("P. 101:201 ack 1")
    t.sends_after(0.6, "P. 101:201 ack 1")


def test_new_sample_ends_the_back_off() -> None:
    t = established(rtt=0.1)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.sends_at(0.4, "P. 1:101 ack 1")
    t.receives(". 1:1 ack 101")
    t.write(100)
    t.sends("P. 101:201 ack 1")
    t.advance(0.1)
    t.receives(". 1:1 ack 201")
    assert t.info.rto == pytest.approx(0.1 + max(4 * 0.0375, 0.2))


@pytest.mark.rfc("6298", "3-2")
@pytest.mark.rfc("7323", "4.1-1")
def test_timestamps_measure_retransmitted_segments() -> None:
    """RFC 7323 4.1: the echo says which transmission it answers, so Karn's ambiguity is gone."""
    t = established(rtt=0.1, options="mss 1000,ts 100")
    t.write(100)
    t.sends("P. 1:101 ack 1 <ts>")
    t.sends_at(0.4, "P. 1:101 ack 1 <ts>")
    t.advance(0.1)
    t.receives(". 1:1 ack 101")
    assert t.info.rto < 0.35


@pytest.mark.rfc("7323", "4.1-1")
def test_timestamps_of_an_ack_that_moves_nothing_measure_nothing() -> None:
    """RFC 7323 4.1."""
    t = established(rtt=0.1, options="mss 1000,ts 100")
    t.write(100)
    t.sends("P. 1:101 ack 1 <ts>")
    t.sends_at(0.4, "P. 1:101 ack 1 <ts>")
    t.advance(0.1)
    t.receives(". 1:1 ack 1")
    assert t.info.rtt == pytest.approx(0.1)


@pytest.mark.rfc("7323", "4.2-1")
def test_many_acks_of_one_round_trip_are_one_measurement() -> None:
    """RFC 7323 4.2: else ten samples would drive out what was learned before."""
    t = in_flight(10, rtt=0.1, options="mss 1000")
    t.advance(0.2)
    for ack in range(1001, 10_002, 1000):
        t.receives(f". 1:1 ack {ack}")
        t.drain()
    assert (t.info.rtt, t.info.rttvar) == pytest.approx((0.1125, 0.0625))


@pytest.mark.rfc("6298", "4-1")
def test_variance_is_never_less_than_the_clocks_granularity() -> None:
    """4: RTO = SRTT + G when all measurements are alike."""
    rtt = RttEstimator(1.0, 0.0, 60.0)
    for count in range(200):
        rtt.sample(0.5, count)
    assert rtt.rto == pytest.approx(0.501)


@pytest.mark.rfc("6298", "5-1", "5.3")
def test_ack_of_new_data_restarts_the_timer() -> None:
    """5.3."""
    t = established(rtt=0.1)
    t.write(2000)
    t.sends(". 1:1001 ack 1", "P. 1001:2001 ack 1")
    t.advance(0.2)
    t.receives(". 1:1 ack 1001")
    t.sends_after(0.3625, "P. 1001:2001 ack 1")


def test_duplicate_ack_does_not_restart_the_timer() -> None:
    t = established(rtt=0.1)
    t.write(1000)
    t.sends("P. 1:1001 ack 1")
    t.advance(0.2)
    t.receives(". 1:1 ack 1")
    t.sends_at(0.4, "P. 1:1001 ack 1")


@pytest.mark.rfc("6298", "5.2")
def test_ack_of_everything_stops_the_timer() -> None:
    """5.2."""
    t = established()
    t.write(1000)
    t.sends("P. 1:1001 ack 1")
    t.receives(". 1:1 ack 1001")
    t.silent_for(3600)


@pytest.mark.rfc("6298", "5.1")
def test_new_data_does_not_restart_a_running_timer() -> None:
    """5.1."""
    t = established(rtt=0.1)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.advance(0.2)
    t.write(100)
    t.sends("P. 101:201 ack 1")
    t.advance(0.1)
    assert t.flow.seq(t.drain()[0]) == 1


def test_after_a_lost_syn_data_begins_with_3_seconds() -> None:
    """5.7."""
    t = syn_sent()
    t.sends_at(1, "S 0:0")
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.sends(". 1:1 ack 1")
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.sends_after(3.0, "P. 1:101 ack 1")


@pytest.mark.rfc("6298", "5.4")
def test_only_the_first_segment_is_sent_again() -> None:
    """5.4; the loss window is one segment (RFC 5681 3.1)."""
    t = in_flight(10)
    t.sends_after(0.2, ". 1:1001 ack 1")
    assert t.info.snd_cwnd == MSS
    assert t.info.snd_ssthresh == 5 * MSS
    t.sends_after(0.4, ". 1:1001 ack 1")
    assert t.info.snd_ssthresh == 5 * MSS  # RFC 5681 3.1: not lowered again for the same segment


def test_what_is_sent_again_is_what_was_sent() -> None:
    """Segments may be cut anew, octets may not change; the script compares them."""
    t = established()
    t.write(300)
    t.sends("P. 1:301 ack 1")
    t.receives(". 1:1 ack 101")
    t.advance(0.2)
    (again,) = t.drain()
    assert again.payload == stream(101, 301)


def test_after_a_timeout_an_ack_of_everything_ends_the_retransmission() -> None:
    """The rest had arrived; and no ACK ever carried a rewound SND.NXT (known defect 1)."""
    t = in_flight(5)
    t.sends_after(0.2, ". 1:1001 ack 1")
    t.receives("P. 1:101 ack 1")
    t.advance(0.05)
    t.sends_at(0.24, ". 5001:5001 ack 101")
    t.receives(". 101:101 ack 5001")
    t.silent_for(600)


def test_after_a_timeout_everything_is_sent_again_as_acks_arrive() -> None:
    t = in_flight(4)
    t.sends_after(0.2, ". 1:1001 ack 1")
    t.receives(". 1:1 ack 1001")
    t.sends(". 1001:2001 ack 1", ". 2001:3001 ack 1")
    t.receives(". 1:1 ack 3001")
    t.sends("P. 3001:4001 ack 1")
    t.receives(". 1:1 ack 4001")
    t.silent_for(600)


# --- limits (RFC 9293 3.8.3)


def test_retries_is_r2() -> None:
    """The end that MUST-20 wants; known defect 4."""
    t = established(retries=3)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    for time in (0.2, 0.6, 1.4):
        t.sends_at(time, "P. 1:101 ack 1")
    t.silent_for(1.5)
    assert t.state == ESTABLISHED
    t.advance(0.2)
    assert all(segment.flags & RST for segment in t.drain())
    assert t.state == CLOSED
    assert isinstance(t.error, RetransmissionTimedOut)
    assert t.stack.next_timeout() is None
    assert not t.stack.connections


@pytest.mark.rfc9293("SHLD-11")
def test_r2_is_100_seconds_at_least_by_default() -> None:
    t = established()
    t.write(100)
    t.advance(100)
    t.drain()
    assert t.state == ESTABLISHED
    t.advance(1800)
    assert t.state == CLOSED


@pytest.mark.rfc9293("MUST-21")
def test_r2_is_set_for_one_connection() -> None:
    t = Script(retries=3)
    patient = replace(t.stack.config, retries=5)
    t.connection = t.stack.connect("peer", 80, t.now, local_port=50000, config=patient)
    t.flow = t.flow_to(80, 50000)
    t.sends("S 0:0")
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.sends(". 1:1 ack 1")
    t.write(100)
    t.advance(6.3)
    assert len(t.drain()) == 1 + 5


@pytest.mark.rfc9293("MUST-47", "SHLD-9", "SHLD-10")
def test_user_hears_of_trouble_at_r1() -> None:
    """The third retransmission; once, and again only after progress."""
    t = established()
    t.connection.take_events()
    t.write(200)
    t.advance(1.3)
    t.drain()
    assert not t.connection.take_events()
    t.advance(0.2)
    assert t.connection.take_events() == TROUBLE
    t.advance(10)
    t.drain()
    assert t.state == ESTABLISHED
    assert not t.connection.take_events()
    t.receives(". 1:1 ack 101")
    t.advance(120)
    t.drain()
    assert t.connection.take_events() == TROUBLE


def test_progress_counts_anew() -> None:
    t = established(retries=3)
    t.write(3000)
    t.drain()
    for acked in (1001, 2001):
        t.advance(2.9)
        t.drain()
        t.receives(f". 1:1 ack {acked}")
        t.drain()
        assert t.state == ESTABLISHED


def test_data_before_a_fin_is_bounded_by_fin_retries() -> None:
    t = established(fin_retries=2)
    t.write(100)
    t.close()
    t.sends("F. 1:101 ack 1")
    t.sends_at(0.2, "F. 1:101 ack 1")
    t.sends_at(0.6, "F. 1:101 ack 1")
    t.sends_at(1.4, "R? 102:102")
    assert isinstance(t.error, FinTimedOut)


def test_half_closed_connection_has_the_users_patience() -> None:
    """After a mere shutdown in ESTABLISHED the application still owns the connection: R2 is `retries`."""
    t = established(retries=4, fin_retries=1)
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    for time in (0.2, 0.6, 1.4, 3.0):
        t.sends_at(time, "F. 1:1 ack 1")
    assert t.state == FIN_WAIT_1
    t.advance(3.3)
    t.drain()
    assert t.state == CLOSED
    assert t.error is not None


def test_user_timeout() -> None:
    """RFC 9293 3.10.8."""
    t = established(user_timeout=5.0)
    t.write(100)
    t.advance(4.9)
    t.drain()
    assert t.state == ESTABLISHED
    t.advance(0.2)
    t.drain()
    assert t.state == CLOSED
    assert isinstance(t.error, UserTimedOut)


def test_user_timeout_does_not_end_an_idle_connection() -> None:
    """Known defect 35."""
    t = established(user_timeout=5.0)
    t.silent_for(100)
    assert t.state == ESTABLISHED
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.advance(0.1)
    t.receives(". 1:1 ack 101")
    t.silent_for(100)
    assert t.state == ESTABLISHED


def test_user_timeout_runs_from_the_last_progress() -> None:
    t = established(user_timeout=5.0)
    t.write(2000)
    t.drain()
    t.advance(4)
    t.drain()
    t.receives(". 1:1 ack 1001")
    t.advance(4)
    t.drain()
    assert t.state == ESTABLISHED
    t.advance(1.1)
    assert t.state == CLOSED


@pytest.mark.rfc9293("MUST-21")
def test_user_timeout_may_exceed_what_retries_allow() -> None:
    """It is R2 then, whatever `retries` says."""
    t = established(retries=2, user_timeout=50.0)
    t.write(100)
    t.advance(49.9)
    t.drain()
    assert t.state == ESTABLISHED
    t.advance(0.2)
    assert isinstance(t.error, UserTimedOut)


@pytest.mark.rfc9293("MUST-21")
def test_user_timeout_of_a_live_connection() -> None:
    """RFC 9293 3.8.3: R2 is the application's, up to infinity and down again; it counts from the call."""
    t = established(user_timeout=5.0)
    t.write(100)
    t.advance(4)
    t.connection.set_user_timeout(100.0)
    t.advance(99)
    t.drain()
    assert t.state == ESTABLISHED
    t.connection.set_user_timeout(None)
    t.advance(10)
    t.drain()
    assert t.state == ESTABLISHED
    t.connection.set_user_timeout(1.0)
    t.advance(1.1)
    assert isinstance(t.error, UserTimedOut)


# --- fast retransmit and recovery


@pytest.mark.rfc("5681", "3.2-3", "3.2-4")
@pytest.mark.rfc("6582", "3.2-1")
def test_three_duplicate_acks_send_the_first_segment_again() -> None:
    """RFC 5681 3.2; ssthresh is half of what was in flight, limited transmit not counted."""
    t = in_flight(10)
    t.receives(". 1:1 ack 1")
    t.sends(". 10001:11001 ack 1")  # RFC 3042
    t.receives(". 1:1 ack 1")
    t.sends(". 11001:12001 ack 1")
    t.receives(". 1:1 ack 1")
    again = t.drain()[0]
    assert t.flow.seq(again) == 1
    assert len(again.payload) == MSS
    assert t.info.snd_ssthresh == 5 * MSS


@pytest.mark.rfc("5681", "3.2-4")
def test_two_duplicate_acks_do_not() -> None:
    t = in_flight(10)
    t.receives(". 1:1 ack 1", ". 1:1 ack 1")
    t.sends(". 10001:11001 ack 1", ". 11001:12001 ack 1")
    t.receives(". 1:1 ack 12001")
    assert t.info.total_retrans == 0


@pytest.mark.rfc("5681", "3.2-3")
def test_limited_transmit_respects_the_peers_window() -> None:
    t = established(window=10_000)
    t.write(100_000)
    t.drain()
    t.receives(". 1:1 ack 1")
    t.silent()


@pytest.mark.rfc("5681", "3.2-4")
def test_acks_that_are_no_duplicates() -> None:
    """RFC 5681 2: nothing in flight, with data, or with another window."""
    t = in_flight(10, window=60_000)
    t.receives(*(f". 1:1 ack 1 win {window}" for window in range(60_100, 60_700, 100)))
    t.receives(*(f"P. {start}:{start + 10} ack 1 win 60600" for start in range(1, 61, 10)))
    t.silent()
    assert t.info.total_retrans == 0
    t = established()
    for _ in range(6):
        t.receives(". 1:1 ack 1")
    t.silent()


@pytest.mark.rfc("6582", "3.2-3")
def test_full_ack_ends_recovery() -> None:
    """RFC 6582 3.2 step 3."""
    t = in_flight(10)
    t.receives(*[". 1:1 ack 1"] * 3)
    t.drain()
    sent = t.flow.snd_nxt
    t.receives(f". 1:1 ack {sent}")
    assert MSS <= t.info.snd_cwnd <= 5 * MSS
    assert t.info.total_retrans == 1
    assert len(t.drain()) <= 5


@pytest.mark.rfc("5681", "4.3-1")
@pytest.mark.rfc("6582", "3.2-4")
def test_partial_ack_sends_the_next_hole_at_once() -> None:
    """RFC 6582 3.2 step 3; known defect 15."""
    t = in_flight(10)
    t.receives(*[". 1:1 ack 1"] * 3)
    t.drain()
    t.receives(". 1:1 ack 3001")
    assert t.flow.seq(t.drain()[0]) == 3001
    t.receives(". 1:1 ack 6001")
    assert t.flow.seq(t.drain()[0]) == 6001
    assert t.info.snd_ssthresh == 5 * MSS  # one reduction for one window's losses
    assert t.info.total_retrans == 3


@pytest.mark.rfc("5681", "3.2-6")
def test_duplicate_acks_in_recovery_let_new_segments_go() -> None:
    """RFC 5681 3.2 step 4: each tells that one more has left the network."""
    t = in_flight(10)
    t.receives(*[". 1:1 ack 1"] * 3)
    t.drain()
    before = t.flow.snd_nxt
    for _ in range(7):
        t.receives(". 1:1 ack 1")
        t.drain()
    assert before < t.flow.snd_nxt <= before + 7 * MSS


def test_lost_retransmission_is_left_to_the_timer() -> None:
    t = in_flight(5)
    t.receives(*[". 1:1 ack 1"] * 3)
    t.drain()
    t.receives(". 1:1 ack 1")
    t.drain()
    t.advance(0.3)
    assert t.flow.seq(t.drain()[0]) == 1


@pytest.mark.rfc("6582", "3.2-2", "3.2-7")
def test_duplicate_acks_after_a_timeout_do_not_start_recovery_again() -> None:
    """RFC 6582 3.2 step 1, 4.1: they may come from retransmissions that were not needed."""
    t = in_flight(10)
    t.sends_after(0.2, ". 1:1001 ack 1")
    t.receives(*[". 1:1 ack 1"] * 3)
    t.drain()
    assert t.info.snd_ssthresh == 5 * MSS
    assert t.info.snd_cwnd == MSS


def test_fast_retransmit_of_a_segment_that_carries_the_fin() -> None:
    t = established()
    t.write(4000)
    t.close()
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", ". 2001:3001 ack 1", "F. 3001:4001 ack 1")
    t.receives(". 1:1 ack 3001")
    t.receives(*[". 1:1 ack 3001"] * 3)
    t.advance(0.3)
    assert any(segment.flags & FIN for segment in t.drain())
    t.receives(". 1:1 ack 4002")
    assert t.error is None


def test_fin_alone_in_flight_is_retransmitted_whatever_duplicate_acks_arrive() -> None:
    """Known defect 20."""
    t = fin_wait_1()
    t.receives(*[". 1:1 ack 1"] * 5)
    t.drain()
    t.advance(0.45)
    assert t.drain()
    t.receives(". 1:1 ack 2")
    t.silent_for(30)


# --- the congestion window


def acknowledge(t: Script, octets: int) -> None:
    """The peer acknowledges so much more, one full segment at a time."""
    for _ in range(octets // MSS):
        una = t.connection.info().bytes_acked + 1
        t.receives(f". 1:1 ack {una + MSS}")
        t.drain()


@pytest.mark.rfc("6928", "2-1")
def test_initial_window() -> None:
    """RFC 6928."""
    t = established()
    t.write(100_000)
    assert len(t.drain()) == 10


@pytest.mark.rfc("5681", "3.1-2")
def test_initial_window_after_lost_syns_is_one_segment() -> None:
    """RFC 5681 3.1."""
    t = syn_sent()
    for time in (1, 3, 7):
        t.sends_at(time, "S 0:0")
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.sends(". 1:1 ack 1")
    t.write(10_000)
    t.sends(". 1:1001 ack 1")


@pytest.mark.rfc9293("MUST-19")
def test_slow_start_doubles_in_a_round_trip() -> None:
    """RFC 5681 3.1 (MUST-19)."""
    t = in_flight(10)
    acknowledge(t, 10_000)
    assert 19 * MSS <= t.info.snd_cwnd <= 20 * MSS


@pytest.mark.rfc("5681", "3.1-4")
def test_slow_start_counts_octets_not_acks() -> None:
    """RFC 3465: a peer that splits its ACKs gains nothing."""
    t = in_flight(10)
    t.receives(*(f". 1:1 ack {ack}" for ack in range(101, 1002, 100)))
    assert t.info.snd_cwnd <= 11 * MSS
    t.drain()
    t.receives(f". 1:1 ack {t.flow.snd_nxt}")
    assert t.info.snd_cwnd <= 21 * MSS


@pytest.mark.rfc9293("MUST-19")
def test_congestion_avoidance_adds_a_segment_in_a_round_trip() -> None:
    t = in_flight(10)
    t.sends_after(0.2, ". 1:1001 ack 1")
    t.receives(". 1:1 ack 10001")
    t.drain()
    while t.info.snd_cwnd < t.info.snd_ssthresh:
        acknowledge(t, MSS)
    before = t.info.snd_cwnd
    for _ in range(5):
        acknowledge(t, t.info.snd_cwnd)
    assert before + 4 * MSS <= t.info.snd_cwnd <= before + 5 * MSS


def test_window_that_is_not_used_does_not_grow() -> None:
    """RFC 7661; RFC 5681 4.1: only a sender that the window held back learns anything from an ACK."""
    t = established()
    for start in range(1, 5000, 100):
        t.write(100)
        t.sends(f"P. {start}:{start + 100} ack 1")
        t.receives(f". 1:1 ack {start + 100}")
        t.silent()
    assert t.info.snd_cwnd == 10 * MSS


@pytest.mark.rfc("6928", "2-2")
def test_idle_connection_restarts_with_the_restart_window() -> None:
    """RFC 5681 4.1."""
    t = in_flight(10)
    acknowledge(t, 20_000)
    t.receives(f". 1:1 ack {t.flow.snd_nxt}")
    t.drain()
    while t.connection.send_queue:
        t.receives(f". 1:1 ack {t.flow.snd_nxt}")
        t.drain()
    assert t.info.snd_cwnd > 20 * MSS
    t.advance(10)
    t.write(100_000)
    assert len(t.drain()) <= 10


# --- two stacks


def test_outage_longer_than_many_timeouts_is_survived() -> None:
    """Known defect 1: after it both sides agree."""
    p = Pair()
    near, far = p.established()
    near.send(stream(0, 50_000))
    far.send(stream(0, 50_000))
    p.run_for(0.03)
    p.rule = lambda packet: ()
    p.run_for(20)
    p.rule = lambda packet: (0.0,)
    got, back = bytearray(), bytearray()

    def all_there() -> bool:
        got.extend(far.read())
        back.extend(near.read())
        return len(got) == len(back) == 50_000

    p.run(all_there)
    assert bytes(got) == bytes(back) == stream(0, 50_000)


@pytest.mark.parametrize("start", [0.0, 0.01, 0.02, 0.03, 0.05, 0.1])
@pytest.mark.parametrize("length", [0.1, 0.5, 3.0, 30.0])
def test_outages_at_every_moment_of_a_close(start: float, length: float) -> None:
    p = Pair(lambda packet: () if start <= packet.time - began < start + length else (0.0,))
    began = 1e9
    near, far = p.established()
    began = p.time
    near.send(stream(0, 30_000))
    near.close(p.now)
    got = bytearray()

    def done() -> bool:
        got.extend(far.read())
        if far.at_eof:
            far.close(p.now)
        return far.state == CLOSED

    p.run(done)
    assert bytes(got) == stream(0, 30_000)
    assert far.error is None
    assert near.error is None
    assert near.take_events() & ENDED


def test_one_loss_in_a_long_transfer_costs_no_timeout() -> None:
    p = Pair()
    near, far = p.established()
    seen = 0

    def rule(packet: object) -> tuple[float, ...]:
        nonlocal seen
        seen += 1
        return () if seen == 40 else (0.0,)

    p.rule = rule
    near.send(stream(0, 200_000))
    got = 0

    def all_there() -> bool:
        nonlocal got
        got += len(far.read())
        return got == 200_000

    p.run(all_there)
    assert p.client.counters.timeouts == 0
    assert p.client.counters.retrans_segs <= 2
