"""Where a stack reports what it does: for logs, captures, ladders, tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection


class Observer:
    """Override what you want to see. Called in the middle of protocol processing: look, note, return; call nothing.

    An observer that raises an exception is not called again, and the stack goes on (`Stack.failures`).

    `now` is the stack's time in seconds. There are two kinds of methods:

    * Most report events: a state, an end, a retransmission, a timer, trouble. They cost a call when the event happens,
      and received segments nothing.
    * `segment_received` and `segment_sent` are the segment tap. For an observer that overrides one of them the stack
      takes each received train (many segments that the kernel hands over as one) apart, decodes every segment by itself
      and calls the observer for each: receiving costs four to five times as much.
    """

    sees_segments: bool = False
    """True if the stack calls `segment_received` and `segment_sent`. Set for each subclass that overrides either."""

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        cls.sees_segments = (
            cls.segment_received is not Observer.segment_received or cls.segment_sent is not Observer.segment_sent
        )

    # ------------------------------------------------------------------ the segment tap

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        """A well-formed segment arrived, before anything was done about it."""

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        """A segment was handed to the link: these buffers, joined, are its bytes."""

    # ------------------------------------------------------------------ events

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        """`connection` moved between two states of `utcp.tcp.state`."""

    def connection_ended(self, connection: Connection, now: float) -> None:
        """It is over for its user; `connection.error` says why, None for a delivered close. Comes once."""

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        """`length` octets of sequence space from `seq` on go out again."""

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        """One of `connection`'s timers (`utcp.tcp.timers`) is due, and will be acted upon."""

    def mss_changed(self, connection: Connection, before: int, now: float) -> None:
        """The path of `connection` takes segments of another size (`connection.mss`) than `before`: an ICMP message, a
        probe of the path MTU, or timeouts of large segments have told."""

    def path_unreachable(self, connection: Connection, error: OSError, now: float) -> None:
        """The network says that the peer is out of reach; `connection` goes on trying."""

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        """A handshake with `remote` was not let in, because as many connections as the listener's `backlog` wait to be
        accepted."""

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        """As many handshakes as `Config.syn_backlog` are under way at the listener, or memory is short: a SYN of
        `remote` was answered by a `cookie`, or dropped."""

    def memory_pressed(self, used: int, limit: int, now: float) -> None:
        """`used` octets are in use, more than half of the `limit`. Windows and buffers shrink from now on, and more
        follows if that does not suffice (`utcp.tcp.memory`)."""

    def limit_reached(self, limit: str, remote: Remote, now: float) -> None:
        """A connection with `remote` was refused because of `limit`, the name of a field of Config: `max_memory`,
        `max_connections` or `max_connections_per_remote`."""

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        """An open to there failed: every ephemeral port is in use."""

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        """A datagram was dropped because it is no TCP segment."""

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        """The TIME_WAIT record for these ports is gone: 2 MSL passed, or a newer connection took its place."""


class Tee(Observer):
    """Calls each of `observers`, in the order given, for everything that it is called for.

    It sees segments if one of them does. A stack takes its observers, and calls them by a Tee of its own, which has
    `failed`: an observer that raises an Exception is then taken out, the others are called, and so is
    `failed(observer, error)`. Without `failed` the exception is the caller's.
    """

    def __init__(self, *observers: Observer, failed: Callable[[Observer, Exception], None] | None = None) -> None:
        self.observers: tuple[Observer, ...] = tuple(
            part for observer in observers for part in (observer.observers if type(observer) is Tee else (observer,))
        )
        self._failed = failed
        self.sees_segments = any(observer.sees_segments for observer in self.observers)

    def _tell(self, name: str, *arguments: object) -> None:
        for observer in self.observers:
            try:
                getattr(observer, name)(*arguments)
            except Exception as error:
                if self._failed is None:
                    raise
                self.observers = tuple(other for other in self.observers if other is not observer)
                self._failed(observer, error)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self._tell("segment_received", remote, segment, now)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self._tell("segment_sent", remote, buffers, now)

    def state_changed(self, connection: Any, before: int, after: int, now: float) -> None:
        self._tell("state_changed", connection, before, after, now)

    def connection_ended(self, connection: Any, now: float) -> None:
        self._tell("connection_ended", connection, now)

    def retransmitted(self, connection: Any, seq: int, length: int, now: float) -> None:
        self._tell("retransmitted", connection, seq, length, now)

    def timer_expired(self, connection: Any, timer: int, now: float) -> None:
        self._tell("timer_expired", connection, timer, now)

    def mss_changed(self, connection: Any, before: int, now: float) -> None:
        self._tell("mss_changed", connection, before, now)

    def path_unreachable(self, connection: Any, error: OSError, now: float) -> None:
        self._tell("path_unreachable", connection, error, now)

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        self._tell("listen_overflowed", local_port, remote, now)

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        self._tell("syn_flooded", local_port, remote, cookie, now)

    def memory_pressed(self, used: int, limit: int, now: float) -> None:
        self._tell("memory_pressed", used, limit, now)

    def limit_reached(self, limit: str, remote: Remote, now: float) -> None:
        self._tell("limit_reached", limit, remote, now)

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        self._tell("ports_exhausted", remote, remote_port, now)

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        self._tell("malformed", remote, reason, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self._tell("time_wait_ended", remote, remote_port, local_port, now)
