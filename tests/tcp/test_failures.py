"""What is raised in the middle of a stack's work concerns one connection, or one observer (utcp.tcp.failures)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any, ClassVar
from unittest import mock

import pytest

from tests.tcp.script import SECRET, START
from tests.variant import interpreted_only
from utcp.config import CONTROLLERS, Config
from utcp.errors import ConnectionAborted
from utcp.tcp.congestion import NewReno
from utcp.tcp.connection import Connection
from utcp.tcp.counters import Counters
from utcp.tcp.event import ENDED
from utcp.tcp.memory import Memory
from utcp.tcp.observer import Observer, Tee
from utcp.tcp.receive import ReceiveSide
from utcp.tcp.receive_queue import ReceiveQueue
from utcp.tcp.send import SMALL
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, ESTABLISHED, TIME_WAIT
from utcp.tcp.timers import Timed, TimerQueue
from utcp.tcp.transmit import Buffer, Outbox, Remote
from utcp.wire import ACK, FIN, RST, SYN, Segment, decode, encode

pytestmark = [pytest.mark.defect(91), pytest.mark.usefixtures("contained")]

PORTS = (1001, 1002, 1003)


class Sore(NewReno):
    """A congestion controller that raises `error` at its call number `turn`, counted over all connections."""

    error: ClassVar[BaseException | None] = None
    turn: ClassVar[int] = 0

    def on_sent(self, in_flight: int, now: float) -> None:
        error = Sore.error
        if error is not None:
            if Sore.turn == 0:
                Sore.error = None
                raise error
            Sore.turn -= 1
        super().on_sent(in_flight, now)


@pytest.fixture(autouse=True)
def sore() -> Iterator[None]:
    with mock.patch.dict(CONTROLLERS, sore=Sore):
        yield
    Sore.error = None


def raise_at(turn: int, error: BaseException) -> None:
    Sore.turn, Sore.error = turn, error


def flush(stack: Stack, now: float) -> list[Segment]:
    return [decode(datagram) for transmit in stack.datagrams_to_send(now) for datagram in transmit.datagrams()]


def arrives(stack: Stack, connection: Connection, flags: int, now: float, seq: int = 0) -> None:
    """A segment of the peer's, which acknowledges all that was sent."""
    segment = Segment(80, connection.local_port, seq, connection.send_side.snd_nxt, flags, 60000)
    stack.receive_datagram(encode(segment), "peer", now)


def three(**knobs: Any) -> tuple[Stack, list[Connection]]:
    """A stack with three established connections."""
    config = Config(congestion_control="sore", timestamps=False, delayed_ack=0.0, **knobs)
    stack = Stack(config, secret=SECRET)
    connections = [stack.connect("peer", 80, START, local_port=port) for port in PORTS]
    flush(stack, START)
    for connection in connections:
        arrives(stack, connection, SYN | ACK, START)
    flush(stack, START)
    assert [connection.state for connection in connections] == [ESTABLISHED] * 3
    stack.take_ready()
    for connection in connections:
        connection.take_events()
    return stack, connections


@interpreted_only
@pytest.mark.parametrize("what", ["ConnectionAborted", "Segment"])
def test_a_failure_to_end_the_connection_that_failed_costs_the_others_nothing(what: str) -> None:
    """Where memory is short, the second is as likely as the first. The connection stayed in the queue of timers, and no
    timer of anybody ran again."""
    stack, connections = three()
    for connection in connections:
        connection.send(b"text")
    raise_at(0, MemoryError())
    with mock.patch(f"utcp.tcp.failures.{what}", side_effect=MemoryError), pytest.raises(MemoryError):
        flush(stack, START + 1)
    assert [segment.src_port for segment in flush(stack, START + 1) if segment.payload] == [1002, 1003]
    broken = connections[0]
    assert broken.state == CLOSED
    broken.touch()
    for now in (START + 2, START + 10):
        stack.handle_timeout(now)
        again = [segment.src_port for segment in flush(stack, now) if segment.payload]
        assert again == [1002, 1003]
    assert (stack.next_timeout() or 0.0) > START + 10


def test_a_connection_that_raises_in_a_flush_takes_no_other_along() -> None:
    stack, connections = three()
    error = RuntimeError("a bug")
    raise_at(1, error)
    for connection in connections:
        connection.send(b"text")
    left = flush(stack, START + 1)
    assert [segment.src_port for segment in left if segment.payload] == [1001, 1003]
    assert [segment.src_port for segment in left if segment.flags & RST] == [1002]
    broken = connections[1]
    assert broken.state == CLOSED
    assert stack.take_ready() == [broken]
    assert broken.take_events() & ENDED
    assert isinstance(broken.error, ConnectionAborted)
    assert broken.error.__cause__ is error
    assert stack.take_failures() == []  # the user is told
    assert stack.counters.broken_off == 1
    due = stack.next_timeout()
    assert due is not None
    stack.handle_timeout(due + 1)
    again = flush(stack, due + 1)
    assert {segment.src_port for segment in again if segment.payload} == {1001, 1003}


def test_the_peer_of_a_connection_that_raised_is_reset_exactly() -> None:
    """The SEQ of the first RST is beyond the segment that did not leave. The peer challenges it, and the answer to that
    challenge is exact."""
    stack, connections = three()
    raise_at(0, RuntimeError("a bug"))
    before = connections[0].send_side.snd_nxt
    connections[0].send(b"text")
    (reset,) = flush(stack, START + 1)
    assert reset.flags == RST
    challenge = Segment(80, 1001, 1, before, ACK, 60000)
    stack.receive_datagram(encode(challenge), "peer", START + 1)
    (reset,) = flush(stack, START + 1)
    assert (reset.flags, reset.seq) == (RST, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=["interrupt", "exit"])
def test_what_ends_the_program_passes_and_leaves_the_others_whole(error: BaseException) -> None:
    stack, connections = three()
    raise_at(1, error)
    for connection in connections:
        connection.send(b"text")
    with pytest.raises(type(error)):
        stack.datagrams_to_send(START + 1)
    assert connections[2] in stack.output
    left = flush(stack, START + 1)
    assert [segment.src_port for segment in left if segment.payload] == [1001, 1003]
    assert connections[1].error is not None
    assert connections[1].error.__cause__ is error
    assert stack.take_failures() == []


def test_a_timer_that_raises_costs_no_other_its_timers() -> None:
    class Timid(NewReno):
        def on_timeout(self, in_flight: int, now: float) -> None:
            if Sore.error is not None:
                error, Sore.error = Sore.error, None
                raise error
            super().on_timeout(in_flight, now)

    with mock.patch.dict(CONTROLLERS, sore=Timid):
        stack, connections = three()
    for connection in connections:
        connection.send(b"text")
    flush(stack, START + 1)
    Sore.error = MemoryError()
    stack.handle_timeout(START + 10)
    left = flush(stack, START + 10)
    assert [segment.src_port for segment in left if segment.payload] == [1002, 1003]
    assert isinstance(connections[0].error, ConnectionAborted)
    assert stack.next_timeout() is not None


def test_an_opening_that_raises_is_the_callers() -> None:
    def fail(remote: Remote) -> int:
        raise LookupError(remote)

    stack = Stack(secret=SECRET, mtu=fail)
    with pytest.raises(LookupError):
        stack.connect("peer", 80, START)
    assert not stack.connections
    assert not flush(stack, START)
    assert stack.next_timeout() is None


def test_what_a_half_open_connection_raises_is_noted_because_it_has_no_user() -> None:
    class Fails(NewReno):
        def __init__(self, mss: int, seed: int = 0) -> None:
            super().__init__(mss, seed)
            if Sore.error is not None and mss < 1000:
                error, Sore.error = Sore.error, None
                raise error

    with mock.patch.dict(CONTROLLERS, sore=Fails):
        stack = Stack(Config(congestion_control="sore"), secret=SECRET)
        listener = stack.listen(80, START)
        error = Sore.error = RuntimeError("a bug")
        stack.receive_datagram(encode(Segment(9, 80, 0, 0, SYN, 60000, mss=700)), "peer", START)
        assert [failure.error for failure in stack.take_failures()] == [error]
        assert not stack.ready
        assert not stack.connections
        assert not listener.half_open
        # The SYN comes again, and is answered.
        stack.receive_datagram(encode(Segment(9, 80, 0, 0, SYN, 60000, mss=700)), "peer", START + 1)
        (answer,) = flush(stack, START + 1)
        assert answer.flags == SYN | ACK


class Once(Observer):
    """Raises when it is told of a state for the first time."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self.calls += 1
        raise self.error

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self.calls += 1


class Notes(Observer):
    def __init__(self) -> None:
        self.states: list[int] = []

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self.states.append(after)


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "in a tee"])
def test_an_observer_that_raises_is_not_called_again_and_the_others_are(nested: bool) -> None:
    first, once, last = Notes(), Once(LookupError("a bug")), Notes()
    stack = Stack(secret=SECRET)
    if nested:
        stack.observe(Tee(first, Tee(once, last)))
    else:
        for observer in (first, once, last):
            stack.observe_also(observer)
    connection = stack.connect("peer", 80, START)
    assert stack.observers == (first, last)
    assert stack._tap is None  # no other sees segments
    connection.close(START)
    assert first.states == last.states == [2, CLOSED]
    assert once.calls == 1
    assert [failure.error for failure in stack.take_failures()] == [once.error]
    assert stack.counters.broken_off == 0
    stack.observe_no_more(first)
    stack.observe_no_more(last)
    assert stack.observer is None


def test_failures_are_bounded() -> None:
    stack = Stack(secret=SECRET)
    for _ in range(100):
        stack.observe_also(Once(LookupError("a bug")))
    stack.connect("peer", 80, START)
    assert len(stack.take_failures()) == 64
    assert stack.take_failures() == []


def test_a_tee_without_a_stack_raises() -> None:
    with pytest.raises(LookupError):
        Tee(Once(LookupError("a bug"))).state_changed(three()[1][0], 0, 1, START)


def test_close_and_time_wait_after_others_have_failed() -> None:
    stack, connections = three(msl=1.0)
    raise_at(0, RuntimeError("a bug"))
    for connection in connections:
        connection.send(b"text")
    flush(stack, START)
    for connection in connections[1:]:
        connection.close(START + 1)
    flush(stack, START + 1)
    for connection in connections[1:]:
        arrives(stack, connection, FIN | ACK, START + 1, 1)
    flush(stack, START + 1)
    assert [connection.state for connection in connections] == [CLOSED, TIME_WAIT, TIME_WAIT]
    assert [connection.error for connection in connections[1:]] == [None, None]
    stack.handle_timeout(START + 3)
    assert stack.next_timeout() is None


def test_a_segment_that_is_half_in_the_outbox_costs_its_train_and_no_other() -> None:
    outbox = Outbox(64, 65507, Counters())
    outbox.add("peer", b"h" * 20, b"text", 24, START)
    outbox.add("peer", b"a" * 20, None, 20, START)
    outbox.trains[0].buffers.append(b"h" * 20)  # and then came the exception, before the text
    outbox.drop_incomplete()
    outbox.add("peer", b"i" * 20, b"more", 24, START)
    assert [transmit.datagrams() for transmit in outbox.take()] == [[b"a" * 20], [b"i" * 20 + b"more"]]


class Full(dict[Any, None]):
    """A dictionary that has no room for one more, once."""

    full = True

    def __setitem__(self, item: Any, value: None) -> None:
        if self.full:
            self.full = False
            raise MemoryError
        super().__setitem__(item, value)


class FullList(list[Any]):
    """A list that has no room for one more, once."""

    full = True

    def append(self, item: Any) -> None:
        if self.full:
            self.full = False
            raise MemoryError
        super().append(item)


@interpreted_only
def test_a_send_that_raises_has_queued_nothing() -> None:
    stack, (connection, *_) = three()
    before = bytes(SMALL)  # so long that the next piece is appended
    connection.send(before)
    for name in ("output", "_chunks", "_starts"):
        owner: Any = stack if name == "output" else connection.send_side
        setattr(owner, name, (Full if name == "output" else FullList)(getattr(owner, name)))
        with pytest.raises(MemoryError):
            connection.send(b"first")
        assert connection.send_queue == SMALL
    assert connection.send(b"second") == 6
    assert b"".join(bytes(segment.payload) for segment in flush(stack, START + 1)) == before + b"second"


@interpreted_only
@pytest.mark.parametrize("call", [Connection.close, Connection.shutdown], ids=["close", "shutdown"])
def test_a_close_that_raises_ends_the_connection(call: Callable[[Connection, float], None]) -> None:
    """It would not be tried again."""
    stack, (connection, *_) = three()
    stack.output = Full()
    with pytest.raises(MemoryError):
        call(connection, START + 1)
    assert connection.state == CLOSED
    assert isinstance(connection.error, ConnectionAborted)
    assert stack.take_ready() == [connection]
    assert [segment.flags for segment in flush(stack, START + 1)] == [RST]


@interpreted_only
def test_timers_that_were_taken_when_a_later_one_raised_are_due_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Due(Timed):
        def __init__(self) -> None:
            self.queued = inf
            self.entry = 0

        def next_deadline(self) -> float:
            return START

    queue = TimerQueue()
    due = [Due() for _ in PORTS]
    for each in due:
        queue.schedule(each, START)
    take_out, calls = TimerQueue._take_out, 0

    def fail(self: TimerQueue, subject: Timed) -> None:
        nonlocal calls
        calls += 1
        if calls == len(due):
            raise MemoryError
        take_out(self, subject)

    with monkeypatch.context() as patch:
        patch.setattr(TimerQueue, "_take_out", fail)
        with pytest.raises(MemoryError):
            queue.take_expired(START)
    taken = queue.take_expired(START)
    assert set(taken) == set(due)
    assert len(queue) == 0


@interpreted_only
def test_what_a_connection_has_left_half_done_in_the_outbox_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, connections = three()
    add = Outbox.add

    def half(self: Outbox, remote: Remote, header: bytes, *arguments: Any) -> int:
        if decode(header).src_port == 1002 and decode(header).flags & ACK:
            self.trains[-1].buffers.append(header)
            raise MemoryError
        return add(self, remote, header, *arguments)

    monkeypatch.setattr(Outbox, "add", half)
    for connection in connections:
        connection.send(b"text")
    left = flush(stack, START + 1)
    assert [(segment.src_port, segment.flags & RST, segment.payload) for segment in left] == [
        (1002, RST, b""),
        (1003, 0, b"text"),
    ]


@interpreted_only
def test_a_timer_that_cannot_be_moved_to_its_later_deadline_still_comes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(Timed):
        deadline = START

        def __init__(self) -> None:
            self.queued = inf
            self.entry = 0

        def next_deadline(self) -> float:
            return self.deadline

    queue, later = TimerQueue(), Later()
    queue.schedule(later, START)
    Later.deadline = START + 5
    with monkeypatch.context() as patch:
        patch.setattr(TimerQueue, "schedule", mock.Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            queue.next()
    assert queue.next() == START + 5
    assert queue.take_expired(START + 5) == [later]


@interpreted_only
def test_octets_whose_charge_raises_are_not_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller does not know that they are queued."""
    stack, (connection, other, _) = three()
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "note", mock.Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            connection.send(bytes(10_000))
    assert connection.state == CLOSED
    assert isinstance(connection.error, ConnectionAborted)
    assert stack.take_ready() == [connection]
    assert [(segment.src_port, segment.flags) for segment in flush(stack, START + 1)] == [(1001, RST)]
    assert other.send(b"text") == 4


@interpreted_only
@pytest.mark.parametrize("name", ["take_all", "_update_is_due", "note"])
def test_octets_are_read_or_still_there_or_the_connection_ends(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, (connection, *_) = three(recv_buffer=4096)
    owner = {"take_all": ReceiveQueue, "_update_is_due": ReceiveSide, "note": Memory}[name]
    payload = bytes(100 if name == "note" else 3000)
    for part in (payload[:1500], payload[1500:]):
        seq = connection.receive_side.rcv_nxt
        segment = Segment(80, 1001, seq, connection.send_side.snd_nxt, ACK, 60000, payload=part)
        stack.receive_datagram(encode(segment), "peer", START)
    flush(stack, START)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, mock.Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            connection.read()
    if name == "note":
        assert connection.state == CLOSED
        assert isinstance(connection.error, ConnectionAborted)
    else:
        assert connection.read() == payload
        assert connection.state == ESTABLISHED


def test_a_half_open_connection_that_raises_gives_its_ports_back_to_time_wait() -> None:
    """As when its SYN was an old duplicate after all (RFC 9293 3.6.1, MAY-2)."""

    class Fails(NewReno):
        def __init__(self, mss: int, seed: int = 0) -> None:
            super().__init__(mss, seed)
            if Sore.error is not None and mss < 1000:
                raise Sore.error

    with mock.patch.dict(CONTROLLERS, sore=Fails):
        stack, (connection, *_) = three()
        stack.listen(1001, START)
        connection.close(START)
        flush(stack, START)
        arrives(stack, connection, FIN | ACK, START, 1)
        flush(stack, START)
        before = stack.time_wait.get(connection.key)
        assert before is not None
        error = Sore.error = RuntimeError("a bug")
        stack.receive_datagram(encode(Segment(80, 1001, 1000, 0, SYN, 60000, mss=700)), "peer", START + 1)
        assert [failure.error for failure in stack.take_failures()] == [error]
        after = stack.time_wait.get(connection.key)
        assert after is not None
        assert after.snd_nxt == before.snd_nxt
        assert connection.key not in stack.connections
