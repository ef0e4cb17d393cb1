"""What BBR estimates with: a windowed maximum, the aggregation of ACKs, and dice (draft-ietf-ccwg-bbr-06)."""

from collections import deque
from typing import Final

_EXTRA_ACKED_FILTER_LEN: Final = 10
"""Rounds for which aggregation is remembered; one in Startup."""


class WindowedMax:
    """The greatest of the values of the last `window` ticks of a clock that only moves forward."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[tuple[int, float]] = deque()

    def update(self, value: float, time: int, window: int) -> float:
        """Take a value at `time`; the maximum of those at `time` and the `window - 1` ticks before."""
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        if not values or values[-1][0] != time:
            values.append((time, value))
        while values[0][0] <= time - window:
            values.popleft()
        return values[0][1]


class Dice:
    """A linear congruential generator (Knuth's MMIX constants): random enough to keep flows from probing in step."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed
        self.roll()

    def roll(self) -> float:
        """From 0 up to 1."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self._state >> 32) / (1 << 32)


class Aggregation:
    """How much more than the path's rate explains a burst of ACKs acknowledges (5.5.9). Octets."""

    __slots__ = ("_delivered", "_filter", "_since")

    def __init__(self) -> None:
        self._filter = WindowedMax()
        self._since = 0.0
        self._delivered = 0

    def restart(self, now: float) -> None:
        """Begin to count at `now`."""
        self._since = now
        self._delivered = 0

    def pause(self) -> None:
        """Nothing is in flight: the next ACK begins anew."""
        self._delivered = 0

    def update(self, delivered: int, bw: float, cwnd: int, round_count: int, full: bool, now: float) -> float:
        """An ACK of `delivered` octets at `now`, on a path that carries `bw` octets per second; `full` once it has been
        filled. The most of the last rounds, no more than `cwnd` each."""
        expected = bw * (now - self._since)
        if self._delivered <= expected:
            self.restart(now)
            expected = 0.0
        self._delivered += delivered
        extra = min(self._delivered - expected, cwnd)
        return self._filter.update(extra, round_count, _EXTRA_ACKED_FILTER_LEN if full else 1)
