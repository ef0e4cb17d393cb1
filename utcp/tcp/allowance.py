"""What one connection may hold in memory at present (`utcp.tcp.memory` decides)."""

from typing import Final

from utcp._compiled import mypyc_attr

GUARANTEED: Final = 2048
"""Octets that each direction of a connection may hold, whatever the others do."""

MINIMUM: Final = 2 * GUARANTEED
"""Octets that the queues of a connection are charged at least."""

SMALL_SEGMENTS: Final = 256

_UNLIMITED: Final = 1 << 62


@mypyc_attr(acyclic=True)
class Allowance:
    """What one connection may hold at present; the same for all connections of a stack."""

    __slots__ = ("full", "most", "pressure", "short", "small_segments")

    def __init__(self) -> None:
        self.most = _UNLIMITED
        """Octets that the buffer of one direction may have."""
        self.small_segments = SMALL_SEGMENTS
        """Stretches of sequence space in flight, from which on small segments wait for an ACK, as by Nagle's algorithm.
        A congestion window counts octets, and each stretch takes RUN octets of memory, whatever its length."""
        self.pressure = False
        """`most` is an equal share of what is left, not a quarter of it."""
        self.short = False
        """Text out of order is not to be held beyond GUARANTEED octets."""
        self.full = False
        """Text in order is not to be held beyond GUARANTEED octets."""

    def relax(self, most: int) -> None:
        """There is no memory pressure: only `most` limits a connection."""
        self.most = most
        self.small_segments = SMALL_SEGMENTS
        self.pressure = self.short = self.full = False

    def press(self, most: int, small_segments: int, short: bool, full: bool) -> None:
        """There is memory pressure."""
        self.most = most
        self.small_segments = small_segments
        self.pressure = True
        self.short = short
        self.full = full
