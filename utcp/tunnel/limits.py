"""Limits on the cost of unauthenticated peers: their TLS handshakes, and the log lines about them.

A connection costs about 50 kB during its handshake, and a handshake about a millisecond of CPU time. Both are bounded,
in total and for each host. A host is an IPv4 address, or the /64 network of an IPv6 address.

A host from which a handshake has succeeded is known. It may bring all its users from one address, perhaps hundreds at
once, so only the total bounds it. An attacker may share that address; then the total alone limits the effect on others.
If the server requests no certificates, every host is known after one handshake.

Connections beyond the limits are reset. The other end of a tunnel retries.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, TypeVar

from utcp.aio.address import network_of
from utcp.tcp.rate_limit import TokenBucket

T = TypeVar("T")

MOST_HANDSHAKES: Final = 1024
"""Maximum number of concurrent handshakes. Unknown hosts take fewer than 650 of them, because ALL limits their rate and
`tls.FIRST_RECORD_TIMEOUT` and `tls.HANDSHAKE_TIMEOUT` limit each to 15 seconds."""

ALL: Final = (25.0, 256)
"""Connections of all unknown hosts together: rate per second, and burst."""

EACH: Final = (2.0, 64)
"""Connections of one unknown host: rate per second, and burst."""

MOST_HOSTS: Final = 4096
"""Maximum number of remembered hosts of each kind. The least recently seen is forgotten first."""

PERIOD: Final = 60.0
"""Seconds within which each kind of problem gets one line per host. Repetitions are counted and logged at the end."""

MOST_LINES: Final = 64
"""Maximum number of lines per period. Problems of further hosts are only counted."""


class Admission:
    """Decides which connections may start a TLS handshake. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.handshakes = 0
        """Number of handshakes in progress."""
        self._known: dict[str | bytes, None] = {}
        self._allowances: dict[str | bytes, TokenBucket] = {}
        self._all = TokenBucket(*ALL)

    def enter(self, host: str, now: float) -> bool:
        """Return whether a connection from `host` may start its handshake, and count it. If so, `leave()` must
        follow."""
        if self.handshakes >= MOST_HANDSHAKES:
            return False
        key = network_of(host)
        # The host's own allowance first, so that a single host cannot use up the allowance of all.
        if key not in self._known and not (self._allowance(key).take(now) and self._all.take(now)):
            return False
        self.handshakes += 1
        return True

    def leave(self, host: str, *, succeeded: bool) -> None:
        """Record the end of a handshake."""
        self.handshakes -= 1
        if succeeded:
            key = network_of(host)
            self._allowances.pop(key, None)
            _remember(self._known, key, None)

    def _allowance(self, key: str | bytes) -> TokenBucket:
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = TokenBucket(*EACH)
        _remember(self._allowances, key, allowance)
        return allowance


class Complaints:
    """Logs problems of connections as warnings, one line per host, kind of problem and period, so that unauthenticated
    peers cannot fill a disk. Belongs to the running loop. Must be closed."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._repeated: dict[tuple[str, str], int] = {}
        """Suppressed repetitions of each line in this period, by host and text."""
        self._others = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, name: str, text: str) -> None:
        """Log the problem `text` of a peer, HOST:PORT, unless its host had the same line in this period."""
        key = (name.rpartition(":")[0], text)
        if key in self._repeated:
            self._repeated[key] += 1
        elif len(self._repeated) < MOST_LINES:
            self._repeated[key] = 0
            self._log.warning("%s: %s", name, text)
        else:
            self._others += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._sum_up)

    def close(self) -> None:
        """Log the counts and stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._sum_up()

    def _sum_up(self) -> None:
        self._timer = None
        for (host, text), count in self._repeated.items():
            if count:
                self._log.warning("%s: %s (%d more times)", host, text, count)
        if self._others:
            self._log.warning("%d more connections of other hosts failed", self._others)
        self._repeated.clear()
        self._others = 0


def _remember(hosts: dict[str | bytes, T], key: str | bytes, value: T) -> None:
    """Store the value, with the host as the most recently seen."""
    hosts.pop(key, None)
    if len(hosts) >= MOST_HOSTS:
        del hosts[next(iter(hosts))]
    hosts[key] = value
