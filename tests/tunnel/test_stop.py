"""SIGTERM and SIGINT: what is under way may end, within bounds."""

import signal
import socket
import subprocess
import sys

import pytest

from tests.forking import ROOT
from tests.tunnel.processes import LOCAL, PATIENCE, reverse, tunnel
from tests.tunnel.test_restart import drain, get, open_user
from tests.tunnel.web import web


@pytest.mark.parametrize(
    ("way", "stopped", "number"),
    [
        ("forward", "near", signal.SIGTERM),
        ("forward", "far", signal.SIGINT),
        ("reverse", "near", signal.SIGINT),
        ("reverse", "far", signal.SIGTERM),
    ],
)
def test_a_transfer_under_way_is_finished(way: str, stopped: str, number: signal.Signals) -> None:
    make = tunnel if way == "forward" else reverse
    with web() as service, make(service.port, "-v") as (near, far, port):
        with open_user(port) as user:
            process = near if stopped == "near" else far
            process.send_signal(number)
            process.wait_for("stopping: 1 connections have 10 seconds to end")
            if stopped == "near":
                with pytest.raises(ConnectionRefusedError):
                    get(port)
            received = b""
            while data := user.recv(65536):
                received += data
            assert received.endswith(service.body(1_000_000)[-1000:])
        assert process.wait() == 0
        assert process.lines[-1] == "stopped"


def test_what_does_not_end_in_time_is_reset() -> None:
    with web(gathering=2) as service, tunnel(service.port, "--grace", "0.3", "-v") as (near, far, port):
        with socket.create_connection((LOCAL, port), timeout=PATIENCE) as user:
            user.sendall(b"GET /together/1000 HTTP/1.1\r\n\r\n")
            far.wait_for("joined")
            assert far.end() == 0
            with pytest.raises(ConnectionResetError):
                drain(user)
        assert "resetting 1 connections" in far.lines
        assert far.lines[-1] == "stopped"
        assert near.end() == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with (
        web(gathering=2) as service,
        tunnel(service.port, "--grace", "1000") as (near, _, port),
        socket.create_connection((LOCAL, port), timeout=PATIENCE) as user,
    ):
        user.sendall(b"GET /together/1000 HTTP/1.1\r\n\r\n")
        near.send_signal(signal.SIGINT)
        near.wait_for("stopping: 1 connections have 1000 seconds to end")
        near.send_signal(signal.SIGINT)
        assert near.wait() == 0
        with pytest.raises(ConnectionResetError):
            drain(user)


SLOW_START = """
import asyncio
from utcp.tunnel.end import End
from utcp.tunnel.options import Options

class Slow(End):
    carrier = None

    async def _open(self):
        print("resolving", flush=True)
        await asyncio.Event().wait()

asyncio.run(Slow(Options()).run(10))
"""


def test_a_start_that_takes_long_can_be_stopped() -> None:
    """Nothing is open yet that would need an orderly end."""
    command = [sys.executable, "-c", SLOW_START]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "resolving\n"
            process.terminate()
            assert process.wait(PATIENCE) == -signal.SIGTERM
        finally:
            process.kill()


def test_an_idle_tunnel_stops_without_delay() -> None:
    with web() as service, reverse(service.port, "--grace", "1000") as (near, far, port):
        assert get(port) == 1000
        assert near.end() == 0
        assert near.lines[-1] == "stopped"
        far.wait_for("trying again")
        assert far.end() == 0
        assert far.lines[-1] == "stopped"
