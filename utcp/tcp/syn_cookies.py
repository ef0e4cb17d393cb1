"""SYN cookies: a handshake without state on this side until its third segment (RFC 4987 3.6).

The ISN of the SYN-ACK encodes the state. Its 32 bits are, from the top:

* 8 bits of mark, a keyed hash of the ports, the remote and the time,
* 21 bits of check, a hash of the mark's key, the peer's ISN and the next field,
* 3 bits with the index of an MSS in `MSS_TABLE`, the largest that does not exceed the peer's.

Time counts in steps of 64 seconds, and a cookie is valid in its own step and the next, for 64 to 128 seconds. So at
most 16 of all 2^32 acknowledgement numbers open a connection for a given remote, ports and sequence number (8 indices
in 2 steps), and a blind ACK succeeds with probability 2^-28. As described in RFC 4987, cookies give up the clock in the
ISN (RFC 9293 3.4.1) and the retransmission of the SYN-ACK. If the completing ACK is replayed while the cookie is valid,
after the connection has ended, it opens another connection.

The mark alone identifies a later segment of such a handshake whose first segment was lost.

The other options of the SYN are encoded in the low bits of our first timestamp, which the peer echoes. Without
timestamps there is neither window scaling nor SACK.
"""

from bisect import bisect_right
from hashlib import blake2b
from math import inf
from struct import Struct
from typing import Final

from utcp.tcp.time_wait import ConnectionKey
from utcp.wire.options import MAX_WINDOW_SCALE
from utcp.wire.seq import MASK

MSS_TABLE: Final = (64, 536, 1212, 1352, 1432, 1452, 8932, 65468)
"""MSS values, octets: the smallest used; the default of IPv4; IPv6 at its smallest MTU, through WireGuard, and over
Ethernet; IPv4 over Ethernet; jumbo frames; loopback. All are UDP payloads less a TCP header."""

LIFETIME: Final = 128.0
"""Longest validity of a cookie, seconds."""

_STEP: Final = 64
_CHECK: Final = 0x00FFFFF8
_IRS_AND_MSS: Final = Struct("!IB")

_STAMP_BITS: Final = 0x3F
_NO_SCALE: Final = 0x0F
_SACK: Final = 0x10
_ECN: Final = 0x20


class SynCookies:
    """Creates and checks cookies with a secret derived from the stack's."""

    __slots__ = ("_last_made", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = blake2b(secret, person=b"utcp syn cookies").digest()
        self._last_made = -inf

    def make(self, key: ConnectionKey, irs: int, mss: int, now: float) -> int:
        """Return the ISS of the SYN-ACK that answers a SYN with sequence number `irs` and an MSS of `mss` octets."""
        self._last_made = now
        index = max(bisect_right(MSS_TABLE, mss) - 1, 0)
        step_key = self._step_key(key, int(now) // _STEP)
        return step_key[0] << 24 | _check(step_key, irs, index) | index

    def outstanding(self, now: float) -> bool:
        """Return True if the last cookie is so recent that an ACK may still return it."""
        return now - self._last_made <= LIFETIME

    def mss_of(self, key: ConnectionKey, irs: int, iss: int, now: float) -> int | None:
        """Return the MSS of the cookie `iss`; None: it is not a valid cookie for this connection and time."""
        index = iss & 7
        step = int(now) // _STEP
        for step_key in (self._step_key(key, step), self._step_key(key, step - 1)):
            if iss == step_key[0] << 24 | _check(step_key, irs, index) | index:
                return MSS_TABLE[index]
        return None

    def is_marked(self, key: ConnectionKey, iss: int, now: float) -> bool:
        """Return True if `iss` may be a cookie for this connection with another `irs`. 1 of 128 other numbers matches
        as well."""
        step = int(now) // _STEP
        return iss >> 24 in (self._step_key(key, step)[0], self._step_key(key, step - 1)[0])

    def _step_key(self, key: ConnectionKey, step: int) -> bytes:
        return blake2b(repr((key, step)).encode(), digest_size=16, key=self._secret).digest()


def _check(step_key: bytes, irs: int, index: int) -> int:
    digest = blake2b(_IRS_AND_MSS.pack(irs, index), digest_size=4, key=step_key).digest()
    return int.from_bytes(digest, "big") & _CHECK


def stamp(ts_now: int, window_scale: int | None, sack: bool, ecn: bool) -> int:
    """Return TSval for the SYN-ACK of a cookie. It is up to 64 ms before `ts_now` and never after it, so that
    timestamps do not decrease."""
    bits = _NO_SCALE if window_scale is None else min(window_scale, MAX_WINDOW_SCALE)
    bits |= (_SACK if sack else 0) | (_ECN if ecn else 0)
    if bits > ts_now & _STAMP_BITS:
        ts_now -= _STAMP_BITS + 1
    return (ts_now & ~_STAMP_BITS | bits) & MASK


def read_stamp(ts_ecr: int) -> tuple[int | None, bool, bool]:
    """Return the arguments of `stamp`: the peer's window scale, SACK permitted, ECN."""
    scale = ts_ecr & _NO_SCALE
    return (None if scale == _NO_SCALE else scale), bool(ts_ecr & _SACK), bool(ts_ecr & _ECN)
