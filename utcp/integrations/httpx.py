"""httpx over utcp: a transport for its AsyncClient.

    async with httpx.AsyncClient(transport=UtcpTransport()) as client:
        response = await client.get("http://127.0.0.1:8000/")

`httpx.AsyncClient(mounts={"all://*.utcp.example": UtcpTransport()})` uses utcp for some hosts only. The transport is
built on a network backend for httpcore, which can be used with httpcore directly. Supports HTTP/1.1, without HTTP
proxies.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, Final

import httpcore
import httpx

from utcp import Config, Endpoint, start_tls
from utcp.integrations.via import Via

READ_LIMIT: Final = 256 * 1024
"""Received octets waiting for the application above which reading from the connection pauses."""

_ERRORS: Final[dict[type[Exception], type[httpx.TransportError]]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
}
"""httpx's exception for each of httpcore's."""


class UtcpTransport(httpx.AsyncBaseTransport):
    """Sends the requests of an `httpx.AsyncClient` over utcp. Raises httpx's errors and timeouts.

    Args:
        verify: as in `httpx.create_ssl_context`.
        trust_env: as in `httpx.create_ssl_context`.
        limits: httpx's limits on connections and keep-alive.
        retries: number of further attempts after a failed connection attempt.
        config: utcp's configuration.
        endpoint: the endpoint to connect from.
    """

    def __init__(
        self,
        *,
        verify: ssl_module.SSLContext | bool = True,
        trust_env: bool = True,
        limits: httpx.Limits | None = None,
        retries: int = 0,
        config: Config | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        if limits is None:
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)  # httpx's defaults
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(verify=verify, trust_env=trust_env),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            retries=retries,
            network_backend=UtcpBackend(config=config, endpoint=endpoint),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        with _as_httpx():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response.stream), extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close the connections. Data in flight is delivered in the background."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response, as a stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream  # an AsyncIterable with aclose(), although httpcore's type is less specific

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: AsyncIterable[bytes] = self._stream
        with _as_httpx():
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        with _as_httpx():
            await self._stream.aclose()


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except tuple(_ERRORS) as error:
        raise next(to for kind, to in _ERRORS.items() if isinstance(error, kind))(str(error)) from error


class UtcpBackend(httpcore.AsyncNetworkBackend):
    """httpcore's connections over utcp: `httpcore.AsyncConnectionPool(network_backend=UtcpBackend())`."""

    def __init__(self, *, config: Config | None = None, endpoint: Endpoint | None = None) -> None:
        self._via = Via(config, endpoint)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _failures(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                transport, stream = await self._via.create_connection(_Stream, host, port, local_host=local_address)
            try:
                for option in socket_options or ():
                    transport.get_extra_info("socket").setsockopt(*option)
            except BaseException:
                transport.abort()
                raise
        return stream

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream, asyncio.Protocol):
    """One connection: an asyncio protocol and an httpcore stream in one object."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._received = bytearray()
        self._reading_paused = False
        self._at_eof = False
        self._lost = False
        self._error: Exception | None = None
        """The error with which the connection was lost."""
        self._waiters: set[asyncio.Future[None]] = set()
        self._writing_paused = False

    # --- called by httpcore

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _failures(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                while not (self._received or self._at_eof):
                    await self._change()
            if not self._received and self._error is not None:
                raise httpcore.ReadError(str(self._error)) from self._error
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if self._reading_paused and len(self._received) <= READ_LIMIT // 2:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _failures(httpcore.WriteTimeout, httpcore.WriteError):
            self._check_writable()
            self._transport.write(buffer)
            async with asyncio.timeout(timeout):
                while self._writing_paused and not self._lost:
                    await self._change()
            self._check_writable()

    async def aclose(self) -> None:
        if self._writing_paused:
            self._transport.abort()  # do not wait for a server that has stopped reading
        else:
            self._transport.close()

    async def start_tls(
        self, ssl_context: ssl_module.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        if self._received:
            # An attacker may have injected this data before TLS, so it must not count as the server's answer.
            self._received.clear()
            self._transport.abort()
            raise httpcore.ConnectError("the server spoke before the TLS handshake")
        with _failures(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                self._transport = await start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                # httpcore checks this on an idle connection: readable data means its end, and it is not reused.
                return bool(self._received) or self._at_eof
            case "client_addr":
                return self._transport.get_extra_info("sockname")
            case "server_addr":
                return self._transport.get_extra_info("peername")
        return self._transport.get_extra_info(info)

    def _check_writable(self) -> None:
        if self._lost:
            raise httpcore.WriteError(str(self._error or "the connection is closed"))

    async def _change(self) -> None:
        """Wait for a callback of the transport."""
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > READ_LIMIT and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._at_eof = True  # the transport closes, because HTTP does not use half-closed connections
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._at_eof = self._lost = True
        self._error = exc
        self._wake()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


@contextlib.contextmanager
def _failures(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Convert timeouts and errors to httpcore's."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
