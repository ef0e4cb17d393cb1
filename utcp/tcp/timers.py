"""The timers of a connection, by number, and the queue of a stack's connections by their earliest deadline.

Each timer is a deadline that belongs to a part of the connection: `Tcb.deadlines` gathers them. They live side by side,
so that none displaces another; the stack has one deadline.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import Final

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
"""RFC 8985 7: the end of a flight is unacknowledged. A tail loss probe leaves, before the retransmission timeout."""
REORDER: Final = 8
"""RFC 8985 6: a segment that later ones have overtaken is lost if it is not acknowledged by then."""
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
"""Dead entries that the queue does not mind."""


class Timed:
    """What a timer queue looks at."""

    __slots__ = ()

    def next_deadline(self) -> float:
        """When its first timer expires, seconds; `inf`: none runs."""
        raise NotImplementedError


class Place:
    """The place of a connection in the timer queue. Old entries of the queue hold it, and not the connection."""

    __slots__ = ("entry", "queued", "subject")

    def __init__(self, subject: Timed) -> None:
        self.subject: Timed | None = subject
        """The connection; None once it has left the queue for good."""
        self.queued = inf
        """The deadline by which the queue looks at the connection; `inf`: not at all."""
        self.entry = 0
        """Which of the queue's entries that is."""


class TimerQueue:
    """The connections of a stack by their earliest deadline.

    A deadline that moves later (as with every ACK) touches nothing here: the entry comes up early and is put back.
    """

    __slots__ = ("_dead", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Place]] = []
        self._order = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def schedule(self, place: Place, deadline: float) -> None:
        """See that the queue looks at a connection by `deadline`."""
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
        """Forget the connection for good."""
        place.subject = None
        if place.queued != inf:
            place.queued = inf
            place.entry = 0
            self._dead += 1
            if self._dead > _FEW:
                self._sweep()

    def _sweep(self) -> None:
        """Drop the entries of connections that have left or moved, once they are most of all."""
        if self._dead * 2 > len(self._heap):
            heap = [item for item in self._heap if item[1] == item[2].entry]
            heapq.heapify(heap)
            self._heap = heap
            self._dead = 0

    def wakeup(self) -> float:
        """A time by which to ask for `next`: not after the earliest deadline, and cheaper to know; `inf` for none."""
        return self._heap[0][0] if self._heap else inf

    def next(self) -> float:
        """The earliest deadline of all, exactly; `inf` when there is none."""
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
        """The connection with the earliest deadline."""
        return None if self.next() == inf else self._heap[0][2].subject

    def take_expired(self, now: float) -> list[Place]:
        """Those of the connections with a timer that is due, in order of their deadlines."""
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
        """See that the queue looks at these connections again, which `take_expired` has returned."""
        for place in expired:
            if place.subject is not None:
                self.schedule(place, place.subject.next_deadline())

    def _move_first(self, place: Place, deadline: float) -> None:
        """Give the first entry, which is that of `place`, a later deadline. If that raises, the old entry stands."""
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
