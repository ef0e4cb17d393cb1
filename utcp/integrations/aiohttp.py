"""aiohttp over utcp: a site for its server and a connector for its client.

    runner = web.AppRunner(app)
    await runner.setup()
    await UtcpSite(runner, "127.0.0.1", 8080).start()

    async with aiohttp.ClientSession(connector=UtcpConnector()) as session:
        async with session.get("http://127.0.0.1:8080/") as response:
            print(await response.text())

WebSockets, streams, files, TLS, timeouts and errors remain aiohttp's. HTTP proxies and `web.run_app()`, which opens
kernel sockets, do not work with utcp.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from functools import cache
from typing import TYPE_CHECKING

from utcp import Config, Endpoint
from utcp.extras import needs_extra
from utcp.integrations.via import Via

with needs_extra("integrations"):
    import aiohttp
    from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace


class UtcpSite(web.BaseSite):
    """Serves a runner's application over utcp.

    Args:
        runner: aiohttp's runner, set up.
        host: address to bind; None: all addresses. Not used with an `endpoint`.
        port: UDP port and utcp port; None: 8080, or 8443 with TLS, as for `web.TCPSite`; 0: the system picks one. With
            an `endpoint`, the utcp port (0: the number of its UDP port).
        ssl_context: TLS context; None: no TLS.
        backlog: maximum number of connections waiting to be accepted.
        config: utcp's configuration.
        endpoint: the endpoint to listen on; it outlives the site.
    """

    # The base class leaves some work to its subclasses under private names, which aiohttp's own sites use too: _runner,
    # _ssl_context, _backlog, and _server, which its stop() closes.
    __slots__ = ("_host", "_port", "_via")

    def __init__(
        self,
        runner: web.BaseRunner,
        host: str | None = None,
        port: int | None = None,
        *,
        ssl_context: ssl_module.SSLContext | None = None,
        backlog: int = 128,
        config: Config | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        super().__init__(runner, ssl_context=ssl_context, backlog=backlog)
        self._via = Via(config, endpoint)
        self._host = host
        self._port = port if port is not None else 8080 if ssl_context is None else 8443

    @property
    def port(self) -> int:
        """Return the utcp port; after the start, the actual one."""
        return self._port

    @property
    def name(self) -> str:
        """Return the site's URL. Its scheme shows that browsers cannot open it."""
        scheme = "http" if self._ssl_context is None else "https"
        host = self._host or "0.0.0.0"
        return f"{scheme}+utcp://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def start(self) -> None:
        """Start to listen. Raises the errors of `utcp.create_server`, after which the site is not registered."""
        await super().start()
        factory = self._runner.server
        assert factory is not None  # noqa: S101  # the base class rejects a runner that is not set up
        try:
            server = await self._via.create_server(
                factory, self._host, self._port, ssl=self._ssl_context, backlog=self._backlog
            )
        except BaseException:
            await self.stop()
            raise
        self._server = server
        self._port = server.sockets[0].getsockname()[1]


class UtcpConnector(aiohttp.BaseConnector):
    """Opens, pools and keeps alive the connections of a `ClientSession`, as `aiohttp.TCPConnector` does.

    Closing the connector closes the connections and waits until the servers have acknowledged all data, for at most
    `Config.close_timeout` seconds. Remaining connections are closed in the background.

    Args:
        ssl: as TCPConnector's: True verifies the server, False does not, an SSLContext or an `aiohttp.Fingerprint`
            verifies it accordingly. A request's own `ssl=` takes precedence.
        config: utcp's configuration.
        endpoint: the endpoint to connect from.
        keepalive_timeout: as `aiohttp.BaseConnector`'s, seconds.
        force_close: as `aiohttp.BaseConnector`'s.
        limit: as `aiohttp.BaseConnector`'s.
        limit_per_host: as `aiohttp.BaseConnector`'s.
    """

    def __init__(
        self,
        *,
        ssl: ssl_module.SSLContext | aiohttp.Fingerprint | bool = True,
        config: Config | None = None,
        endpoint: Endpoint | None = None,
        keepalive_timeout: float | None = 15.0,
        force_close: bool = False,
        limit: int = 100,
        limit_per_host: int = 0,
    ) -> None:
        super().__init__(
            keepalive_timeout=None if force_close else keepalive_timeout,
            force_close=force_close,
            limit=limit,
            limit_per_host=limit_per_host,
        )
        self._ssl = ssl
        self._via = Via(config, endpoint)

    async def close(self, *, abort_ssl: bool = False) -> None:
        try:
            async with asyncio.timeout(self._via.config.close_timeout):
                await super().close(abort_ssl=abort_ssl)
        except TimeoutError:
            return  # no data is lost, because the end of the loop or of the endpoint completes the close

    # A private name, because there is no public hook. UnixConnector shows the method's obligations.
    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        if req.proxy is not None:
            raise aiohttp.ClientConnectionError(
                f"utcp does not support HTTP proxies, and {req.url} would use {req.proxy}"
            )
        key = req.connection_key
        host, port = req.host, req.port
        assert port is not None  # noqa: S101  # http, https, ws and wss have default ports
        context, fingerprint = self._security(req)
        name = None if context is None else (req.server_hostname or host).rstrip(".")
        try:
            async with asyncio.timeout(timeout.sock_connect):
                transport, protocol = await self._via.create_connection(
                    self._factory, host, port, ssl=context, server_hostname=name
                )
        except ssl_module.CertificateError as error:
            raise aiohttp.ClientConnectorCertificateError(key, error) from error
        except ssl_module.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(key, error) from error
        except socket.gaierror as error:
            raise aiohttp.ClientConnectorDNSError(key, error) from error
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise  # asyncio's own timeout, which the session turns into a ConnectionTimeoutError
            raise aiohttp.ClientConnectorError(key, error) from error
        if fingerprint is not None:
            try:
                fingerprint.check(transport)
            except aiohttp.ServerFingerprintMismatch:
                transport.close()
                raise
        return protocol

    def _security(self, req: aiohttp.ClientRequest) -> tuple[ssl_module.SSLContext | None, aiohttp.Fingerprint | None]:
        """Return the TLS context and the fingerprint for a request."""
        if not req.is_ssl():
            return None, None
        wanted = self._ssl if req.ssl is True else req.ssl
        fingerprint = next((each for each in (wanted, self._ssl) if isinstance(each, aiohttp.Fingerprint)), None)
        context = wanted if isinstance(wanted, ssl_module.SSLContext) else _context(verify=wanted is True)
        return context, fingerprint


@cache
def _context(*, verify: bool) -> ssl_module.SSLContext:
    """Return a TLS context shared by all connectors, because loading the system's certificates is slow."""
    context = ssl_module.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl_module.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
