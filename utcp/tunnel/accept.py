"""Accepts connections over kernel TCP, and over utcp with or without TLS."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from utcp import Endpoint, Server
from utcp.aio.address import Resolved, wildcard
from utcp.errors import ConnectionAborted
from utcp.tcp.transmit import address_text
from utcp.tunnel.dial import resolve_name
from utcp.tunnel.limits import Admission
from utcp.tunnel.options import Options
from utcp.tunnel.pump import peer_name
from utcp.tunnel.tls import GuardedTls

BACKLOG: Final = 1024
"""Maximum number of connections waiting to be accepted, because a thousand users may connect at once."""


HandshakeFailed: TypeAlias = Callable[[str, BaseException], None]


class Acceptor:
    """Accepts utcp connections on utcp port `port` of its own UDP sockets, over TLS if the options contain it.

    `handshake_failed` is called with the peer's name and the error.
    """

    def __init__(
        self, factory: Callable[[], asyncio.Protocol], port: int, options: Options, handshake_failed: HandshakeFailed
    ) -> None:
        self._factory = (
            factory if options.tls is None else partial(_Gate, Admission(), factory, options.tls, handshake_failed)
        )
        self._port = port
        self._options = options
        self._endpoints: list[Endpoint] = []
        self._servers: list[Server] = []

    async def start(self, address: tuple[str | None, int]) -> None:
        """Bind UDP port `address`; host None: all interfaces of both families. Raises OSError, with all sockets closed
        again. With port 0, all sockets get the same port."""
        try:
            addresses = await _addresses(address)
            port = address[1] or (free_port(socket.SOCK_DGRAM) if len(addresses) > 1 else 0)
            for resolved in addresses:
                endpoint = Endpoint((resolved.address[0], port), config=self._options.config)
                try:
                    await endpoint.start()
                except OSError as error:
                    if address[0] is None and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        continue  # the host does not support this family
                    raise
                self._endpoints.append(endpoint)
                self._servers.append(await endpoint.create_server(self._factory, self._port, backlog=BACKLOG))
        except BaseException:
            await self.aclose()
            raise

    @property
    def names(self) -> str:
        """Return the UDP addresses that it is bound to."""
        return " and ".join(address_text(endpoint.address) for endpoint in self._endpoints)

    def close(self) -> None:
        """Refuse new connections. Open connections stay."""
        for server in self._servers:
            server.close()

    async def aclose(self) -> None:
        """Close the sockets after all sent data is delivered."""
        await asyncio.gather(*(endpoint.aclose() for endpoint in self._endpoints))


async def accept_kernel(
    factory: Callable[[], asyncio.Protocol], address: tuple[str | None, int]
) -> asyncio.AbstractServer:
    """Listen on a port of kernel TCP. With port 0, all sockets get the same port. Raises OSError."""
    host, port = address
    addresses = await _addresses(address)  # its error names the host
    port = port or (free_port(socket.SOCK_STREAM) if len(addresses) > 1 else 0)
    # asyncio's loop also uses `backlog` as the number of accept() calls in a row. If the process has no descriptor
    # left, it repeats the failing call as often, with a logged traceback and a timer for each.
    server = await asyncio.get_running_loop().create_server(factory, host, port, backlog=1)
    for each in server.sockets:
        with socket.socket(fileno=os.dup(each.fileno())) as same:
            same.listen(BACKLOG)
    return server


def free_port(kind: socket.SocketKind) -> int:
    """Return a port that no socket of this kind uses on any interface, for IPv4 and IPv6. Raises OSError."""
    dual = socket.has_dualstack_ipv6()
    with socket.socket(socket.AF_INET6 if dual else socket.AF_INET, kind) as probe:
        if dual:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


async def _addresses(address: tuple[str | None, int]) -> list[Resolved]:
    host, port = address
    if host is None:
        return [Resolved(family, wildcard(family, port)) for family in (socket.AF_INET, socket.AF_INET6)]
    return await resolve_name(host, port, socket.AI_PASSIVE)


class _Gate(asyncio.Protocol):
    """Starts TLS on a new connection, or resets it if its peer's host has reached a limit."""

    __slots__ = ("_admission", "_context", "_factory", "_handshake_failed")

    def __init__(
        self,
        admission: Admission,
        factory: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        handshake_failed: HandshakeFailed,
    ) -> None:
        self._admission = admission
        self._factory = factory
        self._context = context
        self._handshake_failed = handshake_failed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection: Any = transport
        admission, handshake_failed = self._admission, self._handshake_failed
        name = peer_name(connection)
        host: str = connection.get_extra_info("udp_peername")[0]

        under_way = True

        def leave(*, succeeded: bool) -> None:
            nonlocal under_way
            if under_way:
                under_way = False
                admission.leave(host, succeeded=succeeded)

        def shaken(error: BaseException | None) -> None:
            leave(succeeded=error is None)
            if error is not None:
                handshake_failed(name, error)

        if not admission.enter(host, asyncio.get_running_loop().time()):
            connection.abort()
            handshake_failed(name, ConnectionAborted("too many handshakes"))
            return
        try:
            tls = GuardedTls(self._factory(), self._context, shaken, server_side=True)
            connection.set_protocol(tls)
            tls.connection_made(connection)
        except BaseException:
            leave(succeeded=False)
            connection.abort()
            raise
