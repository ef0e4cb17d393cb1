"""Taking connections in: by kernel TCP, and by utcp with TLS or without."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from utcp import Endpoint, Server
from utcp.aio.address import Resolved, wildcard
from utcp.errors import ConnectionAborted
from utcp.tunnel.dial import resolve_name
from utcp.tunnel.options import Options
from utcp.tunnel.pump import address_text, peer_name
from utcp.tunnel.strangers import Admission
from utcp.tunnel.tls import GuardedTls

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: a thousand users may come at once."""


HandshakeFailed: TypeAlias = Callable[[str, BaseException], None]
"""Is called with the name of the peer, and why."""


class Acceptor:
    """Takes utcp connections in on utcp port `port` of UDP sockets of its own, over TLS if the options have it."""

    def __init__(
        self, factory: Callable[[], asyncio.Protocol], port: int, options: Options, handshake_failed: HandshakeFailed
    ) -> None:
        self._factory = factory if options.tls is None else _secured(factory, options.tls, handshake_failed)
        self._port = port
        self._options = options
        self._endpoints: list[Endpoint] = []
        self._servers: list[Server] = []

    async def start(self, address: tuple[str | None, int]) -> None:
        """Bind UDP port `address`, host None for all interfaces of both families. Raises OSError; nothing is left open
        then."""
        try:
            for resolved in await _addresses(address):
                endpoint = Endpoint((resolved.address[0], resolved.address[1]), config=self._options.config)
                try:
                    await endpoint.start()
                except OSError as error:
                    if address[0] is None and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        continue  # the host does without this family
                    raise
                self._endpoints.append(endpoint)
                self._servers.append(await endpoint.create_server(self._factory, self._port, backlog=BACKLOG))
        except BaseException:
            await self.aclose()
            raise

    @property
    def names(self) -> str:
        """The UDP addresses that it is bound to."""
        return " and ".join(address_text(endpoint.address) for endpoint in self._endpoints)

    def close(self) -> None:
        """Refuse whoever comes. Connections that are open stay."""
        for server in self._servers:
            server.close()

    async def aclose(self) -> None:
        """Close the sockets, once what was said on them is delivered."""
        await asyncio.gather(*(endpoint.aclose() for endpoint in self._endpoints))


async def accept_kernel(
    factory: Callable[[], asyncio.Protocol], address: tuple[str | None, int]
) -> asyncio.AbstractServer:
    """Listen on a port of kernel TCP. Raises OSError."""
    host, port = address
    if host is not None:
        await resolve_name(host, port, socket.AI_PASSIVE)  # its complaint says which
    # asyncio's loop also takes `backlog` for how often it accepts in a row. When the process has no descriptor left it
    # tries so often again, with a traceback in the log and a timer for each.
    server = await asyncio.get_running_loop().create_server(factory, host, port, backlog=1)
    for each in server.sockets:
        with socket.socket(fileno=os.dup(each.fileno())) as same:
            same.listen(BACKLOG)
    return server


def names(server: asyncio.AbstractServer) -> str:
    """The addresses that a server of the kernel's TCP listens on."""
    sockets = getattr(server, "sockets", ())
    return " and ".join(address_text(each.getsockname()) for each in sockets)


async def _addresses(address: tuple[str | None, int]) -> list[Resolved]:
    host, port = address
    if host is None:
        return [Resolved(family, wildcard(family, port)) for family in (socket.AF_INET, socket.AF_INET6)]
    return await resolve_name(host, port, socket.AI_PASSIVE)


def _secured(
    factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext, handshake_failed: HandshakeFailed
) -> Callable[[], asyncio.Protocol]:
    """A factory of protocols for connections whose TLS is dealt with, as far as strangers may take our time for it."""
    admission = Admission()
    return lambda: _Gate(admission, factory, context, handshake_failed)


class _Gate(asyncio.Protocol):
    """Resets a new connection, or hands it over to TLS."""

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
