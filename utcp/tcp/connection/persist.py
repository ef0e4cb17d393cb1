"""The persist timer and its zero-window probes (RFC 9293 3.8.6.1)."""

from math import inf

from utcp._compiled import mypyc_attr


@mypyc_attr(acyclic=True)
class Persist:
    """Owns the persist timer, which runs while the peer's window is closed and something waits for it."""

    __slots__ = ("deadline", "probe_due", "probes")

    def __init__(self) -> None:
        self.deadline = inf
        """When the next probe leaves, seconds; `inf`: the timer is off."""
        self.probe_due = False
        """The next flush sends a zero-window probe."""
        self.probes = 0
        """Probes since the window closed, or since the peer last acknowledged something: their back-off."""

    def start(self, deadline: float) -> None:
        """Send a probe at `deadline` if the window is still closed."""
        self.deadline = deadline

    def expired(self) -> None:
        """The timer has expired: have the next flush send a probe."""
        self.probes += 1
        self.probe_due = True

    def probe_leaves(self) -> None:
        """The flush sends the probe, or finds that none is needed."""
        self.probe_due = False

    def stop(self) -> None:
        """The window is open, or nothing waits for it."""
        self.deadline = inf

    def begin_anew(self) -> None:
        """The peer has acknowledged something or opened its window: the next probe is the first again."""
        self.probes = 0
