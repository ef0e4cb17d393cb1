"""Initial sequence numbers and timestamp offsets by a keyed hash and a clock (RFC 6528, RFC 7323 5.4)."""

from hashlib import blake2b
from struct import Struct
from typing import Final

from utcp.tcp.transmit import Remote
from utcp.wire.seq import MASK

_PORTS: Final = Struct("!HH")
_NUMBERS: Final = Struct("!II")

_TICKS_PER_SECOND: Final = 250_000
"""Ticks of the ISN clock per second, one every 4 microseconds (RFC 9293 3.4.1, MUST-8)."""


class SequenceNumbers:
    """ISN = M + F(connection, secret), where F cannot be computed without the secret (MUST-9)."""

    __slots__ = ("_remote", "_secret", "_state")

    def __init__(self, secret: bytes) -> None:
        self._secret = blake2b(secret, person=b"utcp isn").digest()
        self._remote: Remote = ""
        self._state = self._hash("")
        """Hash of the secret and the last remote, cached because many connections have the same remote."""

    def initial(self, remote: Remote, remote_port: int, local_port: int, now: float) -> tuple[int, int]:
        """Return the ISN of a new incarnation of this connection, and the offset of its timestamps.

        The offset depends only on the connection. So timestamps increase from one incarnation to the next, and
        TIME_WAIT recognizes the newer incarnation (RFC 6191).
        """
        if remote != self._remote:
            self._state = self._hash(remote)
            self._remote = remote
        state = self._state.copy()
        state.update(_PORTS.pack(remote_port, local_port))
        number, offset = _NUMBERS.unpack(state.digest())
        return (int(now * _TICKS_PER_SECOND) + number) & MASK, offset

    def _hash(self, remote: Remote) -> blake2b:
        return blake2b(repr(remote).encode(), digest_size=_NUMBERS.size, key=self._secret)
