"""Several observers where the stack takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utcp.tcp.observer import Observer
from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection


class Tee(Observer):
    """Calls each of `observers`, in the order given, for everything that it is called for.

    It sees segments if one of them does.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self.sees_segments = any(observer.sees_segments for observer in observers)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        for observer in self._observers:
            observer.state_changed(connection, before, after, now)

    def connection_ended(self, connection: Connection, now: float) -> None:
        for observer in self._observers:
            observer.connection_ended(connection, now)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        for observer in self._observers:
            observer.segment_received(remote, segment, now)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        for observer in self._observers:
            observer.segment_sent(remote, buffers, now)

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        for observer in self._observers:
            observer.retransmitted(connection, seq, length, now)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        for observer in self._observers:
            observer.timer_expired(connection, timer, now)

    def mss_changed(self, connection: Connection, before: int, now: float) -> None:
        for observer in self._observers:
            observer.mss_changed(connection, before, now)

    def path_unreachable(self, connection: Connection, error: OSError, now: float) -> None:
        for observer in self._observers:
            observer.path_unreachable(connection, error, now)

    def listen_overflowed(self, local_port: int, remote: Remote, now: float) -> None:
        for observer in self._observers:
            observer.listen_overflowed(local_port, remote, now)

    def syn_flooded(self, local_port: int, remote: Remote, cookie: bool, now: float) -> None:
        for observer in self._observers:
            observer.syn_flooded(local_port, remote, cookie, now)

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        for observer in self._observers:
            observer.ports_exhausted(remote, remote_port, now)

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        for observer in self._observers:
            observer.malformed(remote, reason, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        for observer in self._observers:
            observer.time_wait_ended(remote, remote_port, local_port, now)
