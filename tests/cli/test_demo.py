"""The demo over real UDP: run for real, and its judgement of itself."""

import dataclasses
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from utcp.cli import main
from utcp.cli.demo import Progress
from utcp.scenes.live import FAREWELLS, QUESTION, Outcome, differences, summary
from utcp.scenes.stage import ACTIVE, OPEN, PASSIVE
from utcp.trace.ladder import Arrow, End, Rung
from utcp.wire import ACK, FIN, PSH, RST, SYN


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "utcp", "demo", *arguments], capture_output=True, text=True, timeout=200
    )


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_demo_draws_a_whole_life(loop: str) -> None:
    finished = demo("--loop", loop, "--msl", "0.1")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    rows = [re.split(r"\|", line) for line in finished.stdout.splitlines() if line.count("|") == 2]
    client = " > ".join(" ".join(row[0].split()[1:]) for row in rows[1:] if len(row[0].split()) > 1)
    server = " > ".join(row[2].strip() for row in rows[1:] if row[2].strip())
    assert client == ACTIVE
    assert server == PASSIVE
    arrows = [row[1] for row in rows]
    for segment in ("SYN seq=0", "SYN,ACK seq=0 ack=1", "FIN,ACK"):
        assert any(segment in arrow for arrow in arrows), f"{segment} is not drawn"
    assert "TIME_WAIT lasted 0.2" in finished.stdout


def test_a_port_in_use_is_one_line_and_status_1() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        finished = demo("--port", str(port))
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "in use" in finished.stderr
    assert str(port) in finished.stderr


def test_the_ladder_can_be_saved(tmp_path: Path) -> None:
    picture = tmp_path / "life.svg"
    finished = demo("--msl", "0.1", "--svg", str(picture))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    for state in ACTIVE.split(" > ")[1:]:
        assert state in picture.read_text(encoding="utf-8")


def arrow(
    sender: End, flags: int, length: int = 0, *, retransmission: bool = False, received: float | None = 1.0
) -> Rung:
    return Rung(1.0, arrow=Arrow(sender, flags, 1, 1, length, 1.0, received, retransmission))


RIGHT = Outcome(
    msl=0.5,
    client_path=ACTIVE,
    server_path=PASSIVE,
    client_heard=QUESTION + b"".join(FAREWELLS),
    server_heard=QUESTION,
    time_wait=1.0,
    rungs=[
        arrow("client", SYN),
        arrow("server", SYN | ACK),
        arrow("client", ACK | PSH, len(QUESTION)),
        arrow("server", ACK | PSH, len(QUESTION)),
        arrow("client", ACK | FIN),
        arrow("server", ACK | PSH, len(FAREWELLS[0])),
        arrow("server", ACK | PSH, len(FAREWELLS[0]), retransmission=True),
        arrow("server", ACK | PSH, len(FAREWELLS[1])),
        arrow("server", ACK | FIN),
        arrow("client", ACK),
    ],
)


def test_what_is_right_is_found_right() -> None:
    assert differences(RIGHT) == []


def without(*rungs: Rung) -> list[Rung]:
    return [rung for rung in RIGHT.rungs if rung not in rungs]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (
            {"client_path": f"{OPEN} > FIN_WAIT_1 > CLOSING > TIME_WAIT > CLOSED"},
            "states of the client: CLOSED > SYN_SENT > ESTABLISHED > FIN_WAIT_1 > CLOSING > TIME_WAIT > CLOSED, not",
        ),
        (
            {"server_path": PASSIVE.removesuffix(" > CLOSED")},
            "states of the server: LISTEN > SYN_RCVD > ESTABLISHED > CLOSE_WAIT",
        ),
        ({"server_heard": QUESTION[:-1]}, "the server read: b'Is this a real TCP?', not"),
        ({"client_heard": QUESTION}, "the client read"),
        ({"rungs": without(arrow("server", SYN | ACK))}, "senders of a SYN: ['client'], not ['client', 'server']"),
        ({"rungs": without(arrow("client", ACK | FIN))}, "senders of a FIN: ['server'], not"),
        (
            {"rungs": [*RIGHT.rungs, arrow("server", ACK | FIN)]},
            "senders of a FIN: ['client', 'server', 'server']",
        ),
        ({"rungs": [*RIGHT.rungs, arrow("client", RST)]}, "segments with RST: 1, not 0"),
        (
            {"rungs": without(arrow("server", ACK | PSH, len(FAREWELLS[1])))},
            f"bytes that the server sent after the client's FIN: {len(FAREWELLS[0])}, not",
        ),
        ({"time_wait": 0.9}, "TIME_WAIT: 0.9 s, less than 2 MSL"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, object], complaint: str) -> None:
    found = differences(dataclasses.replace(RIGHT, **wrong))  # type: ignore[arg-type]  # each value fits its own field
    assert any(line.startswith(complaint) for line in found), found


def test_a_difference_gives_exit_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def converse(host: str, port: int, outcome: Outcome, *_: object) -> None:
        outcome.rungs = RIGHT.rungs
        outcome.client_path = OPEN

    monkeypatch.setattr("utcp.scenes.live.converse", converse)
    assert main(["demo"]) == 1
    printed = capsys.readouterr()
    assert "states of the client: CLOSED > SYN_SENT > ESTABLISHED, not" in printed.err
    assert "client: CLOSED > SYN_SENT > ESTABLISHED" in printed.out


def test_a_failure_on_the_way_gives_exit_status_1_and_the_ladder_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def converse(host: str, port: int, outcome: Outcome, *_: object) -> None:
        outcome.rungs = RIGHT.rungs[:1]
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr("utcp.scenes.live.converse", converse)
    assert main(["demo"]) == 1
    printed = capsys.readouterr()
    assert "Connection reset by peer" in printed.err
    assert "SYN seq=1" in printed.out


def test_the_summary_counts() -> None:
    text = summary(RIGHT)
    assert f"4 segments (0 retransmitted), {len(QUESTION)} bytes" in text
    assert f"6 segments (1 retransmitted), {len(QUESTION) + sum(map(len, FAREWELLS))} bytes" in text
    assert "TIME_WAIT lasted 1.000 s; 2 MSL are 1.000 s" in text


def test_a_long_time_wait_is_reported_once_without_a_terminal() -> None:
    finished = demo("--msl", "1.1")
    assert finished.returncode == 0
    assert finished.stderr == "TIME_WAIT: 3 s left\n"


def test_a_long_time_wait_is_counted_down_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress()
    for seconds in (10.0, 9.2, 0.4, 0):
        progress(seconds)
    assert capsys.readouterr().err == (
        "\rTIME_WAIT: 10 s left\rTIME_WAIT: 10 s left\rTIME_WAIT: 1 s left \r" + " " * 20 + "\r"
    )
    for seconds in (1.9, 0.9, 0):  # a wait that is too short to be reported
        Progress()(seconds)
    assert capsys.readouterr().err == ""


def test_the_ladder_is_shown_although_the_picture_cannot_be_saved(tmp_path: Path) -> None:
    finished = demo("--msl", "0.1", "--svg", str(tmp_path / "missing" / "life.svg"))
    assert finished.returncode == 1
    assert "TIME_WAIT lasted 0.2" in finished.stdout
    assert finished.stderr.endswith("No such file or directory\n")
