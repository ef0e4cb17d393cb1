"""Deadlines: one array per connection, one queue per stack.

All timers of a connection live side by side, so that none displaces another; the stack has one deadline.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING, Final

from utcp._compiled import mypyc_attr

if TYPE_CHECKING:
    from utcp.tcp.time_wait import ConnectionKey

RETRANSMIT: Final = 0
"""RFC 6298: the oldest octet in flight (SYN, data or FIN) was not acknowledged in time."""
PERSIST: Final = 1
"""RFC 9293 3.8.6.1: there is something to send, nothing in flight, and no window to send it into."""
DELAYED_ACK: Final = 2
KEEPALIVE: Final = 3
FIN_WAIT_2: Final = 4
USER_TIMEOUT: Final = 5
LINGER: Final = 6
"""The application has closed, and our FIN must be acknowledged by then (SO_LINGER, `Config.orphan_timeout`)."""
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


@mypyc_attr(acyclic=True)
class Timers:
    """When each timer of one connection is due; `inf` when it is off. It is also the connection's place in the queue,
    and names the connection by its key: so the queue keeps no connection that has left."""

    __slots__ = ("deadlines", "due", "entry", "key", "queued", "running")

    def __init__(self, key: ConnectionKey) -> None:
        self.key = key
        self.deadlines = [inf] * _COUNT
        self.running = 0
        """A bit for each timer that is on: most are off, most of the time."""
        self.due = inf
        """No timer is due before this: the earliest deadline, or one that has been stopped or moved since."""
        self.queued = inf
        """The deadline by which the queue looks at the connection; `inf`: not at all."""
        self.entry = 0
        """Which of the queue's entries that is."""

    def set(self, timer: int, deadline: float) -> None:
        """Turn it on, or off with a deadline of `inf`."""
        if deadline == inf:
            self.stop(timer)
            return
        self.running |= 1 << timer
        self.deadlines[timer] = deadline
        if deadline < self.due:
            self.due = deadline

    def stop(self, timer: int) -> None:
        if self.running >> timer & 1:
            self.running ^= 1 << timer
            self.deadlines[timer] = inf

    def is_set(self, timer: int) -> bool:
        return self.running >> timer & 1 == 1

    def stop_all(self) -> None:
        if self.running:
            self.running = 0
            self.deadlines = [inf] * _COUNT
        self.due = inf

    def next(self) -> float:
        """The earliest deadline, `inf` when every timer is off."""
        self.due = min(self.deadlines) if self.running else inf
        return self.due

    def take_expired(self, now: float) -> list[int]:
        """The timers that are due, turned off."""
        expired = [timer for timer, deadline in enumerate(self.deadlines) if deadline <= now]
        for timer in expired:
            self.stop(timer)
        return expired


class TimerQueue:
    """The connections of a stack by their earliest deadline.

    A deadline that moves later (as with every ACK) touches nothing here: the entry comes up early and is put back.
    """

    __slots__ = ("_dead", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timers]] = []
        self._order = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def schedule(self, timers: Timers) -> None:
        """See that the queue looks at a connection by its earliest deadline."""
        deadline = timers.due
        if deadline < timers.queued and timers.running:
            self._order += 1
            heapq.heappush(self._heap, (deadline, self._order, timers))  # first: if it fails, the old entry stands
            was_queued = timers.queued != inf
            timers.queued = deadline
            timers.entry = self._order
            if was_queued:
                self._dead += 1
                self._sweep()

    def remove(self, timers: Timers) -> None:
        """Forget the connection."""
        if timers.queued == inf:
            return
        timers.queued = inf
        timers.entry = 0
        self._dead += 1
        self._sweep()

    def _sweep(self) -> None:
        """Drop the entries of connections that have left or moved, once they are most of all."""
        if self._dead > 64 and self._dead * 2 > len(self._heap):
            self._heap = [item for item in self._heap if item[1] == item[2].entry]
            heapq.heapify(self._heap)
            self._dead = 0

    def next(self) -> float:
        """The earliest deadline of all, exactly; `inf` when there is none."""
        while self._heap:
            deadline, order, timers = self._heap[0]
            if order == timers.entry and timers.next() <= deadline:
                return deadline
            if self._pop() is not None:
                self.schedule(timers)
        return inf

    def first(self) -> ConnectionKey | None:
        """The connection with the earliest deadline."""
        return None if self.next() == inf else self._heap[0][2].key

    def take_expired(self, now: float) -> list[Timers]:
        """Those of the connections with a timer that is due, in order of their deadlines."""
        expired: list[Timers] = []
        try:
            while self.next() <= now:
                expired.append(self._heap[0][2])
                self._pop()
        except BaseException:
            for timers in expired:
                self.schedule(timers)
            raise
        return expired

    def _pop(self) -> Timers | None:
        """Take the first entry out; None for one that was forgotten."""
        _, order, timers = heapq.heappop(self._heap)
        if order != timers.entry:
            self._dead -= 1
            return None
        timers.queued = inf
        timers.entry = 0
        return timers
