"""What an observer is told (utcp.tcp.observer), and what the user is told (utcp.tcp.event)."""

import sys
from errno import EHOSTUNREACH, EMSGSIZE, ENOSPC
from types import FrameType
from typing import Any

import pytest

from tests.tcp.pair import Pair, lose
from tests.tcp.reach import established, syn_rcvd
from tests.tcp.script import MSS, SECRET, START, Script
from tests.variant import interpreted_only
from utcp.config import Config
from utcp.errors import AddressNotAvailable
from utcp.scenes.stage import Moments
from utcp.tcp import timers
from utcp.tcp.connection import Connection
from utcp.tcp.event import CONNECTED, ENDED, PEER_CLOSED, READABLE
from utcp.tcp.observer import Observer, Tee
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, NAMES, SYN_SENT
from utcp.tcp.transmit import Buffer, Remote
from utcp.trace.ladder import LadderRecorder
from utcp.trace.log import StructlogObserver
from utcp.wire import ACK, FIN, RST, SYN, Segment, decode, encode, flag_names


class Notes(Observer):
    """Everything that is told, as words."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.sent: list[bytes] = []

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self.words.append(f"{NAMES[before]} -> {NAMES[after]}")

    def connection_ended(self, connection: Connection, now: float) -> None:
        self.words.append(f"ended: {connection.error}")

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self.words.append(f"{remote}: {flag_names(segment.flags)}")

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self.sent.append(b"".join(buffers))

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        self.words.append(f"again: {length}")

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        self.words.append(f"{timers.NAMES[timer]} at {now - START:g}")

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        self.words.append(f"{remote}: {reason}")

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self.words.append(f"gone: {remote} {remote_port} {local_port}")


def test_story_of_a_connection() -> None:
    notes = Notes()
    stack = Stack(Config(timestamps=False), secret=SECRET, observer=notes)
    connection = stack.connect("peer", 80, START, local_port=50000)
    left: list[bytes] = []

    def flush(now: float) -> Segment:
        left.extend(datagram for transmit in stack.datagrams_to_send(now) for datagram in transmit.datagrams())
        return decode(left[-1])

    def arrives(flags: int, seq: int, ack: int, now: float) -> None:
        stack.receive_datagram(encode(Segment(80, 50000, seq, ack, flags, 1000)), "peer", now)

    syn = flush(START)
    stack.handle_timeout(START + 1)
    flush(START + 1)
    arrives(SYN | ACK, 7, syn.seq + 1, START + 1)
    flush(START + 1)
    stack.receive_datagram(b"noise", "peer", START + 1)
    connection.close(START + 2)
    fin = flush(START + 2)
    arrives(FIN | ACK, 8, fin.seq + 1, START + 2)
    flush(START + 2)
    stack.handle_timeout(START + 63)
    told = [
        "CLOSED -> SYN_SENT",
        "retransmit at 1",
        "again: 1",
        "peer: SYN,ACK",
        "SYN_SENT -> ESTABLISHED",
        "peer: shorter than a TCP header",
        "ESTABLISHED -> FIN_WAIT_1",
        "peer: FIN,ACK",
        "FIN_WAIT_1 -> TIME_WAIT",
        "ended: None",
        "gone: peer 80 50000",
    ]
    assert notes.words[:8] == told[:8]
    assert sorted(notes.words[8:10]) == sorted(told[8:10])  # one segment causes both
    assert notes.words[10:] == told[10:]
    assert notes.sent == left


def test_what_was_sent_is_told_with_its_payload() -> None:
    notes = Notes()
    p = Pair()
    p.client.observe(notes)
    near, _ = p.established()
    near.send(b"x" * 2500)
    p.run_for(0.1)
    told = b"".join(decode(data).payload for data in notes.sent)
    assert told == b"x" * 2500


def test_half_open_connections_have_no_user_to_be_told() -> None:
    t = syn_rcvd()
    assert t.stack.take_ready() == []
    t.receives(". 1:1 ack 1")
    assert t.stack.take_ready() == [t.listener]
    t.accept()
    assert t.events & CONNECTED


def test_events_before_accept_are_kept_for_the_user() -> None:
    t = syn_rcvd()
    t.receives(". 1:1 ack 1", "F. 1:101 ack 1")
    t.sends(". 1:1 ack 102")
    connection = t.accept()
    assert t.events == CONNECTED | READABLE | PEER_CLOSED
    assert connection in t.stack.take_ready() or t.read() == 100


def test_connection_is_ready_once_for_a_batch() -> None:
    t = established()
    t.connection.take_events()
    t.stack.take_ready()
    t.receives("P. 1:101 ack 1", "P. 101:201 ack 1", "F. 201:201 ack 1")
    assert t.stack.take_ready() == [t.connection]
    assert t.stack.take_ready() == []
    assert t.connection.take_events() == READABLE | PEER_CLOSED
    assert t.connection.take_events() == 0


def test_the_end_is_told_once() -> None:
    t = established()
    t.receives("R 1:1")
    assert t.stack.take_ready() == [t.connection]
    assert t.connection.take_events() & ENDED
    t.close()
    t.abort()
    t.drain()
    assert not t.connection.take_events() & ENDED


def test_context_is_the_users() -> None:
    stack = Stack(Config(mss=MSS), secret=SECRET)
    mine = object()
    connection = stack.connect("peer", 80, START, context=mine)
    assert connection.context is mine
    assert (connection.remote, connection.remote_port) == ("peer", 80)
    assert connection.state == SYN_SENT
    listener = stack.listen(81, START, context=mine)
    assert listener.context is mine
    connection.abort(START)
    assert connection.state == CLOSED


def test_same_calls_give_the_same_bytes() -> None:
    """DESIGN 3: no hidden clock, no hidden randomness."""

    def story() -> list[str]:
        p = Pair()
        near, far = p.established()
        near.send(b"x" * 5000)
        far.send(b"y" * 5000)
        near.shutdown(p.now)
        p.run_for(1)
        far.shutdown(p.now)
        p.run_for(1)
        return p.trace

    assert story() == story()


class Troubles(Observer):
    """What the path and strangers do to a stack, as words."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def mss_changed(self, connection: Connection, before: int, now: float) -> None:
        self.words.append(f"{before} -> {connection.mss}")

    def path_unreachable(self, connection: Connection, error: OSError, now: float) -> None:
        self.words.append(f"{connection.remote}: {error.errno}")

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        self.words.append(f"{local_port} overflowed by {remote}")

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        self.words.append(f"{local_port} flooded by {remote}: {'cookie' if cookie else 'dropped'}")

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        self.words.append(f"no port towards {remote} {remote_port}")


def test_trouble_with_the_path() -> None:
    t = established(options=f"mss {MSS},ts 100")
    troubles = Troubles()
    t.stack.observe(troubles)
    t.write(MSS)
    segment = t.drain()[0]
    t.stack.path_error("peer", EHOSTUNREACH, None, encode(segment), t.now)
    t.stack.path_error("peer", EMSGSIZE, 900, encode(segment), t.now)
    t.stack.path_error("peer", EMSGSIZE, 900, encode(segment), t.now)
    assert troubles.words == [f"peer: {EHOSTUNREACH}", f"{MSS - 12} -> {900 - 20 - 12}"]


def test_strangers_and_full_tables() -> None:
    for knobs, words in (
        ({"syn_backlog": 1}, ["80 flooded by peer: cookie"]),
        ({"syn_backlog": 1, "syn_cookies": "never"}, ["80 flooded by peer: dropped"]),
    ):
        t = syn_rcvd(**knobs)
        troubles = Troubles()
        t.stack.observe(troubles)
        t.flow_to(50001, 80).receives(f"S 0:0 <mss {MSS}>")
        t.drain()
        assert troubles.words == words
    t = Script(ephemeral_ports=(50000, 50000))
    troubles = Troubles()
    t.stack.observe(troubles)
    t.listen(backlog=1)
    t.receives(f"S 0:0 <mss {MSS}>")
    t.drain()
    t.receives(". 1:1 ack 1")
    t.flow_to(50001, 80).receives(f"S 0:0 <mss {MSS}>")
    t.stack.connect("server", 443, t.now)
    with pytest.raises(AddressNotAvailable):
        t.stack.connect("server", 443, t.now)
    t.drain()
    assert troubles.words == ["80 overflowed by peer", "no port towards server 443"]


class Ends(Observer):
    """Sees events, and no segments."""

    def __init__(self) -> None:
        self.ended = 0

    def connection_ended(self, connection: Connection, now: float) -> None:
        self.ended += 1


class Arrivals(Observer):
    """Sees segments that arrive."""

    def __init__(self) -> None:
        self.count = 0

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self.count += 1


def calls_for_a_train(observer: Observer | None) -> int:
    """How many Python functions are called while a train of 40 segments is received."""
    t = established()
    t.stack.observe(observer)
    train = b"".join(encode(t.flow.segment(f". {start}:{start + 1000} ack 1")) for start in range(1, 40_001, 1000))
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        t.stack.receive_datagram(train, t.flow.remote, t.now, MSS + 20)
    finally:
        sys.setprofile(None)
    assert t.read() == 40_000
    return calls


@interpreted_only
@pytest.mark.defect(83)
def test_an_observer_of_events_costs_received_segments_nothing() -> None:
    calls_for_a_train(None)  # the first train of a size is dearer: its layout is remembered
    bare = calls_for_a_train(None)
    assert bare < 2 * 40
    assert calls_for_a_train(Ends()) == calls_for_a_train(Tee(Ends(), Ends())) == bare
    arrivals = Arrivals()
    assert calls_for_a_train(Tee(Ends(), arrivals)) > 4 * bare
    assert arrivals.count == 40


@pytest.mark.defect(83)
def test_who_sees_segments() -> None:
    assert not Observer().sees_segments
    assert not Ends().sees_segments
    assert not Tee(Ends(), Ends()).sees_segments
    assert not StructlogObserver().sees_segments
    assert not Moments().sees_segments
    assert Arrivals().sees_segments
    assert Notes().sees_segments
    assert Tee(Ends(), Arrivals()).sees_segments
    assert type("Heir", (Arrivals,), {})().sees_segments
    assert LadderRecorder().client.sees_segments


def test_the_tap_comes_and_goes_with_the_observer() -> None:
    stack = Stack(secret=SECRET, observer=Notes())

    def state() -> tuple[tuple[Observer, ...], bool]:
        assert stack._tap in (None, stack.observer)
        return stack.observers, stack._tap is not None

    assert state()[1]
    ends = Ends()
    stack.observe(ends)
    assert state() == ((ends,), False)
    arrivals = Arrivals()
    stack.observe_also(arrivals)
    assert state() == ((ends, arrivals), True)
    stack.observe_no_more(ends)
    assert state() == ((arrivals,), True)
    stack.observe(None)
    assert state() == ((), False)
    assert stack.observer is None


class Trouble(Observer):
    """An observer of trouble only, and of whatever else would reach it."""

    sees_routine = False

    def __init__(self) -> None:
        self.words: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in vars(Observer) and callable(getattr(Observer, name)) and not name.startswith("_"):
            self.words.append(name)
        return super().__getattribute__(name)


def test_an_observer_of_trouble_costs_a_good_connection_nothing() -> None:
    near, far = Trouble(), Trouble()
    pair = Pair(lose("client", FIN))
    pair.client.observe(near)
    pair.server.observe(far)
    client, server = pair.established()
    client.close(pair.now)
    server.close(pair.now)
    pair.server.receive_datagram(b"noise", "client", pair.now)
    pair.run()
    assert pair.client.counters.time_waits + pair.server.counters.time_waits > 0
    assert near.words == far.words == []


def test_an_observer_of_trouble_gets_the_error() -> None:
    trouble = Trouble()
    stack = Stack(secret=SECRET, observer=trouble)
    connection = stack.connect("peer", 80, START, local_port=50000)
    [syn] = [decode(datagram) for transmit in stack.datagrams_to_send(START) for datagram in transmit.datagrams()]
    stack.receive_datagram(b"noise", "peer", START)
    stack.receive_datagram(encode(Segment(80, 50000, 0, syn.seq + 1, RST | ACK, 0)), "peer", START)
    assert trouble.words == ["connection_ended"]
    assert connection.error is not None


def test_routine_events_come_and_go_with_the_observer() -> None:
    trouble, notes = Trouble(), Notes()
    stack = Stack(secret=SECRET, observer=trouble)
    assert stack.routine_observer is None
    stack.observe_also(notes)
    assert stack.routine_observer is stack.observer
    stack.observe_no_more(notes)
    assert stack.routine_observer is None


class Leaves(Observer):
    """An observer that does not see a second segment."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.stack: Stack | None = None
        self.seen = 0

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self.seen += 1
        if self.fails:
            raise OSError(ENOSPC, "no space left on device")
        if self.stack is not None:
            self.stack.observe_no_more(self)


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize("fails", [True, False], ids=["it fails", "it leaves"])
def test_an_observer_that_ends_in_the_middle_of_a_train_costs_no_segment(fails: bool) -> None:
    t = established(options="mss 1000", mss=1000)
    observer = Leaves(fails=fails)
    observer.stack = t.stack
    t.stack.observe(observer)
    t.write(8000)
    left = [datagram for train in t.stack.datagrams_to_send(t.now) for datagram in train.datagrams()]
    assert [len(decode(datagram).payload) for datagram in left] == [1000] * 8
    assert len(t.stack.take_failures()) == fails
    assert (t.stack.observer, observer.seen) == (None, 1)
    assert not t.connection.ended
