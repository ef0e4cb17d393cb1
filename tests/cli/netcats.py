"""`utcp nc` as a process, for tests."""

import asyncio
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import utcp
from tests.forking import Forked

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def nc(*arguments: str, stdin: Any = subprocess.PIPE, stdout: Any = subprocess.PIPE) -> Iterator[Forked]:
    """It runs until the test is done with it."""
    process = Forked(["nc", *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        with process:
            pass


@contextmanager
def listener(*arguments: str, **files: Any) -> Iterator[tuple[Forked, str]]:
    """One that listens on 127.0.0.1, and its port."""
    with nc("-v", "-l", *arguments, "127.0.0.1", "0", **files) as process:
        yield process, re.findall(r"listening on 127\.0\.0\.1 port (\d+)", line(process))[0]


def line(process: Forked) -> str:
    """The next line of its stderr."""
    assert process.stderr is not None
    said: bytes = process.stderr.readline()
    return said.decode()


def outcome(process: Forked, given: bytes | None = b"") -> tuple[int, bytes, str]:
    """Exit status, stdout and stderr, once it has ended; `given` None leaves stdin open until then."""
    try:
        if given is None:
            process.wait(60)
        out, err = process.communicate(given, timeout=200)
    finally:
        process.kill()
    return process.wait(), out, err.decode()


def run(*arguments: str, given: bytes = b"", **files: Any) -> tuple[int, bytes, str]:
    """The same of one that needs nothing but stdin."""
    with nc(*arguments, **files) as process:
        return outcome(process, None if "stdin" in files else given)


async def against(serve: Serve, work: Callable[[str], object]) -> None:
    """Do `work` with the port of a server that handles one connection by `serve`, and let that end."""
    handled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except BaseException as error:
            writer.transport.abort()
            handled.set_exception(error)
            raise
        writer.close()
        handled.set_result(None)

    async with asyncio.timeout(100), utcp.Endpoint(("127.0.0.1", 0)) as endpoint:
        await endpoint.start_server(handle)
        await asyncio.to_thread(work, str(endpoint.address[1]))
        await handled
