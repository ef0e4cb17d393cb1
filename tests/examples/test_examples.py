"""The examples, run as a user runs them: processes of their own, whose output says what the docstrings promise."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

import utcp

ROOT = Path(__file__).parents[2]
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SLOW_CALLBACK = re.compile(r"^Executing <.*> took \d\.\d{3} seconds\n", re.MULTILINE)
"""What asyncio's debug mode says of a busy machine."""
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def start(example: str, *arguments: str, new_group: bool = False) -> subprocess.Popen[str]:
    # A connection, task or descriptor left behind is reported on stderr, and so is a callback that blocks the loop.
    return subprocess.Popen(  # noqa: S603  # our own command line
        [sys.executable, "-X", "dev", "-W", "error", "-u", f"examples/{example}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_group,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, stdout, stderr of a process, once it has ended."""
    try:
        out, err = process.communicate(timeout=200)
    finally:
        process.kill()
    return process.returncode, out, re.sub(SLOW_CALLBACK, "", err)


def run(example: str, *arguments: str) -> str:
    """What the example prints; it must end well and have nothing to say on stderr."""
    status, out, err = outcome(start(example, *arguments))
    assert err == ""
    assert status == 0
    return out


@contextmanager
def echo_server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The echo server on a port of the system's choice, and that port."""
    process = start("echo_server.py", "--port", "0")
    try:
        assert process.stdout is not None
        listening = re.fullmatch(r"listening on 127\.0\.0\.1 port (\d+)\n", process.stdout.readline())
        assert listening is not None
        yield process, listening[1]
    finally:
        process.kill()
        process.communicate()


def test_echo_between_two_processes() -> None:
    with echo_server() as (server, port):
        assert run("echo_client.py", "--port", port, "one", "two words") == (
            "said 'one', heard 'one'\nsaid 'two words', heard 'two words'\nclosed\n"
        )
        assert run("echo_client.py", "--port", port) == (
            "said 'hello', heard 'hello'\nsaid 'and goodbye', heard 'and goodbye'\nclosed\n"
        )
        server.send_signal(signal.SIGINT)
        status, out, err = outcome(server)
    assert err == ""
    assert status == 0
    assert re.fullmatch(
        r"127\.0\.0\.1 port \d+: 14 bytes echoed, closed\n"
        r"127\.0\.0\.1 port \d+: 18 bytes echoed, closed\n"
        r"stopped\n",
        out,
    )


def test_the_echo_server_needs_a_free_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        status, out, err = outcome(start("echo_server.py", "--port", str(taken.getsockname()[1])))
    assert status == 1
    assert out == ""
    assert re.fullmatch(r"echo_server: .*address already in use\n", err)


async def test_the_echo_client_says_when_it_is_refused() -> None:
    async with utcp.Endpoint(("127.0.0.1", 0)) as nobody_listens:
        port = nobody_listens.address[1]
        status, out, err = await asyncio.to_thread(lambda: outcome(start("echo_client.py", "--port", str(port))))
    assert status == 1
    assert out == ""
    assert re.fullmatch(r"echo_client: \[Errno 111\] .+\n", err)
    assert str(port) in err


def test_the_echo_client_says_when_nobody_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        status, out, err = outcome(start("echo_client.py", "--port", port))
    assert status == 1
    assert out == ""
    assert err == f"echo_client: no answer from 127.0.0.1 port {port}\n"


def test_half_close() -> None:
    lines = [line.split(maxsplit=2) for line in run("half_close.py").splitlines()]
    # Whether the server's first line comes before or after it has heard of the FIN is the network's choice.
    client = [(state, what) for who, state, what in lines if who == "client"]
    server = [what for who, _, what in lines if who == "server"]
    assert client == [
        ("ESTABLISHED", "asks, and sends its FIN"),
        ("FIN_WAIT_2", "hears 'the first'"),
        ("FIN_WAIT_2", "hears 'the last'"),
        ("TIME_WAIT", "sees the server's FIN"),
    ]
    assert server == [
        "is asked 'what else?'",
        "sees the client's FIN, and has two things left to say",
        "closes",
    ]
    assert ["server", "CLOSE_WAIT", server[1]] in lines


def test_many_closes() -> None:
    # Read as text, the carriage returns of the progress line are line ends.
    lines = run("many_closes.py", "600").splitlines()
    assert lines[:2] == ["500 of 600 open", "600 of 600 open"]
    milliseconds, *states = lines[2].split()
    assert milliseconds == "ms"
    rows = [dict(zip(states, map(int, line.split()[1:]), strict=True)) for line in lines[3:]]
    # State moves at the call: in the first moment every client is in FIN_WAIT_1, and no server has heard of it.
    assert rows[0]["FIN_WAIT_1"] == 600
    assert rows[0]["CLOSE_WAIT"] == rows[0]["LAST_ACK"] == rows[0]["TIME_WAIT"] == 0
    # TIME_WAIT is the lot of the side that closed first, and of each of its connections.
    assert rows[-1] == dict.fromkeys(states, 0) | {"TIME_WAIT": 600}


@contextmanager
def echo_workers(count: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Workers that all serve, in a process group of their own, and their port."""
    process = start("workers.py", "--port", "0", "--workers", str(count), new_group=True)
    try:
        assert process.stdout is not None
        listening = re.fullmatch(r"listening on 127\.0\.0\.1 port (\d+)\n", process.stdout.readline())
        assert listening is not None
        heard = "".join(process.stdout.readline() for _ in range(count))  # the lines of processes may run together
        assert sorted(re.findall(r"worker \d serves", heard)) == [f"worker {number} serves" for number in range(count)]
        yield process, int(listening[1])
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The worker processes that it has started, oldest first."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def echoes(streams: Streams) -> bool:
    """Whether the connection carries a line there and back; False when it has been reset."""
    reader, writer = streams
    try:
        writer.write(b"hello\n")
        return await reader.readline() == b"hello\n"
    except ConnectionResetError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, and how datagrams are dealt out, are Linux's")
async def test_the_death_of_a_worker_ends_its_connections_and_no_others() -> None:
    with echo_workers(3) as (process, port):
        assert process.stdout is not None
        async with asyncio.timeout(60), AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(utcp.Endpoint(("127.0.0.1", 0))) for _ in range(32)]
            streams = [[await client.open_connection("127.0.0.1", port) for _ in range(3)] for client in clients]
            assert all([await echoes(each) for several in streams for each in several])

            workers = workers_of(process)
            assert len(workers) == 3
            os.kill(workers[0], signal.SIGSTOP)
            tasks = [asyncio.create_task(echoes(several[0])) for several in streams]
            served_by_others = [task.done() for task in tasks if await asyncio.wait([task], timeout=0.1)]
            assert 0 < sum(served_by_others) < 32

            os.kill(workers[0], signal.SIGKILL)  # the one whose place the kernel would give to another
            assert await asyncio.to_thread(process.stdout.readline) == "worker 0 serves\n"
            assert workers_of(process)[:2] == workers[1:]
            assert await asyncio.gather(*tasks) == served_by_others
            alive = [[await echoes(each) for each in several] for several in streams]
            assert alive == [[served] * 3 for served in served_by_others]  # all of a client's met one worker
            streams.append([await client.open_connection("127.0.0.1", port) for client in clients])
            assert all([await echoes(each) for each in streams[-1]])
            for several in streams:
                for _, writer in several:
                    writer.close()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(outcome, process) == (0, "stopped\n", "")


def test_workers_stop_at_ctrl_c() -> None:
    with echo_workers(2) as (process, _):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
        assert outcome(process) == (0, "stopped\n", "")


def test_workers_do_not_outlive_the_process_that_started_them() -> None:
    with echo_workers(2) as (process, _):
        process.kill()
        try:
            out, err = process.communicate(timeout=200)  # read to the end: nobody has the pipes any more
            assert (out, SLOW_CALLBACK.sub("", err)) == ("", "")
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # as it should be


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_stay_short(example: str) -> None:
    assert len((ROOT / "examples" / example).read_text().splitlines()) < 100


LIBRARIES = ("aiohttp", "anyio", "asyncssh", "httpx", "prometheus_client", "starlette", "uvicorn", "websockets")

WITHOUT = """
import runpy, sys
sys.modules.update(dict.fromkeys({libraries}))
runpy.run_path("examples/{example}", run_name="__main__")
"""


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_command_that_installs_a_missing_library_is_named(example: str) -> None:
    """In the example's docstring, and at the end of the error without the library."""
    source = (ROOT / "examples" / example).read_text()
    required = re.search(r"^Requires (pip install 'aioutcp\[\w+\]')", source, re.MULTILINE)
    assert (required is not None) == any(f"import {name}" in source or f"from {name}" in source for name in LIBRARIES)
    if required is not None:
        process = subprocess.run(  # noqa: S603  # our own interpreter and script
            [sys.executable, "-c", WITHOUT.format(libraries=LIBRARIES, example=example)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert process.returncode == 1
        assert process.stderr.rstrip().endswith(f": {required[1]}")


CLIENTS = ["echo_client.py"]
SERVERS = ["echo_server.py", "workers.py"]


def complaint(example: str, *arguments: str) -> tuple[int, str]:
    """The exit status and the one line on stderr of an example that cannot do what it is told."""
    status, out, err = outcome(start(example, *arguments))
    assert out == ""
    name = example.removesuffix(".py")
    lines = [line for line in err.splitlines() if not line.startswith(("usage: ", "  "))]
    assert len(lines) == 1, err
    assert lines[0].startswith((f"{name}: ", f"{name}.py: error: "))
    return status, lines[0]


@pytest.mark.parametrize("example", [*CLIENTS, *SERVERS])
@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_that_cannot_exist(example: str, port: str) -> None:
    status, said = complaint(example, "--port", port)
    assert status == 1
    assert "port must be 0-65535" in said


@pytest.mark.parametrize("example", [*CLIENTS, *SERVERS])
def test_a_host_that_cannot_exist(example: str) -> None:
    assert complaint(example, "--host", "\u00e4..example")[0] == 1


@pytest.mark.parametrize("count", ["0", "-1", "28233"])
def test_a_number_of_closes_that_is_not_possible(count: str) -> None:
    status, said = complaint("many_closes.py", count)
    assert status == 2
    assert f"must be 1 to 28232, not {count}" in said


def test_workers_that_are_started_twice() -> None:
    with echo_workers(1) as (process, port):
        status, said = complaint("workers.py", "--port", str(port))
        assert status == 1
        assert "Address already in use" in said
        process.send_signal(signal.SIGTERM)
        assert outcome(process) == (0, "stopped\n", "")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_workers_on_ipv6() -> None:
    process = start("workers.py", "--port", "0", "--host", "::1", "--workers", "1")
    try:
        assert process.stdout is not None
        assert re.fullmatch(r"listening on ::1 port \d+\n", process.stdout.readline())
        assert process.stdout.readline() == "worker 0 serves\n"
        process.send_signal(signal.SIGTERM)
        assert outcome(process) == (0, "stopped\n", "")
    finally:
        process.kill()
