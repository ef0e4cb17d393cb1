"""The interface through which a stack reports its actions to logs, captures, ladders and tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection


class Observer:
    """Base class of observers. Override the methods of interest.

    The stack calls them in the middle of protocol processing, so a method must not call the stack or a connection. An
    observer that raises an exception is not called again, and the stack continues (`Stack.failures`). `now` is the
    stack's time in seconds.

    There are two kinds of methods:

    * Most methods report an event, such as a new state, a retransmission or a timer. They cost one call for each event,
      and nothing for other segments.
    * `segment_received` and `segment_sent` are the segment tap. If an observer overrides one of them, the stack splits
      each received train (many segments that the kernel delivers as one datagram), decodes each segment on its own, and
      calls the observer for it. Receiving then costs four to five times as much.
    """

    sees_segments: bool = False
    """True if the stack calls `segment_received` and `segment_sent`. Set for subclasses that override either."""
    sees_routine: bool = True
    """False if the stack reports trouble only, and not what happens on every good day: changes of state, ends without
    an error, retransmissions, expired timers, changes of the MSS, ends of TIME_WAIT, and malformed datagrams. A
    connection without trouble then costs no call. An observer must not change it afterwards."""

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        cls.sees_segments = (
            cls.segment_received is not Observer.segment_received or cls.segment_sent is not Observer.segment_sent
        )

    # ------------------------------------------------------------------ the segment tap

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        """Called for each well-formed segment that arrives, before it is processed."""

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        """Called for each segment that is sent. The bytes of the segment are the joined `buffers`."""

    # ------------------------------------------------------------------ events

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        """Called when the state of `connection` has changed (`utcp.tcp.state`)."""

    def connection_ended(self, connection: Connection, now: float) -> None:
        """Called once when `connection` is over for its user. `connection.error` is the reason; None: all data was
        delivered, or the user aborted."""

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        """Called when `length` octets of sequence space from `seq` on are retransmitted."""

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        """Called when a timer of `connection` (`utcp.tcp.timers`) has expired, before it is handled."""

    def mss_changed(self, connection: Connection, before: int, now: float) -> None:
        """Called when the effective send MSS has changed from `before` to `connection.mss` octets because of an ICMP
        message, a path MTU probe, or timeouts of large segments."""

    def path_unreachable(self, connection: Connection, error: OSError, now: float) -> None:
        """Called when the network reports the peer as unreachable. `connection` continues to retransmit."""

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        """Called when a handshake with `remote` was refused, because `backlog` connections of the listener wait to be
        accepted."""

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        """Called when a SYN of `remote` was answered with a `cookie`, or dropped, because `Config.syn_backlog`
        handshakes of the listener are under way, or memory is short."""

    def memory_pressed(self, used: int, limit: int, now: float) -> None:
        """Called when `used`, the memory in use, exceeds half of `limit`, in octets. From now on windows and buffers
        shrink; `utcp.tcp.memory` describes the further measures."""

    def limit_reached(self, limit: str, remote: Remote, now: float) -> None:
        """Called when a connection with `remote` was refused because of `limit`, the name of a Config field:
        `max_memory`, `max_connections` or `max_connections_per_remote`."""

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        """Called when an open failed, because every ephemeral port is in use towards this destination."""

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        """Called when a datagram was dropped, because it is not a TCP segment."""

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        """Called when a TIME_WAIT record was removed, because 2 MSL passed or a newer connection uses its ports."""


class Tee(Observer):
    """An observer that forwards each call to `observers`, in the given order. It sees segments and routine events if
    one of them does; then all of them get routine events.

    With `failed`, an observer that raises an Exception is removed, the other observers are still called, and
    `failed(observer, error)` is called. Without `failed`, the exception propagates. A stack calls all its observers
    through one Tee with `failed`.
    """

    def __init__(self, *observers: Observer, failed: Callable[[Observer, Exception], None] | None = None) -> None:
        self.observers: tuple[Observer, ...] = tuple(
            part for observer in observers for part in (observer.observers if type(observer) is Tee else (observer,))
        )
        self._failed = failed
        self.sees_segments = any(observer.sees_segments for observer in self.observers)
        self.sees_routine = any(observer.sees_routine for observer in self.observers)

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
