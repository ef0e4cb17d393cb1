"""Stateful firewalls between simulated hosts, and what they do to connections of utcp and of kernels."""

import asyncio
from dataclasses import replace

import pytest

import utcp
from tests.testing.apps import PORT, ask, serve
from tests.testing.hosts import QUICK
from utcp import Config
from utcp.testing import Host, Network
from utcp.wire import RST

WITHOUT_PROBES = Config(keepalive=False)

RESETS: list[str] = []
"""The ends that were reset."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back each line, and note a reset."""
    try:
        while line := await reader.readline():
            writer.write(line)
        writer.close()
    except ConnectionResetError:
        RESETS.append("server")


class Over:
    """What opens connections and listens."""

    def __init__(self, kind: str) -> None:
        self.is_utcp = kind == "utcp"

    async def listen(self) -> None:
        RESETS.clear()
        if self.is_utcp:
            await utcp.start_server(answer, "0.0.0.0", PORT, config=WITHOUT_PROBES)
        else:
            await asyncio.start_server(answer, "0.0.0.0", PORT)

    async def talk(self, *pauses: float) -> int:
        """Have a line answered after each pause. Return the number of answers before a reset."""
        writer: asyncio.StreamWriter
        if self.is_utcp:
            reader, writer = await utcp.open_connection("server", PORT, config=WITHOUT_PROBES)
        else:
            reader, writer = await asyncio.open_connection("server", PORT)
        answers = 0
        try:
            for pause in pauses:
                await asyncio.sleep(pause)
                writer.write(b"hello\n")
                await reader.readline()
                answers += 1
        except ConnectionResetError:
            RESETS.append("client")
        writer.close()
        return answers


@pytest.fixture(params=["utcp", "kernel"])
def over(request: pytest.FixtureRequest) -> Over:
    return Over(request.param)


@pytest.fixture
def hosts(simnet: Network) -> tuple[Host, Host]:
    server, client = simnet.host("server"), simnet.host("client")
    simnet.link(client, server, latency=0.05)
    return server, client


async def test_idle_connections_are_reset_at_both_ends(simnet: Network, hosts: tuple[Host, Host], over: Over) -> None:
    server, client = hosts
    firewall = simnet.firewall(client, server, after_idle=60)
    await server.run(over.listen())
    assert await client.run(over.talk(1, 59, 59)) == 3
    assert firewall.ended == 0
    await client.run(over.talk(1, 59, 61))
    await asyncio.sleep(1)
    assert sorted(RESETS) == ["client", "server"]
    assert firewall.ended == 1


async def test_a_silent_firewall_forgets(simnet: Network, hosts: tuple[Host, Host]) -> None:
    """The client's segments are dropped until it gives up. The server's end stays."""
    server, client = hosts
    simnet.firewall(client, server, after_idle=60, silent=True)
    await server.run(utcp.start_server(answer, "0.0.0.0", PORT, config=WITHOUT_PROBES))

    async def talk() -> None:
        reader, writer = await utcp.open_connection("server", PORT, config=replace(QUICK, keepalive=False))
        await asyncio.sleep(61)
        writer.write(b"hello\n")
        with pytest.raises(TimeoutError):
            await reader.readline()

    RESETS.clear()
    await client.run(talk())
    assert RESETS == []
    assert not any(sent.packet.segment.flags & RST for sent in simnet.trace if sent.packet.segment and sent.arrivals)


async def test_keepalive_keeps_a_connection_known(simnet: Network, hosts: tuple[Host, Host]) -> None:
    server, client = hosts
    firewall = simnet.firewall(client, server, after_idle=60)
    await server.run(utcp.start_server(answer, "0.0.0.0", PORT, config=Config(keepalive_idle=50)))
    assert await client.run(Over("utcp").talk(1, 500)) == 2
    assert firewall.ended == 0


@pytest.mark.parametrize("size", [0, 20_000, 100_000])
async def test_a_connection_ends_after_so_many_octets(
    simnet: Network, hosts: tuple[Host, Host], over: Over, size: int
) -> None:
    server, client = hosts
    simnet.firewall(client, server, after_octets=size)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(bytes(1_000_000))
            await writer.drain()
        except ConnectionResetError:
            pass
        finally:
            writer.close()

    async def receive() -> int:
        opens = utcp.open_connection if over.is_utcp else asyncio.open_connection
        reader, writer = await opens("server", PORT)
        count = 0
        try:
            while data := await reader.read(1 << 16):
                count += len(data)
        except ConnectionResetError:
            writer.close()
            return count
        raise AssertionError("the response was not cut")

    start = utcp.start_server if over.is_utcp else asyncio.start_server
    await server.run(start(send, "0.0.0.0", PORT))
    received = await client.run(receive())
    assert size - 1460 < received <= size


async def test_a_reset_is_valid_although_segments_before_it_were_lost(
    simnet: Network, hosts: tuple[Host, Host], over: Over
) -> None:
    """The first RST is beyond the gap, so that a challenge ACK answers it, and the second RST has its number."""
    server, client = hosts
    firewall = simnet.firewall(client, server)
    await server.run(over.listen())
    talking = client.run(over.talk(1, 1, 1))
    await asyncio.sleep(1.5)
    simnet.link_oneway(client, server, loss=1)
    await asyncio.sleep(0.75)  # the second line is lost
    simnet.link_oneway(client, server, loss=0)
    firewall.reset()
    assert await talking == 1
    await asyncio.sleep(5)
    assert sorted(RESETS) == ["client", "server"]


async def test_on_demand(simnet: Network, hosts: tuple[Host, Host], over: Over) -> None:
    server, client = hosts
    firewall = simnet.firewall(client, server)
    await server.run(over.listen())
    for end in (firewall.reset, firewall.forget):
        talking = client.run(over.talk(1, 1, 1))
        await asyncio.sleep(1.5)
        end()
        assert await talking == 1
    assert firewall.ended == 2


async def test_a_half_open_connection_is_refused(simnet: Network, hosts: tuple[Host, Host], over: Over) -> None:
    server, client = hosts
    simnet.link(client, server, latency=1)
    firewall = simnet.firewall(client, server)
    await server.run(over.listen())
    talking = client.run(over.talk(1))
    await asyncio.sleep(0.5)
    firewall.reset()
    with pytest.raises(ConnectionRefusedError):
        await talking


def test_chance_is_seeded() -> None:
    ended = [run_with_chance(Network(seed)) for seed in (1, 1, 2, 3)]
    assert ended[0] == ended[1]
    assert len(set(ended)) > 1
    assert any(count for count, _ in ended)


def run_with_chance(network: Network) -> tuple[int, str]:
    server, client = network.host("server"), network.host("client")
    firewall = network.firewall(client, server, chance=0.02)

    async def scenario() -> None:
        server.start(lambda: serve(QUICK))
        await asyncio.gather(
            *(client.run(ask("server", bytes(20_000), QUICK)) for _ in range(10)), return_exceptions=True
        )

    network.run(scenario())
    return firewall.ended, network.digest()


async def test_finished_connections_are_not_ended(simnet: Network, hosts: tuple[Host, Host]) -> None:
    server, client = hosts
    firewall = simnet.firewall(client, server, after_idle=5)
    server.start(serve)
    assert await client.run(ask("server", b"?")) == b"?"
    await asyncio.sleep(100)
    firewall.reset()
    assert firewall.ended == 0


async def test_behind_a_nat(simnet: Network) -> None:
    """The firewall is beside the server."""
    router, server = simnet.nat("router"), simnet.host("server")
    client = simnet.host("client", behind=router)
    firewall = simnet.firewall(client, server, after_idle=60)
    for over in (Over("utcp"), Over("kernel")):
        await server.run(over.listen())
        assert await client.run(over.talk(1, 61)) == 1
        await asyncio.sleep(1)
        assert sorted(RESETS) == ["client", "server"]
    assert firewall.ended == 2


async def test_other_datagrams_pass(simnet: Network, hosts: tuple[Host, Host]) -> None:
    server, client = hosts
    simnet.firewall(client, server, chance=1)
    got: list[bytes] = []

    class Notes(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            got.append(data)

    loop = asyncio.get_running_loop()
    await server.run(loop.create_datagram_endpoint(Notes, ("0.0.0.0", 53)))
    transport, _ = await client.run(loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("server", 53)))
    transport.sendto(b"query")
    await asyncio.sleep(1)
    assert got == [b"query"]


@pytest.mark.parametrize("wrong", [{"after_idle": 0}, {"after_octets": -1}, {"chance": 1.5}])
def test_values_out_of_range(simnet: Network, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        simnet.firewall(simnet.host("a"), simnet.host("b"), **wrong)  # type: ignore[arg-type]
