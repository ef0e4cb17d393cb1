"""Pacing: data leaves at a rate, in trains that fit the millisecond that event loops time to."""

from math import ceil, inf
from typing import Final

from utcp._compiled import mypyc_attr

_TRAIN: Final = 0.001
"""Seconds of sending that leave at once: a timer per segment would cost more than the segments."""

_UNPACED_BELOW: Final = 0.001
"""On a path with a round trip below this, timers are too coarse to pace by, and ACKs come as often as they fire."""

_MANY: Final = 1 << 30


@mypyc_attr(acyclic=True)
class Pacer:
    """A bucket that fills at the pacing rate, in octets. It may be overdrawn by one segment."""

    __slots__ = ("_credit", "_updated_at", "deadline", "rate")

    def __init__(self, now: float) -> None:
        self.rate = inf
        """Octets per second; `inf`: not paced."""
        self.deadline = inf
        """When the next train may leave, seconds; `inf`: the timer is off."""
        self._credit = 0.0
        self._updated_at = now

    def set_rate(self, rate: float, min_rtt: float) -> None:
        """What the congestion controller asks for, on a path with this lowest round-trip time."""
        self.rate = rate if min_rtt >= _UNPACED_BELOW else inf

    def refill(self, burst: int, now: float) -> None:
        """Nothing is in flight: an initial window may leave at once."""
        self._credit = max(self._credit, float(burst))
        self._updated_at = now

    def may_send(self, mss: int, now: float) -> bool:
        """Whether a segment may leave now."""
        if self.rate == inf:
            return True
        # Timers fire up to a train late: what they missed is made good, no more.
        most = 2 * _TRAIN * self.rate + 2 * mss
        if self._credit < most:
            self._credit = min(most, self._credit + (now - self._updated_at) * self.rate)
        self._updated_at = now
        return self._credit > 0

    def segments(self, mss: int, now: float) -> int:
        """How many segments of `mss` octets may leave now, one after the other; unpaced, a great many."""
        if self.rate == inf:
            return _MANY
        return ceil(self._credit / mss) if self.may_send(mss, now) else 0

    def sent(self, size: int) -> None:
        """`size` octets left."""
        if self.rate != inf:
            self._credit -= size

    def wait(self, mss: int) -> None:
        """A segment may not leave yet. The timer expires when a train may leave: two segments at least, else a
        millisecond's worth."""
        train = max(2.0 * mss, _TRAIN * self.rate)
        self.deadline = self._updated_at + (train - self._credit) / self.rate

    def stop(self) -> None:
        """Turn the timer off: it has expired, or nothing will be sent any more."""
        self.deadline = inf
