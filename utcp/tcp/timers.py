"""The numbers of a connection's timers, and the queue of a stack's connections by earliest deadline.

Each timer is a deadline in a part of the connection, and `Tcb.deadlines` collects them. The timers of a connection are
independent of each other.
"""

from __future__ import annotations

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


class Timed:
    """A connection, as a timer queue sees it: an object with deadlines, and its place in the queue."""

    __slots__ = ("entry", "place", "queued")

    queued: float
    """The deadline in the queue, seconds; `inf`: not in the queue, as at first; `-inf`: removed permanently."""
    entry: int
    """The number of the entry in the queue, in the order of `TimerQueue.schedule`; 0 at first."""
    place: int
    """Its index in the queue's heap, if it is in the queue; 0 at first."""

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

    The queue is a binary heap of the connections, ordered by deadline, and by entry number if deadlines are equal. Each
    connection has its index, so that it leaves the heap without a search, and the heap takes eight octets for each.
    `heapq` does not keep indices. Most connections leave from a place near the bottom, where one or two comparisons put
    the heap in order again.
    """

    __slots__ = ("_disturbed", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[Timed] = []
        self._order = 0
        self._disturbed = False
        """True while an entry is being moved, and after an exception in its move: the heap is complete, but perhaps not
        in order."""

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, subject: Timed, deadline: float, *, later: bool = False) -> None:
        """Queue a connection with `deadline`. `later`: even if the connection has an earlier entry."""
        before = subject.queued
        if deadline >= before and not later:
            return
        if before == inf:
            subject.place = len(self._heap)
            self._heap += [subject]  # no call: after one, a signal handler could raise an exception
        self._order += 1
        self._disturbed = True
        subject.queued = deadline
        subject.entry = self._order
        self._move(subject)

    def remove(self, subject: Timed) -> None:
        """Remove a connection permanently."""
        if -inf < subject.queued < inf:
            self._take_out(subject)
        subject.queued = -inf

    def _take_out(self, subject: Timed) -> None:
        """Remove a connection that is in the heap. The last one takes its place."""
        heap = self._heap
        last, place = heap[-1], subject.place
        self._disturbed = True
        heap[place] = last
        last.place = place
        del heap[-1]  # no call, as in `schedule`
        subject.queued = inf
        if last is subject:
            self._disturbed = False
        else:
            self._move(last)

    def _move(self, subject: Timed) -> None:
        """Move a connection up or down the heap to where it belongs. All others are in order."""
        heap, queued, entry, place = self._heap, subject.queued, subject.entry, subject.place
        while place:
            above = (place - 1) >> 1
            other = heap[above]
            if other.queued < queued or (other.queued == queued and other.entry < entry):
                break
            heap[place] = other
            heap[above] = subject
            other.place = place
            subject.place = place = above
        size = len(heap)
        below = 2 * place + 1
        while below < size:
            other = heap[below]
            if below + 1 < size:
                right = heap[below + 1]
                if right.queued < other.queued or (right.queued == other.queued and right.entry < other.entry):
                    other = right
                    below += 1
            if queued < other.queued or (queued == other.queued and entry < other.entry):
                break
            heap[place] = other
            heap[below] = subject
            other.place = place
            subject.place = place = below
            below = 2 * place + 1
        self._disturbed = False

    def _put_in_order(self) -> None:
        """Order the heap again after an exception in the move of an entry."""
        heap = self._heap
        heap.sort(key=_by_deadline)
        for place in range(len(heap)):
            heap[place].place = place
        self._disturbed = False

    def wakeup(self) -> float:
        """Return a time not after the earliest deadline; `inf`: none. It is cheaper than `next`."""
        if self._disturbed:
            return self.next()
        return self._heap[0].queued if self._heap else inf

    def next(self) -> float:
        """Return the exact earliest deadline; `inf`: none."""
        if self._disturbed:
            self._put_in_order()
        heap = self._heap
        while heap:
            first = heap[0]
            earliest = first.next_deadline()
            if earliest <= first.queued:
                return first.queued
            if earliest == inf:
                self._take_out(first)
            else:
                self.schedule(first, earliest, later=True)
        return inf

    def first(self) -> Timed | None:
        """Return the connection with the earliest deadline; None: no timer runs."""
        return None if self.next() == inf else self._heap[0]

    def take_expired(self, now: float) -> list[Timed]:
        """Remove and return the connections with an expired timer, in order of their deadlines."""
        expired: list[Timed] = []
        try:
            while self.next() <= now:
                subject = self._heap[0]
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


def _by_deadline(subject: Timed) -> tuple[float, int]:
    return subject.queued, subject.entry
