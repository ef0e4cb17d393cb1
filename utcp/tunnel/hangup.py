"""Detects kernel TCP connections that the peer reset while the relay was not reading."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import TypeAlias

HungUp: TypeAlias = Callable[[], None]


class HangupWatch:
    """Calls back when a socket has an error, such as the peer's RST, even if the socket is not being read.

    An event loop watches a descriptor only while its transport reads or has data to write, so it would miss the reset
    of a paused or half-closed connection. epoll reports errors on a descriptor without any requested events, and the
    loop watches the epoll descriptor. Without epoll, such a reset is found at the next write or read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, HungUp] = {}
        self._descriptors: dict[HungUp, int] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._ready)

    def add(self, descriptor: int, hung_up: HungUp) -> None:
        """Watch a socket. `hung_up()` is called at most once."""
        if self._epoll is None or self._epoll.closed:
            return
        self._epoll.register(descriptor, select.EPOLLET)  # errors and hang-ups are always reported
        self._callbacks[descriptor] = hung_up
        self._descriptors[hung_up] = descriptor

    def remove(self, hung_up: HungUp) -> None:
        """Stop watching a socket that is about to be closed, or closed already."""
        descriptor = self._descriptors.pop(hung_up, None)
        if descriptor is None or self._epoll is None or self._epoll.closed:
            return
        if self._callbacks.get(descriptor) == hung_up:
            del self._callbacks[descriptor]
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # closing the descriptor has unregistered it

    def close(self) -> None:
        """Stop watching all sockets."""
        if self._epoll is not None and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _ready(self) -> None:
        if self._epoll is None:
            return
        for descriptor, events in self._epoll.poll(0):
            # A connection closed by both sides also hangs up, perhaps with unread data, but has no error.
            if events & select.EPOLLERR and descriptor in self._callbacks:
                self._callbacks[descriptor]()
