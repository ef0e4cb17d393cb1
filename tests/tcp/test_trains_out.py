"""Full-sized segments that leave together are made together, and that shows nowhere but in the time it takes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tcp.notation import stream
from tests.tcp.reach import established
from tests.tcp.script import START
from tests.tcp.test_stretches import MASK, PORTS, Side, snapshot
from utcp.tcp.connection import burst
from utcp.tcp.pacing import Pacer
from utcp.wire import ACK, ECE, FIN, PSH, URG, Segment, decode, encode
from utcp.wire.segment import ECN_CAPABLE

ISN_CLOCK: Final = 250_000
"""Ticks of the clock of initial sequence numbers in a second (RFC 6528)."""

interpreted = pytest.mark.skipif(not burst.__file__.endswith(".py"), reason="a compiled class cannot be patched")


@dataclass(frozen=True)
class Move:
    """The users write and time passes, everything leaves, and the peer answers."""

    writes: tuple[int, ...] = ()
    urgent: bool = False
    shutdown: bool = False
    pause: float = 0.0
    acks: int = 0
    """Octets of those in flight, at most."""
    window: int = 1000
    flags: int = ACK
    sack: tuple[int, int] | None = None
    """Octets behind SND.UNA."""


def play(moves: list[Move], mtu: int, knobs: dict[str, Any]) -> list[Any]:
    """What left of each connection, and what is known of it, after each move."""
    side = Side(mtu=mtu, **knobs)
    told: list[Any] = []
    for move in moves:
        for connection in side.connections:
            for size in move.writes:
                if connection.ended or connection.send_side.fin_queued:
                    break
                place = connection.send_side.queued
                connection.send(stream(place, place + size), urgent=move.urgent)
            if move.shutdown and not connection.ended:
                connection.shutdown(side.now)
        side.now += move.pause
        if 0 < (side.stack.next_timeout() or 0) <= side.now:
            side.stack.handle_timeout(side.now)
        left = [(decode(datagram), ecn) for datagram, ecn in side.flush()]
        told += [[(segment, ecn) for segment, ecn in left if segment.dst_port == port] for port in PORTS]
        told.append(snapshot(side.connections))
        told.append((side.stack.counters.out_segs, side.stack.next_timeout()))
        for connection in side.connections:
            send = connection.send_side
            una = send.snd_una
            acked = (una + min(move.acks, send.flight_size)) & MASK
            answer = Segment(
                connection.remote_port, 80, connection.receive_side.rcv_nxt, acked, move.flags, move.window
            )
            if connection.timestamps:
                answer.ts_val, answer.ts_ecr = int(side.now * 1000) & MASK, connection.ts_now(side.now - 0.01)
            if move.sack is not None and connection.sack and send.flight_size >= move.acks + sum(move.sack):
                first = (acked + move.sack[0]) & MASK
                answer.sack_blocks = ((first, (first + move.sack[1]) & MASK),)
            side.stack.receive_datagram(encode(answer), "peer", side.now)
    return told


MOVE: Final = st.builds(
    Move,
    writes=st.lists(st.sampled_from([1, 400, 1000, 2999, 5000, 40_000]), max_size=3).map(tuple),
    urgent=st.sampled_from([False, False, False, False, True]),
    shutdown=st.sampled_from([False, False, False, False, False, True]),
    pause=st.sampled_from([0.0, 0.001, 0.01, 0.06, 0.3]),
    acks=st.sampled_from([0, 1000, 3000, 7777, 1_000_000, 1_000_000]),
    window=st.sampled_from([1000, 1000, 1000, 0, 3, 40]),
    flags=st.sampled_from([ACK, ACK, ACK, ACK | ECE]),
    sack=st.sampled_from([None, None, None, (1000, 3000)]),
)
KNOBS: Final = st.fixed_dictionaries(
    {"timestamps": st.booleans(), "sack": st.booleans(), "ecn": st.booleans(), "rtt": st.sampled_from([0.0, 0.05])},
    optional={
        "congestion_control": st.sampled_from(["newreno", "bbr"]),
        "nodelay": st.just(True),
        "send_buffer": st.just(9000),
        "max_train_bytes": st.sampled_from([1500, 5000]),
        "max_train_segments": st.sampled_from([1, 2, 7]),
    },
)


@interpreted
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(MOVE, min_size=1, max_size=10), st.sampled_from([1500, 9000]), KNOBS)
def test_the_same_leaves_as_one_by_one(moves: list[Move], mtu: int, knobs: dict[str, Any]) -> None:
    together = play(moves, mtu, knobs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burst.Burst, "_trains_of_new_data", lambda _: False)
        alone = play(moves, mtu, knobs)
    for one, other in zip(together, alone, strict=True):
        assert one == other


def calls(function: Any) -> int:
    """How many Python functions of the core run meanwhile."""
    count = 0

    def note(frame: Any, kind: str, _: Any) -> None:
        nonlocal count
        count += kind == "call" and "utcp" in frame.f_code.co_filename

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@interpreted
def test_a_train_costs_little_more_than_a_segment() -> None:
    """Exact counts: the time is the bench's to tell."""
    cost: dict[int, tuple[int, int]] = {}
    for segments in (20, 40, 20, 40):  # the first time, layouts are made
        sender, receiver = Side(True, initial_recv_buffer=1 << 20), Side(True, initial_recv_buffer=1 << 20)
        out = sender.connections[0]
        out.congestion.cwnd = 1 << 20
        out.send(bytes(segments * 1000 + 1))
        trains: list[Any] = []
        sending = calls(lambda: trains.extend(sender.stack.datagrams_to_send(sender.now)))  # noqa: B023
        (train,) = trains
        assert len(train.datagrams()) == segments + 1
        into = receiver.connections[0]
        data = b"".join(
            encode(
                Segment(
                    PORTS[0],
                    80,
                    (into.receive_side.rcv_nxt + 1000 * number) & MASK,
                    into.send_side.snd_una,
                    ACK,
                    1000,
                    bytes(1000),
                    1_100_000,
                    0,
                )
            )
            for number in range(segments)
        )
        receiving = calls(lambda: receiver.stack.receive_datagram(data, "peer", receiver.now, 1032))  # noqa: B023
        assert into.readable == segments * 1000
        cost[segments] = sending, receiving
    assert cost[20] == cost[40]


@interpreted
def test_trains_are_made_after_a_loss_too() -> None:
    """Only a connection with ECN has to tell its peer of a reduction, with CWR on one segment."""
    cost: dict[int, int] = {}
    for segments in (20, 40, 20, 40):  # the first time, layouts are made
        side = Side(True)
        out = side.connections[0]
        out.send(bytes(1000))
        side.flush()
        while not out.recovery.reduced:
            side.now = side.stack.next_timeout() or inf
            side.stack.handle_timeout(side.now)
            side.flush()
        side.now += 0.05
        ack = Segment(PORTS[0], 80, out.receive_side.rcv_nxt, out.send_side.snd_nxt, ACK, 1000)
        ack.ts_val, ack.ts_ecr = 3, out.ts_now(side.now)
        side.stack.receive_datagram(encode(ack), "peer", side.now)
        side.flush()
        assert not out.send_side.flight_size
        out.congestion.cwnd = out.congestion.initial_window = 1 << 20
        out.send(bytes(segments * 1000 + 1))
        trains: list[Any] = []
        cost[segments] = calls(lambda: trains.extend(side.stack.datagrams_to_send(side.now)))  # noqa: B023
        (train,) = trains
        assert len(train.datagrams()) == segments + 1
    assert cost[20] == cost[40]


def test_large_segments_are_not_copied_on_their_way_out() -> None:
    """Neither where they lie within what the user gave, nor where they reach over its end."""
    t = established(mtu=9000, mss=8000, options="mss 8000")
    given = [stream(1, 20_001), stream(20_001, 40_001)]
    for data in given:
        t.connection.send(data)
    t.connection.congestion.cwnd = 100_000
    transmits = t.stack.datagrams_to_send(t.now)
    buffers = [buffer for transmit in transmits for buffer in transmit.buffers if len(buffer) > 20]
    copied = [buffer for buffer in buffers if not any(getattr(buffer, "obj", buffer) is data for data in given)]
    assert sum(map(len, buffers)) == 40_000
    assert sum(map(len, copied)) == 0
    assert [len(transmit.datagrams()) for transmit in transmits] == [5]


def test_a_large_segment_is_copied_once_on_its_way_in() -> None:
    """When it is read. What is trimmed is copied before: a view would keep octets that no window counts."""
    side = Side(True, initial_recv_buffer=1 << 20)
    connection = side.connections[0]
    connection.receive_side.rcv_adv += 1 << 20
    rcv_nxt = connection.receive_side.rcv_nxt
    una = connection.send_side.snd_una

    def arrives(shift: int, size: int) -> bytes:
        segment = Segment(PORTS[0], 80, (rcv_nxt + shift) & MASK, una, ACK, 1000, bytes(size), 1_100_000, 0)
        data = encode(segment)
        side.stack.receive_datagram(data, "peer", side.now)
        return data

    whole = arrives(0, 20_000)
    (piece,) = connection.receive_side._pieces
    assert isinstance(piece, memoryview)
    assert piece.obj is whole
    arrives(10_000, 20_000)
    arrives(50_000, 20_000)
    assert type(connection.receive_side._pieces[1]) is bytes
    arrives(30_000, 20_000)
    assert len(connection.read()) == 70_000


def test_a_buffer_that_may_change_is_copied() -> None:
    side = Side(True)
    connection = side.connections[0]
    rcv_nxt, una = connection.receive_side.rcv_nxt, connection.send_side.snd_una
    text = stream(0, 20_000)
    buffer = bytearray(encode(Segment(PORTS[0], 80, rcv_nxt, una, ACK, 1000, text, 1_100_000, 0)))
    side.stack.receive_datagram(memoryview(buffer), "peer", side.now)
    buffer[:] = bytes(len(buffer))
    assert connection.read() == text


@pytest.mark.parametrize("timestamps", [False, True])
def test_the_last_segment_is_not_like_the_others(timestamps: bool) -> None:
    """PSH, the FIN, what is urgent, and what is less than a segment: only behind all that leaves together."""
    side = Side(timestamps, ecn=True)
    connection = side.connections[0]
    connection.send(bytes(1000), urgent=True)
    connection.send(bytes(6500))
    connection.shutdown(side.now)
    segments = [(decode(datagram), ecn) for datagram, ecn in side.flush()]
    assert [(len(segment.payload), segment.flags, segment.urgent, ecn) for segment, ecn in segments] == [
        (1000, ACK | URG, 1000, ECN_CAPABLE),
        *[(1000, ACK, 0, ECN_CAPABLE)] * 6,
        (500, ACK | PSH | FIN, 0, ECN_CAPABLE),
    ]


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_numbers_that_wrap_within_what_leaves(mtu: int) -> None:
    iss = Side(True, mtu=mtu).connections[0].send_side.iss
    start = START + ((0xFFFFF000 - iss) & MASK) / ISN_CLOCK
    side = Side(True, mtu=mtu, start=start)
    connection = side.connections[0]
    assert 0xFFFFF000 <= connection.send_side.iss < 0xFFFFF400
    connection.congestion.cwnd = 1 << 20
    mss = mtu - 500
    connection.send(stream(0, 10 * mss - 1))
    segments = [decode(datagram) for datagram, _ in side.flush()]
    first = (connection.send_side.iss + 1) & MASK
    assert [segment.seq for segment in segments] == [(first + mss * number) & MASK for number in range(10)]
    assert {(segment.src_port, segment.dst_port) for segment in segments} == {(80, PORTS[0])}
    assert b"".join(segment.payload for segment in segments) == stream(0, 10 * mss - 1)


def paced() -> list[list[int]]:
    """How much leaves at each millisecond of a connection that is paced at 10 segments per millisecond."""
    side = Side(True)
    connection = side.connections[0]
    connection.congestion.cwnd = 1 << 20
    connection.send_side.snd_wnd = 1 << 20
    connection.pacer = Pacer(side.now, rate=1e7)
    connection.send(bytes(300_500))
    left: list[list[int]] = []
    for _ in range(20):
        left.append([len(decode(datagram).payload) for datagram, _ in side.flush()])
        side.now += 0.001
        if (side.stack.next_timeout() or side.now + 1) <= side.now:
            side.stack.handle_timeout(side.now)
    return left


@interpreted
def test_pacing_counts_each_segment() -> None:
    together = paced()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burst.Burst, "_trains_of_new_data", lambda _: False)
        assert paced() == together
    assert all(len(sizes) < 30 for sizes in together)
    assert sum(map(sum, together)) > 150_000


def test_the_acknowledgement_rides_along() -> None:
    side = Side(True)
    connection = side.connections[0]
    rcv_nxt, una = connection.receive_side.rcv_nxt, connection.send_side.snd_una
    text = Segment(PORTS[0], 80, rcv_nxt, una, ACK, 1000, bytes(1000), 1_100_000, 0)
    side.stack.receive_datagram(encode(text), "peer", side.now)
    connection.congestion.cwnd = 5000
    connection.send(bytes(9000))
    segments = [decode(datagram) for datagram, _ in side.flush()]
    assert [len(segment.payload) for segment in segments] == [1000] * 5
    assert {segment.ack for segment in segments} == {(rcv_nxt + 1000) & MASK}
    assert connection.receive_side.delayed_ack_at == inf
    assert not connection.receive_side.ack_due


def test_pieces_of_the_queue_share_trains_within_their_limits() -> None:
    side = Side(True, max_train_segments=7)
    connection = side.connections[0]
    connection.congestion.cwnd = 1 << 20
    for size in (3500, 2500, 3000, 9100, 20_000):
        connection.send(bytes(size))
    transmits = side.stack.datagrams_to_send(side.now)
    assert [len(transmit.datagrams()) for transmit in transmits] == [7, 7, 7, 7, 7, 4]
    assert all(transmit.size == sum(map(len, transmit.buffers)) for transmit in transmits)
    assert all(buffer for transmit in transmits for buffer in transmit.buffers)
