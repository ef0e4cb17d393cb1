"""Congestion marks (RFC 3168): who asks and who agrees, what is marked, how a mark is echoed and obeyed."""

from typing import Any, Literal

import pytest

from tests.recovery.trace import MSS, OPTIONS, RTT, recovery, sender, seqs
from tests.tcp.reach import established
from tests.tcp.script import Script
from utcp.tcp.recovery.recovery import FAST, OPEN, REDUCED
from utcp.tcp.transmit import Transmit
from utcp.wire import CWR, ECE, RST, SYN, Segment, decode, encode
from utcp.wire.segment import CONGESTION_EXPERIENCED, ECN_CAPABLE, NOT_ECT

Willing = Literal["off", "accept", "request"]


class Marks:
    """Everything that left since, with the ECN bits of its train."""

    def __init__(self, t: Script) -> None:
        self.sent: list[tuple[Segment, int]] = []
        self.trains: list[Transmit] = []
        flush = t.flush

        def recording(now: float) -> list[Transmit]:
            trains = flush(now)
            self.trains += trains
            self.sent += [(decode(datagram), train.ecn) for train in trains for datagram in train.datagrams()]
            return trains

        t.flush = recording

    def take(self) -> list[tuple[Segment, int]]:
        sent, self.sent = self.sent, []
        return sent


def marking(segments: int = 0, *, cwnd: int = 10, ecn: Willing = "request", **knobs: Any) -> tuple[Script, Marks]:
    """A sender that has negotiated ECN, and what leaves from now on."""
    t = Script(ecn=ecn, mss=1012, congestion_control="unpaced", **knobs)
    t.connect()
    t.sends("SEW 0:0")
    t.advance(RTT)
    t.receives(f"SE. 0:0 ack 1 <{OPTIONS}>")
    t.sends(". 1:1 ack 1")
    t.connection.congestion.cwnd = cwnd * MSS
    assert t.connection.ecn.agreed
    marks = Marks(t)
    if segments:
        t.write(segments * MSS)
        t.drain()
    return t, marks


def marked(t: Script, *lines: str) -> None:
    """These segments arrive, and a router on the way has marked them."""
    t.drain()
    for line in lines:
        t.stack.receive_datagram(encode(t.flow.segment(line)), "peer", t.now, ecn=CONGESTION_EXPERIENCED)


# --- negotiation (6.1.1)


@pytest.mark.parametrize("ours", ["off", "accept", "request"])
@pytest.mark.parametrize("answer", ["S.", "SE.", "SW.", "SEW."])
@pytest.mark.rfc9293("SHLD-8")
@pytest.mark.rfc("3168", "6.1.1-1", "6.1.1-4", "6.1.1-6", "6.1.1-8", "6.1.1.2-1")
def test_active_open(ours: Willing, answer: str) -> None:
    """ECN is used when it was asked for and the SYN-ACK has ECE without CWR: a peer that reflects unknown flags has
    both."""
    t = Script(ecn=ours)
    t.connect()
    t.sends("SEW 0:0" if ours == "request" else "S 0:0")
    t.receives(f"{answer} 0:0 ack 1 <mss 1000>")
    t.sends(". 1:1 ack 1")
    assert t.connection.ecn.agreed == (ours == "request" and answer == "SE.")
    marks = Marks(t)
    t.write(100)
    t.drain()
    ((_, ecn),) = marks.take()
    assert ecn == (ECN_CAPABLE if t.connection.ecn.agreed else NOT_ECT)


@pytest.mark.parametrize("ours", ["off", "accept", "request"])
@pytest.mark.parametrize("syn", ["S", "SE", "SW", "SEW"])
@pytest.mark.rfc("3168", "6.1.1-2", "6.1.1-4", "6.1.1-8")
def test_passive_open(ours: Willing, syn: str) -> None:
    t = Script(ecn=ours)
    t.listen()
    t.receives(f"{syn} 0:0 <mss 1000>")
    agreed = ours != "off" and syn == "SEW"
    t.sends("SE. 0:0 ack 1" if agreed else "S. 0:0 ack 1")
    t.receives(". 1:1 ack 1")
    assert t.accept().ecn.agreed == agreed


@pytest.mark.rfc("3168", "6.1.1.1-1")
def test_a_lost_syn_goes_again_without_asking() -> None:
    """6.1.1.1: there are paths that drop such SYNs."""
    t = Script(ecn="request")
    t.connect()
    t.sends("SEW 0:0")
    t.sends_at(1.0, "S 0:0")
    t.receives("S. 0:0 ack 1 <mss 1000>")
    t.sends(". 1:1 ack 1")
    assert not t.connection.ecn.agreed


@pytest.mark.parametrize("ours", ["accept", "request"])
@pytest.mark.rfc("3168", "6.1.1-5")
def test_simultaneous_open(ours: Willing) -> None:
    """Marks only where both SYNs asked."""
    t = Script(ecn=ours)
    t.connect()
    t.sends("SEW 0:0" if ours == "request" else "S 0:0")
    t.receives("SEW 0:0 <mss 1000>")
    t.sends("SE. 0:0 ack 1" if ours == "request" else "S. 0:0 ack 1")
    assert t.connection.ecn.agreed == (ours == "request")


@pytest.mark.rfc("3168", "6.1.1-6")
def test_who_has_sent_a_plain_syn_does_not_mark_whatever_the_answer() -> None:
    """6.1.1: "MUST NOT set ECT", for the peer may have taken the plain SYN for the later word."""
    t = Script(ecn="request")
    t.connect()
    t.sends("SEW 0:0")
    t.sends_at(1.0, "S 0:0")
    t.receives("SE. 0:0 ack 1 <mss 1000>")
    t.sends(". 1:1 ack 1")
    marks = Marks(t)
    t.write(100)
    t.drain()
    assert [ecn for _, ecn in marks.take()] == [NOT_ECT]


# --- what is marked (6.1.4 to 6.1.6)


@pytest.mark.rfc("3168", "6.1.4-1", "6.1.5-1")
def test_new_data_is_ect_and_nothing_else() -> None:
    t, marks = marking(10)
    assert [ecn for _, ecn in marks.take()] == [ECN_CAPABLE] * 10
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:10001>")  # a retransmission
    t.drain()
    ((again, ecn),) = marks.take()
    assert again.payload
    assert ecn == NOT_ECT
    t.receives(". 1:1 ack 10001", "P. 1:101 ack 10001")
    t.advance(0.1)
    t.drain()
    ((ack, ecn),) = marks.take()
    assert not ack.payload
    assert ecn == NOT_ECT
    t.close()
    t.drain()
    ((fin, ecn),) = marks.take()
    assert not fin.payload
    assert ecn == NOT_ECT
    t.abort()
    t.drain()


@pytest.mark.rfc("3168", "6.1.1-3")
def test_the_syn_of_either_side_and_an_rst_are_not_ect() -> None:
    t = Script(ecn="request")
    marks = Marks(t)
    t.connect()
    t.sends("SEW 0:0")
    t.receives("SE. 0:0 ack 1 <mss 1000>")
    t.drain()
    t.abort()
    t.drain()
    sent = marks.take()
    assert [segment.flags & (SYN | RST) for segment, _ in sent] == [SYN, 0, RST]
    assert [ecn for _, ecn in sent] == [NOT_ECT] * 3
    t = Script(ecn="accept")
    marks = Marks(t)
    t.listen()
    t.receives("SEW 0:0 <mss 1000>")
    t.sends("SE. 0:0 ack 1")
    assert [ecn for _, ecn in marks.take()] == [NOT_ECT]


@pytest.mark.rfc("3168", "6.1.6-1")
def test_a_window_probe_is_not_ect() -> None:
    """6.1.6."""
    t, marks = marking()
    t.receives(". 1:1 ack 1 win 0")
    t.write(100)
    t.advance(1.0)
    t.drain()
    sent = marks.take()
    assert sent
    assert {ecn for _, ecn in sent} == {NOT_ECT}


@pytest.mark.rfc("3168", "6.1.5-1")
def test_a_tail_loss_probe_is_ect_only_with_new_data() -> None:
    t, marks = marking(5, rto_min=1.0)
    marks.take()
    t.advance(2 * RTT + 0.001)
    t.drain()
    assert [ecn for _, ecn in marks.take()] == [NOT_ECT]


@pytest.mark.rfc("3168", "6.1.5-1")
def test_trains_do_not_mix() -> None:
    """A train has one IP header for all: new data and retransmissions of equal size leave apart."""
    t, marks = marking(10)
    t.write(10 * MSS)
    marks.trains.clear()
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 3001:10001>")
    assert seqs(t.drain(), t) == [1, 1001, 2001, 10001, 11001]
    for train in marks.trains:
        for datagram in train.datagrams():
            segment = decode(datagram)
            new = bool(segment.payload) and t.flow.seq(segment) > 10_000
            assert train.ecn == (ECN_CAPABLE if new else NOT_ECT)
    assert {train.ecn for train in marks.trains} == {ECN_CAPABLE, NOT_ECT}


# --- the receiver (6.1.3)


@pytest.mark.rfc9293("SHLD-8")
@pytest.mark.rfc("3168", "6.1.1-7", "6.1.3-1", "6.1.4-1")
def test_a_mark_is_echoed_until_the_sender_says_that_it_heard() -> None:
    t, marks = marking(ecn="request")
    marked(t, "P. 1:101 ack 1")
    t.sends("E. 1:1 ack 101")  # at once
    t.receives("P. 101:201 ack 1")
    t.advance(0.1)
    assert [segment.flags & ECE for segment in t.drain()] == [ECE]
    t.write(100)
    assert [segment.flags & ECE for segment in t.drain()] == [ECE]  # data as well
    t.receives("PW. 201:301 ack 101")
    t.advance(0.1)
    assert [segment.flags & ECE for segment in t.drain()] == [0]
    assert {ecn for segment, ecn in marks.take() if not segment.payload} == {NOT_ECT}


@pytest.mark.rfc("3168", "6.1.3-2")
def test_a_mark_on_the_segment_with_cwr_counts_anew() -> None:
    t, _ = marking()
    marked(t, "P. 1:101 ack 1")
    t.drain()
    marked(t, "PW. 101:201 ack 1")
    t.sends("E. 1:1 ack 201")


@pytest.mark.defect(57)
def test_a_mark_on_an_ack_without_data_is_ignored() -> None:
    """The peer sends those not ECT (RFC 3168 6.1.4). On a path that marks everything, ACKs would answer ACKs without
    end."""
    t, _ = marking()
    marked(t, ". 1:1 ack 1")
    t.silent()
    t.write(100)
    assert [segment.flags & ECE for segment in t.drain()] == [0]
    marked(t, "F. 1:1 ack 101")
    assert [segment.flags & ECE for segment in t.drain()] == [ECE]


def test_marks_without_negotiation_are_nothing() -> None:
    t = established(ecn="accept")
    assert not t.connection.ecn.agreed
    marked(t, "P. 1:101 ack 1")
    t.advance(0.1)
    assert [segment.flags & ECE for segment in t.drain()] == [0]


# --- the sender (6.1.2)


@pytest.mark.rfc9293("SHLD-8")
@pytest.mark.rfc("3168", "6.1.2-1", "6.1.2-2", "6.1.2-3", "6.1.2-4")
@pytest.mark.rfc("5681", "4.3-1")
def test_one_reduction_for_a_window_and_one_cwr() -> None:
    t, marks = marking(10)
    t.write(30 * MSS)
    marks.take()
    t.advance(RTT)
    for segment in range(1, 11):
        t.receives(f"E. 1:1 ack {segment * MSS + 1}")
        t.drain()
    assert t.info.snd_ssthresh == 5 * MSS
    sent = marks.take()
    assert [bool(segment.flags & CWR) for segment, _ in sent] == [True] + [False] * (len(sent) - 1)
    assert t.stack.counters.retrans_segs == 0
    t.receives(f". 1:1 ack {t.flow.snd_nxt}")
    assert recovery(t).phase == OPEN
    t.drain()
    t.advance(RTT)
    t.receives(f"E. 1:1 ack {t.info.bytes_acked + 1 + MSS}")  # the next window
    assert t.info.snd_ssthresh < 5 * MSS


@pytest.mark.rfc("3168", "6.1.2-3")
def test_a_mark_and_a_loss_in_one_window_are_one_reduction() -> None:
    t, _ = marking(10)
    t.advance(RTT)
    t.receives("E. 1:1 ack 1001")
    assert recovery(t).phase == REDUCED
    ssthresh = t.info.snd_ssthresh
    t.receives("E. 1:1 ack 1001 <sack 2001:7001>")
    t.drain()
    assert recovery(t).phase == FAST
    assert t.info.snd_ssthresh == ssthresh


@pytest.mark.rfc("3168", "6.1.2-4")
def test_cwr_waits_for_new_data() -> None:
    """6.1.2: a retransmission must not carry it, for its loss would go unnoticed."""
    t, marks = marking(10)
    marks.take()
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:8001>")
    t.drain()
    assert [(bool(segment.flags & CWR), t.flow.seq(segment)) for segment, _ in marks.take()] == [(False, 1)]
    t.receives(". 1:1 ack 10001")
    t.write(3 * MSS)
    t.drain()
    assert [bool(segment.flags & CWR) for segment, _ in marks.take()] == [True, False, False]


def test_ece_of_a_peer_that_never_agreed_is_ignored() -> None:
    t = sender(10)
    assert not t.connection.ecn.agreed
    t.advance(RTT)
    t.receives("E. 1:1 ack 1001")
    assert t.info.snd_ssthresh > 1 << 20
    assert recovery(t).phase == OPEN


def test_ece_on_a_syn_ack_is_no_mark() -> None:
    t, _ = marking()
    assert t.info.snd_ssthresh > 1 << 20
    assert t.info.snd_cwnd == 10 * MSS


@pytest.mark.rfc("3168", "6.1.2-1")
def test_an_ack_that_only_carries_ece_reduces() -> None:
    """A duplicate ACK, while something is in flight."""
    t, _ = marking(10)
    t.advance(RTT)
    t.receives("E. 1:1 ack 1")
    assert t.info.snd_ssthresh == 5 * MSS
    assert seqs(t.drain(), t) == []


def test_a_tail_is_probed_after_a_mark_as_well() -> None:
    """RFC 8985 7.2 excludes loss recovery alone: with a mark nothing is known to be lost."""
    t, _ = marking(10, rto_min=1.0)
    t.advance(RTT)
    t.receives("E. 1:1 ack 9001")
    t.drain()
    t.advance(0.5)
    assert seqs(t.drain(), t) == [9001]
    assert t.stack.counters.timeouts == 0
