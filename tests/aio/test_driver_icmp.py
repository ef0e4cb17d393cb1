"""The driver tells the stack what ICMP says, and finds out by one descriptor that there is room again."""

import asyncio
import errno
from typing import Any

import pytest

from tests.aio.peers import Peers, Recorder, turns, until
from tests.aio.test_driver import Crowded, link_of
from tests.link.sockets import needs_linux
from tests.ports import free_port
from utcp import Endpoint
from utcp.aio.driver import Driver
from utcp.tcp.transmit import Remote, Transmit
from utcp.wire import SYN, decode

pytestmark = [needs_linux, pytest.mark.usefixtures("replaceable")]


class Told:
    """What a stack was told of paths."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: list[tuple[Remote, int, int | None, bytes]] = []
        self.failed: list[tuple[Remote, int]] = []
        monkeypatch.setattr("utcp.aio.registry.Stack.path_error", self._path_error)
        monkeypatch.setattr("utcp.aio.registry.Stack.path_failed", self._path_failed)

    def _path_error(self, remote: Remote, code: int, mtu: int | None, quoted: bytes, now: float) -> None:
        self.errors.append((remote, code, mtu, quoted))

    def _path_failed(self, remote: Remote, flows: object, code: int, now: float) -> None:
        self.failed.append((remote, code))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


async def test_the_stack_is_told_which_segment_found_no_port(told: Told) -> None:
    async with Endpoint(("127.0.0.1", 0)) as endpoint:
        port = free_port()
        opening = asyncio.create_task(endpoint.open_connection("127.0.0.1", port))
        await until(lambda: told.errors)
        opening.cancel()
        (remote, code, mtu, quoted), *_ = told.errors
    assert (remote, code, mtu) == (("127.0.0.1", port), errno.ECONNREFUSED, None)
    assert decode(quoted).flags == SYN
    assert told.failed == []


async def test_other_connections_do_not_notice_and_the_loop_rests(
    peers: Peers, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeups = 0
    readable = Driver._readable

    def counted(self: Driver) -> None:
        nonlocal wakeups
        wakeups += 1
        readable(self)

    monkeypatch.setattr("utcp.aio.registry.Driver._readable", counted)
    async with Endpoint(("127.0.0.1", 0)) as client:  # a new one: the others' readers are bound already
        await peers.server.create_server(peers.remember(Recorder))
        transport, protocol = await client.create_connection(Recorder, peers.host, peers.port)
        await until(lambda: peers.accepted)
        link = link_of(client)
        refused = link.remote(("127.0.0.1", free_port()))
        for number in range(1, 11):
            link.send([Transmit(refused, [b"nobody hears this"], 17)])
            transport.write(b"x")
            await until(lambda number=number: len(peers.accepted[0].received) == number)  # type: ignore[misc]  # a loop variable, bound
        await until(lambda: len(told.errors) == 10)
        assert told.failed == []
        await asyncio.sleep(0.1)
        before = wakeups
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert wakeups - before <= 2  # a delayed ACK may come; it does not spin
        transport.close()
        await until(lambda: protocol.lost)
        assert protocol.lost == [None]


async def test_an_error_heard_of_while_sending_is_told_at_once(
    peers: Peers, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = peers.client.driver
    link = link_of(peers.client)
    refused = link.remote(("127.0.0.1", free_port()))
    monkeypatch.setattr(driver.stack, "datagrams_to_send", lambda _: [Transmit(refused, [b"x"], 1)] * 2)
    driver.flush()
    assert [code for _, code, _, _ in told.errors] == [errno.ECONNREFUSED] * 2
    monkeypatch.undo()


async def test_room_is_waited_for_with_the_one_descriptor(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop would never look again at a socket that reported EPOLLERR, so nobody watches the socket itself."""
    transport, client, server = await peers.connect(Recorder)
    await turns(5)
    link = link_of(peers.client)
    loop = asyncio.get_running_loop()
    wanted: list[bool] = []
    watch_room = link.watch_room

    def noted(want: bool) -> bool:
        wanted.append(want)
        return watch_room(want)

    monkeypatch.setattr(link, "watch_room", noted)
    crowded = Crowded(link, monkeypatch)
    transport.write(b"first")
    await until(lambda: crowded.asked)
    assert wanted == [True]
    assert not loop.remove_writer(link.fileno())
    assert not loop.remove_writer(link._socket.fileno())
    crowded.room = True
    await until(lambda: server.received == b"first")
    assert wanted == [True, False]
    transport.close()
    await until(lambda: client.lost)


async def test_a_link_that_cannot_tell_of_room_has_a_writer(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a TunLink, and every link elsewhere than on Linux."""
    transport, client, server = await peers.connect(Recorder)
    await turns(5)
    link = link_of(peers.client)
    loop = asyncio.get_running_loop()
    writers: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(link, "watch_room", lambda _: False)
        patch.setattr(loop, "add_writer", lambda fd, callback: writers.append((fd, callback)))
        patch.setattr(loop, "remove_writer", writers.append)
        crowded = Crowded(link, patch)
        transport.write(b"first")
        await until(lambda: crowded.asked)
        ((descriptor, callback),) = writers
        assert descriptor == link.fileno()
        crowded.room = True
        callback()
        assert writers[1:] == [descriptor]
        await until(lambda: server.received == b"first")
        await turns(5)
    transport.close()
    await until(lambda: client.lost)
    assert client.lost == [None]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_connect_to_a_host_where_nothing_runs_is_refused_at_once(host: str) -> None:
    """As for kernel TCP; without ICMP it would take the handshake's time limit."""
    async with Endpoint((host, 0)) as endpoint, asyncio.timeout(20):
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await endpoint.open_connection("127.0.0.1", free_port())
        assert link_of(endpoint).counters.path_errors >= 3
