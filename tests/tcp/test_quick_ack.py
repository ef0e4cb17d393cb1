"""At the start full-sized segments are acknowledged one by one: the peer's slow start grows with every ACK."""

from itertools import pairwise

import pytest

from tests.tcp.reach import established
from tests.tcp.script import Script


def arrive(t: Script, first: int, count: int, size: int = 1000) -> list[int]:
    """Segments, a millisecond apart; after which of them an ACK left at once."""
    acked = []
    for number in range(first, first + count):
        t.receives(f". {1 + number * size}:{1 + (number + 1) * size} ack 1")
        if t.drain():
            acked.append(number)
        t.advance(0.001)
    return acked


def test_the_first_full_sized_segments_are_acknowledged_at_once() -> None:
    """RFC 5681 4.2 asks for an ACK of every second segment at least."""
    t = established(rtt=0.01)
    assert arrive(t, 0, 17) == list(range(1, 17))  # the first one tells what size is full
    assert arrive(t, 17, 8) == [18, 20, 22, 24]


@pytest.mark.defect(53)
@pytest.mark.parametrize("stretch", [True, False])
def test_segments_larger_than_the_mss_that_was_offered_change_no_threshold(stretch: bool) -> None:
    """One segment of 60,000 octets put every further ACK off until 120,000 had come, and window updates likewise."""
    t = established(rtt=0.01, recv_buffer=1 << 20)
    arrive(t, 0, 1)
    t.receives(". 1001:61001 ack 1" if stretch else "P. 1001:61001 ack 1 <nots,sack 1:1>")
    t.drain()
    assert t.info.rcv_mss == 1000
    arrive(t, 61, 20)
    acked = arrive(t, 81, 8)
    assert [after - before for before, after in pairwise(acked)] == [2, 2, 2]


@pytest.mark.defect(53)
@pytest.mark.parametrize(("options", "size"), [("mss 1000", 100), ("mss 1000,ts 100", 88), ("ts 100", 524)])
def test_a_full_sized_segment_is_as_large_as_our_mss_option_allows(options: str, size: int) -> None:
    """SHLD-19: every second full-sized segment is acknowledged, however small those are. A SYN without the option is
    answered without, and then 536 octets are the most."""
    t = established(rtt=0.01, passive=True, options=options, mss=1000 if size == 524 else 100)
    for number in range(40):
        t.receives(f". {1 + number * size}:{1 + (number + 1) * size} ack 1")
        t.drain()
        t.advance(0.001)
    t.advance(0.04)
    t.drain()
    assert t.info.rcv_mss == size
    assert t.info.bytes_received == 40 * size
    acked = []
    for number in range(40, 48):
        t.receives(f". {1 + number * size}:{1 + (number + 1) * size} ack 1")
        if t.drain():
            acked.append(number)
    assert acked == [41, 43, 45, 47]


def test_a_single_segment_waits_for_the_answer_whatever_its_size() -> None:
    t = established(rtt=0.01)
    t.receives("P. 1:901 ack 1")
    t.silent()
    t.write(100)
    t.sends("P. 1:101 ack 901")


def test_small_segments_wait() -> None:
    t = established(rtt=0.01)
    assert arrive(t, 0, 2) == [1]
    t.receives("P. 2001:2101 ack 1")
    t.silent()
    t.sends_after(0.04, ". 1:1 ack 2101")


def test_one_batch_still_gets_one_ack() -> None:
    t = established(rtt=0.01)
    t.receives(*(f". {start}:{start + 1000} ack 1" for start in range(1, 8001, 1000)))
    t.sends(". 1:1 ack 8001")


def test_after_a_pause_they_are_again() -> None:
    """The peer begins slow start anew after an idle time (RFC 5681 4.1)."""
    t = established(rtt=0.01)
    arrive(t, 0, 30)
    assert arrive(t, 30, 4) == [30, 32]
    t.advance(1)
    t.drain()
    assert arrive(t, 34, 20) == [*range(35, 51), 52]


def test_a_short_pause_changes_nothing() -> None:
    t = established(rtt=0.01)
    arrive(t, 0, 30)
    t.advance(0.1)
    t.drain()
    assert arrive(t, 30, 4) == [31, 33]
