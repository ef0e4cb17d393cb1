"""What waits until a socket or device takes more."""

import errno
from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

from utcp.udp.base import LinkCounters

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
"""Seconds that an item waits. That is the shortest retransmission timeout (`Config.rto_min`): what is older may have
been sent again already. A longer queue would also delay the segments of all connections behind it."""


class _Waiting(NamedTuple, Generic[Item]):
    item: Item
    octets: int
    datagrams: int
    since: float


class Pending(Generic[Item]):
    """A queue that drops as a device's queue does: what finds it full, and what has waited for too long. Both are
    counted (`LinkCounters.datagrams_dropped`). TCP takes either for a sign of congestion, and sends it again."""

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

    def first(self, now: float) -> Item | None:
        """Drop what is too old, and return what is first then. It stays in the queue."""
        while self._waiting:
            first = self._waiting[0]
            if now - first.since <= PENDING_LIFETIME:
                return first.item
            self._counters.datagrams_dropped += first.datagrams
            self.remove_first()
        return None

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
