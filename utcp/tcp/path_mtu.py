"""Packetization layer path MTU discovery (RFC 8899, for TCP RFC 4821).

The MTU of the interface is the initial value and the upper bound. ICMP messages about segments in flight reduce the
segment size. A router may also drop large packets without an ICMP message (a black hole). Repeated timeouts of segments
are a sign of this: segments then become small, and probes search for the largest size that passes. An outage has the
same sign, so the first probe has the full size.
"""

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.scoreboard import Run

BASE: Final = 1200 - 20 - 12
"""BASE_PLPMTU (RFC 8899 5.1.2) less our header with timestamps, octets. Nearly all paths take UDP payloads of 1200
octets."""

_STEPS: Final = (BASE, 576 - 48 - 12, 64)
"""The sizes to which segments are reduced step by step, octets. The second makes an IP packet of 576 octets, which
every IPv4 host accepts. The last is MIN_PLPMTU (RFC 8899 5.1.2); below it the header would outweigh the payload."""

MINIMUM: Final = _STEPS[-1]

MAX_PROBES: Final = 3
"""Number of losses of a probe after which its size is considered too large (RFC 8899 5.1.2)."""

_CLOSE_ENOUGH: Final = 16
"""Difference between the largest passing size and the smallest failing size at which the search ends, octets."""

RAISE_AFTER: Final = 600.0
"""PMTU_RAISE_TIMER (RFC 8899 5.1.1): time after which the search restarts, because routes change, seconds."""

SUSPICIOUS: Final = 2
"""Number of consecutive timeouts for each reduction of the segment size by one step."""


@mypyc_attr(acyclic=True)
class PathMtu:
    """The search for the segment size of one connection. All sizes are payloads without options, in octets."""

    __slots__ = (
        "_ceiling",
        "_doubted",
        "_failed",
        "_failures",
        "_floor",
        "_passed",
        "_raise_at",
        "limit",
        "probe_size",
        "size",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The largest size that the interface and the peer's MSS allow, octets."""
        self.size = limit
        """The present segment size, octets."""
        self.probe_size = 0
        """The size of the next probe, octets; 0: the search is over."""
        self._floor = limit
        self._ceiling = limit
        self._failures = 0
        """Number of probes lost since one arrived."""
        self._failed = limit
        """The smallest size of those probes, octets; without any, the upper end of the search."""
        self._raise_at = 0.0
        self._doubted = 0
        """The size that is tried again once segments smaller than BASE get through, octets; 0: none."""
        self._passed = 0
        """The size below BASE that got through before that, octets, until a probe arrives; 0: none."""

    def set_limit(self, limit: int) -> None:
        """Set the limit, because the interface or its MTU has changed, or the peer's MSS has become known."""
        self.limit = limit
        self._finish(limit)

    def too_big(self, size: int, now: float) -> None:
        """Handle the report of a router that only `size` octets get through. The report may only reduce the segment
        size (RFC 8899 3 (6)), until the search restarts."""
        if size < self.size:
            self._doubted = 0
            self._search(size, size + 1, now)

    def black_hole_suspected(self, timeouts: int, length: int, now: float) -> bool:
        """Handle the `timeouts`-th consecutive timeout of a segment of `length` octets. Return True if the segment size
        was reduced."""
        step = _STEPS[min(timeouts // SUSPICIOUS, len(_STEPS)) - 1]
        if self._passed:
            step = min(step, self._passed)
        if timeouts < SUSPICIOUS or step >= min(length, self.size):
            return False
        if step < BASE and not self._passed and not self._doubted:
            self._doubted = min(self.size, BASE)
        self._search(step, self.limit + 1, now)
        return True

    def first_passed(self, now: float) -> bool:
        """Handle the first ACK after timeouts. Return True if the segment size was increased.

        If the timeouts reduced the size below BASE, they may have been an outage that is over. The data in flight would
        then be retransmitted in thousands of tiny segments, so the larger size is tried once more. If it times out
        again, it is too large.
        """
        if not self._doubted:
            return False
        self._passed = self.size
        size, self._doubted = self._doubted, 0
        self._search(size, self.limit + 1, now)
        return True

    def due(self, most: int, now: float) -> int:
        """Return the size of a probe that may be sent now, octets; 0: none. `most` is the number of octets to send. If
        segments are very small, a probe may have less than the full size."""
        if not self.probe_size and self.size < self.limit and now >= self._raise_at:
            self._search(self.size, self.limit + 1, now)
        if most >= self.probe_size:
            return self.probe_size
        return most if self.size < BASE and most >= 2 * self.size else 0

    def arrived(self, size: int, now: float) -> None:
        """Handle the ACK of a probe of `size` octets."""
        if size <= self.size:
            return
        self._passed = self._doubted = 0
        self._search(size, max(self._ceiling, size + 1), now)

    def lost(self, size: int, now: float) -> None:
        """Handle the loss of a probe of `size` octets. It may have other reasons than the size."""
        if not self.size < size <= self.probe_size:
            return
        self._failed = min(self._failed, size)
        self._failures += 1
        if self._failures >= MAX_PROBES:
            self._search(self._floor, self._failed, now)

    def _search(self, floor: int, ceiling: int, now: float) -> None:
        """Search between `floor`, which gets through, and `ceiling`, which does not, or may not."""
        self.size = self._floor = floor
        self._ceiling = self._failed = ceiling
        self._failures = 0
        self._raise_at = now + RAISE_AFTER
        if floor >= self.limit:
            self._finish(self.limit)
        elif ceiling - floor <= _CLOSE_ENOUGH:
            self.probe_size = 0
        elif ceiling > self.limit:  # the largest size has not failed yet
            self.probe_size = self.limit
        else:
            self.probe_size = (floor + ceiling) // 2

    def _finish(self, size: int) -> None:
        self._doubted = 0
        self.size = self._floor = self._ceiling = size
        self.probe_size = 0
        self._failures = 0


@mypyc_attr(acyclic=True)
class MtuProbe:
    """The path MTU probe of a connection, a segment larger than those before it. At most one is under way."""

    __slots__ = ("_end", "_start", "arrived", "under_way")

    def __init__(self) -> None:
        self.under_way = False
        self.arrived = True
        """True if the probe has arrived, once it is over; before, True unless it is known to be lost."""
        self._start = 0
        self._end = 0

    @property
    def size(self) -> int:
        """Payload of the probe, octets."""
        return self._end - self._start

    def sent(self, start: int, size: int) -> None:
        """Record that the probe leaves, as `size` positions of the scoreboard from `start` on."""
        self._start = start
        self._end = start + size
        self.under_way = self.arrived = True

    def is_lost_with(self, run: Run) -> bool:
        """Handle the loss of a run. Return True if the run belongs wholly to the probe."""
        if not self._start <= run.start < self._end:
            return False
        self.arrived = False
        return run.end <= self._end

    def is_over(self, una: int) -> bool:
        """Return True if the probe is lost, or acknowledged by `una`, and end it."""
        self.under_way = self.arrived and una < self._end
        return not self.under_way
