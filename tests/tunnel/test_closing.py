"""How a connection ends on one side of a tunnel is how it ends on the other: half by half, or by RST."""

import asyncio
import errno
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.aio.peers import opened
from tests.tunnel.ends import (
    KEY,
    LOCAL,
    PLAIN,
    Tunnel,
    is_reset,
    receive,
    reset,
    rest,
    reverse_tunnel,
    send,
    tunnel,
    until,
    with_key,
)
from utcp.tunnel.end import End
from utcp.tunnel.forward import Serve
from utcp.tunnel.pump import KernelSide

pytestmark = pytest.mark.parametrize("secure", [False, True], ids=["plain", "key"])


MUCH = 200 << 20
"""More than the kernel's buffers and those of a tunnel take in."""


async def is_over(carried: Tunnel) -> None:
    """Neither end has anything left of it."""
    await until(lambda: not carried.near.connections and not carried.far.connections)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
async def test_the_user_ends_first_and_the_service_goes_on(secure: bool, reverse: bool) -> None:
    async with reverse_tunnel(secure) if reverse else tunnel(secure) as carried:
        user, service = await carried.through()
        with user, service:
            await send(user, b"what do you know?")
            user.shutdown(socket.SHUT_WR)
            assert await rest(service) == b"what do you know?"
            for part in (b"a lot, ", b"and " * 50_000, b"that is all"):
                await send(service, part)
                assert await receive(user, len(part)) == part
            assert carried.near.connections == carried.far.connections == 1
            service.shutdown(socket.SHUT_WR)
            assert await rest(user) == b""
            await is_over(carried)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
async def test_the_service_ends_first_and_the_user_goes_on(secure: bool, reverse: bool) -> None:
    async with reverse_tunnel(secure) if reverse else tunnel(secure) as carried:
        user, service = await carried.through()
        with user, service:
            await send(service, b"220 hello\r\n")
            service.shutdown(socket.SHUT_WR)
            assert await rest(user) == b"220 hello\r\n"
            for part in (b"I ", b"see " * 50_000, b"bye"):
                await send(user, part)
                assert await receive(service, len(part)) == part
            user.close()
            assert await rest(service) == b""
            await is_over(carried)


async def test_a_service_that_speaks_and_leaves_at_once(secure: bool) -> None:
    """Its words and its FIN may meet a tunnel whose two connections are not joined yet."""
    async with reverse_tunnel(secure) as carried:
        for _ in range(20):
            user, service = await carried.through()
            with user:
                service.sendall(b"busy, come back later\n")
                service.close()
                assert await rest(user) == b"busy, come back later\n"


async def test_a_user_who_has_nothing_to_say_and_waits(secure: bool) -> None:
    """Its FIN comes while the other end of the tunnel is not there yet."""
    far = with_key(PLAIN, KEY, server_side=True) if secure else PLAIN
    async with tunnel(secure) as carried:
        assert isinstance(carried.far, Serve)
        udp = carried.far.carrier._endpoints[0].address[1]
        await carried.far.stop(0)
        with await carried.connect() as user:
            user.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.05)
            again = Serve((LOCAL, udp), carried.service.address, far)
            await again.start()
            with await carried.service.accept() as service:
                assert await rest(service) == b""
                await send(service, b"you are welcome")
                service.shutdown(socket.SHUT_WR)
                assert await rest(user) == b"you are welcome"
            await again.stop(1)


async def test_a_user_who_speaks_and_leaves_at_once(secure: bool) -> None:
    async with tunnel(secure) as carried:
        for number in range(20):
            user = await carried.connect()
            user.sendall(b"%d" % number)
            user.close()
            with await carried.service.accept() as service:
                assert await rest(service) == b"%d" % number
        await is_over(carried)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("by", ["user", "service"])
async def test_a_reset_reaches_the_other_end(secure: bool, by: str, reverse: bool) -> None:
    async with reverse_tunnel(secure) if reverse else tunnel(secure) as carried:
        user, service = await carried.through()
        here, there = (user, service) if by == "user" else (service, user)
        with there:
            await send(here, b"abc")
            assert await receive(there, 3) == b"abc"
            reset(here)
            assert await is_reset(there)
            await is_over(carried)


async def fill(sock: socket.socket) -> int:
    """Send until nothing more is taken for a while; how much that was."""
    sent = 0
    while sent < MUCH:
        try:
            sent += sock.send(bytes(1 << 20))
        except BlockingIOError:
            before = sent
            await asyncio.sleep(0.5)
            try:
                sent += sock.send(bytes(1 << 20))
            except BlockingIOError:
                return before
    raise AssertionError(f"nothing holds back who has sent {sent} octets")


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="without epoll nobody tells")
async def test_a_reset_is_noticed_while_nothing_is_read(secure: bool) -> None:
    """A service that does not read holds the tunnel back, so that it does not read from the user either."""
    async with tunnel(secure) as carried:
        user, service = await carried.through()
        with service:
            await fill(user)
            reset(user)
            assert await is_reset(service)
            await is_over(carried)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="without epoll nobody tells")
async def test_a_reset_is_noticed_after_a_half_close(secure: bool) -> None:
    """Once the user's FIN has been read, its connection is not watched for reading any more."""
    async with tunnel(secure) as carried:
        user, service = await carried.through()
        with service:
            user.shutdown(socket.SHUT_WR)
            assert await rest(service) == b""
            reset(user)
            await is_over(carried)
            await until(lambda: service.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE)


@contextmanager
def vanished(end: End) -> Iterator[None]:
    """As if its machine had lost its power. In the end it forgets what it had, which nothing will ever end."""
    assert isinstance(end, Serve)
    opened(end.carrier._endpoints[0]).vanish()
    try:
        yield
    finally:
        for side in list(end._sides):
            if isinstance(side, KernelSide):
                side.reset()
        end._sides.clear()
        end._settle()


async def test_a_peer_that_vanishes_is_missed(secure: bool) -> None:
    watchful = replace(PLAIN.config, keepalive=True, keepalive_idle=0.2, keepalive_interval=0.1, keepalive_count=2)
    async with tunnel(secure, near=replace(PLAIN, config=watchful)) as carried:
        user, service = await carried.through()
        with user, service:
            await send(user, b"abc")
            assert await receive(service, 3) == b"abc"
            (across,) = (side for side in carried.near._sides if not isinstance(side, KernelSide))
            await until(lambda: not across.transport.get_extra_info("utcp").unacked)
            with vanished(carried.far):
                assert await is_reset(user)
                await until(lambda: not carried.near.connections)


async def test_nothing_is_lost_before_a_full_close(secure: bool) -> None:
    """Both close at once, with as much as the buffers take under way."""
    async with tunnel(secure) as carried:
        user, service = await carried.through()
        with user, service:
            sent = await fill(user)
            user.shutdown(socket.SHUT_WR)
            service.shutdown(socket.SHUT_WR)
            assert len(await rest(service)) == sent
            assert await rest(user) == b""
            await is_over(carried)


async def test_many_at_once_each_its_own_octets(secure: bool) -> None:
    async with tunnel(secure) as carried:

        async def echo_one(service: socket.socket) -> None:
            with service:
                await send(service, await rest(service))

        async def echo_all() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(50):
                    group.create_task(echo_one(await carried.service.accept()))

        async def ask(number: int) -> bytes:
            with await carried.connect() as user:
                await send(user, b"%d " % number * 5000)
                user.shutdown(socket.SHUT_WR)
                return await rest(user)

        answers, _ = await asyncio.gather(asyncio.gather(*(ask(number) for number in range(50))), echo_all())
        assert answers == [b"%d " % number * 5000 for number in range(50)]
        await is_over(carried)
