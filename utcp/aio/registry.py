"""The registry of an event loop's open endpoints, which clients share, servers take over, and the loop's end closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from os import PathLike
from typing import Any, Final, Protocol, TypeAlias

from utcp.aio.address import network_of
from utcp.aio.containment import attempt, report
from utcp.aio.driver import Driver
from utcp.aio.local_peers import LocalPeers
from utcp.aio.loop_end import LoopEnd
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.config import Config
from utcp.link.base import Link
from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.trace import default_observer, log_event
from utcp.trace import registry as process_endpoints

ControlPath: TypeAlias = str | PathLike[str] | bool | None
"""The control socket of an endpoint: its path, True for one in the default directory, None or False for none."""


DEFAULT_CONFIG: Final = Config()
"""Configuration of endpoints for which none is given."""

_NOT_CLOSED: Final = "closing a part of the endpoints of a loop failed"


class Watcher(Protocol):
    """Follows the endpoints of one loop. `utcp.inspect` implements it, so that this package need not import it."""

    def opened(self, endpoint: OpenEndpoint, control: ControlPath) -> None:
        """Handle the opening of an endpoint. An exception closes the endpoint again."""

    def closed(self, endpoint: OpenEndpoint) -> None:
        """Handle the end of an endpoint, or its failed opening."""

    async def aclose(self) -> None:
        """Close in good order, because the loop ends. All endpoints are closed already."""

    def close_now(self) -> None:
        """Close without waiting, because the loop ends."""


class LoopEndpoints:
    """All open endpoints of one loop.

    The end of the loop closes them. This includes endpoints without an owner, such as those that the loop's clients
    share and those of closed servers, and endpoints that their owner has not closed.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._loop = asyncio.get_running_loop()
        self._open: dict[OpenEndpoint, None] = {}  # ordered, so that simulated runs are reproducible
        self._clients: dict[SocketAddress, list[OpenEndpoint]] = {}
        self._lingering: dict[SocketAddress, OpenEndpoint] = {}
        self._local_peers = LocalPeers(self._loop, self._open.keys())
        self._end = LoopEnd(self, simulated=platform.simulated)
        self.watchers: Final = tuple(make(self) for make in _watchers)

    @classmethod
    def of_running_loop(cls) -> LoopEndpoints:
        """Return the registry of the running loop."""
        platform = Platform.of(asyncio.get_running_loop())
        endpoints: LoopEndpoints | None = platform.endpoints
        if endpoints is None:
            endpoints = cls(platform)
            platform.set_endpoints(endpoints)
        return endpoints

    def __iter__(self) -> Iterator[OpenEndpoint]:
        return iter(list(self._open))

    def bind(self, family: int, address: SocketAddress, config: Config, *, reuse_port: bool = False) -> OpenEndpoint:
        """Open an endpoint on a new socket bound to `address`. Raises OSError with asyncio's text."""
        return self.open(self._platform.bind(family, address, reuse_port=reuse_port), config)

    @property
    def simulated(self) -> bool:
        """Whether the loop belongs to a simulated network, which has no files."""
        return self._platform.simulated

    # --- opening and closing

    def open(
        self, link: Link, config: Config, *, observer: Observer | None = None, control: ControlPath = None
    ) -> OpenEndpoint:
        """Open an endpoint on `link`, on the running loop.

        Args:
            link: the link, which belongs to the endpoint from now on.
            config: the configuration of the endpoint.
            observer: gets the events of the stack; None: the default observer.
            control: the control socket to open.

        Raises the exception of the loop if it cannot watch the link, and that of a control socket that cannot be
        opened. The link is closed then.
        """
        platform = self._platform
        # A window beyond the socket's buffer causes loss. A growing one may exceed it, because it grows only with data
        # that has arrived.
        capacity = max(2048, link.receive_capacity)
        memory = config.max_memory
        if memory is None:
            memory = platform.share_of_memory(process_endpoints.memory_limits())
        if config.recv_buffer is None:
            initial = min(config.initial_recv_buffer, capacity)
            fitted = replace(config, initial_recv_buffer=initial, max_memory=memory)
        else:
            fitted = replace(config, recv_buffer=min(config.recv_buffer, capacity), max_memory=memory)
        try:
            stack = Stack(
                fitted,
                secret=platform.secret(),
                mtu=link.mtu,
                host=lambda remote: network_of(link.peername(remote)[0]),
                default_mss=1220 if len(link.address) == 4 else 536,  # RFC 9293 3.7.1, MUST-15
            )
            own = default_observer() if observer is None else observer
            for each in (own, *platform.observers(stack, link.address)):
                if each is not None:
                    stack.observe_also(each)
            peers = None if platform.simulated else self._local_peers
            driver = Driver(self._loop, link, stack, self.has_read, peers)
        except BaseException:  # some loops cannot watch descriptors
            link.close()
            raise
        endpoint = OpenEndpoint(driver, config, self)
        try:
            for watcher in self.watchers:
                watcher.opened(endpoint, control)
            if not platform.simulated:
                process_endpoints.opened(endpoint)
            self._open[endpoint] = None
        except BaseException:
            endpoint.close_now()
            raise
        log_event("utcp.endpoint_opened", address=link.address)
        return endpoint

    def discard(self, endpoint: OpenEndpoint) -> None:
        """Remove an endpoint that is closed, or whose opening has failed."""
        was_open = endpoint in self._open
        self._open.pop(endpoint, None)
        self._local_peers.forget()
        process_endpoints.closed(endpoint)
        for clients in self._clients.values():
            if endpoint in clients:
                clients.remove(endpoint)
        if self._lingering.get(endpoint.address) is endpoint:
            del self._lingering[endpoint.address]
        for watcher in self.watchers:
            attempt(self._loop, _NOT_CLOSED, watcher.closed, endpoint)
        if not self._open:
            self._local_peers.stop()
        if was_open:
            log_event("utcp.endpoint_closed", address=endpoint.address)

    # --- reading

    def has_read(self, address: SocketAddress, deadline: float) -> bool:
        """Return whether the endpoints that receive at `address` on this host have read everything that had arrived by
        `deadline`, a time of their links' clock.

        The others read again in the next turn, because their last batch may have ended exactly at the last datagram.
        """
        undrained = [
            endpoint
            for endpoint in self._open
            if not endpoint.has_read(deadline) and endpoint.link.receives_at(address)
        ]
        for endpoint in undrained:
            endpoint.read_soon()
        return not undrained

    # --- endpoints without an owner

    def client(self, family: int, address: SocketAddress, config: Config) -> OpenEndpoint:
        """Return the endpoint that all clients with the local UDP address `address` share. Port 0 stands for any.

        The first call opens it. Raises OSError if the address cannot be bound.
        """
        for endpoint in self._clients.get(address, ()):
            # Identity first, because == compares all thirty fields.
            if endpoint.config is config or endpoint.config == config:
                return endpoint
        endpoint = self.bind(family, address, config)
        self._clients.setdefault(address, []).append(endpoint)
        return endpoint

    def linger(self, endpoint: OpenEndpoint) -> None:
        """Keep the endpoint of a closed server until its connections, TIME_WAIT included, are gone."""
        self._lingering[endpoint.address] = endpoint

    def adopt(self, address: SocketAddress, config: Config) -> OpenEndpoint | None:
        """Take over the lingering endpoint on `address`, or return None if there is none.

        So a server can be started again on its port while connections of the previous one are in TIME_WAIT.
        """
        endpoint = self._lingering.get(address)
        if endpoint is None or endpoint.config != config:
            return None
        del self._lingering[address]
        endpoint.keep_open()
        return endpoint

    # --- the end of the loop

    def end_at_once(self) -> None:
        """Let the end of the loop wait for nothing."""
        self._end.end_at_once()

    async def aclose(self) -> None:
        """Deliver queued data and close all endpoints, because the loop ends."""
        self._platform.set_endpoints(None)
        endpoints = list(self._open)
        # All links stay open until the last endpoint is drained, because endpoints may be each other's peers.
        await self._all(endpoint.drain() for endpoint in endpoints)
        await self._all(endpoint.finish() for endpoint in endpoints)
        await self._all(watcher.aclose() for watcher in self.watchers)

    async def _all(self, ends: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Wait for all of them, and report their exceptions."""
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if result is not None:
                report(self._loop, _NOT_CLOSED, result)

    def close_now(self) -> int:
        """Close all endpoints at once. Return how many connections had undelivered data."""
        undelivered = sum(attempt(self._loop, _NOT_CLOSED, endpoint.close_now) or 0 for endpoint in self)
        for watcher in self.watchers:
            attempt(self._loop, _NOT_CLOSED, watcher.close_now)
        return undelivered

    def vanish(self) -> None:
        """Drop all endpoints of a simulated machine that loses its power (`OpenEndpoint.vanish()`)."""
        for endpoint in self:
            endpoint.vanish()
        self._open.clear()


_watchers: Final[list[Callable[[LoopEndpoints], Watcher]]] = []


def add_watcher(make: Callable[[LoopEndpoints], Watcher]) -> None:
    """Call `make(endpoints)` for each loop that opens endpoints from now on."""
    _watchers.append(make)
