"""`utcp nc` and its stdin and stdout: much data, slow readers, files, terminals, streams that are closed or fail."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.netcats import against, line, listener, nc, outcome, run

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


# ---------------------------------------------------------------------- much data


@both_loops
def test_twenty_megabytes_each_way(loop: str, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(random.Random(1).randbytes(20_000_000))
    back.write_bytes(random.Random(2).randbytes(20_000_001))
    with (  # a file is stdin of one, a pipe of the other
        back.open("rb") as back_file,
        (tmp_path / "arrived").open("wb") as arrived,
        listener("--loop", loop, stdin=back_file, stdout=arrived) as (server, port),
    ):
        status, out, err = run("--loop", loop, "127.0.0.1", port, given=there.read_bytes())
        assert (status, err) == (0, "")
        assert outcome(server, None)[0] == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(back.read_bytes()).digest()
    assert hashlib.sha256((tmp_path / "arrived").read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()


async def test_who_does_not_read_stdout_holds_the_peer_back_and_nothing_else() -> None:
    total, block = 64_000_000, bytes(1_000_000)
    sent = 0
    heard = threading.Event()

    async def listen(reader: asyncio.StreamReader) -> None:
        assert await reader.read() == b"go on\n"
        heard.set()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        listening = asyncio.create_task(listen(reader))
        while sent < total:
            writer.write(block)
            await writer.drain()
            sent += len(block)
        writer.write_eof()
        await listening

    def work(port: str) -> None:
        with nc("127.0.0.1", port) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stands_still(lambda: sent)
            process.stdin.write(b"go on\n")
            process.stdin.close()
            assert heard.wait(60)
            assert 0 < sent < total
            arrived = 0
            while data := process.stdout.read(1 << 20):
                arrived += len(data)
            assert arrived == total
            assert process.wait(60) == 0

    await against(send, work)


async def test_a_peer_that_does_not_read_holds_stdin_back() -> None:
    total, block = 64_000_000, bytes(65536)
    written = 0
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        arrived = 0
        while data := await reader.read(1 << 20):
            arrived += len(data)
        assert arrived == total // len(block) * len(block)

    def work(port: str) -> None:
        with nc("127.0.0.1", port) as process:

            def write() -> None:
                nonlocal written
                assert process.stdin is not None
                with process.stdin:
                    for _ in range(total // len(block)):
                        process.stdin.write(block)
                        written += len(block)

            thread = threading.Thread(target=write)
            thread.start()
            stands_still(lambda: written)
            assert 0 < written < total - len(block)
            loop.call_soon_threadsafe(reading.set)
            thread.join()
            assert process.wait(60) == 0

    await against(wait, work)


def stands_still(count: Callable[[], int]) -> None:
    """Wait until `count` has begun to grow, and stopped."""
    before = 0
    while count() == 0 or count() != before:
        before = count()
        time.sleep(0.5)


# ---------------------------------------------------------------------- stdin and stdout


async def test_whoever_reads_stdout_may_go() -> None:
    async def be_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"one\n")
        assert await reader.readline() == b"gone\n"
        writer.write(b"two\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()

    def work(port: str) -> None:
        with nc("127.0.0.1", port) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"one\n"
            process.stdout.close()
            process.stdin.write(b"gone\n")
            process.stdin.flush()
            assert process.wait(60) == 141
            assert line(process) == ""

    await against(be_reset, work)


async def test_stdout_that_takes_nothing_is_one_line_and_status_1() -> None:
    async def be_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"one\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()

    def work(port: str) -> None:
        with Path("/dev/full").open("wb") as full, nc("127.0.0.1", port, stdout=full) as process:
            assert process.wait(60) == 1
            assert line(process) == "utcp nc: stdout: No space left on device\n"
            assert line(process) == ""

    await against(be_reset, work)


async def test_stdin_that_cannot_be_read_is_one_line_and_status_1(tmp_path: Path) -> None:
    async def be_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            await reader.read()

    def work(port: str) -> None:
        with (tmp_path / "only to write").open("wb") as stdin:
            assert run("127.0.0.1", port, stdin=stdin) == (1, b"", "utcp nc: stdin: Bad file descriptor\n")

    await against(be_reset, work)


@both_loops
async def test_a_process_without_stdin_only_listens(loop: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.write(b"hello")

    def work(port: str) -> None:
        command = f"{sys.executable} -W error -m utcp nc --loop {loop} 127.0.0.1 {port} <&-"
        done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=200)  # noqa: S603, S607
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")

    await against(answer, work)


def test_a_process_without_stdout_has_no_use() -> None:
    command = f"{sys.executable} -W error -m utcp nc 127.0.0.1 9 >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=200)  # noqa: S603, S607
    assert (done.returncode, done.stderr) == (1, b"utcp nc: stdout: Bad file descriptor\n")


@both_loops
async def test_at_a_terminal_ctrl_d_is_the_end(loop: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.write_eof()
        assert await reader.read() == b""

    def work(port: str) -> None:
        ours, theirs = os.openpty()
        try:
            with nc("--loop", loop, "127.0.0.1", port, stdin=theirs) as process:
                assert process.stdout is not None
                os.write(ours, b"hello\n")
                assert process.stdout.readline() == b"hello\n"
                assert line(process) == "utcp nc: the peer has finished; Ctrl-D finishes this side too\n"
                os.write(ours, b"\x04")
                assert outcome(process, None) == (0, b"", "")
        finally:
            os.close(ours)
            os.close(theirs)

    await against(echo, work)


def test_a_listener_at_a_terminal_is_done_when_the_peer_is() -> None:
    ours, theirs = os.openpty()
    try:
        with listener(stdin=theirs) as (server, port):
            assert run("127.0.0.1", port, given=b"hello") == (0, b"", "")
            assert outcome(server, None)[:2] == (0, b"hello")
    finally:
        os.close(ours)
        os.close(theirs)
