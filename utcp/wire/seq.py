"""Arithmetic on 32-bit sequence numbers (RFC 9293 3.4).

Numbers wrap at 2**32; comparisons are meaningful while the two numbers lie less than 2**31 apart.
"""

from typing import Final

MASK: Final = 0xFFFFFFFF
HALF: Final = 0x80000000


def add(seq: int, count: int) -> int:
    """The sequence number `count` octets after `seq` (before it, if negative)."""
    return (seq + count) & MASK


def diff(a: int, b: int) -> int:
    """How far `a` lies after `b`: negative when before, in [-2**31, 2**31)."""
    distance = (a - b) & MASK
    return distance - 0x100000000 if distance & HALF else distance


def lt(a: int, b: int) -> bool:
    """`a` comes before `b`."""
    return ((a - b) & MASK) >= HALF


def gt(a: int, b: int) -> bool:
    """`a` comes after `b`."""
    return ((b - a) & MASK) >= HALF


def ge(a: int, b: int) -> bool:
    """`a` comes after `b` or is `b`."""
    return ((a - b) & MASK) < HALF


def within(seq: int, left: int, size: int) -> bool:
    """`left <= seq < left + size`: inside a window of `size` octets that begins at `left`."""
    return ((seq - left) & MASK) < size
