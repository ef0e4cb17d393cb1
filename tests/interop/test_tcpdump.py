"""Captures of kernel TCP by tcpdump: everything on the wire is read, and the states of both ends are inferred."""

import contextlib
import io
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.namespace import ip
from utcp.cli import main
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, SYN_SENT, TIME_WAIT
from utcp.trace.capture_file import Captured, TruncatedCapture, packets, read_capture
from utcp.trace.connections import find_connections
from utcp.trace.ladder.from_capture import rungs_from_capture
from utcp.wire import FIN, RST
from utcp.wire.checksum import internet_checksum

pytestmark = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs the program tcpdump")

SIZE = 300_000


@contextlib.contextmanager
def capturing(path: Path, *options: str) -> Iterator[None]:
    """tcpdump writes into the file. At the end, it holds everything until both FINs, or until the RST."""
    # Each packet takes the snapshot length of the kernel's ring. This ring has room for a thousand.
    ring = ["-B", "65536", "-s", "66000"]
    command = ["tcpdump", "-U", "--immediate-mode", *ring, "-Z", "root", "-w", str(path), *options, "tcp"]
    tcpdump = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
    assert tcpdump.stderr is not None
    try:
        line = ""
        while "listening on" not in line:
            line = tcpdump.stderr.readline()
            assert line, "tcpdump has ended"
        yield
        deadline = time.monotonic() + 60
        while not is_complete(path) and time.monotonic() < deadline:  # tcpdump reads the kernel's ring in its own time
            time.sleep(0.1)
    finally:
        tcpdump.terminate()
        tcpdump.communicate(timeout=60)


def is_complete(path: Path) -> bool:
    def ignore(error: TruncatedCapture) -> None:
        """tcpdump is writing."""

    segments = [captured.segment for captured in read_capture(path, truncated=ignore)]
    finished = {segment.src_port for segment in segments if segment.flags & FIN}  # a FIN may be sent or captured twice
    return len(finished) == 2 or any(segment.flags & RST for segment in segments)


def exchange(host: str, *, reset: bool = False) -> None:
    """The client sends SIZE octets, and the server sends them back. Then it closes, or resets."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        all_read = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                data = bytearray()
                while received := connection.recv(1 << 16):
                    data += received
                connection.sendall(data)
                if reset:
                    all_read.wait(60)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        server = threading.Thread(target=serve)
        server.start()
        with socket.create_connection(listener.getsockname()[:2]) as client:
            client.sendall(bytes(SIZE))
            client.shutdown(socket.SHUT_WR)
            received = 0
            while received < SIZE and (data := client.recv(1 << 16)):
                received += len(data)
            all_read.set()
            if not reset:
                assert client.recv(1) == b""
        server.join()
        assert received == SIZE


def octets(capture: list[Captured]) -> list[int]:
    """What each end has sent, octets, without what it sent again."""
    (connection,) = find_connections([capture])
    spaces = (connection.numbers[end] for end in (connection.client, connection.server))
    return [space.high - space.low - 2 for space in spaces]  # without SYN and FIN


@pytest.mark.parametrize(
    "options",
    [
        ("-i", "lo"),
        ("-i", "any", "-y", "LINUX_SLL"),
        ("-i", "any", "-y", "LINUX_SLL2"),
        ("-i", "lo", "-s", "96"),
        ("-i", "lo", "--time-stamp-precision=nano"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_everything_is_read(tmp_path: Path, options: tuple[str, ...], host: str) -> None:
    """Also what was cut off at the snapshot length counts in full."""
    with capturing(tmp_path / "kernel.pcap", *options):
        exchange(host)
    capture = read_capture(tmp_path / "kernel.pcap")
    assert octets(capture) == [SIZE, SIZE]
    assert not any(captured.udp or captured.comment for captured in capture)


def test_segments_are_read_as_they_were_before_the_network_card_cut_them_and_summed_them(tmp_path: Path) -> None:
    """The interface's MTU is 1500, and the kernel leaves it to the interface to cut segments up and to fill the
    checksums in."""
    ip("link set lo mtu 1500")
    path = tmp_path / "kernel.pcap"
    with capturing(path, "-i", "lo"):
        exchange("127.0.0.1")
    capture = read_capture(path)
    assert octets(capture) == [SIZE, SIZE]
    assert max(len(captured.segment.payload) for captured in capture) > 1500
    wrong = 0
    for packet in packets(io.BytesIO(path.read_bytes())):
        addresses, segment = packet.octets[26:34], packet.octets[34:]
        wrong += internet_checksum(addresses + b"\0\x06" + len(segment).to_bytes(2, "big") + segment) not in (0, 0xFFFF)
    assert wrong


def states(path: Path) -> list[int]:
    """Those of the client, one after the other."""
    capture = read_capture(path)
    (connection,) = find_connections([capture])
    return [rung.client for rung in rungs_from_capture([capture], connection) if rung.client is not None]


def test_states_are_inferred(tmp_path: Path) -> None:
    path = tmp_path / "kernel.pcap"
    with capturing(path, "-i", "lo"):
        exchange("127.0.0.1")
    assert states(path) == [CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT]


def test_a_reset_ends_both(tmp_path: Path) -> None:
    path = tmp_path / "kernel.pcap"
    with capturing(path, "-i", "lo"):
        exchange("127.0.0.1", reset=True)
    flags = [captured.segment.flags for captured in read_capture(path)]
    assert any(flag & RST for flag in flags)
    assert states(path)[-1] == CLOSED


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["ladder"], ["ESTABLISHED", "TIME_WAIT", "The states of both ends are inferred from the segments."]),
        (["ladder", "--format", "html"], ["The states of both ends are inferred from the segments."]),
        (["ladder", "--format", "svg"], ["The states of both ends are inferred"]),
        (["ladder", "--format", "mermaid"], ["The states of both ends are inferred from the segments."]),
        (["ladder", "--list"], [" bytes there, "]),
    ],
)
def test_the_command(
    tmp_path: Path, arguments: list[str], found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kernel.pcap"
    with capturing(path, "-i", "any"):
        exchange("127.0.0.1")
    assert main([*arguments, str(path)]) == 0
    printed = capsys.readouterr().out
    assert [text for text in found if text not in printed] == [], printed


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "kernel.pcap"
    with capturing(path, "-i", "any"):
        exchange("127.0.0.1")
    assert main(["plot", str(path), "--what", "sequence"]) == 0
    assert "<svg" in path.with_suffix(".svg").read_text()
