"""A failure in one object of an endpoint, a server or a loop keeps none of the others from what they have to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.aio.peers import FAST, GIVES_UP, Peers, Recorder, connection_of, opened, started, until
from tests.variant import interpreted_only
from utcp import Endpoint
from utcp.aio import local_peers
from utcp.aio.containment import later, soon
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.opening import Opening
from utcp.aio.race import first_to_open
from utcp.aio.registry import LoopEndpoints
from utcp.aio.server import Server
from utcp.aio.transport import Transport
from utcp.errors import FinTimedOut
from utcp.link.closings import Closings
from utcp.tcp.connection import Connection
from utcp.trace import registry

pytestmark = [pytest.mark.defect(91), pytest.mark.usefixtures("contained")]


class Bug(Exception):
    """What is raised here."""


def told() -> list[Any]:
    """The exceptions that the running loop's handler is told from now on."""
    found: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context.get("exception")))
    return found


def failing(real: Callable[..., Any], *, when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    """`real`, which raises a Bug once, at the first call for which `when` is true."""
    raised = False

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal raised
        if not raised and when(*arguments):
            raised = True
            raise Bug
        return real(*arguments, **options)

    return call


def siblings() -> LoopEndpoints:
    return LoopEndpoints.of_running_loop()


# --- closing


@interpreted_only
async def test_an_endpoint_is_closed_although_one_connection_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = told()
    async with Endpoint(("127.0.0.1", 0), config=GIVES_UP) as client:
        server = await Endpoint(("127.0.0.1", 0), config=GIVES_UP).start()
        accepted: list[Recorder] = []

        def make() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        await server.create_server(make)
        for _ in range(3):
            await client.create_connection(Recorder, "127.0.0.1", server.address[1])
        await until(lambda: len(accepted) == 3)
        transport = accepted[0].transport
        assert transport is not None
        first = connection_of(transport)
        monkeypatch.setattr(Connection, "abort", failing(Connection.abort, when=lambda each, _: each is first))
        client.driver.read()
        client.driver.loop.remove_reader(client.link.fileno())  # nothing is acknowledged any more
        async with asyncio.timeout(60):
            await server.aclose()
        assert server.closed
        assert opened(server) not in started()
        assert [[type(error) for error in protocol.lost] for protocol in accepted] == [[FinTimedOut]] * 3
        assert [type(error) for error in reported] == [Bug]
        monkeypatch.undo()


async def test_those_who_wait_for_the_end_of_an_endpoint_hear_of_it_whatever_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported = told()
    endpoint = await Endpoint(("127.0.0.1", 0), config=FAST).start()
    monkeypatch.setattr(LoopEndpoints, "discard", failing(LoopEndpoints.discard))
    async with asyncio.timeout(60):
        await asyncio.gather(endpoint.aclose(), endpoint.aclose())
    assert endpoint.closed
    assert [type(error) for error in reported] == [Bug]
    siblings().discard(opened(endpoint))


async def test_the_end_of_the_loop_closes_the_endpoints_behind_one_that_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported = told()
    endpoints = [await Endpoint(("127.0.0.1", 0), config=FAST).start() for _ in range(3)]
    drain = failing(OpenEndpoint.drain)

    async def failing_drain(endpoint: OpenEndpoint) -> None:
        await drain(endpoint)

    monkeypatch.setattr(OpenEndpoint, "drain", failing_drain)
    await siblings()._end._guard.aclose()
    assert all(endpoint.closed for endpoint in endpoints)
    assert [type(error) for error in reported] == [Bug]


async def test_a_server_ends_although_one_client_cannot_be_reset(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = told()
    server = await peers.server.create_server(peers.remember(Recorder))
    clients = [(await peers.client.create_connection(Recorder, peers.host, peers.port))[1] for _ in range(3)]
    await until(lambda: len(peers.accepted) == 3)
    monkeypatch.setattr(Transport, "abort", failing(Transport.abort))
    server.abort_clients()
    await until(lambda: sum(bool(client.lost) for client in clients) == 2)
    assert [type(error) for error in reported] == [Bug]
    server.abort_clients()
    await until(lambda: all(client.lost for client in clients))
    server.close()


async def test_an_endpoint_stops_listening_at_each_server_although_one_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported = told()
    endpoint = await Endpoint(("127.0.0.1", 0), config=FAST).start()
    servers = [await endpoint.create_server(Recorder, port) for port in (1, 2, 3)]
    monkeypatch.setattr(Server, "close", failing(Server.close))
    async with asyncio.timeout(60):
        await endpoint.aclose()
    assert not endpoint.stack.listeners
    assert [server.is_serving() for server in servers] == [True, False, False]
    assert [type(error) for error in reported] == [Bug]


@interpreted_only
async def test_a_server_does_not_wait_for_a_client_whose_end_has_failed(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = told()
    transport, _, server = await peers.connect(Recorder, Recorder)
    ended = connection_of(server.transport)
    discard_unread = failing(Connection.discard_unread, when=lambda connection: connection is ended)
    monkeypatch.setattr(Connection, "discard_unread", discard_unread)
    transport.abort()
    await until(lambda: server.lost)
    assert peers.listening is not None
    peers.listening.close()
    async with asyncio.timeout(60):
        await peers.listening.wait_closed()
    assert not peers.server.driver.transports
    assert [type(error) for error in reported] == [Bug]


async def test_each_loser_of_a_race_is_abandoned_although_one_cannot_be(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = told()
    await peers.server.create_server(peers.remember(Recorder))
    driver, address = peers.client.driver, peers.server.address
    opened = [await Opening.establish(driver, address, address[1], None) for _ in range(4)]
    all_at_once = asyncio.Event()

    async def result(opening: Opening) -> Opening:
        await all_at_once.wait()
        return opening

    monkeypatch.setattr(Opening, "abandon", failing(Opening.abandon))
    driver.loop.call_later(0.1, all_at_once.set)
    attempts = [partial(result, opening) for opening in opened]
    assert await first_to_open(attempts, 0.001, all_errors=False) is opened[0]
    assert [opening.connection is None for opening in opened] == [False, False, True, True]
    assert [type(error) for error in reported] == [Bug]
    opened[0].abandon()
    opened[1].abandon()


# --- registering


async def test_an_endpoint_that_cannot_be_registered_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    told()
    endpoint = Endpoint(("127.0.0.1", 0), config=FAST)
    monkeypatch.setattr(registry, "opened", failing(registry.opened))
    with pytest.raises(Bug):
        await endpoint.start()
    assert not endpoint.started
    assert not started()
    async with endpoint:  # all that it had is free
        assert opened(endpoint) in started()


@pytest.mark.usefixtures("replaceable")
@pytest.mark.parametrize("site", ["watch", "Closings", "add_reader"])
async def test_a_peer_that_cannot_be_watched_costs_no_connection(
    site: str, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = told()
    peers_here = siblings()._local_peers
    made: list[Closings] = []

    def make() -> Closings:
        made.append(Closings())
        return made[-1]

    monkeypatch.setattr(peers.client.link, "receives_at", lambda _: False)  # as if the other end were
    monkeypatch.setattr(peers.server.link, "receives_at", lambda _: False)  # in another process
    if site == "add_reader":
        monkeypatch.setattr(local_peers, "Closings", make)
        monkeypatch.setattr(peers_here._loop, "add_reader", failing(peers_here._loop.add_reader))
    elif site == "Closings":
        monkeypatch.setattr(local_peers, "Closings", failing(Closings))
    else:
        monkeypatch.setattr(local_peers, "_is_on_this_host", failing(local_peers._is_on_this_host))
    transport, _, server = await peers.connect(Recorder)
    transport.write(b"and so on")
    await until(lambda: server.received == b"and so on")
    assert [type(error) for error in reported] == [Bug]
    assert [closings._socket.fileno() for closings in made[:1]] == ([-1] if site == "add_reader" else [])
    assert peers_here._closings is not None, "the other end's connection has opened it"
    transport.close()


@pytest.mark.usefixtures("replaceable")
async def test_an_open_that_cannot_be_flushed_leaves_nothing(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    await peers.server.create_server(peers.remember(Recorder))
    with monkeypatch.context() as patch:
        patch.setattr(peers.client.driver, "schedule_flush", failing(peers.client.driver.schedule_flush))
        with pytest.raises(Bug):
            await peers.client.create_connection(Recorder, peers.host, peers.port)
    assert not peers.client.stack.connections


# --- callbacks


class Loop:
    """A loop whose call number `turn` of each method fails."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.calls: list[tuple[Any, ...]] = []
        self.reported: list[Any] = []

    def call_soon(self, *arguments: Any, context: Any = None) -> Any:
        self.calls.append(arguments)
        if len(self.calls) in self.failing:
            raise Bug
        return len(self.calls)

    def call_later(self, *arguments: Any) -> Any:
        return self.call_soon(*arguments)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context["exception"])


@pytest.mark.parametrize("schedule", [soon, later])
def test_a_callback_that_cannot_be_scheduled_is_scheduled_at_the_second_attempt(schedule: Any) -> None:
    arguments = (1, print) if schedule is later else (print,)
    loop = Loop(1)
    assert schedule(loop, *arguments) == 2
    assert [type(error) for error in loop.reported] == [Bug]
    loop = Loop(1, 2)
    with pytest.raises(Bug):
        schedule(loop, *arguments)
    assert len(loop.calls) == 2
