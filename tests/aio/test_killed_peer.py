"""Processes that end, by SIGKILL or by themselves: what their peers on the same host notice, and how soon."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

import utcp
from tests.aio.peers import until
from tests.link.sockets import needs_linux
from utcp.aio import local_peers
from utcp.aio.endpoint import Endpoint
from utcp.aio.local_peers import LocalPeers
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.registry import LoopEndpoints

pytestmark = [needs_linux, pytest.mark.defect(100)]

SERVER = """
import asyncio, utcp

async def hold(reader, writer):
    writer.write(await reader.readexactly(1))
    await asyncio.Event().wait()

async def main():
    server = await utcp.start_server(hold, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

utcp.run(main())
"""


def test_clients_know_whether_they_only_read_or_have_written() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603

        async def main() -> list[float]:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            config = utcp.Config(keepalive=False)
            streams = [await utcp.open_connection("127.0.0.1", port, config=config) for _ in range(2)]
            for reader, writer in streams:
                writer.write(b"?")
                assert await reader.readexactly(1) == b"?"
            await until(lambda: not any(writer.get_extra_info("utcp").unacked for _, writer in streams))
            process.kill()
            process.wait()
            killed = time.monotonic()
            streams[0][1].write(b"a request")  # the other one only reads

            async def until_reset(reader: asyncio.StreamReader) -> float:
                with pytest.raises(ConnectionResetError, match="UDP port is closed"):
                    await reader.read()
                return time.monotonic() - killed

            async with asyncio.timeout(60):
                return await asyncio.gather(*(until_reset(reader) for reader, _ in streams))

        after_writing, reading = utcp.run(main(), loop_factory=uvloop.new_event_loop)
        # Less than 2 unless the machine is busy. Retransmissions would take many minutes.
        assert after_writing > 1.0
        assert reading > 0.9


CLIENT = """
import asyncio, sys, utcp

async def say(port):
    _, writer = await utcp.open_connection("127.0.0.1", port)
    writer.write(b"all there is")
    writer.close()
    await writer.wait_closed()

async def main():
    await asyncio.gather(*(say(int(sys.argv[1])) for _ in range(int(sys.argv[2]))))

utcp.run(main())
"""


@pytest.mark.defect(102)
@pytest.mark.parametrize("number", [1, 100])
def test_server_that_closes_after_its_client_has_gone_has_no_error(number: int) -> None:
    """The FINs of many connections leave as a few datagrams, each of which gets one ICMP message."""

    async def main() -> list[bytes | OSError]:
        outcomes: asyncio.Queue[bytes | OSError] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                data = await reader.read()
                await process.wait()
                writer.close()
                await writer.wait_closed()
                outcomes.put_nowait(data)
            except OSError as error:
                outcomes.put_nowait(error)

        server = await utcp.start_server(serve, "127.0.0.1", 0)
        port = str(server.sockets[0].getsockname()[1])
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, port, str(number))
        async with asyncio.timeout(60):  # retransmissions of the FIN would end after 112 s
            return [await outcomes.get() for _ in range(number)]

    assert utcp.run(main()) == [b"all there is"] * number


def close_sockets(host: str, port: int, number: int) -> None:
    """As any other process on this host may."""
    for _ in range(number):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host, port))


class Watched:
    """A connection to a server in another process, and the scans that reports of closed sockets bring about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scans = 0
        self.endpoints: LoopEndpoints
        self.peers: LocalPeers
        self.port = 0
        real = local_peers._probe

        def probe(endpoint: OpenEndpoint, peers: Any) -> Any:
            self.scans += 1
            return real(endpoint, peers)

        monkeypatch.setattr(local_peers, "_probe", probe)

    @contextlib.asynccontextmanager
    async def connected(self) -> Any:
        with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220, S603
            assert process.stdout is not None
            self.port = int(process.stdout.readline())
            _, writer = await utcp.open_connection("127.0.0.1", self.port)
            self.endpoints = LoopEndpoints.of_running_loop()
            self.peers = self.endpoints._local_peers
            try:
                if self.peers._closings is None:
                    pytest.skip("this kernel reports no closed sockets")
                yield process
            finally:
                writer.transport.abort()
                process.kill()


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.1"])
async def test_sockets_closed_in_a_loop_cause_few_scans(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """None if they had another address than the peer."""
    watched = Watched(monkeypatch)
    async with watched.connected():
        own = host == "127.0.0.1"
        monkeypatch.setattr(local_peers, "SCAN_INTERVAL", 1.0)  # longer than a busy machine takes for the reports
        if own:  # a report that cannot be had without the death of the peer
            reports: Any = SimpleNamespace(read=lambda: {(host, watched.port)})
            for _ in range(50):
                watched.peers._sockets_closed(reports)
            assert watched.scans == 1
        else:
            for _ in range(50):
                close_sockets(host, watched.port, 1)
                await asyncio.sleep(0.001)
        await until(lambda: watched.scans == 2 * own)  # those that came too soon have one scan together
        await asyncio.sleep(0.3)
        assert watched.scans == 2 * own


async def test_error_in_one_endpoint_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    watched = Watched(monkeypatch)
    async with watched.connected(), Endpoint(("127.0.0.1", 0)):
        real, calls = local_peers._probe, 0

        def broken(endpoint: OpenEndpoint, peers: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ValueError("broken")
            return real(endpoint, peers)

        monkeypatch.setattr(local_peers, "_probe", broken)
        watched.peers._closed = {("127.0.0.1", watched.port)}
        watched.peers._scan()
        assert calls == 2
        assert [str(error) for error in complaints] == ["broken"]
        assert watched.port in watched.peers._watched


async def test_nothing_is_watched_once_the_peer_has_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    async with Endpoint(("127.0.0.1", 0)), watched.connected() as process:
        process.kill()
        process.wait()
        await asyncio.sleep(0.05)
        assert watched.peers._closings is not None  # the connection is being probed
        for endpoint in watched.endpoints:
            endpoint.close_now()
        async with Endpoint(("127.0.0.1", 0)):
            watched.peers._closed = {("127.0.0.1", watched.port)}
            watched.peers._scan()
            assert watched.peers._closings is None
