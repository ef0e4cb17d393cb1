"""Proportional rate reduction (RFC 9937): what leaves while the window shrinks."""

import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.recovery.trace import MSS, RTT, recovery, sender, seqs
from tests.tcp.script import Script
from utcp.aio.tcp_info import tcp_info
from utcp.tcp.connection.ecn import Ecn
from utcp.tcp.recovery.prr import RateReduction
from utcp.tcp.recovery.recovery import FAST, OPEN, TIMED_OUT
from utcp.trace.comments import Commentary, describe
from utcp.wire import ACK, Segment


def acks(t: Script, first: int, count: int) -> list[list[int]]:
    """Behind a hole at 1, segments from `first` on arrive one by one; what each ACK lets go."""
    sent = []
    for segment in range(first, first + count):
        t.receives(f". 1:1 ack 1 <sack 1001:{segment * MSS + 1001}>")
        sent.append(seqs(t.drain(), t))
    return sent


@pytest.mark.rfc("9937", "6-1", "6-2", "6-5")
@pytest.mark.rfc("6675", "4-6", "5-3", "5-5", "5-9")
def test_single_loss_of_twenty() -> None:
    """RFC 9937's first example: a window of 20, segment 0 lost, ssthresh 10. Two ACKs bring limited transmit's new
    segments, the third the retransmission, and from then on every other ACK a new segment. What the third ACK delivers
    counts already: RecoverFS is 20, as the two segments of limited transmit are in flight and the two that were SACKed
    before are not."""
    t = sender(20, cwnd=20)
    t.write(30 * MSS)
    t.advance(RTT)
    sent = acks(t, 1, 19)
    assert sent[0] == [20001]
    assert sent[1] == [21001]
    assert sent[2] == [1]
    later = [len(one) for one in sent[3:]]
    # 17 deliveries, of which a half is 8.5 segments; the retransmission is one of them, and a half does not leave.
    assert later == [0, 0, *[1, 0] * 6, 0, 1]  # no silence for half a round trip, as RFC 6675 has it
    assert t.info.snd_ssthresh == 10 * MSS
    assert recovery(t).in_flight == 10 * MSS
    t.advance(RTT)
    t.receives(". 1:1 ack 20001")  # the retransmission's
    assert len(t.drain()) <= 1
    assert recovery(t).in_flight <= 10 * MSS
    top = t.flow.snd_nxt
    t.receives(f". 1:1 ack {22001}")
    assert recovery(t).phase == OPEN
    assert t.info.snd_cwnd == 10 * MSS
    assert len(t.drain()) <= 3
    assert top <= t.flow.snd_nxt


@pytest.mark.rfc("9937", "6-1")
def test_what_the_first_ack_of_a_recovery_delivers_is_part_of_recover_fs() -> None:
    """RFC 9937: one ACK tells of five segments at once; a half of five, of the 20 there were, may leave for them."""
    t = sender(20, cwnd=20)
    t.write(10 * MSS)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:6001>")
    assert seqs(t.drain(), t) == [1, 20001]
    t.receives(". 1:1 ack 1 <sack 1001:7001>")
    assert seqs(t.drain(), t) == [21001]


@pytest.mark.rfc("9937", "6-3", "6-5")
@pytest.mark.rfc("6675", "4-5", "5-10")
def test_fifteen_of_twenty_lost() -> None:
    """The second example: in flight falls far below ssthresh at once. The retransmission goes alone (no further ACK has
    said that it is safe), and then the window grows back as slow start would, to ssthresh and not beyond."""
    t = sender(20, cwnd=20)
    t.advance(RTT)
    # Segments 15 to 17 arrive: with the third, the first fifteen are lost.
    t.receives(*(f". 1:1 ack 1 <sack 15001:{n}>" for n in (16001, 17001, 18001)))
    assert seqs(t.drain(), t) == [1]
    assert recovery(t).phase == FAST
    assert t.info.snd_ssthresh == 10 * MSS
    t.receives(". 1:1 ack 1 <sack 15001:19001>")
    assert seqs(t.drain(), t) == [1001]  # conservative: one delivered, one sent
    t.receives(". 1:1 ack 1 <sack 15001:20001>")
    assert seqs(t.drain(), t) == [2001]
    sent = [3]
    una = 1
    while recovery(t).phase == FAST:
        t.advance(RTT)
        arrived, una = sent[-1], una + sent[-1] * MSS
        if una > 15_000:
            t.receives(". 1:1 ack 20001")
            break
        sent.append(0)
        for ack in range(una - (arrived - 1) * MSS, una + 1, MSS):
            t.receives(f". 1:1 ack {ack} <sack 15001:20001>")
            sent[-1] += len(t.drain())
        assert recovery(t).in_flight <= 10 * MSS
    assert sent == [3, 6, 6]  # doubled in a round trip, until nothing is left
    assert t.stack.counters.timeouts == 0
    assert t.stack.counters.retrans_segs == 15


@pytest.mark.rfc("5681", "3.2-8")
@pytest.mark.rfc("9937", "6-7")
@pytest.mark.rfc("6675", "5-10")
def test_every_other_segment_of_a_window_lost() -> None:
    """Half of a window is repaired in a round trip or two, without a timeout."""
    t = sender(20, cwnd=20)
    t.advance(RTT)
    blocks: list[str] = []
    resent: list[int] = []
    for segment in range(1, 20, 2):
        blocks = [f"{segment * MSS + 1}:{segment * MSS + 1001}", *blocks[:2]]
        t.receives(f". 1:1 ack 1 <sack {' '.join(blocks)}>")
        resent += seqs(t.drain(), t)
    rounds = 0
    while recovery(t).phase == FAST and rounds < 5:
        rounds += 1
        t.advance(RTT)
        hole = next((n for n in range(0, 20, 2) if n * MSS + 1 not in resent), 20)
        t.receives(f". 1:1 ack {hole * MSS + 1}")
        resent += seqs(t.drain(), t)
    assert sorted(set(resent)) == [n * MSS + 1 for n in range(0, 20, 2)]
    assert len(resent) == 10
    assert rounds <= 3
    assert t.stack.counters.timeouts == 0
    assert t.info.snd_cwnd == t.info.snd_ssthresh == 10 * MSS


@pytest.mark.rfc("9937", "6-7")
def test_no_burst_at_the_end() -> None:
    """The ACK that ends recovery covers a whole window; no more leaves than ssthresh and what is in flight allow."""
    t = sender(20, cwnd=20)
    t.write(60 * MSS)
    t.advance(RTT)
    acks(t, 1, 19)
    t.advance(RTT)
    in_flight = recovery(t).in_flight
    t.receives(". 1:1 ack 22001")
    assert recovery(t).phase == OPEN
    burst = len(t.drain())
    assert burst * MSS <= 10 * MSS - (in_flight - 3 * MSS) + MSS
    assert recovery(t).in_flight <= 10 * MSS + MSS


@pytest.mark.rfc("3168", "6.1.2-1")
@pytest.mark.rfc("9937", "6-10")
def test_a_mark_reduces_in_the_same_way() -> None:
    """ECE: nothing is lost, and the window shrinks ACK by ACK."""
    t = sender(20, cwnd=20)
    t.connection.ecn = Ecn()
    t.write(40 * MSS)
    t.advance(RTT)
    sent = []
    for segment in range(1, 21):
        t.receives(f"E. 1:1 ack {segment * MSS + 1}")
        sent.append(len(t.drain()))
    assert sum(sent) == 10
    assert max(sent) == 1
    assert recovery(t).in_flight == 10 * MSS
    assert t.stack.counters.retrans_segs == 0


@pytest.mark.defect(63)
def test_the_window_that_is_shown_is_the_one_in_force() -> None:
    """Wherever a user looks: TCP_INFO, a ladder, the comments of a capture."""
    t = sender(10, options="mss 1000,sackOK")
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.sends(". 1:1001 ack 1")
    assert t.info.snd_cwnd == t.info.snd_cwnd == recovery(t).window == 7500
    assert struct.unpack_from("=I", tcp_info(t.info), 80) == (8,)  # in segments
    assert describe(t.connection, t.now)["cwnd"] == 7500
    segment = Segment(t.flow.remote_port, t.flow.local_port, 0, 0, ACK)
    assert Commentary(t.stack).on_received(t.flow.remote, segment, t.now)["cwnd"] == 7500
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    assert t.info.snd_cwnd == t.info.snd_ssthresh == 5 * MSS


# --- the rule by itself

segments = st.integers(1, 5).map(lambda n: n * MSS)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    flight=st.integers(5, 60).map(lambda n: n * MSS),
    share=st.floats(0.3, 0.9),
    lost=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    safe=st.booleans(),
    eager=st.booleans(),
)
@pytest.mark.rfc("9937", "6-2", "6-3", "6-4")
def test_never_more_than_what_arrived_and_the_bound_allow(
    flight: int, share: float, lost: list[int], safe: bool, eager: bool
) -> None:
    """While much is in flight, what left is at most that share of what arrived; below ssthresh never more than fills it
    up; and unless progress is safe, never more than arrived."""
    ssthresh = max(int(flight * share), 2 * MSS)
    in_flight = flight
    reduction = RateReduction(flight, ssthresh, MSS, in_flight)
    delivered = out = 0
    for loss in lost:
        loss = min(loss * MSS, max(0, in_flight - MSS))
        in_flight -= loss
        arrives = min(MSS, in_flight)
        if not arrives:
            break
        in_flight -= arrives
        delivered += arrives
        above = in_flight > ssthresh
        reduction.acknowledged(arrives, in_flight, safe and not loss)
        room = reduction.window - in_flight
        assert room >= 0
        if above:
            assert out + room <= max(-(-delivered * ssthresh // flight), out, MSS)
        else:
            assert in_flight + room <= max(ssthresh, in_flight, in_flight + MSS * (out == 0))
            if not safe or loss:
                assert room <= max(delivered - out, arrives, MSS * (out == 0))
        size = room // MSS * MSS if eager else min(room // MSS, 1) * MSS
        reduction.sent(size)
        out += size
        in_flight += size


@pytest.mark.rfc("9937", "6-7")
def test_lands_at_ssthresh() -> None:
    """A window of 100 and nothing lost beyond the first segment: after a round trip 70 are in flight."""
    reduction = RateReduction(100 * MSS, 70 * MSS, MSS, 97 * MSS)
    in_flight = 97 * MSS
    for _ in range(97):
        in_flight -= MSS
        reduction.acknowledged(MSS, in_flight, safe=False)
        while in_flight + MSS <= reduction.window:
            reduction.sent(MSS)
            in_flight += MSS
    assert in_flight == pytest.approx(70 * MSS, abs=3 * MSS)


@pytest.mark.rfc("9937", "6-6")
def test_an_ack_that_delivers_nothing_allows_nothing() -> None:
    reduction = RateReduction(20 * MSS, 10 * MSS, MSS, 19 * MSS)
    reduction.acknowledged(0, 5 * MSS, safe=True)
    assert reduction.window == 19 * MSS


@pytest.mark.rfc("9937", "6-9")
def test_after_a_timeout_slow_start_leads_not_prr() -> None:
    t = sender(20, cwnd=20, rto_min=0.05)
    t.advance(RTT)
    acks(t, 1, 3)
    t.advance(2.0)
    t.drain()
    assert recovery(t).phase == TIMED_OUT
    assert recovery(t).window == t.info.snd_cwnd == MSS
