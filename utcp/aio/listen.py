"""Servers: `create_server` and `start_server` of asyncio, over utcp."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import ssl as ssl_module
from collections.abc import Callable, Iterable
from dataclasses import replace

from utcp.aio.address import Port, Resolved, resolve
from utcp.aio.containment import attempt
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.registry import DEFAULT_CONFIG, LoopEndpoints
from utcp.aio.server import Server
from utcp.aio.stream_reader import DEFAULT_LIMIT
from utcp.aio.streams import ClientConnected, stream_factory
from utcp.aio.tls.options import TlsOptions
from utcp.config import Config
from utcp.link.udp import UdpLink


async def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: str | Iterable[str | None] | None = None,
    port: Port = None,
    *,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    sock: socket.socket | None = None,
    backlog: int = 100,
    ssl: ssl_module.SSLContext | None = None,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    keep_alive: bool | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
    config: Config | None = None,
) -> Server:
    """Create a server as `loop.create_server` of asyncio does: bind UDP port `port`, and listen on the same utcp port.

    After the server is closed, each socket stays open until its last connection and its last TIME_WAIT record are gone,
    or until the loop ends. A new server on the same address takes it over.

    Args:
        host: the hosts to bind; None: all interfaces.
        port: the UDP port and the utcp port; 0: a UDP port that the system chooses.
        sock: a bound UDP socket to use instead of `host` and `port`.
        reuse_address: has no effect, because for UDP it would mean sharing the port, which is `reuse_port`.
        keep_alive: whether connections use keepalive; None: as in `config`, where it is on by default.
        config: the configuration of the connections; None: the default.

    Raises the errors of asyncio: OSError ("error while attempting to bind on address ..."), and ValueError and
    TypeError for arguments that exclude each other.
    """
    tls = TlsOptions.of_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    config = DEFAULT_CONFIG if config is None else config
    if keep_alive is not None:
        config = replace(config, keepalive=bool(keep_alive))
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        if sock.type != socket.SOCK_DGRAM:
            raise ValueError(f"A Datagram Socket was expected, got {sock!r}")
        endpoints = [LoopEndpoints.of_running_loop().open(UdpLink(sock), config)]
    elif host is None and port is None:
        raise ValueError("Neither host/port nor sock were specified")
    else:
        hosts = [host or None] if host is None or isinstance(host, str) else host
        resolved = await asyncio.gather(*(resolve(each, port, family=family, flags=flags) for each in hosts))
        endpoints = _bind_all(dict.fromkeys(itertools.chain.from_iterable(resolved)), config, bool(reuse_port))
    server = Server(
        asyncio.get_running_loop(),
        endpoints,
        [endpoint.address[1] for endpoint in endpoints],
        protocol_factory,
        backlog,
        tls,
        owns_endpoints=True,
    )
    if start_serving:
        try:
            await server.start_serving()
        except BaseException:
            server.close()
            raise
    return server


async def start_server(
    client_connected_cb: ClientConnected,
    host: str | Iterable[str | None] | None = None,
    port: Port = None,
    *,
    limit: int = DEFAULT_LIMIT,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    sock: socket.socket | None = None,
    backlog: int = 100,
    ssl: ssl_module.SSLContext | None = None,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    keep_alive: bool | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
    config: Config | None = None,
) -> Server:
    """Create a server over utcp as `start_server` of asyncio does.

    Args:
        limit: bytes that each reader buffers (`StreamReader`).

    The other arguments, and the errors, are those of `create_server`.
    """
    return await create_server(
        stream_factory(client_connected_cb, limit),
        host,
        port,
        family=family,
        flags=flags,
        sock=sock,
        backlog=backlog,
        ssl=ssl,
        reuse_address=reuse_address,
        reuse_port=reuse_port,
        keep_alive=keep_alive,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        start_serving=start_serving,
        config=config,
    )


def _bind_all(addresses: Iterable[Resolved], config: Config, reuse_port: bool) -> list[OpenEndpoint]:
    """Return an endpoint on each address, except those that this host does not have. On an error, close all of them."""
    addresses = list(addresses)
    endpoints: list[OpenEndpoint] = []
    siblings = LoopEndpoints.of_running_loop()
    try:
        for family, address in addresses:
            endpoint = siblings.adopt(address, config)
            if endpoint is None:
                try:
                    endpoint = siblings.bind(family, address, config, reuse_port=reuse_port)
                except OSError as error:
                    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        continue  # the host does not have this address or family
                    raise
            endpoints.append(endpoint)
    except BaseException:
        for endpoint in endpoints:
            attempt(
                asyncio.get_running_loop(),
                "closing an unused endpoint failed",
                endpoint.close_when_idle,
            )
        raise
    if not endpoints:
        raise OSError(f"could not bind on any address out of {[address for _, address in addresses]!r}")
    return endpoints
