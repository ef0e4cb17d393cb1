"""Clients: `create_connection` and `open_connection` of asyncio, over utcp."""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from utcp.aio.address import (
    Host,
    Port,
    Resolved,
    host_and_port,
    numeric_address,
    resolve,
    unmapped,
    wildcard,
    with_port,
)
from utcp.aio.address import interleave as interleave_families
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.opening import Opening
from utcp.aio.race import first_to_open
from utcp.aio.registry import DEFAULT_CONFIG, LoopEndpoints
from utcp.aio.stream_reader import DEFAULT_LIMIT, StreamReader
from utcp.aio.stream_writer import StreamWriter
from utcp.aio.streams import StreamProtocol
from utcp.aio.tls.options import TlsOptions
from utcp.config import Config

HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds between the attempts to connect to the addresses of a host (RFC 8305 8). asyncio's default waits until an
attempt fails, but an unused UDP port often gives no answer."""

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


async def create_connection(
    protocol_factory: Callable[[], ProtocolT],
    host: Host = None,
    port: Port = None,
    *,
    ssl: ssl_module.SSLContext | bool | None = None,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[str | None, int] | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
    config: Config | None = None,
) -> tuple[asyncio.Transport, ProtocolT]:
    """Connect over utcp as `loop.create_connection` of asyncio does: to UDP port `port` of `host`, utcp port `port`.

    All connections of a loop with the same `config` and local host share one UDP socket.

    A connection to an IPv4-mapped IPv6 address (::ffff:192.0.2.1) uses IPv4, as with kernel TCP, and its local address
    may be "::". Its `peername` and `sockname` are IPv4 addresses, unlike those of kernel TCP.

    Args:
        happy_eyeballs_delay: seconds between the attempts if the host has several addresses; None: 0.25 (unlike
            asyncio).
        local_addr: the local host (None: any) and the local utcp port (0: an ephemeral one).
        sock: a connected UDP socket that provides both addresses. It is closed, and an unconnected socket bound to its
            local address replaces it, for this connection only.
        config: the configuration of the connection; None: the default.

    Raises the errors of asyncio: ConnectionRefusedError, TimeoutError and the other OSErrors of failed connections;
    AddressInUse if the local port is taken for this peer, also by TIME_WAIT; AddressNotAvailable if no ephemeral port
    is free; ValueError for arguments that exclude each other; TypeError for a `local_addr` that is not a tuple. A
    cancelled call leaves no connection behind.
    """
    tls = TlsOptions.of_client(ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    config = DEFAULT_CONFIG if config is None else config
    if host is None and port is None:
        if sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        return await _connect_socket(sock, config, protocol_factory, tls)
    if sock is not None:
        raise ValueError("host/port and sock can not be specified at the same time")
    numeric = None if local_addr is not None or all_errors else numeric_address(host, port, family, proto)
    if numeric is not None:  # one attempt, at once
        family, address = unmapped(numeric)
        endpoint = LoopEndpoints.of_running_loop().client(family, wildcard(family, 0), config)
        opening = await Opening.establish(endpoint.driver, address, address[1], None)
        return await opening.hand_over(protocol_factory, tls)
    local = None if local_addr is None else host_and_port(local_addr, "local_addr")
    found = await resolve(host, port, family=family, proto=proto, flags=flags)
    remotes = list(dict.fromkeys(map(unmapped, found)))
    locals_ = None if local is None else await _resolve_local(*local, family, proto, flags)
    if locals_ is not None and remotes != found:
        locals_ += [
            Resolved(socket.AF_INET, wildcard(socket.AF_INET, address[1]))
            for _, address in locals_
            if address[0] == "::"
        ]
    if happy_eyeballs_delay is None and len(remotes) > 1:
        happy_eyeballs_delay = HAPPY_EYEBALLS_DELAY
    if interleave is None and happy_eyeballs_delay is not None:
        interleave = 1
    if interleave:
        remotes = interleave_families(remotes, interleave)
    attempts = [partial(_attempt, remote, locals_, config) for remote in remotes]
    opening = await first_to_open(attempts, happy_eyeballs_delay, all_errors=all_errors)
    return await opening.hand_over(protocol_factory, tls)


async def open_connection(
    host: Host = None,
    port: Port = None,
    *,
    limit: int = DEFAULT_LIMIT,
    ssl: ssl_module.SSLContext | bool | None = None,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[str | None, int] | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
    config: Config | None = None,
) -> tuple[asyncio.StreamReader, StreamWriter]:
    """Connect over utcp as `open_connection` of asyncio does.

    Before the process ends, await `writer.wait_closed()`, or let the loop end. If the process is killed, the peer gets
    no FIN or RST, and unacknowledged data is lost.

    Args:
        limit: bytes that the reader buffers (`StreamReader`).

    The other arguments, and the errors, are those of `create_connection`.
    """
    loop = asyncio.get_running_loop()
    reader = StreamReader(limit, loop)
    transport, protocol = await create_connection(
        partial(StreamProtocol, reader, None, loop),
        host,
        port,
        ssl=ssl,
        family=family,
        proto=proto,
        flags=flags,
        sock=sock,
        local_addr=local_addr,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        happy_eyeballs_delay=happy_eyeballs_delay,
        interleave=interleave,
        all_errors=all_errors,
        config=config,
    )
    return reader, StreamWriter(transport, protocol, reader, loop)


def _attempt(remote: Resolved, locals_: Sequence[Resolved] | None, config: Config) -> Coroutine[Any, Any, Opening]:
    family, address = remote
    if locals_ is None:
        endpoint = LoopEndpoints.of_running_loop().client(family, wildcard(family, 0), config)
        local_port = None
    else:
        endpoint, local_port = _local_endpoint(family, locals_, config)
    return Opening.establish(endpoint.driver, address, address[1], local_port)


def _local_endpoint(family: int, locals_: Sequence[Resolved], config: Config) -> tuple[OpenEndpoint, int | None]:
    """Return the endpoint of the first local address of `family` that can be bound, and the utcp port given with it."""
    endpoints = LoopEndpoints.of_running_loop()
    failure: OSError | None = None
    for local_family, address in locals_:
        if local_family == family:
            try:
                return endpoints.client(family, with_port(address, 0), config), address[1] or None
            except OSError as error:
                failure = error
    raise failure or OSError(f"no matching local address with {family=} found")


async def _resolve_local(host: Host, port: Port, family: int, proto: int, flags: int) -> list[Resolved]:
    if host is None:
        return [Resolved(each, wildcard(each, int(port or 0))) for each in (socket.AF_INET, socket.AF_INET6)]
    found = await resolve(host, port, family=family, proto=proto, flags=flags)
    return list(map(unmapped, found))


async def _connect_socket(
    sock: socket.socket, config: Config, protocol_factory: Callable[[], ProtocolT], tls: TlsOptions | None
) -> tuple[asyncio.Transport, ProtocolT]:
    if sock.type != socket.SOCK_DGRAM:
        raise ValueError(f"A Datagram Socket was expected, got {sock!r}")
    # A link needs an unconnected socket, and Python cannot disconnect this one.
    family, remote = unmapped(Resolved(sock.family, sock.getpeername()))
    local = unmapped(Resolved(sock.family, sock.getsockname())).address
    sock.close()
    endpoint = LoopEndpoints.of_running_loop().bind(family, local, config)
    try:
        opening = await Opening.establish(endpoint.driver, remote, remote[1], None)
        return await opening.hand_over(protocol_factory, tls)
    finally:
        endpoint.close_when_idle()
