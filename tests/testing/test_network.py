"""Unchanged asyncio applications on simulated hosts, and what can go wrong between them."""

import asyncio
import socket

import pytest

import utcp
from tests.testing.apps import PORT, ask, echo
from tests.testing.hosts import QUICK, flags_sent, pair
from utcp.testing import Network, Sent, Stalled
from utcp.wire import SYN


def test_an_application_runs_unchanged(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.05)
    question = bytes(range(256)) * 1000

    async def scenario() -> bytes:
        return await client.run(ask("server", question))

    assert simnet.run(scenario()) == question
    assert 0.4 < simnet.loop.time() < 3


def test_the_scenario_itself_is_a_client_on_the_host_main(simnet: Network) -> None:
    pair(simnet)

    async def scenario() -> bytes:
        _, writer = await utcp.open_connection("server", PORT)
        assert writer.get_extra_info("udp_sockname")[0] == simnet.main.address
        writer.close()
        await writer.wait_closed()
        return await ask("server", b"?")

    assert simnet.run(scenario()) == b"?"


@pytest.mark.parametrize(
    "bad", [{"loss": 0.2}, {"duplicate": 0.5}, {"reorder": 0.3}, {"corrupt": 0.2}, {"jitter": 0.1}]
)
def test_every_octet_arrives_whatever_the_path_does(simnet: Network, bad: dict[str, float]) -> None:
    _, client = pair(simnet, latency=0.02, **bad)
    question = bytes(range(256)) * 400

    async def scenario() -> bytes:
        return await client.run(ask("server", question))

    assert simnet.run(scenario()) == question


def test_bandwidth_takes_its_time(simnet: Network) -> None:
    """100,000 octets at 1 Mbit/s take 0.8 s, headers not counted."""
    _, client = pair(simnet, latency=0.001, bandwidth=1e6, queue=1000)

    async def scenario() -> None:
        await client.run(ask("server", bytes(100_000)))

    simnet.run(scenario())
    assert 0.8 < simnet.loop.time() < 2.5


def test_segments_fit_the_mtu(simnet: Network) -> None:
    _, client = pair(simnet, mtu=600)

    async def scenario() -> None:
        await client.run(ask("server", bytes(5000)))

    simnet.run(scenario())
    assert max(len(sent.packet.data) for sent in simnet.trace) == 600 - 28


class TestThingsGoWrong:
    def test_partition_and_repair(self, simnet: Network) -> None:
        server, client = pair(simnet, latency=0.01)

        async def scenario() -> bytes:
            simnet.partition(server, client)
            asking = client.run(ask("server", b"?"))
            await asyncio.sleep(2)
            assert not asking.done()
            assert flags_sent(simnet, "client") == [SYN, SYN]
            assert flags_sent(simnet, "server") == []
            simnet.repair(server, client)
            return await asking

        assert simnet.run(scenario()) == b"?"

    def test_partition_for_ever_is_told(self, simnet: Network) -> None:
        server, client = pair(simnet, latency=0.01)
        simnet.partition(server, client)

        async def scenario() -> None:
            with pytest.raises(TimeoutError):
                await client.run(ask("server", b"?", QUICK))

        simnet.run(scenario())

    def test_partition_of_one_direction(self, simnet: Network) -> None:
        server, client = pair(simnet, latency=0.01)
        simnet.partition_oneway(server, client)

        async def scenario() -> None:
            with pytest.raises(TimeoutError):
                await client.run(ask("server", b"?", QUICK))

        simnet.run(scenario())
        assert len(flags_sent(simnet, "server")) >= 3  # the SYNs arrive

    def test_hold_and_release(self, simnet: Network) -> None:
        server, client = pair(simnet, latency=0.01)

        async def scenario() -> bytes:
            simnet.hold(server, client)
            asking = client.run(ask("server", b"?"))
            await asyncio.sleep(0.9)
            assert flags_sent(simnet, "server") == []
            simnet.release(server, client)
            answer = await asking
            assert flags_sent(simnet, "client").count(SYN) == 1  # it was late, and not lost
            return answer

        assert simnet.run(scenario()) == b"?"

    def test_what_is_held_keeps_its_order(self, simnet: Network) -> None:
        server, _ = pair(simnet)
        simnet.link(simnet.main, server, latency=0.01)

        async def scenario() -> None:
            reader, writer = await utcp.open_connection("server", PORT)
            simnet.hold(simnet.main, server)
            for number in range(5):
                writer.write(bytes([number]) * 2000)
                await asyncio.sleep(0.01)
            simnet.release(simnet.main, server)
            assert await reader.readexactly(10_000) == b"".join(bytes([number]) * 2000 for number in range(5))
            assert writer.get_extra_info("utcp").retransmits == 0
            writer.close()
            await writer.wait_closed()

        simnet.run(scenario())

    def test_conditions_change_while_it_runs(self, simnet: Network) -> None:
        server, client = pair(simnet, latency=0.01)

        async def scenario() -> None:
            await client.run(ask("server", b"?"))
            quick = simnet.loop.time()
            simnet.link(server, client, latency=1.0)
            await client.run(ask("server", b"?"))
            assert simnet.loop.time() - quick == pytest.approx(4)  # the handshake, and both ways of all else

        simnet.run(scenario())

    def test_nobody_listens(self, simnet: Network) -> None:
        _, client = pair(simnet, latency=0.01)

        async def connect(host: str, port: int) -> None:
            await utcp.open_connection(host, port)

        async def scenario() -> None:
            with pytest.raises(socket.gaierror, match="stranger"):
                await client.run(connect("stranger", PORT))
            with pytest.raises(OSError, match=r"No route to host: the simulated network has no host at 10.9.9.9"):
                await client.run(connect("10.9.9.9", PORT))
            with pytest.raises(ConnectionRefusedError):
                await client.run(connect("server", PORT + 1))
            assert simnet.loop.time() < 0.1

        simnet.run(scenario())


class TestFailures:
    def test_a_program_that_fails_fails_the_run(self, simnet: Network) -> None:
        async def fail() -> None:
            raise LookupError("nobody awaits me")

        async def scenario() -> str:
            simnet.host("other").run(fail())
            await asyncio.sleep(1)
            return "fine"

        with pytest.raises(ExceptionGroup, match="no other task awaited") as caught:
            simnet.run(scenario())
        assert [str(error) for error in caught.value.exceptions] == ["nobody awaits me"]

    def test_it_is_told_beside_what_it_led_to(self, simnet: Network) -> None:
        """The server fails at once, and the scenario waits in vain."""
        never = asyncio.Event()

        async def fail() -> None:
            raise LookupError("the true reason")

        async def scenario() -> None:
            simnet.host("other").run(fail())
            await never.wait()

        with pytest.raises(Stalled) as caught:
            simnet.run(scenario())
        assert "the true reason" in "".join(caught.value.__notes__)

    def test_an_error_that_somebody_awaits_is_theirs(self, simnet: Network) -> None:
        async def fail() -> None:
            raise LookupError

        async def scenario() -> None:
            task = simnet.host("other").run(fail())
            await asyncio.sleep(10)  # it need not be awaited at once
            with pytest.raises(LookupError):
                await task

        simnet.run(scenario())

    def test_a_network_runs_once(self, simnet: Network) -> None:
        simnet.run(asyncio.sleep(1))
        with pytest.raises(RuntimeError, match="once"):
            simnet.run(asyncio.sleep(1))

    def test_it_does_not_run_within_itself(self, simnet: Network) -> None:
        async def scenario() -> None:
            simnet.run(asyncio.sleep(1))

        with pytest.raises(RuntimeError, match="runs already: await the coroutine"):
            simnet.run(scenario())


class TestTheEnd:
    def test_endpoints_are_flushed_in_virtual_time(self, simnet: Network) -> None:
        """The scenario ends when both have closed, and nothing of that is acknowledged yet."""
        lost: list[BaseException | None] = []
        times: list[float] = []
        server = simnet.host("server")
        simnet.link(server, simnet.main, latency=0.3)

        class Closer(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                transport.close()

            def connection_lost(self, exc: BaseException | None) -> None:
                lost.append(exc)
                times.append(simnet.loop.time())

        async def listen() -> None:
            await utcp.create_server(Closer, "0.0.0.0", PORT)

        async def scenario() -> None:
            await server.run(listen())
            await utcp.create_connection(Closer, "server", PORT)
            await asyncio.sleep(0.35)

        simnet.run(scenario())
        # SYN at 0.3, SYN-ACK at 0.6, the client's FIN at 0.9, its ACK and the server's FIN at 1.2, the last ACK at 1.5.
        assert lost == [None, None]
        assert times == pytest.approx([1.2, 1.5])
        assert simnet.loop.is_closed()

    def test_the_endpoints_of_all_hosts_are_closed(self, simnet: Network) -> None:
        endpoints: list[utcp.Endpoint] = []

        async def forget() -> None:
            endpoints.append(await utcp.Endpoint(("0.0.0.0", PORT)).start())

        async def scenario() -> None:
            for name in "abc":
                await simnet.host(name).run(forget())

        simnet.run(scenario())
        assert len({endpoint.address for endpoint in endpoints}) == 1
        assert all("closed" in repr(endpoint) for endpoint in endpoints)


class TestHosts:
    def test_addresses_and_names(self, simnet: Network) -> None:
        host = simnet.host("fixed", "192.0.2.1")
        with pytest.raises(ValueError, match="already"):
            simnet.host("fixed")
        with pytest.raises(ValueError, match="already"):
            simnet.host("other", host.address)

        async def scenario() -> object:
            return await simnet.loop.getaddrinfo("fixed", 80)

        assert simnet.run(scenario()) == [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.1", 80))
        ]

    def test_udp_ports_are_the_hosts_own(self, simnet: Network) -> None:
        a, b = simnet.host("a"), simnet.host("b")

        async def listen(address: str) -> utcp.Server:
            return await utcp.start_server(echo, address, PORT)

        async def scenario() -> None:
            await a.run(listen(a.address))
            await a.run(listen("127.0.0.1"))
            await b.run(listen("0.0.0.0"))
            for host, address in ((a, "0.0.0.0"), (a, a.address), (b, b.address), (b, "127.0.0.1")):
                with pytest.raises(OSError, match="already in use"):
                    await host.run(listen(address))
            with pytest.raises(OSError, match="could not bind"):
                await a.run(listen(b.address))

        simnet.run(scenario())

    def test_loopback_stays_on_the_host(self, simnet: Network) -> None:
        server, client = pair(simnet)

        async def scenario() -> bytes:
            with pytest.raises(ConnectionRefusedError):
                await client.run(ask("localhost", b"?", QUICK))
            return await server.run(ask("localhost", b"?"))

        assert simnet.run(scenario()) == b"?"

    def test_nothing_is_kept_of_the_trace_unless_asked(self, simnet: Network) -> None:
        _, client = pair(simnet)
        simnet.keep_trace = False

        async def scenario() -> None:
            await client.run(ask("server", b"?"))

        simnet.run(scenario())
        assert simnet.trace == []
        assert simnet.sent >= 5
        assert isinstance(simnet.digest(), str)


def test_the_trace_tells_what_became_of_each_packet(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.25, duplicate=1.0)

    async def scenario() -> None:
        await client.run(ask("server", b"?"))

    simnet.run(scenario())
    first = simnet.trace[0]
    assert isinstance(first, Sent)
    assert (first.packet.number, first.packet.time, first.packet.source) == (0, 0.0, "client")
    assert first.packet.segment is not None
    assert first.packet.segment.flags == SYN
    assert first.arrivals[0] == 0.25 < first.arrivals[1] <= 0.5


@pytest.mark.defect(61)
def test_a_simulated_link_receives_at_its_own_address_and_port(simnet: Network) -> None:
    near, far = simnet.host("near"), simnet.host("far")
    everywhere, here = far.bind(("0.0.0.0", 9000)), far.bind((far.address, 9001))
    assert everywhere.receives_at((far.address, 9000))
    assert everywhere.receives_at(("127.0.0.1", 9000))
    assert here.receives_at((far.address, 9001))
    for address in ((near.address, 9000), (far.address, 9001), ("192.0.2.1", 9000)):
        assert not everywhere.receives_at(address)
    for address in (("127.0.0.1", 9001), (near.address, 9001), (far.address, 9000)):
        assert not here.receives_at(address)
    simnet.close()
