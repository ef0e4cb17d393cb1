"""A program to look into: another process, in which a server and a client talk."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.forking import Forked

PROGRAM: Final = """
import asyncio, sys, utcp

async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
    await writer.wait_closed()

async def connect(port):
    reader, writer = await utcp.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    await reader.read(5)
    return reader, writer

async def main():
    server = await utcp.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await connect(port)
    _, other = await connect(port)
    other.close()
    await other.wait_closed()
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        writer.write(b"word")
        print((await reader.read(65536)).decode(), flush=True)
    writer.close()
    await writer.wait_closed()

if sys.argv[1] == "asyncio":
    asyncio.run(main())
else:
    import uvloop
    uvloop.run(main())
"""


class Running:
    """The process, while it runs: it has a listener, both ends of one connection, and a TIME_WAIT record."""

    def __init__(self, process: Forked, control: Path) -> None:
        self.process = process
        self.control = control
        self.port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        return line.rstrip()

    def talk(self) -> None:
        """Have the client send a word, and hear it echoed."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.line() == "word"

    def end(self) -> None:
        """Have it close its connection, and end."""
        self.process.communicate(timeout=200)
        assert self.process.returncode == 0


@contextmanager
def running(control: Path, loop: str = "asyncio", **environment: str) -> Iterator[Running]:
    """Start it with the control socket `control` (a directory: a file in it)."""
    changed = {**os.environ, "UTCP_CONTROL": str(control), **environment}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with Forked(["-c", PROGRAM, loop], env=changed, text=True, **pipes) as process:
        path = control / f"{process.pid}.sock" if control.is_dir() else control
        try:
            yield Running(process, path)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "utcp", *arguments]


def utcp_command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `utcp` to its end."""
    changed = {**os.environ, **environment}
    return subprocess.run(command(*arguments), env=changed, capture_output=True, text=True, timeout=200)  # noqa: S603
