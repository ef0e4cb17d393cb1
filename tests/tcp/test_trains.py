"""Trains: many equal-sized segments in one datagram buffer, in both directions (utcp.tcp.transmit)."""

from itertools import pairwise

import pytest

from tests.tcp.notation import stream
from tests.tcp.reach import established
from tests.tcp.script import MSS, SECRET, START, Flow, Script
from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Transmit
from utcp.wire import FIN, PSH, Segment, decode, encode


def many(count: int) -> tuple[Script, list[Connection], list[Flow]]:
    """So many established connections to one remote."""
    t = Script()
    connections = [t.connect(local_port=50000 + number) for number in range(count)]
    flows = [t.flow_to(80, 50000 + number) for number in range(count)]
    t.drain()
    for flow in flows:
        flow.receives(f"S. 0:0 ack 1 <mss {MSS}>")
        flow.sends(". 1:1 ack 1")
    return t, connections, flows


def flushed(t: Script) -> list[Transmit]:
    """What leaves, as the link gets it."""
    return t.stack.datagrams_to_send(t.now)


def segments(transmits: list[Transmit]) -> list[Segment]:
    return [decode(datagram) for transmit in transmits for datagram in transmit.datagrams()]


def train(t: Script, *lines: str) -> bytes:
    return b"".join(encode(t.flow.segment(line)) for line in lines)


# --- in


def test_train_of_one_connection_gets_one_ack() -> None:
    t = established()
    lines = [f". {start}:{start + 1000} ack 1" for start in range(1, 20_001, 1000)]
    t.receives_bytes(train(t, *lines), MSS + 20)
    t.sends(". 1:1 ack 20001")
    assert t.read() == 20_000
    assert t.stack.counters.in_segs == 21


def test_last_of_a_train_may_be_shorter() -> None:
    t = established()
    t.receives_bytes(train(t, ". 1:1001 ack 1", ". 1001:2001 ack 1", "F. 2001:2501 ack 1"), MSS + 20)
    t.sends(". 1:1 ack 2502")
    assert t.read() == 2500
    assert t.connection.at_eof


def test_train_of_several_connections() -> None:
    t, connections, flows = many(3)
    t.receives_bytes(b"".join(encode(flow.segment("F. 1:1 ack 1")) for flow in flows), 20)
    for flow in flows:
        flow.sends(". 1:1 ack 2")
    assert all(connection.at_eof for connection in connections)


def test_malformed_segment_in_a_train_is_skipped() -> None:
    t = established()
    good = train(t, "P. 1:101 ack 1")
    bad = bytes(len(good))
    t.receives_bytes(good + bad + train(t, "P. 101:201 ack 1"), len(good))
    assert t.read() == 200
    assert t.stack.counters.in_errs == 1


@pytest.mark.parametrize("segment_size", [1, 7, 19, 21, 5000])
def test_any_segment_size_is_survived(segment_size: int) -> None:
    t = established()
    t.receives_bytes(train(t, "P. 1:101 ack 1", "P. 101:201 ack 1"), segment_size)
    t.drain()


def test_one_datagram_with_a_segment_size_of_its_own() -> None:
    t = established()
    data = train(t, "P. 1:101 ack 1")
    t.receives_bytes(data, len(data))
    assert t.read() == 100


def test_what_is_kept_is_copied() -> None:
    """The link reuses its buffer."""
    t = established()
    buffer = bytearray(train(t, "P. 1:101 ack 1", "P. 201:301 ack 1"))
    t.stack.receive_datagram(memoryview(buffer), "peer", t.now, 120)
    buffer[:] = bytes(len(buffer))
    t.drain()
    t.receives("P. 101:201 ack 1")
    assert t.read() == 300


# --- out


def test_closes_of_many_connections_leave_as_one_train() -> None:
    """What makes thousands of concurrent closes cheap."""
    t, connections, _ = many(40)
    for connection in connections:
        connection.close(t.now)
    (transmit,) = flushed(t)
    assert transmit.remote == "peer"
    assert transmit.segment_size == 20
    assert transmit.size == 40 * 20 == len(b"".join(transmit.buffers))
    fins = segments([transmit])
    assert [segment.src_port for segment in fins] == [50000 + number for number in range(40)]
    assert all(segment.flags & FIN for segment in fins)


def test_acks_of_many_fins_leave_as_one_train() -> None:
    t, _, flows = many(10)
    for flow in flows:
        t.stack.receive_datagram(encode(flow.segment("F. 1:1 ack 1")), "peer", t.now)
    (transmit,) = flushed(t)
    assert len(transmit.datagrams()) == 10


def test_order_within_a_connection_is_kept() -> None:
    t, connections, _ = many(5)
    for connection in connections:
        connection.send(stream(1, 3501))
        connection.close(t.now)
    out = segments(flushed(t))
    for connection in connections:
        own = [segment for segment in out if segment.src_port == connection.local_port]
        assert [len(segment.payload) for segment in own] == [1000, 1000, 1000, 500]
        assert all(after.seq == before.seq + 1000 & 0xFFFFFFFF for before, after in pairwise(own))
        assert b"".join(segment.payload for segment in own) == stream(1, 3501)
        assert own[-1].flags & (FIN | PSH)


def test_full_segments_of_one_connection_are_one_train() -> None:
    t = established()
    t.connection.send(stream(1, 8501))
    (transmit,) = flushed(t)
    assert transmit.segment_size == MSS + 20
    assert transmit.size == 8 * (MSS + 20) + 520


def test_remotes_are_kept_apart() -> None:
    t = Script()
    for remote in ("one", "two", "one", "two"):
        t.connect(local_port=None, remote=remote)
    transmits = flushed(t)
    assert sorted(str(transmit.remote) for transmit in transmits) == ["one", "two"]
    assert all(len(transmit.datagrams()) == 2 for transmit in transmits)


def test_single_datagram() -> None:
    t = Script()
    t.connect()
    (transmit,) = flushed(t)
    assert transmit.datagrams() == [b"".join(transmit.buffers)]
    assert transmit.segment_size in (None, transmit.size)
    assert transmit.ecn == 0


@pytest.mark.parametrize(("limit", "sizes"), [(4, [4, 4, 2]), (10, [10]), (1, [1] * 10)])
def test_trains_have_at_most_so_many_segments(limit: int, sizes: list[int]) -> None:
    stack = Stack(Config(), secret=SECRET, max_train_segments=limit)
    for number in range(10):
        stack.connect("peer", 80, START, local_port=50000 + number)
    transmits = stack.datagrams_to_send(START)
    assert [len(transmit.datagrams()) for transmit in transmits] == sizes


def test_trains_have_at_most_so_many_octets() -> None:
    stack = Stack(Config(timestamps=False, sack=False, window_scaling=False), secret=SECRET, max_train_bytes=24 * 3 + 5)
    for number in range(10):
        stack.connect("peer", 80, START, local_port=50000 + number)
    transmits = stack.datagrams_to_send(START)
    assert [transmit.size for transmit in transmits] == [72, 72, 72, 24]


def test_a_train_is_cut_between_its_segments() -> None:
    t, connections, _ = many(3)
    for connection in connections:
        connection.send(stream(1, 2501))
    transmits = flushed(t)
    assert all(transmit.size == sum(map(len, transmit.buffers)) for transmit in transmits)
    out = segments(transmits)
    for connection in connections:
        own = [segment.payload for segment in out if segment.src_port == connection.local_port]
        assert [len(payload) for payload in own] == [1000, 1000, 500]
        assert b"".join(own) == stream(1, 2501)


def test_sent_data_is_not_copied_needlessly() -> None:
    """A segment's payload is a view of what the user gave, where it is large; the bytes are the user's."""
    t = established(mtu=9000, mss=8000, options="mss 8000")
    data = stream(1, 8001)
    t.connection.send(data)
    (transmit,) = flushed(t)
    assert any(getattr(buffer, "obj", buffer) is data for buffer in transmit.buffers)


def test_nothing_to_send_is_an_empty_list() -> None:
    t = established()
    assert flushed(t) == []
