"""The numbers of a connection's timers, and the queue of a stack's connections by earliest deadline.

Each timer is a deadline in a part of the connection, and `Tcb.deadlines` collects them. The timers of a connection are
independent of each other.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import Final

RETRANSMIT: Final = 0
"""The oldest octet in flight (SYN, data or FIN) was not acknowledged in time (RFC 6298)."""
PERSIST: Final = 1
"""Data or a FIN waits, nothing is in flight, and the window is closed (RFC 9293 3.8.6.1)."""
DELAYED_ACK: Final = 2
KEEPALIVE: Final = 3
FIN_WAIT_2: Final = 4
USER_TIMEOUT: Final = 5
LINGER: Final = 6
"""Our FIN was not acknowledged in time after the user's close (SO_LINGER, `Config.orphan_timeout`)."""
PROBE: Final = 7
"""The end of a flight is unacknowledged. A tail loss probe leaves before the retransmission timeout (RFC 8985 7)."""
REORDER: Final = 8
"""The reordering window has passed, so that overdue segments are lost (RFC 8985 6)."""
PACING: Final = 9
"""The next train may leave."""

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


_FEW: Final = 64
"""Number of entries, beyond twice that of the connections, up to which the queue is not swept."""


class Timed:
    """A connection, as a timer queue sees it: an object with deadlines, and its place in the queue."""

    __slots__ = ("entry", "queued")

    queued: float
    """The deadline of the entry in the queue, seconds; `inf`: no entry, as at first; `-inf`: removed permanently."""
    entry: int
    """The number of that entry; 0 at first."""

    @property
    def removed(self) -> bool:
        """True after `TimerQueue.remove`."""
        return self.queued == -inf

    def next_deadline(self) -> float:
        """Return when the first timer expires, seconds; `inf`: none runs."""
        raise NotImplementedError


class TimerQueue:
    """The connections of a stack by their earliest deadline.

    A deadline that moves later, as with every ACK, does not change the queue. When the entry expires too early, it is
    queued again with the true deadline.

    An entry of the heap is a deadline and a number, and a table has the connection of each number. An entry whose
    number is not in the table is dead. So a connection leaves its entry without a search in the heap, and after an
    exception within the heap's functions nothing must be undone.
    """

    __slots__ = ("_heap", "_order", "_subjects")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._subjects: dict[int, Timed] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._subjects)

    def schedule(self, subject: Timed, deadline: float, *, later: bool = False) -> None:
        """Queue a connection with `deadline`. `later`: even if the connection has an earlier entry."""
        before = subject.queued
        if deadline >= before and not later:
            return
        self._order += 1
        heapq.heappush(self._heap, (deadline, self._order))
        if before != inf:  # its earlier entry is dead from now on
            del self._subjects[subject.entry]
        self._subjects[self._order] = subject
        subject.queued = deadline
        subject.entry = self._order
        if before != inf:
            self._sweep()

    def remove(self, subject: Timed) -> None:
        """Remove a connection permanently."""
        if subject.entry in self._subjects:
            del self._subjects[subject.entry]
        subject.queued = -inf
        self._sweep()

    def _take_out(self, subject: Timed) -> None:
        """Leave the entry of a connection dead, if it has one."""
        if subject.entry in self._subjects:
            del self._subjects[subject.entry]
            subject.queued = inf

    def _sweep(self) -> None:
        """Drop dead entries if they are many, and more than half of all."""
        if len(self._heap) > 2 * len(self._subjects) + _FEW:
            heap = [item for item in self._heap if item[1] in self._subjects]
            heapq.heapify(heap)
            self._heap = heap

    def wakeup(self) -> float:
        """Return a time not after the earliest deadline; `inf`: none. It is cheaper than `next`."""
        return self._heap[0][0] if self._heap else inf

    def next(self) -> float:
        """Return the exact earliest deadline; `inf`: none."""
        while self._heap:
            deadline, entry = self._heap[0]
            subject = self._subjects.get(entry)
            if subject is not None:
                earliest = subject.next_deadline()
                if earliest <= deadline:
                    return deadline
                if earliest == inf:
                    self._take_out(subject)
                else:
                    self.schedule(subject, earliest, later=True)
                continue  # the entry is dead
            heapq.heappop(self._heap)
        return inf

    def first(self) -> Timed | None:
        """Return the connection with the earliest deadline; None: no timer runs."""
        return None if self.next() == inf else self._subjects[self._heap[0][1]]

    def take_expired(self, now: float) -> list[Timed]:
        """Remove and return the connections with an expired timer, in order of their deadlines."""
        expired: list[Timed] = []
        try:
            while self.next() <= now:
                subject = self._subjects[self._heap[0][1]]
                expired.append(subject)
                self._take_out(subject)
        except BaseException:
            self.put_back(expired)
            raise
        return expired

    def put_back(self, expired: list[Timed]) -> None:
        """Queue the connections again that `take_expired` returned, except those removed since."""
        for subject in expired:
            self.schedule(subject, subject.next_deadline())
