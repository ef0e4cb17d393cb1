"""Sockets of simulated hosts, as programs and asyncio use them."""

import asyncio
import errno
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import client_context, server_context
from utcp.testing import DROP, PASS, Host, Network, Packet, Verdict
from utcp.wire import FIN, RST

PORT = 9000


@pytest.fixture
def far(simnet: Network) -> Host:
    host = simnet.host("far")
    simnet.link(simnet.main, host, latency=0.05)
    return host


def stream() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


async def listen(port: int = PORT, backlog: int = 10) -> socket.socket:
    sock = stream()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    sock.listen(backlog)
    return sock


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read()).upper())
    writer.close()
    await writer.wait_closed()


def flags(network: Network, source: str) -> list[int]:
    return [
        sent.packet.segment.flags
        for sent in network.trace
        if sent.packet.source == source and sent.packet.segment is not None
    ]


class TestStreams:
    async def test_the_calls_of_the_loop(self, simnet: Network, far: Host) -> None:
        loop = asyncio.get_running_loop()

        async def echo() -> None:
            with await listen() as listening:
                accepted, address = await loop.sock_accept(listening)
                assert address == accepted.getpeername()
                with accepted:
                    while data := await loop.sock_recv(accepted, 1000):
                        await loop.sock_sendall(accepted, data)

        far.run(echo())
        with stream() as sock:
            await loop.sock_connect(sock, ("far", PORT))
            assert sock.getpeername() == (far.address, PORT)
            await loop.sock_sendall(sock, bytes(1000) * 1000)
            buffer = bytearray(1000)
            assert await loop.sock_recv_into(sock, buffer) == 1000
            sock.shutdown(socket.SHUT_WR)
            rest = 1000
            while size := len(await loop.sock_recv(sock, 65536)):
                rest += size
            assert rest == 1_000_000

    async def test_a_connected_socket_for_a_transport(self, simnet: Network, far: Host) -> None:
        """As aiohttp connects."""
        await far.run(asyncio.start_server(shout, "0.0.0.0", PORT))
        sock = stream()
        await asyncio.get_running_loop().sock_connect(sock, (far.address, PORT))
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"HELLO"
        writer.close()

    async def test_a_bound_socket_for_a_server(self, simnet: Network, far: Host) -> None:
        async def serve() -> asyncio.Server:
            sock = stream()
            sock.bind(("0.0.0.0", PORT))
            return await asyncio.start_server(shout, sock=sock)

        await far.run(serve())
        reader, writer = await asyncio.open_connection("far", PORT)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    async def test_a_refused_connection(self, simnet: Network, far: Host) -> None:
        with stream() as sock:
            assert sock.connect_ex((far.address, PORT)) == errno.EINPROGRESS
            assert sock.connect_ex((far.address, PORT)) == errno.EALREADY
            with pytest.raises(OSError, match="not connected"):
                sock.getpeername()
            await asyncio.sleep(1)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            with pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(sock, (far.address, PORT))

    async def test_a_call_that_would_block(self, simnet: Network, far: Host) -> None:
        with socket.socket() as sock, pytest.raises(RuntimeError, match="setblocking"):
            sock.connect((far.address, PORT))

    async def test_what_is_not_simulated(self, simnet: Network) -> None:
        for arguments in ((socket.AF_INET6,), (socket.AF_UNIX,), (socket.AF_INET, socket.SOCK_RAW)):
            with pytest.raises(OSError, match="the simulated network has"):
                socket.socket(*arguments)
        with stream() as sock:
            with pytest.raises(OSError, match="MSG_PEEK"):
                sock.recv(1, socket.MSG_PEEK)
            with pytest.raises(OSError, match="detached"):
                sock.detach()
            with pytest.raises(OSError, match="duplicated"):
                sock.dup()
            with pytest.raises(BrokenPipeError):
                sock.send(b"x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            sock.send(b"x")
        assert sock.fileno() == -1

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio of Python 3.11 makes a server without sockets")
    async def test_a_server_on_ipv6(self, simnet: Network) -> None:
        with pytest.raises(OSError, match="could not bind") as raised:
            await asyncio.start_server(shout, "::", PORT)
        assert raised.value.__notes__ == ['The simulated network has IPv4 only: bind "0.0.0.0" or "127.0.0.1".']

    def test_a_socket_from_before_the_run_is_refused(self, simnet: Network, far: Host) -> None:
        async def use(sock: socket.socket) -> None:
            await asyncio.get_running_loop().sock_recv(sock, 1)

        near, other = socket.socketpair()
        near.setblocking(False)
        with near, other, pytest.raises(RuntimeError, match="while the simulation runs"):
            simnet.run(use(near))

    async def test_a_forgotten_socket_is_closed(self, simnet: Network, far: Host) -> None:
        await far.run(asyncio.start_server(shout, "0.0.0.0", PORT))
        sock = stream()
        await asyncio.get_running_loop().sock_connect(sock, (far.address, PORT))
        with pytest.warns(ResourceWarning, match="unclosed <SimulatedSocket"):
            del sock
        await asyncio.sleep(1)
        assert flags(simnet, "main")[-2] & FIN

    async def test_poll_without_waiting(self, simnet: Network, far: Host) -> None:
        await far.run(asyncio.start_server(shout, "0.0.0.0", PORT))
        with stream() as sock:
            await asyncio.get_running_loop().sock_connect(sock, (far.address, PORT))
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            assert poll.poll(0) == []
            with pytest.raises(RuntimeError, match="virtual time"):
                poll.poll(100)
            sock.shutdown(socket.SHUT_WR)
            await asyncio.sleep(1)
            assert poll.poll(0) == [(sock.fileno(), select.POLLIN)]

    async def test_a_full_backlog_delays_a_connection(self, simnet: Network, far: Host) -> None:
        loop = asyncio.get_running_loop()
        listening = await far.run(listen(backlog=0))
        first, second = stream(), stream()
        await loop.sock_connect(first, (far.address, PORT))
        await asyncio.sleep(0.2)
        connecting = asyncio.ensure_future(loop.sock_connect(second, (far.address, PORT)))
        await asyncio.sleep(0.5)
        assert not connecting.done()
        with (await loop.sock_accept(listening))[0], first, second, listening:
            await connecting

    async def test_a_reset_after_the_fin_of_the_peer(self, simnet: Network, far: Host) -> None:
        """Linux reports EPIPE in CLOSE_WAIT, and ECONNRESET otherwise."""
        loop = asyncio.get_running_loop()
        server = await far.run(listen())
        for in_close_wait, code in (True, errno.EPIPE), (False, errno.ECONNRESET):
            with stream() as sock:
                await loop.sock_connect(sock, ("far", PORT))
                accepted, _ = await far.run(loop.sock_accept(server))
                if in_close_wait:
                    accepted.close()
                    await asyncio.sleep(1)
                await loop.sock_sendall(sock, b"for no reader")
                await asyncio.sleep(1)
                accepted.close()  # with unread data
                await asyncio.sleep(1)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == code
                assert sock.recv(10) == b""
                with pytest.raises(BrokenPipeError):
                    sock.send(b"x")
                with pytest.raises(OSError, match="not connected"):
                    sock.getpeername()
        server.close()

    async def test_a_socket_that_was_never_connected(self, simnet: Network) -> None:
        with stream() as sock:
            with pytest.raises(BrokenPipeError):
                sock.send(b"x")
            with pytest.raises(OSError, match="not connected"):
                sock.recv(1)


class TestOptions:
    async def test_they_last_from_before_the_connection(self, simnet: Network, far: Host) -> None:
        await far.run(asyncio.start_server(shout, "0.0.0.0", PORT))
        with stream() as sock:
            for level, option, value in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
            ):
                assert sock.getsockopt(level, option) != value
                sock.setsockopt(level, option, value)
                assert sock.getsockopt(level, option) == value
            await asyncio.get_running_loop().sock_connect(sock, (far.address, PORT))
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60

    async def test_asyncio_sets_nodelay_at_both_ends(self, simnet: Network, far: Host) -> None:
        nodelay = []

        async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            nodelay.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        await far.run(asyncio.start_server(handle, "0.0.0.0", PORT))
        reader, writer = await asyncio.open_connection("far", PORT)
        assert writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert await reader.read() == b""
        assert nodelay == [1]
        writer.close()

    async def test_a_linger_time_of_zero_makes_close_reset(self, simnet: Network, far: Host) -> None:
        await far.run(asyncio.start_server(shout, "0.0.0.0", PORT))
        _, writer = await asyncio.open_connection("far", PORT)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        await asyncio.sleep(1)
        assert flags(simnet, "main")[-1] & RST

    @pytest.mark.simnet(max_time=10_000)
    async def test_keepalive_is_off_unless_it_is_wanted(self, simnet: Network, far: Host) -> None:
        reading: list[asyncio.Task[bytes]] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            reading.append(asyncio.ensure_future(reader.read()))
            await asyncio.sleep(10_000)

        await far.run(asyncio.start_server(handle, "0.0.0.0", PORT))
        _, writer = await asyncio.open_connection("far", PORT)
        await asyncio.sleep(1)
        simnet.partition(simnet.main, far)
        await asyncio.sleep(7800)
        assert not reading[0].done()
        await asyncio.sleep(200)  # 7200 s, and 9 probes 75 s apart
        assert reading[0].done()
        with pytest.raises(TimeoutError):
            reading[0].result()
        assert not writer.is_closing()  # the client has no keepalive
        writer.close()


class TestBind:
    async def test_time_wait_keeps_a_port_without_reuse(self, simnet: Network) -> None:
        loop = asyncio.get_running_loop()
        with await listen() as listening, stream() as client:
            await loop.sock_connect(client, ("127.0.0.1", PORT))
            accepted, _ = await loop.sock_accept(listening)
        accepted.close()  # first, and so it has TIME_WAIT
        client.close()
        await asyncio.sleep(1)
        with stream() as sock:
            with pytest.raises(OSError, match="in use"):
                sock.bind(("0.0.0.0", PORT))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("0.0.0.0", PORT))
        await asyncio.sleep(61)
        with stream() as sock:
            sock.bind(("0.0.0.0", PORT))

    async def test_a_local_port_for_a_connection(self, simnet: Network, far: Host) -> None:
        await far.run(asyncio.start_server(shout, "0.0.0.0", PORT))
        with stream() as sock:
            sock.bind(("0.0.0.0", 40000))
            await asyncio.get_running_loop().sock_connect(sock, (far.address, PORT))
            assert sock.getsockname() == (simnet.main.address, 40000)

    async def test_a_socket_on_loopback_reaches_no_other_host(self, simnet: Network, far: Host) -> None:
        with stream() as sock:
            sock.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match="Invalid argument"):
                sock.connect((far.address, PORT))


class Datagrams(asyncio.DatagramProtocol):
    """Collects datagrams and errors, and answers questions."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))
        if data.endswith(b"?"):
            self.transport.sendto(data[:-1] + b"!", addr)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)


class TestUdp:
    async def bound(self, host: Host) -> Datagrams:
        loop = asyncio.get_running_loop()
        _, protocol = await host.run(loop.create_datagram_endpoint(Datagrams, local_addr=("0.0.0.0", PORT)))
        return protocol

    async def test_a_question_and_its_answer(self, simnet: Network, far: Host) -> None:
        server = await self.bound(far)
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=("far", PORT))
        transport.sendto(b"who?")
        await asyncio.sleep(1)
        assert client.received == [(b"who!", (far.address, PORT))]
        assert server.received == [(b"who?", transport.get_extra_info("sockname"))]
        assert transport.get_extra_info("peername") == (far.address, PORT)
        assert {sent.packet.carrier for sent in simnet.trace} == {"udp"}
        assert simnet.trace[0].packet.segment is None
        transport.close()

    async def test_datagrams_are_lost_as_the_path_loses_them(self, simnet: Network, far: Host) -> None:
        server = await self.bound(far)
        simnet.link(simnet.main, far, loss=0.3)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, remote_addr=("far", PORT))
        for number in range(1000):
            transport.sendto(b"%d" % number)
        await asyncio.sleep(1)
        assert 600 < len(server.received) < 800
        transport.close()

    async def test_a_rule_sees_datagrams(self, simnet: Network, far: Host) -> None:
        server = await self.bound(far)

        def rule(packet: Packet) -> Verdict:
            return DROP if packet.carrier == "udp" and packet.data == b"lost" else PASS

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, remote_addr=("far", PORT))
        with simnet.rule(rule):
            transport.sendto(b"lost")
            transport.sendto(b"found")
        await asyncio.sleep(1)
        assert [data for data, _ in server.received] == [b"found"]
        transport.close()

    async def test_an_unbound_port_refuses_a_connected_socket(self, simnet: Network, far: Host) -> None:
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=("far", PORT))
        transport.sendto(b"x")
        await asyncio.sleep(1)
        assert [type(error) for error in client.errors] == [ConnectionRefusedError]
        transport.close()

    async def test_a_datagram_larger_than_the_mtu_is_fragmented(self, simnet: Network, far: Host) -> None:
        server = await self.bound(far)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, remote_addr=("far", PORT))
        transport.sendto(bytes(60_000))
        await asyncio.sleep(1)
        assert [len(data) for data, _ in server.received] == [60_000]
        transport.close()

    async def test_errors_of_sockets(self, simnet: Network, far: Host) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as other:
            sock.setblocking(False)
            with pytest.raises(OSError, match="no host at"):
                sock.sendto(b"x", ("10.9.9.9", 1))
            with pytest.raises(OSError, match="Message too long"):
                sock.sendto(bytes(65508), (far.address, 1))
            with pytest.raises(OSError, match="Destination address required"):
                sock.send(b"x")
            with pytest.raises(OSError, match="multicast"):
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, bytes(8))
            with pytest.raises(BlockingIOError):
                sock.recvfrom(100)
            sock.bind(("127.0.0.1", PORT))
            with pytest.raises(OSError, match="in use"):
                other.bind(("0.0.0.0", PORT))

    async def test_utcp_and_datagrams_share_the_ports_of_udp(self, simnet: Network, far: Host) -> None:
        import utcp

        await self.bound(far)
        with pytest.raises(OSError, match="in use"):
            await far.run(utcp.start_server(shout, "0.0.0.0", PORT))

    async def test_a_killed_process_frees_its_port(self, simnet: Network, far: Host) -> None:
        await self.bound(far)
        far.kill()
        await self.bound(far)


class TestTls:
    async def test_a_server_and_a_client(self, simnet: Network, far: Host) -> None:
        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            await reader.read()
            writer.close()

        await far.run(asyncio.start_server(reply, "0.0.0.0", PORT, ssl=server_context()))
        simnet.link(simnet.main, far, loss=0.2)
        reader, writer = await asyncio.open_connection("far", PORT, ssl=client_context(), server_hostname="localhost")
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()

    async def test_an_upgrade(self, simnet: Network, far: Host) -> None:
        async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.start_tls(server_context())
            writer.write((await reader.readline()).upper())
            await reader.read()
            writer.close()

        await far.run(asyncio.start_server(upgrade, "0.0.0.0", PORT))
        simnet.link(simnet.main, far, loss=0.1)
        reader, writer = await asyncio.open_connection("far", PORT)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_context(), server_hostname="localhost")
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()


class TestSendfile:
    @pytest.mark.parametrize("fallback", [False, True])
    @pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
    async def test_of_a_transport(self, simnet: Network, far: Host, tmp_path: Path, fallback: bool, tls: bool) -> None:
        (tmp_path / "file").write_bytes(bytes(range(256)) * 2000)
        if tls and not fallback:
            pytest.skip("asyncio has no system call for TLS")

        async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            with (tmp_path / "file").open("rb") as file:
                loop = asyncio.get_running_loop()
                sent = await loop.sendfile(writer.transport, file, 256, 300_000, fallback=fallback)
                assert sent == 300_000
                assert file.tell() == 300_256
            writer.write(b"end")
            writer.close()

        await far.run(asyncio.start_server(send, "0.0.0.0", PORT, ssl=server_context() if tls else None))
        options: dict[str, Any] = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}
        reader, writer = await asyncio.open_connection("far", PORT, **options)
        writer.write(b"go\n")
        assert await reader.read() == (bytes(range(256)) * 2000)[256:300_256] + b"end"
        writer.close()

    async def test_of_a_socket(self, simnet: Network, far: Host, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"contents")
        await far.run(asyncio.start_server(shout, "0.0.0.0", PORT))
        loop = asyncio.get_running_loop()
        with stream() as sock, (tmp_path / "file").open("rb") as file:
            await loop.sock_connect(sock, (far.address, PORT))
            assert await loop.sock_sendfile(sock, file) == 8
            sock.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(sock, 100) == b"CONTENTS"
