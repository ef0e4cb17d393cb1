"""One example for each public class of `utcp` and `utcp.testing`. The API reference shows them (tests/api.py)."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest

import utcp
from utcp.testing import (
    DROP,
    PASS,
    Conditions,
    Fault,
    Network,
    NetworkCapture,
    OutOfBounds,
    Packet,
    Path,
    Sent,
    SimulatedLink,
    Stalled,
    Verdict,
    VirtualLoop,
    nth,
)
from utcp.wire import FIN, SYN


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture(autouse=True)
def _server(simnet: Network) -> Iterator[None]:
    """The host "server", 50 ms away, where `echo` listens on port 9000."""
    server = simnet.host("server")
    simnet.link(simnet.main, server, latency=0.05)
    server.run(utcp.start_server(echo, "0.0.0.0", 9000))
    return iter([None])


# --- utcp


async def test_config() -> None:
    config = utcp.Config(keepalive_idle=20, congestion_control="bbr")
    _, writer = await utcp.open_connection("server", 9000, config=config)
    assert writer.get_extra_info("utcp").congestion_control == "bbr"
    writer.close()
    with pytest.raises(ValueError, match="keepalive_idle"):
        utcp.Config(keepalive_idle=-1)


async def test_connection_info() -> None:
    _, writer = await utcp.open_connection("server", 9000)
    info: utcp.ConnectionInfo = writer.get_extra_info("utcp")
    assert info.state == "ESTABLISHED"
    assert info.rtt == pytest.approx(0.1)  # seconds
    writer.close()


async def test_endpoint() -> None:
    async with utcp.Endpoint(("0.0.0.0", 7000)) as endpoint:
        await endpoint.start_server(echo, 443)  # utcp port 443 at UDP port 7000
        reader, writer = await endpoint.open_connection("server", 9000)  # over the same socket
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_server() -> None:
    async with await utcp.start_server(echo, "0.0.0.0", 8000) as server:
        assert server.sockets[0].getsockname() == ("0.0.0.0", 8000)
        _, writer = await utcp.open_connection("main", 8000)
        server.close()  # no further connections; those that are open go on
        writer.close()
        await server.wait_closed()  # until the last one has ended


async def test_stream_writer() -> None:
    reader, writer = await utcp.open_connection("server", 9000)
    writer.write(b"hello")
    await writer.drain()
    writer.write_eof()  # our FIN leaves, and reading goes on
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()  # the peer has acknowledged every byte, and our FIN


async def test_transport() -> None:
    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, utcp.Transport)
            transport.write(b"hello")
            transport.write_eof()

        def data_received(self, data: bytes) -> None:
            received.set_result(data)

    received = asyncio.get_running_loop().create_future()
    await utcp.create_connection(Client, "server", 9000)
    assert await received == b"hello"


async def test_address_in_use() -> None:
    async with utcp.Endpoint(("0.0.0.0", 7000)) as endpoint:
        await endpoint.start_server(echo, 443)
        with pytest.raises(utcp.AddressInUse) as caught:
            await endpoint.start_server(echo, 443)
        assert caught.value.seconds is None  # a server has the port, and no TIME_WAIT


async def test_address_not_available() -> None:
    config = utcp.Config(ephemeral_ports=(50000, 50000))  # a single one
    _, writer = await utcp.open_connection("server", 9000, config=config)
    with pytest.raises(utcp.AddressNotAvailable):
        await utcp.open_connection("server", 9000, config=config)
    writer.close()


async def test_connection_aborted() -> None:
    endpoint = await utcp.Endpoint().start()
    opening = asyncio.create_task(endpoint.open_connection("server", 9000))
    await asyncio.sleep(0.01)  # the SYN has left
    await endpoint.aclose()
    with pytest.raises(utcp.ConnectionAborted):
        await opening


async def test_connection_refused() -> None:
    with pytest.raises(utcp.ConnectionRefused):
        await utcp.open_connection("server", 9001)  # where no program listens


async def test_connection_reset(simnet: Network) -> None:
    reader, _ = await utcp.open_connection("server", 9000)
    simnet.hosts["server"].restart()  # it forgets the connection, and answers keepalive probes with RST
    with pytest.raises(utcp.ConnectionReset):
        await reader.read()


async def test_connection_timed_out(simnet: Network) -> None:
    reader, writer = await utcp.open_connection("server", 9000)
    writer.write(b"hello")
    simnet.hosts["server"].crash()
    with pytest.raises(utcp.ConnectionTimedOut):  # whichever timeout it is; also a TimeoutError
        await reader.read()


async def test_fin_timed_out(simnet: Network) -> None:
    _, writer = await utcp.open_connection("server", 9000)
    simnet.partition(simnet.main, simnet.hosts["server"])
    writer.close()
    with pytest.raises(utcp.FinTimedOut):  # after `Config.fin_retries` retransmissions
        await writer.wait_closed()


async def test_invalid_state() -> None:
    endpoint = await utcp.Endpoint().start()
    connection = endpoint.stack.connect(endpoint.link.remote(("10.0.0.2", 9000)), 9000, 0.0)  # without asyncio
    connection.close(0.0)
    with pytest.raises(utcp.InvalidState):
        connection.send(b"hello")


async def test_keepalive_timed_out(simnet: Network) -> None:
    reader, _ = await utcp.open_connection("server", 9000)
    simnet.partition(simnet.main, simnet.hosts["server"])
    with pytest.raises(utcp.KeepaliveTimedOut):
        await reader.read()
    assert simnet.loop.time() == pytest.approx(110, abs=1)  # keepalive_idle, and five probes


async def test_limit_reached() -> None:
    async with utcp.Endpoint(config=utcp.Config(max_connections=1)) as endpoint:
        _, writer = await endpoint.open_connection("server", 9000)
        with pytest.raises(utcp.LimitReached) as caught:
            await endpoint.open_connection("server", 9000)
        assert caught.value.limit == "max_connections"
        writer.close()


async def test_linger_timed_out(simnet: Network) -> None:
    _, writer = await utcp.open_connection("server", 9000)
    linger = (1).to_bytes(4, "little") + (2).to_bytes(4, "little")  # on, 2 seconds
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    simnet.partition(simnet.main, simnet.hosts["server"])
    writer.close()
    with pytest.raises(utcp.LingerTimedOut):
        await writer.wait_closed()


async def test_path_unreachable(simnet: Network) -> None:
    class Client(asyncio.Protocol):
        def connection_trouble(self, error: OSError) -> None:
            troubles.append(error)

    troubles: list[OSError] = []
    transport, _ = await utcp.create_connection(Client, "server", 9000)
    transport.write(b"hello")
    await asyncio.sleep(0)
    server, address = simnet.hosts["server"], transport.get_extra_info("udp_sockname")
    simnet.send_icmp(server, address, (server.address, 9000), errno.EHOSTUNREACH, None, simnet.trace[-1].packet.data)
    await asyncio.sleep(1)
    assert isinstance(troubles[0], utcp.PathUnreachable)  # the connection goes on trying


async def test_retransmission_timed_out(simnet: Network) -> None:
    reader, writer = await utcp.open_connection("server", 9000, config=utcp.Config(retries=3))
    simnet.partition(simnet.main, simnet.hosts["server"])
    writer.write(b"hello")
    with pytest.raises(utcp.RetransmissionTimedOut):
        await reader.read()


async def test_syn_timed_out(simnet: Network) -> None:
    simnet.partition(simnet.main, simnet.hosts["server"])
    with pytest.raises(utcp.SynTimedOut):
        await utcp.open_connection("server", 9000, config=utcp.Config(syn_retries=2))
    assert simnet.loop.time() == pytest.approx(7)  # 1 + 2 + 4 seconds


async def test_user_timed_out(simnet: Network) -> None:
    reader, writer = await utcp.open_connection("server", 9000, config=utcp.Config(user_timeout=5))
    simnet.partition(simnet.main, simnet.hosts["server"])
    writer.write(b"hello")
    with pytest.raises(utcp.UserTimedOut):
        await reader.read()


# --- utcp.testing


async def test_conditions(simnet: Network) -> None:
    slow = Conditions(latency=0.1, bandwidth=1e6, queue=50, loss=0.01)
    simnet.link(simnet.main, simnet.hosts["server"], slow)
    reader, writer = await utcp.open_connection("server", 9000)
    writer.write(bytes(100_000))  # 0.8 s at 1 Mbit/s
    await reader.readexactly(100_000)
    assert simnet.loop.time() > 1
    writer.close()


async def test_firewall(simnet: Network) -> None:
    firewall = simnet.firewall(simnet.main, simnet.hosts["server"])
    reader, _ = await utcp.open_connection("server", 9000)
    firewall.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert firewall.ended == 1


async def test_mapping(simnet: Network) -> None:
    router = simnet.nat("router", timeout=30)
    phone = simnet.host("phone", behind=router)
    _, writer = await phone.run(utcp.open_connection("server", 9000))
    (mapping,) = router.mappings
    assert (mapping.internal[0], mapping.used) == (phone.address, simnet.loop.now)
    writer.close()


async def test_nat(simnet: Network) -> None:
    router = simnet.nat("router", timeout=30)
    phone = simnet.host("phone", behind=router)
    reader, writer = await phone.run(utcp.open_connection("server", 9000))
    router.rebind()  # the server knows no connection from the new port
    writer.write(b"hello")
    with pytest.raises(ConnectionResetError):
        await reader.read()


async def test_host(simnet: Network) -> None:
    server = simnet.host("other", port_unreachable=False)  # silent, as behind a firewall

    async def serve() -> None:
        async with await utcp.start_server(echo, "0.0.0.0", 9000) as listening:
            await listening.serve_forever()

    server.start(serve)
    reader, _ = await utcp.open_connection("other", 9000)
    server.crash()  # no FIN and no RST
    server.restart()  # `serve` runs again, and the host has forgotten the connection
    with pytest.raises(ConnectionResetError):
        await reader.read()


def test_network() -> None:
    network = Network(seed=1)  # simnet is one
    server, client = network.host("server"), network.host("client")
    network.link(server, client, latency=0.05, loss=0.2)

    async def ask() -> bytes:
        reader, writer = await utcp.open_connection("server", 9000)
        writer.write(b"hello")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async def scenario() -> bytes:
        await server.run(utcp.start_server(echo, "0.0.0.0", 9000))
        return await client.run(ask())

    assert network.run(scenario()) == b"hello"
    assert network.digest()  # the same in each run


async def test_network_capture(simnet: Network, tmp_path: FilePath) -> None:
    capture = NetworkCapture(simnet)  # before the endpoints of interest open
    _, writer = await utcp.open_connection("server", 9000)
    writer.close()
    await writer.wait_closed()
    with (tmp_path / "run.pcapng").open("wb") as file:
        capture.write(file)  # for Wireshark, `utcp ladder` and `utcp plot`
    assert (tmp_path / "run.pcapng").stat().st_size > 1000


def test_out_of_bounds() -> None:
    network = Network(max_time=60)
    with pytest.raises(OutOfBounds):
        network.run(asyncio.sleep(61))


async def test_fault(simnet: Network) -> None:
    simnet.link(simnet.main, simnet.hosts["server"], jitter=0.01)
    _, writer = await utcp.open_connection("server", 9000)
    first: Fault = simnet.faults.suffered[0]
    assert str(first) == "the 1st packet main > server (SYN) was delayed at 0 s"
    assert first.key == "main>server#1.delayed"  # Network("7 keep main>server#1.delayed") repeats this one alone
    writer.close()


async def test_packet(simnet: Network) -> None:
    def lose_the_first_syn(packet: Packet) -> Verdict:
        """Drop what the host "main" sends first."""
        segment = packet.segment
        first = packet.source == "main" and segment is not None and segment.flags == SYN and packet.time == 0
        return DROP if first else PASS

    with simnet.rule(lose_the_first_syn):
        _, writer = await utcp.open_connection("server", 9000)
    assert simnet.loop.time() == pytest.approx(1.1)  # the SYN is retransmitted after a second
    writer.close()


async def test_path(simnet: Network) -> None:
    path: Path = simnet.path(simnet.main, simnet.hosts["server"])
    path.waits = []  # record the queueing delays
    simnet.link(simnet.main, simnet.hosts["server"], bandwidth=1e6)
    reader, writer = await utcp.open_connection("server", 9000)
    writer.write(bytes(50_000))
    await reader.readexactly(50_000)
    assert path.counts["lost"] == 0
    assert max(path.waits) > 0.01  # seconds
    writer.close()


async def test_sent(simnet: Network) -> None:
    _, writer = await utcp.open_connection("server", 9000)
    writer.close()
    sent: Sent = simnet.trace[0]
    assert (sent.packet.source, sent.packet.destination) == ("main", "server")
    assert sent.arrivals == (0.05,)  # none if it was lost, two if it was duplicated


async def test_simulated_link() -> None:
    async with utcp.Endpoint(("0.0.0.0", 7000)) as endpoint:
        _, writer = await endpoint.open_connection("server", 9000)
        writer.close()
        assert isinstance(endpoint.link, SimulatedLink)
        assert endpoint.link.counters.datagrams_sent == 1  # the SYN; the ACK leaves with the FIN


def test_stalled() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match="wait"):  # instead of a test that hangs
        Network().run(wait())


async def test_verdict(simnet: Network) -> None:
    def half_a_second_late(packet: Packet) -> Verdict | float:
        return 0.5 if packet.source == "server" else Verdict.PASS

    with simnet.rule(half_a_second_late):
        _, writer = await utcp.open_connection("server", 9000)
    assert simnet.loop.time() == pytest.approx(0.6)
    writer.close()


def test_virtual_loop() -> None:
    loop = VirtualLoop()
    loop.run(asyncio.sleep(3600))
    assert loop.time() == 3600


# --- functions


async def test_nth(simnet: Network) -> None:
    with simnet.rule(nth(1, lambda segment: segment.flags & FIN)):  # the first FIN is lost
        _, writer = await utcp.open_connection("server", 9000)
        writer.close()
        await writer.wait_closed()
    assert simnet.loop.time() > 0.4  # it was sent again
