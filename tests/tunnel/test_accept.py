"""Taking users in when the process has no descriptor left for them."""

import asyncio
import errno
import os
import socket
from typing import Any, NoReturn

import pytest

from tests.tunnel.ends import LOCAL, receive, send
from utcp.tunnel.accept import accept_kernel


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def test_without_descriptors_it_waits_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    complaints: list[str] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    refused = 0

    def none_left(_: socket.socket) -> NoReturn:
        nonlocal refused
        refused += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    server = await accept_kernel(Echo, (LOCAL, 0))
    address = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    with socket.socket() as user:
        user.setblocking(False)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", none_left)  # uvloop does without it
            await loop.sock_connect(user, address)
            await asyncio.sleep(0.1)
        assert refused == len(complaints)
        assert refused <= 1
        await send(user, b"at last")
        assert await receive(user, 7) == b"at last"
    server.close()


async def test_many_users_may_come_at_once() -> None:
    """Before the loop gets to accept any."""
    server = await accept_kernel(Echo, (LOCAL, 0))
    address = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    users = [socket.create_connection(address, timeout=100) for _ in range(200)]
    for user in users:
        user.setblocking(False)
    await asyncio.gather(*(send(user, b"hello") for user in users))
    assert [await receive(user, 5) for user in users] == [b"hello"] * 200
    for user in users:
        user.close()
    server.close()
