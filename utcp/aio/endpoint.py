"""An endpoint: one UDP socket that carries any number of connections and servers."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl as ssl_module
from collections.abc import Callable
from functools import partial
from typing import Final, Self, TypeVar

from utcp.aio.address import host_and_port, resolve, wildcard
from utcp.aio.driver import Driver
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.opening import Opening
from utcp.aio.race import first_to_open
from utcp.aio.registry import DEFAULT_CONFIG, ControlPath, LoopEndpoints
from utcp.aio.server import Server
from utcp.aio.stream_reader import DEFAULT_LIMIT, StreamReader
from utcp.aio.stream_writer import StreamWriter
from utcp.aio.streams import ClientConnected, StreamProtocol, stream_factory
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
    """One UDP socket that carries any number of connections and servers, each with its own utcp ports.

    Use it as `async with Endpoint(...) as endpoint:`, or call `start()` and `aclose()`.

    Args:
        local_addr: the UDP address to bind; a host of None is the wildcard, a port of 0 one that the system chooses;
            None means both.
        sock: a bound UDP socket to use instead. The endpoint owns it.
        family: IPv4 (default) or IPv6, if the host does not determine it.
        reuse_port: let other sockets with SO_REUSEPORT bind the same address. The system then distributes the datagrams
            by the UDP addresses and ports. Each peer stays with one socket until a socket is opened or closed.
        config: the configuration of the endpoint and its connections; None: the default.
        observer: gets the events of the stack (`utcp.tcp.observer` lists their costs). After an exception it is not
            called again. None: events are logged (`utcp.trace.log`).
        control: the path of a Unix socket to open for `utcp ss` and `utcp capture`; True: one in the default directory;
            None: the environment variable UTCP_CONTROL (`utcp.inspect.control`).

    The environment variable UTCP_PCAP captures what the endpoint sends and receives (`utcp.inspect.loop`).
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

    # --- starting and closing

    async def start(self) -> Self:
        """Bind the socket and start reading. Raises OSError if that fails, RuntimeError on a second call."""
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
        """Start with this link, on the running loop. `start()` calls it with a link on a UDP socket.

        Raises AddressInUse or another OSError if the requested control socket cannot be opened.
        """
        if self._open is not None:
            link.close()
            raise RuntimeError("the endpoint has been started already")
        endpoints = LoopEndpoints.of_running_loop()
        self._open = endpoints.open(link, self.config, observer=self._observer, control=self._control)

    async def aclose(self) -> None:
        """Close every connection, wait until the peers have acknowledged everything, and close the socket.

        A connection with TLS first sends close_notify. It sends its FIN when the peer has answered, at the latest after
        one second or half of `Config.close_timeout`, whichever is less.

        This takes at most `Config.close_timeout`. Then connections with unacknowledged data are reset, and their
        connection_lost() gets FinTimedOut. Every transport has had its connection_lost() when this returns. Idempotent.
        Cancelling it closes the endpoint at once.
        """
        if self._open is not None:
            await self._open.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def started(self) -> bool:
        """Whether the endpoint has been started; True also after it is closed."""
        return self._open is not None

    @property
    def closed(self) -> bool:
        """Whether the endpoint has been started and closed."""
        return self._open is not None and self._open.closed

    # --- parts

    @property
    def driver(self) -> Driver:
        """The driver between socket and stack. Raises RuntimeError unless the endpoint is open."""
        if self._open is None:
            raise RuntimeError(f"{self!r} is not open")
        return self._open.driver

    @property
    def stack(self) -> Stack:
        """The TCP stack. It stays readable after `aclose()`."""
        return self._started().stack

    @property
    def link(self) -> Link:
        """The socket and the clock. It stays readable after `aclose()`."""
        return self._started().link

    @property
    def address(self) -> SocketAddress:
        """The UDP address that the socket is bound to."""
        return self._started().address

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Report the events of the stack to `observer` from now on, in addition to the present observers.

        Returns a function that stops this. Both may be called at any time, also from within an observer.

        After an exception, an observer is not called again, and the exception is passed once to the loop's exception
        handler.
        """
        return self._started().observe(observer)

    def snmp(self) -> dict[str, int]:
        """Return the totals of all connections of this endpoint, past ones included, named as in `nstat`, and
        TcpCurrEstab."""
        return self._started().snmp()

    def _started(self) -> OpenEndpoint:
        if self._open is None:
            raise RuntimeError("the endpoint has not been started: call start() first")
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
        """Connect to a utcp port of `host`, whose addresses are tried one after another.

        Args:
            port: the peer's utcp port.
            udp_port: the peer's UDP port; None: the same number as `port`.
            local_port: the local utcp port; None: an ephemeral one.

        Raises the errors of asyncio's create_connection; LimitReached if `Config.max_connections` or `max_memory`
        allows no further connection; AddressInUse if `local_port` is taken for this peer; AddressNotAvailable if no
        ephemeral port is free; OSError (ENETUNREACH) for an IPv4-mapped address on an endpoint with an IPv6 address,
        "::" included, because such an endpoint carries no IPv4.
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
        self,
        host: str,
        port: int,
        *,
        limit: int = DEFAULT_LIMIT,
        udp_port: int | None = None,
        local_port: int | None = None,
        ssl: ssl_module.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.StreamReader, StreamWriter]:
        """Connect as `create_connection` does, and return asyncio's streams. The reader buffers `limit` bytes."""
        loop = asyncio.get_running_loop()
        reader = StreamReader(limit, loop)
        factory = partial(StreamProtocol, reader, None, loop)
        transport, protocol = await self.create_connection(
            factory,
            host,
            port,
            udp_port=udp_port,
            local_port=local_port,
            ssl=ssl,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            all_errors=all_errors,
        )
        return reader, StreamWriter(transport, protocol, reader, loop)

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
        """Listen on a utcp port. The endpoint stays open when the server is closed.

        Args:
            port: the utcp port; 0: the number of the UDP port.

        Raises AddressInUse if another server has the port.
        """
        tls = TlsOptions.of_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        loop, opened = self.driver.loop, self._started()
        server = Server(loop, [opened], [port or self.address[1]], protocol_factory, backlog, tls, owns_endpoints=False)
        if start_serving:
            await server.start_serving()
        return server

    async def start_server(
        self,
        client_connected_cb: ClientConnected,
        port: int = 0,
        *,
        limit: int = DEFAULT_LIMIT,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen as `create_server` does, with asyncio's streams. Each reader buffers `limit` bytes."""
        return await self.create_server(
            stream_factory(client_connected_cb, limit),
            port,
            backlog=backlog,
            ssl=ssl,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            start_serving=start_serving,
        )
