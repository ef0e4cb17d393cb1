"""aiohttp over utcp: a site for its server, a connector for its client.

    runner = web.AppRunner(app)
    await runner.setup()
    await UtcpSite(runner, "127.0.0.1", 8080).start()

    async with aiohttp.ClientSession(connector=UtcpConnector()) as session:
        async with session.get("http://127.0.0.1:8080/") as response:
            print(await response.text())

Everything else is aiohttp's: WebSockets, streams, files, TLS, timeouts, its errors. Not for utcp: HTTP proxies, and
`web.run_app()`, which opens kernel sockets.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from functools import cache
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from utcp import Config, Endpoint
from utcp.integrations.via import Via

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace


class UtcpSite(web.BaseSite):
    """Serves a runner's application on UDP port `port` of `host` (None: all addresses), utcp port `port`.

    `port` None is 8080, 8443 with TLS, as for `web.TCPSite`; 0 is one that the system picks. With an `endpoint`, which
    outlives the site, `host` says nothing and `port` is the utcp port (0: the number of its UDP port).
    """

    # What the base class leaves to its subclasses it keeps under private names, as aiohttp's own sites use them:
    # _runner, _ssl_context, _backlog, and _server, which its stop() closes.
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
        """The utcp port; once the site has started, the one that it got."""
        return self._port

    @property
    def name(self) -> str:
        """As a URL, whose scheme says that browsers cannot go there."""
        scheme = "http" if self._ssl_context is None else "https"
        host = self._host or "0.0.0.0"
        return f"{scheme}+utcp://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises what `utcp.create_server` raises; the site is unregistered then."""
        await super().start()
        factory = self._runner.server
        assert factory is not None  # noqa: S101  # the base class has refused a runner that is not set up
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
    """Opens the connections of a `ClientSession`, pools them and keeps them alive, as `aiohttp.TCPConnector` does.

    `ssl` is TCPConnector's: True verifies the server, False does not, and an SSLContext or an `aiohttp.Fingerprint`
    verify it their way; a request's own `ssl=` counts more. What concerns the pool is `aiohttp.BaseConnector`'s.

    Closing it closes the connections and waits until the servers have acknowledged all, for `Config.close_timeout`
    seconds at most; what takes longer is finished in the background.
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
            return  # nothing is lost: the transports are closing, and the loop's end or the endpoint's closes them

    # A private name, and the only hook there is; UnixConnector shows what it owes to its caller.
    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        if req.proxy is not None:
            raise aiohttp.ClientConnectionError(f"{req.url} is to go by {req.proxy}, and utcp knows no proxies")
        key = req.connection_key
        host, port = req.host, req.port
        assert port is not None  # noqa: S101  # http, https, ws, wss: all have one by default
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
                raise  # asyncio's: the session makes a ConnectionTimeoutError of it
            raise aiohttp.ClientConnectorError(key, error) from error
        if fingerprint is not None:
            try:
                fingerprint.check(transport)
            except aiohttp.ServerFingerprintMismatch:
                transport.close()
                raise
        return protocol

    def _security(self, req: aiohttp.ClientRequest) -> tuple[ssl_module.SSLContext | None, aiohttp.Fingerprint | None]:
        """The context and the fingerprint for a request."""
        if not req.is_ssl():
            return None, None
        wanted = self._ssl if req.ssl is True else req.ssl
        fingerprint = next((each for each in (wanted, self._ssl) if isinstance(each, aiohttp.Fingerprint)), None)
        context = wanted if isinstance(wanted, ssl_module.SSLContext) else _context(verify=wanted is True)
        return context, fingerprint


@cache
def _context(*, verify: bool) -> ssl_module.SSLContext:
    """One for all connectors: loading the system's certificates takes its time."""
    context = ssl_module.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl_module.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
