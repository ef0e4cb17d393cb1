"""NATs between simulated hosts: what passes, what a mapping's end does to a connection, and what a capture shows."""

import asyncio
import errno
import io
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

import utcp
from tests.testing.apps import PORT, ask, serve
from tests.testing.hosts import QUICK
from utcp import Config
from utcp.testing import Conditions, Host, Nat, Network, NetworkCapture
from utcp.testing.nat import Dependence
from utcp.trace.capture_file import read_capture
from utcp.trace.connections import find_connections
from utcp.wire import RST

EI: Dependence = "endpoint-independent"
AD: Dependence = "address-dependent"
APD: Dependence = "address-and-port-dependent"

WITHOUT_PROBES = Config(keepalive=False)

A, B = ("198.51.100.1", 7), ("198.51.100.1", 8)
"""Two ports of a remote host."""
C = ("198.51.100.2", 7)
INSIDE = ("172.16.0.1", 5000)


USUAL: dict[str, Any] = {
    "timeout": 120.0,
    "tcp_timeout": 7440.0,
    "preserve_ports": False,
    "hairpinning": True,
    "behind": None,
}


def nat(mapping: Dependence = EI, filtering: Dependence = APD, seed: int = 0, **options: Any) -> Nat:
    return Nat("nat", "203.0.113.1", seed, mapping=mapping, filtering=filtering, **USUAL | options)


def external(one: Nat, internal: tuple[str, int], remote: tuple[str, int], now: float = 0.0) -> int:
    address = one.outbound("udp", internal, remote, now)
    assert address is not None
    assert address[0] == "203.0.113.1"
    return address[1]


class TestRfc4787:
    @pytest.mark.parametrize(
        ("mapping", "other_port", "other_host"), [(EI, True, True), (AD, True, False), (APD, False, False)]
    )
    def test_a_mapping_is_reused_for_other_remote_ends(
        self, mapping: Dependence, other_port: bool, other_host: bool
    ) -> None:
        one = nat(mapping)
        port = external(one, INSIDE, A)
        assert external(one, INSIDE, A) == port
        assert (external(one, INSIDE, B) == port) is other_port
        assert (external(one, INSIDE, C) == port) is other_host

    @pytest.mark.parametrize(
        ("filtering", "other_port", "other_host"), [(EI, True, True), (AD, True, False), (APD, False, False)]
    )
    def test_a_filter_lets_remote_ends_in(self, filtering: Dependence, other_port: bool, other_host: bool) -> None:
        one = nat(EI, filtering)
        port = external(one, INSIDE, A)
        assert one.inbound("udp", port, A, 0.0) == INSIDE
        assert (one.inbound("udp", port, B, 0.0) == INSIDE) is other_port
        assert (one.inbound("udp", port, C, 0.0) == INSIDE) is other_host
        assert one.inbound("udp", port + 1, A, 0.0) is None
        assert one.inbound("tcp", port, A, 0.0) is None

    def test_a_mapping_expires_after_idle_time_and_gets_another_port(self) -> None:
        one = nat(timeout=30)
        port = external(one, INSIDE, A, 0.0)
        assert external(one, INSIDE, A, 29.0) == port
        assert one.inbound("udp", port, A, 58.0) == INSIDE
        assert external(one, INSIDE, A, 59.0) == port
        assert one.inbound("udp", port, A, 89.5) is None
        assert external(one, INSIDE, A, 89.5) != port

    def test_packets_from_outside_refresh_nothing(self) -> None:
        one = nat(timeout=30)
        port = external(one, INSIDE, A, 0.0)
        for now in range(30):
            assert one.inbound("udp", port, A, now) == INSIDE
        assert one.inbound("udp", port, A, 31.0) is None

    def test_filters_expire_by_themselves(self) -> None:
        """The mapping goes on for another remote end."""
        one = nat(EI, APD, timeout=30)
        port = external(one, INSIDE, A, 0.0)
        assert external(one, INSIDE, C, 20.0) == port
        assert one.inbound("udp", port, C, 40.0) == INSIDE
        assert one.inbound("udp", port, A, 40.0) is None

    def test_tcp_has_a_longer_timeout(self) -> None:
        one = nat()
        first = one.outbound("tcp", INSIDE, A, 0.0)
        assert first is not None
        assert one.inbound("tcp", first[1], A, 7440.0) == INSIDE
        assert one.inbound("tcp", first[1], A, 7441.0) is None

    def test_ports_are_preserved_while_they_are_free(self) -> None:
        one = nat(preserve_ports=True, timeout=30)
        assert external(one, INSIDE, A) == 5000
        other = external(one, ("172.16.0.2", 5000), A)
        assert other != 5000
        assert one.inbound("udp", other, A, 0.0) == ("172.16.0.2", 5000)
        assert external(one, INSIDE, A, 100.0) == 5000  # after it has expired, too

    @pytest.mark.parametrize("preserve_ports", [False, True])
    def test_rebinding_gives_another_port(self, preserve_ports: bool) -> None:
        one = nat(preserve_ports=preserve_ports)
        ports = set()
        for _ in range(5):
            port = external(one, INSIDE, A)
            ports.add(port)
            one.rebind()
            assert one.mappings == []
            assert one.inbound("udp", port, A, 0.0) is None
        assert len(ports) == 5

    def test_without_a_free_port_nothing_passes(self) -> None:
        one = nat(timeout=30)
        hosts = [(f"172.16.{number >> 8}.{number & 255}", 1) for number in range(65536 - 1024)]
        ports = {external(one, host, A) for host in hosts}
        assert ports == set(range(1024, 65536))
        assert one.outbound("udp", INSIDE, A, 0.0) is None
        assert external(one, INSIDE, A, 31.0) in ports

    def test_the_first_port_depends_on_the_seed(self) -> None:
        ports = {external(nat(seed=seed), INSIDE, A) for seed in (1, 1, 2, 3)}
        assert len(ports) == 3

    def test_values_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="endpoint-independent"):
            nat("symmetric")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="above 0 seconds"):
            nat(timeout=0)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each line back in capitals, with the client's address."""
    while line := await reader.readline():
        host, port = (writer.get_extra_info("udp_peername") or writer.get_extra_info("peername"))[:2]
        writer.write(f"{host} {port} ".encode() + line.upper())
    writer.close()


def home(simnet: Network, **options: object) -> tuple[Nat, Host, Host]:
    """A server, and a client behind a NAT."""
    server = simnet.host("server")
    router = simnet.nat("router", **options)  # type: ignore[arg-type]
    client = simnet.host("client", behind=router)
    simnet.link(client, server, latency=0.02)
    return router, client, server


Open = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture(params=["utcp", "kernel"])
def over(request: pytest.FixtureRequest) -> tuple[Open, Callable[..., Awaitable[object]]]:
    """What opens connections and listens: utcp, or plain asyncio over the host's own TCP."""
    if request.param == "utcp":

        async def open_connection(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await utcp.open_connection(host, port, config=WITHOUT_PROBES)

        return open_connection, utcp.start_server
    return asyncio.open_connection, asyncio.start_server


async def test_a_client_behind_a_nat_is_seen_at_the_external_address(
    simnet: Network, over: tuple[Open, Callable[..., Awaitable[object]]]
) -> None:
    open_connection, start_server = over
    router, client, server = home(simnet)

    async def talk() -> bytes:
        reader, writer = await open_connection("server", PORT)
        assert writer.get_extra_info("sockname")[0] == client.address
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        return line

    await server.run(start_server(shout, "0.0.0.0", PORT))  # type: ignore[arg-type]
    host, port, word = (await client.run(talk())).split()
    assert host.decode() == router.address != client.address
    assert [mapping.external_port for mapping in router.mappings] == [int(port)]
    assert word == b"HELLO"


async def test_two_clients_behind_a_nat_do_not_disturb_each_other(simnet: Network) -> None:
    router, client, server = home(simnet)
    other = simnet.host("other", behind=router)
    simnet.link(other, server, latency=0.05, loss=0.1)
    server.start(serve)
    questions = [bytes([number]) * 50_000 for number in range(6)]
    asked = [host.run(ask("server", question)) for host, question in zip([client, other] * 3, questions, strict=True)]
    assert await asyncio.gather(*asked) == questions
    assert len(router.mappings) == 2  # one for the endpoint of each host


async def test_hosts_behind_a_nat_reach_each_other_and_are_not_reached(simnet: Network) -> None:
    router, client, server = home(simnet)
    other = simnet.host("other", behind=router)
    other.start(serve)
    assert await client.run(ask("other", b"?")) == b"?"
    assert router.mappings == []
    with pytest.raises(OSError, match="No route to host"):
        await server.run(ask("other", b"?"))
    with pytest.raises(TimeoutError):  # dropped without an answer
        await server.run(ask("router", b"?", QUICK))


async def test_the_end_of_a_mapping_resets_a_utcp_connection(simnet: Network) -> None:
    """The server does not know the new port, and resets. Its own end learns by its keepalive probes."""
    _router, client, server = home(simnet, timeout=30)
    ends: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await shout(reader, writer)
        except OSError as error:
            ends.append(type(error).__name__)

    async def talk() -> None:
        reader, writer = await utcp.open_connection("server", PORT, config=WITHOUT_PROBES)
        for _ in range(2):
            writer.write(b"hello\n")
            await reader.readline()
            await asyncio.sleep(29)  # the mapping lasts
        await asyncio.sleep(2)
        began = simnet.loop.time()
        writer.write(b"hello\n")
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        assert simnet.loop.time() - began == pytest.approx(0.04)

    await server.run(utcp.start_server(note, "0.0.0.0", PORT, config=Config(keepalive_idle=200)))
    await client.run(talk())
    await asyncio.sleep(300)
    assert ends == ["KeepaliveTimedOut"]


async def test_keepalive_preserves_a_mapping(simnet: Network) -> None:
    """As Config.keepalive_idle says, probes of one end are enough: the answers of the client refresh the mapping."""
    router, client, server = home(simnet, timeout=30)

    async def talk(config: Config) -> bytes:
        reader, writer = await utcp.open_connection("server", PORT, config=config)
        await asyncio.sleep(600)
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        return line.split()[2]

    await server.run(utcp.start_server(shout, "0.0.0.0", PORT, config=Config(keepalive_idle=20)))
    await server.run(utcp.start_server(shout, "0.0.0.0", PORT + 1, config=WITHOUT_PROBES))
    assert await client.run(talk(WITHOUT_PROBES)) == b"HELLO"
    assert len(router.mappings) == 1


async def test_rebinding_resets_a_utcp_connection_in_the_middle_of_data(simnet: Network) -> None:
    router, client, server = home(simnet)
    server.start(lambda: serve(QUICK))
    asking = client.run(ask("server", bytes(20_000_000)))
    await asyncio.sleep(0.3)
    assert not asking.done()
    router.rebind()
    with pytest.raises(ConnectionResetError):
        await asking
    assert await client.run(ask("server", b"again")) == b"again"


async def test_a_nat_that_preserves_ports_forgets_without_harm_to_the_client(simnet: Network) -> None:
    """The client's next segment makes the same mapping again. Until then the server's segments are lost."""
    _router, client, server = home(simnet, timeout=30, preserve_ports=True)

    async def talk() -> bytes:
        reader, writer = await utcp.open_connection("server", PORT, config=WITHOUT_PROBES)
        writer.write(b"hello\n")
        await reader.readline()
        await asyncio.sleep(1000)
        writer.write(b"again\n")
        line = await reader.readline()
        writer.close()
        return line

    await server.run(utcp.start_server(shout, "0.0.0.0", PORT, config=WITHOUT_PROBES))
    assert (await client.run(talk())).endswith(b"AGAIN\n")


async def test_rebinding_resets_a_kernels_connection(simnet: Network) -> None:
    router, client, server = home(simnet)

    async def talk() -> None:
        reader, writer = await asyncio.open_connection("server", PORT)
        writer.write(b"hello\n")
        await reader.readline()
        router.rebind()
        writer.write(b"hello\n")
        with pytest.raises(ConnectionResetError):
            await reader.readline()

    await server.run(asyncio.start_server(shout, "0.0.0.0", PORT))
    await client.run(talk())
    last = [sent for sent in simnet.trace if sent.packet.segment is not None and sent.packet.segment.flags & RST][-1]
    assert last.translated is not None  # the port of the client's own socket is in the RST as it arrives
    assert last.translated[2:4] == simnet.trace[0].packet.data[0:2] != last.packet.data[2:4]


async def test_a_nat_forgets_an_idle_connection_of_a_kernel(simnet: Network) -> None:
    _router, client, server = home(simnet, tcp_timeout=300)

    async def talk(idle: float) -> bytes:
        reader, writer = await asyncio.open_connection("server", PORT)
        await asyncio.sleep(idle)
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        return line

    await server.run(asyncio.start_server(shout, "0.0.0.0", PORT))
    assert (await client.run(talk(299))).endswith(b"HELLO\n")
    with pytest.raises(ConnectionResetError):
        await client.run(talk(301))


@pytest.mark.parametrize("port", [PORT, PORT + 1])
async def test_refusals_come_through(simnet: Network, port: int) -> None:
    """ICMP port unreachable, and RST."""
    _router, client, server = home(simnet)
    server.start(serve)

    async def connect() -> None:
        await asyncio.open_connection("server", port)

    with pytest.raises(ConnectionRefusedError):
        await client.run(connect())
    if port != PORT:
        with pytest.raises(ConnectionRefusedError):
            await client.run(utcp.open_connection("server", port))
    assert simnet.loop.time() < 0.2


async def test_a_refusal_by_a_host_behind_a_nat_comes_from_the_external_address(simnet: Network) -> None:
    """The client's program has ended. The server's datagram is answered by ICMP, through the mapping."""
    router, client, server = home(simnet)
    loop = asyncio.get_running_loop()
    seen: list[object] = []

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            seen.append(addr)
            transport = cast("asyncio.DatagramTransport", self.transport)
            asyncio.get_running_loop().call_later(1, transport.sendto, b"late", addr)

        def error_received(self, exc: Exception) -> None:
            seen.append(exc)

    async def serve_datagrams() -> None:
        await loop.create_datagram_endpoint(Server, ("0.0.0.0", PORT))

    async def send_once() -> None:
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("server", PORT))
        transport.sendto(b"hello")
        await asyncio.sleep(0.1)
        transport.close()

    await server.run(serve_datagrams())
    await client.run(send_once())
    await asyncio.sleep(5)
    assert seen[0] == (router.address, router.mappings[0].external_port)
    assert [error.errno for error in seen[1:] if isinstance(error, OSError)] in ([], [errno.ECONNREFUSED])


@pytest.mark.parametrize(("hairpinning", "reached"), [(True, True), (False, False)])
async def test_hairpinning(simnet: Network, hairpinning: bool, reached: bool) -> None:
    """Two hosts behind a NAT that know each other's external addresses only, from a server, and send UDP datagrams."""
    router = simnet.nat("router", filtering=EI, hairpinning=hairpinning)
    one, two = simnet.host("one", behind=router), simnet.host("two", behind=router)
    server = simnet.host("server")
    got: list[tuple[bytes, tuple[str, int]]] = []
    loop = asyncio.get_running_loop()

    class Notes(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            got.append((data, addr))

    async def bind() -> asyncio.DatagramTransport:
        transport, _ = await loop.create_datagram_endpoint(Notes, ("0.0.0.0", 7000))
        transport.sendto(b"register", (server.address, 7000))
        return transport

    first, _ = await one.run(bind()), await two.run(bind())
    await asyncio.sleep(1)
    ports = {mapping.internal: mapping.external_port for mapping in router.mappings}
    first.sendto(b"hello", (router.address, ports[two.address, 7000]))
    await asyncio.sleep(1)
    expected = [(b"hello", (router.address, ports[one.address, 7000]))]
    assert got == (expected if reached else [])


async def test_hole_punching_by_a_simultaneous_open(simnet: Network) -> None:
    """Two utcp endpoints behind NATs with endpoint-independent mappings open a connection to each other's external
    address at the same time (RFC 9293 3.5, figure 8)."""
    left, right = simnet.nat("left", preserve_ports=True), simnet.nat("right", preserve_ports=True)
    one, two = simnet.host("one", behind=left), simnet.host("two", behind=right)
    simnet.link(one, two, latency=0.05)

    async def meet(peer: Nat, name: bytes) -> bytes:
        async with utcp.Endpoint(("0.0.0.0", 7000)) as endpoint:
            reader, writer = await endpoint.open_connection(peer.address, 80, udp_port=7000, local_port=80)
            writer.write(name)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    assert tuple(await asyncio.gather(one.run(meet(right, b"one")), two.run(meet(left, b"two")))) == (b"two", b"one")


async def test_a_nat_behind_a_nat(simnet: Network) -> None:
    carrier_grade = simnet.nat("cgn")
    router = simnet.nat("router", behind=carrier_grade)
    client, server = simnet.host("client", behind=router), simnet.host("server")
    neighbour = simnet.host("neighbour", behind=carrier_grade)
    server.start(serve)
    neighbour.start(serve)
    assert await client.run(ask("server", bytes(30_000))) == bytes(30_000)
    assert await client.run(ask("neighbour", b"?")) == b"?"
    assert len(carrier_grade.mappings) == len(router.mappings) == 1  # the same endpoint, and the same for all
    with pytest.raises(ConnectionRefusedError):
        await client.run(asyncio.open_connection("server", PORT))


async def test_a_path_that_drops_and_holds(simnet: Network) -> None:
    """Faults are those of the hosts at both ends."""
    _router, client, server = home(simnet)
    server.start(serve)
    simnet.partition(client, server)
    asking = client.run(ask("server", b"?"))
    await asyncio.sleep(2)
    assert not asking.done()
    simnet.repair(client, server)
    assert await asking == b"?"
    simnet.hold(client, server)
    asking = client.run(ask("server", b"?"))
    await asyncio.sleep(0.9)
    simnet.release(client, server)
    assert await asking == b"?"
    assert simnet.path(server, client).counts["sent"] > 2


async def test_a_mapping_that_ends_while_a_packet_is_under_way(simnet: Network) -> None:
    router, client, server = home(simnet)
    simnet.link_oneway(server, client, latency=5)
    server.start(serve)
    asking = client.run(ask("server", b"?", QUICK))
    await asyncio.sleep(2)
    router.rebind()
    with pytest.raises((TimeoutError, ConnectionResetError)):
        await asking
    assert any(host == "client" for host, _, _ in simnet.undelivered)


async def test_the_mtu_of_a_path_behind_a_nat(simnet: Network) -> None:
    _router, client, server = home(simnet)
    simnet.link(client, server, Conditions(latency=0.01, mtu=700))
    server.start(serve)
    assert await client.run(ask("server", bytes(50_000))) == bytes(50_000)
    assert max(len(sent.packet.data) for sent in simnet.trace if sent.arrivals) <= 700 - 28


def test_names_and_addresses(simnet: Network) -> None:
    router = simnet.nat("router", "192.0.2.1")
    with pytest.raises(ValueError, match="already has a host 'router'"):
        simnet.host("router")
    with pytest.raises(ValueError, match=r"already has a host at 192\.0\.2\.1"):
        simnet.host("other", "192.0.2.1")
    first = simnet.host("first", "192.168.0.1", behind=router)
    assert simnet.host("second", "192.168.0.1", behind=simnet.nat("another")).address == first.address
    with pytest.raises(ValueError, match=r"already has a host at 192\.168\.0\.1"):
        simnet.host("third", "192.168.0.1", behind=router)
    assert "router 192.0.2.1" in repr(router)

    async def resolve() -> object:
        return await simnet.loop.getaddrinfo("router", 80)

    assert simnet.run(resolve()) == [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


@pytest.mark.parametrize("kind", ["utcp", "kernel"])
def test_a_capture_shows_one_connection(simnet: Network, kind: str, tmp_path: Path) -> None:
    _router, client, server = home(simnet)
    capture = NetworkCapture(simnet)

    async def talk() -> None:
        opens = utcp.open_connection if kind == "utcp" else asyncio.open_connection
        reader, writer = await opens("server", PORT)
        writer.write(b"hello\n")
        writer.write_eof()
        await reader.read()
        writer.close()

    async def scenario() -> None:
        start = utcp.start_server if kind == "utcp" else asyncio.start_server
        await server.run(start(shout, "0.0.0.0", PORT))
        await client.run(talk())
        await asyncio.sleep(1)

    simnet.run(scenario())
    file = io.BytesIO()
    capture.write(file)
    path = tmp_path / "nat.pcapng"
    path.write_bytes(file.getvalue())
    captured = read_capture(path)
    (connection,) = find_connections([captured])
    assert (connection.client.host, connection.server.host) == (client.address, server.address)
    assert all(one.comment.count("\n") == 1 for one in captured)  # of the sender, and of the receiver


def test_the_same_seed_gives_the_same_run() -> None:
    def digest(seed: int) -> str:
        network = Network(seed)
        _router, client, server = home(network, timeout=30)
        network.link(client, server, latency=0.02, loss=0.1)

        async def scenario() -> None:
            server.start(lambda: serve(QUICK))
            for _ in range(3):
                await client.run(ask("server", bytes(30_000)))
                await asyncio.sleep(31)

        network.run(scenario())
        return network.digest()

    assert digest(1) == digest(1) != digest(2)
