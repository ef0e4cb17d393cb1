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
"""Number of dead entries up to which the queue is not swept."""


class Timed:
    """An object with deadlines that a timer queue can hold."""

    __slots__ = ()

    def next_deadline(self) -> float:
        """Return when the first timer expires, seconds; `inf`: none runs."""
        raise NotImplementedError


class Place:
    """The place of a connection in the timer queue. Entries refer to the place, so that a dead entry does not keep the
    connection in memory."""

    __slots__ = ("entry", "queued", "subject")

    def __init__(self, subject: Timed) -> None:
        self.subject: Timed | None = subject
        """The connection; None after `TimerQueue.remove`."""
        self.queued = inf
        """The deadline of the connection's entry in the queue, seconds; `inf`: no entry."""
        self.entry = 0
        """The number of that entry; 0: none."""


class TimerQueue:
    """The connections of a stack by their earliest deadline.

    A deadline that moves later, as with every ACK, does not change the queue. When the entry expires too early, it is
    queued again with the true deadline.
    """

    __slots__ = ("_dead", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Place]] = []
        self._order = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def schedule(self, place: Place, deadline: float) -> None:
        """Queue a connection, unless it has an entry that is not later than `deadline`."""
        if deadline < place.queued and place.subject is not None:
            self._order += 1
            try:
                heapq.heappush(self._heap, (deadline, self._order, place))
            except BaseException:
                self._restore(place)
                raise
            was_queued = place.queued != inf
            place.queued = deadline
            place.entry = self._order
            if was_queued:
                self._dead += 1
                if self._dead > _FEW:
                    self._sweep()

    def remove(self, place: Place) -> None:
        """Remove a connection permanently."""
        place.subject = None
        if place.queued != inf:
            place.queued = inf
            place.entry = 0
            self._dead += 1
            if self._dead > _FEW:
                self._sweep()

    def _sweep(self) -> None:
        """Drop dead entries once they are more than half of all."""
        if self._dead * 2 > len(self._heap):
            heap = [item for item in self._heap if item[1] == item[2].entry]
            heapq.heapify(heap)
            self._heap = heap
            self._dead = 0

    def wakeup(self) -> float:
        """Return a time not after the earliest deadline; `inf`: none. It is cheaper than `next`."""
        return self._heap[0][0] if self._heap else inf

    def next(self) -> float:
        """Return the exact earliest deadline; `inf`: none."""
        while self._heap:
            deadline, order, place = self._heap[0]
            if order == place.entry and place.subject is not None:
                earliest = place.subject.next_deadline()
                if earliest <= deadline:
                    return deadline
                self._move_first(place, earliest)
            else:
                self._pop()
        return inf

    def first(self) -> Timed | None:
        """Return the connection with the earliest deadline; None: no timer runs."""
        return None if self.next() == inf else self._heap[0][2].subject

    def take_expired(self, now: float) -> list[Place]:
        """Remove and return the connections with an expired timer, in order of their deadlines."""
        expired: list[Place] = []
        try:
            while self.next() <= now:
                expired.append(self._heap[0][2])
                self._pop()
        except BaseException:
            self.put_back(expired)
            raise
        return expired

    def put_back(self, expired: list[Place]) -> None:
        """Queue the connections again that `take_expired` returned."""
        for place in expired:
            if place.subject is not None:
                self.schedule(place, place.subject.next_deadline())

    def _move_first(self, place: Place, deadline: float) -> None:
        """Move the first entry, which belongs to `place`, to a later deadline. If this raises, the old entry stays."""
        if deadline == inf:
            self._pop()
        else:
            self._order += 1
            try:
                heapq.heapreplace(self._heap, (deadline, self._order, place))
            except BaseException:
                self._restore(place)
                raise
            place.queued = deadline
            place.entry = self._order

    def _restore(self, place: Place) -> None:
        """See that the old entry of `place` stands after an exception, and no new one. A signal handler may have raised
        it after the heap has changed."""
        heap = [item for item in self._heap if item[1] == item[2].entry]
        if place.queued != inf and all(item[2] is not place for item in heap):
            heap.append((place.queued, place.entry, place))
        heapq.heapify(heap)
        self._heap = heap
        self._dead = 0

    def _pop(self) -> None:
        """Take the first entry out. If that raises, it is still there."""
        _, order, place = self._heap[0]
        try:
            heapq.heappop(self._heap)
        except BaseException:
            self._restore(place)
            raise
        if order == place.entry:
            place.queued = inf
            place.entry = 0
        else:
            self._dead -= 1
