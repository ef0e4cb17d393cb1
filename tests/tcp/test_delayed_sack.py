"""Behind a hole four SACKs leave at once; later out-of-order segments share one in a millisecond (RFC 5681 4.2)."""

from typing import Any

import pytest

from tests.tcp.reach import established
from tests.tcp.script import MSS, Script
from utcp.wire import Segment, encode
from utcp.wire.segment import CONGESTION_EXPERIENCED
from utcp.wire.seq import diff

SIZE = 100
"""Octets of a segment, and of the hole from 1 on. None is full-sized, so that none counts for quick ACKs."""


def behind(*numbers: int, acked: int = 1) -> list[str]:
    """Segments from the peer: number 1 follows the hole, number 0 fills it."""
    return [f". {1 + SIZE * number}:{1 + SIZE * (number + 1)} ack {acked}" for number in numbers]


def sack(*runs: tuple[int, int], at: int = 1, ack: int = 1) -> str:
    """An ACK from us with these runs in its SACK blocks, each by its first and last segment."""
    blocks = " ".join(f"{1 + SIZE * first}:{1 + SIZE * (last + 1)}" for first, last in runs)
    return f". {at}:{at} ack {ack} <sack {blocks}>"


def with_hole(*, rtt: float = 0.1, **knobs: Any) -> Script:
    """Five segments behind a hole have come, and each was acknowledged at once: four as duplicates that fast retransmit
    may count, the fifth because no shared SACK left just before."""
    t = established(options=f"mss {MSS},sackOK", rtt=rtt, **knobs)
    for number in range(1, 6):
        t.receives(*behind(number))
        t.sends(sack((1, number)))
    return t


def test_later_out_of_order_segments_share_a_sack() -> None:
    t = with_hole()
    t.receives(*behind(6))
    t.silent_for(0.0004)
    t.receives(*behind(7))
    t.silent_for(0.0004)
    t.receives(*behind(8))
    t.sends_after(0.0002, sack((1, 8)))
    t.silent_for(1)


def test_a_segment_of_another_run_gets_its_sack_at_once() -> None:
    """A shared SACK has room for three or four runs. When several retransmissions arrived together, some runs were told
    of late, and the sender took for lost, and for reordered, what had arrived."""
    t = with_hole()
    t.receives(*behind(6))
    t.silent()
    for number, told in (
        (8, [(8, 8), (1, 6)]),
        (10, [(10, 10), (8, 8), (1, 6)]),
        (7, [(1, 8), (10, 10)]),  # sent again
        (11, [(10, 11), (1, 8)]),
    ):
        t.receives(*behind(number))
        t.sends(sack(*told))
    t.receives(*behind(12))
    t.sends_after(0.001, sack((10, 12), (1, 8)))
    t.silent_for(1)


def test_sacks_that_leave_together_tell_of_more_runs_than_one_has_room_for() -> None:
    t = with_hole()
    t.receives(*behind(7, 9, 11, 13, 15))
    t.sends(  # each goes on two runs further: beside timestamps and a DSACK there is room for no more
        sack((15, 15), (13, 13), (11, 11), (9, 9)),
        sack((11, 11), (9, 9), (7, 7), (1, 5)),
        sack((7, 7), (1, 5)),
        *[sack((15, 15), (13, 13), (11, 11), (9, 9))] * 2,
    )
    t.silent_for(1)


def test_no_more_than_one_sack_leaves_in_a_millisecond() -> None:
    t = with_hole()
    sacks: list[tuple[float, Segment]] = []
    begin = t.time
    for number in range(6, 106):
        t.receives(*behind(number))
        t.advance(0.0003)
        sacks += [(t.time, segment) for segment in t.drain()]
    t.advance(0.001)
    sacks += [(t.time, segment) for segment in t.drain()]
    assert 20 <= len(sacks) <= (t.time - begin) / 0.001
    left, right = sacks[-1][1].sack_blocks[0]
    assert diff(right, left) == 105 * SIZE


def test_segments_that_come_seldom_get_a_sack_each_at_once() -> None:
    t = with_hole()
    for number in range(6, 20):
        t.advance(0.0011)
        t.receives(*behind(number))
        t.sends(sack((1, number)))
    t.silent_for(1)


def test_a_batch_gets_a_sack_for_each_run_beyond_the_first_four() -> None:
    t = established(options=f"mss {MSS},sackOK", rtt=0.1)
    t.receives(*behind(1, 2, 3, 4, 5, 6))
    t.sends(*[sack((1, 6))] * 4)
    t.silent_for(1)
    t.receives(*behind(7, 8, 9))
    t.sends(sack((1, 9)))
    t.receives(*behind(11, 12, 14, 15))
    t.sends(sack((14, 15), (11, 12), (1, 9)), sack((1, 9)))
    t.silent_for(1)


def test_a_hole_that_moves_gets_four_sacks_at_once_again() -> None:
    t = with_hole()
    t.receives(*behind(7))
    t.sends(sack((7, 7), (1, 5)))
    t.receives(*behind(0))  # RCV.NXT moves to the hole before number 7
    t.sends(sack((7, 7), ack=601))
    for number in range(8, 12):
        t.receives(*behind(number))
        t.sends(sack((7, number), ack=601))
    t.receives(*behind(12))
    t.sends_after(0.001, sack((7, 12), ack=601))
    t.silent_for(1)


@pytest.mark.rfc("5681", "3.2-2")
@pytest.mark.parametrize("waiting", [True, False], ids=["one waits", "none waits"])
@pytest.mark.parametrize(
    ("arriving", "leaving"),
    [
        (". 1:101 ack 1", ". 1:1 ack 601 <sack 701:901>"),
        (". 1:51 ack 1", ". 1:1 ack 51 <sack 701:901 101:601>"),
        (". 201:301 ack 1", ". 1:1 ack 1 <sack 201:301 101:601 701:901>"),
        (". 0:1 ack 1", ". 1:1 ack 1 <sack 701:901 101:601>"),
        ("F. 1001:1101 ack 1", ". 1:1 ack 1 <sack 1001:1101 701:901 101:601>"),
        ("F. 1001:1001 ack 1", ". 1:1 ack 1 <sack 701:901 101:601>"),
        (". 65501:65601 ack 1", ". 1:1 ack 1 <sack 65501:65536 701:901 101:601>"),
        ("S 901:901", ". 1:1 ack 1 <sack 701:901 101:601>"),
        ("R. 901:901 ack 1", ". 1:1 ack 1 <sack 701:901 101:601>"),
    ],
    ids=["fills", "fills in part", "duplicate", "old", "FIN", "bare FIN", "beyond the window", "SYN", "RST"],
)
def test_what_asks_for_an_ack_at_once_still_gets_it(arriving: str, leaving: str, waiting: bool) -> None:
    t = with_hole(recv_buffer=65535)
    t.receives(*behind(7))
    t.sends(sack((7, 7), (1, 5)))
    t.receives(*behind(8))
    if waiting:
        t.silent()
    else:
        t.sends_after(0.001, sack((7, 8), (1, 5)))
    t.receives(arriving)
    t.sends(leaving)
    t.silent_for(0.1)


def test_a_repeated_fin_out_of_order_is_acknowledged_at_once() -> None:
    t = with_hole()
    for _ in range(3):
        t.receives("F. 801:801 ack 1")
        t.sends(sack((1, 5)))
    t.silent_for(1)


def test_a_mark_is_echoed_at_once() -> None:
    """RFC 3168 6.1.3."""
    t = Script(ecn="request")
    t.connect()
    t.drain()
    t.advance(0.1)
    t.receives(f"SE. 0:0 ack 1 <mss {MSS},sackOK>")
    t.sends(". 1:1 ack 1")
    for number in range(1, 6):
        t.receives(*behind(number))
        t.sends(sack((1, number)))
    t.receives(*behind(6))
    t.silent()
    (line,) = behind(7)
    t.stack.receive_datagram(encode(t.flow.segment(line)), "peer", t.now, ecn=CONGESTION_EXPERIENCED)
    t.sends("E. 1:1 ack 1 <sack 101:801>")
    t.silent_for(1)


def test_without_sack_every_segment_makes_a_duplicate_ack() -> None:
    """Its sender counts them: each lets a segment leave (RFC 5681 3.2)."""
    t = established(rtt=0.1)
    for number in range(1, 10):
        t.receives(*behind(number))
        t.sends(". 1:1 ack 1")
    t.receives(*behind(10, 11, 12))
    t.sends(*[". 1:1 ack 1"] * 3)
    t.silent_for(1)


@pytest.mark.parametrize("knobs", [{"rtt": 0.019}, {"rtt": 0.0}, {"delayed_ack": 0}])
def test_no_sack_waits_on_a_short_path_or_where_no_ack_does(knobs: dict[str, Any]) -> None:
    """A millisecond, the least that an event loop waits, would be more than a twentieth of the round trip."""
    t = with_hole(**knobs)
    for number in range(6, 10):
        t.receives(*behind(number))
        t.sends(sack((1, number)))
    t.receives(*behind(10, 11, 12))
    t.sends(sack((1, 12)))
    t.silent_for(1)


def test_a_sack_waits_no_longer_than_any_delayed_ack() -> None:
    t = with_hole(delayed_ack=0.0005)
    t.receives(*behind(6))
    t.sends_after(0.0005, sack((1, 6)))


def test_quick_acks_are_quick_behind_a_hole() -> None:
    t = established(options=f"mss {MSS},sackOK", rtt=0.1)
    for number in range(2, 10):
        t.receives(f". {1 + MSS * number}:{1 + MSS * (number + 1)} ack 1")
        t.sends(f". 1:1 ack 1 <sack 2001:{1 + MSS * (number + 1)}>")
    t.connection.receive_side.set_quick_ack(False)
    t.receives(". 10001:11001 ack 1")
    t.sends(". 1:1 ack 1 <sack 2001:11001>")
    t.receives(". 11001:12001 ack 1")
    t.silent()
    t.connection.receive_side.set_quick_ack(True)
    t.connection.touch()
    t.sends(". 1:1 ack 1 <sack 2001:12001>")


def test_data_does_not_take_the_place_of_a_delayed_sack() -> None:
    """A segment with data has no room for SACK blocks."""
    t = with_hole()
    t.receives(*behind(6))
    t.write(50)
    t.sends("P. 1:51 ack 1")
    t.sends_after(0.001, sack((1, 6), at=51))
    t.silent_for(0.1)


def test_a_fin_does_not_take_the_place_of_a_delayed_sack() -> None:
    t = with_hole()
    t.receives(*behind(6))
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.sends_after(0.001, sack((1, 6), at=2))
    t.silent_for(0.1)


def test_a_delayed_sack_leaves_ahead_of_data() -> None:
    t = with_hole()
    t.receives(*behind(6))
    t.silent()
    t.now += 0.0011
    t.stack.handle_timeout(t.now)
    t.write(50)
    t.sends(sack((1, 6)), "P. 1:51 ack 1")
    t.silent_for(0.1)


@pytest.mark.parametrize("batch", [True, False], ids=["at once", "later"])
def test_what_is_still_held_when_a_hole_is_filled_is_told_ahead_of_data(batch: bool) -> None:
    """The data took the ACK along, and with it a SACK that had not left: the peer never heard of segment 8."""
    t = with_hole()
    t.receives(*behind(7))
    t.sends(sack((7, 7), (1, 5)))
    if batch:
        t.receives(*behind(8, 0))
    else:
        t.receives(*behind(8))
        t.silent_for(0.0005)
        t.receives(*behind(0))
    t.write(50)
    t.sends(sack((7, 8), ack=601), "P. 1:51 ack 601")
    t.silent_for(0.1)


def test_a_sack_that_waited_says_nothing_of_the_peers_nagle_algorithm() -> None:
    """Only the ACK of text that may be half an answer can show that the peer waits for it."""
    t = established(options=f"mss {MSS},sackOK", rtt=0.1)
    t.write(50)
    t.sends("P. 1:51 ack 1")
    t.receives(*behind(0, acked=51))  # the first text behind our own data
    t.silent()
    for number in range(2, 7):
        t.receives(*behind(number, acked=51))
        t.sends(sack((2, number), at=51, ack=101))
    t.receives(*behind(7, acked=51))
    t.sends_after(0.001, sack((2, 7), at=51, ack=101))
    t.receives(*behind(1, acked=51))
    t.sends(". 51:51 ack 801")
    t.write(50)
    t.sends("P. 51:101 ack 801")
    t.receives(*behind(8, acked=101))
    t.sends_after(0.04, ". 101:101 ack 901")
