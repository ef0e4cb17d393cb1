"""How many peers that have not authenticated yet may be in their TLS handshake: what a stranger can cost.

A connection costs about 50 kB while its handshake is under way, and a handshake about a millisecond of the processor.
Both are bounded, in total and for each host. A host is an IPv4 address, or the /64 network of an IPv6 address.

A host from which a handshake has succeeded is known: it brings all its users from one address, perhaps hundreds at
once, so that only the total bounds it. Behind that address an attacker may be as well; then the others suffer what the
total allows. Where the server asks no certificate of its peers, everybody is known after one handshake.

What is refused is reset. The other end of a tunnel tries again.
"""

from __future__ import annotations

from typing import Final, TypeVar

from utcp.aio.address import network_of

T = TypeVar("T")

MOST_HANDSHAKES: Final = 1024
"""Handshakes under way at once. Hosts that are not known take fewer than 650 of them: they get in by ALL, and each has
`tls.FIRST_RECORD_TIMEOUT` and `tls.HANDSHAKE_TIMEOUT`, 15 seconds together."""

ALL: Final = (256, 25.0)
"""Connections of all hosts that are not known: so many at once, and then so many a second."""

EACH: Final = (64, 2.0)
"""Connections of one host that is not known: so many at once, and then so many a second."""

MOST_HOSTS: Final = 4096
"""Hosts that are remembered, of each kind; the one that was not seen for longest is forgotten first."""


class Admission:
    """Decides who may begin a TLS handshake. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.handshakes = 0
        """Under way."""
        self._known: dict[str | bytes, None] = {}
        self._allowances: dict[str | bytes, _Allowance] = {}
        self._all = _Allowance(*ALL)

    def enter(self, host: str, now: float) -> bool:
        """Return whether a connection from `host` may begin its handshake. If so, `leave()` must follow."""
        if self.handshakes >= MOST_HANDSHAKES:
            return False
        key = network_of(host)
        # The host's own allowance first: one host alone must not use up what belongs to all.
        if key not in self._known and not (self._allowance(key).take(now) and self._all.take(now)):
            return False
        self.handshakes += 1
        return True

    def leave(self, host: str, *, succeeded: bool) -> None:
        """The handshake is over."""
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
    """A token bucket: `burst` at once, and then `rate` a second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at = 0.0
        """When `_left` was right."""

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _remember(hosts: dict[str | bytes, T], key: str | bytes, value: T) -> None:
    """As the one that was seen last."""
    hosts.pop(key, None)
    if len(hosts) >= MOST_HOSTS:
        del hosts[next(iter(hosts))]
    hosts[key] = value
