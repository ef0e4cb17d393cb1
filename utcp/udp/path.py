"""Where datagrams go: names of remotes, and what the kernel's routing says about the way there."""

import socket
from typing import Final, NamedTuple, TypeAlias

from utcp.udp.sockopt import path_payload

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""`(host, port)` for IPv4, `(host, port, flowinfo, scope_id)` for IPv6; the host is numeric."""

ROUTE_LIFETIME: Final = 30.0
"""Seconds a route is believed. The kernel forgets a path MTU it has learned after 10 minutes (RFC 1191 6.3)."""

MAX_ROUTES: Final = 1024


class UdpPath(NamedTuple):
    """A remote on a socket bound to the wildcard address: the peer, and our address that it writes to."""

    peer: SocketAddress
    local: str


class Route(NamedTuple):
    """The way to a host: its address as received datagrams name it, our address towards it, the largest payload."""

    host: str
    scope_id: int
    local: str
    mtu: int


class Routes:
    """The kernel's answers about routes, kept for ROUTE_LIFETIME and for at most MAX_ROUTES hosts."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._known: dict[tuple[str, int, str], tuple[Route, float]] = {}

    def find(self, peer: SocketAddress, local: str, now: float) -> Route:
        """The route to `peer`, from our address `local` ("" for whichever the kernel chooses).

        A question not asked before costs five system calls on a socket of its own (about 20 microseconds); nothing is
        sent. Raises OSError when there is no route or the host is not a numeric address (names are not looked up here).
        """
        key = (peer[0], _scope_id(peer), local)
        known = self._known.get(key)
        if known is not None and now < known[1]:
            return known[0]
        route = self._ask(peer, local)
        if len(self._known) >= MAX_ROUTES:
            # Not worth an order of use: a route asked for again is one cheap question.
            self._known.clear()
        self._known[key] = (route, now + ROUTE_LIFETIME)
        return route

    def forget(self, peer: SocketAddress, local: str) -> None:
        """Ask again next time: a send has failed in a way that says the route has changed."""
        self._known.pop((peer[0], _scope_id(peer), local), None)

    def _ask(self, peer: SocketAddress, local: str) -> Route:
        numeric = socket.getaddrinfo(
            peer[0], peer[1], self._family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )[0][4]
        address = numeric
        scope_id = _scope_id(peer)
        if scope_id:
            address = (*numeric[:3], scope_id)
        with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
            if local:
                probe.bind((local, 0) if len(address) == 2 else (local, 0, 0, address[3]))
            probe.connect(address)
            # As the kernel names it: 0.0.0.0 has become 127.0.0.1, a scope id stays only where the address needs one.
            connected = probe.getpeername()
            return Route(connected[0], _scope_id(connected), probe.getsockname()[0], path_payload(probe))


def _scope_id(address: SocketAddress) -> int:
    return address[3] if len(address) == 4 else 0
