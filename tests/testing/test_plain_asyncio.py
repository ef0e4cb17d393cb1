"""Programs of plain asyncio on simulated hosts: their sockets are those of simulated kernels."""

import asyncio
import errno
import socket

import pytest

from utcp.testing import Host, Network
from utcp.wire import ACK, FIN, RST, SYN

PORT = 9000
DATA = bytes(range(256)) * 1000


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read()).upper())
    writer.close()
    await writer.wait_closed()


async def serve(host: str = "0.0.0.0", port: int = PORT) -> None:
    server = await asyncio.start_server(shout, host, port)
    async with server:
        await server.serve_forever()


async def ask(host: str, port: int = PORT, question: bytes = b"hello") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(question)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
def server(simnet: Network) -> Host:
    host = simnet.host("server")
    host.start(serve)
    return host


def segments(network: Network, source: str) -> list[int]:
    """Return the flags of the segments that a host has sent."""
    return [
        sent.packet.segment.flags
        for sent in network.trace
        if sent.packet.source == source and sent.packet.segment is not None
    ]


class TestStreams:
    async def test_over_a_perfect_path(self, simnet: Network, server: Host) -> None:
        assert await ask("server") == b"HELLO"
        assert {sent.packet.carrier for sent in simnet.trace} == {"tcp"}
        assert segments(simnet, "main")[:2] == [SYN, ACK]

    @pytest.mark.parametrize(
        "bad", [{"loss": 0.2}, {"duplicate": 0.5}, {"reorder": 0.3}, {"corrupt": 0.2}, {"bandwidth": 1e6, "queue": 20}]
    )
    async def test_over_a_bad_path(self, simnet: Network, server: Host, bad: dict[str, float]) -> None:
        simnet.link(simnet.main, server, latency=0.02, **bad)  # type: ignore[arg-type]
        assert await ask("server", question=DATA) == DATA.upper()

    async def test_a_router_with_a_smaller_mtu_is_found(self, simnet: Network, server: Host) -> None:
        simnet.link(simnet.main, server, latency=0.02, mtu=900, icmp_too_big=True)
        assert await ask("server", question=DATA) == DATA.upper()
        assert max(len(sent.packet.data) for sent in simnet.trace if sent.arrivals) <= 880

    async def test_closing_does_not_wait_for_the_peer(self, simnet: Network, server: Host) -> None:
        """As on a real host, where the kernel delivers after close()."""
        _, writer = await asyncio.open_connection("server", PORT)
        simnet.partition(simnet.main, server)
        writer.write(b"x")
        writer.close()
        await writer.wait_closed()
        assert simnet.loop.time() < 0.01

    async def test_abort_sends_fin_as_asyncio_does(self, simnet: Network, server: Host) -> None:
        _, writer = await asyncio.open_connection("server", PORT)
        writer.transport.abort()
        await asyncio.sleep(1)
        assert segments(simnet, "main")[2] & FIN

    async def test_unread_data_makes_close_send_rst(self, simnet: Network) -> None:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(1_000_000))  # more than the other end's reader takes
            await asyncio.sleep(1000)

        far = simnet.host("far")
        await far.run(asyncio.start_server(talk, "0.0.0.0", PORT))
        _, writer = await asyncio.open_connection("far", PORT)
        await asyncio.sleep(1)
        writer.close()
        await asyncio.sleep(1)
        assert any(flags & RST for flags in segments(simnet, "main"))


class TestAddresses:
    async def test_a_port_without_a_listener_refuses(self, simnet: Network, server: Host) -> None:
        with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
            await ask("server", 1)
        assert simnet.loop.time() < 0.001

    @pytest.mark.simnet(max_time=1000)
    async def test_a_silent_host_times_out_as_with_linux(self, simnet: Network) -> None:
        simnet.host("silent", port_unreachable=False)
        with pytest.raises(TimeoutError):
            await ask("silent", 1)
        assert 126 < simnet.loop.time() < 128  # tcp_syn_retries 6

    async def test_an_unknown_address_is_unreachable(self, simnet: Network) -> None:
        with pytest.raises(OSError, match="no host at") as caught:
            await ask("10.9.9.9")
        assert caught.value.errno == errno.EHOSTUNREACH

    async def test_an_unknown_name(self, simnet: Network) -> None:
        with pytest.raises(socket.gaierror):
            await ask("nowhere")

    async def test_loopback_is_the_host_itself(self, simnet: Network) -> None:
        far = simnet.host("far")
        far.run(serve("127.0.0.1"))
        assert await far.run(ask("localhost")) == b"HELLO"
        with pytest.raises(ConnectionRefusedError):
            await ask("far")

    async def test_servers_at_two_addresses_of_one_port(self, simnet: Network) -> None:
        far = simnet.host("far")
        far.run(serve("127.0.0.1"))
        far.run(serve(far.address))
        assert await far.run(ask("127.0.0.1")) == await ask("far") == b"HELLO"

    async def test_a_port_in_use(self, simnet: Network, server: Host) -> None:
        await ask("server")
        for host in ("0.0.0.0", "127.0.0.1", server.address):
            with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
                await server.run(asyncio.start_server(shout, host, PORT))
            assert caught.value.errno == errno.EADDRINUSE

    async def test_a_foreign_address_cannot_be_bound(self, simnet: Network, server: Host) -> None:
        with pytest.raises(OSError, match=r"could not bind|assign requested address"):
            await asyncio.start_server(shout, server.address, PORT)

    async def test_tcp_and_udp_ports_are_apart(self, simnet: Network, server: Host) -> None:
        await server.run(
            asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("0.0.0.0", PORT))
        )
        assert await ask("server") == b"HELLO"

    async def test_names_of_both_ends(self, simnet: Network, server: Host) -> None:
        names = []

        async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            names.append((writer.get_extra_info("sockname"), writer.get_extra_info("peername")))
            writer.close()

        listening = await server.run(asyncio.start_server(handle, None, 0))
        assert listening.sockets[0].getsockname()[0] == "0.0.0.0"
        port = listening.sockets[0].getsockname()[1]
        assert 32768 <= port <= 60999
        reader, writer = await asyncio.open_connection("server", port, local_addr=("0.0.0.0", 50000))
        assert await reader.read() == b""
        assert writer.get_extra_info("sockname") == (simnet.main.address, 50000)
        assert writer.get_extra_info("peername") == (server.address, port)
        assert names == [((server.address, port), (simnet.main.address, 50000))]
        writer.close()

    async def test_a_server_restarts_on_its_port(self, simnet: Network) -> None:
        for _ in range(2):
            listening = await asyncio.start_server(shout, "0.0.0.0", PORT)
            assert await ask("localhost") == b"HELLO"
            listening.close()
            await listening.wait_closed()


class TestEnds:
    async def test_a_crash_sends_nothing_and_a_restart_rst(self, simnet: Network, server: Host) -> None:
        reader, writer = await asyncio.open_connection("server", PORT)
        await asyncio.sleep(1)
        before = len(simnet.trace)
        server.crash()
        writer.write(b"x")
        await asyncio.sleep(5)
        assert {sent.packet.source for sent in simnet.trace[before:]} == {"main"}
        server.restart()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert await ask("server") == b"HELLO"

    async def test_the_kernel_of_a_killed_process_sends_fin(self, simnet: Network, server: Host) -> None:
        reader, writer = await asyncio.open_connection("server", PORT)
        await asyncio.sleep(1)
        server.kill()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await ask("server")
        server.start(serve)
        assert await ask("server") == b"HELLO"

    async def test_the_kernel_of_a_killed_process_resets_unread_data(self, simnet: Network) -> None:
        async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(1000)

        far = simnet.host("far")
        await far.run(asyncio.start_server(stall, "0.0.0.0", PORT))
        reader, writer = await asyncio.open_connection("far", PORT)
        await asyncio.sleep(1)
        writer.write(b"never read")
        await asyncio.sleep(1)
        far.kill()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    async def test_the_kernel_delivers_what_a_killed_process_has_written(self, simnet: Network) -> None:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(DATA)
            await asyncio.sleep(1000)

        far = simnet.host("far")
        simnet.link(simnet.main, far, latency=0.1, bandwidth=1e6)
        await far.run(asyncio.start_server(talk, "0.0.0.0", PORT))
        reader, writer = await asyncio.open_connection("far", PORT)
        assert await reader.readexactly(1) == DATA[:1]
        far.kill()
        assert await reader.read() == DATA[1:]
        writer.close()

    def test_the_scenario_cannot_be_killed(self, simnet: Network) -> None:
        with pytest.raises(ValueError, match="main"):
            simnet.main.kill()

    def test_a_host_that_is_down_cannot_be_killed(self, simnet: Network) -> None:
        far = simnet.host("far")
        far.crash()
        with pytest.raises(RuntimeError, match="down"):
            far.kill()
