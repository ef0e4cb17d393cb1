"""Out-of-order text: any order gives the stream, SACK tells what is held, memory and work are bounded."""

import random
import sys
from collections.abc import Callable, Iterable
from itertools import pairwise
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tcp.notation import stream
from tests.tcp.reach import established
from tests.variant import interpreted_only
from utcp.config import Config
from utcp.tcp import out_of_order, reassembly, receive, receive_queue
from utcp.tcp.counters import Counters
from utcp.tcp.reassembly import Reassembly, join_pieces
from utcp.tcp.receive import ReceiveSide
from utcp.wire.seq import add, diff

IRS: Final = 0xFFFFFFCE
"""The sequence numbers wrap after 50 octets."""
LENGTH: Final = 120


def synchronized(limit: int = 1 << 20) -> ReceiveSide:
    side = ReceiveSide(Config(recv_buffer=limit), Counters())
    side.synchronize(IRS, 1460, sack=True, scaling=True)
    side.acknowledge()
    return side


def deliver(side: ReceiveSide, start: int, end: int) -> None:
    side.accept(add(IRS, 1 + start), stream(start, end), False)


def places(side: ReceiveSide) -> list[tuple[int, int]]:
    """The SACK blocks as places in the stream."""
    base = add(IRS, 1)
    return [(diff(start, base), diff(end, base)) for start, end in side.out_of_order.sack_blocks(0, base)]


def octets_held(held: Reassembly) -> int:
    return sum(len(piece) for piece in held._pieces.values())


segments = st.lists(
    st.tuples(st.integers(0, 20) | st.integers(0, LENGTH - 1), st.integers(1, 30)).map(
        lambda s: (s[0], min(s[0] + s[1], LENGTH))
    ),
    max_size=40,
)


@given(segments, st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
@pytest.mark.rfc("2018", "4-4", "4-5", "8-3")
@pytest.mark.rfc("2883", "4-3")
def test_any_order_gives_the_stream(pieces: list[tuple[int, int]], reads: set[int], acks: set[int]) -> None:
    """Against a model that knows of each octet whether it came: the stream, RCV.NXT, the runs and their order."""
    side = synchronized()
    came: set[int] = set()
    told: set[tuple[int, int]] = set()
    got = b""
    for number, (start, end) in enumerate(pieces):
        before = set(came)
        old = start < side.bytes_received or not before.isdisjoint(range(start, end))
        pending = side.out_of_order._dsack
        deliver(side, start, end)
        came |= set(range(start, end))
        nxt = next(place for place in range(LENGTH + 1) if place not in came)
        assert side.bytes_received == nxt
        assert side.rcv_nxt == add(IRS, 1 + nxt)
        ahead = {place for place in came if place > nxt}
        assert side.out_of_order.holding == bool(ahead)
        assert (side.out_of_order._dsack is not None) == (old or pending is not None)
        blocks = places(side)
        if side.out_of_order._dsack is not None:
            again = blocks.pop(0)
            assert again == side.out_of_order._dsack
            assert set(range(*again)) <= came
            if again[1] > nxt:  # RFC 2883 4: the second block has the first within
                assert again[0] >= blocks[0][0]
                assert again[1] <= blocks[0][1]
            if pending is None:  # of this segment: what had come before it
                assert set(range(*again)) <= before & set(range(start, end))
        elif start > nxt:  # RFC 2018 4: the first block has the segment that was the latest
            assert blocks[0][0] <= start
            assert end <= blocks[0][1]
        assert len(blocks) == len(set(blocks))
        for left, right in blocks:  # whole runs: neither could be longer
            assert set(range(left, right)) <= ahead
            assert left - 1 not in came
            assert right not in came
        runs = sum(place - 1 not in came for place in ahead)
        assert len(blocks) == min(runs, 3 if side.out_of_order._dsack is not None else 4)
        assert octets_held(side.out_of_order) == len(ahead)
        if number in reads:
            got += side.read(-1)
        if number in acks:
            side.acknowledge()
            told.clear()
    got += side.read(-1)
    assert got == stream(0, side.bytes_received)


@pytest.mark.rfc("2018", "4-6")
def test_runs_are_told_in_the_order_in_which_they_were_last_added_to() -> None:
    """RFC 2018 4."""
    side = synchronized()
    for start in (100, 300, 500, 700, 900):
        deliver(side, start, start + 10)
    deliver(side, 310, 320)
    assert places(side) == [(300, 320), (900, 910), (700, 710), (500, 510)]
    deliver(side, 510, 700)  # closes up two runs
    assert places(side) == [(500, 710), (300, 320), (900, 910), (100, 110)]
    deliver(side, 0, 100)
    assert places(side) == [(500, 710), (300, 320), (900, 910)]


# --- work


def lines_run(work: Callable[[], None]) -> int:
    """How many lines of the receive side `work` runs: its cost, the same on every machine."""
    files = {module.__file__ for module in (receive, out_of_order, reassembly, receive_queue)}
    count = 0

    def trace(frame: FrameType, what: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        if what == "line":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def behind_a_hole(count: int) -> Iterable[int]:
    return [*range(1, count), 0]


def backwards(count: int) -> Iterable[int]:
    return range(count - 1, -1, -1)


def every_second_first(count: int) -> Iterable[int]:
    """In portions: 500 runs, which the rest closes up from the left."""
    return (place for base in range(0, count, 1000) for half in (1, 0) for place in range(base + half, base + 1000, 2))


def every_second_first_backwards(count: int) -> Iterable[int]:
    """As before, but all lies behind one hole, and the rest closes up from the right."""
    rest = (place for base in range(0, count, 1000) for half in (1, 0) for place in range(base + 998 + half, base, -2))
    return [*rest, 0]


def shuffled(count: int) -> Iterable[int]:
    order = list(range(count))
    random.Random(1).shuffle(order)
    return order


def twice(count: int) -> Iterable[int]:
    return [*range(1, count), *range(1, count), 0]


@interpreted_only
@pytest.mark.parametrize(
    "order", [behind_a_hole, backwards, every_second_first, every_second_first_backwards, shuffled, twice]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_work_is_linear(order: Callable[[int], Iterable[int]], size: int) -> None:
    """Each segment costs the same, however many are held: 5,000 cost what five times 1,000 cost."""
    text = bytes(size)

    def arrive(count: int) -> None:
        side = synchronized(1 << 24)
        for place in order(count):
            side.accept(add(IRS, 1 + place * size), text, False)
            side.out_of_order.sack_blocks(0, IRS + 1)
            side.acknowledge()

    few, many = lines_run(lambda: arrive(1000)), lines_run(lambda: arrive(5000))
    assert many < 6 * few
    assert many < 150 * len(list(order(5000)))


# --- memory


def test_a_flood_of_tiny_segments_is_held_in_few_pieces() -> None:
    """The window bounds octets; what each piece costs besides is bounded as well."""
    side = synchronized(1 << 20)
    for place in range(2, 60_002, 2):
        deliver(side, place, place + 2)
        assert len(side.out_of_order._pieces) <= 4096
    deliver(side, 0, 2)
    assert side.read(-1) == stream(0, 60_002)
    assert not side.out_of_order.holding


@pytest.mark.rfc("2018", "8-1")
def test_a_flood_of_holes_is_held_in_few_runs() -> None:
    side = synchronized(1 << 20)
    for place in range(2, 60_000, 2):
        deliver(side, place, place + 1)
    assert len(side.out_of_order) == len(side.out_of_order._pieces) == 1024
    assert (side.out_of_order.segments, side._counters.ofo_queued, side._counters.ofo_drops) == (29_999, 1024, 28_975)
    deliver(side, 0, 1)
    assert side.bytes_received == 1
    deliver(side, 1, 60_000)  # closes up every hole
    assert side.read(-1) == stream(0, 60_000)
    assert not side.out_of_order._pieces
    assert not side.out_of_order._recent


def test_an_unread_flood_of_tiny_segments_is_kept_in_few_pieces() -> None:
    side = synchronized(1 << 20)
    for place in range(0, 60_000, 3):
        deliver(side, place, place + 3)
        assert len(side._pieces) <= 4097
    assert side.read(10) + side.read(-1) == stream(0, 60_000)


def test_an_unread_flood_that_fills_holes_is_kept_in_few_pieces() -> None:
    """Large segments in order, each with many small ones behind it, which came first."""
    side = synchronized(1 << 24)
    start = 0
    for _ in range(20):
        for place in range(start + 1000, start + 2000):
            deliver(side, place, place + 1)
        deliver(side, start, start + 1000)
        start += 2000
        assert len(side._pieces) <= 4096 + 1
    assert side.read(-1) == stream(0, start)


@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(1, 64))
def test_joined_pieces_are_the_same_octets(pieces: list[bytes], target: int) -> None:
    joined = join_pieces(list(pieces), target)
    assert b"".join(joined) == b"".join(pieces)
    assert all(len(a) >= target or len(b) >= target for a, b in pairwise(joined))


def test_large_pieces_are_not_copied() -> None:
    large = [bytes(100), bytes(100), bytes(100)]
    joined = join_pieces([large[0], b"a", b"b", large[1], large[2]], 100)
    assert [id(joined[0]), *map(id, joined[2:])] == [id(piece) for piece in large]
    assert joined[1] == b"ab"


@given(st.lists(st.binary(min_size=1, max_size=20)), st.lists(st.integers(-1, 50)))
def test_reading_in_portions_gives_the_stream(pieces: list[bytes], reads: list[int]) -> None:
    side = synchronized()
    for piece in pieces:
        side.accept(side.rcv_nxt, piece, False)
    whole = b"".join(pieces)
    for limit in reads:
        wanted = len(whole) if limit < 0 else min(limit, len(whole))
        assert side.read(limit) == whole[:wanted]
        whole = whole[wanted:]
        assert side.readable == len(whole)


def test_a_fin_leaves_nothing_held() -> None:
    t = established(options="mss 1000,sackOK")
    t.receives(". 1001:2001 ack 1", "F. 1:101 ack 1")
    t.drain()
    side = t.connection.receive_side
    assert side.fin_reached
    assert not side.out_of_order.holding
    assert not side.out_of_order._pieces
