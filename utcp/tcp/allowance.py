"""The memory limits of one connection, which `utcp.tcp.accounts` sets."""

from typing import Final

from utcp._compiled import mypyc_attr

GUARANTEED: Final = 2048
"""Memory that each direction of a connection may always use, octets."""

MINIMUM: Final = 2 * GUARANTEED
"""Lowest charge for the queues of a connection, octets."""

SMALL_SEGMENTS: Final = 256

_UNLIMITED: Final = 1 << 62


@mypyc_attr(acyclic=True)
class Allowance:
    """The present limits of one connection. All connections of a stack share this object."""

    __slots__ = ("full", "most", "pressure", "short", "small_segments")

    def __init__(self) -> None:
        self.most = _UNLIMITED
        """Largest buffer of one direction, octets."""
        self.small_segments = SMALL_SEGMENTS
        """Number of runs in flight from which small segments wait for an ACK, as with Nagle's algorithm. The congestion
        window does not limit runs, because it counts octets, while each run takes RUN octets of memory."""
        self.pressure = False
        """True under memory pressure: `most` is an equal share of the free memory, not a quarter of it."""
        self.short = False
        """True if out-of-order text may be held only up to GUARANTEED octets."""
        self.full = False
        """True if in-order text may be held only up to GUARANTEED octets."""

    def relax(self, most: int) -> None:
        """Set the limits without memory pressure: only `most` limits a connection."""
        self.most = most
        self.small_segments = SMALL_SEGMENTS
        self.pressure = self.short = self.full = False

    def press(self, most: int, small_segments: int, short: bool, full: bool) -> None:
        """Set the limits under memory pressure."""
        self.most = most
        self.small_segments = small_segments
        self.pressure = True
        self.short = short
        self.full = full
