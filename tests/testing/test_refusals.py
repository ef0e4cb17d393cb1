"""Hosts refuse as real ones do, and a run that fails tells which mistake it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

import utcp
from tests.testing.apps import PORT, ask, echo
from utcp.testing import Host, Network


async def listen(address: str) -> utcp.Server:
    return await utcp.start_server(echo, address, PORT)


def outcome(simnet: Network, scenario: Coroutine[None, None, None]) -> tuple[type[BaseException], str]:
    """The error of a run that fails, and its notes."""
    with pytest.raises(Exception) as caught:  # the caller looks at it
        simnet.run(scenario)
    return caught.type, "\n".join(getattr(caught.value, "__notes__", ()))


def test_a_server_on_loopback_is_for_its_own_host(simnet: Network) -> None:
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(server, client, latency=0.05)

    async def scenario() -> None:
        await server.run(listen("127.0.0.1"))
        assert await server.run(ask("127.0.0.1", b"?")) == b"?"
        assert await server.run(ask("localhost", b"?")) == b"?"
        before = simnet.loop.time()
        with pytest.raises(ConnectionRefusedError):
            await client.run(ask("server", b"?"))
        assert simnet.loop.time() - before == pytest.approx(0.1, abs=1e-5)  # one round trip
        await client.run(ask("server", b"?"))

    kind, hint = outcome(simnet, scenario())
    assert kind is utcp.ConnectionRefused
    assert hint == (
        "hint: on the host 'server', UDP port 9000 is bound to 127.0.0.1, which other hosts cannot reach: bind"
        ' "0.0.0.0".'
    )


def test_localhost_is_not_the_server(simnet: Network) -> None:
    server, client = simnet.host("server"), simnet.host("client")

    async def scenario() -> None:
        await server.run(listen("0.0.0.0"))
        await client.run(ask("localhost", b"?"))

    kind, hint = outcome(simnet, scenario())
    assert kind is utcp.ConnectionRefused
    assert hint.endswith("The port is bound on the host 'server': connect to its name.")


def test_a_task_that_nobody_awaits_gets_the_hint(simnet: Network) -> None:
    server, client = simnet.host("server"), simnet.host("client")

    async def scenario() -> None:
        await server.run(listen("127.0.0.1"))
        client.run(ask("server", b"?"))
        await asyncio.sleep(1)

    kind, hint = outcome(simnet, scenario())
    assert kind is ExceptionGroup
    assert 'bind "0.0.0.0"' in hint


def test_a_refusal_that_a_test_expects_leaves_no_trace(simnet: Network) -> None:
    server, client = simnet.host("server"), simnet.host("client")

    async def scenario() -> None:
        await server.run(listen("127.0.0.1"))
        with pytest.raises(ConnectionRefusedError):
            await client.run(ask("server", b"?"))

    simnet.run(scenario())


def test_a_socket_on_loopback_reaches_no_other_host(simnet: Network) -> None:
    simnet.host("server")

    async def scenario() -> None:
        async with utcp.Endpoint(("127.0.0.1", 0)) as endpoint:
            with pytest.raises(OSError, match=r"a socket bound to 127\.0\.0\.1 reaches no other host"):
                await endpoint.open_connection("server", PORT)

    simnet.run(scenario())


def test_a_port_without_a_listener_is_reset(simnet: Network) -> None:
    """The UDP port is bound, and the utcp port is not."""
    server, client = simnet.host("server"), simnet.host("client")

    async def connect() -> None:
        async with utcp.Endpoint() as endpoint:
            await endpoint.open_connection("server", PORT + 1, udp_port=PORT)

    async def scenario() -> None:
        await server.run(listen("0.0.0.0"))
        with pytest.raises(ConnectionRefusedError):
            await client.run(connect())
        assert simnet.loop.time() == 0

    simnet.run(scenario())


@pytest.mark.parametrize("silent", ["crashed", "firewall"])
def test_a_host_that_is_silent_makes_the_client_wait(simnet: Network, silent: str) -> None:
    server = simnet.host("server", port_unreachable=silent != "firewall")
    if silent == "crashed":
        server.crash()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await ask("server", b"?", utcp.Config(syn_retries=2))
        assert simnet.loop.time() > 5

    simnet.run(scenario())


def test_a_server_that_starts_at_the_same_moment_is_reached(simnet: Network) -> None:
    server = simnet.host("server")

    async def slow_start() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await listen("0.0.0.0")

    async def scenario() -> None:
        server.run(slow_start())
        assert await ask("server", b"?") == b"?"
        assert simnet.loop.time() < 0.001

    simnet.run(scenario())


async def test_a_program_does_not_start_on_a_real_loop() -> None:
    network = Network()
    host: Host = network.host("server")
    with pytest.raises(RuntimeError, match="on a real event loop, where virtual time does not pass"):
        host.run(listen("0.0.0.0"))
    with pytest.raises(RuntimeError, match="an async test needs the fixture simnet"):
        network.run(listen("0.0.0.0"))
    network.close()


async def test_an_async_test_runs_in_the_network(simnet: Network) -> None:
    assert asyncio.get_running_loop() is simnet.loop
    await simnet.host("server").run(listen("0.0.0.0"))
    await asyncio.sleep(3600)
    assert await ask("server", b"?") == b"?"
    assert simnet.loop.time() >= 3600
