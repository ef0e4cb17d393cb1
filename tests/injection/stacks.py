"""Two bare stacks and some connections between them, in virtual time; what one of them does may fail once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from errno import EHOSTUNREACH, EMSGSIZE
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, TypeVar

from tests.injection.faults import Calls, Faults
from utcp.config import Config
from utcp.errors import InvalidState
from utcp.tcp.accounts import IDLE as IDLE_CHARGE
from utcp.tcp.connection import Connection
from utcp.tcp.event import ENDED
from utcp.tcp.listener import Listener
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, ESTABLISHED, SYN_SENT
from utcp.wire import RST, SYN, Segment, decode, encode

T = TypeVar("T")

START: Final = 1000.0
DELAY: Final = 0.01
IDLE: Final = 3.0
"""Seconds that connections stay open without traffic: keepalive probes leave meanwhile."""
MAX_STEPS: Final = 3000
SIZE: Final = 3500
"""Octets that each end of a connection writes."""
TEXT: Final = Random(0).randbytes(SIZE + 256)

CONFIG: Final = Config(
    mss=600,
    ephemeral_ports=(2001, 2002),
    send_buffer=4096,
    recv_buffer=4096,
    msl=1.0,
    syn_backlog=1,
    max_connections_per_remote=9,
    keepalive=True,
    keepalive_idle=1.0,
    keepalive_interval=0.5,
    fin_wait_2_timeout=5.0,
    syn_retries=4,
    retries=6,
    fin_retries=5,
)

PORTS: Final = {"near": (2001, 2002), "far": (1001, 1002)}
"""The local ports from which each side opens connections to the other one's port 80; "near" has these chosen for it."""


class User:
    """The application of one end: it writes, reads, finishes, and closes when the peer has finished. What a call raises
    it notes, and tries again, as long as the connection lives."""

    def __init__(self, world: World, name: str, connection: Connection, number: int) -> None:
        self.world = world
        self.name = name
        self.connection = connection
        self.number = number
        self.sent = 0
        self.received = bytearray()
        self.finishes_at: float | None = None
        """When it closes its side: some time after all has arrived."""
        self.finished = False
        self.closed = False
        self.told = 0
        """How often it was told of the end."""
        connection.context = self
        world.all_users.append(self)

    def text(self, name: str) -> bytes:
        """What the end of this name writes."""
        begin = self.number % 100 + self.number // 1000 * 20 + (name == "near") * 100
        return TEXT[begin : begin + SIZE]

    @property
    def complete(self) -> bool:
        """All arrived, and the connection ended as it should."""
        other = "far" if self.name == "near" else "near"
        return self.told == 1 and self.connection.error is None and bytes(self.received) == self.text(other)

    def happened(self) -> None:
        self.told += bool(self.connection.take_events() & ENDED)

    def work(self) -> None:
        connection, now = self.connection, self.world.now
        if connection.state in (CLOSED, SYN_SENT) or self.told:
            return
        text = self.text(self.name)
        while self.sent < SIZE:
            accepted = connection.send(text[self.sent : self.sent + 2000])
            self.sent += accepted
            if not accepted:
                break
        while data := connection.read(1500):
            self.received += data
        if self.sent == len(self.received) == SIZE and self.finishes_at is None:
            self.finishes_at = now + IDLE + (0.5 * (self.number % 2) if self.name == "far" else 0.0)
        if self.finishes_at is not None and now >= self.finishes_at and not self.finished:
            connection.shutdown(now)
            self.finished = True
        if self.finished and connection.at_eof and not self.closed:
            connection.close(now)
            self.closed = True


class Watch(Observer):
    """An observer whose calls are sites: of segments, and of everything else."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name.startswith("_") or not callable(method):
            return method
        return self._faults.wrap(f"observer.{name}", method)

    def segment_received(self, remote: Any, segment: Segment, now: float) -> None:
        """Overridden, so that it is called."""


class World:
    """Runs the program, with `calls` in force while the stack "near" works, and `handed` for what it was handed."""

    def __init__(self, calls: Calls | None = None, handed: Faults | None = None, **knobs: Any) -> None:
        self.calls = calls
        self.now = START
        self.reported: list[BaseException] = []
        """What calls of the driver have raised."""
        self.caught: list[BaseException] = []
        """What calls of users have raised."""
        handed = Faults() if handed is None else handed
        self.injected = calls if calls is not None else handed
        config = Config(**{**{name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__}, **knobs})
        self.stacks = {
            "near": Stack(
                config,
                secret=b"near" * 4,
                mtu=handed.wrap("mtu", lambda _: 1452),
                observer=Watch(handed) if calls is None else None,
            ),
            "far": Stack(CONFIG, secret=b"far." * 4),
        }
        self.near = self.stacks["near"]
        self.users: dict[tuple[str, int], User] = {}
        """By side and by the port of the side that opens."""
        self.all_users: list[User] = []
        """With those whose connection a later one has replaced: a SYN or a cookie may come again after the end."""
        self._listeners: dict[str, Listener] = {}
        self._link: list[tuple[float, int, str, bytes]] = []
        self._serial = 0
        self._sent = 0
        self._lost: set[str] = set()
        self._troubled = False
        self._opened: set[int] = set()

    # ------------------------------------------------------------------ calls into the stacks

    def ask(self, name: str, call: Callable[..., T], *arguments: Any) -> T | None:
        """A call of the driver. What it raises is reported, as a driver does; None then."""
        with self._force(name):
            try:
                return call(*arguments)
            except BaseException as error:
                if not self.injected.owns(error):
                    raise
                self.reported.append(error)
                return None

    def user(self, name: str, call: Callable[..., T], *arguments: Any, **options: Any) -> T | None:
        """A call of a user."""
        with self._force(name):
            try:
                return call(*arguments, **options)
            except InvalidState:
                return None  # it has ended, and the user is told of it next
            except BaseException as error:
                if not self.injected.owns(error):
                    raise
                self.caught.append(error)
                return None

    def _force(self, name: str) -> contextlib.AbstractContextManager[Any]:
        return self.calls if self.calls is not None and name == "near" else contextlib.nullcontext()

    # ------------------------------------------------------------------ the program

    def run(self) -> None:
        """Until every connection is over on both sides, or the steps are used up."""
        for _ in range(MAX_STEPS):
            self._open()
            for name, stack in self.stacks.items():
                self._users(name, stack)
                self._flush(name, stack)
            due = [self._due(name, stack) for name, stack in self.stacks.items()]
            if self._link:
                due.append(self._link[0][0])
            pauses = [user.finishes_at for user in self.users.values() if not (user.finished or user.told)]
            at = min([time for time in (*due, *pauses) if time is not None and time > self.now], default=None)
            behind = [time for time in due if time is not None and time <= self.now]
            if at is None and not behind:
                if len(self._opened) == len(self.keys):
                    return
                continue  # an open has failed, and is tried again
            if not behind and at is not None:
                self.now = at
            self._arrive()
            if not self._troubled:
                self._trouble()

    def _open(self) -> None:
        for name, stack in self.stacks.items():
            if name not in self._listeners:
                listener = self.user(name, stack.listen, 80, self.now)
                if listener is None:
                    return
                self._listeners[name] = listener
        for name, stack in self.stacks.items():
            other = "far" if name == "near" else "near"
            for number in PORTS[name]:
                if number not in self._opened:
                    chosen = number if name == "far" else None
                    connection = self.user(name, stack.connect, other, 80, self.now, local_port=chosen)
                    if connection is not None:
                        self._opened.add(number)
                        key = connection.local_port
                        self.users[name, key] = User(self, name, connection, key)

    def _users(self, name: str, stack: Stack) -> None:
        for item in self.ask(name, stack.take_ready) or ():
            if isinstance(item.context, User):
                item.context.happened()
        listener = self._listeners.get(name)
        while listener is not None and (connection := self.user(name, listener.accept)) is not None:
            known = self.users.get((name, connection.remote_port))
            if known is None or not known.complete:
                self.users[name, connection.remote_port] = User(self, name, connection, connection.remote_port)
                self.users[name, connection.remote_port].happened()
        for user in list(self.users.values()):
            if user.name == name:
                self.user(name, user.work)

    def _flush(self, name: str, stack: Stack) -> None:
        for _ in range(2):  # the second time only after an exception
            before = len(self.reported)
            for transmit in self.ask(name, stack.datagrams_to_send, self.now) or ():
                for datagram in transmit.datagrams():
                    self._put(name, str(transmit.remote), datagram)
            if len(self.reported) == before:
                return

    def _due(self, name: str, stack: Stack) -> float | None:
        before = len(self.reported)
        due = self.ask(name, stack.next_timeout)
        return due if len(self.reported) == before else stack.next_timeout()

    def _put(self, sender: str, receiver: str, datagram: bytes) -> None:
        """Some are lost, some are late, some come twice. Strangers receive nothing."""
        if receiver not in self.stacks:
            return
        self._sent += 1
        number = self._sent
        segment = decode(datagram)
        if sender == "near":
            # A SYN, and the ACK of a FIN, which the peer then sends again.
            lost = "SYN" if segment.flags & SYN else "ACK" if len(self.near.time_wait) and not segment.length else ""
            if lost and lost not in self._lost:
                self._lost.add(lost)
                return
        if number % 19 == 0:
            return
        for late in (0.0, 0.05) if number % 29 == 0 else (0.03,) if number % 23 == 0 else (0.0,):
            self._serial += 1
            heappush(self._link, (self.now + DELAY + late, self._serial, receiver, datagram))

    def _arrive(self) -> None:
        while self._link and self._link[0][0] <= self.now:
            _, _, receiver, datagram = heappop(self._link)
            sender = "near" if receiver == "far" else "far"
            self.ask(receiver, self.stacks[receiver].receive_datagram, datagram, sender, self.now)
        for name, stack in self.stacks.items():
            due = self._due(name, stack)
            if due is not None and due <= self.now:
                self.ask(name, stack.handle_timeout, self.now)

    def _trouble(self) -> None:
        """Once there is something to say it about: what strangers and the path have to say."""
        near, now = self.near, self.now
        sending = [
            connection
            for connection in near.connections.values()
            if connection.state == ESTABLISHED and connection.send_side.flight_size > connection.mss
        ]
        if not sending:
            return
        self._troubled = True
        self.ask("near", near.receive_datagram, b"noise", "far", now)
        self.ask("near", near.receive_datagram, encode(Segment(9, 9, 1, 1, 16)), "stranger", now)
        for flags in (SYN, RST):
            self.ask(
                "near", near.receive_datagram, encode(Segment(9, 80, 1 + (flags == RST), 0, flags)), "stranger", now
            )
        for connection in sending:
            ports = connection.local_port, connection.remote_port
            quoted = encode(Segment(*ports, connection.send_side.snd_una, 0, 16))
            self.ask("near", near.path_error, "far", EMSGSIZE, 556, quoted, now)
            self.ask("near", near.path_error, "far", EHOSTUNREACH, None, quoted, now)

    # ------------------------------------------------------------------ what must have become of it

    def check(self) -> None:
        """The fault has cost one connection at most. Its user or the driver was told, once. Nothing is left of any
        connection."""
        owns = self.injected.owns
        broken = [key for key in self.keys if not all(self.is_complete(name, key) for name in self.stacks)]
        told = [user for user in self.all_users if _comes_of(user.connection.error, owns)]
        noted = [failure for failure in self.near.failures if owns(failure.error)]
        state = f"broken {broken}, told {told}, noted {noted}, reported {self.reported}, caught {self.caught}"
        everyone = len(told) + len(noted) + len(self.reported)
        if self.injected.error is None:
            assert not broken, state
        else:
            assert len(broken) <= 1, state
            assert all(user.told == 1 for user in told), state
            assert everyone + len(self.caught) >= 1, f"nobody is told: {state}"
            # What ends the program is told by that; the user whose connection it cost has it as the cause.
            assert everyone - len(told) <= 1, f"it is told twice: {state}"
            if isinstance(self.injected.error, Exception):
                assert everyone <= 1, f"it is told twice: {state}"
            else:
                assert not noted, f"it is told twice: {state}"
            assert len(self.caught) <= 1, state
        for name, stack in self.stacks.items():
            left = [*stack.connections.values(), *stack.time_wait]
            assert not left, f"{name}: {left}, {state}"
            assert stack.next_timeout() is None, f"{name}: {state}"
            assert len(stack._timers) == 0, f"{name}: {state}"
            assert not stack.output, f"{name}: {state}"
            assert not stack.answers_to_send(), f"{name}: {state}"
            assert not stack.take_ready(), f"{name}: {state}"
            assert not any(_kept(stack)), f"{name}: {_kept(stack)}, {state}"
            assert not self._listeners[name].half_open, f"{name}: {state}"
            assert not self._listeners[name].queue, f"{name}: {state}"

    @property
    def keys(self) -> list[int]:
        """The connections, by the port of the side that opens them."""
        return [port for ports in PORTS.values() for port in ports]

    def is_complete(self, name: str, key: int) -> bool:
        user = self.users.get((name, key))
        return user is not None and user.complete


def _kept(stack: Stack) -> tuple[int, ...]:
    """What is still counted or charged, besides text that the user of an ended connection can still read."""
    memory, admission = stack.memory, stack.admission
    unread = sum(connection.charge for connection in memory._unread)
    return (
        memory.sum - unread,
        memory._busy - sum(connection.charge > IDLE_CHARGE for connection in memory._unread),
        memory.half_open,
        memory.orphaned,
        len(memory.orphans),
        len(stack._unaccepted),
        len(admission._admitted),
        len(admission._per_host),
    )


def _comes_of(error: BaseException | None, owns: Callable[[BaseException | None], bool]) -> bool:
    return error is not None and (owns(error) or owns(error.__cause__))
