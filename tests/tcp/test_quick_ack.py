"""At the start full-sized segments are acknowledged one by one: the peer's slow start grows with every ACK."""

from itertools import pairwise

import pytest

from tests.tcp.reach import established
from tests.tcp.script import Script
from tests.tcp.test_trains import train


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


# --- a peer with Nagle's algorithm that answers in two writes: the second one waits for the ACK of the first


def exchange(t: Script, number: int, think: float = 0.0) -> float:
    """A request of 100 octets, and its answer of 50 and 50 over a path of 10 ms; how long it took, in seconds."""
    t.advance(think)
    begun = t.time
    ours, theirs = 1 + 100 * number, 1 + 100 * number
    t.write(100)
    t.sends(f"P. {ours}:{ours + 100} ack {theirs}")
    t.advance(0.01)
    t.receives(f"P. {theirs}:{theirs + 50} ack {ours + 100}")
    while not t.drain():
        t.advance(0.001)
    t.advance(0.01)
    t.receives(f"P. {theirs + 50}:{theirs + 100} ack {ours + 100}")
    t.silent()  # the next request takes this ACK along
    return t.time - begun


@pytest.mark.defect(86)
def test_a_peer_that_waits_for_the_ack_of_half_an_answer_gets_it_at_once_from_the_second_request_on() -> None:
    t = established(rtt=0.01)
    assert [round(exchange(t, number), 3) for number in range(4)] == [0.061, 0.02, 0.02, 0.02]


@pytest.mark.defect(86)
def test_the_trace_of_such_an_exchange() -> None:
    t = established(rtt=0.01)
    exchange(t, 0)
    t.write(100)
    t.sends("P. 101:201 ack 101")
    t.advance(0.01)
    t.receives("P. 101:151 ack 201")
    t.sends(". 201:201 ack 151")
    t.advance(0.01)
    t.receives("P. 151:201 ack 201")
    t.silent()
    t.sends_after(0.04, ". 201:201 ack 201")


def answered(t: Script, number: int, think: float) -> int:
    """A request of 100 octets, its answer of 100, and `think` seconds: how many pure ACKs left."""
    ours, theirs = 1 + 100 * number, 1 + 100 * number
    t.write(100)
    t.drain()
    t.advance(0.01)
    t.receives(f"P. {theirs}:{theirs + 100} ack {ours + 100}")
    before = t.info.segs_out
    t.advance(think)
    t.drain()
    return t.info.segs_out - before


@pytest.mark.defect(86)
def test_requests_that_follow_answers_take_the_acks_along() -> None:
    """Nothing is sent more than if every ACK waited."""
    t = established(rtt=0.01)
    assert [answered(t, number, 0.005) for number in range(8)] == [0] * 8


@pytest.mark.defect(86)
def test_slow_requests_cost_one_ack_each_as_before() -> None:
    t = established(rtt=0.01)
    assert [answered(t, number, 0.1) for number in range(4)] == [1] * 4


@pytest.mark.defect(86)
def test_a_lone_ack_that_the_next_request_could_have_carried_is_the_last() -> None:
    t = established(rtt=0.01)
    pauses = [0.1, 0.1, 0.005, 0.005, 0.005, 0.1, 0.005, 0.005]
    assert [answered(t, number, pause) for number, pause in enumerate(pauses)] == [1, 1, 1, 0, 0, 1, 1, 0]


@pytest.mark.defect(86)
def test_what_the_peer_sends_without_being_asked_is_acknowledged_together() -> None:
    t = established(rtt=0.01)
    acks = 0
    for number in range(40):  # 10 ms apart
        t.receives(f"P. {1 + 50 * number}:{51 + 50 * number} ack 1")
        acks += len(t.drain())
        t.advance(0.01)
        acks += len(t.drain())
    assert acks == 10  # one in 40 ms


@pytest.mark.defect(86)
@pytest.mark.parametrize("together", [True, False])
def test_only_the_first_text_behind_our_own_is_half_an_answer(together: bool) -> None:
    """Also if it arrives in a train: what comes after the train waits, and the next answer does as well."""
    t = established(rtt=0.01)
    t.write(100)
    t.drain()
    t.advance(0.01)
    lines = [f". {start}:{start + 400} ack 101" for start in range(1, 2401, 400)]
    if together:
        t.receives_bytes(train(t, *lines), 400 + 20)
    else:
        t.receives(*lines)
    t.sends(". 101:101 ack 2401")
    t.receives("P. 2401:2451 ack 101")
    t.sends_after(0.04, ". 101:101 ack 2451")
    t.write(100)
    t.drain()
    t.advance(0.01)
    t.receives("P. 2451:2501 ack 201")
    t.sends_after(0.04, ". 201:201 ack 2501")
