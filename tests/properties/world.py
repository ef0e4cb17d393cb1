"""Two stacks, their users, and a bad path between them, in virtual time."""

from __future__ import annotations

import heapq
from random import Random
from typing import Final

from tests.contained import refuse
from tests.properties.watch import Broken, Watch
from tests.tcp import accounts
from utcp.config import Config
from utcp.errors import AddressInUse, AddressNotAvailable, InvalidState
from utcp.tcp.connection import Connection
from utcp.tcp.event import CONNECTED, ENDED
from utcp.tcp.listener import Listener
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, NAMES
from utcp.testing import Conditions, Path
from utcp.wire import decode

START: Final = 1000.0
PEER: Final = {"a": "b", "b": "a"}
MAX_EVENTS: Final = 20_000
"""In one advance: more would be two stacks that talk for ever."""

END: Final = 3000.0
"""Seconds after which all is over once the users have closed: R2 of a FIN with RTO at its upper bound, FIN_WAIT_2 and
TIME_WAIT are all below."""

_BLOCK: Final = Random(0).randbytes(1 << 16) * 2


def content(iss: int, offset: int, size: int) -> bytes:
    """The stream whose SYN had the number `iss`, from `offset` on; at most 65,536 octets."""
    begin = (iss * 2654435761 + offset) & 0xFFFF
    return _BLOCK[begin : begin + size]


class User:
    """The application of one connection: writes its stream, checks what it reads."""

    def __init__(self, world: World, name: str, connection: Connection) -> None:
        self.world = world
        self.name = name
        self.connection = connection
        self.written = 0
        self.read = 0
        self.paused = False
        self.finished = False
        """It has said that it writes no more, by shutdown() or close()."""
        self.closed = False
        self.aborted = False
        self.connected = False
        self.ended = 0
        self.snd_nxt = connection.send_side.iss
        connection.context = self

    def happened(self) -> None:
        events = self.connection.take_events()
        self.connected |= bool(events & CONNECTED)
        self.ended += bool(events & ENDED)
        if not self.paused:
            self.take(-1)

    def take(self, limit: int) -> None:
        """Read; what comes must be what the peer wrote there."""
        connection = self.connection
        if self.closed:
            return
        data = connection.read(limit)
        trusting = self.world.reads_are_true(self)
        if trusting:
            irs = connection.receive_side.irs
            position = 0
            while position < len(data):
                piece = data[position : position + 65536]
                if piece != content(irs, self.read + position, len(piece)):
                    raise Broken(f"{self.name}: {connection!r} read at {self.read} what nobody wrote there")
                position += len(piece)
        self.read += len(data)
        if connection.at_eof and trusting:
            peer = self.world.peer_of(self)
            if not peer.finished or peer.written != self.read:
                raise Broken(f"{self.name}: {connection!r} has EOF after {self.read} of {peer.written} octets")

    def write(self, size: int) -> None:
        iss = self.connection.send_side.iss
        try:
            self.written += self.connection.send(content(iss, self.written, size))
        except InvalidState:
            if not (self.finished or self.aborted or self.connection.ended or self.connection.state == CLOSED):
                raise

    def shutdown(self) -> None:
        try:
            self.connection.shutdown(self.world.now)
        except InvalidState:
            if not (self.connection.ended or self.connection.state == CLOSED):
                raise
        else:
            self.finished = True

    def close(self) -> None:
        self.connection.close(self.world.now)
        self.finished = self.closed = True

    def abort(self) -> None:
        self.connection.abort(self.world.now)
        self.closed = self.aborted = True

    def check(self) -> None:
        """What holds at any moment."""
        send = self.connection.send_side
        if (send.snd_nxt - self.snd_nxt) & 0x80000000:
            raise Broken(f"{self.name}: SND.NXT of {self.connection!r} went back")
        self.snd_nxt = send.snd_nxt
        if self.ended > 1:
            raise Broken(f"{self.name}: {self.connection!r} ended {self.ended} times")

    def check_end(self) -> None:
        """What holds when everything is over: it was all delivered, or the user was told that it was not."""
        if self.ended != 1:
            raise Broken(f"{self.name}: the user of {self.connection!r} was told {self.ended} times of its end")
        if not self.connected or self.aborted or self.connection.error is not None:
            return
        if self.world.delivers_all(self):
            received = self.world.peer_of(self).connection.receive_side.bytes_received
            if received != self.written:
                raise Broken(f"{self.name}: {self.connection!r}: {received} of {self.written} octets, and no error")


class World:
    """Hosts "a" and "b". With `flips` the path flips that share of datagrams' bits instead of dropping them: then the
    peers are not honest, and only what holds in front of any peer is checked."""

    def __init__(self, seed: int, configs: dict[str, Config], conditions: Conditions, flips: float = 0.0) -> None:
        self.now = START
        self.random = Random(seed)
        self.flips = flips
        self.honest = not flips
        self.watches = {name: Watch(name) for name in PEER}
        self.stacks = {
            name: Stack(configs[name], secret=self.random.randbytes(16), observer=self.watches[name]) for name in PEER
        }
        self.users: list[User] = []
        self.intact = True
        """No call has raised: if one has, the stacks may be in the middle of something."""
        self.trace: list[tuple[float, str, bytes, list[float]]] = []
        """What was sent: when, by whom, and when it arrives."""
        self._streams: dict[tuple[str, int], User] = {}
        self._paths = {name: Path(conditions, self.random.getrandbits(32)) for name in PEER}
        self._under_way: list[tuple[float, int, str, bytes]] = []

    # ------------------------------------------------------------------ what the users do

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the beginning."""
        return self.now - START

    @property
    def live(self) -> list[User]:
        """Those who have something left to do."""
        return [user for user in self.users if not user.closed]

    def open(self, name: str, remote_port: int, local_port: int | None) -> None:
        stack = self.stacks[name]
        try:
            connection = stack.connect(PEER[name], remote_port, self.now, local_port=local_port)
        except AddressInUse:
            key = (PEER[name], remote_port, local_port or 0)
            if key not in stack.connections and key not in stack.time_wait:
                raise
        except AddressNotAvailable:
            if len(stack.connections) + len(stack.time_wait) < 4:
                raise
        else:
            self._add_user(name, connection)

    def listen(self, name: str, port: int) -> None:
        if port not in self.stacks[name].listeners:
            self.stacks[name].listen(port, self.now, backlog=4)

    def stop_listening(self, name: str, port: int) -> None:
        listener = self.stacks[name].listeners.get(port)
        if listener is not None:
            listener.close(self.now)

    def accept(self, name: str) -> None:
        """Everything that waits."""
        for listener in self.stacks[name].listeners.values():
            while (connection := listener.accept()) is not None:
                self._add_user(name, connection)

    def _add_user(self, name: str, connection: Connection) -> None:
        user = User(self, name, connection)
        self.users.append(user)
        self._streams[name, connection.send_side.iss] = user

    def reads_are_true(self, user: User) -> bool:
        """What `user` reads must be what its peer wrote."""
        return self.honest

    def delivers_all(self, user: User) -> bool:
        """What `user` wrote must have arrived if its connection ended without an error."""
        return self.honest

    def peer_of(self, user: User) -> User | _Stranger:
        """The user at the other end of this incarnation; a stand-in when it never had one."""
        name, connection = PEER[user.name], user.connection
        irs = connection.receive_side.irs
        peer = self._streams.get((name, irs))
        if peer is not None:
            return peer
        return _Stranger(
            self.watches[name].connections[(user.name, connection.local_port, connection.remote_port), irs]
        )

    def conditions(self, conditions: Conditions) -> None:
        for path in self._paths.values():
            path.conditions = conditions

    # ------------------------------------------------------------------ time

    def settle(self) -> None:
        """What the present moment brings about: users are told, segments leave."""
        while True:
            ready = [(name, item) for name, stack in self.stacks.items() for item in stack.take_ready()]
            for name, item in ready:
                self._tell(name, item)
            sent = False
            for name, stack in self.stacks.items():
                for transmit in stack.datagrams_to_send(self.now):
                    for datagram in transmit.datagrams():
                        self._send(name, datagram)
                        sent = True
            if not sent and not any(stack.ready or stack.output for stack in self.stacks.values()):
                break
        self.check()

    def _tell(self, name: str, item: Connection | Listener) -> None:
        if isinstance(item, Listener):
            if self.random.random() < 0.8:  # else it is slow to accept
                while (connection := item.accept()) is not None:
                    self._add_user(name, connection)
        elif isinstance(item.context, User):
            item.context.happened()

    def _send(self, name: str, datagram: bytes) -> None:
        arrivals = self._paths[name].carry(len(datagram), self.now)
        self.trace.append((self.now, name, datagram, arrivals))
        for arrival in arrivals:
            received = datagram
            if self.flips and self.random.random() < self.flips:
                received = self._flip(datagram)
            heapq.heappush(self._under_way, (arrival, len(self.trace), PEER[name], received))

    def _flip(self, datagram: bytes) -> bytes:
        octets = bytearray(datagram)
        for _ in range(self.random.randint(1, 3)):
            # Mostly in the header: text is not looked at.
            octets[self.random.randrange(min(len(octets), 60))] ^= 1 << self.random.randrange(8)
        if self.random.random() < 0.1:
            del octets[self.random.randrange(len(octets)) :]
        return bytes(octets)

    def _next_event(self) -> float | None:
        due = [timeout for stack in self.stacks.values() if (timeout := stack.next_timeout()) is not None]
        if self._under_way:
            due.append(self._under_way[0][0])
        return min(due, default=None)

    def advance(self, seconds: float) -> None:
        """Time passes. The packets that it brings about are bounded: by what there is to send, and by the time."""
        self.intact = False
        self.settle()
        bound = self._packet_bound(seconds)
        before = len(self.trace)
        self._run(self.now + seconds)
        if len(self.trace) - before > bound:
            raise Broken(
                f"{len(self.trace) - before} packets in {seconds} s, where {bound} are enough: who needs them?"
            )
        self.intact = True

    def _packet_bound(self, seconds: float) -> int:
        peers = sum(len(stack.connections) + len(stack.time_wait) for stack in self.stacks.values())
        segments = sum(
            1 + connection.send_queue // min(connection.mss, 500)
            for stack in self.stacks.values()
            for connection in stack.connections.values()
        )
        # Each segment may be sent several times, each copy acknowledged, and its reading tell of a window.
        return 50 + 20 * segments + len(self._under_way) * 2 + int(peers * (20 + 5 * seconds))

    def _run(self, end: float) -> None:
        for _ in range(MAX_EVENTS):
            due = self._next_event()
            if due is None or due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            while self._under_way and self._under_way[0][0] <= self.now:
                _, _, name, datagram = heapq.heappop(self._under_way)
                self.watches[name].received = None
                self.stacks[name].receive_datagram(datagram, PEER[name], self.now)
                self.watches[name].received = None
            for stack in self.stacks.values():
                timeout = stack.next_timeout()
                if timeout is not None and timeout <= self.now:
                    stack.handle_timeout(self.now)
            self.settle()
        raise Broken(f"more than {MAX_EVENTS} events at once: two stacks talk for ever")

    # ------------------------------------------------------------------ what must hold

    def history(self) -> str:
        """The last packets, for people who look at a failure."""
        lines = [
            f"{now - START:12.6f} {name} {decode(datagram)!r} -> {[round(arrival - START, 6) for arrival in arrivals]}"
            for now, name, datagram, arrivals in self.trace[-60:]
        ]
        return "\n".join([*lines, f"{self.now - START:12.6f} now"])

    def check(self) -> None:
        for name, stack in self.stacks.items():
            refuse(stack)
            if not len(self.trace) & 7:
                accounts.check(stack)
            for key, connection in stack.connections.items():
                flow = self.watches[name].flows[key]
                if flow.state != connection.state or connection.state == CLOSED:
                    raise Broken(f"{name}: {connection!r} was seen in {NAMES[flow.state]}")
            timeout = stack.next_timeout()
            if timeout is not None and timeout < self.now:
                raise Broken(f"{name}: a timer was due {self.now - timeout} s ago")
        for user in self.users:
            user.check()

    def finish(self) -> None:
        """The users close, and everything ends within its bounds."""
        for stack in self.stacks.values():
            for listener in list(stack.listeners.values()):
                listener.close(self.now)
        for user in self.live:
            user.close()
        self.settle()
        self._run(self.now + END)
        for name, stack in self.stacks.items():
            left = [*stack.connections.values(), *stack.time_wait]
            if left or stack.next_timeout() is not None or stack.datagrams_to_send(self.now):
                raise Broken(f"{name}: {END} s after the users have closed there are {left}, {stack.next_timeout()}")
        for user in self.users:
            user.check_end()


class _Stranger:
    """A connection that no user ever accepted."""

    finished = False
    written = 0

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
