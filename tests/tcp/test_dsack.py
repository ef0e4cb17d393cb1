"""Duplicates are told in the first SACK block of one ACK (RFC 2883)."""

import pytest

from tests.tcp.pair import Packet, Pair
from tests.tcp.reach import established
from tests.tcp.script import Script
from utcp.wire.seq import add


def with_sack() -> Script:
    return established(options="mss 1000,sackOK")


@pytest.mark.rfc("2883", "4-1", "4-2")
def test_a_segment_that_came_before_is_told_once() -> None:
    """RFC 2883 4.1."""
    t = with_sack()
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.sends(". 1:1 ack 2001")
    t.receives(". 1001:2001 ack 1")
    t.sends(". 1:1 ack 2001 <sack 1001:2001>")
    t.receives(". 2001:3001 ack 1", ". 3001:4001 ack 1")
    (ack,) = t.sends(". 1:1 ack 4001")
    assert ack.sack_blocks == ()


@pytest.mark.rfc("2883", "4-5")
def test_a_duplicate_beside_a_hole_is_told_before_what_is_held() -> None:
    t = with_sack()
    t.receives(". 1:1001 ack 1", ". 2001:3001 ack 1")
    t.sends(". 1:1 ack 1001 <sack 2001:3001>")
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 1001 <sack 1:1001 2001:3001>")


@pytest.mark.rfc("2883", "4-4")
def test_a_duplicate_of_what_is_held_is_told_with_the_run_that_has_it() -> None:
    """RFC 2883 4: the sender knows by the second block that the first is a duplicate."""
    t = with_sack()
    t.receives(". 1001:2001 ack 1", ". 2001:3001 ack 1", ". 4001:5001 ack 1")
    t.sends(*[". 1:1 ack 1 <sack 4001:5001 1001:3001>"] * 3)
    t.receives(". 1001:2001 ack 1")
    t.sends(". 1:1 ack 1 <sack 1001:2001 1001:3001 4001:5001>")


@pytest.mark.rfc("2883", "4-4")
def test_the_run_that_has_the_duplicate_comes_second_also_when_another_is_more_recent() -> None:
    t = with_sack()
    t.receives(". 1001:3001 ack 1", ". 4001:5001 ack 1")
    t.drain()
    t.receives(". 1001:2001 ack 1", ". 5001:6001 ack 1")
    t.sends(". 1:1 ack 1 <sack 1001:2001 1001:3001 4001:6001>", ". 1:1 ack 1 <sack 4001:6001 1001:3001>")


@pytest.mark.rfc("2883", "4-3")
def test_of_a_segment_that_is_partly_old_the_old_part_is_told() -> None:
    t = with_sack()
    t.receives(". 1:1001 ack 1")
    t.receives(". 501:1501 ack 1")
    t.sends(". 1:1 ack 1501 <sack 501:1001>")


@pytest.mark.rfc("2883", "4.2.3")
def test_of_a_segment_that_covers_two_runs_the_first_is_told() -> None:
    t = with_sack()
    t.receives(". 1001:2001 ack 1", ". 3001:4001 ack 1", ". 6001:7001 ack 1")
    t.drain()
    t.receives(". 1:5001 ack 1")
    t.sends(". 1:1 ack 5001 <sack 1001:2001 6001:7001>")


@pytest.mark.rfc("2883", "4-1")
def test_duplicates_of_one_batch_that_follow_each_other_are_told_as_one() -> None:
    t = with_sack()
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", ". 2001:3001 ack 1")
    t.sends(". 1:1 ack 3001")
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", ". 2001:3001 ack 1")
    t.sends(". 1:1 ack 3001 <sack 1:3001>")


@pytest.mark.rfc("2883", "4-1")
def test_of_duplicates_of_one_batch_that_are_apart_the_first_is_told() -> None:
    t = with_sack()
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", ". 2001:3001 ack 1")
    t.sends(". 1:1 ack 3001")
    t.receives(". 1:1001 ack 1", ". 2001:3001 ack 1")
    t.sends(". 1:1 ack 3001 <sack 1:1001>")


def test_a_duplicate_is_told_though_data_is_to_leave() -> None:
    """Data has no room for SACK blocks: a pure ACK goes ahead of it."""
    t = with_sack()
    t.receives("P. 1:101 ack 1")
    t.sends_after(0.04, ". 1:1 ack 101")
    t.write(50)
    t.sends("P. 1:51 ack 101")
    t.receives("P. 1:101 ack 51")
    t.write(50)
    t.sends(". 51:51 ack 101 <sack 1:101>", "P. 51:101 ack 101")


def test_a_duplicate_does_not_hide_the_ack_of_what_follows_it() -> None:
    t = with_sack()
    t.receives(". 1:1001 ack 1")
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.sends(". 1:1 ack 2001 <sack 1:1001>")
    t.silent_for(1)


@pytest.mark.rfc("2883", "4-3")
def test_nothing_before_the_stream_is_told() -> None:
    """A keepalive probe may repeat the octet of the SYN (RFC 9293 3.8.4)."""
    t = with_sack()
    t.receives(". 0:1 ack 1")
    (ack,) = t.sends(". 1:1 ack 1")
    assert ack.sack_blocks == ()


def test_a_repeated_fin_is_not_told_but_its_text_is() -> None:
    t = with_sack()
    t.receives("F. 1:101 ack 1")
    t.sends(". 1:1 ack 102")
    t.receives("F. 1:101 ack 1")
    t.sends(". 1:1 ack 102 <sack 1:101>")


@pytest.mark.rfc("2883", "2-1")
def test_no_duplicate_is_told_without_the_peers_permission() -> None:
    t = established()
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1")
    t.sends(". 1:1 ack 2001")
    t.receives(". 1001:2001 ack 1")
    (ack,) = t.sends(". 1:1 ack 2001")
    assert ack.sack_blocks == ()
    t.receives(". 1001:2001 ack 1")
    assert not t.connection.receive_side.out_of_order.sack_due
    t.drain()


def test_a_duplicate_is_told_ahead_of_data_that_acknowledges_more() -> None:
    t = with_sack()
    t.receives("P. 1:101 ack 1")
    t.sends_after(0.04, ". 1:1 ack 101")
    t.receives("P. 1:101 ack 1", "P. 101:201 ack 1")
    t.write(50)
    t.sends(". 1:1 ack 201 <sack 1:101>", "P. 1:51 ack 201")


@pytest.mark.rfc("2883", "4-2")
def test_each_duplicate_on_the_way_is_told_once() -> None:
    """Two stacks, and a network that brings every tenth segment twice, and no two at the same time."""
    told: list[tuple[int, int]] = []
    doubled: list[tuple[int, int]] = []
    free = 0.0

    def rule(packet: Packet) -> tuple[float, ...]:
        nonlocal free
        segment = packet.segment
        if packet.sender == "server" and segment.sack_blocks:
            told.append(segment.sack_blocks[0])
        free = max(free, packet.time) + 0.0001
        late = free - packet.time
        if packet.sender == "client" and packet.count % 10 == 5 and segment.payload:
            doubled.append((segment.seq, add(segment.seq, len(segment.payload))))
            return late, late + 0.00005
        return (late,)

    p = Pair(rule)
    near, far = p.established()
    near.send(bytes(200_000))
    p.run(lambda: far.readable == 200_000)
    p.run_for(1)
    assert len(doubled) > 10
    assert told == doubled
