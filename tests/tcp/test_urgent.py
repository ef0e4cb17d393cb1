"""The urgent mechanism (RFC 9293 3.8.5): a pointer into the stream, not a second channel."""

import pytest

from tests.tcp.notation import stream
from tests.tcp.reach import established
from tests.tcp.script import Script
from utcp.tcp.event import URGENT
from utcp.wire import URG


def urgent(t: Script, line: str, pointer: int) -> None:
    segment = t.flow.segment(line)
    segment.flags |= URG
    segment.urgent = pointer
    t.deliver(t.flow, [segment])


@pytest.mark.rfc9293("MUST-30", "MUST-62")
def test_pointer_stands_behind_the_urgent_octets() -> None:
    t = established()
    t.connection.send(stream(1, 101), urgent=True)
    t._flush()
    (segment,) = t.sends("PU. 1:101 ack 1")
    assert segment.urgent == 100


@pytest.mark.rfc9293("MUST-31", "MUST-62")
def test_every_segment_before_the_pointer_tells_it_and_none_after() -> None:
    """MUST-31: any length."""
    t = established()
    t.connection.send(stream(1, 2501), urgent=True)
    t.connection.send(stream(2501, 4001))
    t._flush()
    sent = t.drain()
    assert [(segment.flags & URG != 0, segment.urgent) for segment in sent] == [
        (True, 2500),
        (True, 1500),
        (True, 500),
        (False, 0),
    ]


def test_retransmission_tells_it_again() -> None:
    t = established()
    t.connection.send(stream(1, 101), urgent=True)
    t._flush()
    t.sends("PU. 1:101 ack 1")
    (again,) = t.sends_after(0.2, "PU. 1:101 ack 1")
    assert again.urgent == 100


@pytest.mark.rfc9293("MUST-31")
def test_pointer_beyond_the_field_says_as_much_as_it_can() -> None:
    t = established()
    t.connection.send(stream(1, 70_001), urgent=True)
    t._flush()
    assert t.drain()[0].urgent == 65535


@pytest.mark.rfc9293("MUST-30", "MUST-32", "MUST-33", "MUST-47")
def test_user_is_told_and_learns_how_much_is_ahead() -> None:
    t = established()
    urgent(t, "P. 1:101 ack 1", 50)
    assert t.connection.take_events() & URGENT
    assert t.connection.urgent_ahead == 50
    t.read(20)
    assert t.connection.urgent_ahead == 30
    t.read()
    assert t.connection.urgent_ahead == 0


@pytest.mark.rfc9293("MUST-32")
def test_user_is_told_again_only_when_the_pointer_advances() -> None:
    t = established()
    urgent(t, "P. 1:11 ack 1", 200)
    t.connection.take_events()
    urgent(t, "P. 11:21 ack 1", 190)
    assert not t.connection.take_events() & URGENT
    urgent(t, "P. 21:31 ack 1", 200)
    assert t.connection.take_events() & URGENT
    assert t.connection.urgent_ahead == 220


def test_old_pointer_says_nothing() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    t.read()
    t.connection.take_events()
    urgent(t, ". 101:101 ack 1", 0)
    assert not t.connection.take_events() & URGENT


@pytest.mark.rfc9293("MUST-66")
def test_urgent_is_processed_at_a_closed_window() -> None:
    t = established(recv_buffer=2048)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2049 ack 1")
    t.drain()
    t.connection.take_events()
    urgent(t, ". 2049:2050 ack 1", 10)
    t.drain()
    assert t.connection.take_events() & URGENT


@pytest.mark.parametrize("pointer", [0, 1, 65535])
def test_pointer_without_the_flag_means_nothing(pointer: int) -> None:
    t = established()
    segment = t.flow.segment("P. 1:11 ack 1")
    segment.urgent = pointer
    t.deliver(t.flow, [segment])
    assert not t.connection.take_events() & URGENT
    assert t.connection.urgent_ahead == 0
