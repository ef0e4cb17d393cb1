"""Detects the end of a peer process on this host at once, without waiting for keepalive.

Linux reports each UDP socket that is closed on the host. A report proves nothing about a peer, because another socket
may have taken its address. So a keepalive probe is sent on each connection to that address. If no socket is bound
there, an ICMP error answers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from utcp.aio.containment import later, report
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.link.base import Link
from utcp.link.closings import Closings, Peer
from utcp.link.sockopt import unmapped
from utcp.tcp.connection.path_errors import peer_socket_closed
from utcp.tcp.transmit import Remote

SCAN_INTERVAL: Final = 0.1
"""Seconds between two scans of all connections, because any process on this host can close UDP sockets in a loop."""

MAX_EXAMINED: Final = 1024


class LocalPeers:
    """The peers on this host of `endpoints`, the open endpoints of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoints: Collection[OpenEndpoint]) -> None:
        self._loop = loop
        self._endpoints = endpoints
        self._closings: Closings | None = None
        """Source of the reports, while there is a connection to another process on this host."""
        self._watched: dict[int, set[Peer]] = {}
        """Peers in other processes, by UDP port."""
        self.examined: set[tuple[Link, Remote]] = set()
        """Links and remotes whose peer is in `_watched` if it must be. Many connections have the same peer."""
        self._closed: set[Peer] = set()
        """Peers whose socket may be closed, until the next scan."""
        self._scan_timer: asyncio.TimerHandle | None = None
        self._no_scan_before = 0.0
        """Earliest time of the next scan, on the loop's clock."""

    def watch(self, link: Link, remote: Remote) -> None:
        """Watch a peer if it is another process on this host. If that fails, the reason is reported, and only keepalive
        detects the end of the peer."""
        try:
            address = link.peername(remote)
            if _is_on_this_host(link, remote) and not any(
                endpoint.link.receives_at(address) for endpoint in self._endpoints
            ):
                self._open_closings()
                self._watched.setdefault(address[1], set()).add(_peer_of(link, remote))
            if len(self.examined) >= MAX_EXAMINED:
                self.examined.clear()
            self.examined.add((link, remote))
        except Exception as error:
            report(self._loop, "watching a peer on this host failed; its end may be detected late", error)

    def _open_closings(self) -> None:
        if self._closings is not None:
            return
        try:
            closings = Closings()
        except OSError:
            return  # only keepalive detects the end of a peer
        try:
            self._loop.add_reader(closings.fileno(), self._sockets_closed, closings)
        except BaseException:
            closings.close()
            raise
        self._closings = closings

    def forget(self) -> None:
        """Have all peers examined again. An endpoint of this loop is closed, and may have been one of them."""
        self.examined.clear()

    def stop(self) -> None:
        """Stop watching all peers, because no endpoint is left."""
        self._close_closings()
        if self._scan_timer is not None:
            self._scan_timer.cancel()
            self._scan_timer = None
        self._closed.clear()
        self._watched.clear()
        self.examined.clear()

    def _sockets_closed(self, closings: Closings) -> None:
        closed = closings.read()
        if closed is None:
            self._closed.update(*self._watched.values())
        else:
            for host, port in closed:
                self._closed.update(peer for peer in self._watched.get(port, ()) if _received(host, peer))
        if self._closed and self._scan_timer is None:
            delay = self._no_scan_before - self._loop.time()
            if delay <= 0:
                self._scan()
            else:
                self._scan_timer = later(self._loop, delay, self._scan)

    def _scan(self) -> None:
        """Probe the peers whose socket may be closed. Remove those without a connection."""
        self._scan_timer = None
        self._no_scan_before = self._loop.time() + SCAN_INTERVAL
        closed, self._closed = self._closed, set()
        self.examined.clear()
        forgotten = closed.copy()
        for endpoint in list(self._endpoints):
            try:
                forgotten -= _probe(endpoint, closed)
            except Exception as error:  # the other endpoints must still be scanned
                forgotten.clear()
                report(self._loop, "processing a report of closed UDP sockets failed", error)
        for peer in forgotten:
            of_port = self._watched.get(peer[1], set())
            of_port.discard(peer)
            if not of_port:
                self._watched.pop(peer[1], None)
        if not self._watched:
            self._close_closings()  # else each DNS query of this host wakes the loop

    def _close_closings(self) -> None:
        if self._closings is not None:
            self._loop.remove_reader(self._closings.fileno())
            self._closings.close()
            self._closings = None


def _probe(endpoint: OpenEndpoint, peers: Collection[Peer]) -> set[Peer]:
    """Send a keepalive probe on each connection of an endpoint to one of `peers`. Return the peers found."""
    if endpoint.closed:
        return set()
    link, stack, now = endpoint.link, endpoint.stack, endpoint.link.now()
    found = set()
    for connection in list(stack.connections.values()):
        peer = _peer_of(link, connection.remote)
        if peer in peers and _is_on_this_host(link, connection.remote):
            found.add(peer)
            try:
                peer_socket_closed(connection, now)
            except BaseException as cause:
                if not stack.contain(connection, cause, now):
                    raise
    endpoint.flush_soon()
    return found


def _peer_of(link: Link, remote: Remote) -> Peer:
    """Return the peer's UDP address in the form of the reports."""
    host, port = link.peername(remote)[:2]
    return unmapped(host), port


def _is_on_this_host(link: Link, remote: Remote) -> bool:
    """Return whether a remote of `link` is another socket on this host. For such a remote, the kernel uses a loopback
    address, or the same address as source and destination."""
    host = link.peername(remote)[0]
    return host.startswith(("127.", "::ffff:127.")) or host in ("::1", link.sockname(remote)[0])


def _received(host: str, peer: Peer) -> bool:
    """Return whether a socket bound to `host` may have received datagrams to `peer`, which has the same port. A socket
    bound to the IPv6 wildcard address may also have received IPv4."""
    return host in (peer[0], "::") or (host == "0.0.0.0" and ":" not in peer[0])
