"""Captures of running endpoints by UTCP_PCAP, and observers that come and go."""

import asyncio
import errno
import gc
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import utcp
from tests.aio.peers import Peers, Polite, Recorder, opened, until
from tests.inspect.callers import Seen, read_capture
from utcp.inspect.recording import Recording, check_name
from utcp.tcp.observer import Observer
from utcp.tcp.transmit import Buffer, Remote
from utcp.trace.pcapng import CaptureObserver
from utcp.wire import FIN, SYN


async def converse(text: bytes = b"text", host: str = "127.0.0.1") -> None:
    """One connection between a server and the loop's clients, opened and closed."""
    closed = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with utcp.Endpoint((host, 0), config=utcp.Config(msl=0.01)) as server, await server.start_server(accept):
        reader, writer = await utcp.open_connection("127.0.0.1", server.address[1], config=utcp.Config(msl=0.01))
        writer.write(text)
        writer.write_eof()
        assert await reader.read() == text
        writer.close()
        await writer.wait_closed()
        await closed.wait()


def texts(seen: list[Seen]) -> list[bytes]:
    return [bytes(packet.segment.payload) for packet in seen if packet.segment.payload]


# ------------------------------------------------------------------ UTCP_PCAP


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_every_endpoint_is_captured_and_every_segment_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    path = tmp_path / "program.pcapng"
    monkeypatch.setenv("UTCP_PCAP", str(path))
    begun = time.time_ns()
    await converse(host=host)
    seen = read_capture(path.read_bytes())  # while the endpoint for clients is still open
    assert texts(seen) == [b"text", b"text"]
    assert [packet.segment.flags & SYN for packet in seen[:3]] == [SYN, SYN, 0]
    assert {packet.hosts for packet in seen} == {("127.0.0.1", "127.0.0.1")}
    assert [packet.comment["state"] for packet in seen[:2]] == ["SYN_SENT", "SYN_RCVD"]
    assert {packet.comment["direction"] for packet in seen} == {"out"}
    assert begun - 10**9 < seen[0].time_ns <= seen[-1].time_ns < time.time_ns() + 10**9


async def test_what_comes_from_elsewhere_is_shown_as_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "server.pcapng"
    async with utcp.Endpoint(("127.0.0.1", 0)) as client:
        monkeypatch.setenv("UTCP_PCAP", str(path))
        async with utcp.Endpoint(("127.0.0.1", 0)) as server, await server.create_server(Polite):
            transport, protocol = await client.create_connection(Recorder, "127.0.0.1", server.address[1])
            transport.write(b"text")
            transport.close()
            await until(lambda: protocol.lost)
    seen = read_capture(path.read_bytes())
    met = [(packet.comment["direction"], packet.comment["state"]) for packet in seen]
    assert met[:2] == [("in", "LISTEN"), ("out", "SYN_RCVD")]
    assert seen[0].comment["role"] == "server"
    fin = next(packet for packet in seen if packet.segment.flags & FIN)
    assert fin.comment["direction"] == "in"


async def test_the_file_goes_on_with_the_next_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "program.pcapng"
    path.write_bytes(b"\x0a\x0d\x0d\x0a" + b"of an earlier process")
    monkeypatch.setenv("UTCP_PCAP", str(path))
    for _ in range(2):
        async with Peers() as peers:
            transport, protocol, _ = await peers.connect(Recorder, Polite)
            transport.close()
            await until(lambda protocol=protocol: protocol.lost)  # type: ignore[misc]
    seen = read_capture(path.read_bytes())
    assert sum(packet.segment.flags == SYN for packet in seen) == 2


async def test_loops_of_one_process_share_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "program.pcapng"
    monkeypatch.setenv("UTCP_PCAP", str(path))
    await asyncio.gather(converse(b"here"), asyncio.to_thread(asyncio.run, converse(b"there")))
    assert sorted(texts(read_capture(path.read_bytes()))) == [b"here", b"here", b"there", b"there"]


async def test_a_directory_stands_for_a_file_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_PCAP", f"{tmp_path}/captures/")
    await converse()
    assert texts(read_capture((tmp_path / "captures" / f"{os.getpid()}.pcapng").read_bytes())) == [b"text"] * 2


def test_nothing_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setenv("UTCP_PCAP", str(tmp_path / "program.pcapng"))
    asyncio.run(converse())
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.defect(99)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("program.pcap", "program.pcapng"),
        ("missing/program.pcapng", "No such file or directory"),
        ("full.pcapng", "No space left on device"),
        ("pipe.pcapng", "No such device or address"),
        ("other.pcapng", "it exists and is of another kind: remove it, or name another file"),
        ("link.pcapng", "it is a symbolic link: name the file itself"),
    ],
)
async def test_what_cannot_be_captured_is_one_warning_and_the_program_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    full = tmp_path / "full.pcapng"
    write = os.write

    def limited(descriptor: int, octets: bytes) -> int:
        if full.exists() and os.path.samestat(os.fstat(descriptor), full.stat()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, octets)

    monkeypatch.setattr(os, "write", limited)
    os.mkfifo(tmp_path / "pipe.pcapng")
    (tmp_path / "other.pcapng").write_text("precious")
    (tmp_path / "link.pcapng").symlink_to(tmp_path / "target.pcapng")
    monkeypatch.setenv("UTCP_PCAP", str(tmp_path / name))
    await converse()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("utcp", logging.WARNING)
    assert record.getMessage().startswith(f"UTCP_PCAP: {tmp_path / name}: ")
    assert record.getMessage().endswith(reason)
    assert (tmp_path / "other.pcapng").read_text() == "precious"
    assert not (tmp_path / "target.pcapng").exists()


@pytest.mark.defect(99)
async def test_a_capture_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_PCAP", f"{tmp_path}/captures/")
    before = os.umask(0)
    try:
        await converse()
    finally:
        os.umask(before)
    (path,) = (tmp_path / "captures").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_disk_that_fills_up_ends_the_capture_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "program.pcapng"
    monkeypatch.setenv("UTCP_PCAP", str(path))
    write, room = os.write, 2000

    def limited(descriptor: int, octets: bytes) -> int:
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            if path.stat().st_size >= room:
                raise OSError(28, "No space left on device")
            octets = octets[: room - path.stat().st_size]
        return write(descriptor, octets)

    monkeypatch.setattr(os, "write", limited)
    await converse(b"x" * 100_000)
    assert path.stat().st_size == room
    assert [record.getMessage() for record in caplog.records] == [f"UTCP_PCAP: {path}: No space left on device"]
    await converse()
    assert len(caplog.records) == 1


def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "program.pcapng"
    program = (
        "import asyncio, sys, utcp\n"
        "async def main():\n"
        "    async with utcp.Endpoint(('127.0.0.1', 0)):\n"
        "        print('open', flush=True)\n"
        "        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "UTCP_PCAP": str(path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:  # noqa: S603
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        second = subprocess.run(command, env=environment, input="", capture_output=True, text=True, timeout=200)  # noqa: S603
        first.communicate("")
    assert second.returncode == first.returncode == 0
    assert second.stderr == f"UTCP_PCAP: {path}: another process captures into it\n"


@pytest.mark.parametrize("name", ["x", "x.pcap", "x.pcapng.gz", "server.py"])
def test_a_capture_is_named_for_what_it_is(name: str) -> None:
    with pytest.raises(ValueError, match=r"name it .*\.pcapng$"):
        check_name(name)
    check_name("x.pcapng")


# ------------------------------------------------------------------ observers


class Sends(Observer):
    """Counts what is sent; `then` is called at each."""

    def __init__(self) -> None:
        self.count = 0
        self.stop: Callable[[], None] = lambda: None

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self.count += 1
        self.stop()


async def test_observers_come_and_go_beside_each_other() -> None:
    own, guest = Sends(), Sends()
    async with Peers() as peers:
        stop_own = peers.client.observe(own)
        transport, protocol, _ = await peers.connect(Recorder, Polite)
        before = own.count
        assert before
        stop = peers.client.observe(guest)
        transport.close()
        await until(lambda: protocol.lost)
        assert guest.count == own.count - before > 0
        stop()
        stop()
        assert peers.client.stack.observers == (own,)
        stop_own()
        assert peers.client.stack.observer is None


async def test_an_observer_may_stop_while_it_is_told() -> None:
    """Nobody else misses anything for it."""
    other, once = Sends(), Sends()
    async with Peers() as peers:
        once.stop = peers.client.observe(once)
        peers.client.observe(other)
        transport, protocol, _ = await peers.connect(Recorder, Polite)
        transport.close()
        await until(lambda: protocol.lost)
        assert once.count == 1
        assert other.count > 1
        assert peers.client.stack.observers == (other,)


async def test_a_capture_that_fails_costs_the_endpoint_nothing() -> None:
    failures: list[Exception] = []

    def write(octets: bytes) -> bool:
        if octets[3] == 6:  # a packet
            raise ZeroDivisionError("a bug")
        return True

    recording = Recording(write, failed=failures.append)
    async with Peers() as peers:
        recording.begin(opened(peers.client))
        transport, protocol, accepted = await peers.connect(Recorder, Polite)
        transport.write(b"text")
        transport.close()
        await until(lambda: protocol.lost)
        assert accepted.received == b"text"
        assert peers.client.stack.observer is None
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


@pytest.mark.defect(61)
async def test_peers_are_told_from_strangers_by_address_and_port() -> None:
    recording = Recording(lambda _: True, failed=lambda error: pytest.fail(str(error)))
    async with utcp.Endpoint(("0.0.0.0", 0)) as everywhere, utcp.Endpoint(("127.0.0.1", 0)) as here:
        recording.begin(opened(everywhere))
        port = everywhere.address[1]
        assert recording.is_ours(("127.0.0.1", port))
        assert recording.is_ours(("127.0.0.2", port))  # not the address that we talk to it from
        assert not recording.is_ours(("192.0.2.1", port))
        assert not recording.is_ours(("::1", port, 0, 0))  # another program's, with the same port of the other family
        other = ("127.0.0.1", here.address[1])
        assert not recording.is_ours(other)
        recording.begin(opened(here))
        assert recording.is_ours(other)
        assert not recording.is_ours(("127.0.0.2", here.address[1]))
        recording.end(opened(here))
        assert not recording.is_ours(other)
        recording.finish()


@pytest.mark.defect(91)
@pytest.mark.parametrize("method", ["segment_received", "segment_sent", "state_changed", "time_wait_ended"])
async def test_whatever_of_a_capture_fails_ends_it_and_is_told_once(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError(method)

    monkeypatch.setattr(CaptureObserver, method, fail)
    failures: list[Exception] = []
    recording = Recording(lambda _: True, failed=failures.append)
    async with Peers() as peers:
        recording.begin(opened(peers.client))
        transport, protocol, accepted = await peers.connect(Recorder, Polite)
        transport.write(b"text")
        transport.close()
        await until(lambda: protocol.lost and failures)
        assert accepted.received == b"text"
        assert peers.client.stack.observer is None
    assert [str(failure) for failure in failures] == [method]


@pytest.mark.defect(91)
async def test_a_capture_that_cannot_be_closed_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "program.pcapng"
    monkeypatch.setenv("UTCP_PCAP", str(path))
    close = os.close

    def fails(descriptor: int) -> None:
        is_capture = path.exists() and os.path.sameopenfile(descriptor, keep)
        close(descriptor)
        if is_capture:
            raise OSError(5, "Input/output error")

    path.touch()
    keep = os.open(path, os.O_RDONLY)
    monkeypatch.setattr(os, "close", fails)
    async with utcp.Endpoint(("127.0.0.1", 0)) as endpoint:
        pass
    monkeypatch.undo()
    os.close(keep)
    assert endpoint.closed
    assert [record.getMessage() for record in caplog.records] == [f"UTCP_PCAP: {path}: Input/output error"]
