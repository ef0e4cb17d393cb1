"""The order of events that are due at the same time, chosen by a seed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.testing.apps import ask, serve
from tests.testing.hosts import pair
from utcp.testing import Network

Scenario = Callable[[Network, list[Any]], Coroutine[Any, Any, None]]


def orders(scenario: Scenario, shuffled: bool, seeds: int = 40) -> set[tuple[Any, ...]]:
    """The orders in which the scenario's events happen."""
    found = set()
    for seed in range(seeds):
        net = Network(f"{seed}{' shuffled' * shuffled}")
        happened: list[Any] = []
        net.run(scenario(net, happened))
        found.add(tuple(happened))
    return found


async def timers(net: Network, happened: list[Any]) -> None:
    for number in range(3):
        net.loop.call_at(1.0, happened.append, number)
    await asyncio.sleep(2)


def test_timers_for_the_same_time() -> None:
    assert orders(timers, False) == {(0, 1, 2)}
    assert len(orders(timers, True)) == 6


async def soon(net: Network, happened: list[Any]) -> None:
    async def program(name: str) -> None:
        for number in range(2):
            net.loop.call_soon(happened.append, f"{name}{number}")

    await asyncio.gather(*(net.host(name).run(program(name)) for name in "ab"))
    await asyncio.sleep(1)


def test_callbacks_of_one_host_keep_their_order_and_those_of_two_hosts_do_not() -> None:
    assert orders(soon, False) == {("a0", "a1", "b0", "b1")}
    found = orders(soon, True)
    assert 2 < len(found) <= 6
    for order in found:
        assert [each for each in order if each.startswith("a")] == ["a0", "a1"]
        assert [each for each in order if each.startswith("b")] == ["b0", "b1"]


async def datagrams(net: Network, happened: list[Any]) -> None:
    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            happened.append(data.decode())

    async def send(name: str) -> None:
        transport, _ = await net.loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("main", 53))
        for number in range(2):
            transport.sendto(f"{name}{number}".encode())
        await asyncio.sleep(1)
        transport.close()

    transport, _ = await net.loop.create_datagram_endpoint(Receiver, local_addr=("0.0.0.0", 53))
    for name in "ab":
        net.link(net.host(name), net.main, latency=0.5)
    await asyncio.gather(*(net.hosts[name].run(send(name)) for name in "ab"))
    transport.close()


def test_packets_of_one_path_keep_their_order_and_those_of_two_paths_do_not() -> None:
    assert orders(datagrams, False) == {("a0", "a1", "b0", "b1")}
    assert orders(datagrams, True) == {("a0", "a1", "b0", "b1"), ("b0", "b1", "a0", "a1")}


async def sockets(net: Network, happened: list[Any]) -> None:
    async def listen(number: int) -> None:
        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            happened.append(number)
            writer.close()

        await asyncio.start_server(note, "0.0.0.0", number)

    async def connect(number: int) -> asyncio.StreamWriter:
        return (await asyncio.open_connection("main", number))[1]

    for number in range(1, 4):
        await listen(number)
    writers = [await net.host(f"client {number}").run(connect(number)) for number in range(1, 4)]
    for writer in writers:
        writer.close()
    await asyncio.sleep(1)


def test_sockets_that_become_ready_in_one_turn() -> None:
    assert len(orders(sockets, False)) == 1
    assert len(orders(sockets, True)) == 6


def test_a_seed_gives_one_order_and_a_run_without_the_word_is_as_ever() -> None:
    def digest(seed: str) -> str:
        net = Network(seed)
        _, client = pair(net, latency=0.02, jitter=0.01, loss=0.1)
        others = [net.host(f"client {number}") for number in range(4)]

        async def scenario() -> None:
            net.main.run(serve())
            await asyncio.gather(
                *(host.run(ask("server", bytes(5000))) for host in (client, *others) for _ in range(3))
            )

        net.run(scenario())
        return net.digest()

    assert digest("1 shuffled") == digest("1 shuffled") != digest("2 shuffled")
    assert digest("1") == digest("1") != digest("1 shuffled")
