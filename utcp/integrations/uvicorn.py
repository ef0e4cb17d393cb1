"""ASGI applications (Starlette, FastAPI, ...) served by uvicorn over utcp.

    from utcp.integrations import uvicorn

    uvicorn.run(app, "127.0.0.1", 8000)                # until Ctrl-C or SIGTERM
    await uvicorn.serve(app, "127.0.0.1", 8000)        # in a program of one's own; cancel it to stop

All that uvicorn does it still does: lifespan, h11 and httptools, WebSockets, its log lines, its timeouts, its ways to
stop. Not for utcp: `uds`, `fd`, `reload`, `workers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl as ssl_module
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import uvicorn

from utcp import Config, Endpoint, Server
from utcp.integrations.via import Via

STARTUP_FAILURE: Final = 3
"""uvicorn's exit status for it. The name has moved from one module of uvicorn's to another."""

_logger: Final = logging.getLogger("uvicorn.error")  # uvicorn's own, which its log_config sets up


class UtcpServer(uvicorn.Server):
    """uvicorn's Server, whose `run()` and `serve()` listen on UDP port `config.port` of `config.host`, utcp port the
    same.

    `ssl` is the context for TLS, None for the one that uvicorn's own `ssl_...` options make. With an `endpoint`, which
    outlives the server, `config.host` says nothing and `config.port` is the utcp port (0: the number of its UDP port).

    As with uvicorn, whoever needs to know when it serves looks at `started`, and where, at
    `servers[0].sockets[0].getsockname()`. Cancelling `serve()` stops it as SIGTERM does: connections that are busy may
    finish, for `timeout_graceful_shutdown` seconds at most, and the application's lifespan ends.
    """

    servers: list[Server]  # type: ignore[assignment]  # uvicorn closes them and waits until they are, which is common

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        ssl: ssl_module.SSLContext | None = None,
        utcp_config: Config | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        if config.uds is not None or config.fd is not None:
            raise ValueError("uds and fd are not for utcp, which listens on UDP: specify host and port, or an endpoint")
        if config.should_reload or config.workers > 1:
            raise ValueError("reload and workers are not for utcp: one process serves")
        super().__init__(config)
        self.servers = []
        self._ssl = ssl
        self._via = Via(utcp_config, endpoint)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._captures_signals = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # serve() lets a signal take effect as soon as it is over. SIGTERM would end the process then, before the end of
        # the loop, where utcp still answers the FINs of its peers: here it waits for that.
        with self.capture_signals():
            super().run(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if self._captures_signals:
            yield
            return
        self._captures_signals = True
        try:
            with super().capture_signals():
                yield
        finally:
            self._captures_signals = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's: exits with STARTUP_FAILURE when the application does not start or the port is taken."""
        if sockets:
            raise ValueError("sockets are not for utcp: specify host and port, or an endpoint")
        config = self.config
        self._loop = asyncio.get_running_loop()
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        context = config.ssl if self._ssl is None else self._ssl
        try:
            server = await self._via.create_server(
                self._protocol, config.host, config.port, ssl=context, backlog=config.backlog
            )
        except OSError as error:
            _logger.error(error)  # noqa: TRY400  # as uvicorn: one line
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        except BaseException:
            await self.lifespan.shutdown()
            raise
        self.servers = [server]
        host, port, *_ = server.sockets[0].getsockname()
        url = f"{'http' if context is None else 'https'}+utcp://{f'[{host}]' if ':' in host else host}:{port}"
        _logger.info("Uvicorn running on %s (Press CTRL+C to quit)", url)
        self.started = True

    async def main_loop(self) -> None:
        try:
            await super().main_loop()
        except asyncio.CancelledError:
            # uvicorn itself would leave everything open: it counts on the end of the process.
            await self.shutdown()
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        except asyncio.CancelledError:
            # No more patience with the clients; the application may still end in order.
            self._abort_clients()
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()
            raise
        finally:
            self._abort_clients()  # those who have outstayed the graceful shutdown

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit and self._loop is not None:
            # uvicorn's shutdown, which hurries now, still waits until the servers' clients have gone.
            self._loop.call_soon_threadsafe(self._abort_clients)

    def _abort_clients(self) -> None:
        for server in self.servers:
            server.abort_clients()

    def _protocol(self) -> asyncio.Protocol:
        """What uvicorn's own startup() has its servers make. The class is known once the configuration is loaded."""
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


async def serve(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    ssl: ssl_module.SSLContext | None = None,
    config: Config | None = None,
    endpoint: Endpoint | None = None,
    **options: Any,
) -> None:
    """Serve `app` until cancelled or stopped by a signal. `config` is utcp's; `options` are those of `uvicorn.Config`.

    While it runs in the main thread, SIGINT and SIGTERM are uvicorn's: they stop it, and once it has stopped they take
    effect on the program.
    """
    await UtcpServer(uvicorn.Config(app, host, port, **options), ssl=ssl, utcp_config=config, endpoint=endpoint).serve()


def run(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    ssl: ssl_module.SSLContext | None = None,
    config: Config | None = None,
    **options: Any,
) -> None:
    """`uvicorn.run()` over utcp, on the loop that uvicorn's option `loop` says. Ctrl-C ends it without a traceback."""
    server = UtcpServer(uvicorn.Config(app, host, port, **options), ssl=ssl, utcp_config=config)
    try:
        server.run()
    except KeyboardInterrupt:
        # The signal that stopped it, raised again once all is done.
        pass
