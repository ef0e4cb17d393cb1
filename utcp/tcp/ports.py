"""The choice of an ephemeral port (RFC 6056 3.3.4, double-hash port selection)."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from utcp.tcp.transmit import Remote

_TABLE_SIZE: Final = 256


class EphemeralPorts:
    """Hands out the ports of a range, in an order that differs by destination and that an outsider cannot predict."""

    __slots__ = ("_count", "_first", "_last", "_secret", "_table")

    def __init__(self, first: int, last: int, secret: bytes) -> None:
        self._first = first
        self._count = last - first + 1
        self._secret = blake2b(secret, person=b"utcp ports").digest()
        self._last: tuple[tuple[Remote, int] | None, int, int] = (None, 0, 0)
        """The destination asked for last, its offset and its counter: clients mostly open many to one."""
        noise = b"".join(
            blake2b(self._secret, person=b"utcp table", salt=bytes((block,)), digest_size=64).digest()
            for block in range(_TABLE_SIZE // 32)
        )
        self._table = [noise[2 * i] << 8 | noise[2 * i + 1] for i in range(_TABLE_SIZE)]

    def choose(self, remote: Remote, remote_port: int, taken: Callable[[int], bool]) -> int | None:
        """A port for which `taken` is false, or None when the whole range is taken towards this remote."""
        if self._last[0] != (remote, remote_port):
            digest = blake2b(repr((remote, remote_port)).encode(), digest_size=8, key=self._secret).digest()
            self._last = ((remote, remote_port), int.from_bytes(digest[:4], "big"), digest[4])
        _, offset, slot = self._last
        for _ in range(self._count):
            port = self._first + (offset + self._table[slot]) % self._count
            self._table[slot] += 1
            if not taken(port):
                return port
        return None

    def all(self) -> range:
        """Every port of the range."""
        return range(self._first, self._first + self._count)
