"""Joins two connections: each sends the data that the other receives, and its end or reset."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from utcp.tcp.transmit import address_text

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""struct linger: closing resets the connection (socket(7))."""


class Side(asyncio.Protocol):
    """One of two joined connections, over any transport that can half-close.

    Before it is joined it reads once, at most 256 KiB; further data stays in the socket's buffer or in the window.
    After that, received data goes to the other side's transport. When that transport pauses writing, this side stops
    reading, and its peer's window closes.
    """

    __slots__ = ("early", "ended", "eof", "error", "lost", "made", "name", "octets", "other", "paused", "transport")

    def __init__(self, made: Callable[[Any], None] | None = None) -> None:
        self.made = made
        """Called with this side once the connection is open."""
        self.transport: Any = None
        self.name = ""
        """The address of the connection's peer."""
        self.other: Side | None = None
        self.ended: Callable[[Side], None] | None = None
        self.eof = False
        self.lost = False
        self.paused = False
        self.error: BaseException | None = None
        """The error with which the connection was lost; None after an orderly end or a local reset."""
        self.octets = 0
        """Octets received."""
        self.early = b""
        """Data received before it was joined."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.name = peer_name(transport)
        if self.made is not None:
            self.made(self)

    def take_over(self, transport: asyncio.BaseTransport, early: bytes, *, lost: bool) -> None:
        """Take over a connection that has paused reading and has received `early`. `lost`: the connection is over
        already."""
        self.connection_made(transport)
        self.early = early
        self.paused = True
        self.lost = lost

    def data_received(self, data: bytes) -> None:
        self.octets += len(data)
        other = self.other
        if other is None:
            # Not earlier, in connection_made(), because uvloop and older versions of asyncio start reading regardless.
            self.early += data
            self.pause()
        elif not other.transport.is_closing():
            other.transport.write(data)

    def eof_received(self) -> bool:
        self.eof = True
        other = self.other
        if other is not None and not other.lost:
            try:
                other.transport.write_eof()
            except BaseException:  # without a reset, the peer would wait for the end
                other.reset()
                raise
            if other.eof:
                self.transport.close()
                other.transport.close()
        return True

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        self.error = exc
        other = self.other
        if other is None:
            return
        if not other.lost and not (self.eof and other.eof):
            other.reset()
        if other.lost and self.ended is not None:
            self.ended(self)

    def pause(self) -> None:
        """Pause reading."""
        self.paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Resume reading."""
        self.paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def reset(self) -> None:
        """Reset the connection at once."""
        self.transport.abort()


class HangupWatch:
    """Calls back when a socket has an error, such as the peer's RST, even if the socket is not being read.

    An event loop watches a descriptor only while its transport reads or has data to write, so it would miss the reset
    of a paused or half-closed connection. epoll reports errors on a descriptor without any requested events, and the
    loop watches the epoll descriptor. Without epoll, such a reset is found at the next write or read.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._ready, self._epoll)

    def add(self, descriptor: int, hung_up: Callable[[], None]) -> None:
        """Watch a socket. `hung_up()` is called at most once."""
        if self._epoll is not None and not self._epoll.closed:
            self._epoll.register(descriptor, select.EPOLLET)  # errors and hang-ups are always reported
            self._callbacks[descriptor] = hung_up

    def remove(self, descriptor: int, hung_up: Callable[[], None]) -> None:
        """Stop watching a socket that is about to be closed, or closed already, so that another one may have its
        descriptor."""
        if self._epoll is not None and not self._epoll.closed and self._callbacks.get(descriptor) == hung_up:
            del self._callbacks[descriptor]
            with suppress(OSError):  # closing the descriptor has unregistered it
                self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching all sockets."""
        if self._epoll is not None and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _ready(self, epoll: select.epoll) -> None:
        for descriptor, events in epoll.poll(0):
            # A connection closed by both sides also hangs up, perhaps with unread data, but has no error.
            if events & select.EPOLLERR and descriptor in self._callbacks:
                self._callbacks[descriptor]()


class KernelSide(Side):
    """A side over kernel TCP. `watch` detects a reset while it does not read."""

    __slots__ = ("_descriptor", "_watch")

    def __init__(self, watch: HangupWatch, made: Callable[[Any], None] | None = None) -> None:
        super().__init__(made)
        self._watch = watch
        self._descriptor = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._descriptor = sock.fileno()
        self._watch.add(self._descriptor, self.hung_up)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._watch.remove(self._descriptor, self.hung_up)
        if exc is not None:  # the error may be local, and the peer must not take the close for an orderly end
            self._reset_at_close()
        super().connection_lost(exc)

    def hung_up(self) -> None:
        """Handle a socket error reported by the kernel.

        A transport that reads detects the error itself, after the remaining data; one that does not read never would.
        """
        if not self.lost and (self.paused or self.eof):
            self.reset()

    def reset(self) -> None:
        if not self.lost:
            self._reset_at_close()
        self.transport.abort()

    def _reset_at_close(self) -> None:
        # Otherwise the kernel sends a FIN, unless some data is unread.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


def join(one: Side, other: Side, ended: Callable[[Side, Side], None]) -> None:
    """Join two connections: the data that each receives goes to the other. `ended(first, last)` is called when both are
    over, in the order in which they ended."""
    one.other, other.other = other, one
    one.ended = lambda last: ended(other if last is one else one, last)
    other.ended = one.ended
    if one.lost and other.lost:
        ended(one, other)
        return
    for side, peer in ((one, other), (other, one)):
        if side.lost:
            peer.reset()
            continue
        if side.paused:
            side.resume()
        early, side.early = side.early, b""
        if early and not peer.lost:
            peer.transport.write(early)  # which may pause reading at once
        if side.eof:
            side.eof_received()


def peer_name(transport: asyncio.BaseTransport) -> str:
    """Return the peer's HOST:PORT. For utcp, this is the UDP address with the client's utcp port, which is the same in
    the logs of both ends."""
    peer = transport.get_extra_info("peername")
    udp = transport.get_extra_info("udp_peername")
    if udp is None:
        return address_text(peer)
    return f"{address_text(udp)}/{max(peer[1], transport.get_extra_info('sockname')[1])}"
