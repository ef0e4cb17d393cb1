"""The examples for aiohttp, Starlette and httpx, run as a user runs them."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.examples.test_examples import ROOT, SLOW_CALLBACK, complaint, outcome, run, start

pytest.importorskip("aiohttp", reason="aiohttp comes with the extra 'integrations'")
pytest.importorskip("httpx", reason="httpx comes with the extra 'integrations'")
pytest.importorskip("starlette", reason="starlette comes with the extra 'integrations'")
pytest.importorskip("uvicorn", reason="uvicorn comes with the extra 'integrations'")


@contextmanager
def aiohttp_server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start("aiohttp_server.py", "--port", "0")
    try:
        assert process.stdout is not None
        serving = re.fullmatch(r"serving http\+utcp://127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        assert serving is not None
        yield process, serving[1]
    finally:
        process.kill()
        process.communicate()


@contextmanager
def starlette_app() -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """The process, its port, and the log lines so far."""
    process = start("starlette_app.py", "--port", "0")
    try:
        assert process.stderr is not None
        log = [process.stderr.readline()]
        while log[-1] and "Uvicorn running" not in log[-1]:
            log.append(process.stderr.readline())
        running = re.search(r"http\+utcp://127\.0\.0\.1:(\d+) \(Press CTRL\+C to quit\)", log[-1])
        assert running is not None, log
        # uvicorn imports the application in the running loop, which asyncio's debug mode finds slow.
        yield process, running[1], [line for line in log if not SLOW_CALLBACK.fullmatch(line)]
    finally:
        process.kill()
        process.communicate()


def test_aiohttp_between_two_processes() -> None:
    with aiohttp_server() as (server, port):
        for _ in range(2):
            assert run("aiohttp_client.py", "--url", f"http://127.0.0.1:{port}") == (
                "200 hello 127.0.0.1\n"
                '200 """An aiohttp server over utcp: a page, a file, and a WebSocket that says everything back.'
                " Until Ctrl-C or SIGTERM.\n"
                "heard goodbye\n"
            )
        server.send_signal(signal.SIGINT)
        assert outcome(server) == (0, "stopped\n", "")


def test_the_aiohttp_server_needs_a_free_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        status, out, err = outcome(start("aiohttp_server.py", "--port", str(taken.getsockname()[1])))
    assert (status, out) == (1, "")
    assert re.fullmatch(r"aiohttp_server: .*address already in use\n", err)


def test_the_clients_say_when_nobody_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        clients = [start(example, "--url", url) for example in ("aiohttp_client.py", "httpx_client.py")]
        assert outcome(clients[0]) == (1, "", f"aiohttp_client: Connection timeout to host {url}/\n")
        assert outcome(clients[1]) == (1, "", "httpx_client: no answer\n")


@pytest.mark.parametrize("url", ["http://127.0.0.1:65536", "http://127.0.0.1:http", "http://[::1", "127.0.0.1:8080"])
@pytest.mark.parametrize("example", ["aiohttp_client.py", "httpx_client.py"])
def test_what_is_no_url(example: str, url: str) -> None:
    assert complaint(example, "--url", url)[0] == 1


@pytest.mark.parametrize("example", ["aiohttp_server.py", "starlette_app.py"])
def test_what_is_no_port(example: str) -> None:
    status, out, err = outcome(start(example, "--port", "65536"))
    assert (status, out) == (1, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1] == f"{example.removesuffix('.py')}: port must be 0-65535."


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_starlette_and_httpx_between_two_processes(sent: signal.Signals, status: int) -> None:
    """Stopped by a signal, uvicorn says goodbye, and then the signal does what it does to any program."""
    with starlette_app() as (server, port, log):
        lines = run("httpx_client.py", "--url", f"http://127.0.0.1:{port}").splitlines()
        answers, ports = zip(*(line.split(", over utcp port ") for line in lines), strict=True)
        assert answers == tuple(str({"number": number, "square": number * number}) for number in (3, 4, 5))
        assert len(set(ports)) == 1
        server.send_signal(sent)
        ended, out, err = outcome(server)
    assert ended == status
    assert out.count('"GET /square/3 HTTP/1.1" 200') == 1
    assert [line.split(":", 1)[1].strip() for line in log[1:3] + err.splitlines()] == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Shutting down",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        f"Finished server process [{server.pid}]",
    ]


def test_the_example_of_a_test_under_loss() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "pytest_aioutcp", "-p", "no:cacheprovider", "-q"]
    result = subprocess.run(  # noqa: S603  # our own command line
        [*command, "examples/test_under_loss.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout
