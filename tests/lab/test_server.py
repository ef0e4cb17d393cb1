"""`utcp lab`: a server for this machine only, a file without a server, captures."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from utcp.cli import main
from utcp.lab.captured import captured
from utcp.lab.server import bind
from utcp.scenes import load
from utcp.trace.capture_file import read_capture
from utcp.trace.connections import find_connections
from utcp.trace.ladder.from_capture import rungs_from_capture
from utcp.trace.pcapng import Capture
from utcp.wire import encode

COMMAND = [sys.executable, "-m", "utcp", "lab", "--no-open"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:  # noqa: S603
        assert server.stdout is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", server.stdout.readline())
        assert found is not None
        try:
            yield int(found[1])
        finally:
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=60)
            assert errors == ""
            assert server.returncode == 130


def get(port: int, target: str, method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
    """The status, the body and the policy of a response."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, target, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), response.getheader("content-security-policy") or ""


def test_it_answers_this_machine_until_ctrl_c(port: int) -> None:
    status, body, policy = get(port, "/")
    assert status == 200
    assert "default-src 'none'" in policy
    assert body.startswith(b"<!DOCTYPE html>")
    run = json.loads(get(port, "/api/run?address=four-way%3Flose%3D1", Host=f"localhost:{port}")[1])
    assert run["parts"] == ["lose=1"]
    assert get(port, "/", Host="localhost")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "localhost@evil.example"])
def test_it_refuses_other_names_and_methods(port: int, host: str) -> None:
    assert get(port, "/api/run?address=four-way", Host=host)[0] == 400
    assert get(port, "/", "POST")[0] == 405


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: evil.example\r\n"])
def test_it_refuses_a_request_without_one_host(port: int, hosts: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n" + hosts + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_port_in_use_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with bind() as taken:
        port = taken.getsockname()[1]
        assert main(["lab", "--no-open", "--port", str(port)]) == 1
    assert capsys.readouterr().err == f"utcp lab: port {port}: another program uses it\n"


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["lab", "--no-open"]) == 1
    assert "uvicorn is not installed: pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["five-way"], "No scene is called 'five-way'"),
        (["four-way?lose=x"], "'lose=x' does not name a packet"),
        (["missing.pcapng"], "missing.pcapng: No such file or directory"),
        (["--list"], "--list is for a FILE"),
        (["--port", "70000"], "is not a port"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "--no-open", *arguments]) in (1, 2)
    assert said in capsys.readouterr().err


def data(page: Path) -> dict[str, object]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    shown: dict[str, object] = json.loads(found[1])
    return shown


def test_a_file_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setattr(socket, "socket", None)
    page = tmp_path / "lab.html"
    assert main(["lab", "lost-last-ack?lose=8", "--html", str(page)]) == 0
    assert data(page)["address"] == "lost-last-ack?lose=8"
    assert main(["lab", "--html", str(page)]) == 0
    assert data(page)["address"] == "four-way"


def test_a_capture_by_utcp_has_its_states(tmp_path: Path) -> None:
    capture, page = tmp_path / "scene.pcapng", tmp_path / "lab.html"
    capture.write_bytes(load("lost-last-ack").play().capture)
    assert main(["lab", str(capture), "--html", str(page)]) == 0
    shown = data(page)
    assert shown["experiments"] is False
    run = shown["en"]["run"]  # type: ignore[index]
    assert [run["origin"], run["inferred"], run["title"]] == ["capture", False, "scene.pcapng"]
    scene = load("lost-last-ack").play()
    states = [state for rung in scene.rungs if (state := rung.client) is not None]
    assert run["paths"]["client"] == [state for i, state in enumerate(states) if states[i - 1 : i] != [state]]
    assert [rung["fate"] for rung in run["rungs"]].count("lost") == 1
    assert any(rung["client"]["timers"] for rung in run["rungs"])


def test_a_capture_says_that_a_close_was_given_up(tmp_path: Path) -> None:
    capture, page = tmp_path / "scene.pcapng", tmp_path / "lab.html"
    capture.write_bytes(load("no-time-wait").play().capture)
    assert main(["lab", str(capture), "--html", str(page)]) == 0
    last = data(page)["en"]["run"]["rungs"][-1]  # type: ignore[index]
    assert last["said"][0].startswith("The server 10.0.0.3:9000 goes from LAST_ACK to CLOSED: receive RST, or timeout")


def test_without_comments_states_are_inferred_and_said_to_be(tmp_path: Path) -> None:
    plain, commented = BytesIO(), tmp_path / "commented.pcapng"
    commented.write_bytes(load("four-way").play().capture)
    packets = read_capture(commented)
    capture = Capture(plain)
    for packet in packets:
        capture.packet(packet.time_ns / 1e9, packet.source, packet.destination, encode(packet.segment))
    path = tmp_path / "plain.pcapng"
    path.write_bytes(plain.getvalue())
    kernel = read_capture(path)
    rungs = rungs_from_capture([kernel], find_connections([kernel])[0])
    run = captured(rungs, "plain.pcapng", ("10.0.0.2:50000", "10.0.0.3:9000"))["zh"]["run"]
    assert run["inferred"]
    assert "推断" in run["intro"][0]
    assert run["names"] == ["客户端 10.0.0.2:50000", "服务器 10.0.0.3:9000"]


def test_the_connections_of_a_capture_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "scene.pcapng"
    capture.write_bytes(load("port-exhaustion").play().capture)
    assert main(["lab", str(capture), "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
    page = tmp_path / "lab.html"
    assert main(["lab", str(capture), "--connection", "2", "--html", str(page)]) == 0
    assert "connection 2 of" in capsys.readouterr().err
    assert main(["lab", str(capture), "--connection", "99", "--html", str(page)]) == 1
