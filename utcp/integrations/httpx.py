"""httpx over utcp: a transport for its AsyncClient.

    async with httpx.AsyncClient(transport=UtcpTransport()) as client:
        response = await client.get("http://127.0.0.1:8000/")

`httpx.AsyncClient(mounts={"all://*.utcp.example": UtcpTransport()})` uses utcp for some hosts only. The transport is
built on a network backend for httpcore, which can be used with httpcore directly. Supports HTTP/1.1, without HTTP
proxies.
"""

from __future__ import annotations

import contextlib
import ssl as ssl_module
from collections.abc import Iterable, Iterator
from typing import Any

from utcp import Config, Endpoint, start_tls
from utcp.extras import needs_extra
from utcp.integrations.anyio import StreamProtocol, UtcpStream
from utcp.integrations.via import Via

with needs_extra("integrations"):
    import anyio
    import httpcore
    import httpx


class UtcpTransport(httpx.AsyncHTTPTransport):
    """Sends the requests of an `httpx.AsyncClient` over utcp. Raises httpx's errors and timeouts.

    Closing it closes the connections. Data in flight is delivered in the background.

    Args:
        verify: as in `httpx.create_ssl_context`.
        trust_env: as in `httpx.create_ssl_context`.
        limits: httpx's limits on connections and keep-alive.
        retries: number of further attempts after a failed connection attempt.
        config: utcp's configuration.
        endpoint: the endpoint to connect from.

    Raises RuntimeError if the installed httpcore does not let its network backend be replaced.
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
        super().__init__(verify=verify, trust_env=trust_env, limits=limits, retries=retries)
        # Private names, because httpx has no option for the network backend. With other names in another
        # version, the requests must not use kernel TCP instead.
        if not hasattr(self._pool, "_network_backend"):
            raise RuntimeError(f"UtcpTransport does not support this httpcore ({httpcore.__version__})")
        self._pool._network_backend = UtcpBackend(config=config, endpoint=endpoint)  # noqa: SLF001


class _Protocol(StreamProtocol):
    def eof_received(self) -> bool:
        super().eof_received()
        return False  # the transport closes, because HTTP does not use half-closed connections

    async def start_tls(self, context: ssl_module.SSLContext, server_hostname: str | None) -> None:
        self.transport = await start_tls(self.transport, self, context, server_hostname=server_hostname)


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
            with anyio.fail_after(timeout):
                transport, protocol = await self._via.create_connection(_Protocol, host, port, local_host=local_address)
            try:
                for option in socket_options or ():
                    transport.get_extra_info("socket").setsockopt(*option)
            except BaseException:
                transport.abort()
                raise
        return _Stream(protocol)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection of httpcore's: a stream of anyio, perhaps over TLS."""

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol
        self._stream = UtcpStream(protocol)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _failures(httpcore.ReadTimeout, httpcore.ReadError), anyio.fail_after(timeout):
            try:
                return await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _failures(httpcore.WriteTimeout, httpcore.WriteError), anyio.fail_after(timeout):
            await self._stream.send(buffer)

    async def aclose(self) -> None:
        if self._protocol.writable.is_set():
            self._protocol.transport.close()
            await anyio.aclose_forcefully(self._stream)
        else:  # do not wait for a server that has stopped reading
            await self._abort()

    async def start_tls(
        self, ssl_context: ssl_module.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        if self._protocol.take(1):
            # An attacker may have injected this data before TLS, so it must not count as the server's answer.
            await self._abort()
            raise httpcore.ConnectError("the server sent data before the TLS handshake")
        try:
            with _failures(httpcore.ConnectTimeout, httpcore.ConnectError), anyio.fail_after(timeout):
                await self._protocol.start_tls(ssl_context, server_hostname)
        except BaseException:
            await self._abort()
            raise
        self._stream = UtcpStream(self._protocol)
        return self

    async def _abort(self) -> None:
        self._protocol.transport.abort()
        await anyio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                # httpcore checks this on an idle connection: readable data means its end, and it is not reused.
                return self._protocol.readable.is_set()
            case "client_addr":
                info = "sockname"
            case "server_addr":
                info = "peername"
        return self._protocol.transport.get_extra_info(info)


@contextlib.contextmanager
def _failures(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Convert timeouts and errors to httpcore's."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise failed(str(error.__cause__ or error)) from error
