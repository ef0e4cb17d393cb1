"""Peers that are on the path, or are the other end, and do not play fair: what they gain, and what they cost."""

import sys

import pytest

from tests.tcp.reach import established, fin_wait_1, syn_rcvd
from tests.tcp.script import MSS, SECRET, START, Script
from utcp.config import Config
from utcp.errors import FinTimedOut
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1
from utcp.wire import SYN, Segment, encode

SACK = f"mss {MSS},sackOK"


@pytest.mark.parametrize("ahead", [1, 1000, 65535, (1 << 31) - 3002])
@pytest.mark.rfc("5681", "5-1")
def test_optimistic_ack_gains_nothing(ahead: int) -> None:
    """RFC 9293 3.10.7.4: an ACK of what was not sent yet is answered, and ignored otherwise: no window grows."""
    t = established()
    t.write(3000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:3001 ack 1")
    cwnd = t.info.snd_cwnd
    t.receives(*[f". 1:1 ack {3001 + ahead}"] * 10)
    t.sends(". 3001:3001 ack 1")
    assert (t.info.snd_cwnd, t.info.unacked) == (cwnd, 3000)


@pytest.mark.parametrize("control", ["newreno", "cubic"])
@pytest.mark.rfc("5681", "3.1-4", "5-1")
def test_ack_division_grows_the_window_no_more_than_one_ack(control: str) -> None:
    """RFC 3465: octets are counted, not ACKs. 1,000 ACKs of one octet each do what one ACK of 1,000 does."""
    grown = []
    for parts in (1, 10, 1000):
        t = established(congestion_control=control)
        t.write(20_000)
        t.drain()
        size = MSS // parts
        for part in range(parts):
            t.receives(f". 1:1 ack {1 + (part + 1) * size}")
            t.drain()
        grown.append(t.info.snd_cwnd)
    assert max(grown) - grown[0] <= 0


@pytest.mark.rfc("6582", "5-1")
def test_duplicate_acks_without_blocks_mean_nothing_where_there_is_sack() -> None:
    """RFC 6675 2: a duplicate ACK is one that tells of something new by SACK. Others, however many, release nothing."""
    t = established(options=SACK)
    t.write(100_000)
    t.drain()
    for _ in range(200):
        t.receives(". 1:1 ack 1")
        assert not [segment for segment in t.drain() if segment.payload]


@pytest.mark.rfc("5681", "3.2-7")
def test_duplicate_acks_without_sack_release_no_more_than_the_window() -> None:
    """RFC 5681 3.2 takes each for a segment that has left the network. Only the peer can send so many, to itself."""
    t = established()
    t.write(100_000)
    reach = 0
    for _ in range(300):
        reach = max([reach, *(t.flow.seq(segment) + len(segment.payload) for segment in t.drain())])
        t.receives(". 1:1 ack 1")
    t.drain()
    assert reach <= 1 + 65535
    assert t.info.snd_ssthresh < 10_000


@pytest.mark.parametrize("blocks", ["5001:9001", "0:1", "-1000:0", "3001:3002", "2001:1001", "1:3002"])
@pytest.mark.rfc("2018", "5-5")
def test_sack_of_what_was_never_sent_is_ignored(blocks: str) -> None:
    """RFC 2018 8: nothing is taken for delivered or lost by it, and nothing is forgotten: all comes again when due."""
    t = established(options=SACK)
    t.write(3000)
    t.drain()
    t.receives(f". 1:1 ack 1 <sack {blocks}>")
    t.drain()
    assert t.info.unacked == 3000
    t.receives(". 1:1 ack 3001")
    t.drain()
    assert t.info.unacked == 0
    t.write(10)
    t.sends("P. 3001:3011 ack 1")


@pytest.mark.rfc("2018", "5-1")
@pytest.mark.rfc("6675", "4-2")
def test_sack_reneging_loses_nothing() -> None:
    """RFC 2018 8: a peer may drop what it has reported. Everything is kept and sent again until it is acknowledged."""
    t = established(options=SACK)
    t.write(5000)
    t.drain()
    t.receives(". 1:1 ack 1 <sack 1001:5001>")
    t.drain()
    octets: set[int] = set()
    acked = 1
    while acked < 5001 and t.time < 300:  # the peer has dropped what it reported and says nothing more of it
        t.advance(1)
        for segment in t.drain():
            first = t.flow.seq(segment)
            octets.update(range(first, first + len(segment.payload)))
        while acked in octets:
            acked += 1
        t.receives(f". 1:1 ack {acked}")
    assert octets == set(range(1, 5001))
    assert t.info.unacked == 0


def memory_of(t: Script, lines: list[str]) -> int:
    """Allocated blocks that the connection keeps of these segments."""
    datagrams = [encode(t.flow.segment(line)) for line in lines]
    before = sys.getallocatedblocks()
    for datagram in datagrams:
        t.stack.receive_datagram(datagram, t.flow.remote, t.now)
        t.stack.datagrams_to_send(t.now)
    return sys.getallocatedblocks() - before


def test_tiny_segments_with_gaps_are_bounded_in_number() -> None:
    """10,000 segments of 2 octets, each apart from the others: no more than 256 runs are held."""
    t = established(options=SACK)
    kept = memory_of(t, [f". {4 * n + 10}:{4 * n + 12} ack 1" for n in range(10_000)])
    assert kept < 256 * 16


def test_tiny_segments_in_a_row_are_bounded_by_the_window() -> None:
    """Beyond the window nothing is kept; within it an octet costs at most a block."""
    t = established(options=SACK, recv_buffer=8192)
    kept = memory_of(t, [f". {2 * n + 10}:{2 * n + 12} ack 1" for n in range(20_000)])
    assert kept < 8192 + 1000


def test_overlapping_segments_keep_no_octet_twice() -> None:
    t = established(options=SACK, recv_buffer=8192)
    kept = memory_of(t, [f". {n + 10}:{n + 1010} ack 1" for _ in range(3) for n in range(0, 6000, 7)])
    assert kept < 8192 + 1000
    t.receives(". 1:10 ack 1")
    t.drain()
    assert t.read() > 6000


def test_closed_window_cannot_hold_a_closed_connection_for_ever() -> None:
    """The user has closed; the peer answers every probe and never opens its window (RFC 9293 3.8.6.1 would have it so
    for ever). `fin_retries` ends it."""
    t = established()
    t.receives(". 1:1 ack 1 win 0")
    t.write(1000)
    t.close()
    t.drain()
    assert t.state == FIN_WAIT_1
    answered = 0
    while t.state == FIN_WAIT_1 and t.time < 3600:
        t.advance(1)
        if t.drain() and t.state == FIN_WAIT_1:
            answered += 1
            t.receives(". 1:1 ack 1 win 0")
    assert t.state == CLOSED
    assert isinstance(t.error, FinTimedOut)
    assert answered <= t.stack.config.fin_retries
    assert t.time < 300


def test_silent_peer_of_a_closed_connection_is_given_up() -> None:
    t = fin_wait_1()
    t.advance(300)
    t.drain()
    assert t.state == CLOSED


@pytest.mark.parametrize("mode", ["never", "always"])
@pytest.mark.parametrize("port", [80, 50000])
def test_land(mode: str, port: int) -> None:
    """A SYN that seems to come from ourselves (CVE-1999-0016): a few segments to ourselves, and no connection."""
    stack = Stack(Config(syn_cookies=mode), secret=SECRET)  # type: ignore[arg-type]  # one of the three modes
    listener = stack.listen(80, START)
    now = START
    stack.receive_datagram(encode(Segment(port, 80, 7, 0, SYN, 65535, mss=1000, ts_val=1, ts_ecr=0)), "ourselves", now)
    segments = 0
    end = START + 300
    for _ in range(10_000):
        looped = [datagram for transmit in stack.datagrams_to_send(now) for datagram in transmit.datagrams()]
        segments += len(looped)
        for datagram in looped:
            stack.receive_datagram(datagram, "ourselves", now)
        if not looped:
            due = stack.next_timeout()
            if due is None or due > end:
                break
            now = max(now, due)
            stack.handle_timeout(now)
    assert segments < 40
    assert listener.accept() is None
    assert not stack.connections


def test_half_open_connection_is_not_fed() -> None:
    """Text before the handshake's end is not kept, however much of it comes."""
    t = syn_rcvd()
    kept = memory_of(t, [f". {100 * n + 1}:{100 * n + 101} ack 5" for n in range(500)])
    assert kept < 1000
    assert t.state != ESTABLISHED


def test_sack_blocks_of_single_octets_do_not_cut_the_flight_to_octets() -> None:
    """CVE-2019-11477 to 11479: each cut costs memory and, once the rest is lost, a segment of its own."""
    t = established(options="mss 1000,sackOK,wscale 10", window=1 << 20, send_buffer=1 << 22)
    t.write(400_000)
    acked = 1
    for _ in range(8):  # slow start, until some 70 segments are in flight
        t.drain()
        acked = t.flow.snd_nxt
        t.write(400_000 if t.connection.send_side.space > 400_000 else 0)
        t.receives(f". 1:1 ack {acked}")
    t.drain()
    board = t.connection.recovery.board
    segments = (board.nxt - board.una) // 1000
    assert segments > 60
    most = 0
    for octet in range(acked + 3, acked + 1000 * segments, 7):
        t.receives(f". 1:1 ack {acked} <sack {octet}:{octet + 1}>")
        t.drain()
        most = max(most, board.run_count - 2 * (board.nxt - board.una) // 1000)
    assert most <= 260
