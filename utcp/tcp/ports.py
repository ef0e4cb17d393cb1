"""The choice of an ephemeral port (RFC 6056 3.3.4, double-hash port selection)."""

import heapq
from collections.abc import Callable
from hashlib import blake2b
from math import inf
from typing import Final

from utcp.tcp.transmit import Remote

_TABLE_SIZE: Final = 256

_TRIES: Final = 32
"""Number of ports tried by hash. With nine tenths of the range in use, all tries fail for one open in 29; with half of
it in use, for one in 4 billion."""


class EphemeralPorts:
    """Selects ports of a range in an order that depends on the destination and cannot be predicted by an attacker."""

    __slots__ = ("_count", "_first", "_last", "_secret", "_table", "scarce")

    def __init__(self, first: int, last: int, secret: bytes) -> None:
        self._first = first
        self._count = last - first + 1
        self._secret = blake2b(secret, person=b"utcp ports").digest()
        self._last: tuple[tuple[Remote, int] | None, int, int] = (None, 0, 0)
        """The last destination, its offset and its slot, cached because most clients open many connections to one
        destination."""
        self.scarce: dict[tuple[Remote, int], list[tuple[float, int]]] = {}
        """The destinations towards which ports are scarce; `released` has no effect if there are none. For each, a heap
        of (time at which a port becomes free, port), for ports without a connection or listener. An entry may be
        outdated, so `free_at` is checked."""
        noise = b"".join(
            blake2b(self._secret, person=b"utcp table", salt=bytes((block,)), digest_size=64).digest()
            for block in range(_TABLE_SIZE // 32)
        )
        self._table = [noise[2 * i] << 8 | noise[2 * i + 1] for i in range(_TABLE_SIZE)]

    def choose(
        self, remote: Remote, remote_port: int, free_at: Callable[[int], float], now: float
    ) -> tuple[int | None, float | None]:
        """Return a free port and None, or None and the time at which TIME_WAIT frees the first port (None: it holds
        none).

        The average cost is constant, because the range is searched once when ports become scarce.

        Args:
            remote: the address of the peer.
            remote_port: the peer's TCP port.
            free_at: returns the time from which a port is free, 0 or a past time for a free one: when TIME_WAIT frees
                it, `inf` if a connection or listener uses it.
            now: the stack's time, seconds.
        """
        destination = (remote, remote_port)
        if self._last[0] != destination:
            digest = blake2b(repr(destination).encode(), digest_size=8, key=self._secret).digest()
            self._last = (destination, int.from_bytes(digest[:4], "big"), digest[4])
        _, offset, slot = self._last
        for _ in range(min(_TRIES, self._count)):
            port = self._first + (offset + self._table[slot]) % self._count
            self._table[slot] += 1
            if free_at(port) <= now:
                return port, None
        heap = self.scarce.get(destination)
        if heap is None:
            # Free ports have negative keys, in an order that depends on destination and secret.
            shuffle = offset | 1
            heap = [
                (when if when > now else -(port * shuffle & 0xFFFFFFFF), port)
                for port in self._range
                if (when := free_at(port)) < inf
            ]
            heapq.heapify(heap)
            self.scarce[destination] = heap
        while heap:
            when, port = heap[0]
            if when > now and free_at(port) == when:
                return None, when
            heapq.heappop(heap)
            when = free_at(port)
            if when <= now:
                return port, None
            if when < inf:  # TIME_WAIT restarted
                heapq.heappush(heap, (when, port))
        return None, None

    def released(self, remote: Remote, remote_port: int, port: int, when: float) -> None:
        """Record that no connection to this destination uses `port` any more; it is free from `when` on."""
        self._note_free((remote, remote_port), port, when)

    def released_by_listener(self, port: int, when: float) -> None:
        """Record that `port` has no listener from `when` on."""
        for destination in list(self.scarce):
            self._note_free(destination, port, when)

    def _note_free(self, destination: tuple[Remote, int], port: int, when: float) -> None:
        heap = self.scarce.get(destination)
        if heap is not None and port in self._range:
            heapq.heappush(heap, (when, port))
            if len(heap) > 2 * self._count:  # ports are found by hash again, and most entries are outdated
                del self.scarce[destination]

    @property
    def _range(self) -> range:
        return range(self._first, self._first + self._count)


def check_port(port: int) -> None:
    """Raise ValueError unless `port` is in 1..65535."""
    if not 1 <= port <= 65535:
        raise ValueError(f"a port must be in 1..65535, not {port}")
