"""Both ends of a tunnel on the test's own loop, between plain sockets of the kernel's."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from utcp import Config
from utcp.tunnel.credentials import key_context
from utcp.tunnel.end import End
from utcp.tunnel.forward import Listen, Serve
from utcp.tunnel.options import Options
from utcp.tunnel.reverse import Expose, Reverse

LOCAL: Final = "127.0.0.1"
FAST: Final = Config(msl=0.05, close_timeout=30.0)
PLAIN: Final = Options(config=FAST, connect_timeout=60)
GIVES_UP: Final = replace(PLAIN, config=Config(msl=0.05, close_timeout=0.5))
"""For ends that the other end does not take part in."""
KEY: Final = bytes(range(32))
LINGER_0: Final = struct.pack("ii", 1, 0)


def with_key(options: Options, key: bytes, *, server_side: bool) -> Options:
    return replace(options, tls=key_context(key, server_side=server_side))


def port_of(server: Any) -> int:
    """The port of the first socket of a server."""
    port: int = server.sockets[0].getsockname()[1]
    return port


async def until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait until `condition()` is true; AssertionError after `timeout` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.002)


class Service:
    """A kernel TCP service whose connections are accepted by the test, as plain sockets that do not block."""

    def __init__(self) -> None:
        self._listening = socket.create_server((LOCAL, 0), backlog=100)
        self._listening.setblocking(False)
        self.address: tuple[str, int] = self._listening.getsockname()

    async def accept(self) -> socket.socket:
        async with asyncio.timeout(60):
            accepted, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        return accepted

    def close(self) -> None:
        self._listening.close()


@dataclass
class Tunnel:
    """A tunnel to `service`, and where users get in."""

    service: Service
    users: tuple[str, int]
    near: End
    """The end that users come to."""
    far: End
    """The end from which the service is reached."""

    async def connect(self) -> socket.socket:
        """A user."""
        user = socket.socket()
        user.setblocking(False)
        await asyncio.get_running_loop().sock_connect(user, self.users)
        return user

    async def through(self) -> tuple[socket.socket, socket.socket]:
        """A user, and the service's socket for it."""
        user = await self.connect()
        return user, await self.service.accept()


@asynccontextmanager
async def tunnel(secure: bool = False, near: Options = PLAIN, far: Options = PLAIN) -> AsyncIterator[Tunnel]:
    """Listen and Serve; `secure`: with a key."""
    if secure:
        near, far = with_key(near, KEY, server_side=False), with_key(far, KEY, server_side=True)
    service = Service()
    serve = Serve((LOCAL, 0), service.address, far)
    await serve.start()
    listen = Listen((LOCAL, 0), (LOCAL, serve.carrier._endpoints[0].address[1]), near)
    await listen.start()
    try:
        yield Tunnel(service, (LOCAL, port_of(listen.users)), listen, serve)
    finally:
        service.close()
        await listen.stop(0)
        await serve.stop(0)


@asynccontextmanager
async def reverse_tunnel(
    secure: bool = False, options: Options = PLAIN, inside_key: bytes = KEY
) -> AsyncIterator[Tunnel]:
    """Reverse and Expose; `secure`: with a key, Expose with `inside_key`."""
    service = Service()
    near = with_key(options, KEY, server_side=True) if secure else options
    far = with_key(options, inside_key, server_side=False) if secure else options
    reverse = Reverse((LOCAL, 0), (LOCAL, 0), near)
    await reverse.start()
    expose = Expose(service.address, (LOCAL, reverse.carrier._endpoints[0].address[1]), far)
    await expose.start()
    try:
        yield Tunnel(service, (LOCAL, port_of(reverse.users)), reverse, expose)
    finally:
        service.close()
        await expose.stop(0)
        await reverse.stop(0)


async def send(sock: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(60):
        await asyncio.get_running_loop().sock_sendall(sock, data)


async def receive(sock: socket.socket, octets: int) -> bytes:
    """So many octets; fewer if they end earlier."""
    received = bytearray()
    async with asyncio.timeout(60):
        while len(received) < octets:
            data = await asyncio.get_running_loop().sock_recv(sock, min(octets - len(received), 1 << 18))
            if not data:
                break
            received += data
    return bytes(received)


async def rest(sock: socket.socket) -> bytes:
    """All until the end."""
    return await receive(sock, 1 << 40)


async def is_reset(sock: socket.socket) -> bool:
    """Whether the connection ends by RST, after whatever it still says."""
    try:
        await rest(sock)
    except ConnectionResetError:
        return True
    return False


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    sock.close()
