"""Where datagrams go: names of remotes, and what the kernel's routing says about the way there."""

import errno
import socket
from typing import Final, NamedTuple, cast

from utcp.link.sockopt import SocketAddress, path_payload, prepare_probe

__all__ = ["Route", "Routes", "SocketAddress", "UdpPath"]

ROUTE_LIFETIME: Final = 30.0
"""Seconds a route is believed."""

OPEN_ROUTE_LIFETIME: Final = 1.0
"""Seconds that a new connection uses a remembered route. It should leave from the address that this host has now."""

_CANNOT_ASK: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that leave a question about a route without an answer."""

MAX_ROUTES: Final = 1024

MAX_PROBES: Final = 16
"""Sockets kept to ask with: one for each of our addresses that peers write to."""


class UdpPath(NamedTuple):
    """A remote on a socket bound to the wildcard address: the peer, and our address that it writes to."""

    peer: SocketAddress
    local: str


class Route(NamedTuple):
    """The way to a host: its address as received datagrams name it, our address towards it, and the largest payload
    that the interface takes."""

    host: str
    scope_id: int
    local: str
    mtu: int


class Routes:
    """The kernel's answers about routes, kept for ROUTE_LIFETIME and for at most MAX_ROUTES hosts.

    It asks by connecting a UDP socket, which sends nothing. One socket for each of our addresses is kept for that, so a
    question about a host never heard of, as each SYN of a flood brings one, costs few system calls.

    `takes_ipv4`: an IPv6 socket whose routes are asked for also carries IPv4. Otherwise an IPv4 address that is mapped
    into IPv6 is unreachable (ENETUNREACH), as it is for the socket itself.
    """

    def __init__(self, family: int, *, takes_ipv4: bool = False) -> None:
        self._family = family
        self._takes_ipv4 = takes_ipv4
        self._known: dict[tuple[str, int, str], tuple[Route, float]] = {}
        self._probes: dict[tuple[str, int], socket.socket] = {}
        self._closed = False

    def find(self, peer: SocketAddress, local: str, now: float, max_age: float = ROUTE_LIFETIME) -> Route:
        """The route to `peer`, from our address `local` ("" for whichever the kernel chooses), `max_age` seconds old or
        less. The object is the same for as long as the answer is.

        Raises OSError when there is no route or the host is not a numeric address (names are not looked up here).
        """
        key = (peer[0], _scope_id(peer), local)
        known = self._known.get(key)
        if known is not None and now - known[1] < max_age:
            return known[0]
        try:
            route = self._ask(peer, local)
        except OSError as error:
            if known is not None and error.errno in _CANNOT_ASK and now - known[1] < ROUTE_LIFETIME:
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
        """Ask again next time: something shows that the kernel's routing has changed.

        All routes go, because a change concerns more of them than the one that showed it: when an address of this host
        is gone, so are the routes from it to every host, under every name of the host.
        """
        self._known.clear()

    def close(self) -> None:
        """Keep no sockets from now on. Idempotent."""
        self._closed = True
        self._close_probes()

    def _ask(self, peer: SocketAddress, local: str) -> Route:
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
            # Perhaps our address is gone, and with it all that this socket can tell.
            self._probes.pop(key).close()
            raise

    def _probe(self) -> socket.socket:
        probe = socket.socket(self._family, socket.SOCK_DGRAM)
        if self._family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not self._takes_ipv4)
        prepare_probe(probe)
        return probe

    def _numeric(self, peer: SocketAddress) -> SocketAddress:
        """`peer` without names in it: connect() would look them up, and wait."""
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
    # As the kernel names it: 0.0.0.0 has become 127.0.0.1, a scope id stays only where the address needs one.
    connected = probe.getpeername()
    return Route(connected[0], _scope_id(connected), probe.getsockname()[0], path_payload(probe))


def _any_port(local: str, towards: SocketAddress) -> SocketAddress:
    return (local, 0) if len(towards) == 2 else (local, 0, 0, towards[3])


def _scope_id(address: SocketAddress) -> int:
    return address[3] if len(address) == 4 else 0
