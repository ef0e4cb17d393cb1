"""Where a stack reports what it does: for logs, captures, ladders, tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection


class Observer:
    """Override what you want to see. Called in the middle of protocol processing: look, note, return; call nothing.

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
        """As many handshakes as `Config.syn_backlog` are under way at the listener: a SYN of `remote` was answered by a
        `cookie`, or dropped."""

    def ports_exhausted(self, remote: Remote, remote_port: int, now: float) -> None:
        """An open to there failed: every ephemeral port is in use."""

    def malformed(self, remote: Remote, reason: str, now: float) -> None:
        """A datagram was dropped because it is no TCP segment."""

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        """The TIME_WAIT record for these ports is gone: 2 MSL passed, or a newer connection took its place."""
