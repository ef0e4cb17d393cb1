"""Two stacks and the network between them, in virtual time."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final

import pytest

from tests.contained import refuse
from tests.tcp.script import MAX_STEPS, MSS, PRECISION, SECRET, START, Watch
from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.listener import Listener
from utcp.tcp.stack import Stack
from utcp.wire import RST, Segment, decode
from utcp.wire.seq import diff

PASS: Final = (0.0,)
DROP: Final[tuple[float, ...]] = ()
DUPLICATE: Final = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Packet:
    """One datagram on the link, as rules see it. `sender` is "client" or "server", `count` its number from 1."""

    sender: str
    segment: Segment
    count: int
    time: float


Rule = Callable[[Packet], tuple[float, ...]]
"""One extra delay for each copy that arrives: PASS, DROP, DUPLICATE, or (0.5,) for half a second late."""


def lose(sender: str, flags: int, times: int = 1) -> Rule:
    """Drop the first `times` segments of `sender` that have all of these flags."""
    left = times

    def rule(packet: Packet) -> tuple[float, ...]:
        nonlocal left
        if left and packet.sender == sender and packet.segment.flags & flags == flags:
            left -= 1
            return DROP
        return PASS

    return rule


def both(*rules: Rule) -> Rule:
    """Every rule sees every packet; it is lost if one of them loses it."""

    def rule(packet: Packet) -> tuple[float, ...]:
        answers = [one(packet) for one in rules]
        return DROP if DROP in answers else max(answers)

    return rule


class Pair:
    """Two stacks, "client" and "server", joined by a link with a delay; virtual time jumps to the next event."""

    def __init__(
        self,
        rule: Rule = lambda packet: PASS,
        *,
        delay: float = 0.01,
        app: Callable[[Connection | Listener], None] = lambda ready: None,
        client: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        **knobs: Any,
    ) -> None:
        """`app` is called, as a driver would, with everything that something happened to. `knobs` are for both;
        keepalive is off by default, so that a connection at rest is silent."""
        self.rule = rule
        self.delay = delay
        self.app = app
        self.now = START
        self.trace: list[str] = []
        self.watches = {"client": Watch(), "server": Watch()}
        self.stacks = {
            name: Stack(
                Config(**{"mss": MSS, "keepalive": False, **knobs, **(own or {})}),
                secret=SECRET + name.encode(),
                observer=self.watches[name],
            )
            for name, own in (("client", client), ("server", server))
        }
        self.counts = {"client": 0, "server": 0}
        self._link: list[tuple[float, int, str, bytes]] = []
        self._serial = 0

    @property
    def client(self) -> Stack:
        return self.stacks["client"]

    @property
    def server(self) -> Stack:
        return self.stacks["server"]

    @property
    def time(self) -> float:
        return self.now - START

    def reboot(self, name: str) -> None:
        """This stack forgets everything; packets under way still arrive."""
        self.watches[name] = Watch()
        self.stacks[name] = Stack(
            self.stacks[name].config, secret=SECRET + b"again" + name.encode(), observer=self.watches[name]
        )

    def connect(self, *, local_port: int | None = None) -> Connection:
        """The client opens to the server's port 80."""
        return self.client.connect("server", 80, self.now, local_port=local_port)

    def established(self) -> tuple[Connection, Connection]:
        """A new connection, both ends of it; the server listens on port 80 from now on."""
        listener = self.server.listeners.get(80) or self.server.listen(80, self.now)
        near = self.connect()
        far: list[Connection] = []

        def accepted() -> bool:
            connection = listener.accept()
            if connection is not None:
                far.append(connection)
            return bool(far)

        self.run(accepted)
        return near, far[0]

    def run(self, until: Callable[[], bool] | None = None, *, seconds: float = 600.0) -> None:
        """Until the condition holds, or until nothing is left to do. Fails after `seconds`, or when it never holds."""
        __tracebackhide__ = True
        end = self.now + seconds
        for _ in range(MAX_STEPS):
            self._exchange()
            if until is not None:
                if until():
                    return
                self._exchange()  # the condition may have read, written, closed
            due = self._next_event()
            if due is None:
                if until is None:
                    return
                self._fail("nothing is left to do, and the condition does not hold")
            elif due > end:
                self._fail(f"not done after {seconds} seconds")
            else:
                self.now = max(self.now, due)
                self._arrive()
        self._fail(f"not done after {MAX_STEPS} steps")

    def run_for(self, seconds: float) -> None:
        """Time passes, whatever happens."""
        __tracebackhide__ = True
        end = self.now + seconds
        for _ in range(MAX_STEPS):
            self._exchange()
            due = self._next_event()
            if due is None or due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            self._arrive()
        self._fail(f"not done after {MAX_STEPS} steps")

    def _exchange(self) -> None:
        __tracebackhide__ = True
        for name, stack in self.stacks.items():
            for ready in stack.take_ready():
                self.app(ready)
            for transmit in stack.datagrams_to_send(self.now):
                for datagram in transmit.datagrams():
                    self._put(name, str(transmit.remote), datagram)
            refuse(stack)
            if self.watches[name].violations:
                self._fail("; ".join(self.watches[name].violations))

    def _put(self, sender: str, receiver: str, datagram: bytes) -> None:
        self.counts[sender] += 1
        packet = Packet(sender, decode(datagram), self.counts[sender], self.time)
        copies = self.rule(packet)
        fate = "" if copies == PASS else f"   {copies or 'lost'}"
        self.trace.append(f"{self.time:9.3f} {sender} {packet.segment!r}{fate}")
        self._check_seq(packet, receiver)
        for extra in copies:
            self._serial += 1
            heappush(self._link, (self.now + self.delay + extra, self._serial, receiver, datagram))

    def _check_seq(self, packet: Packet, receiver: str) -> None:
        """A segment without text stands no further than the right edge of the window that its sender was offered. The
        RST that refuses a SYN stands at 0 (RFC 9293 3.5.2)."""
        __tracebackhide__ = True
        segment = packet.segment
        if segment.flags & RST and segment.seq == 0:
            return
        connection = self.stacks[packet.sender].connections.get((receiver, segment.dst_port, segment.src_port))
        if segment.length == 0 and connection is not None and connection.send_side.syn_acked:
            send = connection.send_side
            if diff(segment.seq, send.snd_una) > send.snd_wnd:
                self._fail("the SEQ of an empty segment is beyond the peer's window")

    def _next_event(self) -> float | None:
        due = [timeout for stack in self.stacks.values() if (timeout := stack.next_timeout()) is not None]
        if self._link:
            due.append(self._link[0][0])
        return min(due, default=None)

    def _arrive(self) -> None:
        while self._link and self._link[0][0] <= self.now + PRECISION:
            _, _, receiver, datagram = heappop(self._link)
            sender = "server" if receiver == "client" else "client"
            self.stacks[receiver].receive_datagram(datagram, sender, self.now)
        for stack in self.stacks.values():
            due = stack.next_timeout()
            if due is not None and due <= self.now:
                stack.handle_timeout(self.now)

    def _fail(self, what: str) -> None:
        __tracebackhide__ = True
        pytest.fail(f"{what}\n" + "\n".join(f"    {line}" for line in self.trace[-80:]))
