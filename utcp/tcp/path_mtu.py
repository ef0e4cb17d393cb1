"""The segment size that a path takes: packetization layer path MTU discovery (RFC 8899, with TCP's means RFC 4821).

The MTU of the interface is the first guess and the upper bound. ICMP messages about segments under way make segments
smaller. What neither tells of is a router that drops large packets without an ICMP message. Segments that time out
again and again are the sign of one: segments become small, and probes search for the largest size that passes. An
outage has the same sign, so the first probe has the full size.
"""

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.scoreboard import Run

BASE: Final = 1200 - 20 - 12
"""BASE_PLPMTU (RFC 8899 5.1.2) less our header with timestamps: UDP payloads of 1200 octets get through nearly
everywhere."""

_STEPS: Final = (BASE, 576 - 48 - 12, 64)
"""The sizes that segments fall to, one after the other. The second makes an IP packet of 576 octets, which every IPv4
host takes. The last is MIN_PLPMTU (RFC 8899 5.1.2): less payload would not be worth a header."""

MINIMUM: Final = _STEPS[-1]

MAX_PROBES: Final = 3
"""So many losses of a probe say that its size does not get through (RFC 8899 5.1.2)."""

_CLOSE_ENOUGH: Final = 16
"""Octets between the largest size known to work and the smallest known not to, at which the search ends."""

RAISE_AFTER: Final = 600.0
"""PMTU_RAISE_TIMER (RFC 8899 5.1.1), in seconds: then the search begins anew, for routes change."""

SUSPICIOUS: Final = 2
"""Timeouts in a row after which the size falls by a step, and again as many for each further step."""


@mypyc_attr(acyclic=True)
class PathMtu:
    """The search for one connection's segment size; all sizes are TCP payloads with what options take, in octets."""

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
        """What the interface and the peer's MSS allow."""
        self.size = limit
        """The largest segment that may be sent, for all that is known."""
        self.probe_size = 0
        """What to probe with next; 0: the search is over."""
        self._floor = limit
        self._ceiling = limit
        self._failures = 0
        """Probes lost since one arrived."""
        self._failed = limit
        """The smallest size of those probes, octets; the search's upper end while there are none."""
        self._raise_at = 0.0
        self._doubted = 0
        """The size that is tried again once smaller segments than BASE get through, 0: none."""
        self._passed = 0
        """The size below BASE that got through before that, until a probe arrives; 0: none."""

    def set_limit(self, limit: int) -> None:
        """The interface is another one or takes less now, or the peer's MSS has become known."""
        self.limit = limit
        self._finish(limit)

    def too_big(self, size: int, now: float) -> None:
        """A router says that only this gets through. It may only make segments smaller (RFC 8899 3 (6)), until the
        search begins anew."""
        if size < self.size:
            self._doubted = 0
            self._search(size, size + 1, now)

    def black_hole_suspected(self, timeouts: int, length: int, now: float) -> bool:
        """Handle the `timeouts`-th timeout in a row of a segment of `length` octets. Return whether segments have
        become smaller."""
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
        """A segment has been acknowledged after timeouts. Return whether segments become larger for it.

        If those timeouts made segments smaller than BASE, an outage may be over: what is in flight would be sent again
        in thousands of tiny segments. So the larger size is tried once more. If it times out again, it is too large.
        """
        if not self._doubted:
            return False
        self._passed = self.size
        size, self._doubted = self._doubted, 0
        self._search(size, self.limit + 1, now)
        return True

    def due(self, most: int, now: float) -> int:
        """Return the size of a probe that may be sent now, 0 for none. `most`: the octets that there are to send. A
        probe below the full size is worth sending if segments are very small."""
        if not self.probe_size and self.size < self.limit and now >= self._raise_at:
            self._search(self.size, self.limit + 1, now)
        if most >= self.probe_size:
            return self.probe_size
        return most if self.size < BASE and most >= 2 * self.size else 0

    def arrived(self, size: int, now: float) -> None:
        """A probe of `size` was acknowledged."""
        if size <= self.size:
            return
        self._passed = self._doubted = 0
        self._search(size, max(self._ceiling, size + 1), now)

    def lost(self, size: int, now: float) -> None:
        """A probe of `size` was lost: by its size, or as any segment may be."""
        if not self.size < size <= self.probe_size:
            return
        self._failed = min(self._failed, size)
        self._failures += 1
        if self._failures >= MAX_PROBES:
            self._search(self._floor, self._failed, now)

    def _search(self, floor: int, ceiling: int, now: float) -> None:
        """`floor` gets through, and `ceiling` does not, or is not known to."""
        self.size = self._floor = floor
        self._ceiling = self._failed = ceiling
        self._failures = 0
        self._raise_at = now + RAISE_AFTER
        if floor >= self.limit:
            self._finish(self.limit)
        elif ceiling - floor <= _CLOSE_ENOUGH:
            self.probe_size = 0
        elif ceiling > self.limit:  # nothing speaks against the largest yet
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
    """The one probe that may be under way: a segment larger than those before it."""

    __slots__ = ("_end", "_start", "arrived", "under_way")

    def __init__(self) -> None:
        self.under_way = False
        self.arrived = True
        """Its fate, once `is_over`; until then: it is not known to be lost."""
        self._start = 0
        self._end = 0

    @property
    def size(self) -> int:
        """Its payload in octets."""
        return self._end - self._start

    def sent(self, start: int, size: int) -> None:
        """It leaves, as the scoreboard's `size` positions from `start` on."""
        self._start = start
        self._end = start + size
        self.under_way = self.arrived = True

    def is_lost_with(self, run: Run) -> bool:
        """This run is taken for lost; whether that says nothing but that the probe is."""
        if not self._start <= run.start < self._end:
            return False
        self.arrived = False
        return run.end <= self._end

    def is_over(self, una: int) -> bool:
        """Its fate is known, now that all up to `una` is acknowledged; there is no probe under way then."""
        self.under_way = self.arrived and una < self._end
        return not self.under_way
