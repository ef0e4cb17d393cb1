"""Messages between the two ends of a reverse tunnel, on a connection that carries no user yet.

    Expose                          Reverse
    HELLO          ->                          exposes a service
                   <-               WELCOME    accepts; the connection waits
                                               ... until a user connects
                   <-               GO, more   a user connected, and `more` users are waiting
    HERE           ->                          confirms; all further octets are the user's and the service's

HERE takes one round trip, as opening a connection would if the service could be reached. It shows that the connection
is alive, which is not certain because the other end may have vanished silently.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from utcp.errors import ConnectionReset
from utcp.tunnel.pump import Side, peer_name

HELLO: Final = b"utcp tunnel 1: expose\n"
WELCOME: Final = b"utcp tunnel 1: welcome\n"
GO: Final = struct.Struct("!2sH")
"""GO_MARK, and the number of further waiting users (at most 65535)."""
GO_MARK: Final = b"go"
HERE: Final = b"here"

Heard: TypeAlias = Callable[["Control"], None]


class Control(asyncio.Protocol):
    """A utcp connection that carries no user yet.

    It reads only the expected octets. All later octets stay in the transport, because they belong to the user or the
    service.

    Args:
        made: called with this object once the connection is open.
        lost: called with this object if the connection ends before it has become a side.
    """

    def __init__(self, made: Heard | None = None, lost: Heard | None = None) -> None:
        self._made = made
        self._lost = lost
        self._received = bytearray()
        self._expected = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self.transport: Any = None
        self.name = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.name = peer_name(transport)
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= self._expected:
            self.transport.pause_reading()
            self._wake()

    def eof_received(self) -> bool:
        self._end(None)
        return False  # the transport then closes

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end(exc)

    @property
    def over(self) -> bool:
        """Return whether the connection has ended, or its peer has closed it."""
        return self._error is not None

    def expect(self, octets: int) -> None:
        """Read up to this number of octets, and detect the connection's end until then."""
        self._expected = octets
        if len(self._received) < octets and not self.over:
            self.transport.resume_reading()

    async def read(self, octets: int) -> bytes:
        """Return the next octets, exactly this number. Raises the connection's error, an OSError, if it ends before."""
        self.expect(octets)
        while len(self._received) < octets:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._received[:octets])
        del self._received[:octets]
        return data

    def write(self, data: bytes) -> None:
        """Write data, unless the connection is over."""
        if not self.over:
            self.transport.write(data)

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abort()

    def become_side(self) -> Side:
        """Convert the connection into a side, for joining to another."""
        side = Side()
        side.take_over(self.transport, bytes(self._received), lost=self.over)
        self.transport.set_protocol(side)
        return side

    def _end(self, exc: BaseException | None) -> None:
        if self._error is not None:
            return
        self._error = exc or ConnectionReset("The other end of the tunnel has closed the connection")
        self._wake()
        if self._lost is not None:
            self._lost(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
