"""What left at one time, and the stretches of sequence space that it was."""

from __future__ import annotations

from bisect import insort
from typing import Final

IN_FLIGHT: Final = 0
SACKED: Final = 1
LOST: Final = 2
GONE: Final = 3
"""Acknowledged, or replaced by another run: it is in the scoreboard no longer."""


class Run:
    """Positions `start` to `end` (exclusive), sent `sent` times, last with `departure`."""

    __slots__ = ("departure", "end", "sent", "start", "state")

    def __init__(self, start: int, end: int, departure: Departure, sent: int, state: int) -> None:
        self.start = start
        self.end = end
        self.departure = departure
        self.sent = sent
        self.state = state


class Departure:
    """What left at one time, and what the sender knew when it did. Octets are of sequence space, times in seconds."""

    __slots__ = ("app_limited", "at", "delivered", "delivered_at", "first_sent_at", "in_flight", "lost", "mss", "runs")

    def __init__(
        self,
        at: float,
        delivered: int,
        delivered_at: float,
        first_sent_at: float,
        lost: int = 0,
        app_limited: bool = False,
        mss: int = 1,
    ) -> None:
        self.at = at
        """When it left."""
        self.delivered = delivered
        """Octets known to be delivered by then in all, and when the last of them was learned of."""
        self.delivered_at = delivered_at
        self.first_sent_at = first_sent_at
        """When the flight began whose delivery this will measure."""
        self.in_flight = 0
        """Octets in flight once it had left, its own included (P.tx_in_flight)."""
        self.lost = lost
        """Octets taken for lost by then in all."""
        self.app_limited = app_limited
        """The application had sent all it had: what is measured may be its speed, not the path's."""
        self.mss = mss
        """Octets of each segment that left for the first time, but for the last one; 1: of any size."""
        self.runs: list[Run] | None = None
        """The stretches of sequence space that left, in order, and some that are dealt with; None: nobody asks by time
        what is missing."""

    def track(self) -> None:
        """Keep its runs from now on."""
        self.runs = []

    def track_no_more(self) -> None:
        """Nobody asks any more by time what is missing of it."""
        self.runs = None

    def left(self, in_flight: int) -> None:
        """The flush with it is over, and so many octets are in flight."""
        self.in_flight = in_flight

    def keep(self, run: Run) -> None:
        """A stretch of it became a run of its own."""
        runs = self.runs
        if runs is not None:
            if runs and runs[-1].start > run.start:
                insort(runs, run, key=_start)
            else:
                runs.append(run)


def _start(run: Run) -> int:
    return run.start
