"""Timestamps: what they echo, and protection against wrapped sequence numbers (RFC 7323)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.tcp.reach import close_wait, closing, established, fin_wait_1, fin_wait_2, last_ack
from tests.tcp.script import Script
from utcp.tcp.state import CLOSED, ESTABLISHED, SYN_RCVD
from utcp.wire.seq import diff

DAY = 86400.0


def stamped(ts: int = 1000) -> Script:
    """ESTABLISHED with timestamps; the peer's clock begins at `ts`."""
    t = established(options=f"mss 1000,ts {ts}")
    assert t.flow.peer_has_timestamps
    return t


# --- on every segment


@pytest.mark.rfc("7323", "3.2-3", "3.2-8")
def test_every_segment_carries_timestamps() -> None:
    """RFC 7323 3.2."""
    t = stamped()
    t.write(100)
    t.sends("P. 1:101 ack 1 <ts *:1000>")
    t.receives("P. 1:101 ack 101 <ts 1005>")
    t.sends_after(0.04, ". 101:101 ack 101 <ts *:1005>")


@pytest.mark.rfc("7323", "5.4-1")
def test_our_clock_ticks_at_1_ms_to_1_s() -> None:
    """RFC 7323 5.4."""
    t = stamped()
    t.write(100)
    (first,) = t.sends("P. 1:101 ack 1")
    t.receives(". 1:1 ack 101")
    t.advance(10)
    t.write(100)
    (second,) = t.sends("P. 101:201 ack 1")
    assert 10 <= diff(second.ts_val or 0, first.ts_val or 0) <= 10_000


@pytest.mark.parametrize("reach", [stamped, lambda: fin_wait_1(options="mss 1000,ts 1000")])
@pytest.mark.rfc("7323", "3.2-4")
def test_our_rst_carries_timestamps(reach: Callable[[], Script]) -> None:
    t = reach()
    t.abort()
    t.sends("R <ts *:1000>")


@pytest.mark.rfc("7323", "3.2-10")
def test_echo_in_a_segment_without_ack_is_ignored() -> None:
    """RFC 7323 3.2: it would measure a round trip that was none."""
    t = Script()
    t.connect()
    t.sends("S 0:0 <ts 0:0>")
    t.advance(0.5)
    syn = t.flow.segment("S 0:0 <mss 1000,ts 700>")
    syn.ts_ecr = t.flow.first_ts_val
    t.deliver(t.flow, [syn])
    t.sends("S. 0:0 ack 1 <ts *:700>")
    assert t.info.rtt == 0


@pytest.mark.rfc("7323", "3.2-5", "3.2-6")
def test_segments_without_timestamps_are_dropped() -> None:
    """RFC 7323 3.2: once negotiated, a segment without them is none of this connection's."""
    t = stamped()
    t.receives("P. 1:101 ack 1 <nots>")
    t.silent()
    assert t.state == ESTABLISHED
    assert t.connection.readable == 0
    assert t.stack.counters.paws_drops == 1


@pytest.mark.rfc("7323", "3.2-7")
def test_timestamps_that_were_not_negotiated_are_ignored() -> None:
    t = established()
    t.receives("P. 1:101 ack 1 <ts 5000>")
    t.sends_after(0.04, ". 1:1 ack 101 <nots>")
    t.receives("P. 101:201 ack 1 <ts 4000>")
    assert t.read() == 200


# --- TS.Recent (RFC 7323 4.3)


@pytest.mark.rfc("7323", "4.3-1", "4.3-2")
def test_delayed_ack_echoes_the_first_segment_it_covers() -> None:
    """So that the peer measures the delay too."""
    t = stamped()
    t.receives("P. 1:101 ack 1 <ts 2000>")
    t.advance(0.02)
    t.receives("P. 101:201 ack 1 <ts 2020>")
    t.sends_at(0.04, ". 1:1 ack 201 <ts *:2000>")


@pytest.mark.rfc("7323", "4.3-1", "4.3-3", "4.3-4")
def test_segment_behind_a_gap_is_not_echoed() -> None:
    t = stamped()
    t.receives("P. 1:101 ack 1 <ts 2000>")
    t.sends_after(0.04, ". 1:1 ack 101 <ts *:2000>")
    t.receives("P. 201:301 ack 1 <ts 3000>")
    t.sends(". 1:1 ack 101 <ts *:2000>")
    t.receives("P. 101:201 ack 1 <ts 4000>")
    t.sends(". 1:1 ack 301 <ts *:4000>")


def test_syn_in_simultaneous_open_is_echoed() -> None:
    t = Script()
    t.connect()
    t.sends("S 0:0 <ts 0:0>")
    t.receives("S 0:0 <mss 1000,ts 700>")
    t.sends("S. 0:0 ack 1 <ts *:700>")
    assert t.state == SYN_RCVD


# --- PAWS (RFC 7323 5)


@pytest.mark.rfc("7323", "4.3-1")
def test_old_timestamp_is_dropped_with_an_ack() -> None:
    """RFC 7323 5.3, R1; known defect 43: a wrapped old duplicate would pass every other check."""
    t = stamped()
    t.receives("P. 1:101 ack 1 <ts 2000>")
    t.sends_after(0.04, ". 1:1 ack 101")
    t.receives("P. 101:201 ack 1 <ts 1935>")
    t.sends(". 1:1 ack 101 <ts *:2000>")
    assert t.read() == 100
    assert t.stack.counters.paws_drops == 1


@pytest.mark.parametrize("ts", [2000, 1999, 1936])
def test_what_a_path_reorders_is_not_old(ts: int) -> None:
    """A retransmission that fills a gap makes TS.Recent new, and a segment that left shortly before it arrives after
    it. PAWS dropped such segments, and one loss led to the next: on 100 Mbit/s and 100 ms with 1 % of the packets 25 ms
    late, NewReno had 36 Mbit/s, and has 93. What is echoed does not go back."""
    t = stamped()
    t.receives("P. 101:201 ack 1 <ts 1990>")
    t.sends(". 1:1 ack 1 <ts *:1000>")
    t.receives("P. 1:101 ack 1 <ts 2000>")
    t.sends(". 1:1 ack 201 <ts *:2000>")
    t.receives(f"P. 201:301 ack 1 <ts {ts}>")
    t.sends_after(0.04, ". 1:1 ack 301 <ts *:2000>")
    assert t.read() == 300
    assert t.stack.counters.paws_drops == 0


def test_what_is_older_than_the_syn_is_no_reordered_segment() -> None:
    """It may be from an earlier connection with these ports, where TIME_WAIT was cut short (RFC 6191)."""
    t = stamped()
    t.receives("P. 1:101 ack 1 <ts 999>")
    t.sends(". 1:1 ack 1 <ts *:1000>")
    t.receives("P. 1:101 ack 1 <ts 1010>")
    t.receives("P. 101:201 ack 1 <ts 999>")
    assert t.read() == 100
    assert t.stack.counters.paws_drops == 2


def test_timestamps_wrap() -> None:
    t = stamped(ts=0xFFFFFFF0)
    t.receives("P. 1:101 ack 1 <ts 4294967295>")
    t.sends_after(0.04, ". 1:1 ack 101")
    t.receives("P. 101:201 ack 1 <ts 5>")
    assert t.read() == 200
    t.sends_after(0.04, ". 1:1 ack 201 <ts *:5>")
    t.receives("P. 201:301 ack 1 <ts 4294967230>")
    t.sends(". 1:1 ack 201")
    assert t.read() == 0


def test_fin_with_an_old_timestamp_is_dropped() -> None:
    t = stamped()
    t.receives("F. 1:1 ack 1 <ts 500>")
    t.sends(". 1:1 ack 1")
    assert t.state == ESTABLISHED


def test_ack_with_an_old_timestamp_acknowledges_nothing() -> None:
    t = stamped()
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives(". 1:1 ack 101 <ts 500>")
    t.drain()
    assert t.connection.send_queue == 100


@pytest.mark.rfc("7323", "5.2-1")
def test_rst_is_not_subject_to_paws() -> None:
    """RFC 7323 5.2: it may come from a peer that lost its clock."""
    t = stamped()
    t.receives("R 1:1 <ts 5>")
    assert t.state == CLOSED


def test_rst_without_timestamps_is_accepted() -> None:
    t = stamped()
    t.receives("R 1:1 <nots>")
    assert t.state == CLOSED


@pytest.mark.rfc("7323", "5.2-2")
def test_timestamp_of_a_rst_is_not_taken() -> None:
    """RFC 7323 5.2."""
    t = stamped()
    t.receives("R 100:100 <ts 9000>")
    t.sends(". 1:1 ack 1 <ts *:1000>")
    t.receives("P. 1:101 ack 1 <ts 2000>")
    assert t.read() == 100


@pytest.mark.rfc("7323", "5.5-1")
def test_after_24_days_idle_any_timestamp_is_accepted() -> None:
    """RFC 7323 5.5: by then the peer's clock may have wrapped."""
    t = stamped(ts=5000)
    t.silent_for(23 * DAY)
    t.receives("P. 1:101 ack 1 <ts 10>")
    t.sends(". 1:1 ack 1")
    assert t.read() == 0
    t.advance(2 * DAY)
    t.receives("P. 1:101 ack 1 <ts 10>")
    assert t.read() == 100


@pytest.mark.parametrize(
    ("reach", "rcv"),
    [(fin_wait_1, 1), (fin_wait_2, 1), (close_wait, 2), (closing, 2), (last_ack, 2)],
    ids=["FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK"],
)
def test_paws_protects_every_synchronized_state(reach: type[Script], rcv: int) -> None:
    t = reach(options="mss 1000,ts 900")
    state = t.state
    t.receives(f"F. {rcv}:{rcv + 100} ack 2 <ts 500>")
    t.drain()
    assert t.state == state
    assert t.stack.counters.paws_drops == 1


def test_acks_of_old_timestamps_are_rationed() -> None:
    t = stamped()
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives(". 1:1 ack 101 <ts 5>")
    t.sends(". 101:101 ack 1")
    for _ in range(20):
        t.receives(". 1:1 ack 101 <ts 5>")
        t.silent()


@pytest.mark.defect(51)
@pytest.mark.parametrize("overtaken", ["101:101 ack 101", "101:101 ack 51", "51:51 ack 51", "51:51 ack 101"])
def test_an_ack_that_was_overtaken_is_dropped_in_silence(overtaken: str) -> None:
    """Old by timestamp and with nothing new in its ACK field, as a path that reorders delivers it. The answer to it
    would be a duplicate ACK for the peer."""
    t = stamped()
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives("P. 1:101 ack 101 <ts 2000>")
    t.sends_after(0.04, ". 101:101 ack 101")
    t.receives(f". {overtaken} <ts 1900>")
    t.silent()
    assert t.stack.counters.paws_drops == 1


@pytest.mark.defect(51)
@pytest.mark.parametrize("line", ["101:101 ack 102", "100:100 ack 101", "101:102 ack 51", "-70000:-70000 ack 2000000"])
def test_what_is_old_by_timestamp_alone_is_answered(line: str) -> None:
    """An ACK of something new, a keepalive probe, text: their senders may have to learn what we expect."""
    t = stamped()
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives("P. 1:101 ack 101 <ts 2000>")
    t.sends_after(0.04, ". 101:101 ack 101")
    t.receives(f". {line} <ts 1900>")
    t.sends(". 101:101 ack 101")


# --- keepalive probes without timestamps


@pytest.mark.defect(65)
@pytest.mark.parametrize("probe", [". 100:100 ack 1", ". 100:101 ack 1"], ids=["empty", "one octet"])
def test_keepalive_probe_without_timestamps_is_answered(probe: str) -> None:
    """illumos and Windows send them; with silence they reset a living connection (RFC 9293 3.8.4)."""
    t = stamped()
    t.receives("P. 1:101 ack 1 <ts 2000>")
    assert t.read() == 100
    t.sends_after(0.04, ". 1:1 ack 101 <ts *:2000>")
    before = t.info
    for _ in range(3):
        t.receives(f"{probe} <nots>")
        t.sends(". 1:1 ack 101 <ts *:2000>")
        t.receives(f"{probe} <nots>")
        t.silent()
        t.advance(0.125)
    assert replace(before, segs_in=0, segs_out=0) == replace(t.info, segs_in=0, segs_out=0)


@pytest.mark.defect(65)
@pytest.mark.parametrize(
    "line",
    [
        "P. 101:102 ack 1",
        "P. 99:101 ack 1",
        ". 101:101 ack 1",
        ". 99:99 ack 1",
        ". 100:100 ack 2",
        ". 100:100 ack 0",
        "F. 100:100 ack 1",
        "- 100:100",
    ],
)
def test_nothing_else_without_timestamps_is_answered(line: str) -> None:
    t = stamped()
    t.receives("P. 1:101 ack 1 <ts 2000>")
    t.sends_after(0.04, ". 1:1 ack 101")
    t.receives(f"{line} <nots>")
    t.silent()
    assert t.info.unread == 100
