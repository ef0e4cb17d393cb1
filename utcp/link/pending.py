"""What waits until a socket or device takes more."""

import errno
from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

from utcp.link.base import LinkCounters

Item = TypeVar("Item")

NO_ROOM: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
"""Errors of a send whose socket has a full buffer. There will be room."""

NO_BUFFERS: Final = frozenset({errno.ENOBUFS, errno.ENOMEM})
"""Errors of a send that has lost its datagram: a queue of the device or of the neighbour was full, or memory was short.
Nothing can be waited for, because the socket is writable all the time."""

MAX_PENDING: Final = 16 * 1024 * 1024
"""Octets that wait, each item charged PENDING_OVERHEAD on top of its payload."""

PENDING_OVERHEAD: Final = 512

PENDING_LIFETIME: Final = 0.2
"""Seconds after which an item that finds no room is dropped. That is the shortest retransmission timeout
(`Config.rto_min`): TCP may have sent its data again already. A longer queue would also delay the segments of all
connections behind it."""


class _Waiting(NamedTuple, Generic[Item]):
    item: Item
    octets: int
    datagrams: int
    since: float


class Pending(Generic[Item]):
    """A queue that drops items as a device's queue does: those that find it full, and those that have waited for too
    long. Both are counted (`LinkCounters.datagrams_dropped`). TCP takes either for a sign of congestion, and sends the
    data again."""

    __slots__ = ("_counters", "_waiting", "octets")

    def __init__(self, counters: LinkCounters) -> None:
        self._counters = counters
        self._waiting: deque[_Waiting[Item]] = deque()
        self.octets = 0
        """Those of all items, with their overhead."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item, octets: int, datagrams: int, now: float) -> None:
        """Put `item` at the end, unless there is no room for it."""
        if self.octets >= MAX_PENDING:
            self._counters.datagrams_dropped += datagrams
            return
        self._waiting.append(_Waiting(item, octets, datagrams, now))
        self.octets += octets + PENDING_OVERHEAD

    def first(self) -> Item | None:
        """Return the first item, or None. It stays in the queue."""
        return self._waiting[0].item if self._waiting else None

    def drop_stale(self, now: float) -> None:
        """Drop the items that are too old, because the first one has found no room at `now`.

        Age alone is no reason: when the loop was blocked, there may be room for all of them.
        """
        while self._waiting and now - self._waiting[0].since > PENDING_LIFETIME:
            self._counters.datagrams_dropped += self._waiting[0].datagrams
            self.remove_first()

    def remove_first(self) -> None:
        """Take the first item out."""
        self.octets -= self._waiting.popleft().octets + PENDING_OVERHEAD

    def shorten_first(self, rest: Item, octets: int, datagrams: int) -> None:
        """A part of the first item has left: `rest` takes its place."""
        first = self._waiting[0]
        self._waiting[0] = _Waiting(rest, octets, datagrams, first.since)
        self.octets -= first.octets - octets

    def clear(self) -> None:
        """Drop everything, uncounted."""
        self._waiting.clear()
        self.octets = 0
