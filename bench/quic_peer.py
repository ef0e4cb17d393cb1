"""QUIC by aioquic, with one stream per connection.

Opening is the handshake, TLS 1.3 with a temporary certificate, which is not verified. The server's application starts
when the handshake is complete. `close()` ends the stream. The client's `wait_closed()` ends the connection and returns
when CONNECTION_CLOSE is sent; the server's waits until it has arrived. The closing and draining periods of three probe
timeouts (RFC 9000 10.2), which correspond to TIME_WAIT, pass in the background; `dial` waits for the client's at its
end. Everything else is aioquic's default.

aioquic's streams buffer without a limit, and their `drain()` never waits. Here it waits while more than a megabyte is
unacknowledged.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.asyncio import serve as serve_quic
from aioquic.asyncio.protocol import QuicStreamAdapter
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .stacks import UNKNOWN, Address, App, Client, Server, Setting, StreamApp, Streams

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

MAX_BUFFERED: Final = 1 << 20
FIRST_STREAM: Final = 0
"""Number of the client's first bidirectional stream (RFC 9000 2.1)."""


class _Protocol(QuicConnectionProtocol):  # type: ignore[misc, unused-ignore]  # Any where aioquic is not installed
    """A connection with one stream. `handle` serves it at the server."""

    def __init__(self, *arguments: Any, handle: Handler | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.progress = asyncio.Event()
        self._handle = handle
        self._serving: asyncio.Task[None] | None = None

    def datagram_received(self, data: Any, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.progress.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        super().quic_event_received(event)
        self.progress.set()
        if self._handle is not None and isinstance(event, HandshakeCompleted):
            reader, writer = self.open_stream(self.ended)
            self._serving = asyncio.ensure_future(self._serve(self._handle, reader, writer))

    async def _serve(self, handle: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except Exception as error:
            context = {"message": "Unhandled exception in the server's handler", "exception": error}
            self._loop.call_exception_handler(context)
            writer.close()
            self.close()

    def open_stream(self, leave: Callable[[], Awaitable[None]]) -> Streams:
        """Return the stream, with `leave` as its writer's `wait_closed()`."""
        reader = asyncio.StreamReader()
        self._stream_readers[FIRST_STREAM] = reader
        return reader, _Writer(self, reader, QuicStreamAdapter(self, FIRST_STREAM), leave)

    async def ended(self) -> None:
        """Wait until the peer has ended the connection, or it has timed out."""
        while self._quic._close_event is None:  # noqa: SLF001  # aioquic reports it only after the draining period
            self.progress.clear()
            await self.progress.wait()

    @property
    def buffered(self) -> int:
        """Return the number of unacknowledged octets."""
        stream = self._quic._streams.get(FIRST_STREAM)  # noqa: SLF001  # there is no public way
        return 0 if stream is None else len(stream.sender._buffer)  # noqa: SLF001


class _Writer(asyncio.StreamWriter):
    def __init__(
        self,
        connection: _Protocol,
        reader: asyncio.StreamReader,
        transport: asyncio.WriteTransport,
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(transport, asyncio.StreamReaderProtocol(reader), reader, asyncio.get_running_loop())
        self._connection = connection
        self._leave = leave

    async def drain(self) -> None:
        while self._connection.buffered > MAX_BUFFERED:
            self._connection.progress.clear()
            await self._connection.progress.wait()

    async def wait_closed(self) -> None:
        await self._leave()


@asynccontextmanager
async def serve(app: App, setting: Setting) -> AsyncIterator[Server]:
    """Serve `app`, which must be a StreamApp."""
    if not isinstance(app, StreamApp):
        raise TypeError("aioquic has streams only")
    configuration = QuicConfiguration(is_client=False)
    configuration.certificate, configuration.private_key = _certificate()
    create = partial(_Protocol, handle=app.handle)
    server = await serve_quic(setting.host, 0, configuration=configuration, create_protocol=create)
    try:
        port = server._transport.get_extra_info("sockname")[1]  # noqa: SLF001  # there is no public way
        yield Server((setting.host, port), lambda: UNKNOWN)
    finally:
        server.close()


@asynccontextmanager
async def dial(address: Address, _: Setting) -> AsyncIterator[Client]:
    """Connect to a server of `serve`."""
    closing: list[asyncio.Task[None]] = []

    async def open_connection() -> Streams:
        configuration = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE)
        stack = AsyncExitStack()
        protocol = await stack.enter_async_context(
            connect(*address, configuration=configuration, create_protocol=_Protocol)
        )

        async def leave() -> None:
            protocol.close()  # sends CONNECTION_CLOSE
            closing.append(asyncio.ensure_future(stack.aclose()))

        streams: Streams = protocol.open_stream(leave)
        return streams

    try:
        yield Client(open_connection, lambda: UNKNOWN)
    finally:
        await asyncio.gather(*closing)


def _certificate() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()), key
