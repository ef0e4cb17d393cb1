"""`utcp capture`: a running process's packets in a file that Wireshark reads."""

import io
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.running import Running, command, running, utcp_command
from tests.cli.test_ss import HELLO, listening
from tests.forking import Forked
from tests.inspect.callers import read_capture
from utcp.cli import main
from utcp.cli.capture import _Output
from utcp.trace.pcapng import Capture
from utcp.wire import ACK, FIN, Segment, encode

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Capturing:
    """`utcp capture`, which has begun."""

    def __init__(self, program: Running, file: str | Path, *options: str) -> None:
        arguments = ["capture", str(file), str(program.control), *options]
        self.process = Forked(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        begun = self.process.stderr.readline().decode()
        assert f"(pid {program.process.pid}) into {file}" in begun

    def ended(self) -> tuple[int, bytes, str]:
        """Status, stdout, and what else it said."""
        output, errors = self.process.communicate(timeout=200)
        return self.process.wait(), output, errors.decode()


def texts_in(path: Path) -> list[bytes]:
    """The texts of the segments in a capture that may still grow, or that has not begun."""
    data = path.read_bytes()
    return [bytes(packet.segment.payload) for packet in read_capture(data) if packet.segment.payload] if data else []


@pytest.mark.parametrize(("loop", "number"), [("asyncio", signal.SIGINT), ("uvloop", signal.SIGTERM)])
def test_it_captures_until_it_is_interrupted(tmp_path: Path, loop: str, number: signal.Signals) -> None:
    path = tmp_path / "x.pcapng"
    with running(tmp_path / "x.sock", loop) as program:
        program.talk()
        capturing = Capturing(program, path)
        begun = time.time_ns()
        program.talk()
        program.talk()
        capturing.process.send_signal(number)
        status, output, said = capturing.ended()
        program.talk()
        program.end()
    seen = read_capture(path.read_bytes())
    assert (status, output) == (0, b"")
    assert said == f"{len(seen)} packets captured\n"
    assert texts_in(path) == [b"word"] * 4
    assert [packet.comment["role"] for packet in seen if packet.segment.payload] == ["client", "server"] * 2
    assert {packet.comment["state"] for packet in seen} == {"ESTABLISHED"}
    assert begun - 10**9 < seen[0].time_ns < time.time_ns()


@both_loops
def test_it_ends_with_the_program_and_has_its_last_segments(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "x.pcapng"
    with running(tmp_path / "x.sock", loop) as program:
        capturing = Capturing(program, path)
        program.end()
        status, _, said = capturing.ended()
    seen = read_capture(path.read_bytes())
    assert status == 0
    assert said == f"{len(seen)} packets captured\n"
    assert [packet.comment["role"] for packet in seen if packet.segment.flags & FIN] == ["client", "server"]


def test_it_ends_after_so_many_packets(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with running(tmp_path / "x.sock") as program:
        capturing = Capturing(program, path, "--count", "2")
        program.talk()
        program.talk()
        assert capturing.ended() == (0, b"", "2 packets captured\n")
        program.end()
    assert len(read_capture(path.read_bytes())) == 2


def test_it_ends_after_so_many_seconds(tmp_path: Path) -> None:
    with running(tmp_path / "x.sock") as program:
        capturing = Capturing(program, tmp_path / "x.pcapng", "--seconds", "0.2")
        status, _, said = capturing.ended()
        assert status == 0
        assert said.endswith("captured\n")
        program.end()


def test_a_program_that_is_killed_costs_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with running(tmp_path / "x.sock") as program:
        capturing = Capturing(program, path)
        program.talk()
        while texts_in(path) != [b"word"] * 2:  # the capture is written a moment later
            time.sleep(0.01)
        program.process.kill()
        status, _, said = capturing.ended()
    assert status == 1
    assert (
        said.splitlines()[1]
        == f"utcp capture: {program.control}: the process has ended, and its last packets may be missing"
    )
    assert len(said.splitlines()) == 2
    assert texts_in(path) == [b"word"] * 2


def test_it_writes_to_stdout(tmp_path: Path) -> None:
    """As `utcp capture - | wireshark -k -i -` has it."""
    with running(tmp_path / "x.sock") as program:
        capturing = Capturing(program, "-", "--form", "udp")
        program.talk()
        capturing.process.send_signal(signal.SIGINT)
        status, output, _ = capturing.ended()
        program.end()
    assert status == 0
    assert output.startswith(b"\x0a\x0d\x0d\x0a")
    assert program.port.to_bytes(2, "big") in output
    assert b"word" in output


def test_a_reader_who_leaves_ends_it(tmp_path: Path) -> None:
    with running(tmp_path / "x.sock") as program:
        capturing = Capturing(program, "-")
        assert capturing.process.stdout is not None
        capturing.process.stdout.close()
        program.talk()
        assert capturing.process.wait(60) == 141
        assert capturing.process.stderr is not None
        assert capturing.process.stderr.read() == b""
        capturing.process.stderr.close()
        program.talk()
        program.end()


def test_a_full_disk_ends_the_capture_and_not_the_program(tmp_path: Path) -> None:
    path = tmp_path / "full.pcapng"
    without_room = ["sh", "-c", 'ulimit -f 0 && exec "$@"', "sh"]
    with running(tmp_path / "x.sock") as program:
        arguments = [*without_room, *command("capture", str(path), str(program.control))]
        finished = subprocess.run(arguments, capture_output=True, text=True, timeout=200)  # noqa: S603
        program.talk()
        program.end()
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[1:] == [
        f"utcp capture: {path}: File too large: the capture stopped at its beginning"
    ]


CANNOT_BE_WRITTEN = [
    ("x.pcap", 2, "name it {}/x.pcapng"),
    ("x", 2, "name it {}/x.pcapng"),
    ("missing/x.pcapng", 1, "{}/missing/x.pcapng: No such file or directory"),
    ("other.pcapng", 1, "{}/other.pcapng: it exists and is of another kind: remove it, or name another file"),
    ("link.pcapng", 1, "{}/link.pcapng: it is a symbolic link: name the file itself"),
    ("directory.pcapng", 2, "is a directory"),
]


@pytest.mark.defect(99)
def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "directory.pcapng").mkdir()
    (tmp_path / "other.pcapng").write_text("precious")
    (tmp_path / "link.pcapng").symlink_to(tmp_path / "target.pcapng")
    with running(tmp_path / "x.sock") as program:
        for name, status, complaint in CANNOT_BE_WRITTEN:
            assert main(["capture", str(tmp_path / name), str(program.control)]) == status
            printed = capsys.readouterr()
            assert complaint.format(tmp_path) in printed.err
            assert printed.err.count("\n") == 1
        program.end()
    assert (tmp_path / "other.pcapng").read_text() == "precious"
    assert not (tmp_path / "target.pcapng").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--count", "0"], "0 is not in the range"),
        (["--seconds", "0"], "'0' is not a number of seconds above 0"),
        (["--form", "sctp"], "'sctp' is not one of"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "x.pcapng", *arguments]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("size", [1, 7, 100])
def test_only_whole_blocks_reach_the_file(tmp_path: Path, size: int) -> None:
    whole = io.BytesIO()
    capture = Capture(whole)
    for _ in range(3):
        capture.packet(1.0, ("192.0.2.1", 1), ("192.0.2.2", 2), encode(Segment(1, 2, 3, 4, ACK, 5)), "state=LISTEN")
    capture.statistics(2.0, 5, 2)
    data = whole.getvalue()
    path = tmp_path / "x.pcapng"
    output = _Output(str(path))
    for start in range(0, len(data), size):
        output.take(data[start : start + size])
        assert len(read_capture(path.read_bytes())) == output.packets if path.stat().st_size else not output.packets
    assert path.read_bytes() == data
    assert (output.packets, output.dropped, output.complete) == (3, 2, True)
    output.close()


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400\r\n\r\n", HELLO + b"nonsense that is no capture"])
def test_who_speaks_nonsense_is_one_line(tmp_path: Path, nonsense: bytes) -> None:
    with listening(tmp_path / "x.sock", lambda caller: caller.sendall(nonsense)):
        finished = utcp_command("capture", str(tmp_path / "x.pcapng"), str(tmp_path / "x.sock"))
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith("utcp capture: ")
    assert "Traceback" not in finished.stderr


def test_utcp_pcap_captures_a_program_that_knows_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with running(tmp_path / "x.sock", UTCP_PCAP=str(path)) as program:
        program.talk()
        program.end()
    seen = read_capture(path.read_bytes())
    assert [bytes(packet.segment.payload) for packet in seen].count(b"word") == 2
    assert seen[0].comment["state"] == "SYN_SENT"
