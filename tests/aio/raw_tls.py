"""TLS by hand over a plain connection: a peer that sees how the other side ends it, and does only what it is told."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")


class RawTls:
    """The TLS of `writer`'s connection. Nothing happens in the background; only `unwrap()` answers close_notify."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
        server_hostname: str | None = None,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )

    async def handshake(self) -> None:
        await self._call(self.tls.do_handshake)

    async def read(self) -> bytes:
        """What the peer has written; empty after its close_notify. Raises ssl.SSLEOFError when TCP ended without."""
        return await self._call(lambda: self.tls.read(65536))

    async def read_all(self) -> bytes:
        data = bytearray()
        while block := await self.read():
            data += block
        return bytes(data)

    async def write(self, data: bytes) -> None:
        await self._call(lambda: self.tls.write(data))

    async def unwrap(self) -> None:
        """Send close_notify, and wait for the peer's."""
        await self._call(self.tls.unwrap)

    async def _call(self, operation: Callable[[], ResultT]) -> ResultT:
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                self._flush()
                data = await self.reader.read(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.writer.write(self._outgoing.read())
