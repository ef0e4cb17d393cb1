"""What a callback of the application raises is reported, and costs no connection an event, its own or another's."""

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog
import uvloop

import utcp
from tests.aio.peers import FAST, Peers, Polite, Recorder, connection_of, turns, until
from tests.certificates import client_context, server_context
from utcp import ConnectionReset, Endpoint, Transport
from utcp.testing import Network

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture
async def reported() -> list[dict[str, Any]]:
    """What the loop's exception handler is told."""
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    return contexts


class Heard(asyncio.Protocol):
    def __init__(self) -> None:
        self.troubles: list[OSError | None] = []

    def connection_trouble(self, exc: OSError | None) -> None:
        self.troubles.append(exc)


class Troubled(Recorder):
    def connection_trouble(self, exc: OSError | None) -> None:
        raise LookupError("no advice")


@pytest.mark.defect(81)
async def test_trouble_that_raises_costs_no_connection_its_end(peers: Peers, reported: list[dict[str, Any]]) -> None:
    opened = [await peers.connect(Troubled) for _ in range(2)]
    driver = peers.client.driver
    now = driver.link.now()
    connections = [connection_of(transport) for transport, _, _ in opened]
    flows = [(each.local_port, each.remote_port) for each in connections]
    driver.stack.path_failed(connections[0].remote, flows, errno.EHOSTUNREACH, now)
    for connection in connections:
        connection.fail(ConnectionReset(), now)
        driver.stack.settle(connection, now)
    driver.schedule_flush()
    await until(lambda: all(client.lost for _, client, _ in opened))
    assert [type(client.lost[0]) for _, client, _ in opened] == [ConnectionReset] * 2
    assert [context["message"] for context in reported] == ["protocol.connection_trouble() call failed."] * 2
    for context, (transport, client, _) in zip(reported, opened, strict=True):
        assert isinstance(context["exception"], LookupError)
        assert context["transport"] is transport
        assert context["protocol"] is client
    peers.abort_server()


@pytest.mark.defect(81)
async def test_trouble_is_told_through_tls(peers: Peers, reported: list[dict[str, Any]]) -> None:
    await peers.server.create_server(asyncio.Protocol, ssl=server_context())
    transport, client = await peers.client.create_connection(
        Heard, peers.host, peers.port, ssl=client_context(), server_hostname="localhost"
    )
    driver = peers.client.driver
    (connection,) = driver.stack.connections.values()
    driver.stack.path_failed(
        connection.remote, [(connection.local_port, connection.remote_port)], errno.EHOSTUNREACH, driver.link.now()
    )
    driver.schedule_flush()
    await until(lambda: client.troubles)
    assert isinstance(client.troubles[0], OSError)
    assert not reported
    transport.abort()


async def test_a_connection_goes_on_after_trouble_that_raises(peers: Peers, reported: list[dict[str, Any]]) -> None:
    transport, client, server = await peers.connect(Troubled)
    driver = peers.client.driver
    connection = connection_of(transport)
    driver.stack.path_failed(
        connection.remote, [(connection.local_port, connection.remote_port)], errno.EHOSTUNREACH, driver.link.now()
    )
    driver.schedule_flush()
    await until(lambda: reported)
    transport.write(b"still here")
    await until(lambda: server.received == b"still here")
    transport.close()
    await until(lambda: client.lost)
    assert client.lost == [None]


RAISING = ["data", "eof", "pause", "resume", "lost"]


class Raises(Recorder):
    """Raises in the callback that is named in `where`."""

    where = ""

    def __getattribute__(self, name: str) -> Any:
        names = {
            "connection_made": "made",
            "data_received": "data",
            "eof_received": "eof",
            "pause_writing": "pause",
            "resume_writing": "resume",
            "connection_lost": "lost",
        }
        method = super().__getattribute__(name)
        if name not in names:
            return method

        def called(*arguments: Any) -> Any:
            method(*arguments)
            if super(Raises, self).__getattribute__("where") == names[name]:
                raise LookupError(name)

        return called


@pytest.mark.defect(81)
@pytest.mark.parametrize("where", RAISING)
async def test_whatever_raises_each_connection_gets_its_events(
    peers: Peers, reported: list[dict[str, Any]], where: str
) -> None:
    """Two connections in one batch: the first one's callback raises, the second one has all its data and its end."""
    kinds: list[type[Recorder]] = [type("Named", (Raises,), {"where": where}), Recorder]
    await peers.server.create_server(peers.remember(Recorder))
    opened = []
    for kind in kinds:
        transport, client = await peers.client.create_connection(kind, peers.host, peers.port)
        assert isinstance(transport, Transport)
        opened.append((transport, client))
    await until(lambda: len(peers.accepted) == 2)
    for transport, _ in opened:
        transport.write(b"x" * 4_000_000)  # pauses, and resumes
    for server in peers.accepted:
        server.transport.write(b"data")
        server.transport.write_eof()
    await until(lambda: opened[1][1].calls[-1] == "resume" and len(peers.accepted[1].received) == 4_000_000)
    for transport, _ in opened:
        transport.close()
    await until(lambda: all(client.lost for _, client in opened))
    assert opened[1][1].received == b"data"
    assert {"made", "pause", "data", "eof", "resume", "lost"} <= set(opened[1][1].calls)
    assert opened[1][1].lost == [None]
    assert len(reported) == 1
    assert isinstance(reported[0]["exception"], LookupError)
    assert reported[0]["transport"] is opened[0][0]
    peers.abort_server()


@pytest.mark.defect(81)
async def test_a_user_that_raises_does_not_take_the_others_along(peers: Peers, reported: list[dict[str, Any]]) -> None:
    transport, client, _ = await peers.connect(Recorder)
    other, _, _ = await peers.connect(Recorder)

    class Broken:
        callback_context = None

        def ready(self, _: object) -> None:
            raise LookupError("broken")

    connection, driver = connection_of(other), peers.client.driver
    connection.context = Broken()
    now = driver.link.now()
    for each in (connection, connection_of(transport)):
        each.fail(ConnectionReset(), now)
        driver.stack.settle(each, now)
    driver.schedule_flush()
    await until(lambda: client.lost)
    assert [type(context["exception"]) for context in reported] == [LookupError]
    other.abort()
    await turns(2)
    peers.abort_server()


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Any:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as started:
        yield started


def queued(protocol: Recorder) -> int:
    """Octets that wait to be read, once the peer's FIN stands behind them."""
    assert protocol.transport is not None
    side = connection_of(protocol.transport).receive_side
    return side.readable if side.fin_reached else 0


def run_through_interrupts(loop: asyncio.AbstractEventLoop, program: Coroutine[Any, Any, None]) -> int:
    """Run the loop again after each KeyboardInterrupt, until the program is done. How many there were."""
    task = loop.create_task(program)
    interrupts = 0
    while not task.done():
        try:
            loop.run_until_complete(asyncio.wait([task]))
        except KeyboardInterrupt:
            interrupts += 1
    task.result()
    return interrupts


@pytest.mark.defect(81)
@pytest.mark.parametrize("where", ["made", "data", "eof"])
def test_an_interrupt_in_a_callback_leaves_the_rest_for_a_loop_that_goes_on(runner: asyncio.Runner, where: str) -> None:
    """As asyncio.run() goes on, to cancel what is left. The interrupted connection itself loses nothing more."""

    class Interrupted(Recorder):
        interrupted = False

        def _interrupt(self, now: bool) -> None:
            if now and not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert isinstance(transport, Transport)
            transport.pause_reading()
            self._interrupt(where == "made")

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._interrupt(where == "data")

        def eof_received(self) -> bool:
            super().eof_received()
            self._interrupt(where == "eof")
            return True

    accepted: list[Interrupted] = []

    def accept() -> Interrupted:
        accepted.append(Interrupted())
        return accepted[-1]

    async def begin() -> None:
        server = await utcp.create_server(accept, "127.0.0.1", 0, config=FAST)
        for _ in range(2):
            transport, _ = await utcp.create_connection(Recorder, *server.sockets[0].getsockname(), config=FAST)
            transport.write(b"x" * 600_000)
            transport.close()
        # All is there, FIN too, and is delivered in one call, of which the interrupt takes the first part.
        await until(lambda: len(accepted) == 2 and all(queued(each) == 600_000 for each in accepted))
        for each in accepted:
            assert each.transport is not None
            each.transport.resume_reading()
        await until(lambda: all("eof" in each.calls for each in accepted))

    interrupts = run_through_interrupts(runner.get_loop(), begin())
    assert interrupts in (1, 2)  # uvloop makes one of two in a turn
    assert all(each.interrupted for each in accepted)
    assert [len(each.received) for each in accepted] == [600_000] * 2


@pytest.mark.defect(81)
def test_an_interrupt_in_a_servers_factory_leaves_the_others_to_be_accepted(runner: asyncio.Runner) -> None:
    accepted: list[Polite] = []
    interrupts: list[None] = []

    def accept() -> Polite:
        if not interrupts:
            interrupts.append(None)
            raise KeyboardInterrupt
        accepted.append(Polite())
        return accepted[-1]

    async def begin() -> None:
        server = await utcp.create_server(accept, "127.0.0.1", 0, config=FAST)
        opening = [utcp.create_connection(Recorder, *server.sockets[0].getsockname(), config=FAST) for _ in range(3)]
        clients = [client for _, client in await asyncio.gather(*opening)]
        await until(lambda: len(accepted) == 2)
        await until(lambda: sum(bool(client.lost) for client in clients) == 1)

    assert run_through_interrupts(runner.get_loop(), begin()) == 1


class Breaks:
    """A logger that cannot be made."""

    def __init__(self, *_: object, **__: object) -> None:
        raise LookupError("no logger")


@pytest.mark.defect(81)
async def test_a_logger_that_cannot_be_made_disturbs_no_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    wrapper: Any = Breaks
    structlog.configure(wrapper_class=wrapper)
    try:
        with caplog.at_level(logging.ERROR, "utcp"):
            async with Peers() as peers:
                transport, client, _ = await peers.connect(Recorder)
                transport.close()
                await until(lambda: client.lost)
    finally:
        structlog.reset_defaults()
    assert client.lost == [None]
    assert {record.name for record in caplog.records} == {"utcp"}


@pytest.mark.defect(81)
def test_an_observer_that_cannot_be_made_leaves_nothing_of_the_endpoint() -> None:
    network = Network(1)
    host = network.host("host")

    def fail(*_: object) -> Any:
        raise LookupError("no observer")

    network.watches.append(fail)

    async def scenario() -> None:
        with pytest.raises(LookupError):
            await host.run(Endpoint((host.address, 7)).start())
        network.watches.clear()
        endpoint = await host.run(Endpoint((host.address, 7)).start())  # its port is free
        await endpoint.aclose()

    network.run(scenario())
