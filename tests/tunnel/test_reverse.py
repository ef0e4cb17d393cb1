"""What the two ends of a reverse tunnel say to each other, seen by a stranger in the place of either."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import utcp
from tests.tunnel.ends import GIVES_UP, LOCAL, PLAIN, Service, is_reset, receive, until
from utcp.tunnel import reverse as reverse_module
from utcp.tunnel.options import EXPOSE_PORT
from utcp.tunnel.reverse import GO, GO_MARK, HELLO, HERE, SPARE, WELCOME, Control, Expose, Reverse

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Inside:
    """Stands where Expose stands."""

    def __init__(self, endpoint: utcp.Endpoint, udp_port: int) -> None:
        self._endpoint = endpoint
        self._udp_port = udp_port

    async def offer(self) -> Streams:
        """A connection that waits for a user."""
        reader, writer = await self._endpoint.open_connection(LOCAL, EXPOSE_PORT, udp_port=self._udp_port)
        writer.write(HELLO)
        assert await reader.readexactly(len(WELCOME)) == WELCOME
        return reader, writer


@asynccontextmanager
async def public_end() -> AsyncIterator[tuple[Inside, tuple[str, int], Reverse]]:
    end = Reverse((LOCAL, 0), (LOCAL, 0), PLAIN)
    await end.start()
    assert end.users is not None
    users: tuple[str, int] = end.users.sockets[0].getsockname()  # type: ignore[attr-defined]
    try:
        async with utcp.Endpoint((LOCAL, 0), config=PLAIN.config) as endpoint:
            yield Inside(endpoint, end.carrier._endpoints[0].address[1]), users, end
    finally:
        await end.stop(0)


async def go(reader: asyncio.StreamReader) -> int:
    """How many more users wait, once there is one."""
    mark, more = GO.unpack(await reader.readexactly(GO.size))
    assert mark == GO_MARK
    return int(more)


async def test_go_says_how_many_more_users_wait() -> None:
    async with public_end() as (inside, users, end):
        waiting = [await asyncio.open_connection(*users) for _ in range(3)]
        await until(lambda: len(end._waiting) == 3)
        for more in (2, 1, 0):
            reader, writer = await inside.offer()
            assert await go(reader) == more
            writer.write(HERE + b"hello, you")
            assert await waiting[2 - more][0].readexactly(10) == b"hello, you"
            writer.close()
        for _, writer in waiting:
            writer.close()


async def test_a_user_is_not_left_with_a_connection_that_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest connection is asked first; one that does not answer makes room for another."""
    monkeypatch.setattr(reverse_module, "PATIENCE", 0.2)
    async with public_end() as (inside, users, _):
        alive = await inside.offer()
        dead = await inside.offer()
        user = await asyncio.open_connection(*users)
        user[1].write(b"is anybody there?")
        assert await go(dead[0]) == 0
        assert await go(alive[0]) == 0
        alive[1].write(HERE)
        assert await alive[0].readexactly(17) == b"is anybody there?"
        try:
            assert await dead[0].read() == b""  # of the user's words it has heard nothing
        except ConnectionResetError:
            pass
        for _, writer in (alive, dead, user):
            writer.close()


class Deaf(asyncio.Transport):
    """A connection of which only the protocol above is of interest."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": (LOCAL, 1024)}.get(name, default)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass


async def test_a_connection_that_ends_with_its_hello_waits_for_nobody() -> None:
    """Both may be read in one turn of the loop: its end is known before it could have been put among the idle."""
    async with public_end() as (_, _, end):
        control = Control(end._offered, end._withdrawn)
        control.connection_made(Deaf())
        await until(lambda: control._waiter)
        control.data_received(HELLO)
        control.connection_lost(ConnectionResetError())
        await until(lambda: not end._background)
        assert end._idle_controls == []


async def test_no_more_connections_wait_than_are_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches the UDP port may open them, and nothing would ever close them."""
    monkeypatch.setattr(reverse_module, "MOST_IDLE", 2)
    async with public_end() as (inside, users, end):
        waiting = [await inside.offer() for _ in range(2)]
        with pytest.raises(ConnectionResetError):
            await inside.offer()
        assert len(end._idle_controls) == 2
        user = await asyncio.open_connection(*users)
        assert await go(waiting[1][0]) == 0
        again = await inside.offer()  # there is room again
        for _, writer in (*waiting, again, user):
            writer.close()


async def test_a_public_end_that_lets_go_at_once_is_not_stormed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse_module, "FIRST_PAUSE", 1000.0)
    offered = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal offered
        offered += 1
        assert await reader.readexactly(len(HELLO)) == HELLO
        writer.write(WELCOME)
        writer.close()

    async with utcp.Endpoint((LOCAL, 0), config=PLAIN.config) as endpoint:
        await endpoint.start_server(accept, EXPOSE_PORT)
        end = Expose((LOCAL, 9), (LOCAL, endpoint.address[1]), PLAIN)
        await end.start()
        await until(lambda: end._retry is not None and not end._opening and not end._spare)
        assert offered <= 1 + SPARE
        await end.stop(0)


async def test_as_many_connections_are_opened_as_users_wait() -> None:
    service = Service()
    offered: list[Streams] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(HELLO)) == HELLO
        writer.write(WELCOME)
        offered.append((reader, writer))

    async with utcp.Endpoint((LOCAL, 0), config=GIVES_UP.config) as endpoint:
        await endpoint.start_server(accept, EXPOSE_PORT)
        end = Expose(service.address, (LOCAL, endpoint.address[1]), GIVES_UP)
        await end.start()
        await until(lambda: end._spare == SPARE)
        assert len(offered) == SPARE
        reader, writer = offered[0]
        writer.write(GO.pack(GO_MARK, 10))
        assert await reader.readexactly(len(HERE)) == HERE
        writer.write(b"a user's words")
        with await service.accept() as target:
            assert await receive(target, 14) == b"a user's words"
            await until(lambda: end._spare == SPARE + 10)
            assert len(offered) == 1 + SPARE + 10
            # Who says something else than "go" is not listened to.
            offered[1][1].write(b"come")
            with pytest.raises(ConnectionResetError):
                await offered[1][0].read()
            await end.stop(0)
            await until(lambda: all(reader.at_eof() or reader.exception() for reader, _ in offered))
            assert await is_reset(target)
        for _, writer in offered:
            writer.close()
    service.close()


async def test_users_and_service_meet_in_the_middle_of_a_word() -> None:
    """What comes with the answer to "go" is the service's."""
    async with public_end() as (inside, users, _):
        user_reader, user_writer = await asyncio.open_connection(*users)
        reader, writer = await inside.offer()
        assert await go(reader) == 0
        writer.write(HERE + b"SSH-2.0-")
        writer.write(b"OpenSSH\r\n")
        writer.write_eof()
        assert await user_reader.read() == b"SSH-2.0-OpenSSH\r\n"
        user_writer.write(b"bye")
        user_writer.close()
        assert await reader.read() == b"bye"
        writer.close()
