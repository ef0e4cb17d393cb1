"""The estimators of BBR: a windowed maximum, the aggregation of ACKs, and random numbers (draft-ietf-ccwg-bbr-06)."""

from collections import deque
from typing import Final

_EXTRA_ACKED_FILTER_LEN: Final = 10
"""Number of rounds for which aggregation is remembered; one in Startup."""


class WindowedMax:
    """The maximum of the values of the last `window` ticks of a monotonic clock."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[tuple[int, float]] = deque()

    def update(self, value: float, time: int, window: int) -> float:
        """Add a value at `time`. Return the maximum of the values at `time` and the `window - 1` ticks before."""
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        if not values or values[-1][0] != time:
            values.append((time, value))
        while values[0][0] <= time - window:
            values.popleft()
        return values[0][1]


class Dice:
    """A linear congruential generator (Knuth's MMIX constants). It suffices to keep flows from probing in step."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed
        self.roll()

    def roll(self) -> float:
        """Return a random number from 0 (inclusive) to 1 (exclusive)."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self._state >> 32) / (1 << 32)


class Aggregation:
    """The octets that a burst of ACKs acknowledges beyond those expected from the rate of the path (5.5.9)."""

    __slots__ = ("_delivered", "_filter", "_since")

    def __init__(self) -> None:
        self._filter = WindowedMax()
        self._since = 0.0
        self._delivered = 0

    def restart(self, now: float) -> None:
        """Begin an interval at `now`."""
        self._since = now
        self._delivered = 0

    def pause(self) -> None:
        """Have the next ACK begin a new interval, because nothing is in flight."""
        self._delivered = 0

    def update(self, delivered: int, bw: float, cwnd: int, round_count: int, full: bool, now: float) -> float:
        """Process an ACK of `delivered` octets at `now`, on a path with a rate of `bw` octets per second. Return the
        largest excess of the last rounds, at most `cwnd` each. `full`: the path was filled, so that ten rounds count.
        """
        expected = bw * (now - self._since)
        if self._delivered <= expected:
            self.restart(now)
            expected = 0.0
        self._delivered += delivered
        extra = min(self._delivered - expected, cwnd)
        return self._filter.update(extra, round_count, _EXTRA_ACKED_FILTER_LEN if full else 1)
