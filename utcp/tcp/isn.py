"""Initial sequence numbers and timestamp offsets, keyed and clock-driven (RFC 6528, RFC 7323 5.4)."""

from hashlib import blake2b
from struct import Struct
from typing import Final

from utcp.tcp.transmit import Remote
from utcp.wire.seq import MASK

_PORTS: Final = Struct("!HH")

_TICKS_PER_SECOND: Final = 250_000
"""The ISN clock ticks every 4 microseconds (RFC 9293 3.4.1, MUST-8)."""


class SequenceNumbers:
    """ISN = M + F(connection, secret), with F out of reach of anyone without the secret (MUST-9)."""

    __slots__ = ("_remote", "_secret", "_state")

    def __init__(self, secret: bytes) -> None:
        self._secret = blake2b(secret, person=b"utcp isn").digest()
        self._remote: Remote = ""
        self._state = self._hash("")
        """The hash of the secret and the remote asked for last: many connections are with one."""

    def initial(self, remote: Remote, remote_port: int, local_port: int, now: float) -> tuple[int, int]:
        """The ISN of a new incarnation of this connection, and the offset of its timestamps.

        The offset depends on the connection alone: from one incarnation to the next its timestamps only grow, which is
        what lets TIME_WAIT recognize the newer one (RFC 6191).
        """
        if remote != self._remote:
            self._state = self._hash(remote)
            self._remote = remote
        state = self._state.copy()
        state.update(_PORTS.pack(remote_port, local_port))
        digest = state.digest()
        clock = int(now * _TICKS_PER_SECOND)
        return (clock + int.from_bytes(digest[:4], "big")) & MASK, int.from_bytes(digest[4:], "big")

    def _hash(self, remote: Remote) -> blake2b:
        return blake2b(repr(remote).encode(), digest_size=8, key=self._secret)
