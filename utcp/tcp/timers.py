"""Deadlines: one array per connection, one queue per stack.

All timers of a connection live side by side, so that none displaces another; the stack has one deadline.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

RETRANSMIT: Final = 0
"""RFC 6298: the oldest octet in flight (SYN, data or FIN) was not acknowledged in time."""
PERSIST: Final = 1
"""RFC 9293 3.8.6.1: there is something to send, nothing in flight, and no window to send it into."""
DELAYED_ACK: Final = 2
KEEPALIVE: Final = 3
FIN_WAIT_2: Final = 4
USER_TIMEOUT: Final = 5
LINGER: Final = 6
PROBE: Final = 7
"""RFC 8985 7: no ACK has come for the end of a flight; its probe goes before the retransmission timeout."""
REORDER: Final = 8
"""RFC 8985 6: what was overtaken is lost if it does not come by then."""
PACING: Final = 9
"""The next train may leave."""

_COUNT: Final = 10

NAMES: Final = (
    "retransmit",
    "persist",
    "delayed_ack",
    "keepalive",
    "fin_wait_2",
    "user_timeout",
    "linger",
    "probe",
    "reorder",
    "pacing",
)


class Timers:
    """When each timer of one connection is due; `inf` when it is off."""

    __slots__ = ("deadlines", "entry")

    def __init__(self) -> None:
        self.deadlines = [inf] * _COUNT
        self.entry: _Entry | None = None

    def set(self, timer: int, deadline: float) -> None:
        self.deadlines[timer] = deadline

    def stop(self, timer: int) -> None:
        self.deadlines[timer] = inf

    def is_set(self, timer: int) -> bool:
        return self.deadlines[timer] != inf

    def stop_all(self) -> None:
        self.deadlines = [inf] * _COUNT

    def next(self) -> float:
        """The earliest deadline, `inf` when every timer is off."""
        return min(self.deadlines)

    def take_expired(self, now: float) -> list[int]:
        """The timers that are due, turned off."""
        expired = [timer for timer, deadline in enumerate(self.deadlines) if deadline <= now]
        for timer in expired:
            self.deadlines[timer] = inf
        return expired


class _Entry:
    """A connection's place in the queue; emptied when the connection leaves, so that the queue holds nothing dead."""

    __slots__ = ("connection", "deadline")

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection: Connection | None = connection
        self.deadline = deadline


class TimerQueue:
    """The connections of a stack by their earliest deadline.

    A deadline that moves later (as with every ACK) touches nothing here: the entry comes up early and is put back.
    """

    __slots__ = ("_dead", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Entry]] = []
        self._order = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def schedule(self, connection: Connection) -> None:
        """Note the connection's earliest deadline, if it is earlier than the one noted."""
        deadline = min(connection.timers.deadlines)
        entry = connection.timers.entry
        if entry is not None:
            if entry.deadline <= deadline:
                return
            self.remove(connection)
        if deadline != inf:
            self._push(connection, deadline)

    def remove(self, connection: Connection) -> None:
        """Forget the connection."""
        entry = connection.timers.entry
        if entry is None:
            return
        entry.connection = None
        connection.timers.entry = None
        self._dead += 1
        if self._dead > 64 and self._dead * 2 > len(self._heap):
            self._heap = [item for item in self._heap if item[2].connection is not None]
            heapq.heapify(self._heap)
            self._dead = 0

    def next(self) -> float:
        """The earliest deadline of all, exactly; `inf` when there is none."""
        while self._heap:
            deadline, _, entry = self._heap[0]
            connection = entry.connection
            if connection is not None and connection.timers.next() <= deadline:
                return deadline
            self._pop()
            if connection is not None:
                self.schedule(connection)
        return inf

    def take_expired(self, now: float) -> list[Connection]:
        """The connections with a timer that is due, in order of their deadlines."""
        expired = []
        while self.next() <= now:
            connection = self._pop()
            if connection is not None:
                expired.append(connection)
        return expired

    def _push(self, connection: Connection, deadline: float) -> None:
        self._order += 1
        connection.timers.entry = entry = _Entry(connection, deadline)
        heapq.heappush(self._heap, (deadline, self._order, entry))

    def _pop(self) -> Connection | None:
        entry = heapq.heappop(self._heap)[2]
        connection = entry.connection
        if connection is None:
            self._dead -= 1
        else:
            connection.timers.entry = None
        return connection
