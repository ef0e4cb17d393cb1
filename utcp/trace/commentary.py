"""Comments for a capture on segments of a stack: state, timer, windows."""

from __future__ import annotations

from math import inf
from struct import Struct
from typing import TYPE_CHECKING, Final

from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.state import CLOSED, NAMES, SYN_SENT, TIME_WAIT
from utcp.tcp.timers import NAMES as TIMER_NAMES
from utcp.tcp.transmit import Buffer, Remote
from utcp.trace.annotation import Comment, seconds
from utcp.wire import Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection
    from utcp.tcp.stack import Stack
    from utcp.tcp.time_wait import ConnectionKey

_PORTS_AND_SEQ: Final = Struct("!HHI")

FLUSH: Final = 0.05
"""Seconds within which segments caused by a timer are sent, because they leave in the next turn of the loop. Later
segments are caused by the application or by the peer."""


class _Expiry:
    """A timer's expiry, and the segments sent because of it."""

    __slots__ = ("at", "left_at", "timer")

    def __init__(self, timer: int, at: float) -> None:
        self.timer = timer
        self.at = at
        self.left_at: float | None = None
        """The time at which the first of them was sent; the others are sent at the same time."""


class Commentary:
    """Comments on the segments of one stack, from the events that the stack reports to its observers.

    `role` is the name of this end. If it is empty, the name is "client" or "server", depending on which end opened the
    connection.
    """

    def __init__(self, stack: Stack, role: str = "") -> None:
        self._stack = stack
        self._role = role
        self._expiries: dict[ConnectionKey, _Expiry] = {}
        self._waiting: dict[ConnectionKey, str] = {}
        """Name of the end, by connection in TIME_WAIT."""
        self._again: tuple[ConnectionKey, int] | None = None

    # ------------------------------------------------------------------ events for observers

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        self._expiries[connection.key] = _Expiry(timer, now)

    def retransmitted(self, connection: Connection, seq: int) -> None:
        self._again = (connection.key, seq)

    def state_changed(self, connection: Connection, after: int) -> None:
        if after == TIME_WAIT:
            self._waiting[connection.key] = self._name(connection)
        elif after == CLOSED:
            self._expiries.pop(connection.key, None)
            self._waiting.pop(connection.key, None)

    def time_wait_ended(self, key: ConnectionKey) -> None:
        self._waiting.pop(key, None)

    # ------------------------------------------------------------------ comments

    def sent(self, remote: Remote, header: Buffer, now: float) -> Comment:
        """Return the comment on a segment to be sent; `header` has its octets, or the first of them."""
        local_port, remote_port, seq = _PORTS_AND_SEQ.unpack_from(header)
        key = (remote, remote_port, local_port)
        comment = self._met(key, "out", now)
        expiry = self._expiries.get(key)
        if expiry is not None:
            if expiry.left_at is None and now - expiry.at <= FLUSH:
                expiry.left_at = now
            if expiry.left_at == now:
                comment["timer"] = TIMER_NAMES[expiry.timer]
            else:
                del self._expiries[key]
        if self._again == (key, seq):
            comment["retransmission"] = True
            self._again = None
        return comment

    def received(self, remote: Remote, segment: Segment, now: float) -> Comment:
        """Return the comment on a received segment, before the stack processes it."""
        return self._met((remote, segment.src_port, segment.dst_port), "in", now)

    def _met(self, key: ConnectionKey, direction: str, now: float) -> Comment:
        comment: Comment = {"direction": direction}
        stack = self._stack
        connection = stack.connections.get(key)
        if connection is not None:
            self._describe(connection, comment, now)
            return comment
        role = self._role
        record = stack.time_wait.get(key)
        if record is not None:
            role = self._waiting.get(key, role)
            comment["state"] = "TIME_WAIT"
            comment["rcv_wnd"] = record.rcv_wnd
            comment["running"] = f"time_wait:{seconds(max(0.0, record.expires - now))}"
        elif key[2] in stack.listeners:
            comment["state"] = "LISTEN"
            role = role or "server"
        else:
            comment["state"] = "CLOSED"
        if role:
            comment["role"] = role
        return comment

    def _name(self, connection: Connection) -> str:
        return self._role or ("server" if connection.passive else "client")

    def _describe(self, connection: Connection, comment: Comment, now: float) -> None:
        congestion, rtt = connection.congestion, connection.rtt
        comment["role"] = self._name(connection)
        comment["state"] = NAMES[connection.state]
        if connection.retransmits:
            comment["retransmits"] = connection.retransmits
        comment["cwnd"] = connection.recovery.window
        if congestion.ssthresh < UNLIMITED:
            comment["ssthresh"] = congestion.ssthresh
        if connection.state != SYN_SENT:  # before, the peer's window and the start of the local window are unknown
            comment["snd_wnd"] = connection.send_side.snd_wnd
            comment["rcv_wnd"] = connection.receive_side.window
        comment["in_flight"] = connection.recovery.in_flight
        if rtt.srtt is not None:
            comment["srtt"] = rtt.srtt
        comment["rto"] = rtt.rto
        running = [
            f"{name}:{seconds(max(0.0, deadline - now))}"
            for name, deadline in zip(TIMER_NAMES, connection.deadlines(), strict=True)
            if deadline != inf
        ]
        if running:
            comment["running"] = ",".join(running)
