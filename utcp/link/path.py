"""Names of remotes, and the kernel's routes to them."""

import errno
import socket
from typing import Final, NamedTuple, cast

from utcp.link.sockopt import SocketAddress, path_payload, prepare_probe

__all__ = ["Route", "Routes", "SocketAddress", "UdpPath"]

ROUTE_LIFETIME: Final = 30.0
"""Seconds for which a route is cached."""

OPEN_ROUTE_LIFETIME: Final = 1.0
"""Seconds for which new connections use a cached route. It is short, because their source address must be current."""

_LOOKUP_FAILED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of a look-up that do not concern the route."""

MAX_ROUTES: Final = 1024

MAX_PROBES: Final = 16
"""Maximum number of look-up sockets, one for each local address."""


class UdpPath(NamedTuple):
    """A remote on a socket bound to the wildcard address: the peer, and the local address to which it sends."""

    peer: SocketAddress
    local: str


class Route(NamedTuple):
    """A route to a host: its address as in received datagrams, the local address, and the largest payload that the
    interface carries."""

    host: str
    scope_id: int
    local: str
    mtu: int


class Routes:
    """A cache of the kernel's routes, for ROUTE_LIFETIME and at most MAX_ROUTES hosts.

    A look-up connects a UDP socket, which sends nothing. One socket per local address is kept for this, so that a
    look-up for an unknown host, as for each SYN of a flood, takes few system calls.

    `takes_ipv4` means that the IPv6 socket that uses these routes also carries IPv4. Otherwise an IPv4-mapped address
    is unreachable (ENETUNREACH), as for the socket itself.
    """

    def __init__(self, family: int, *, takes_ipv4: bool = False) -> None:
        self._family = family
        self._takes_ipv4 = takes_ipv4
        self._known: dict[tuple[str, str, int], tuple[Route, float]] = {}
        self._probes: dict[tuple[str, int], socket.socket] = {}
        self._closed = False

    def find(self, peer: SocketAddress, local: str, now: float, max_age: float = ROUTE_LIFETIME) -> Route:
        """Return the route to `peer` from the local address `local`, which is "" if the kernel chooses it.

        A cached route is used up to the age of `max_age` seconds. The same object is returned while the route does not
        change. Raises OSError if there is no route, or if the host is not a numeric address.
        """
        key = (peer[0], local, peer[3] if len(peer) == 4 else 0)
        known = self._known.get(key)
        if known is not None and now - known[1] < max_age:
            return known[0]
        try:
            route = self._look_up(peer, local)
        except OSError as error:
            if known is not None and error.errno in _LOOKUP_FAILED and now - known[1] < ROUTE_LIFETIME:
                return known[0]
            self._known.pop(key, None)
            raise
        if known is not None and known[0] == route:
            route = known[0]
        if len(self._known) >= MAX_ROUTES:
            # No LRU: a lookup after eviction costs a few system calls.
            self._known.clear()
        self._known[key] = (route, now)
        return route

    def forget(self) -> None:
        """Drop the cached routes, because the kernel's routing has changed.

        All are dropped, because a change usually concerns several routes. For example, when an address of this host is
        removed, all routes from it are gone.
        """
        self._known.clear()

    def close(self) -> None:
        """Close the look-up sockets, and keep none from now on. Idempotent."""
        self._closed = True
        self._close_probes()

    def _look_up(self, peer: SocketAddress, local: str) -> Route:
        address = self._numeric(peer)
        if not local or self._closed:
            with self._probe() as probe:
                if local:
                    probe.bind(_any_port(local, address))
                return _route(probe, address)
        key = (local, _scope_id(address))
        kept = self._probes.get(key)
        if kept is None:
            if len(self._probes) >= MAX_PROBES:
                self._close_probes()
            kept = self._probe()
            try:
                kept.bind(_any_port(local, address))
            except BaseException:
                kept.close()
                raise
            self._probes[key] = kept
        try:
            return _route(kept, address)
        except OSError:
            # The local address may be gone, so that this socket is of no more use.
            self._probes.pop(key).close()
            raise

    def _probe(self) -> socket.socket:
        probe = socket.socket(self._family, socket.SOCK_DGRAM)
        if self._family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not self._takes_ipv4)
        prepare_probe(probe)
        return probe

    def _numeric(self, peer: SocketAddress) -> SocketAddress:
        """Return `peer` in numeric form, because connect() would block to resolve a name."""
        try:
            socket.inet_pton(self._family, peer[0])
        except OSError:  # "fe80::1%eth0", "127.1", or a name
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            found = socket.getaddrinfo(peer[0], peer[1], self._family, socket.SOCK_DGRAM, flags=flags)[0][4]
            scope_id = _scope_id(peer)
            return cast("SocketAddress", (*found[:3], scope_id) if scope_id else found)
        return peer

    def _close_probes(self) -> None:
        for probe in self._probes.values():
            probe.close()
        self._probes.clear()


def _route(probe: socket.socket, address: SocketAddress) -> Route:
    probe.connect(address)
    # In the kernel's form: 0.0.0.0 becomes 127.0.0.1, and a scope id remains only if the address needs one.
    connected = probe.getpeername()
    return Route(connected[0], _scope_id(connected), probe.getsockname()[0], path_payload(probe))


def _any_port(local: str, towards: SocketAddress) -> SocketAddress:
    return (local, 0) if len(towards) == 2 else (local, 0, 0, towards[3])


def _scope_id(address: SocketAddress) -> int:
    return address[3] if len(address) == 4 else 0
