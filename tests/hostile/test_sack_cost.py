"""SACK blocks of a peer that wants to cost: they count by whole segments, and a packet with four costs little more than
an ordinary ACK."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from tests.recovery.trace import consistent
from tests.tcp.reach import established
from tests.tcp.script import Script
from tests.variant import interpreted_only
from utcp.tcp.recovery.scoreboard import IN_FLIGHT, SACKED, Departure, Scoreboard
from utcp.wire import encode


def board(*flights: int, mss: int = 1000) -> Scoreboard:
    """What left in several flushes, so many octets in each."""
    made = Scoreboard()
    for flight in flights:
        departure = Departure(0.0, 0, 0.0, 0.0)
        departure.mss = mss
        made.send(flight, departure)
    return made


def sacked(made: Scoreboard) -> list[tuple[int, int]]:
    consistent(made)
    return [(run.start, run.end) for run in made.runs() if run.state == SACKED]


@pytest.mark.defect(97)
@pytest.mark.parametrize(
    ("block", "counts"),
    [
        ((1000, 2000), (1000, 2000)),
        ((1000, 5300), (1000, 5300)),
        ((1001, 2000), None),
        ((1000, 1999), None),
        ((1500, 3500), (2000, 3000)),
        ((999, 2001), (1000, 2000)),
        ((0, 1), None),
        ((5299, 5300), None),
        ((4000, 5299), (4000, 5299)),  # all but a FIN
    ],
)
def test_a_block_counts_by_whole_segments(block: tuple[int, int], counts: tuple[int, int] | None) -> None:
    made = board(5300)
    delivered = made.sack(*block)
    assert sacked(made) == ([] if counts is None else [counts])
    assert sum(run.end - run.start for run in delivered) == (0 if counts is None else counts[1] - counts[0])
    assert made.run_count <= 3


@pytest.mark.defect(97)
def test_each_flush_has_segments_of_its_own() -> None:
    """300 octets, a probe of the path MTU among full segments, and segments of another size."""
    made = board(300, 2000)
    departure = Departure(1.0, 0, 0.0, 0.0)
    departure.mss = 1000
    for size in (1400, 1000, 1000):
        made.send(size, departure)
    assert made.sack(300, 1300)
    assert made.sack(2300, 3700)
    assert made.sack(3700, 4700)
    assert sacked(made) == [(300, 1300), (2300, 4700)]


@pytest.mark.defect(97)
def test_a_peer_that_takes_a_part_of_a_segment_has_its_blocks_counted() -> None:
    """A receiver may trim a segment to its window, and acknowledge what it took. What follows stands where it stood."""
    made = board(5000)
    made.acknowledge(1300)
    assert [(run.start, run.end, run.state) for run in made.runs()] == [
        (1300, 2000, IN_FLIGHT),
        (2000, 5000, IN_FLIGHT),
    ]
    for position in range(1301, 1350):
        made.acknowledge(position)
        consistent(made)
    assert made.run_count == 2
    assert made.sack(3000, 4000)
    assert sacked(made) == [(3000, 4000)]


def in_flight(segments: int) -> Script:
    """So many segments of 1000 octets are in flight."""
    t = established(options="mss 1000,sackOK,wscale 10", window=1 << 20, send_buffer=1 << 22)
    t.receives(". 1:1 ack 1")  # the window of a SYN is not scaled
    t.connection.congestion.cwnd = segments * 1000
    t.connection.send(bytes(segments * 1000))
    for _ in range(1000):
        t.stack.datagrams_to_send(t.now)
        if t.connection.send_side.flight_size == segments * 1000:
            return t
        t.now += 0.001
    pytest.fail("it does not leave")


def packets(t: Script, lines: list[str]) -> list[bytes]:
    t.flow.our_iss = t.connection.send_side.iss
    return [encode(t.flow.segment(line)) for line in lines]


def calls_of(work: Callable[[], object]) -> int:
    """How many Python functions run in `work`."""
    count = 0

    def profile(frame: FrameType, what: str, argument: object) -> None:
        nonlocal count
        count += what == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def receive(t: Script, datagrams: list[bytes]) -> int:
    """Take the packets, one in each flush. Return how many segments leave."""
    before = t.stack.counters.out_segs
    for datagram in datagrams:
        t.now += 0.0001
        t.stack.receive_datagram(datagram, t.flow.remote, t.now)
        t.stack.datagrams_to_send(t.now)
    return t.stack.counters.out_segs - before


HOSTILE: dict[str, Callable[[int], list[tuple[int, int]]]] = {
    "single octets": lambda n: [(4000 + 1000 * n + 7 * k, 4001 + 1000 * n + 7 * k) for k in range(4)],
    "halves of segments": lambda n: [(4501 + 2000 * (n + k), 5001 + 2000 * (n + k)) for k in range(4)],
    "across the edges": lambda n: [(4501 + 2000 * (n + k), 5501 + 2000 * (n + k)) for k in range(4)],
    "the same again": lambda n: [(4001 + 2000 * k, 5001 + 2000 * k) for k in range(4)],
}


@interpreted_only
@pytest.mark.defect(97)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_packet_full_of_blocks_costs_a_small_multiple_of_an_ack(kind: str) -> None:
    count = 60
    t = in_flight(200)
    acks = packets(t, [f". 1:1 ack {1001 + 1000 * n}" for n in range(count)])
    ordinary = calls_of(lambda: receive(t, acks))
    t = in_flight(200)
    lines = []
    for n in range(count):
        blocks = " ".join(f"{left}:{right}" for left, right in HOSTILE[kind](n))
        lines.append(f". 1:1 ack 1 <sack {blocks}>")
    hostile = packets(t, lines)
    left = 0

    def attack() -> None:
        nonlocal left
        left = receive(t, hostile)

    costs = calls_of(attack)
    assert costs < 4 * ordinary, (costs / count, ordinary / count)
    assert left <= 16, "blocks that tell of no segment have nothing sent again"
    assert t.connection.recovery.board.run_count <= 16


@interpreted_only
@pytest.mark.defect(97)
def test_blocks_of_every_other_segment_cost_what_their_retransmissions_cost() -> None:
    """They are honest blocks: each hole is one segment, sent again once, as the congestion window allows."""
    t = in_flight(400)
    lines = [
        ". 1:1 ack 1 <sack "
        + " ".join(f"{1001 + 2000 * (4 * n + k)}:{2001 + 2000 * (4 * n + k)}" for k in range(4))
        + ">"
        for n in range(50)
    ]
    left = receive(t, packets(t, lines))
    assert left <= 200
    assert t.connection.recovery.board.run_count <= 400


@pytest.mark.defect(97)
def test_the_scoreboard_has_no_more_than_some_thousand_runs() -> None:
    t = established(options="mss 1000,sackOK,wscale 14", window=1 << 25, send_buffer=1 << 24, mss=100)
    t.receives(". 1:1 ack 1")
    t.connection.congestion.cwnd = 1 << 24
    for _ in range(60):
        t.connection.send(bytes(100 * 200))
        for _ in range(50):
            t.stack.datagrams_to_send(t.now)
            t.now += 0.0001
    flight = t.connection.send_side.flight_size
    assert flight > 1_000_000
    lines = [
        ". 1:1 ack 1 <sack " + " ".join(f"{101 + 200 * (4 * n + k)}:{201 + 200 * (4 * n + k)}" for k in range(4)) + ">"
        for n in range(1300)
    ]
    for datagram in packets(t, lines):
        t.stack.receive_datagram(datagram, t.flow.remote, t.now)
    assert 3000 < t.connection.recovery.board.run_count < 4200


@pytest.mark.defect(96)
def test_small_segments_in_flight_are_bounded_in_number() -> None:
    """A congestion window counts octets: 14,000 segments of one octet fit into the first one."""
    t = established()
    for _ in range(1000):
        t.connection.send(b"x")
        t.stack.datagrams_to_send(t.now)
    assert t.connection.recovery.board.run_count == 256
    t.stack.receive_datagram(packets(t, [". 1:1 ack 257"])[0], t.flow.remote, t.now)
    (data,) = [segment for transmit in t.stack.datagrams_to_send(t.now) for segment in transmit.datagrams()]
    assert len(data) == 20 + 744  # what has waited leaves in one segment
