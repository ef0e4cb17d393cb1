"""The persist timer and its zero-window probes (RFC 9293 3.8.6.1)."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr


@mypyc_attr(acyclic=True)
class Persist:
    """Owns the persist timer, which runs while the peer's window is closed and data or a FIN waits.

    `Tcb.start_persist` makes the object when the timer first runs; few windows ever close."""

    __slots__ = ("deadline", "probes")

    def __init__(self) -> None:
        self.deadline = inf
        """Departure time of the next probe, seconds; `inf`: the timer is off."""
        self.probes = 0
        """Number of probes since the window closed or the peer last acknowledged something, for the back-off."""

    def start(self, deadline: float) -> None:
        """Send a probe at `deadline` if the window is still closed."""
        self.deadline = deadline

    def expired(self) -> None:
        """Count a probe, because the timer has expired."""
        self.probes += 1

    def stop(self) -> None:
        """Turn off the timer, because the window is open or nothing waits."""
        self.deadline = inf

    def begin_anew(self) -> None:
        """Restart the back-off, because the peer has acknowledged something or opened its window."""
        self.probes = 0


NEVER_STARTED: Final = Persist()
"""The object of all connections whose timer has never run. It never changes, because only `start` leads to a change."""
