"""Word of kernel connections that were reset while nobody read from them."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import TypeAlias

HungUp: TypeAlias = Callable[[], None]


class HangupWatch:
    """Calls back when a socket has an error, such as the peer's RST, whether anybody reads from the socket or not.

    An event loop watches a descriptor only while its transport reads or has something to write. So the reset of a
    connection that is held back, or whose peer has half-closed, would go unnoticed. epoll reports errors of descriptors
    of which nothing else is wanted, and the loop watches the epoll descriptor. Where there is no epoll nothing is
    watched: such a reset shows when the connection is next written to or read from.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, HungUp] = {}
        self._descriptors: dict[HungUp, int] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._ready)

    def add(self, descriptor: int, hung_up: HungUp) -> None:
        """Watch a socket; `hung_up()` is called at most once."""
        if self._epoll is None or self._epoll.closed:
            return
        self._epoll.register(descriptor, select.EPOLLET)  # errors and hang-ups are always reported
        self._callbacks[descriptor] = hung_up
        self._descriptors[hung_up] = descriptor

    def remove(self, hung_up: HungUp) -> None:
        """The socket is about to be closed, or closed already."""
        descriptor = self._descriptors.pop(hung_up, None)
        if descriptor is None or self._epoll is None or self._epoll.closed:
            return
        if self._callbacks.get(descriptor) == hung_up:
            del self._callbacks[descriptor]
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # closing a descriptor unregisters it

    def close(self) -> None:
        """Watch nothing any more."""
        if self._epoll is not None and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _ready(self) -> None:
        if self._epoll is None:
            return
        for descriptor, events in self._epoll.poll(0):
            # A connection that both have closed hangs up as well, perhaps with octets left to read; it has no error.
            if events & select.EPOLLERR and descriptor in self._callbacks:
                self._callbacks[descriptor]()
