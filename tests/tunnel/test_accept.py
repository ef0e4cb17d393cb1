"""Taking users in when the process has no descriptor left for them."""

import asyncio
import errno
import os
import socket
from typing import Any, NoReturn

import pytest

from tests.tunnel.ends import LOCAL, receive, send
from utcp import Config
from utcp.tunnel.accept import Acceptor, accept_kernel
from utcp.tunnel.options import FORWARD_PORT, Options


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.mark.parametrize("host", [None, "localhost"])
async def test_port_0_is_one_port_for_all_addresses(host: str | None) -> None:
    acceptor = Acceptor(Echo, FORWARD_PORT, Options(config=Config()), lambda *_: None)
    await acceptor.start((host, 0))
    ports = {name.rpartition(":")[2] for name in acceptor.names.split(" and ")}
    await acceptor.aclose()
    assert len(ports) == 1
    server = await accept_kernel(Echo, (host, 0))
    assert len({each.getsockname()[1] for each in server.sockets}) == 1  # type: ignore[attr-defined]
    server.close()
    await server.wait_closed()


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
