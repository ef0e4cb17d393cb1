"""A host loses its power, and comes back: what the others see, and what is left of it."""

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import utcp
from tests.certificates import client_context, server_context
from tests.testing.apps import PORT, ask, echo, serve
from utcp import Config
from utcp.testing import Host, Network
from utcp.wire import RST, SYN

PATIENT = Config(msl=1.0, retries=5)


@pytest.fixture(autouse=True)
def _nothing_is_complained_about(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No ResourceWarning, no "Task was destroyed", no error in a callback."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    # Python 3.11's streams ask a cancelled handler for its exception.
    assert [record for record in caplog.records if "CancelledError" not in record.getMessage()] == []


def servers_and_clients(net: Network) -> tuple[Host, Host]:
    server, client = net.host("server"), net.host("client")
    net.link(server, client, latency=0.01)
    server.start(lambda: serve(PATIENT))
    return server, client


def sent_by(net: Network, host: str, since: float) -> list[int]:
    return [
        sent.packet.segment.flags
        for sent in net.trace
        if sent.packet.source == host and sent.packet.time >= since and sent.packet.segment
    ]


async def converse() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over which a question was answered."""
    reader, writer = await utcp.open_connection("server", PORT, config=PATIENT)
    writer.write(b"?")
    assert await reader.readexactly(1) == b"?"
    return reader, writer


def test_nothing_is_sent_and_nobody_is_told(simnet: Network) -> None:
    server, client = servers_and_clients(simnet)

    async def scenario() -> float:
        reader, writer = await client.run(converse())
        crashed = simnet.loop.time()
        server.crash()
        await asyncio.sleep(3600)
        assert not reader.at_eof()
        writer.close()
        return crashed

    assert sent_by(simnet, "server", simnet.run(scenario())) == []


def test_a_peer_that_sends_times_out(simnet: Network) -> None:
    server, client = servers_and_clients(simnet)

    async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"?")
        with pytest.raises(utcp.RetransmissionTimedOut):
            await reader.read()

    async def scenario() -> None:
        streams = await client.run(converse())
        server.crash()
        await client.run(go_on(*streams))

    simnet.run(scenario())


def test_after_a_restart_old_connections_get_rst_and_new_ones_work(simnet: Network) -> None:
    server, client = servers_and_clients(simnet)

    async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"?")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert await ask("server", b"and now?") == b"and now?"

    async def scenario() -> None:
        streams = await client.run(converse())
        server.crash()
        await asyncio.sleep(1)
        server.restart()
        await asyncio.sleep(0)
        await client.run(go_on(*streams))

    simnet.run(scenario())
    assert RST in sent_by(simnet, "server", 1.0)


def test_a_restart_makes_other_initial_sequence_numbers(simnet: Network) -> None:
    server, client = servers_and_clients(simnet)

    async def scenario() -> None:
        for _ in range(2):
            await client.run(ask("server", b"?"))
            server.restart()
            await asyncio.sleep(0.1)

    simnet.run(scenario())
    isns = [
        sent.packet.segment.seq
        for sent in simnet.trace
        if sent.packet.source == "server" and sent.packet.segment and sent.packet.segment.flags & SYN
    ]
    assert len(isns) == 2
    # With the old secret the clock alone would tell them apart: 250,000 a second.
    assert (isns[1] - isns[0]) & 0xFFFFFFFF > 10 * 250_000


def test_no_timer_and_no_task_of_it_is_left(simnet: Network) -> None:
    """Retransmissions, keepalive, the application's own timers: once it has crashed, nothing ever happens again."""
    server, client = servers_and_clients(simnet)
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(simnet.loop.time())
        simnet.loop.call_later(1, tick)

    async def busy() -> None:
        tick()
        _, writer = await converse()
        writer.write(bytes(100_000))
        async with asyncio.TaskGroup() as group:
            for seconds in range(1, 10):
                group.create_task(asyncio.sleep(seconds * 1000))

    async def scenario() -> tuple[int, int]:
        task = client.run(busy())
        await asyncio.sleep(2.5)
        client.crash()
        server.crash()
        await asyncio.sleep(0.1)
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        steps = simnet.loop.steps
        await asyncio.sleep(10_000)
        return steps, simnet.loop.steps

    before, after = simnet.run(scenario())
    assert after - before <= 2
    assert ticks == [0, 1, 2]


def test_tasks_are_cancelled_until_they_end(simnet: Network) -> None:
    """What they do about it reaches nobody, and takes no time."""
    server, client = servers_and_clients(simnet)
    done: list[str] = []

    async def resist() -> None:
        _, writer = await converse()
        try:
            await asyncio.sleep(1000)
        finally:
            try:
                simnet.loop.call_later(1, done.append, "late")
                writer.write(b"farewell")
                writer.close()
                await writer.wait_closed()
            finally:
                done.append("waited")
                try:
                    await utcp.open_connection("server", PORT)
                except OSError as error:
                    done.append(str(error))
                await asyncio.sleep(1000)

    async def scenario() -> None:
        task = client.run(resist())
        await asyncio.sleep(1)
        client.crash()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert simnet.loop.time() == 1
        await asyncio.sleep(10)

    simnet.run(scenario())
    assert done[0] == "waited"
    assert "down" in done[1]
    assert len(done) == 2
    assert sent_by(simnet, "client", 1.0) == []
    assert server.crashed is False


def test_a_task_that_never_ends_fails_the_run(simnet: Network) -> None:
    host = simnet.host("stubborn")

    async def ignore() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                if simnet.loop.time() > 5:
                    raise

    async def scenario() -> None:
        host.run(ignore())
        await asyncio.sleep(3)
        host.crash()
        await asyncio.sleep(10)

    with pytest.raises(RuntimeError, match=r"(?s)ignore.*does not end"):
        simnet.run(scenario())


def test_what_fails_in_the_crash_is_nobodys_business(simnet: Network) -> None:
    host = simnet.host("host")

    async def fail() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise LookupError

    async def scenario() -> None:
        host.run(fail())
        await asyncio.sleep(1)
        host.crash()
        await asyncio.sleep(1)

    simnet.run(scenario())


def test_packets_under_way_arrive(simnet: Network) -> None:
    server, client = servers_and_clients(simnet)
    simnet.link(client, server, latency=1.0)

    async def scenario() -> None:
        client.run(ask("server", b"?"))
        await asyncio.sleep(0.5)
        client.crash()
        await asyncio.sleep(0.6)
        assert sent_by(simnet, "server", 0) == [0x12]  # the SYN-ACK

    simnet.run(scenario())


def test_a_client_that_is_cut_off_in_its_handshake(simnet: Network) -> None:
    _, client = servers_and_clients(simnet)

    async def scenario() -> None:
        task = client.run(ask("server", b"?"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        client.crash()
        await asyncio.sleep(100)
        assert task.cancelled()
        assert sent_by(simnet, "client", 0) == [SYN]

    simnet.run(scenario())


def test_nothing_runs_on_a_host_that_is_down(simnet: Network) -> None:
    host = simnet.host("host")
    host.crash()
    host.crash()  # a second time changes nothing
    assert "crashed" in repr(host)
    with pytest.raises(RuntimeError, match="restart it first"):
        host.run(ask("server", b"?"))
    assert host.restart() is None
    assert not host.crashed


def test_the_scenario_cannot_pull_its_own_plug(simnet: Network) -> None:
    with pytest.raises(ValueError, match="main"):
        simnet.main.crash()


def test_tls_in_a_simulation_and_in_a_crash(simnet: Network) -> None:
    """An application that does not close in its `finally` gets no ResourceWarning for it, in a crash."""
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(server, client, latency=0.01, loss=0.1)
    ours, theirs = server_context(), client_context()

    async def serve_securely() -> None:
        async with await utcp.start_server(echo, "0.0.0.0", PORT, ssl=ours) as listening:
            await listening.serve_forever()

    async def talk(seconds: float) -> None:
        reader, writer = await utcp.open_connection("server", PORT, ssl=theirs, server_hostname="localhost")
        writer.write(bytes(50_000))
        assert await reader.readexactly(50_000) == bytes(50_000)
        await asyncio.sleep(seconds)
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        server.start(serve_securely)
        await asyncio.sleep(0.1)
        await client.run(talk(0))
        client.run(talk(1000))
        await asyncio.sleep(5)
        client.crash()
        server.crash()
        await asyncio.sleep(0.1)
        gc.collect()
        server.restart()
        client.restart()
        await asyncio.sleep(0.1)
        await client.run(talk(0))

    simnet.run(scenario())


def test_a_program_that_crashes_its_own_host(simnet: Network) -> None:
    host = simnet.host("host")

    async def suicide() -> None:
        host.crash()
        await asyncio.sleep(0)
        pytest.fail("it goes on")

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            await host.run(suicide())

    simnet.run(scenario())


def test_crashes_again_and_again(simnet: Network) -> None:
    """Each time some connections are in the middle of something; a last one finds a server that works."""
    server, client = servers_and_clients(simnet)
    simnet.link(server, client, latency=0.02, loss=0.1)

    async def attempt() -> str:
        try:
            async with asyncio.timeout(30):
                await ask("server", bytes(20_000), PATIENT)
        except OSError as error:
            return type(error).__name__
        return "answered"

    async def scenario() -> list[str]:
        outcomes: list[asyncio.Task[str]] = []
        for _ in range(20):
            outcomes += [client.run(attempt()) for _ in range(5)]
            await asyncio.sleep(0.1 + simnet.random.random() / 4)
            server.restart()
        outcomes.append(client.run(attempt()))
        return [await outcome for outcome in outcomes]

    outcomes = simnet.run(scenario())
    assert outcomes[-1] == "answered"
    assert {"answered", "ConnectionReset"} <= set(outcomes)


@pytest.mark.parametrize("collect", [gc.collect, lambda: None], ids=["collected", "kept"])
def test_what_is_left_of_a_crashed_host_does_no_harm(simnet: Network, collect: Callable[[], Any]) -> None:
    """Its endpoints' guard, an asynchronous generator, must not be finalized on some other host, whose clients would
    then leave from another UDP port."""
    server, client = servers_and_clients(simnet)

    async def scenario() -> None:
        await client.run(ask("server", b"?"))
        for _ in range(3):
            server.restart()
            await asyncio.sleep(0.1)
            collect()
            assert await client.run(ask("server", b"?")) == b"?"
        assert len(client._links) == 1

    simnet.run(scenario())
