"""KCP by aiokcp: reliable messages over one UDP socket for each client.

KCP has no handshake and no end of a stream, and aiokcp's streams buffer without a limit. This module adds what a
measurement needs, by the first octet of each message: a connection's first message opens it (the server detects it, the
client waits for no answer), an empty one ends the stream, and writing pauses while more than MAX_WAITING segments are
unacknowledged. Messages have at most 64 KiB, because KCP accepts at most 127 segments per message.

It runs in the fast mode of KCP's documentation: a tick of 10 ms, quick retransmission, no congestion control; and with
windows of 128 segments. aiokcp's default tick of 100 ms would be slow in every measurement.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiokcp

from .stacks import UNKNOWN, Address, App, Client, Server, Setting, StreamApp, Streams

TICK: Final = 0.01
FAST: Final = {
    "no_delay": True,
    "update_interval": round(1000 * TICK),
    "resend_count": 2,
    "no_congestion_control": True,
    "send_window_size": 128,
    "receive_window_size": 128,
}
MAX_WAITING: Final = 512
MAX_MESSAGE: Final = 1 << 16

_OPEN, _DATA, _END = b"\0", b"\1", b"\2"


class _Transport(asyncio.Transport):
    """A stream over aiokcp's messages."""

    def __init__(self, kcp: Any, protocol: asyncio.StreamReaderProtocol) -> None:
        super().__init__()
        self._kcp = kcp
        self._protocol = protocol
        self._paused = False
        self._ended = False
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._kcp.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        for start in range(0, len(data), MAX_MESSAGE):
            self._kcp.write(_DATA + data[start : start + MAX_MESSAGE])
        if not self._paused and self._kcp.kcp.get_waitsnd() > MAX_WAITING:
            self._paused = True
            self._protocol.pause_writing()
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        if self._kcp.kcp is not None and self._kcp.kcp.get_waitsnd() > MAX_WAITING // 2:
            asyncio.get_running_loop().call_later(TICK, self._wait_for_room)
        else:
            self._paused = False
            self._protocol.resume_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._ended:
            self._ended = True
            self._kcp.write(_END)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.write_eof()
            self._close_when_acknowledged()

    def _close_when_acknowledged(self) -> None:
        # aiokcp's own close() calls connection_lost() at once, and a server then drops unacknowledged data.
        if self._kcp.kcp is not None and self._kcp.kcp.get_waitsnd() > 0:
            asyncio.get_running_loop().call_later(TICK, self._close_when_acknowledged)
        else:
            self._kcp.close()


class _Messages(asyncio.Protocol):
    """The user of aiokcp, which passes the messages' data to asyncio's streams.

    aiokcp's server takes a late segment of a closed connection for a new connection, so the application's connection
    starts only with the opening message.
    """

    def __init__(self, protocol: asyncio.StreamReaderProtocol, *, serves: bool) -> None:
        self._protocol = protocol
        self._open = not serves
        self._kcp: Any = None

    def connection_made(self, transport: Any) -> None:
        self._kcp = transport
        if self._open:
            self._begin()
            transport.write(_OPEN)

    def _begin(self) -> None:
        self._open = True
        self.transport = _Transport(self._kcp, self._protocol)
        self._protocol.connection_made(self.transport)

    def data_received(self, data: bytes) -> None:
        kind = data[:1]
        if kind == _OPEN:
            self._begin()
        elif kind == _DATA:
            self._protocol.data_received(data[1:])
        elif kind == _END:
            self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    async def finished(self) -> None:
        """Wait for the close in the background."""
        if self._open and self._kcp.is_closing():
            await self._kcp.wait_closed()


@asynccontextmanager
async def serve(app: App, setting: Setting) -> AsyncIterator[Server]:
    """Serve `app`, which must be a StreamApp."""
    if not isinstance(app, StreamApp):
        raise TypeError("aiokcp is measured by streams only")

    accepted: list[_Messages] = []

    def factory() -> _Messages:
        accepted.append(_Messages(asyncio.StreamReaderProtocol(asyncio.StreamReader(), app.handle), serves=True))
        return accepted[-1]

    server = await aiokcp.create_server(factory, setting.host, 0, kcp_kwargs=FAST)
    ticking = asyncio.ensure_future(server._serve())  # noqa: SLF001  # start_serving() keeps no reference to it
    try:
        port = server._transport.get_extra_info("sockname")[1]  # noqa: SLF001  # there is no public way
        yield Server((setting.host, port), lambda: UNKNOWN)
    finally:
        await _finish(accepted)
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        server._transport.close()  # noqa: SLF001


@asynccontextmanager
async def dial(address: Address, _: Setting) -> AsyncIterator[Client]:
    """Connect to a server of `serve`."""

    opened: list[_Messages] = []

    async def connect() -> Streams:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        _, messages = await aiokcp.create_connection(
            lambda: _Messages(protocol, serves=False), *address, kcp_kwargs=FAST
        )
        opened.append(messages)
        return reader, asyncio.StreamWriter(messages.transport, protocol, reader, asyncio.get_running_loop())

    try:
        yield Client(connect, lambda: UNKNOWN)
    finally:
        await _finish(opened)


async def _finish(connections: list[_Messages]) -> None:
    # The server's end often waits for five seconds, because aiokcp's client acknowledges nothing after its close.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.gather(*(each.finished() for each in connections))
