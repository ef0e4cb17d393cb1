"""The tail loss probe (RFC 8985 7): the end of a flight is repaired without a retransmission timeout."""

from collections.abc import Callable
from math import inf

import pytest

from tests.recovery.trace import MSS, RTT, recovery, sender, seqs
from tests.tcp.reach import established
from tests.tcp.script import Script
from utcp.tcp.congestion import NewReno
from utcp.tcp.counters import Counters
from utcp.tcp.recovery.recovery import OPEN, Recovery
from utcp.tcp.rtt import RttEstimator
from utcp.tcp.state import CLOSING, FIN_WAIT_1, LAST_ACK
from utcp.wire import FIN

MAX_ACK_DELAY = 0.2
ONE_SEGMENT = 2 * RTT + MAX_ACK_DELAY


# --- when


@pytest.mark.rfc("8985", "7.2-3")
def test_probe_timeout() -> None:
    """7.2: TLP_calc_PTO. Without a round-trip time no probe is useful."""

    def timeout(rtt: float | None, one_segment: bool) -> float:
        estimator = RttEstimator(10.0, 10.0, 12.0)
        if rtt is not None:
            estimator.sample(rtt, 0.0)
        flow = Recovery(NewReno(MSS), estimator, Counters(), 0.0)
        flow.begin(NewReno(MSS), sack=True)
        flow.sent(MSS, flow.depart(0.0))
        flow.set_timers(0.0, one_segment, 0.2)
        return flow.probe_at

    assert timeout(None, True) == inf
    assert timeout(0.1, False) == pytest.approx(0.2)
    assert timeout(0.1, True) == pytest.approx(0.4)
    assert timeout(0.001, False) == pytest.approx(0.01)
    assert timeout(9.0, True) == pytest.approx(12.0)  # not after the retransmission timeout


@pytest.mark.rfc("8985", "7.3-4")
def test_last_of_several_segments_is_repaired_in_two_round_trips() -> None:
    t = sender(5)
    t.sends_after(2 * RTT, "P. 4001:5001 ack 1")
    assert t.stack.counters.timeouts == 0


@pytest.mark.rfc("8985", "7.2-3")
def test_single_segment_leaves_the_peer_time_to_delay_its_ack() -> None:
    t = sender(1, rto_min=1.0)
    t.sends_after(ONE_SEGMENT, "P. 1:1001 ack 1")
    assert t.stack.counters.timeouts == 0


@pytest.mark.rfc("8985", "7.2-5")
def test_probe_goes_at_the_time_of_the_timeout_and_instead_of_it() -> None:
    """7.2: PTO is no later than RTO; 7.3: after the probe RTO starts anew. RTO is 0.3 s here."""
    t = sender(1)
    rto = t.info.rto
    assert rto < ONE_SEGMENT
    t.sends_after(rto, "P. 1:1001 ack 1")
    assert t.stack.counters.timeouts == 0
    assert t.info.snd_cwnd == 10 * MSS
    t.sends_after(rto, "P. 1:1001 ack 1")
    assert t.stack.counters.timeouts == 1
    assert t.info.snd_cwnd == MSS


@pytest.mark.rfc("8985", "7.3-2")
def test_another_probe_wants_another_measurement() -> None:
    """7.3: on a path that has become slower, and without timestamps, probes would go by the old round trip for ever."""
    t = established(rtt=RTT, options="mss 1000,sackOK", rto_min=5.0)
    t.write(2000)
    t.drain()
    t.sends_after(2 * RTT, "P. 1001:2001 ack 1")
    t.receives(". 1:1 ack 2001 <sack 1001:2001>")  # it was late, and nobody knows which of the two this answers
    t.write(2000)
    t.drain()
    t.silent_for(4)
    assert t.stack.counters.loss_probes == 1
    t.receives(". 1:1 ack 4001")
    t.write(2000)
    t.drain()
    t.silent_for(t.info.rtt or 0)
    t.advance(4)
    t.drain()
    assert t.stack.counters.loss_probes == 2


@pytest.mark.rfc("8985", "7.2-1")
def test_new_data_starts_the_probe_timer_anew() -> None:
    t = sender(2, rto_min=1.0)
    t.advance(RTT)
    t.write(MSS)
    t.drain()
    t.silent_for(2 * RTT - 0.01)
    t.sends_after(0.01, "P. 2001:3001 ack 1")


@pytest.mark.rfc("8985", "7.2-1")
def test_an_ack_starts_it_anew_as_well() -> None:
    t = sender(4, rto_min=1.0)
    t.advance(RTT)
    t.receives(". 1:1 ack 2001")
    t.silent_for(2 * t.info.rtt - 0.01 if t.info.rtt else 0)
    t.advance(0.011)
    assert seqs(t.drain(), t) == [3001]


# --- what


@pytest.mark.rfc("8985", "7.3-3")
def test_new_data_goes_before_a_retransmission_whatever_the_window_says() -> None:
    """7.3."""
    t = sender(10)
    t.write(3 * MSS)
    t.silent()
    t.sends_after(2 * RTT, ". 10001:11001 ack 1")
    assert t.stack.counters.retrans_segs == 0
    t.receives(". 1:1 ack 11001")
    t.drain()
    assert t.info.snd_ssthresh > 1 << 20  # nothing was lost, nothing is reduced
    t.receives(". 1:1 ack 13001")
    t.silent_for(60)
    assert t.info.snd_ssthresh > 1 << 20
    assert recovery(t).phase == OPEN


@pytest.mark.rfc("8985", "7.3-3")
def test_new_data_that_the_peer_has_no_window_for_does_not_go() -> None:
    t = sender(5, window=5 * MSS)
    t.write(3 * MSS)
    t.sends_after(2 * RTT, ". 4001:5001 ack 1")


@pytest.mark.rfc("8985", "7.3-4")
def test_the_last_segment_with_its_fin() -> None:
    t = sender(4)
    t.write(MSS)
    t.close()
    t.sends("F. 4001:5001 ack 1")
    t.sends_after(2 * RTT, "F. 4001:5001 ack 1")
    t.advance(RTT)
    t.receives(". 1:1 ack 5002")
    t.silent()
    assert t.stack.counters.timeouts == 0


def fin_wait_1() -> Script:
    t = sender(rto_min=1.0)
    t.close()
    t.sends("F. 1:1 ack 1")
    assert t.state == FIN_WAIT_1
    return t


def closing() -> Script:
    t = fin_wait_1()
    t.receives("F. 1:1 ack 1")
    t.sends(". 2:2 ack 2")
    assert t.state == CLOSING
    return t


def last_ack() -> Script:
    t = sender(rto_min=1.0)
    t.receives("F. 1:1 ack 1")
    t.sends(". 1:1 ack 2")
    t.close()
    t.sends("F. 1:1 ack 2")
    assert t.state == LAST_ACK
    return t


@pytest.mark.parametrize("state", [fin_wait_1, closing, last_ack])
def test_a_lost_fin_is_repaired_by_a_probe_in_every_state_that_sends_one(state: Callable[[], Script]) -> None:
    """The end of every connection is a tail."""
    t = state()
    before = t.state
    t.advance(ONE_SEGMENT + 0.001)
    (probe,) = t.drain()
    assert probe.flags & FIN
    assert t.flow.seq(probe) == 1
    assert t.state == before
    assert t.stack.counters.timeouts == 0
    t.receives(f". {1 + (before != FIN_WAIT_1)}:{1 + (before != FIN_WAIT_1)} ack 2")
    t.drain()
    assert t.state != before
    t.advance(30)
    assert t.stack.counters.timeouts == 0


# --- how often, and when not


@pytest.mark.rfc("8985", "7.3-1", "7.3-5")
def test_one_probe_per_tail() -> None:
    """7.3: what the probe does not repair is left to the timer."""
    t = sender(5, rto_min=1.0)
    t.sends_after(2 * RTT, "P. 4001:5001 ack 1")
    t.silent_for(t.info.rto - 0.01)
    assert t.stack.counters.timeouts == 0
    t.advance(0.02)
    assert seqs(t.drain(), t) == [1]
    assert t.stack.counters.timeouts == 1


@pytest.mark.rfc("8985", "4-1")
def test_no_probe_without_sack() -> None:
    t = sender(5, options="mss 1012,ts 100", rto_min=1.0)
    t.silent_for(0.9)
    t.advance(0.3)
    assert t.stack.counters.timeouts == 1


@pytest.mark.rfc("8985", "7.2-2")
def test_no_probe_when_something_is_sacked() -> None:
    """7.2: then RACK's own timer, or the retransmission, takes care."""
    t = sender(5, rto_min=1.0)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.sends(". 1:1001 ack 1")
    assert t.connection.recovery.probe_at == inf
    t.advance(RTT)
    t.receives(". 1:1 ack 4001")
    assert recovery(t).phase != OPEN
    t.drain()
    assert t.connection.recovery.probe_at == inf
    assert t.connection.recovery.retransmit_at < inf


@pytest.mark.rfc("8985", "7.2-2")
def test_no_probe_after_a_timeout() -> None:
    t = sender(5, rto_min=0.05)
    t.advance(2 * RTT + t.info.rto + 0.001)
    t.drain()
    assert t.stack.counters.timeouts == 1
    assert t.connection.recovery.probe_at == inf


def test_no_probe_of_a_syn() -> None:
    t = Script(mss=1012)
    t.connect()
    t.sends("S 0:0")
    t.sends_at(1.0, "S 0:0")
    assert t.stack.counters.timeouts == 1


# --- what its ACK says (7.4)


def tail() -> Script:
    """Of a flight of five segments the probe has just left."""
    t = sender(5, rto_min=1.0)
    t.advance(2 * RTT + 0.0001)
    assert len(t.drain()) == 1
    return t


def next_flight(t: Script) -> None:
    """More data is sent and acknowledged: only then is it known that the probe repaired a loss (7.4.2)."""
    end = t.flow.snd_nxt
    t.write(2 * MSS)
    t.drain()
    t.advance(RTT)
    t.receives(f". 1:1 ack {end + 2 * MSS}")
    t.drain()


@pytest.mark.rfc("8985", "7.4.2-2")
def test_a_probe_that_repaired_a_loss_reduces_the_window() -> None:
    """7.4.2: the loss was congestion like any other, though nobody noticed it."""
    t = tail()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001")
    assert t.info.snd_ssthresh > 1 << 20
    next_flight(t)
    assert t.info.snd_ssthresh == 5 * MSS
    assert t.info.snd_cwnd == 5 * MSS
    assert recovery(t).phase == OPEN  # the loss is repaired: there is no recovery to wait for
    assert t.stack.counters.timeouts == 0


@pytest.mark.rfc("8985", "7.4.2-1")
def test_dsack_shows_that_nothing_was_lost() -> None:
    """The original was late, and the ACK of both is one."""
    t = tail()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001 <sack 4001:5001>")
    next_flight(t)
    assert t.info.snd_ssthresh > 1 << 20


def test_dsack_that_comes_when_nothing_is_in_flight() -> None:
    """The original's ACK ends the flight; that of the probe comes a round trip later."""
    t = tail()
    t.receives(". 1:1 ack 5001")
    t.advance(RTT)
    t.receives(". 1:1 ack 5001 <sack 4001:5001>")
    assert not recovery(t).probe.under_way
    next_flight(t)
    assert t.info.snd_ssthresh > 1 << 20
    assert recovery(t).phase == OPEN


@pytest.mark.rfc("8985", "7.4.2-1")
def test_duplicate_ack_without_dsack_that_comes_when_nothing_is_in_flight() -> None:
    """7.4.2: a peer without DSACK answers the probe with a duplicate ACK."""
    t = tail()
    t.receives(". 1:1 ack 5001")
    t.advance(RTT)
    t.receives(". 1:1 ack 5001")
    assert not recovery(t).probe.under_way
    next_flight(t)
    assert t.info.snd_ssthresh > 1 << 20


def test_a_delayed_ack_and_the_next_request_reduce_nothing() -> None:
    """One segment, its ACK delayed by more than expected, over and over: the window stays, and so do the probes."""
    t = sender(rto_min=1.0)
    for start in range(1, 5000, MSS):
        t.write(MSS)
        t.sends(f"P. {start}:{start + MSS} ack 1")
        t.advance(2 * (t.info.rtt or 0) + MAX_ACK_DELAY + 0.0001)
        assert seqs(t.drain(), t) == [start]
        t.receives(f". 1:1 ack {start + MSS}")
        t.advance(0.01)
        t.receives(f". 1:1 ack {start + MSS} <sack {start}:{start + MSS}>")
    assert t.info.snd_ssthresh > 1 << 20
    assert t.info.snd_cwnd == 10 * MSS
    assert t.stack.counters.timeouts == 0


@pytest.mark.rfc("8985", "7.4.2-1")
def test_dsack_of_something_else_says_nothing_of_the_probe() -> None:
    """7.4.2: the DSACK must end where the probe did."""
    t = tail()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001 <sack 1:1001>")
    next_flight(t)
    assert t.info.snd_ssthresh == 5 * MSS


def test_a_duplicate_ack_with_news_says_nothing_of_the_probe() -> None:
    """7.4.2: "without any SACK option". It tells of a segment behind the probe."""
    t = tail()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001")
    t.write(2 * MSS)
    t.drain()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001 <sack 6001:7001>")
    t.silent()
    t.receives(". 1:1 ack 7001")
    assert t.info.snd_ssthresh == 5 * MSS


def test_a_dsack_of_the_probe_is_no_sign_of_reordering() -> None:
    t = tail()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001 <sack 4001:5001>")
    recovery(t).rack.reordering_seen = True
    assert recovery(t).rack.window(False, 0.1, 1.0) == pytest.approx(0.025)


def test_the_probe_lets_sack_tell_of_what_is_lost_before_it() -> None:
    """The last three of five were lost: the probe's SACK is the first news of it, and RACK does the rest.

    What it echoes is the timestamp of the last segment in order (RFC 7323 4.3): that is older than the probe, and says
    nothing of it.
    """
    t = tail()
    t.advance(RTT)
    t.receives(f". 1:1 ack 2001 <sack 4001:5001,ts *:{round(1000 * RTT) - 1}>")
    t.advance(RTT)
    assert seqs(t.drain(), t) == [2001, 3001]
    t.receives(". 1:1 ack 5001")
    assert t.stack.counters.timeouts == 0
    assert t.info.snd_ssthresh == 5 * MSS


def test_the_reduction_of_a_repaired_loss_is_one() -> None:
    t = tail()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001")
    next_flight(t)
    for _ in range(3):
        next_flight(t)
    assert t.info.snd_ssthresh == 5 * MSS
    assert recovery(t).phase == OPEN


def test_timestamps_are_not_needed() -> None:
    t = sender(5, options="mss 1000,sackOK", rto_min=1.0)
    t.sends_after(2 * RTT, "P. 4001:5001 ack 1")
