"""Arithmetic on 32-bit sequence numbers (RFC 9293 3.4).

Numbers wrap at 2**32. Comparisons are valid if the two numbers are less than 2**31 apart.
"""

from typing import Final

MASK: Final = 0xFFFFFFFF
HALF: Final = 0x80000000


def add(seq: int, count: int) -> int:
    """Return the sequence number `count` octets after `seq`, or before it if `count` is negative."""
    return (seq + count) & MASK


def diff(a: int, b: int) -> int:
    """Return the distance from `b` to `a`, in [-2**31, 2**31), negative if `a` is before `b`."""
    distance = (a - b) & MASK
    return distance - 0x100000000 if distance & HALF else distance


def lt(a: int, b: int) -> bool:
    """Return whether `a` is before `b`."""
    return ((a - b) & MASK) >= HALF


def gt(a: int, b: int) -> bool:
    """Return whether `a` is after `b`."""
    return ((b - a) & MASK) >= HALF


def ge(a: int, b: int) -> bool:
    """Return whether `a` is `b` or after it."""
    return ((a - b) & MASK) < HALF


def within(seq: int, left: int, size: int) -> bool:
    """Return whether `seq` is in the window of `size` octets that begins at `left`."""
    return ((seq - left) & MASK) < size
