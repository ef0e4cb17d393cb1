"""The queue of items that wait for room in a socket or device."""

import errno
from collections import deque
from typing import Final, Generic, NamedTuple, TypeVar

from utcp.link.base import LinkCounters

Item = TypeVar("Item")

NO_ROOM: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
"""Errors of a send whose socket has a full buffer, which will have room again."""

NO_BUFFERS: Final = frozenset({errno.ENOBUFS, errno.ENOMEM})
"""Errors of a send whose datagram is lost, because a queue of the device or neighbour was full, or memory was short.
Waiting is not possible, because the socket is always writable then."""

MAX_PENDING: Final = 16 * 1024 * 1024
"""Maximum size of the queue, octets. Each item counts PENDING_OVERHEAD in addition to its payload."""

PENDING_OVERHEAD: Final = 512

PENDING_LIFETIME: Final = 0.2
"""Seconds after which an item without room is dropped. This is the shortest retransmission timeout (`Config.rto_min`),
so TCP may already have retransmitted its data. A longer time would delay the segments of all connections behind it."""


class _Waiting(NamedTuple, Generic[Item]):
    item: Item
    octets: int
    datagrams: int
    since: float


class Pending(Generic[Item]):
    """A queue that drops items when it is full, and items that have waited too long, like the queue of a device. Both
    are counted (`LinkCounters.datagrams_dropped`). To TCP both are congestion losses, and it retransmits the data."""

    __slots__ = ("_counters", "octets", "waiting")

    def __init__(self, counters: LinkCounters) -> None:
        self._counters = counters
        self.waiting: Final[deque[_Waiting[Item]]] = deque()
        self.octets = 0
        """Size of all items with their overhead, octets."""

    def add(self, item: Item, octets: int, datagrams: int, now: float) -> None:
        """Append `item`, or drop it if the queue is full."""
        if self.octets >= MAX_PENDING:
            self._counters.datagrams_dropped += datagrams
            return
        self.waiting.append(_Waiting(item, octets, datagrams, now))
        self.octets += octets + PENDING_OVERHEAD

    def first(self) -> Item | None:
        """Return the first item, or None. It stays in the queue."""
        return self.waiting[0].item if self.waiting else None

    def drop_stale(self, now: float) -> None:
        """Drop the items that are too old, after the first one has found no room at `now`.

        Age alone is no reason to drop items, because after a blocked loop there may be room for all of them.
        """
        while self.waiting and now - self.waiting[0].since > PENDING_LIFETIME:
            self._counters.datagrams_dropped += self.waiting[0].datagrams
            self.remove_first()

    def remove_first(self) -> None:
        """Remove the first item."""
        self.octets -= self.waiting.popleft().octets + PENDING_OVERHEAD

    def shorten_first(self, rest: Item, octets: int, datagrams: int) -> None:
        """Replace the first item, of which a part is sent, by `rest`."""
        first = self.waiting[0]
        self.waiting[0] = _Waiting(rest, octets, datagrams, first.since)
        self.octets -= first.octets - octets

    def clear(self) -> None:
        """Drop all items without counting them."""
        self.waiting.clear()
        self.octets = 0
