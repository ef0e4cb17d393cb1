"""An endpoint: one UDP socket, over which any number of connections and servers run."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl as ssl_module
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Self, TypeVar

from utcp.aio.address import host_and_port, resolve, wildcard
from utcp.aio.driver import Driver
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.opening import Opening
from utcp.aio.race import first_to_open
from utcp.aio.registry import DEFAULT_CONFIG, ControlPath, LoopEndpoints
from utcp.aio.server import Server
from utcp.aio.stream_reader import DEFAULT_LIMIT
from utcp.aio.streams import ClientConnected, ClientStreams, StreamWriter, stream_factory
from utcp.aio.tls.options import TlsOptions
from utcp.config import Config
from utcp.link import sockopt
from utcp.link.base import Link
from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.link.udp import UdpLink
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class Endpoint:
    """One UDP socket, over which any number of connections and servers run, each with utcp ports of its own.

    `local_addr` is the UDP address to bind, host None for the wildcard and port 0 for one that the system picks; None
    is both. `family` chooses IPv4 (default) or IPv6 where the host does not. `reuse_port` lets other sockets bind the
    same address, if they say so too (SO_REUSEPORT): then the system deals out what arrives by the UDP addresses and
    ports, and each peer's socket keeps to one of them as long as none comes or goes. `sock` is a bound UDP socket to
    use instead; it belongs to the endpoint. `observer` sees what the stack does (`utcp.tcp.observer` says what costs
    what); one that raises an exception is not called again. None logs to structlog if the application has configured
    that. `control` is the path of a Unix socket to open for `utcp ss` and `utcp capture`, True for one in the default
    directory; None asks the environment variable UTCP_CONTROL (see `utcp.inspect.control`). The environment variable
    UTCP_PCAP has what the endpoint sends and receives captured (`utcp.inspect.environment`).

    Use it as `async with Endpoint(...) as endpoint:`, or `start()` and `aclose()` it.
    """

    def __init__(
        self,
        local_addr: tuple[str | None, int] | None = None,
        *,
        sock: socket.socket | None = None,
        family: int = 0,
        reuse_port: bool = False,
        config: Config | None = None,
        observer: Observer | None = None,
        control: ControlPath = None,
    ) -> None:
        if sock is not None and local_addr is not None:
            raise ValueError("local_addr and sock can not be specified at the same time")
        if sock is not None and reuse_port:
            raise ValueError("reuse_port and sock can not be specified at the same time: it is set before binding")
        self.config: Final = DEFAULT_CONFIG if config is None else config
        self._local_addr = None if local_addr is None else host_and_port(local_addr, "local_addr")
        self._sock = sock
        self._family = family
        self._reuse_port = reuse_port
        self._observer = observer
        self._control = control
        self._open: OpenEndpoint | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'not started' if self._open is None else self._open.description()}>"

    # --- its life

    async def start(self) -> Self:
        """Bind the socket and begin to listen to it. Raises OSError when that fails, RuntimeError the second time."""
        if self._sock is None:
            host, port = self._local_addr or (None, 0)
            platform = Platform.of(asyncio.get_running_loop())
            if host is None:
                family = self._family or socket.AF_INET
                self.run(platform.bind(family, wildcard(family, int(port or 0)), reuse_port=self._reuse_port))
                return self
            family, address = (await resolve(host, port, family=self._family, flags=socket.AI_PASSIVE))[0]
            self.run(platform.bind(family, address, reuse_port=self._reuse_port))
            return self
        self.run(UdpLink(self._sock))
        return self

    def run(self, link: Link) -> None:
        """Begin with this link, on the running loop. `start()` calls it with one on a UDP socket.

        Raises AddressInUse, or another OSError, when the control socket that was asked for cannot be opened.
        """
        if self._open is not None:
            link.close()
            raise RuntimeError("the endpoint has been started already")
        endpoints = LoopEndpoints.of(Platform.of(asyncio.get_running_loop()))
        self._open = endpoints.open(link, self.config, observer=self._observer, control=self._control)

    async def aclose(self) -> None:
        """Close every connection, wait until the peers have acknowledged all, and close the socket.

        Connections with TLS send close_notify first, and their FIN once the peer has answered it, or a second later, or
        after half of `Config.close_timeout` if that is less.

        All of it takes `Config.close_timeout` at most. Whatever is not acknowledged by then is reset, and its
        connection_lost() gets FinTimedOut. When this returns every transport has had its connection_lost(). Idempotent;
        cancelling it closes at once.
        """
        if self._open is not None:
            await self._open.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def started(self) -> bool:
        """It has, or had, a socket."""
        return self._open is not None

    @property
    def closed(self) -> bool:
        """It had a socket, and has none any more."""
        return self._open is not None and self._open.closed

    # --- what it is made of

    @property
    def driver(self) -> Driver:
        """Raises RuntimeError unless the endpoint is open."""
        if self._open is None:
            raise RuntimeError(f"{self!r} is not open")
        return self._open.driver

    @property
    def stack(self) -> Stack:
        """The protocol behind the socket. It outlives `aclose()`, for looking at."""
        return self._started().stack

    @property
    def link(self) -> Link:
        """The socket, and the clock. It outlives `aclose()`, for looking at."""
        return self._started().link

    @property
    def address(self) -> SocketAddress:
        """The UDP address that it is bound to."""
        return self._started().address

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Let `observer`, beside those who do so already, see what the stack does from now on; call what is returned to
        stop that. Both at any time, also in the middle of what the observer is told.

        An observer that raises an exception is not called again; the loop's exception handler is told, once.
        """
        return self._started().observe(observer)

    def snmp(self) -> dict[str, int]:
        """Totals of all connections that this endpoint had, as `nstat` names them, and TcpCurrEstab."""
        return self._started().snmp()

    def _started(self) -> OpenEndpoint:
        if self._open is None:
            raise RuntimeError("the endpoint has not been started")
        return self._open

    # --- clients

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str,
        port: int,
        *,
        udp_port: int | None = None,
        local_port: int | None = None,
        ssl: ssl_module.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect to utcp port `port` behind UDP port `udp_port` (None: the same number) of `host`.

        `local_port` is our utcp port, None for an ephemeral one. The addresses of `host` are tried in turn. Raises what
        asyncio's create_connection raises; LimitReached when `Config.max_connections` or `max_memory` forbids another
        connection; AddressInUse when `local_port` is taken towards that peer, AddressNotAvailable when no ephemeral
        port is left. An endpoint on an IPv6 address, "::" included, carries no IPv4: an IPv4-mapped address is an
        OSError (ENETUNREACH).
        """
        tls = TlsOptions.of_client(ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        driver = self.driver
        udp_port = port if udp_port is None else udp_port
        family = socket.AF_INET6 if len(self.address) == 4 else socket.AF_INET
        ipv4 = sockopt.unmapped(host)
        if family == socket.AF_INET:
            host = ipv4
        elif ipv4 != host and (self._sock is None or not sockopt.takes_ipv4(self._sock)):
            raise OSError(errno.ENETUNREACH, f"{host} is an IPv4 address, and this endpoint has an IPv6 address only")
        addresses = await resolve(host, udp_port, family=family)
        attempts = [partial(Opening.establish, driver, address, port, local_port) for _, address in addresses]
        opening = await first_to_open(attempts, None, all_errors=all_errors)
        return await opening.hand_over(protocol_factory, tls)

    async def open_connection(
        self, host: str, port: int, *, limit: int = DEFAULT_LIMIT, **options: Any
    ) -> tuple[asyncio.StreamReader, StreamWriter]:
        """`create_connection` with asyncio's streams; `options` are its."""
        streams = ClientStreams(limit)
        transport, _ = await self.create_connection(streams, host, port, **options)
        return streams.on(transport)

    # --- servers

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        port: int = 0,
        *,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen on utcp port `port`; 0 is the number of the UDP port. The endpoint outlives the server.

        Raises AddressInUse when another server has the port.
        """
        tls = TlsOptions.of_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        loop, opened = self.driver.loop, self._started()
        server = Server(loop, [opened], [port or self.address[1]], protocol_factory, backlog, tls, owns_endpoints=False)
        if start_serving:
            await server.start_serving()
        return server

    async def start_server(
        self, client_connected_cb: ClientConnected, port: int = 0, *, limit: int = DEFAULT_LIMIT, **options: Any
    ) -> Server:
        """`create_server` with asyncio's streams; `options` are its."""
        return await self.create_server(stream_factory(client_connected_cb, limit), port, **options)
