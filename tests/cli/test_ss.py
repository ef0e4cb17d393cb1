"""`utcp ss`: what it shows of a running process, and what it says where there is none."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import Running, command, running, utcp_command
from utcp.cli import main


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("control") / "program.sock", request.param) as started:
        yield started


def show(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["ss", *map(str, arguments)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_it_shows_listeners_connections_and_time_wait(program: Running, capsys: pytest.CaptureFixture[str]) -> None:
    heading, columns, *lines = show(capsys, program.control).splitlines()
    assert f"(pid {program.process.pid})" in heading
    assert str(program.control) in heading
    assert columns.split()[:3] == ["State", "Recv-Q", "Send-Q"]
    rows = [line.split() for line in lines if not line.startswith(" ")]
    server = f"127.0.0.1:{program.port}/{program.port}"
    assert sorted(row[0] for row in rows) == ["ESTABLISHED", "ESTABLISHED", "LISTEN", "TIME_WAIT"]
    by_state = {row[0]: row for row in rows}
    assert by_state["LISTEN"][1:] == ["0", "100", server, "*", "half-open:0/1024"]
    assert by_state["TIME_WAIT"][4] == server
    assert re.fullmatch(r"timer:\(time_wait,[0-9.]+s\)", by_state["TIME_WAIT"][5])
    assert {row[3] for row in rows if row[0] == "ESTABLISHED"} == {row[4] for row in rows if row[0] == "ESTABLISHED"}
    details = [line for line in lines if line.startswith(" ")]
    assert sorted(line.split()[0] for line in details) == ["client", "server"]
    for line in details:
        for part in ("ts", "sack", "wscale:", "cubic", "rto:", "rtt:", "mss:", "cwnd:", "snd_wnd:", "bytes_sent:5"):
            assert part in line


def test_json_is_everything(program: Running, capsys: pytest.CaptureFixture[str]) -> None:
    (process,) = json.loads(show(capsys, "--json", program.control))["processes"]
    assert set(process) == {"socket", "pid", "program", "endpoints", "sockets"}
    assert process["pid"] == program.process.pid
    assert {endpoint["udp_port"] for endpoint in process["endpoints"]} > {program.port}
    for endpoint in process["endpoints"]:
        assert set(endpoint["memory"]) == {"used", "limit", "orphaned", "orphans", "level"}
        assert 0 < endpoint["memory"]["used"] < endpoint["memory"]["limit"]
    (client,) = [row for row in process["sockets"] if row.get("role") == "client"]
    assert client["peer"] == {"host": "127.0.0.1", "udp_port": program.port, "port": program.port}
    assert client["info"]["rtt"] > 0
    (waiting,) = [row for row in process["sockets"] if row["type"] == "time_wait"]
    assert 0 < waiting["seconds_left"] <= 60


def test_states_choose(program: Running, capsys: pytest.CaptureFixture[str]) -> None:
    shown = show(capsys, "--state", "listen", "--state", "TIME_WAIT", program.control)
    assert {line.split()[0] for line in shown.splitlines()[2:]} == {"LISTEN", "TIME_WAIT"}
    assert show(capsys, "--state", "CLOSING", program.control).splitlines()[-1] == "(no sockets)"


def test_the_summary_counts(program: Running, capsys: pytest.CaptureFixture[str]) -> None:
    _, totals, *counts = show(capsys, "-s", program.control).splitlines()
    assert re.fullmatch(r"endpoints 2, sockets 4, memory [0-9.]+ KiB of [0-9.]+ (MiB|GiB)", totals)
    lines = dict(line.split() for line in counts)
    assert lines["ESTABLISHED"] == "2"
    assert lines["TIME_WAIT"] == "1"
    assert lines["TcpActiveOpens"] == lines["TcpPassiveOpens"] == "2"
    assert "TcpAttemptFails" not in lines


@pytest.mark.parametrize("options", [["-w", "0.05"], ["--watch=0.05"], ["--json", "--watch", "0.05"]])
def test_watch_shows_it_again_and_again(program: Running, options: list[str]) -> None:
    arguments = command("ss", *options, str(program.control))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:  # noqa: S603
        assert watching.stdout is not None
        seen = 0
        while seen < 3:
            line = watching.stdout.readline()
            assert line
            if "--json" in options:
                assert json.loads(line)["processes"][0]["pid"] == program.process.pid
                seen += 1
            else:
                seen += line.startswith("LISTEN")
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=200)
    assert watching.returncode == 130
    assert errors == ""


def test_watch_takes_no_socket_for_a_time(tmp_path: Path) -> None:
    found = utcp_command("ss", "--watch", str(tmp_path / "gone.sock"))
    assert found.returncode == 1
    complaint = "no such socket: start the program with a control socket"
    assert found.stderr == f"utcp ss: {tmp_path}/gone.sock: {complaint}\n"


def test_on_a_terminal_watch_draws_over_what_it_drew(program: Running) -> None:
    leader, follower = pty.openpty()
    arguments = command("ss", "-w", "0.05", str(program.control))
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(arguments, stdout=follower, stderr=follower, env=environment) as watching:  # noqa: S603
        os.close(follower)
        drawn = b""
        while drawn.count(b"LISTEN") < 3:
            drawn += os.read(leader, 65536)
        watching.send_signal(signal.SIGINT)
        try:
            while more := os.read(leader, 65536):
                drawn += more
        except OSError:  # Linux says so that nobody has the terminal any more
            pass
    os.close(leader)
    assert watching.returncode == 130
    assert b"\x1b[?1049h" in drawn  # the alternate screen, and back
    assert b"\x1b[?1049l" in drawn
    assert b"Traceback" not in drawn


def test_watch_ends_with_the_program(tmp_path: Path) -> None:
    with running(tmp_path / "x.sock") as program:
        arguments = command("ss", "-w", "0.05", str(program.control))
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:  # noqa: S603
            assert watching.stdout is not None
            watching.stdout.readline()
            program.end()
            _, errors = watching.communicate(timeout=200)
    assert watching.returncode == 1
    assert errors.count("\n") == 1


def test_without_a_socket_it_finds_all_of_the_default_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("UTCP_CONTROL", "")
    assert main(["ss"]) == 1
    advice = "start the program with UTCP_CONTROL=1, or name a socket"
    assert capsys.readouterr() == ("", f"utcp ss: no control socket in {tmp_path}/utcp: {advice}\n")
    with running(Path("1")) as first, running(Path("1")) as second:
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(tmp_path / "utcp" / "1.sock"))
        pids = {process["pid"] for process in json.loads(show(capsys, "--json"))["processes"]}
        assert pids == {first.process.pid, second.process.pid}
        named = json.loads(show(capsys, "--json", f"{tmp_path}/utcp/{first.process.pid}.sock"))["processes"]
        assert [process["pid"] for process in named] == [first.process.pid]
        assert main(["capture", str(tmp_path / "x.pcapng")]) == 1
        assert capsys.readouterr().err.startswith("utcp capture: 3 processes have control sockets: name one of")
        assert not (tmp_path / "x.pcapng").exists()


def test_a_default_directory_of_others_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("UTCP_CONTROL", raising=False)
    (tmp_path / "utcp").mkdir()
    (tmp_path / "utcp").chmod(0o777)
    assert main(["ss"]) == 1
    assert "must belong to you" in capsys.readouterr().err


# ------------------------------------------------------------------ who is no utcp


@contextmanager
def listening(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody who answers one caller, with something."""

    def serve() -> None:
        try:
            caller, _ = listener.accept()
        except TimeoutError:
            return  # nobody came: the test has failed by itself
        with caller:
            caller.recv(4096)
            answer(caller)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


HELLO = b'{"utcp": 1, "pid": 7, "program": "x"}\n'


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"", "the listener is not utcp"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the listener is not utcp"),
        (b"\xff\n", "the listener is not utcp"),
        (b"[]\n", "the listener is not utcp"),
        (b"{}\n", "the listener is not utcp"),
        (b'{"error": "go away"}\n', "go away"),
        (b'{"utcp": 2}\n', "has another version of the protocol (2, not 1)"),
        (HELLO, "ended before its answer was complete"),
        (HELLO + b"nonsense\n", "the listener is not utcp"),
        (HELLO + b'{"type": "connection"}\n{"type": "end"}\n', "cannot be read"),
        (HELLO + b'{"type": "listener", "state": 1}\n{"type": "end"}\n', "cannot be read"),
    ],
)
def test_who_speaks_nonsense_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes, complaint: str
) -> None:
    path = tmp_path / "x.sock"
    with listening(path, lambda caller: caller.sendall(answer)):
        assert main(["ss", str(path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"utcp ss: {path}: ")
    assert complaint in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["nothing", "file", "dead", "long"])
def test_a_socket_that_is_gone_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    path = tmp_path / ("x" * 200 if kind == "long" else "x.sock")
    if kind == "file":
        path.write_text("text")
    elif kind == "dead":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    for arguments in (["ss", str(path)], ["capture", str(tmp_path / "x.pcapng"), str(path)]):
        assert main(arguments) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"utcp {arguments[0]}: {path}: ")
        assert printed.err.count("\n") == 1
    assert not (tmp_path / "x.pcapng").exists()


def test_a_program_that_hangs_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utcp.cli.processes.TIMEOUT", 0.05)
    given_up = threading.Event()

    def hang(caller: socket.socket) -> None:
        given_up.wait()

    with listening(tmp_path / "x.sock", hang):
        assert main(["ss", str(tmp_path / "x.sock")]) == 1
        given_up.set()
    assert "the event loop of the program may be blocked" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect to everything")
def test_a_socket_of_somebody_else_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(tmp_path / "x.sock"))
        theirs.listen()
        (tmp_path / "x.sock").chmod(0)
        assert main(["ss", str(tmp_path / "x.sock")]) == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--state", "CLOSED"], "'CLOSED' is not one of"),
        (["--watch", "0"], "'0' is not a number of seconds above 0"),
        (["--watch", "nan"], "'nan' is not a number of seconds above 0"),
        (["--watch", "inf"], "'inf' is not a number of seconds above 0"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ss", *arguments]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1
