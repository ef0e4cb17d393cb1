"""An endpoint: one UDP socket, the stack behind it, and the event loop that drives them."""

from __future__ import annotations

import asyncio
import errno
import operator
import socket
import ssl as ssl_module
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from math import inf
from os import PathLike
from typing import Any, Final, Self, TypeVar

from utcp.aio.address import host_and_port, network_of, resolve, wildcard
from utcp.aio.control import open_control
from utcp.aio.driver import Driver
from utcp.aio.environment import obey
from utcp.aio.opening import Opening
from utcp.aio.race import first_to_open
from utcp.aio.server import Acceptor, Server
from utcp.aio.shared import LoopEndpoints, is_on_this_host, peer_of
from utcp.aio.stream_reader import DEFAULT_LIMIT
from utcp.aio.streams import ClientConnected, ClientStreams, StreamWriter, stream_factory
from utcp.aio.tls import Tls
from utcp.aio.transport import CLOSE_NOTIFY_GRACE
from utcp.config import Config
from utcp.errors import FinTimedOut
from utcp.link import sockopt
from utcp.link.base import Link
from utcp.link.closings import Peer
from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.link.udp import UdpLink
from utcp.tcp.connection import Connection
from utcp.tcp.listener import Listener
from utcp.tcp.observer import Observer
from utcp.tcp.path_errors import peer_socket_closed
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, FIN_WAIT_2, TIME_WAIT
from utcp.trace import default_observer, log_event

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

_MAX_BACKLOG: Final = 2**31 - 1

DEFAULT_CONFIG: Final = Config()

PEER_FIN_GRACE: Final = 1.0
"""Seconds that closing an endpoint waits, once all is delivered, for FINs of peers that have not closed yet: when the
endpoint is gone nobody acknowledges them."""

HALF_OPEN_GRACE: Final = 1.0
"""Seconds that a closed server goes on with handshakes that were under way. Their peers may be connected already."""


class Endpoint:
    """One UDP socket, over which any number of connections and servers run, each with utcp ports of its own.

    `local_addr` is the UDP address to bind, host None for the wildcard and port 0 for one that the system picks; None
    is both. `family` chooses IPv4 (default) or IPv6 where the host does not. `reuse_port` lets other sockets bind the
    same address, if they say so too (SO_REUSEPORT): then the system deals out what arrives by the UDP addresses and
    ports, and each peer's socket keeps to one of them as long as none comes or goes. `sock` is a bound UDP socket to
    use instead; it belongs to the endpoint. `observer` sees what the stack does (`utcp.tcp.observer` says what costs
    what); one that raises an exception is not called again. None logs to structlog if the application has configured
    that. `control` is the path of a Unix socket to open for `utcp ss` and `utcp capture`, True for one in the default
    directory; None asks the environment variable UTCP_CONTROL (see `utcp.aio.control`). The environment variable
    UTCP_PCAP has what the endpoint sends and receives captured (`utcp.aio.recording`).

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
        control: str | PathLike[str] | bool | None = None,
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
        self._driver: Driver | None = None
        self._closed: asyncio.Future[None] | None = None
        self._drained = False
        self._deadline: float | None = None
        self._stopping: dict[Listener, asyncio.TimerHandle] = {}
        """Listeners that have stopped, and still accept the connections that were half-open then."""

    def __repr__(self) -> str:
        if self._driver is None:
            return f"<{type(self).__name__} not started>"
        state = "closed" if self._driver.closed else "open"
        return f"<{type(self).__name__} {state} {self.address} connections={len(self.stack.connections)}>"

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
        if self._driver is not None:
            link.close()
            raise RuntimeError("the endpoint has been started already")
        loop = asyncio.get_running_loop()
        platform = Platform.of(loop)
        # A window that the socket's buffer cannot hold would only mean loss. One that grows, does so with what arrives.
        config = self.config
        capacity = max(2048, link.receive_capacity)
        memory = platform.share_of_memory() if config.max_memory is None else config.max_memory
        if config.recv_buffer is None:
            initial = min(config.initial_recv_buffer, capacity)
            config = replace(config, initial_recv_buffer=initial, max_memory=memory)
        else:
            config = replace(config, recv_buffer=min(config.recv_buffer, capacity), max_memory=memory)
        self._siblings = LoopEndpoints.of(platform)
        driver: Driver | None = None
        try:
            stack = Stack(
                config,
                secret=platform.secret(),
                mtu=link.mtu,
                host=lambda remote: network_of(link.peername(remote)[0]),
                default_mss=1220 if len(link.address) == 4 else 536,  # RFC 9293 3.7.1, MUST-15
            )
            driver = Driver(loop, link, stack, self._siblings.has_read)
            control = None
            if self._control:
                control = open_control(self._control, for_all=False)
            own = self._observer if self._observer is not None else default_observer()
            observers = [
                observer for observer in (own, *platform.observers(stack, link.address)) if observer is not None
            ]
        except BaseException:
            if driver is None:  # loops exist that watch no descriptors
                link.close()
            else:
                driver.close()
            raise
        self._driver = driver
        for observer in observers:
            self.observe(observer)
        self._siblings.add(self)
        if not platform.simulated:
            driver.met_peer = partial(self._siblings.watch, link)
            obey(self._siblings, self)
        log_event("utcp.endpoint_opened", address=link.address)
        if control is not None:
            control.begin(self)

    async def aclose(self) -> None:
        """Close every connection, wait until the peers have acknowledged all, and close the socket.

        Connections with TLS send close_notify first, and their FIN once the peer has answered it, or a second later, or
        after half of `Config.close_timeout` if that is less.

        All of it takes `Config.close_timeout` at most. Whatever is not acknowledged by then is reset, and its
        connection_lost() gets FinTimedOut. When this returns every transport has had its connection_lost(). Idempotent;
        cancelling it closes at once.
        """
        await self.drain()
        await self.finish()

    async def drain(self) -> None:
        """The first part of `aclose()`: the socket stays, and answers. What another `aclose()` has begun is awaited."""
        driver = self._driver
        if driver is None or driver.closed:
            return
        if self._closed is not None:
            if not self._drained:
                await asyncio.shield(self._closed)
            return
        loop = driver.loop
        self._closed = loop.create_future()
        deadline = loop.time() + self.config.close_timeout
        if self._deadline is not None:  # the closing of its connections has begun earlier
            deadline = min(deadline, self._deadline)
        try:
            self._close_all(driver)
            if not all(transport.is_closing() for transport in driver.transports):  # those with TLS above
                await _until(driver, _shut_down, min(CLOSE_NOTIFY_GRACE, (deadline - loop.time()) / 2))
                for transport in list(driver.transports):
                    transport.close_unanswered()
            await _until(driver, _delivered, deadline - loop.time())
            # No FIN is in flight from a peer that has been silent for PEER_FIN_GRACE.
            heard = max((connection.last_heard for connection in driver.stack.connections.values()), default=-inf)
            grace = heard + PEER_FIN_GRACE - driver.link.now()
            await _until(driver, _finished, min(grace, deadline - loop.time()))
            self._drained = True
        except BaseException:
            self._shut(driver)
            raise

    async def finish(self) -> None:
        """The second part of `aclose()`: reset what is not delivered, and close the socket."""
        driver = self._driver
        if driver is None or driver.closed:
            return
        self._shut(driver)
        # Each lost connection is told in the next turn; TLS above a transport passes that on one turn later.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def close_now(self) -> int:
        """Close without waiting, and reset the connections that have not delivered everything. Returns their number."""
        driver = self._driver
        if driver is None or driver.closed:
            return 0
        undelivered = sum(not _delivered(connection) for connection in driver.stack.connections.values())
        self._close_all(driver)
        self._shut(driver)
        return undelivered

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def vanish(self) -> None:
        """Let go of everything and tell nobody, as when the machine loses its power. For simulations."""
        driver = self._driver
        if driver is not None and not driver.closed:
            for transport in list(driver.transports):
                transport.vanish()
            driver.close()

    def close_when_idle(self) -> None:
        """Close as soon as no connection and no TIME_WAIT record is left, without waiting for it.

        Until then a new server on the same address takes the endpoint over.
        """
        driver = self._driver
        if driver is None or driver.closed or self._closed is not None:
            return

        def close_if_idle() -> None:
            stack = driver.stack
            if not (driver.transports or stack.connections or len(stack.time_wait) or self._stopping):
                self._shut(driver)

        driver.after_flush = close_if_idle
        driver.schedule_flush()
        self._siblings.linger(self)

    def keep_open(self) -> None:
        """Take close_when_idle() back: there is a new server."""
        self.driver.after_flush = None
        self._deadline = None

    def _close_all(self, driver: Driver) -> None:
        now = driver.link.now()
        for listener in list(driver.stack.listeners.values()):
            if isinstance(listener.context, Acceptor):
                listener.context.server.close()
            listener.close(now)
        for listener in list(self._stopping):
            self.end_listening(listener)
        for connection in list(driver.stack.connections.values()):
            if isinstance(connection.context, Opening):
                connection.abort(now)
        for transport in list(driver.transports):
            transport.close_politely()

    def _shut(self, driver: Driver) -> None:
        if driver.closed:
            return
        now = driver.link.now()
        for transport in list(driver.transports):
            transport.lose(FinTimedOut("The endpoint was closed before the peer had acknowledged everything"))
        for listener in list(self._stopping):
            self.end_listening(listener)
        for connection in list(driver.stack.connections.values()):
            if not _delivered(connection):
                connection.abort(now)
        driver.flush()
        try:
            driver.close()
            self._siblings.discard(self)
            log_event("utcp.endpoint_closed", address=driver.link.address)
        finally:
            if self._closed is not None:
                self._closed.set_result(None)

    # --- what it is made of

    @property
    def driver(self) -> Driver:
        """Raises RuntimeError unless the endpoint is open."""
        if self._driver is None or self._driver.closed or self._closed is not None:
            raise RuntimeError(f"{self!r} is not open")
        return self._driver

    @property
    def stack(self) -> Stack:
        """The protocol behind the socket. It outlives `aclose()`, for looking at."""
        return self._started().stack

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Let `observer`, beside those who do so already, see what the stack does from now on; call what is returned to
        stop that. Both at any time, also in the middle of what the observer is told.

        An observer that raises an exception is not called again; the loop's exception handler is told, once.
        """
        stack = self.stack
        stack.observe_also(observer)
        return partial(stack.observe_no_more, observer)

    def snmp(self) -> dict[str, int]:
        """Totals of all connections that this endpoint had, as `nstat` names them, and TcpCurrEstab."""
        return self.stack.snmp()

    @property
    def link(self) -> Link:
        """The socket, and the clock. It outlives `aclose()`, for looking at."""
        return self._started().link

    @property
    def started(self) -> bool:
        """It has, or had, a socket."""
        return self._driver is not None

    @property
    def closed(self) -> bool:
        """It had a socket, and has none any more."""
        return self._driver is not None and self._driver.closed

    @property
    def address(self) -> SocketAddress:
        """The UDP address that it is bound to."""
        return self._started().link.address

    def _started(self) -> Driver:
        if self._driver is None:
            raise RuntimeError("the endpoint has not been started")
        return self._driver

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
        tls = Tls.of_client(ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
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
        tls = Tls.of_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        loop = self.driver.loop
        server = Server(loop, [self], [port or self.address[1]], protocol_factory, backlog, tls, owns_endpoints=False)
        if start_serving:
            await server.start_serving()
        return server

    async def start_server(
        self, client_connected_cb: ClientConnected, port: int = 0, *, limit: int = DEFAULT_LIMIT, **options: Any
    ) -> Server:
        """`create_server` with asyncio's streams; `options` are its."""
        return await self.create_server(stream_factory(client_connected_cb, limit), port, **options)

    # --- what servers call

    def listen(self, port: int, backlog: int, user: object) -> Listener:
        """Listen on a utcp port; `user.ready(listener)` is called when connections wait. Raises AddressInUse.

        `backlog` is as for `socket.listen()`: a number below 1 leaves room for one connection. Raises TypeError unless
        it is a whole number, OverflowError above 2**31 - 1.
        """
        driver = self.driver
        number = operator.index(backlog)
        if number > _MAX_BACKLOG:
            raise OverflowError(f"backlog must be at most {_MAX_BACKLOG}, not {number}")
        return driver.stack.listen(port, driver.link.now(), backlog=max(number, 1), context=user)

    def stop_listening(self, listener: Listener) -> None:
        """Stop listening; allowed also when the endpoint is closed.

        Connections whose handshake is under way are still accepted, for HALF_OPEN_GRACE seconds. Then `end_listening()`
        resets those that remain.
        """
        driver = self._started()
        listener.stop()
        # The ACK of a cookie must be refused, so the endpoint stays open for it.
        waits = listener.half_open or listener.queue or driver.stack.cookies.outstanding(driver.link.now())
        if waits and not driver.closed:
            self._stopping[listener] = driver.loop.call_later(HALF_OPEN_GRACE, self.end_listening, listener)
        else:
            self.end_listening(listener)

    def end_listening(self, listener: Listener) -> None:
        """Stop listening, and reset the connections that were not accepted. Then call `user.ready(listener)`."""
        driver = self._started()
        timer = self._stopping.pop(listener, None)
        if timer is not None:
            timer.cancel()
        listener.close(driver.link.now())
        driver.schedule_flush()
        user: Any = listener.context
        if user is not None:
            user.ready(listener)

    def close_by(self, deadline: float) -> None:
        """Bound the wait of `aclose()`, and of the loop's end, by `deadline`, a time of the loop's clock. The caller
        has begun to close the connections."""
        self._deadline = deadline

    def abort(self, connection: Connection) -> None:
        """Reset a connection that has no user."""
        driver = self._started()
        connection.abort(driver.link.now())
        driver.schedule_flush()

    # --- what the loop's other endpoints call

    def sockets_closed(self, peers: Collection[Peer]) -> set[Peer]:
        """Probe these peers, because UDP sockets on this host with their addresses were closed. Return the peers that
        have a connection."""
        driver = self._driver
        if driver is None or driver.closed:
            return set()
        link, now = driver.link, driver.link.now()
        found = set()
        for connection in driver.stack.connections.values():
            peer = peer_of(link, connection.remote)
            if peer in peers and is_on_this_host(link, connection.remote):
                peer_socket_closed(connection, now)
                found.add(peer)
        driver.schedule_flush()
        return found

    def read_soon(self) -> None:
        """Read in the next turn, whether the loop says that something has arrived or not."""
        driver = self._started()
        driver.loop.call_soon(driver.read)


def _shut_down(connection: Connection) -> bool:
    """Our FIN is sent, or waits behind data."""
    return connection.state not in (ESTABLISHED, CLOSE_WAIT)


def _delivered(connection: Connection) -> bool:
    """The peer has acknowledged all data and our FIN, or the connection is over."""
    return connection.state in (FIN_WAIT_2, TIME_WAIT, CLOSED)


def _finished(connection: Connection) -> bool:
    return connection.state in (TIME_WAIT, CLOSED)


async def _until(driver: Driver, done: Callable[[Connection], bool], timeout: float) -> None:
    """Wait until every connection is `done`, but no longer than `timeout` seconds."""
    waiting = list(driver.stack.connections.values())
    waiter = driver.loop.create_future()

    def check() -> None:
        while waiting and done(waiting[-1]):
            waiting.pop()
        if not waiting and not waiter.done():
            waiter.set_result(None)

    # At least one flush: it also tells users what has ended.
    driver.after_flush = check
    driver.schedule_flush()
    try:
        async with asyncio.timeout(timeout):
            await waiter
    except TimeoutError:
        return
    finally:
        driver.after_flush = None
