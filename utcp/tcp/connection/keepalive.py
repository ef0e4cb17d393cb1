"""Keepalive: probes to the peer of an idle connection (RFC 9293 3.8.4)."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.config import Config

OFF: Final = inf


@mypyc_attr(acyclic=True)
class Keepalive:
    """Owns the keepalive timer and the count of unanswered probes. Times are in seconds."""

    __slots__ = ("count", "deadline", "enabled", "idle", "interval", "unanswered")

    def __init__(self, config: Config, now: float) -> None:
        """Begin at the end of the handshake, with keepalive on if `config` has it on."""
        self.enabled = config.keepalive
        """True while keepalive is on."""
        self.idle = config.keepalive_idle
        """Idle time before the first probe, seconds."""
        self.interval = config.keepalive_interval
        """Time between unanswered probes, seconds."""
        self.count = config.keepalive_count
        """Number of unanswered probes after which the peer is considered dead."""
        self.deadline = now + config.keepalive_idle if config.keepalive else OFF
        """Expiry of the timer, seconds; `inf`: off."""
        self.unanswered = 0
        """Number of probes since the last acceptable segment of the peer."""

    def configure(self, idle: float | None = None, interval: float | None = None, count: int | None = None) -> None:
        """Change the settings that are not None. They apply from the next start of the timer on."""
        if idle is not None:
            self.idle = idle
        if interval is not None:
            self.interval = interval
        if count is not None:
            self.count = count

    def start(self, now: float) -> None:
        """Turn keepalive on at `now`."""
        self.enabled = True
        self.unanswered = 0
        self.deadline = now + self.idle

    def stop(self) -> None:
        """Turn keepalive off."""
        self.enabled = False
        self.deadline = OFF

    def peer_answered(self) -> None:
        """Clear the unanswered probes, because an acceptable segment arrived."""
        self.unanswered = 0

    def probe(self, now: float) -> None:
        """Count a probe, which the next flush sends, and set the timer."""
        self.unanswered += 1
        if self.enabled:
            self.deadline = now + self.interval

    def probe_at(self, deadline: float) -> None:
        """Set the timer to `deadline`, because of evidence that the peer is dead."""
        self.deadline = deadline

    def expired(self) -> None:
        """Turn off the timer, because it has expired."""
        self.deadline = OFF

    def rearm(self, deadline: float) -> None:
        """Set the timer to `deadline`, because the connection is not idle. If keepalive is off, the timer stays off,
        because it was for a single probe after an ICMP message."""
        if self.enabled:
            self.deadline = deadline


NOT_STARTED: Final = Keepalive(Config(keepalive=False), 0.0)
"""The object of all connections whose handshake is under way. It never changes: `Tcb.establish` and the user's settings
make another one."""
