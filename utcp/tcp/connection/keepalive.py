"""Keepalive: probing a peer that has been silent (RFC 9293 3.8.4)."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr

OFF: Final = inf


@mypyc_attr(acyclic=True)
class Keepalive:
    """Owns the keepalive timer and the count of unanswered probes. Times are in seconds."""

    __slots__ = ("count", "deadline", "enabled", "idle", "interval", "probe_due", "unanswered")

    def __init__(self, idle: float, interval: float, count: int) -> None:
        self.enabled = False
        """The peer is probed whenever the connection is idle."""
        self.idle = idle
        """Idle time before the first probe."""
        self.interval = interval
        """Time between unanswered probes."""
        self.count = count
        """Unanswered probes after which the peer counts as dead."""
        self.deadline = OFF
        """When the timer expires; `inf`: it is off."""
        self.probe_due = False
        """The next flush sends a probe."""
        self.unanswered = 0
        """Probes since the peer was last heard of."""

    def configure(self, idle: float | None = None, interval: float | None = None, count: int | None = None) -> None:
        """Change some of the three settings. They hold from the next start of the timer on."""
        if idle is not None:
            self.idle = idle
        if interval is not None:
            self.interval = interval
        if count is not None:
            self.count = count

    def start(self, now: float) -> None:
        """Probe the peer whenever it is idle, from `now` on."""
        self.enabled = True
        self.unanswered = 0
        self.deadline = now + self.idle

    def stop(self) -> None:
        """Probe the peer no more."""
        self.enabled = False
        self.deadline = OFF

    def heard(self) -> None:
        """An acceptable segment arrived."""
        self.unanswered = 0

    def probe(self, now: float) -> None:
        """Have the next flush send a probe."""
        self.unanswered += 1
        self.probe_due = True
        if self.enabled:
            self.deadline = now + self.interval

    def probe_at(self, deadline: float) -> None:
        """Have the timer expire at `deadline`, because of evidence that the peer is dead."""
        self.deadline = deadline

    def expired(self) -> None:
        """The timer has expired."""
        self.deadline = OFF

    def rearm(self, deadline: float) -> None:
        """The connection is not idle: have the timer expire at `deadline`. Without `enabled` it stood for a single
        probe, which an ICMP message had called for."""
        if self.enabled:
            self.deadline = deadline

    def take_probe(self) -> bool:
        """Return whether a probe is to leave, which is then no longer due. None is if the peer was heard of since."""
        self.probe_due = False
        return self.unanswered > 0
