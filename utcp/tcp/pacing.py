"""Pacing: data leaves at a given rate, in trains that match the timer resolution of event loops, a millisecond.

A program may block its event loop, so that the pacing timer is late and nothing leaves meanwhile, while a kernel would
go on sending. After one such pause, the rate goes on as before: the path has idled, and that time is lost. If the loop
is late again and again, the pacer catches up, so that the queue at the bottleneck bridges the pauses: data leaves at
twice the rate for as long as the timer was late. All at once, it would overflow a short queue.
"""

from math import ceil, inf
from typing import Final

from utcp._compiled import mypyc_attr

_TRAIN: Final = 0.001
"""Length of a train, in seconds at the pacing rate. A timer per segment would cost more than the segments."""

UNPACED_BELOW: Final = 0.001
"""Round-trip time below which there is no pacing, seconds, because timers are too coarse, and ACKs arrive as often as
they fire."""

_MAX_LATENESS: Final = 0.1
"""Longest time that is caught up with, seconds. The congestion window limits the data in flight in any case."""

_OFTEN: Final = 10
"""The loop is late again and again if the timer was already late within this multiple of its lateness."""

_MANY: Final = 1 << 30


@mypyc_attr(acyclic=True)
class Pacer:
    """A bucket that fills at the pacing rate, in octets. It may be overdrawn by one segment."""

    __slots__ = ("_credit", "_late_at", "_twice_until", "_updated_at", "deadline", "rate")

    def __init__(self, now: float, credit: int = 0, rate: float = inf) -> None:
        self.rate = rate
        """The pacing rate, octets per second; `inf`: no pacing."""
        self.deadline = inf
        """Departure of the next train, seconds; `inf`: the timer is off."""
        self._credit = float(credit)
        self._updated_at = now
        self._late_at = -inf
        """Time at which the timer was last late, seconds."""
        self._twice_until = now
        """Time until which data leaves at twice the rate, seconds."""

    def set_rate(self, rate: float) -> None:
        """Set the pacing rate, octets per second; `inf`: no pacing."""
        self.rate = rate

    def refill(self, burst: int, now: float) -> None:
        """Let an initial window of `burst` octets leave at once, because nothing is in flight."""
        self._credit = max(self._credit, float(burst))
        self._updated_at = now

    def may_send(self, mss: int, now: float) -> bool:
        """Return True if a segment may leave now, after updating the credit."""
        if self.rate == inf:
            return True
        before = self._updated_at
        self._updated_at = now
        elapsed = now - before
        # Timers fire up to one train late, so the credit is limited to two trains.
        most = 2 * _TRAIN * self.rate + 2 * mss
        if before < self._twice_until:
            elapsed += min(now, self._twice_until) - before
            most += 2 * _TRAIN * self.rate
        if self._credit < most:
            self._credit = min(most, self._credit + elapsed * self.rate)
        if now - self.deadline > _TRAIN:
            self.expired(now)
        return self._credit > 0

    def segments(self, mss: int, now: float) -> int:
        """Return the number of segments of `mss` octets that may leave now; _MANY without pacing."""
        if self.rate == inf:
            return _MANY
        return ceil(self._credit / mss) if self.may_send(mss, now) else 0

    def sent(self, size: int) -> None:
        """Count `size` octets sent."""
        if self.rate != inf:
            self._credit -= size

    def wait(self, mss: int) -> None:
        """Start the timer, because a segment may not leave yet. It expires when a train of at least two segments and a
        millisecond may leave."""
        rate = 2 * self.rate if self._updated_at < self._twice_until else self.rate
        train = max(2.0 * mss, _TRAIN * rate)
        self.deadline = self._updated_at + (train - self._credit) / rate

    def expired(self, now: float) -> None:
        """Turn off the timer, because it has expired. If it is late again, data leaves at twice the rate for as long
        from now on."""
        lateness = now - self.deadline
        if lateness > _TRAIN:
            if now - self._late_at < _OFTEN * lateness:
                self._twice_until = now + min(max(self._twice_until - now, 0.0) + lateness, _MAX_LATENESS)
            self._late_at = now
        self.deadline = inf


UNPACED: Final = Pacer(0.0)
"""The pacer of all connections that have not been paced yet. It never changes, because `Tcb.follow_congestion`
makes another one."""
