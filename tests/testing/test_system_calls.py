"""Calls of sockets whose result is the same over a simulated kernel and the real one."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, Final

from utcp.testing import Network

BROADCAST: Final = ("255.255.255.255", 9)


def outcome(call: Callable[[], Any]) -> Any:
    """The result of a call, or the number of its OSError."""
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0)
    except ValueError as error:
        return str(error)


def new_socket(kind: int, address: tuple[str, int] | None = None) -> socket.socket:
    created = socket.socket(socket.AF_INET, kind)
    created.setblocking(False)
    if address is not None:
        created.bind(address)
    return created


async def datagrams() -> list[Any]:
    """Port 0, broadcast, and receiving no octets, which Python does without a system call."""
    near, far = new_socket(socket.SOCK_DGRAM), new_socket(socket.SOCK_DGRAM, ("127.0.0.1", 0))
    other = new_socket(socket.SOCK_DGRAM)
    with near, far, other:
        seen = [outcome(lambda: near.sendto(b"x", ("127.0.0.1", 0)))]
        seen += [outcome(lambda: near.sendto(b"x", BROADCAST)), outcome(lambda: near.connect(BROADCAST))]
        seen += [outcome(lambda: other.connect(("127.0.0.1", 0))), outcome(lambda: other.send(b"x"))]
        near.connect(far.getsockname())
        seen += [outcome(lambda: far.recv(0)), outcome(lambda: far.recv(-1))]
        seen += [outcome(lambda: far.recvfrom(0)), outcome(lambda: far.recvfrom(-1))]
        seen += [outcome(lambda: far.recv_into(bytearray())), outcome(lambda: far.recvfrom_into(bytearray()))]
        for data in (b"1", b"2", b"3", b"4"):
            near.send(data)
        await asyncio.sleep(0.01)
        seen += [far.recv(0), far.recvfrom(0)[0], far.recv_into(bytearray()), far.recvmsg(0)[0], far.recv(9)]
        far.close()
        near.send(b"refused")
        await asyncio.sleep(0.01)
        seen += [near.recv(0), outcome(lambda: near.recv(1)), outcome(lambda: near.recv(1))]
    return seen


async def refused() -> list[Any]:
    """After a refused connection, recv() returns nothing, once the error has been reported."""
    seen: list[Any] = []
    reports: tuple[Callable[[socket.socket], Any], ...] = (
        lambda tried: tried.recv(1),
        lambda tried: tried.send(b"x"),
        lambda tried: tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
    )
    for report in reports:
        with new_socket(socket.SOCK_STREAM, ("127.0.0.1", 0)) as free:
            address = free.getsockname()
        with new_socket(socket.SOCK_STREAM) as tried:
            seen += [outcome(lambda: tried.connect(BROADCAST)), outcome(lambda: tried.connect(address))]  # noqa: B023
            await asyncio.sleep(0.01)
            seen += [tried.recv(0), outcome(lambda: report(tried))]  # noqa: B023
            seen += [tried.recv(1), tried.recv(1), outcome(lambda: tried.send(b"x")), tried.recv(1)]
            seen.append(outcome(tried.getpeername))
    return seen


async def streams() -> list[Any]:
    """Receiving no octets from TCP."""
    listener = new_socket(socket.SOCK_STREAM, ("127.0.0.1", 0))
    near = new_socket(socket.SOCK_STREAM)
    with listener, near:
        seen = [outcome(lambda: near.recv(0)), outcome(lambda: near.recvfrom(0)), outcome(lambda: near.recv(1))]
        listener.listen()
        seen += [outcome(lambda: listener.recv(0)), outcome(lambda: listener.recv(1))]
        outcome(lambda: near.connect(listener.getsockname()))
        await asyncio.sleep(0.01)
        far, _ = listener.accept()
        with far:
            far.setblocking(False)
            for _ in range(2):
                seen += [far.recv(0), far.recv_into(bytearray()), outcome(lambda: far.recvfrom(0)[0])]
                near.send(b"hello")
                await asyncio.sleep(0.01)
            seen += [outcome(lambda: far.recv(-1)), far.recv(20)]
            near.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.01)
            seen += [far.recv(0), far.recvfrom(0)[0], far.recv(1)]
        near.close()
        seen.append(outcome(lambda: near.recv(0)))
    return seen


def test_datagrams() -> None:
    assert Network().run(datagrams()) == asyncio.run(datagrams())


def test_refused_connections() -> None:
    assert Network().run(refused()) == asyncio.run(refused())


def test_streams() -> None:
    assert Network().run(streams()) == asyncio.run(streams())


async def test_there_is_no_broadcast(simnet: Network) -> None:
    with new_socket(socket.SOCK_DGRAM) as near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        assert outcome(lambda: near.sendto(b"x", BROADCAST)) == "ENETUNREACH"
