"""The endpoints of an event loop: those that clients share, those that linger, and their closing at the loop's end."""

from __future__ import annotations

import asyncio
import atexit
import os
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from utcp.config import Config
from utcp.link.base import Link
from utcp.link.closings import Closings, Peer
from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.link.sockopt import unmapped
from utcp.tcp.transmit import Remote
from utcp.trace import registry

if TYPE_CHECKING:
    from utcp.aio.control import Control
    from utcp.aio.endpoint import Endpoint
    from utcp.aio.recording import FileRecording

SCAN_INTERVAL: Final = 0.1
"""Seconds from one walk over all connections to the next. Any process on this host can close UDP sockets in a loop."""


class LoopEndpoints:
    """All started endpoints of one loop.

    Those that nobody else owns (a loop's clients share theirs; a server's outlives the server) are closed here at the
    loop's end, and so are those that their owner forgot. Both loops' runners offer one hook for that: before they close
    the loop they finalise its asynchronous generators, so one is kept suspended. For programs without a runner the
    loop's `close()` does that first, and the end of the process does it if the loop was not closed.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._started: dict[Endpoint, None] = {}  # in order: simulated runs are reproducible
        self._clients: dict[SocketAddress, list[Endpoint]] = {}
        self._lingering: dict[SocketAddress, Endpoint] = {}
        self.controls: dict[str, Control] = {}
        """The loop's control sockets, by the path that was asked for."""
        self.leaving: dict[Control, None] = {}
        """Those that are closed, and have clients who have not read all yet."""
        self.recording: FileRecording | None = None
        """What UTCP_PCAP asks for."""
        self._closings: Closings | None = None
        """Reports of closed UDP sockets, while there is a connection to another process on this host."""
        self._watched: dict[int, set[Peer]] = {}
        """The peers in such processes, by their UDP port."""
        self._met: dict[int, set[Peer]] = {}
        """These, and the peers on this loop."""
        self._closed: set[Peer] = set()
        """Peers whose socket may be closed, until the next scan."""
        self._scan_timer: asyncio.TimerHandle | None = None
        self._no_scan_before = 0.0
        """A time of the loop's clock."""
        self.hurried = False
        """The end of the loop waits for nothing."""
        self._loop: Any = asyncio.get_running_loop()
        self._process = os.getpid()
        self._guard = self._closed_with_the_loop()
        try:
            # The loop learns of the generator by its first step, which runs up to the yield.
            self._guard.asend(None).send(None)
        except StopIteration:
            pass
        if not platform.simulated:
            self._replaced_close = vars(self._loop).get("close")
            self._close_loop = self._loop.close
            self._loop.close = self._close  # type: ignore[method-assign]  # no loop offers a hook for it
            _unclosed.add(self)

    @classmethod
    def of(cls, platform: Platform) -> LoopEndpoints:
        """Those of the running loop, whose platform this is."""
        endpoints: LoopEndpoints | None = platform.get_endpoints()
        if endpoints is None:
            endpoints = cls(platform)
            platform.set_endpoints(endpoints)
        return endpoints

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(list(self._started))

    def add(self, endpoint: Endpoint) -> None:
        """It has begun."""
        self._started[endpoint] = None
        if not self._platform.simulated:
            registry.opened(endpoint)
        for control in self.controls.values():
            if control.for_all:
                control.begin(endpoint)

    def discard(self, endpoint: Endpoint) -> None:
        """It is closed."""
        self._started.pop(endpoint, None)
        self._met.pop(endpoint.address[1], None)
        registry.closed(endpoint)
        for clients in self._clients.values():
            if endpoint in clients:
                clients.remove(endpoint)
        if self._lingering.get(endpoint.address) is endpoint:
            del self._lingering[endpoint.address]
        for control in list(self.controls.values()):
            control.end(endpoint)
        if self.recording is not None:
            self.recording.end(endpoint)
        if not self._started:
            self._stop_watching()

    def has_read(self, address: SocketAddress) -> bool:
        """Whether the endpoints that receive what this host sends to `address` have read all that came.

        An endpoint that has not reads again in the next turn: its batch may have ended just where there was nothing
        more.
        """
        undrained = [
            endpoint for endpoint in self._started if not endpoint.link.drained and endpoint.link.receives_at(address)
        ]
        for endpoint in undrained:
            endpoint.read_soon()
        return not undrained

    def client(self, address: SocketAddress, config: Config) -> Endpoint | None:
        """The endpoint from which clients connect that ask for the local UDP address `address` (its port 0: any); None
        when there is none yet."""
        for endpoint in self._clients.get(address, ()):
            # Identity first: comparing two configurations means comparing their thirty fields.
            if endpoint.config is config or endpoint.config == config:
                return endpoint
        return None

    def share(self, address: SocketAddress, endpoint: Endpoint) -> None:
        """From now on `client()` finds it."""
        self._clients.setdefault(address, []).append(endpoint)

    def watch(self, link: Link, remote: Remote) -> None:
        """See to it that the death of a peer is noticed at once, if it is another process on this host."""
        address = link.peername(remote)
        peer = peer_of(link, remote)
        port = peer[1]
        if peer in self._met.get(port, ()) or not is_on_this_host(link, remote):
            return
        self._met.setdefault(port, set()).add(peer)
        if any(endpoint.link.receives_at(address) for endpoint in self._started):
            return
        self._watched.setdefault(port, set()).add(peer)
        if self._closings is None:
            try:
                closings = Closings()
            except OSError:
                return  # keepalive will notice it
            self._closings = closings
            self._loop.add_reader(closings.fileno(), self._sockets_closed, closings)

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
                self._scan_timer = self._loop.call_later(delay, self._scan)

    def _scan(self) -> None:
        """Have the endpoints probe the peers whose socket may be closed. Forget those that have no connection."""
        self._scan_timer = None
        self._no_scan_before = self._loop.time() + SCAN_INTERVAL
        closed, self._closed = self._closed, set()
        forgotten = closed.copy()
        for endpoint in self:
            try:
                forgotten -= endpoint.sockets_closed(closed)
            except Exception as error:  # the other endpoints still get the report
                forgotten.clear()
                self._loop.call_exception_handler(
                    {"message": "A report of closed UDP sockets was not handled", "exception": error}
                )
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

    def _stop_watching(self) -> None:
        self._close_closings()
        if self._scan_timer is not None:
            self._scan_timer.cancel()
            self._scan_timer = None
        self._closed.clear()
        self._watched.clear()
        self._met.clear()

    def vanish(self) -> None:
        """The machine that they were on is gone; see Endpoint.vanish()."""
        for endpoint in list(self._started):
            endpoint.vanish()
        self._started.clear()

    def end(self) -> None:
        """Close the endpoints as a runner does, for a program that has none. Do nothing if a runner has closed them.

        The loop runs for that, up to `Config.close_timeout`. If it cannot, because another one runs in this thread,
        what is not delivered is reset, and a ResourceWarning says so. An interrupt resets it as well. If the program is
        `hurried`, it is reset at once.
        """
        loop = self._loop
        if self not in _unclosed or not self._may_end():
            return
        if self.hurried:
            self.reset()
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            try:
                loop.run_until_complete(self._guard.aclose())
            finally:
                self.reset()
            return
        undelivered = self.reset()
        if undelivered:
            warnings.warn(
                f"loop.close() has reset {undelivered} utcp connections, because another loop runs in this thread:"
                " await writer.wait_closed(), or loop.shutdown_asyncgens(), before",
                ResourceWarning,
                stacklevel=3,
                source=loop,
            )

    def _close(self) -> None:
        """Close the endpoints, then the loop. Stands in for the loop's own close()."""
        try:
            self.end()
        finally:
            if self._may_end():  # a runner's end was interrupted, or the collector has found the loop
                self.reset()
            self._close_loop()

    def _may_end(self) -> bool:
        """Whether this process may close them: a running loop cannot be closed, and a forked process has copies of its
        parent's connections."""
        return self._process == os.getpid() and not self._loop.is_running() and not self._loop.is_closed()

    def reset(self) -> int:
        """Close at once what is left, control sockets included. Returns how many connections had something
        undelivered."""
        undelivered = sum(endpoint.close_now() for endpoint in self)
        for control in (*self.controls.values(), *self.leaving):
            control.close_now()
        return undelivered

    def _restore_close(self) -> None:
        """Give the loop back the close() that it had, unless it has got another one since, which calls ours."""
        replaced = vars(self._loop).get("close")
        if replaced != self._close:
            return
        if self._replaced_close is None:
            del self._loop.close
        else:
            self._loop.close = self._replaced_close

    def linger(self, endpoint: Endpoint) -> None:
        """Its server is closed, and it stays for the connections that are left, TIME_WAIT included."""
        self._lingering[endpoint.address] = endpoint

    def adopt(self, address: SocketAddress, config: Config) -> Endpoint | None:
        """A lingering endpoint on `address`, which lingers no longer.

        So a server can be started again on its port while connections of the last one are in TIME_WAIT.
        """
        endpoint = self._lingering.get(address)
        if endpoint is None or endpoint.config != config:
            return None
        del self._lingering[address]
        endpoint.keep_open()
        return endpoint

    async def _closed_with_the_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._platform.set_endpoints(None)
            _unclosed.discard(self)
            endpoints = list(self._started)
            # All stay until the last is done: they may be each other's peers.
            await asyncio.gather(*(endpoint.drain() for endpoint in endpoints))
            await asyncio.gather(*(endpoint.finish() for endpoint in endpoints))
            await asyncio.gather(*(control.aclose() for control in (*self.controls.values(), *self.leaving)))
            if not self._platform.simulated:
                self._restore_close()


def peer_of(link: Link, remote: Remote) -> Peer:
    """Return the peer's UDP address as reports of closed sockets have it."""
    host, port = link.peername(remote)[:2]
    return unmapped(host), port


def is_on_this_host(link: Link, remote: Remote) -> bool:
    """Return whether a remote of `link` is another socket on this host: there the kernel sends from the address that it
    sends to."""
    host = link.peername(remote)[0]
    return host.startswith(("127.", "::ffff:127.")) or host in ("::1", link.sockname(remote)[0])


def _received(host: str, peer: Peer) -> bool:
    """Whether a socket bound to `host` may have received what is sent to `peer`, which has the same port. A socket that
    is bound to all addresses of IPv6 may also have received IPv4."""
    return host in (peer[0], "::") or (host == "0.0.0.0" and ":" not in peer[0])


def _remove(peers: dict[int, set[Peer]], peer: Peer) -> None:
    of_port = peers.get(peer[1], set())
    of_port.discard(peer)
    if not of_port:
        peers.pop(peer[1], None)


_unclosed: Final[WeakSet[LoopEndpoints]] = WeakSet()
"""The endpoints of loops that are not closed."""


@atexit.register
def _end_all() -> None:
    with ExitStack() as ends:  # each is called, whatever another one raises
        for endpoints in list(_unclosed):
            ends.callback(endpoints.end)
