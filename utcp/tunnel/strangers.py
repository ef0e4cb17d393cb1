"""Limits the TLS handshakes of unauthenticated peers, and so their cost.

A connection costs about 50 kB during its handshake, and a handshake about a millisecond of CPU time. Both are bounded,
in total and for each host. A host is an IPv4 address, or the /64 network of an IPv6 address.

A host from which a handshake has succeeded is known. It may bring all its users from one address, perhaps hundreds at
once, so only the total bounds it. An attacker may share that address; then the total alone limits the effect on others.
If the server requests no certificates, every host is known after one handshake.

Connections beyond the limits are reset. The other end of a tunnel retries.
"""

from __future__ import annotations

from typing import Final, TypeVar

from utcp.aio.address import network_of

T = TypeVar("T")

MOST_HANDSHAKES: Final = 1024
"""Maximum number of concurrent handshakes. Unknown hosts take fewer than 650 of them, because ALL limits their rate and
`tls.FIRST_RECORD_TIMEOUT` and `tls.HANDSHAKE_TIMEOUT` limit each to 15 seconds."""

ALL: Final = (256, 25.0)
"""Connections of all unknown hosts together: burst, and rate per second."""

EACH: Final = (64, 2.0)
"""Connections of one unknown host: burst, and rate per second."""

MOST_HOSTS: Final = 4096
"""Maximum number of remembered hosts of each kind. The least recently seen is forgotten first."""


class Admission:
    """Decides which connections may start a TLS handshake. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.handshakes = 0
        """Number of handshakes in progress."""
        self._known: dict[str | bytes, None] = {}
        self._allowances: dict[str | bytes, _Allowance] = {}
        self._all = _Allowance(*ALL)

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

    def _allowance(self, key: str | bytes) -> _Allowance:
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = _Allowance(*EACH)
        _remember(self._allowances, key, allowance)
        return allowance


class _Allowance:
    """A token bucket: `burst` at once, then `rate` per second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at = 0.0
        """Time to which `_left` applies."""

    def take(self, now: float) -> bool:
        """Take one token. Return False if there is none."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _remember(hosts: dict[str | bytes, T], key: str | bytes, value: T) -> None:
    """Store the value, with the host as the most recently seen."""
    hosts.pop(key, None)
    if len(hosts) >= MOST_HOSTS:
        del hosts[next(iter(hosts))]
    hosts[key] = value
