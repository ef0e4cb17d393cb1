"""`utcp ladder`: its forms, its choices, and what it says of captures that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.trace.transfers import transfer
from utcp.cli import main
from utcp.trace.pcapng import Capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ladder") / "life.pcapng"
    transfer(path, at="both", octets=4000)
    return path


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_text_on_stdout_is_as_wide_as_the_terminal(
    capture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["ladder", str(capture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("client 10.0.0.3:")
    assert lines[0].endswith("- server 10.0.0.2:9000")
    assert lines[2].split() == ["ms", "client", "|", "|", "server"]
    assert any("FIN_WAIT_1" in line for line in lines)
    assert max(map(len, lines)) == 100
    legend = " ".join(lines[lines.index("", 2) + 1 :])
    assert legend.startswith("A segment's row has the time at which it was sent")
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["ladder", str(capture), "--title", "A life"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A life"
    assert max(map(len, lines)) == 140


def test_the_name_of_the_output_says_what_to_draw(capture: Path, tmp_path: Path) -> None:
    drawn = {name: tmp_path / f"ladder.{name}" for name in ("svg", "mmd", "html", "txt")}
    for path in drawn.values():
        assert main(["ladder", str(capture), "-o", str(path), "--title", "Life & death"]) == 0
    root = ET.parse(drawn["svg"]).getroot()  # noqa: S314  # it is ours
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "Life & death" in "".join(root.itertext())
    assert "client 10.0.0.3:" in "".join(root.itertext())
    assert drawn["mmd"].read_text().splitlines()[3] == "sequenceDiagram"
    assert drawn["html"].read_text().startswith("<!DOCTYPE html>")
    assert "TIME_WAIT" in drawn["txt"].read_text()


def test_text_is_a_list_on_a_terminal_that_is_too_narrow_and_a_ladder_in_a_file(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["ladder", str(capture)]) == 0
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("client 10.0.0.3:")
    assert lines[0].split() == ["ms", "client", "-->", "server"]
    assert max(map(len, lines)) <= 50
    path = tmp_path / "ladder.txt"
    assert main(["ladder", str(capture), "-o", str(path)]) == 0
    lines = path.read_text().splitlines()
    assert lines[2].split() == ["ms", "client", "|", "|", "server"]
    assert max(map(len, lines)) == 100


def test_format_says_it_where_the_name_does_not(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ladder", str(capture), "--format", "mermaid"]) == 0
    assert capsys.readouterr().out.startswith("sequenceDiagram\n")
    path = tmp_path / "ladder"
    assert main(["ladder", str(capture), "--format", "svg", "-o", str(path)]) == 0
    assert path.read_text().startswith("<svg ")
    assert main(["ladder", str(capture), "-o", str(path)]) == 2
    assert "end it in .svg, or use --format" in capsys.readouterr().err


def test_list_and_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "1.pcapng", tmp_path / "2.pcapng"
    transfer(first, at="both", octets=100)
    transfer(second, at="both", octets=200, seed=2)
    merged = tmp_path / "merged.pcapng"
    merged.write_bytes(first.read_bytes() + second.read_bytes())  # a file may have any number of sections
    assert main(["ladder", "--list", str(merged)]) == 0
    one, two = capsys.readouterr().out.splitlines()
    assert one.split()[0] == "1"
    assert "10.0.0.2:9000" in one
    assert two.split()[0] == "2"
    assert main(["ladder", "--connection", "2", str(merged)]) == 0
    ports = [line.split(" - ")[0].rpartition(":")[2] for line in (one, two)]
    assert f"client 10.0.0.3:{ports[1]}" in capsys.readouterr().out
    assert ports[0] != ports[1]
    assert main(["ladder", "--connection", "3", str(merged)]) == 1
    assert capsys.readouterr().err == "utcp ladder: no connection 3: there are only 2 (see --list)\n"


def test_captures_of_both_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same run twice, captured at one end and at the other."""
    client, server = tmp_path / "client.pcapng", tmp_path / "server.pcapng"
    transfer(client, at="client", octets=20_000, loss=0.08, seed=3)
    transfer(server, at="server", octets=20_000, loss=0.08, seed=3)
    assert main(["ladder", str(client)]) == 0
    assert " --x" not in capsys.readouterr().out  # of one end nobody knows what was lost
    assert main(["ladder", str(client), str(server)]) == 0
    assert " --x" in capsys.readouterr().out


def test_long_ladders_are_shortened_unless_all_is_wanted(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "--limit", "4", str(capture)]) == 0
    short = capsys.readouterr().out
    assert "segments are not shown" in short
    assert main(["ladder", "--limit", "0", str(capture)]) == 0
    assert "not shown" not in capsys.readouterr().out


def test_connections_that_use_the_same_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.pcapng"
    assert main(["demo", "syn-hits-last-ack", "--pcap", str(path)]) == 0
    capsys.readouterr()
    assert main(["ladder", str(path), "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split("  at ")[1].split(":")[0] for line in listed] == ["0.000 s", "1.225 s", "2.051 s"]
    assert main(["ladder", str(path), "--connection", "2"]) == 0
    hint, _, _, _, *rows = capsys.readouterr().out.partition("\n\nA segment's row")[0].splitlines()
    assert hint == "3 connections use these ports: --connection 1-3 shows all of them."
    assert rows[0].split() == ["0.0", "CLOSED", "|", "|", "LAST_ACK"]
    assert "RST,ACK seq=0 ack=1" in rows[2]
    assert len(rows) == 3
    assert main(["ladder", str(path), "--connection", "1-3"]) == 0
    together = capsys.readouterr().out
    assert "connections use these ports" not in together
    assert together.count(" SYN seq=0 ") == 3
    for wrong in ("0", "3-1", "1-", "-1", "one"):
        assert main(["ladder", str(path), "--connection", wrong]) == 2
        assert "is neither a number from 1 nor a range such as 1-3" in capsys.readouterr().err
    assert main(["ladder", str(path), "--connection", "2-4"]) == 1
    assert capsys.readouterr().err == "utcp ladder: no connection 4: there are only 3 (see --list)\n"


def test_a_range_needs_the_same_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "1.pcapng", tmp_path / "2.pcapng"]
    for seed, path in enumerate(paths):
        transfer(path, at="both", octets=100, seed=seed)
    merged = tmp_path / "merged.pcapng"
    merged.write_bytes(b"".join(path.read_bytes() for path in paths))
    assert main(["ladder", "--connection", "1-2", str(merged)]) == 1
    assert capsys.readouterr().err == "utcp ladder: of connections 1-2, no other has the ports of connection 1\n"


def test_two_captures_are_of_the_two_ends(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy, other = tmp_path / "copy.pcapng", tmp_path / "other.pcapng"
    copy.write_bytes(capture.read_bytes())
    transfer(other, at="both", octets=100, seed=2)
    for same in (capture, copy):
        assert main(["ladder", str(capture), str(same)]) == 2
        assert f"{capture} and {same} are the same capture" in capsys.readouterr().err
    assert main(["ladder", str(capture), str(other)]) == 1
    told = f"utcp ladder: {capture} and {other} have no connection in common: see --list of each\n"
    assert capsys.readouterr() == ("", told)


def test_two_captures_of_the_same_end_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The runs use the same addresses and ports, as all scenes do."""
    both, client = tmp_path / "both.pcapng", tmp_path / "client.pcapng"
    transfer(both, at="both", octets=4000)
    transfer(client, at="client", octets=100)
    assert main(["ladder", str(both), str(client)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"utcp ladder: {both} and {client} were both captured at 10.0.0.3:")
    assert err.endswith(": give one of each end\n")


def test_a_connection_that_only_one_capture_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client, server, other = (tmp_path / name for name in ("client.pcapng", "server.pcapng", "other.pcapng"))
    transfer(client, at="client", octets=100)
    transfer(server, at="server", octets=100)
    transfer(other, at="server", octets=100, seed=2)
    server.write_bytes(server.read_bytes() + other.read_bytes())
    assert main(["ladder", str(client), str(server), "--connection", "2"]) == 0
    assert capsys.readouterr().err == f"utcp ladder: connection 2 is only in {server}\n"


def test_a_truncated_capture_is_shown_as_far_as_it_goes(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ladder", str(capture)]) == 0
    whole = capsys.readouterr().out.splitlines()
    path = tmp_path / "cut.pcapng"
    path.write_bytes(capture.read_bytes()[:-7])
    assert main(["ladder", str(path)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) >= len(whole) - 1
    assert err.startswith(f"utcp ladder: {path}: truncated: it ends at byte ")
    assert err.endswith(" The diagram shows the packets before.\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["missing", "directory", "nonsense", "cut", "empty", "no tcp"])
def test_what_is_no_capture_is_said_in_one_line(
    kind: str, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.pcapng"
    if kind == "directory":
        path.mkdir()
    elif kind == "nonsense":
        path.write_bytes(b"this is no capture at all" * 10)
    elif kind == "cut":
        path.write_bytes(capture.read_bytes()[:50])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no tcp":
        with path.open("wb") as file:
            Capture(file)
    assert main(["ladder", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("utcp ladder: ")
    assert str(path) in err


def test_arguments_that_make_no_sense(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder"]) == 2
    assert main(["ladder", str(capture), str(capture), str(capture)]) == 2
    assert main(["ladder", str(capture), "--connection", "0"]) == 2
    assert main(["ladder", str(capture), "--format", "gif"]) == 2
    capsys.readouterr()
    assert main(["ladder", str(capture), "-o", str(tmp_path / "nowhere" / "x.svg")]) == 1
    err = capsys.readouterr().err
    assert "nowhere" in err
    assert err.count("\n") == 1


def test_as_a_program(capture: Path) -> None:
    environment = {**os.environ, "COLUMNS": "100"}
    command = [sys.executable, "-m", "utcp", "ladder", str(capture)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    assert ended.returncode == 0
    assert "TIME_WAIT" in ended.stdout
    assert ended.stderr == ""


def test_the_command_is_quick_to_import() -> None:
    """What draws is imported when there is something to draw."""
    code = "import sys, utcp.cli.ladder; print('utcp.trace.ladder' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ended.stdout == "False\n"
