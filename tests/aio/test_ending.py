"""The end of a server, an endpoint and a loop takes `Config.close_timeout` at most, whatever the peers do."""

import asyncio
import signal
import ssl
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

import utcp
from tests.aio.peers import Peers, Recorder, until
from tests.certificates import authority, certificate, client_context, server_context
from utcp import Config, Endpoint, FinTimedOut, Server
from utcp.link.udp import UdpLink
from utcp.testing import Conditions, Host, Network

SOURCE = Path(utcp.__file__).parents[1]

CLOSE_TIMEOUT = 5.0
"""The default."""

tls_or_not = pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])


class Scene:
    """A server in virtual time, with a client of each kind, and two that vanish."""

    def __init__(self, tls: bool) -> None:
        self.network = Network(1, conditions=Conditions(latency=0.01))
        self.server_host = self.network.host("server")
        self.certificates: Any = (server_context(), client_context()) if tls else (None, None)
        self.lost: list[BaseException | None] = []

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        self.network.run(scenario)

    async def serve(self) -> Server:
        """Each client is written to without end if it says so, and never closed."""
        scene = self

        class Serve(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport: Any = transport
                self.feeding: asyncio.Task[None] | None = None

            def data_received(self, data: bytes) -> None:
                if data == b"busy":
                    self.feeding = asyncio.create_task(self.feed())

            async def feed(self) -> None:
                while not self.transport.is_closing():
                    self.transport.write(bytes(10_000))
                    await asyncio.sleep(0.01)

            def eof_received(self) -> bool:
                return True

            def connection_lost(self, exc: BaseException | None) -> None:
                scene.lost.append(exc)

        return await utcp.create_server(Serve, "0.0.0.0", 9000, ssl=self.certificates[0])

    async def open(self, name: str, word: bytes = b"", *, handshake: bool = True) -> Host:
        """A client on a host of its own, which reads and never closes."""
        host = self.network.host(name)

        async def client() -> None:
            secure = {"ssl": self.certificates[1], "server_hostname": "localhost"}
            options = secure if self.certificates[1] is not None and handshake else {}
            reader, writer = await utcp.open_connection("server", 9000, **options)
            writer.write(word)
            connected.set()
            try:
                while await reader.read(100_000):
                    pass
                await asyncio.sleep(1000)
            except OSError:
                pass
            finally:
                writer.transport.abort()

        connected = asyncio.Event()
        host.run(client())
        await connected.wait()
        await asyncio.sleep(0.1)
        return host

    async def open_all(self) -> None:
        await self.open("idle")
        await self.open("busy", b"busy")
        await self.open("in its handshake", handshake=False)
        for name, word in (("vanished", b""), ("vanished and busy", b"busy")):
            host = await self.open(name, word)
            self.network.partition(host, self.server_host)


@pytest.mark.defect(73, 80)
@tls_or_not
def test_a_cancelled_server_and_its_endpoint_end_within_close_timeout(tls: bool) -> None:
    scene = Scene(tls)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        async def serving() -> None:
            server = await scene.serve()
            await server.serve_forever()

        task = scene.server_host.run(serving())
        await asyncio.sleep(0.1)
        await scene.open_all()
        (endpoint,) = scene.server_host.process.endpoints
        began = loop.time()
        task.cancel()
        await asyncio.wait([task])
        assert loop.time() - began <= CLOSE_TIMEOUT + 0.001
        assert sum(isinstance(exc, FinTimedOut) for exc in scene.lost) == 2  # those who vanished
        assert not endpoint.stack.connections or all(each.ended for each in endpoint.stack.connections.values())
        await endpoint.aclose()
        assert loop.time() - began <= CLOSE_TIMEOUT + 0.001

    scene.run(scenario())


@pytest.mark.defect(73)
@pytest.mark.parametrize(("tls", "octets", "resumed", "ended"), [(True, 0, None, 1.0), (False, 3_000_000, 4.7, 4.7)])
def test_a_cancelled_server_delivers_to_clients_that_are_slow(
    tls: bool, octets: int, resumed: float | None, ended: float
) -> None:
    """One that does not answer close_notify gets the FIN a second later. One that reads late gets everything, and its
    own FIN is waited for no longer than until `close_timeout` from the cancellation."""
    scene = Scene(tls)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        server = await scene.server_host.run(scene.serve())
        serving = scene.server_host.run(server.serve_forever())
        secure: Any = {"ssl": scene.certificates[1], "server_hostname": "localhost"} if tls else {}
        client_host = scene.network.host("client")
        reader, writer = await client_host.run(utcp.open_connection("server", 9000, **secure))
        await asyncio.sleep(0.1)
        slow: Any = writer.transport
        slow.pause_reading()
        (transport,) = server._clients
        (endpoint,) = scene.server_host.process.endpoints
        transport.write(bytes(octets))
        began = loop.time()
        serving.cancel()
        if resumed is not None:
            await asyncio.sleep(resumed)
            slow.resume_reading()
            assert len(await reader.readexactly(octets)) == octets
        await asyncio.wait([serving])
        assert ended < loop.time() - began < ended + 0.2
        await endpoint.aclose()
        assert loop.time() - began <= CLOSE_TIMEOUT + 0.001
        assert scene.lost == [None]
        writer.transport.abort()

    scene.run(scenario())


@pytest.mark.defect(80)
@tls_or_not
def test_aclose_ends_within_close_timeout(tls: bool) -> None:
    scene = Scene(tls)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        await scene.server_host.run(scene.serve())
        await scene.open_all()
        (endpoint,) = scene.server_host.process.endpoints
        began = loop.time()
        await endpoint.aclose()
        assert CLOSE_TIMEOUT - 0.001 <= loop.time() - began <= CLOSE_TIMEOUT + 0.001
        assert sum(isinstance(exc, FinTimedOut) for exc in scene.lost) == 2

    scene.run(scenario())


@pytest.mark.defect(80)
def test_a_peer_that_has_had_its_second_is_not_waited_for_again() -> None:
    """It has acknowledged our FIN and has not closed: in the second after that, its FIN may be on the way."""
    network = Network(1, conditions=Conditions(latency=0.01))
    near, far = network.host("near"), network.host("far")

    async def closing_after(pause: float) -> float:
        loop = asyncio.get_running_loop()

        async def close() -> Endpoint:
            endpoint = await Endpoint((near.address, 0)).start()
            transport, _ = await endpoint.create_connection(Recorder, far.address, 9000)
            transport.close()
            return endpoint

        endpoint = await near.run(close())
        await asyncio.sleep(pause)
        began = loop.time()
        await endpoint.aclose()
        return loop.time() - began

    async def scenario() -> None:
        await far.run(utcp.create_server(Recorder, "0.0.0.0", 9000))
        assert 0.9 < await closing_after(0.1) < 1.1
        assert await closing_after(2) < 0.01

    network.run(scenario())


def silence(endpoint: Endpoint) -> None:
    """From now on nothing that it sends arrives."""
    link = endpoint.link
    assert isinstance(link, UdpLink)
    link.send = lambda transmits: []  # type: ignore[method-assign]  # a link that loses everything


@pytest.mark.usefixtures("replaceable")
@pytest.mark.defect(73)
async def test_a_second_cancellation_resets_the_clients_at_once() -> None:
    async with Peers(Config(msl=0.05, close_timeout=60)) as peers:
        server = await peers.server.create_server(peers.remember(Recorder))
        _, client = await peers.client.create_connection(Recorder, peers.host, peers.port)
        await until(lambda: peers.accepted)
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        silence(peers.client)
        serving.cancel()
        await asyncio.wait([serving], timeout=0.05)
        assert not serving.done()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await until(lambda: peers.accepted[0].lost and client.lost)
        assert isinstance(peers.accepted[0].lost[0], FinTimedOut)
        assert isinstance(client.lost[0], utcp.ConnectionReset)


SERVER = """
import asyncio, ssl, sys, utcp, uvloop

async def serve(reader, writer):
    if await reader.readline() == b"busy\\n":
        while True:
            writer.write(bytes(100_000))
            await writer.drain()
    await reader.read()

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    config = utcp.Config(close_timeout=2.0)
    async with await utcp.start_server(serve, "127.0.0.1", 0, ssl=context, config=config) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

with asyncio.Runner(loop_factory={"asyncio": None, "uvloop": uvloop.new_event_loop}[sys.argv[1]]) as runner:
    runner.run(main())
"""


@pytest.mark.usefixtures("replaceable")
@pytest.mark.defect(73)
async def test_one_interrupt_ends_a_server_whatever_its_clients_do(tmp_path: Path) -> None:
    """In a process of its own; one client has vanished, one is in its TLS handshake, one is idle and one is busy."""
    loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    pem = tmp_path / "certificate.pem"
    certificate("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    trusting = ssl.create_default_context()
    authority("ours").configure_trust(trusting)
    process = subprocess.Popen(  # noqa: ASYNC220, S603  # our own script
        [sys.executable, "-W", "error", "-c", SERVER, loop, str(pem)],
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        streams = []
        async with Endpoint(("127.0.0.1", 0), config=Config(close_timeout=0.1)) as vanishing:
            _, vanished = await vanishing.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
            vanished.write(b"busy\n")
            await asyncio.sleep(0.1)
            silence(vanishing)
            async with Endpoint(("127.0.0.1", 0), config=Config(close_timeout=0.1)) as endpoint:
                for word, tls in ((b"", False), (b"idle\n", True), (b"busy\n", True)):
                    options: dict[str, Any] = {"ssl": trusting, "server_hostname": "localhost"} if tls else {}
                    reader, writer = await endpoint.open_connection("127.0.0.1", port, **options)
                    writer.write(word)
                    streams.append((reader, writer))
                reading = asyncio.create_task(read_all(streams[-1][0]))
                await asyncio.sleep(0.1)
                process.send_signal(signal.SIGINT)
                # 2 s, and more on a busy machine. The tests above check the bound in virtual time.
                _, complaints = await asyncio.to_thread(process.communicate, timeout=200)
                assert complaints.splitlines()[-1] == "KeyboardInterrupt"
                assert "Warning" not in complaints
                await reading
    finally:
        process.kill()
        process.communicate()


async def read_all(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(1_000_000):
            pass
    except OSError:
        pass


@pytest.mark.usefixtures("replaceable")
@pytest.mark.parametrize("way", ["server", "server, and the peer acknowledges", "peer"])
@tls_or_not
async def test_a_handler_whose_connection_ends_with_the_server_is_no_news(
    way: str, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C of a server: with kernel TCP asyncio cancels the handlers and prints nothing. What a peer does is told."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    failures: list[OSError] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(100_000))
                await writer.drain()
        except OSError as error:
            failures.append(error)
            raise

    async with Peers(Config(msl=0.05, close_timeout=0.05)) as peers:
        server = await peers.server.start_server(serve, ssl=server_context() if tls else None)
        options: dict[str, Any] = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}
        reader, writer = await peers.client.open_connection(peers.host, peers.port, **options)
        serving = asyncio.create_task(server.serve_forever())
        await reader.readexactly(100_000)
        reading = asyncio.create_task(read_all(reader))
        if way == "server":
            silence(peers.client)
        if way == "peer":
            writer.transport.abort()
        else:
            serving.cancel()
        await until(lambda: failures)
        serving.cancel()
        await asyncio.wait([serving, reading])
    (failure,) = failures
    if way == "peer":
        assert [context["exception"] for context in complaints] == [failure]
    else:
        assert isinstance(failure, (FinTimedOut, ConnectionResetError))
        assert complaints == []
        assert "socket.send() raised exception." not in caplog.messages
