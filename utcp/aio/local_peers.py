"""Peers that are other processes on this host: the end of such a process is noticed at once, not by keepalive.

Linux reports each UDP socket that is closed on the host. A report proves nothing about a peer, because another socket
may have its address by then. So the connections to that address are probed, and ICMP answers the probe if nothing is
bound there.
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
"""Seconds from one scan of all connections to the next. Any process on this host can close UDP sockets in a loop."""


class LocalPeers:
    """The peers of `endpoints`, the open endpoints of a loop, that are sockets on this host."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoints: Collection[OpenEndpoint]) -> None:
        self._loop = loop
        self._endpoints = endpoints
        self._closings: Closings | None = None
        """Reports of closed UDP sockets, while there is a connection to another process on this host."""
        self._watched: dict[int, set[Peer]] = {}
        """The peers in other processes, by their UDP port."""
        self._met: dict[int, set[Peer]] = {}
        """The peers in other processes and those on this loop, by their UDP port."""
        self._closed: set[Peer] = set()
        """Peers whose socket may be closed, until the next scan."""
        self._scan_timer: asyncio.TimerHandle | None = None
        self._no_scan_before = 0.0
        """A time of the loop's clock."""

    def watch(self, link: Link, remote: Remote) -> None:
        """Notice the end of a peer at once, if it is another process on this host. If that cannot be arranged, the
        reason is reported, and keepalive will notice the end."""
        try:
            address = link.peername(remote)
            peer = _peer_of(link, remote)
            port = peer[1]
            if peer in self._met.get(port, ()) or not _is_on_this_host(link, remote):
                return
            if not any(endpoint.link.receives_at(address) for endpoint in self._endpoints):
                self._open_closings()
                self._watched.setdefault(port, set()).add(peer)
            self._met.setdefault(port, set()).add(peer)
        except Exception as error:
            report(self._loop, "the end of a peer on this host may be noticed late", error)

    def _open_closings(self) -> None:
        if self._closings is not None:
            return
        try:
            closings = Closings()
        except OSError:
            return  # keepalive will notice the end of a peer
        try:
            self._loop.add_reader(closings.fileno(), self._sockets_closed, closings)
        except BaseException:
            closings.close()
            raise
        self._closings = closings

    def forget(self, port: int) -> None:
        """Ask anew about peers with this UDP port, because an endpoint of this loop that had it is closed."""
        self._met.pop(port, None)

    def stop(self) -> None:
        """Watch no peer any more, because no endpoint is left."""
        self._close_closings()
        if self._scan_timer is not None:
            self._scan_timer.cancel()
            self._scan_timer = None
        self._closed.clear()
        self._watched.clear()
        self._met.clear()

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
        """Probe the peers whose socket may be closed. Forget those that have no connection."""
        self._scan_timer = None
        self._no_scan_before = self._loop.time() + SCAN_INTERVAL
        closed, self._closed = self._closed, set()
        forgotten = closed.copy()
        for endpoint in list(self._endpoints):
            try:
                forgotten -= _probe(endpoint, closed)
            except Exception as error:  # the other endpoints still get the report
                forgotten.clear()
                report(self._loop, "a report of closed UDP sockets was not handled", error)
        for peer in forgotten:
            _remove(self._watched, peer)
            _remove(self._met, peer)
        if not self._watched:
            self._close_closings()  # each DNS query of this host would wake the loop

    def _close_closings(self) -> None:
        if self._closings is not None:
            self._loop.remove_reader(self._closings.fileno())
            self._closings.close()
            self._closings = None


def _probe(endpoint: OpenEndpoint, peers: Collection[Peer]) -> set[Peer]:
    """Probe these peers of an endpoint. Return those that have a connection."""
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
    """Return the peer's UDP address as reports of closed sockets have it."""
    host, port = link.peername(remote)[:2]
    return unmapped(host), port


def _is_on_this_host(link: Link, remote: Remote) -> bool:
    """Return whether a remote of `link` is another socket on this host: there the kernel sends from the address that it
    sends to."""
    host = link.peername(remote)[0]
    return host.startswith(("127.", "::ffff:127.")) or host in ("::1", link.sockname(remote)[0])


def _received(host: str, peer: Peer) -> bool:
    """Return whether a socket bound to `host` may have received what is sent to `peer`, which has the same port. A
    socket that is bound to all addresses of IPv6 may also have received IPv4."""
    return host in (peer[0], "::") or (host == "0.0.0.0" and ":" not in peer[0])


def _remove(peers: dict[int, set[Peer]], peer: Peer) -> None:
    of_port = peers.get(peer[1], set())
    of_port.discard(peer)
    if not of_port:
        peers.pop(peer[1], None)
