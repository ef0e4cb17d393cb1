"""Applications that always write and always read, as asyncio protocols for any transport."""

import asyncio
from typing import Final

CHUNK: Final = bytes(1 << 18)


class Sender(asyncio.Protocol):
    """Writes whenever the transport is not paused."""

    def __init__(self) -> None:
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # for mypy: asyncio declares the base class
        self._transport = transport
        self._write()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write()

    def _write(self) -> None:
        while not self._paused and not self._transport.is_closing():
            self._transport.write(CHUNK)


class Receiver(asyncio.Protocol):
    """Counts received octets, and reports its connection when it is open."""

    def __init__(self, connected: asyncio.Queue["Receiver"]) -> None:
        self._connected = connected
        self.octets = 0

    def connection_made(self, _: asyncio.BaseTransport) -> None:
        self._connected.put_nowait(self)

    def data_received(self, data: bytes) -> None:
        self.octets += len(data)
