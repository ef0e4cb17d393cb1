"""ASGI applications (Starlette, FastAPI, ...) served by uvicorn over utcp.

    from utcp.integrations import uvicorn

    uvicorn.run(app, "127.0.0.1", 8000)                # until Ctrl-C or SIGTERM
    await uvicorn.serve(app, "127.0.0.1", 8000)        # within an async program; cancel it to stop

All other features of uvicorn work unchanged: lifespan, h11 and httptools, WebSockets, log lines, timeouts, shutdown.
The options `uds`, `fd`, `reload` and `workers` do not work with utcp.
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

from utcp import Config, Endpoint, Server
from utcp.extras import needs_extra
from utcp.integrations.via import Via

with needs_extra("integrations"):
    import uvicorn

STARTUP_FAILURE: Final = 3
"""uvicorn's exit status for a failed startup. Defined here because uvicorn has moved the name between modules."""

_logger: Final = logging.getLogger("uvicorn.error")  # uvicorn's logger, which its log_config sets up


class UtcpServer(uvicorn.Server):
    """uvicorn's Server, with `run()` and `serve()` listening over utcp.

    `started` is True once it serves, as with uvicorn, and `servers[0].sockets[0].getsockname()` is its address.
    Cancelling `serve()` stops it as SIGTERM does: busy connections may finish within `timeout_graceful_shutdown`
    seconds, and the application's lifespan ends.

    Args:
        config: uvicorn's configuration; `config.host` and `config.port` are the address, UDP port and utcp port.
        ssl: TLS context; None: the one from uvicorn's own `ssl_...` options.
        utcp_config: utcp's configuration.
        endpoint: the endpoint to listen on, which outlives the server. `config.host` is not used then, and
            `config.port` is the utcp port (0: the number of its UDP port).
    """

    servers: list[Server]  # type: ignore[assignment]  # uvicorn only closes them and waits until they are closed

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        ssl: ssl_module.SSLContext | None = None,
        utcp_config: Config | None = None,
        endpoint: Endpoint | None = None,
    ) -> None:
        if config.uds is not None or config.fd is not None:
            raise ValueError("utcp does not support uds and fd: specify host and port, or an endpoint")
        if config.should_reload or config.workers > 1:
            raise ValueError("utcp does not support reload and workers: it serves in one process")
        super().__init__(config)
        self.servers = []
        self._ssl = ssl
        self._via = Via(utcp_config, endpoint)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._captures_signals = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # serve() re-raises a captured signal at its end. SIGTERM would then end the process before the loop's end,
        # during which utcp still answers the FINs of its peers. Capturing here delays the signal until after that.
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
        """Start as uvicorn does. Exits with STARTUP_FAILURE when the application does not start or the port is
        taken."""
        if sockets:
            raise ValueError("utcp does not support sockets: specify host and port, or an endpoint")
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
            _logger.error(error)  # noqa: TRY400  # one line, as in uvicorn
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
            # uvicorn itself would leave everything open, because it expects the process to end.
            await self.shutdown()
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        except asyncio.CancelledError:
            # Stop waiting for the clients, but let the application end properly.
            self._abort_clients()
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()
            raise
        finally:
            self._abort_clients()  # clients that remain after the graceful shutdown

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit and self._loop is not None:
            # Even a forced shutdown of uvicorn waits until the servers' clients are gone.
            self._loop.call_soon_threadsafe(self._abort_clients)

    def _abort_clients(self) -> None:
        for server in self.servers:
            server.abort_clients()

    def _protocol(self) -> asyncio.Protocol:
        """Create a protocol as uvicorn's own startup() does. The class is known only after the configuration is
        loaded."""
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
    """Serve `app` until cancelled or stopped by a signal.

    In the main thread, uvicorn handles SIGINT and SIGTERM during the call: they stop the server, and take effect on the
    program after that.

    Args:
        app: the ASGI application.
        host: address to bind.
        port: UDP port and utcp port.
        ssl: TLS context; None: the one from uvicorn's own `ssl_...` options.
        config: utcp's configuration.
        endpoint: the endpoint to listen on.
        options: options of `uvicorn.Config`.
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
    """Run `app` as `uvicorn.run()` does, over utcp, on the loop of uvicorn's option `loop`. Ctrl-C causes no
    traceback."""
    server = UtcpServer(uvicorn.Config(app, host, port, **options), ssl=ssl, utcp_config=config)
    try:
        server.run()
    except KeyboardInterrupt:
        # The signal that stopped the server is raised again after the shutdown.
        pass
