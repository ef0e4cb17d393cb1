"""RACK (RFC 8985 6): what was sent before something that has arrived, and long enough ago, is lost."""

from math import inf

import pytest

from tests.recovery.trace import MSS, OPTIONS, RTT, recovery, sender, seqs
from tests.tcp.script import Script
from utcp.tcp.congestion import NewReno
from utcp.tcp.counters import Counters
from utcp.tcp.recovery.rack import Rack
from utcp.tcp.recovery.recovery import FAST, OPEN, Recovery
from utcp.tcp.recovery.scoreboard import IN_FLIGHT, Departure, Run
from utcp.tcp.rtt import RttEstimator

# --- by itself


def flight(rack: Rack, *times: float) -> list[Run]:
    """One segment of 1000 octets leaves at each of these times."""
    runs = []
    for index, at in enumerate(times):
        departure = Departure(at, 0, 0.0, 0.0)
        run = Run(index * 1000, index * 1000 + 1000, departure, 1, IN_FLIGHT)
        departure.runs = [run]
        rack.sent(departure)
        runs.append(run)
    return runs


def arrives(rack: Rack, run: Run, now: float, *, echo_age: float = -1.0, min_rtt: float = 0.1) -> None:
    run.state = 3
    rack.delivered(run, echo_age, min_rtt, False, now)


@pytest.mark.rfc("8985", "4-2", "6.2-9")
def test_what_left_earlier_is_lost_a_round_trip_and_the_window_after_it_left() -> None:
    """RFC 8985 6.2 step 5: the deadline counts from the segment's own departure."""
    rack = Rack()
    runs = flight(rack, 0.0, 0.01, 0.02)
    arrives(rack, runs[1], 0.11)
    assert rack.rtt == pytest.approx(0.1)
    lost, again = rack.detect(0.025, 0.11)
    assert lost == []
    assert again == pytest.approx(0.125)
    lost, again = rack.detect(0.025, 0.1251)
    assert lost == [runs[0]]
    assert again == inf  # the third left later than what has arrived: nothing is known of it


@pytest.mark.rfc("8985", "6.2-3")
def test_of_what_left_together_the_lower_position_left_first() -> None:
    rack = Rack()
    departure = Departure(0.0, 0, 0.0, 0.0)
    runs = [Run(start, start + 1000, departure, 1, IN_FLIGHT) for start in (0, 1000, 2000)]
    departure.runs = list(runs)
    rack.sent(departure)
    arrives(rack, runs[1], 0.1)
    assert rack.detect(0.0, 0.1) == ([runs[0]], inf)
    assert runs[2].state == IN_FLIGHT


@pytest.mark.rfc("8985", "6.2-2")
def test_an_ack_sooner_than_the_lowest_round_trip_is_not_of_the_retransmission() -> None:
    """6.2 step 2."""
    rack = Rack()
    (run,) = flight(rack, 0.0)
    run.sent = 2
    arrives(rack, run, 0.09)
    assert rack.rtt == 0.0
    (late,) = flight(rack, 1.0)
    late.sent = 2
    arrives(rack, late, 1.1, echo_age=0.5)  # the echo is older than the retransmission: the first one has arrived
    assert rack.rtt == 0.0
    (good,) = flight(rack, 2.0)
    good.sent = 2
    arrives(rack, good, 2.1, echo_age=0.1)
    assert rack.rtt == pytest.approx(0.1)


def test_the_lowest_round_trip_itself_is_long_enough() -> None:
    """Differences of large floats: two equal ones need not be equal."""
    rack = Rack()
    (run,) = flight(rack, 1024.05)
    run.sent = 2
    arrives(rack, run, 1024.15, min_rtt=0.1000000001)
    assert rack.rtt == pytest.approx(0.1)


@pytest.mark.rfc("8985", "6.2-2")
def test_an_ack_that_only_advances_is_not_of_a_retransmission_that_has_just_left() -> None:
    """The short way that a plain ACK takes keeps to 6.2 step 2 as well."""
    rtt = RttEstimator(1.0, 0.2, 60.0)
    recovery = Recovery(NewReno(MSS), rtt, Counters(), 0.0)
    recovery.sack = True
    recovery.sent(MSS, recovery.depart(0.0))
    recovery.on_plain_ack(MSS, MSS, 0.1)
    recovery.sent(MSS, recovery.depart(0.2))
    recovery.resent(MSS, MSS, recovery.depart(0.29))
    recovery.on_plain_ack(MSS, MSS, 0.3)
    assert recovery.rack.rtt == pytest.approx(0.1)
    assert rtt.samples == 1


@pytest.mark.rfc("8985", "6.2-4")
def test_reordering_is_an_original_below_the_highest_arrival() -> None:
    """6.2 step 3: a retransmission there says nothing."""
    rack = Rack()
    runs = flight(rack, 0.0, 0.0, 0.0)
    arrives(rack, runs[2], 0.1)
    runs[0].sent = 2
    arrives(rack, runs[0], 0.2)
    assert not rack.reordering_seen
    arrives(rack, runs[1], 0.2)
    assert rack.reordering_seen


@pytest.mark.rfc("8985", "6.2-6", "6.2-7")
def test_reordering_window() -> None:
    """6.2 step 4."""
    rack = Rack()
    assert rack.window(False, 0.1, 0.2) == pytest.approx(0.025)
    assert rack.window(True, 0.1, 0.2) == 0.0
    rack.reordering_seen = True
    assert rack.window(True, 0.1, 0.2) == pytest.approx(0.025)
    rack.saw_dsack(nxt=5000, una=1000)
    rack.saw_dsack(nxt=6000, una=4999)  # the same round
    assert rack.window(True, 0.1, 0.2) == pytest.approx(0.05)
    rack.saw_dsack(nxt=9000, una=5000)
    assert rack.window(True, 0.1, 0.2) == pytest.approx(0.075)
    for round_trip in range(10):
        rack.saw_dsack(nxt=20_000 + round_trip, una=10_000 + 5000 * round_trip)
    assert rack.window(True, 0.1, 0.2) == 0.2  # never more than SRTT


@pytest.mark.rfc("8985", "6.2-8")
def test_patience_lasts_for_16_recoveries() -> None:
    rack = Rack()
    rack.reordering_seen = True
    rack.saw_dsack(nxt=5000, una=1000)
    for _ in range(15):
        rack.recovered()
    assert rack.window(True, 0.1, 0.2) == pytest.approx(0.05)
    rack.recovered()
    assert rack.window(True, 0.1, 0.2) == pytest.approx(0.025)


# --- traces


@pytest.mark.rfc("8985", "6.2-5")
@pytest.mark.rfc("6675", "5-6")
def test_three_sacked_segments_tell_of_a_loss_at_once() -> None:
    """6.2 step 4: while no reordering was seen, the third behaves as three duplicate ACKs do."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    t.silent()
    t.receives(". 1:1 ack 1 <sack 1001:3001>")
    t.silent()
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.sends(". 1:1001 ack 1")
    assert recovery(t).phase == FAST
    assert t.stack.counters.timeouts == 0


def test_three_segments_in_one_block_are_three() -> None:
    """ACKs get lost; the count is of segments, not of ACKs."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 4001:7001>")
    assert seqs(t.drain(), t)[0] == 1


@pytest.mark.rfc("8985", "6.2-6")
def test_less_than_three_wait_for_a_quarter_of_the_round_trip() -> None:
    """The reordering timer fires: departure + RTT + min_rtt / 4 (6.2 step 5)."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    t.sends_after(RTT / 4, ". 1:1001 ack 1")
    assert recovery(t).phase == FAST
    assert t.stack.counters.timeouts == 0


@pytest.mark.rfc("8985", "6.2-10")
def test_what_comes_within_the_window_was_never_lost() -> None:
    """Reordering by less than a quarter of a round trip costs no retransmission, now or later."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    t.silent_for(RTT / 5)
    t.receives(". 1:1 ack 2001")
    assert recovery(t).rack.reordering_seen
    assert recovery(t).phase == OPEN
    t.receives(". 1:1 ack 10001")
    t.silent_for(10)
    assert t.stack.counters.retrans_segs == 0
    assert t.info.snd_cwnd >= 10 * MSS


@pytest.mark.rfc("8985", "6.2-6")
def test_once_reordering_was_seen_three_sacked_segments_do_not_suffice() -> None:
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    t.receives(". 1:1 ack 2001")
    t.receives(". 1:1 ack 2001 <sack 3001:8001>")
    t.silent_for(RTT / 5)
    t.receives(". 1:1 ack 10001")
    t.silent_for(10)
    assert t.stack.counters.retrans_segs == 0


@pytest.mark.rfc("8985", "6.2-4")
def test_sack_blocks_newest_first_are_no_reordering() -> None:
    """RFC 2018 4: the first block is the newest. When the ACK that told of the other was lost, both are news at once,
    and nothing overtook anything."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 5001:6001 3001:4001>")
    assert not recovery(t).rack.reordering_seen


@pytest.mark.rfc("8985", "6.2-5")
def test_what_was_sacked_and_is_acknowledged_now_counts_no_more() -> None:
    """RACK.sacked is what is SACKed at present (6.2 step 4): one segment behind a new hole is no three."""
    t = sender(10)
    t.write(2 * MSS)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:8001>")
    assert seqs(t.drain(), t) == [1, 10001, 11001]
    t.advance(RTT)
    t.receives(". 1:1 ack 10001 <sack 11001:12001>")
    assert recovery(t).phase == OPEN
    assert 10001 not in seqs(t.drain(), t)
    t.receives(". 1:1 ack 12001")
    t.drain()
    assert t.stack.counters.retrans_segs == 1


@pytest.mark.rfc("8985", "6.2-9")
@pytest.mark.rfc("6675", "5-5")
def test_a_lost_retransmission_is_noticed_without_a_timeout() -> None:
    """6.2: by what was sent after it and has arrived."""
    t = sender(20, cwnd=20)
    t.write(20 * MSS)
    t.advance(RTT)
    t.receives(*(f". 1:1 ack 1 <sack 1001:{1001 + n * MSS}>" for n in range(1, 8)))
    sent = seqs(t.drain(), t)
    assert sent[0] == 1
    assert sent[-1] > 20_000  # new data, behind the retransmission
    t.advance(RTT / 10)
    t.receives(". 1:1 ack 1 <sack 1001:20001>")
    newest = seqs(t.drain(), t)[-1]
    t.advance(RTT)
    t.receives(f". 1:1 ack 1 <sack 1001:{newest + MSS}>")
    assert seqs(t.drain(), t)[0] == 1
    assert t.stack.counters.timeouts == 0
    assert t.info.snd_ssthresh == 10 * MSS  # one reduction


@pytest.mark.rfc("8985", "4-3")
def test_dsack_makes_patience_longer() -> None:
    """6.2 step 4: RACK.reo_wnd_mult, for the next hole."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.sends(". 1:1001 ack 1")
    t.advance(RTT / 10)
    t.receives(". 1:1 ack 4001 <ts *:100>", ". 1:1 ack 4001 <sack 1:1001>")
    t.receives(". 1:1 ack 4001 <sack 5001:6001>")
    due = recovery(t).reorder_at
    assert due == pytest.approx(t.start + RTT + RTT + 2 * RTT / 4, abs=0.02)


def overtaken_by_three(options: str = OPTIONS) -> Script:
    """Ten segments are in flight. The first is late by 10 ms, which is less than a quarter of the round trip. Three
    have overtaken it, and reordering was never seen: it is sent again before it arrives."""
    t = sender(10, options=options)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.sends(". 1:1001 ack 1")
    t.advance(0.01)
    return t


def waits_for_what_is_late(t: Script) -> bool:
    """The next segment that three overtake is not sent again within a quarter of the round trip."""
    t.receives(". 1:1 ack 4001 <sack 5001:9001>")
    t.advance(0.01)
    return 4001 not in seqs(t.drain(), t)


@pytest.mark.rfc("8985", "6.2-4")
@pytest.mark.defect(47)
def test_an_original_that_comes_after_it_was_sent_again_shows_reordering() -> None:
    """By the timestamp that its ACK echoes."""
    t = overtaken_by_three()
    t.receives(f". 1:1 ack 4001 <ts *:{round(RTT * 1000) - 1}>")
    assert t.info.reord_seen == 1
    assert waits_for_what_is_late(t)


@pytest.mark.rfc("8985", "6.2-4")
@pytest.mark.defect(47)
def test_without_timestamps_an_ack_sooner_than_a_round_trip_shows_reordering() -> None:
    t = overtaken_by_three("mss 1000,sackOK")
    t.receives(". 1:1 ack 4001")
    assert t.info.reord_seen == 1
    assert waits_for_what_is_late(t)


@pytest.mark.rfc("8985", "6.2-4")
@pytest.mark.defect(47)
def test_an_original_that_is_sacked_after_it_was_sent_again_shows_reordering() -> None:
    """The first segment is lost, the second is late."""
    t = sender(20, cwnd=20)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 2001:20001>")
    assert seqs(t.drain(), t) == [1, 1001]
    t.advance(0.01)
    t.receives(". 1:1 ack 1 <sack 1001:20001>")
    assert t.info.reord_seen == 1


@pytest.mark.rfc("8985", "6.2-4", "6.2-6")
@pytest.mark.defect(47)
def test_a_dsack_of_what_fast_recovery_sent_again_shows_reordering() -> None:
    """The original was so late that its ACK could be of either."""
    t = overtaken_by_three("mss 1000,sackOK")
    t.advance(RTT)
    t.receives(". 1:1 ack 4001")
    t.drain()
    assert t.info.reord_seen == 0
    t.receives(". 1:1 ack 4001 <sack 1:1001>")
    assert t.info.reord_seen == 1
    assert waits_for_what_is_late(t)


@pytest.mark.rfc("8985", "6.2-4")
def test_a_dsack_of_what_a_timeout_sent_again_shows_no_reordering() -> None:
    """The whole path paused. Nothing was overtaken."""
    t = sender(10, options="mss 1000,sackOK")
    t.connection.recovery.probe_at = inf
    t.advance(t.info.rto + 0.0001)
    assert seqs(t.drain(), t) == [1]
    t.receives(". 1:1 ack 10001", ". 1:1 ack 10001 <sack 1:1001>")
    assert t.info.dsack_dups == 1
    assert t.info.reord_seen == 0
    assert not recovery(t).rack.reordering_seen


@pytest.mark.rfc("8985", "6.2-4")
def test_a_lost_ack_of_a_retransmission_shows_no_reordering() -> None:
    """The first segment was lost and its retransmission arrived; the ACK did not. The timer sends it once more."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:10001>")
    t.sends(". 1:1001 ack 1")
    again = 199
    t.advance(t.info.rto + 0.0001)
    assert t.drain()
    assert t.info.ca_state == "loss"
    t.advance(RTT)
    t.receives(f". 1:1 ack 10001 <sack 1:1001,ts *:{again}>")
    assert t.info.dsack_dups == 1
    assert t.info.reord_seen == 0
    assert not recovery(t).rack.reordering_seen


@pytest.mark.rfc("8985", "6.2-4")
def test_a_dsack_of_what_the_network_doubled_shows_no_reordering() -> None:
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.sends(". 1:1001 ack 1")
    t.advance(RTT)
    t.receives(". 1:1 ack 4001", ". 1:1 ack 4001 <sack 2001:3001>")
    assert t.info.dsack_dups == 1
    assert t.info.reord_seen == 0


@pytest.mark.rfc("8985", "6.2-10")
def test_reordering_timer_waits_for_the_oldest() -> None:
    """Two holes of two departures: each has its own deadline."""
    t = sender(5)
    t.advance(0.01)
    t.write(5 * MSS)
    t.drain()
    t.advance(0.1)
    t.receives(". 1:1 ack 1 <sack 7001:8001>")
    # Of the first departure nothing has come: it left 0.11 s ago, and a round trip takes 0.1 s now.
    assert recovery(t).reorder_at == pytest.approx(t.start + RTT + 0.1 + RTT / 4)
    t.advance(0.1 + RTT / 4 - 0.11 + 0.0001)
    assert seqs(t.drain(), t)[0] == 1


# --- after a timeout (RFC 6675 5.1)


def timed_out_in_recovery() -> Script:
    """Twenty segments were in flight. The first was lost twice, and of the last nine nothing is known."""
    t = sender(20, cwnd=20)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:11001>")
    t.drain()
    assert t.info.ca_state == "recovery"
    t.advance(2 * t.info.rto)
    assert 1 in seqs(t.drain(), t)
    assert t.info.ca_state == "loss"
    return t


@pytest.mark.rfc("6675", "5.1-2")
def test_what_is_sacked_after_a_timeout_is_not_sent_again() -> None:
    t = timed_out_in_recovery()
    t.advance(RTT)
    t.receives(". 1:1 ack 11001 <sack 12001:13001 14001:19001>")
    sent = seqs(t.drain(), t)
    for ack in (11001, 13001, 19001):
        t.advance(RTT)
        t.receives(f". 1:1 ack {ack} <sack 14001:19001>")
        sent += seqs(t.drain(), t)
    assert sorted(set(sent)) == [11001, 13001, 19001]


@pytest.mark.rfc("6675", "5.1-3", "5.1-4")
def test_no_recovery_begins_until_all_that_was_in_flight_at_a_timeout_is_acknowledged() -> None:
    """Also what had left beyond the point of the recovery that the timeout ended."""
    t = timed_out_in_recovery()
    t.write(20 * MSS)
    t.drain()
    top, ssthresh = t.flow.snd_nxt, t.info.snd_ssthresh
    t.advance(RTT)
    for ack in (11001, 12001, 13001):
        t.receives(f". 1:1 ack {ack} <sack {ack + MSS}:{ack + 5 * MSS}>")
        t.drain()
        assert (t.info.ca_state, t.info.snd_ssthresh) == ("loss", ssthresh)
    t.receives(f". 1:1 ack {top}")
    assert t.info.ca_state == "open"
    t.drain()
