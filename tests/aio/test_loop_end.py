"""The end of the loop, and of the process: no byte is lost, nothing is left, and nothing waits without need."""

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

import utcp
from tests.aio.peers import FAST, Polite, Recorder, started, until
from utcp import Config, Endpoint
from utcp.aio import loop_end
from utcp.link.path import SocketAddress
from utcp.link.platform import Platform
from utcp.tcp.connection import Connection

MEBIBYTE = 1 << 20

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

SENDER = """
import asyncio, sys, utcp, uvloop

async def main():
    reader, writer = await utcp.open_connection("127.0.0.1", int(sys.argv[1]))
    writer.write(bytes(range(256)) * 4096)
    {end}

with asyncio.Runner(loop_factory={{"asyncio": None, "uvloop": uvloop.new_event_loop}}[sys.argv[2]]) as runner:
    runner.run(main())
"""

ENDS = {
    "close and wait_closed": "writer.close(); await writer.wait_closed()",
    "close": "writer.close()",
    "nothing": "await asyncio.sleep(0); kept.append(writer)",
    "close and abort": "writer.close(); writer.transport.abort()",
}


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Any:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as started:
        yield started


@pytest.mark.parametrize("end", ENDS)
async def test_a_process_that_exits_delivers_every_byte(end: str) -> None:
    loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    outcome: asyncio.Future[bytes | OSError] = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            outcome.set_result(await reader.read())
        except OSError as error:
            outcome.set_result(error)
        writer.close()
        await writer.wait_closed()

    async with await utcp.start_server(take, "127.0.0.1", 0, config=FAST) as server:
        port = server.sockets[0].getsockname()[1]
        script = "kept = []\n" + SENDER.format(end=ENDS[end])
        process = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "-c", script, str(port), loop],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert (process.returncode, process.stderr) == (0, "")
        assert await outcome == bytes(range(256)) * 4096


BARE = """
import asyncio, sys, utcp, uvloop

async def main():
    reader, writer = await utcp.open_connection("127.0.0.1", int(sys.argv[1]))
    writer.write(bytes(range(256)) * 4096)
    return writer

loop = {{"asyncio": asyncio, "uvloop": uvloop}}[sys.argv[2]].new_event_loop()
writer = loop.run_until_complete(main())
{end}
"""


@pytest.mark.defect(74)
@pytest.mark.parametrize("end", ["loop.close()", "pass", "sys.exit(0)"])
async def test_a_process_without_a_runner_delivers_every_byte(end: str) -> None:
    """Whether it closes the loop itself, or leaves that to the end of the process."""
    loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read())
        writer.close()

    async with await utcp.start_server(take, "127.0.0.1", 0, config=FAST) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.to_thread(
            subprocess.run,
            [
                sys.executable,
                "-W",
                "error" if "close" in end else "ignore",
                "-c",
                BARE.format(end=end),
                str(port),
                loop,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert (process.returncode, process.stderr) == (0, "")
        assert await received == bytes(range(256)) * 4096


async def open_pair() -> tuple[Recorder, list[Recorder]]:
    """A client that has written more than its peer, which does not read, takes."""
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    server = await utcp.create_server(accept, "127.0.0.1", 0, config=FAST)
    transport, client = await utcp.create_connection(Recorder, *server.sockets[0].getsockname(), config=FAST)
    await until(lambda: accepted)
    assert accepted[0].transport is not None
    accepted[0].transport.pause_reading()
    transport.write(bytes(20 * MEBIBYTE))
    return client, accepted


@pytest.mark.defect(74)
@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS.keys())
def test_closing_a_loop_tells_its_protocols_and_leaves_nothing(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    loop = make()
    before = descriptors()
    client, accepted = loop.run_until_complete(open_pair())
    endpoints = Platform.of(loop).endpoints
    began = time.monotonic()
    loop.close()
    assert time.monotonic() - began < 5
    assert loop.is_closed()
    assert client.lost
    assert accepted[0].lost
    assert descriptors() <= before
    loop.close()
    endpoints._end.end()  # as at the end of the process


@pytest.mark.defect(74)
@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS.keys())
def test_a_loop_that_cannot_deliver_says_what_to_await(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    loop = make()
    loop.run_until_complete(open_pair())
    endpoints = list(Platform.of(loop).endpoints)

    async def close_it() -> None:
        loop.close()

    with pytest.warns(ResourceWarning, match=r"reset 2 utcp connections.* await writer\.wait_closed\(\)"):
        asyncio.run(close_it())
    assert loop.is_closed()
    assert len(endpoints) == 2
    assert all(endpoint.closed for endpoint in endpoints)


def test_a_forked_process_leaves_its_parents_connections_alone(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(open_pair())
    endpoints = Platform.of(runner.get_loop()).endpoints
    with monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: -1)
        endpoints._end.end()
    assert len(list(endpoints)) == 2


def test_a_loop_closes_by_itself_again_once_its_endpoints_are_closed(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    runner.run(open_pair())
    assert "close" in vars(loop)
    runner.run(loop.shutdown_asyncgens())
    assert "close" not in vars(loop)


@pytest.mark.defect(74)
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_close_that_somebody_else_gave_the_loop_stays(runner: asyncio.Runner, when: str) -> None:
    loop = runner.get_loop()
    closed: list[str] = []

    def replace() -> None:
        others = loop.close

        def close() -> None:
            closed.append("closed")
            others()

        loop.close = close  # type: ignore[method-assign]

    if when == "before":
        replace()
    runner.run(open_pair())
    if when == "after":
        replace()
    runner.run(loop.shutdown_asyncgens())
    runner.close()
    assert closed == ["closed"]
    assert loop.is_closed()


INTERRUPTED = """
import asyncio, os, sys, utcp, uvloop

async def main():
    reader, writer = await utcp.open_connection("127.0.0.1", int(sys.argv[1]))
    writer.write(bytes(20 << 20))
    assert os.path.exists(os.environ["UTCP_CONTROL"])
    return writer

def interrupt():
    raise KeyboardInterrupt

loop = {"asyncio": asyncio, "uvloop": uvloop}[sys.argv[2]].new_event_loop()
writer = loop.run_until_complete(main())
loop.call_later(0.1, interrupt)
try:
    loop.close()
except KeyboardInterrupt:
    print(loop.is_closed(), os.path.exists(os.environ["UTCP_CONTROL"]))
"""


@pytest.mark.defect(74)
async def test_an_interrupted_end_resets_what_is_not_delivered(tmp_path: Path) -> None:
    """Ctrl-C, while the loop's end waits for a peer that does not read. The control socket goes as well."""
    loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    class Unwilling(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.pause_reading()

        def connection_lost(self, exc: BaseException | None) -> None:
            lost.set_result(exc)

    async with await utcp.create_server(Unwilling, "127.0.0.1", 0, config=FAST) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", INTERRUPTED, str(port), loop],
            env={**os.environ, "UTCP_CONTROL": f"{tmp_path}/program.sock"},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert (process.returncode, process.stdout) == (0, "True False\n"), process.stderr
        async with asyncio.timeout(60):
            assert isinstance(await lost, ConnectionResetError)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def connections_in_memory() -> int:
    gc.collect()
    return sum(isinstance(item, Connection) for item in gc.get_objects())


def test_nothing_is_left_of_a_loop(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    before = descriptors(), connections_in_memory()

    async def main() -> None:
        server = await utcp.create_server(Polite, "127.0.0.1", 0)
        name = server.sockets[0].getsockname()
        for _ in range(10):
            await utcp.create_connection(Recorder, *name)
        lingering = await utcp.create_server(Polite, "127.0.0.1", 0)
        lingering.close()
        assert descriptors() > before[0]

    runner.run(main())
    runner.run(loop.shutdown_asyncgens())
    assert (descriptors(), connections_in_memory()) == before
    assert Platform.of(loop).endpoints is None
    assert not asyncio.all_tasks(loop)


def test_connections_left_open_are_closed_and_told_so(runner: asyncio.Runner) -> None:
    async def main() -> tuple[Recorder, list[Polite]]:
        accepted: list[Polite] = []

        def accept() -> Polite:
            accepted.append(Polite())
            return accepted[-1]

        server = await utcp.create_server(accept, "127.0.0.1", 0)
        transport, client = await utcp.create_connection(Recorder, *server.sockets[0].getsockname())
        transport.write(b"x" * MEBIBYTE)
        # Both sides are about to close at once, and what then arrives is reset.
        await until(lambda: accepted and len(accepted[0].received) == MEBIBYTE)
        return client, accepted

    client, accepted = runner.run(main())
    runner.close()
    assert client.lost == [None]
    assert accepted[0].lost == [None]


def test_the_end_does_not_wait_for_time_wait(runner: asyncio.Runner) -> None:
    async def main() -> None:
        server = await utcp.create_server(Polite, "127.0.0.1", 0)
        transport, client = await utcp.create_connection(Recorder, *server.sockets[0].getsockname())
        transport.close()
        await until(lambda: client.lost)
        server.close()
        shared = [each for each in started() if len(each.stack.time_wait)]
        assert len(shared) == 1
        await until(lambda: not any(each.stack.connections for each in shared))

    runner.run(main())
    began = time.monotonic()
    runner.close()
    assert time.monotonic() - began < Config().close_timeout


def test_a_second_run_on_the_same_loop_finds_its_endpoints(runner: asyncio.Runner) -> None:
    async def connect(name: SocketAddress) -> tuple[str, int]:
        transport, _ = await utcp.create_connection(Recorder, *name)
        transport.close()
        address: tuple[str, int] = transport.get_extra_info("udp_sockname")
        return address

    async def serve() -> utcp.Server:
        return await utcp.create_server(Polite, "127.0.0.1", 0)

    server = runner.run(serve())
    name = server.sockets[0].getsockname()
    assert runner.run(connect(name)) == runner.run(connect(name))


def test_an_endpoint_that_was_forgotten_is_closed(runner: asyncio.Runner) -> None:
    async def main() -> Endpoint:
        return await Endpoint(("127.0.0.1", 0)).start()

    endpoint = runner.run(main())
    runner.close()
    assert endpoint.link.fileno() == -1


def test_an_end_that_fails_keeps_no_other_loop_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []

    class Endpoints:
        def __init__(self, number: int) -> None:
            self.number = number

        def end(self) -> None:
            ended.append(self.number)
            raise ValueError(self.number)

    monkeypatch.setattr(loop_end, "_unclosed", [Endpoints(1), Endpoints(2)])
    with pytest.raises(ValueError, match=r"[12]"):
        loop_end._end_all()
    assert sorted(ended) == [1, 2]
