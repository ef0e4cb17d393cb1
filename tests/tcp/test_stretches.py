"""Stretches, whose segments differ only in the sequence number and are processed together, and the fast path.

The property: a train, its segments one by one, and its segments one by one without the fast path have the same effect.
The traces are cases that the property must not miss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from errno import EHOSTUNREACH
from functools import cache
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tcp.notation import stream
from tests.tcp.script import SECRET, START
from tests.variant import examples
from utcp.config import Config
from utcp.tcp import COMPILED
from utcp.tcp import stack as stack_module
from utcp.tcp.connection import Connection, output
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.receive_queue import ReceiveQueue
from utcp.tcp.stack import Stack
from utcp.tcp.state import NAMES
from utcp.tcp.transmit import Outbox
from utcp.wire import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment, decode, encode
from utcp.wire.segment import CONGESTION_EXPERIENCED, ECN_CAPABLE

MSS: Final = 1000
PORTS: Final = (50000, 50001)
ISS: Final = 0xFFFFF000
"""The peer's: its numbers wrap after 4,096 octets."""
MASK: Final = 0xFFFFFFFF


class Peer:
    """What the other side of one connection knows."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.nxt = (ISS + 1) & MASK


class Side:
    """A stack with two established connections, from ports 50000 and 50001 of one remote to its port 80."""

    def __init__(self, timestamps: bool, sack: bool = True, ecn: bool = False, rtt: float = 0.05, **knobs: Any) -> None:
        self.timestamps = timestamps
        self.now = knobs.pop("start", START)
        trains = {name: knobs.pop(name) for name in ("max_train_bytes", "max_train_segments") if name in knobs}
        self.mss = knobs.pop("mtu", 1500) - 500
        offered = self.mss + 12 * timestamps
        config = Config(timestamps=timestamps, sack=sack, mss=offered, **knobs)
        self.stack = Stack(config, secret=SECRET, mtu=lambda _: self.mss + 500, **trains)
        listener = self.stack.listen(80, self.now)
        for port in PORTS:
            flags = SYN | (ECE | CWR if ecn else 0)
            syn = Segment(port, 80, ISS, 0, flags, 65535, mss=offered, window_scale=7, sack_permitted=sack)
            syn.ts_val, syn.ts_ecr = (1, 0) if timestamps else (None, None)
            self.stack.receive_datagram(encode(syn), "peer", self.now)
        answers = self.flush()
        self.now += rtt
        for (datagram, _), port in zip(answers, PORTS, strict=True):
            answer = decode(datagram)
            ack = Segment(port, 80, ISS + 1, (answer.seq + 1) & MASK, ACK, 1000)
            if timestamps:
                ack.ts_val, ack.ts_ecr = 2, answer.ts_val
            self.stack.receive_datagram(encode(ack), "peer", self.now)
        self.connections: list[Connection] = []
        while (connection := listener.accept()) is not None:
            self.connections.append(connection)
        assert len(self.connections) == 2

    def flush(self) -> list[tuple[bytes, int]]:
        """What leaves, each datagram with its ECN bits. By connection: between connections no order is promised."""
        leaving = [
            (datagram, transmit.ecn)
            for transmit in self.stack.datagrams_to_send(self.now)
            for datagram in transmit.datagrams()
        ]
        return sorted(leaving, key=lambda item: item[0][:4])

    def segment(self, item: Item, peer: Peer) -> bytes:
        """What the peer puts on the wire."""
        connection = self.connections[PORTS.index(peer.port)]
        send = connection.send_side
        seq = (peer.nxt + item.shift) & MASK
        acked = min(item.acks, send.flight_size) if item.acks >= 0 else item.acks
        if item.acks > 1_000_000:
            acked = send.flight_size + 7
        segment = Segment(peer.port, 80, seq, (send.snd_una + acked) & MASK, item.flags, item.window)
        if self.timestamps and item.ts is not None:
            segment.ts_val = (int(self.now * 1000) + item.ts) & MASK
            segment.ts_ecr = connection.ts_now(self.now)
        size = item.size + (12 if self.timestamps and item.ts is None else 0)
        place = (seq - ISS) & MASK
        segment.payload = stream(place, place + size)
        segment.urgent = 5 if item.flags & URG else 0
        if item.shift == 0 and item.counts:
            peer.nxt = (peer.nxt + size + (item.flags & FIN)) & MASK
        if item.sack:
            segment.sack_blocks = ((segment.ack, segment.ack),)
        data = bytearray(encode(segment))
        if item.words is not None:
            data[12] = item.words << 4
        return bytes(data)


@dataclass(frozen=True)
class Item:
    """Some segments of a train, alike but for the sequence number."""

    connection: int = 0
    count: int = 1
    flags: int = ACK
    shift: int = 0
    """From what is next."""
    acks: int = 0
    """Octets of what is in flight; beyond, or before it."""
    window: int = 1000
    ts: int | None = 5
    """Milliseconds from the peer's clock; None: no timestamp."""
    size: int = MSS
    counts: bool = True
    """The peer goes on behind it."""
    sack: bool = False
    """With a SACK block: in length like timestamps."""
    words: int | None = None
    """A data offset that is not true."""
    noise: bool = False


@dataclass(frozen=True)
class Step:
    """A train arrives, after the users and time have done something."""

    items: tuple[Item, ...] = ()
    tail: Item | None = None
    """The last datagram, which is shorter."""
    ecn: int = 0
    pause: float = 0.0
    send: int = 0
    urgent: bool = False
    read: int = 0
    act: str = ""
    flush: bool = True


@cache
def fields(kind: type) -> tuple[str, ...] | None:
    """The names of all that a part of a connection of this type knows; None if it is no such part."""
    if not kind.__module__.startswith("utcp.tcp") or issubclass(kind, Stack):
        return None
    names = {
        name
        for each in kind.__mro__
        for name, member in vars(each).items()
        if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)) and not name.startswith("__")
    }
    names -= {"stack", "config", "entry", "place", "queued"}
    # A train leaves fewer pieces than its segments, and so takes less memory. Compiled, properties are among the names.
    names -= {"charge", "kept", "_allowance", "allowance"}
    return tuple(sorted(names))


def snapshot(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """All that a part of a connection knows, in a form that can be compared; what several parts share, once."""
    if isinstance(value, (int, float, str, bytes, type(None))):
        return value
    seen = {} if seen is None else seen
    if isinstance(value, (list, tuple)):
        return [snapshot(item, seen) for item in value]
    if isinstance(value, dict):
        return [(snapshot(key, seen), snapshot(item, seen)) for key, item in value.items()]
    if isinstance(value, memoryview):
        return bytes(value)
    kind = value.__class__
    names = fields(kind)
    if names is None:
        return kind.__module__
    if id(value) in seen:
        return "again"
    seen[id(value)] = value  # which keeps the id from being another's
    known = {name: snapshot(getattr(value, name), seen) for name in names}
    if isinstance(value, ReceiveQueue):
        known["_pieces"] = b"".join(known["_pieces"])
    return known


def play(steps: list[Step], as_trains: bool, **knobs: Any) -> list[Any]:
    """What leaves and what is known after each step."""
    side = Side(**knobs)
    peers = [Peer(port) for port in PORTS]
    told: list[Any] = []
    for step in steps:
        side.now += step.pause
        if 0 < (side.stack.next_timeout() or 0) <= side.now:
            side.stack.handle_timeout(side.now)
        for connection in side.connections:
            if step.send and not connection.send_side.fin_queued and not connection.ended:
                text = stream(connection.send_side.queued, connection.send_side.queued + step.send)
                connection.send(text, urgent=step.urgent)
            if step.read:
                told.append(connection.read(step.read))
        first = side.connections[0]
        if step.act == "shutdown" and not first.ended:
            first.shutdown(side.now)
        elif step.act == "close":
            first.close(side.now)
        if step.act:
            told.append(side.flush())
        datagrams = [
            bytes(range(200)) * 6 if item.noise else side.segment(item, peers[item.connection])
            for item in step.items
            for _ in range(item.count)
        ]
        if datagrams:
            length = len(datagrams[0])
            datagrams = [datagram[:length].ljust(length, b"x") for datagram in datagrams]
        if step.tail is not None:
            datagrams.append(side.segment(step.tail, peers[step.tail.connection]))
        if as_trains and len(datagrams) > 1:
            side.stack.receive_datagram(b"".join(datagrams), "peer", side.now, len(datagrams[0]), step.ecn)
        else:
            for datagram in datagrams:
                side.stack.receive_datagram(datagram, "peer", side.now, None, step.ecn)
        told.append([NAMES[connection.state] for connection in side.connections])
        told.append([connection.readable for connection in side.connections])
        told.append([connection.take_events() for connection in side.connections])
        ready = side.stack.take_ready()
        told.append([connection in ready for connection in side.connections])
        if step.flush:
            told.append(side.flush())
            told.append(snapshot(side.connections))
            told.append(side.stack.counters.snmp())
            told.append((side.stack.counters.in_errs, side.stack.next_timeout()))
    told.append([connection.read() for connection in side.connections])
    return told


def _datagrams(item: list[Any]) -> list[Any]:
    return item if item and isinstance(item[0], tuple) else []


def same(steps: list[Step], **knobs: Any) -> list[Any]:
    """Assert that a train has the same effect as its segments one by one, with and without the short paths. Return the
    effect."""
    together, alone = play(steps, True, **knobs), play(steps, False, **knobs)
    for one, other in zip(together, alone, strict=True):
        assert one == other
    if not COMPILED:  # compiled modules call their own functions directly
        with patch.object(stack_module, "takes_fast_path", lambda *_: False):
            slow = play(steps, False, **knobs)
        for one, other in zip(alone, slow, strict=True):
            assert one == other
        with patch.object(output, "_sends_one_segment", _sends_only_an_ack):
            slow = play(steps, False, **knobs)
        for one, other in zip(alone, slow, strict=True):
            assert one == other
    return together


_SHORT: Final = output._sends_one_segment


def _sends_only_an_ack(tcb: Tcb, now: float, outbox: Outbox) -> bool:
    """Leave data and FINs to `Burst`."""
    return not tcb.send_side.pending and _SHORT(tcb, now, outbox)


ACKS: Final = st.sampled_from([0, 0, 1, 2500, 100_000])
PLAIN: Final = st.builds(
    Item, connection=st.integers(0, 1), count=st.integers(1, 12), flags=st.sampled_from([ACK, ACK | PSH]), acks=ACKS
)
ODDITIES: Final = {
    **{
        f"flags {flags:#x}": Item(flags=flags)
        for flags in (
            0,
            PSH,
            ACK | PSH,
            ACK | FIN,
            ACK | URG,
            ACK | CWR,
            ACK | ECE,
            ACK | RST,
            ACK | SYN,
            FIN | URG | PSH,
        )
    },
    "FIN, and more behind it": Item(flags=ACK | FIN, counts=False),
    "again": Item(counts=False),
    "of another connection": Item(connection=1),
    "a hole": Item(shift=MSS),
    "a large hole": Item(shift=3 * MSS),
    "beyond the window": Item(shift=1_200_000),
    "an octet too far": Item(shift=1),
    "an octet too early": Item(shift=-1),
    "half old": Item(shift=-500),
    "old": Item(shift=-MSS),
    "very old": Item(shift=-5 * MSS),
    "acknowledges an octet": Item(acks=1),
    "acknowledges": Item(acks=2500),
    "acknowledges all": Item(acks=100_000),
    "acknowledges too much": Item(acks=2_000_000),
    "an old ACK": Item(acks=-1),
    "a very old ACK": Item(acks=-200_000),
    "a closed window": Item(window=0),
    "a small window": Item(window=1),
    "a large window": Item(window=65535),
    "no timestamp": Item(ts=None),
    "an older timestamp": Item(ts=-1000),
    "a newer timestamp": Item(ts=6),
    "a timestamp half way round": Item(ts=5 + (1 << 31)),
    "SACK": Item(sack=True),
    "SACK instead of timestamps": Item(sack=True, ts=None),
    "a shorter header": Item(words=5),
    "a longer header": Item(words=8),
    "a longer header yet": Item(words=9),
    "half a header": Item(words=3),
    "too long a header": Item(words=15),
    "noise": Item(noise=True),
}
ODD: Final = st.builds(replace, st.sampled_from(list(ODDITIES.values())), count=st.integers(1, 4))
TAIL: Final = st.builds(
    Item,
    connection=st.integers(0, 1),
    size=st.just(0) | st.integers(0, MSS - 1),
    shift=st.sampled_from([0, 0, 0, 2 * MSS]),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | PSH, ACK | FIN, ACK | PSH | FIN, ACK | RST]),
    acks=ACKS,
)
STEP: Final = st.builds(
    Step,
    items=st.lists(st.one_of(PLAIN, PLAIN, PLAIN, ODD), max_size=6).map(tuple),
    tail=st.none() | TAIL,
    ecn=st.sampled_from([0, 0, ECN_CAPABLE, CONGESTION_EXPERIENCED]),
    pause=st.sampled_from([0.0, 0.0, 0.0005, 0.01, 0.05, 1.0]),
    send=st.sampled_from([0, 0, 10, 990, 4500]),
    urgent=st.sampled_from([False, False, False, True]),
    read=st.sampled_from([0, 0, 10, 3000, 100_000]),
    act=st.sampled_from(["", "", "", "", "", "shutdown", "close"]),
    flush=st.booleans(),
)
KNOBS: Final = st.fixed_dictionaries(
    {
        "timestamps": st.booleans(),
        "sack": st.booleans(),
        "ecn": st.booleans(),
        "rtt": st.sampled_from([0.0, 0.0004, 0.05]),
    },
    optional={
        "recv_buffer": st.sampled_from([3000, 10_000]),
        "initial_recv_buffer": st.just(4096),
        "delayed_ack": st.just(0.0),
        "keepalive": st.just(True),
        "keepalive_idle": st.just(0.5),
        "nodelay": st.just(True),
        "user_timeout": st.just(3.0),
    },
)


@settings(max_examples=examples(600), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=8), KNOBS)
def test_a_train_comes_to_the_same_as_its_segments(steps: list[Step], knobs: dict[str, Any]) -> None:
    same(steps, **knobs)


def test_timers_of_two_connections_that_expire_together() -> None:
    """Which goes first depends on which timers ran before, and is no difference."""
    train = (Item(flags=ACK | PSH), Item())
    later = (Step(pause=1.0), Step(pause=1.0, act="shutdown", flush=False), Step(pause=1.0, flush=False))
    same([Step(train, send=10), *later], timestamps=False, sack=False, rtt=0.0004)


def test_an_end_with_unread_text_leaves_no_delayed_ack() -> None:
    """Two segments one by one have had a delayed ACK, a train of two has not."""
    same([Step((Item(), Item()), flush=False), Step(act="close")], timestamps=False, rtt=0.0004)


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("place", ["first", "second", "in the middle", "last", "shorter"])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_one_odd_segment(oddity: str, place: str, timestamps: bool) -> None:
    odd = ODDITIES[oddity]
    trains = {
        "first": Step((odd, Item(count=6))),
        "second": Step((Item(), odd, Item(count=5))),
        "in the middle": Step((Item(count=3), odd, Item(count=3))),
        "last": Step((Item(count=6), odd)),
        "shorter": Step((Item(count=6),), replace(odd, size=MSS - 300)),
    }
    plain = Step((Item(count=4),), pause=0.01)
    same([replace(plain, send=5000), trains[place], plain, Step(read=3000), plain], timestamps=timestamps)
    odd_train = Step((replace(odd, count=5),))
    same([replace(plain, send=5000), odd_train, plain, plain], timestamps=timestamps)


PATHS: Final = {
    "CLOSE_WAIT": [Step((), Item(size=0, flags=ACK | FIN))],
    "LAST_ACK": [Step((), Item(size=0, flags=ACK | FIN)), Step(act="close")],
    "FIN_WAIT_1": [Step(act="shutdown")],
    "FIN_WAIT_1 closed": [Step(act="close")],
    "FIN_WAIT_2": [Step(act="shutdown"), Step((), Item(size=0, acks=1))],
    "FIN_WAIT_2 closed": [Step(act="close"), Step((), Item(size=0, acks=1))],
    "CLOSING": [Step(act="close"), Step((), Item(size=0, flags=ACK | FIN))],
    "TIME_WAIT": [Step(act="close"), Step((), Item(size=0, acks=1, flags=ACK | FIN))],
    "TIME_WAIT after a timeout": [
        Step(act="close"),
        Step(pause=1.0),
        Step((), Item(size=0, acks=1, flags=ACK | FIN)),
    ],
}


@pytest.mark.parametrize("acks", [0, 1])
@pytest.mark.parametrize("last", [ACK, ACK | PSH, ACK | PSH | FIN])
@pytest.mark.parametrize("path", PATHS)
def test_in_every_state(path: str, last: int, acks: int) -> None:
    train = Step((Item(count=5, acks=acks), Item(flags=last, acks=acks)))
    again = Step((Item(count=5, shift=-6 * MSS),))
    told = same([*PATHS[path], train, again, Step((Item(count=3),))], timestamps=True)
    assert any(path.split()[0] in states[:1] for states in told if isinstance(states, list) and states)


def test_the_peer_closes_its_window_behind_a_probe_with_text() -> None:
    """A small window that opens for a probe with text, and closes before the ACK of this text: the ACK begins the
    back-off of probes anew."""
    small = Step((), Item(size=0, acks=100_000, window=1))
    closed = Step((), Item(size=10, window=0)), Step((), Item(size=0, acks=100_000, window=0))
    same([Step(send=4500), small, Step(send=4500), Step(pause=1.5), *closed, Step(pause=2.0)], timestamps=True)


def test_an_ack_while_our_ack_is_delayed_leaves_the_timestamp_that_we_echo() -> None:
    """RFC 7323 4.3: SEG.SEQ must not be after Last.ACK.sent."""
    acks = Step((), Item(size=0, acks=100_000, ts=5), pause=0.01)
    same([Step(send=10), Step((), Item(size=100)), acks, Step(pause=0.1)], timestamps=True)


def test_the_ack_of_a_window_probe() -> None:
    closed, opened = Step((), Item(size=0, acks=100_000, window=0)), Step((), Item(size=0, acks=1))
    same([Step(send=4500), closed, Step(send=4500), Step(pause=1.5), opened, Step(pause=1.5)], timestamps=True)


def test_an_ack_ends_a_soft_error() -> None:
    side, peer = Side(timestamps=True), Peer(PORTS[0])
    connection = side.connections[0]
    connection.send(b"text")
    side.flush()
    side.stack.path_failed("peer", [(80, PORTS[0])], EHOSTUNREACH, side.now)
    assert connection.soft_error is not None
    side.stack.receive_datagram(side.segment(Item(size=0, acks=4), peer), "peer", side.now)
    assert connection.soft_error is None


ALL: Final = Step((), Item(size=0, acks=100_000), pause=0.05)
GROWN: Final = [*[Step(send=4500)] * 6, *[ALL] * 4, *[Step(send=4500)] * 6, *[ALL] * 4]
"""The window limits the flights, and so it has grown."""
LONE: Final = {
    "after a mark": [Step(send=4500), Step((), Item(size=0, acks=1000, flags=ACK | ECE)), ALL, Step(send=10)],
    "beyond the window": [Step(send=4500), Step(send=4500), *[Step(send=600)] * 3],
    "faster than the pacing rate": [*GROWN, *[Step(send=900)] * 16],
    "after a pause": [*GROWN, Step(send=10, pause=2.0)],
    "more than may be in flight": [Step(send=1)] * 258,
}


@pytest.mark.parametrize("case", LONE)
def test_a_lone_segment_that_a_rule_holds_back_or_changes(case: str) -> None:
    """The short path leaves it to `Burst`, or does the same."""
    same(LONE[case], timestamps=True, ecn=True, nodelay=True)


@pytest.mark.parametrize("sack", [True, False])
def test_text_in_order_behind_text_that_was_dropped_because_memory_is_short(sack: bool) -> None:
    """One ACK answers all of it. Five with the same number would start a fast retransmission at the peer."""
    side, peer = Side(timestamps=True, sack=sack), Peer(PORTS[0])
    for _ in range(70):
        side.stack.receive_datagram(side.segment(Item(), peer), "peer", side.now)
        side.flush()
    side.stack.accounts.allowance.press(100_000, 8, True, False)
    for item in (*(Item(shift=shift * MSS) for shift in range(1, 6)), Item()):
        side.stack.receive_datagram(side.segment(item, peer), "peer", side.now)
    assert len(side.flush()) == 1


@pytest.mark.parametrize("window", [4, 8])
def test_an_ack_lets_a_fin_leave_that_the_window_held_back(window: int) -> None:
    size = window << 7
    steps = [Step((Item(window=window),)), Step(send=size, act="shutdown"), Step((), Item(size=0, acks=100_000))]
    told = same(steps, timestamps=True)
    leaves = [decode(datagram) for item in told if isinstance(item, list) for datagram, _ in _datagrams(item)]
    assert leaves[-1].flags & FIN


@pytest.mark.parametrize("fin", [0, FIN])
def test_text_beyond_a_fin_that_came_early(fin: int) -> None:
    early = Step((), Item(size=0, shift=2 * MSS, flags=ACK | FIN))
    same([early, Step((Item(count=5), Item(flags=ACK | fin)))], timestamps=True)


def test_numbers_that_wrap_within_a_train() -> None:
    told = same([Step((Item(count=10),))], timestamps=True)
    assert told[-1][0] == stream(1, 10_001)


def test_more_than_the_window_holds() -> None:
    told = same([Step((Item(count=9),)), Step((Item(count=9),))], timestamps=False, recv_buffer=4000)
    assert len(told[-1][0]) == 4000


def test_without_a_round_trip_time_the_buffer_grows_alike() -> None:
    train = Step((Item(count=6),), pause=0.01, read=100_000)
    same([train] * 12, timestamps=False, rtt=0.0, initial_recv_buffer=4096)


def test_a_keepalive_is_answered_by_text() -> None:
    quiet = Step((Item(count=3),), pause=0.6)
    same([quiet, quiet, quiet], timestamps=True, keepalive=True, keepalive_idle=0.5)


def test_quick_acks_are_counted_by_segment() -> None:
    """The first 16 full-sized segments are acknowledged at once, and the train that has the last of them."""
    trains = [Step((Item(count=1),), pause=0.001)] + [Step((Item(count=1),)) for _ in range(3)]
    told = same([Step((Item(count=14),)), *trains, *trains], timestamps=True)
    assert sum(len(item) for item in told if isinstance(item, list) and item and isinstance(item[0], tuple)) > 0


class Opening:
    """A stack whose listener has answered a SYN, and the peer that has sent it."""

    def __init__(self, **knobs: Any) -> None:
        self.now = START
        self.stack = Stack(Config(**knobs), secret=SECRET, mtu=lambda _: 1500)
        self.listener = self.stack.listen(80, self.now)
        syn = Segment(PORTS[0], 80, ISS, 0, SYN | ECE | CWR, 65535, mss=MSS, window_scale=7, sack_permitted=True)
        syn.ts_val, syn.ts_ecr = 1, 0
        self.stack.receive_datagram(encode(syn), "peer", self.now)
        self.syn_ack = decode(self.flush()[0])
        (self.connection,) = self.stack.connections.values()

    def flush(self) -> list[bytes]:
        return [datagram for transmit in self.stack.datagrams_to_send(self.now) for datagram in transmit.datagrams()]

    def receive(self, pause: float, flags: int, place: int, size: int, acks: int, window: int, ts: int | None) -> Any:
        """What leaves and what is known after a segment at stream offset `place`."""
        self.now += pause
        if 0 < (self.stack.next_timeout() or 0) <= self.now:
            self.stack.handle_timeout(self.now)
            self.flush()
        seq, ack = (ISS + 1 + place) & MASK, (self.syn_ack.seq + acks) & MASK
        segment = Segment(PORTS[0], 80, seq, ack, flags, window)
        if ts is not None:
            segment.ts_val, segment.ts_ecr = ts, self.syn_ack.ts_val
        segment.payload = stream(place, place + size)
        self.stack.receive_datagram(encode(segment), "peer", self.now)
        told = [self.flush(), snapshot(self.connection), NAMES[self.connection.state], self.stack.next_timeout()]
        told += [self.stack.counters.snmp(), self.listener in self.stack.take_ready(), self.stack.memory.sum]
        accepted = self.listener.accept()
        return [*told, accepted is not None, self.connection.take_events(), self.connection.read(3)]


@pytest.mark.parametrize("pause", [0.05, 1.5])  # the SYN-ACK is repeated after a second
@pytest.mark.parametrize("knobs", [{}, {"user_timeout": 5.0}, {"keepalive": True}, {"ecn": "request"}], ids=str)
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("size", [0, 1, MSS - 12])
@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | FIN])
def test_the_ack_of_a_syn_ack(flags: int, size: int, place: int, knobs: dict[str, Any], pause: float) -> None:
    """With text and FIN, in and out of order; with an old timestamp, too; with the wrong number; at a closed window."""
    if COMPILED:
        pytest.skip("compiled modules call their own functions directly")
    for acks in (0, 1, 2):
        for window in (0, 1000):
            for ts in (None, 0, 1, 2):
                segments = [
                    (pause, flags, place, size, acks, window, ts),
                    (0.05, ACK, place + size + (flags & FIN), 10, 1, 1000, 3),
                    (0.05, ACK | FIN, 0, 0, 1, 1000, 3),
                ]
                fast = Opening(**knobs)
                one = [fast.receive(*segment) for segment in segments]
                with patch.object(stack_module, "takes_fast_path", lambda *_: False):
                    slow = Opening(**knobs)
                    other = [slow.receive(*segment) for segment in segments]
                assert one == other
