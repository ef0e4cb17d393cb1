"""Rows: the end of a process that has a connection open. What its peer gets, and what the process says."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, Self
from weakref import WeakKeyDictionary

from tests.aio.side_by_side.sides import LOCALHOST, Side, describe, done, port_of
from tests.aio.side_by_side.table import Program, Table

ENDING: Final = Table("ending")

CHILD: Final = Path(__file__).with_name("child.py")


class Nursery:
    """The process that forks those of the rows of one loop (`child.py`). It stays as long as a row uses it."""

    _of: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Nursery]] = WeakKeyDictionary()

    @classmethod
    def of(cls, side: Side) -> Nursery:
        return cls._of.setdefault(side.loop, cls(side))

    def __init__(self, side: Side) -> None:
        loop = "uvloop" if type(side.loop).__module__.startswith("uvloop") else "asyncio"
        self._command = [sys.executable, str(CHILD), side.name, loop]
        self._users = 0
        self._ready: asyncio.Future[tuple[int, int]] = side.loop.create_future()
        self._ended: defaultdict[str, asyncio.Future[tuple[int, bytes]]] = defaultdict(side.loop.create_future)
        self._running: asyncio.Task[None] | None = None
        self._requests: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._users += 1
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users and self._running is not None:
            self._requests.put_nowait("")
            await self._running

    async def _run(self) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, start_new_session=True)
        assert process.stdin is not None
        assert process.stdout is not None
        reading = asyncio.create_task(self._read(process.stdout))
        while request := await self._requests.get():
            process.stdin.write(request.encode())
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)  # those that it forked, too
        await reading

    async def _read(self, reports: asyncio.StreamReader) -> None:
        async for line in reports:
            name, *facts = ast.literal_eval(line.decode())
            (self._ready if name == "ready" else self._ended[name]).set_result(tuple(facts))

    def start(self, ending: str, port: int = 0) -> None:
        self._requests.put_nowait(f"{port} {ending}\n")

    async def ready(self) -> tuple[int, int]:
        """The pid and the port of the server."""
        return await self._ready

    async def ended(self, ending: str) -> list[Any]:
        """The exit status of a process, and what it complained of: the last exception, and warnings."""
        status, errors = await self._ended[ending]
        exceptions = re.findall(r"^(\w+(?:Error|Interrupt))\b", errors.decode(), re.MULTILINE)
        warnings = sorted(set(re.findall(r"\b\w+Warning\b", errors.decode())))
        return [status, *exceptions[-1:], *warnings]


def ends(ending: str) -> Program:
    async def program(side: Side) -> Any:
        received = 0

        async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
            nonlocal received
            try:
                while data := await reader.read(1 << 16):
                    received += len(data)
                    if data.endswith(b"?"):
                        writer.write(b"!")
                end.set_result("eof")
            except OSError as error:
                end.set_result(describe(error))
            writer.close()

        end: asyncio.Future[str] = side.loop.create_future()
        server = await side.start_server(handler, LOCALHOST, 0)
        async with Nursery.of(side) as nursery:
            nursery.start(ending, port_of(server))
            status = await nursery.ended(ending)
            # What a process that is gone has not said by now, it will not say.
            return [received, end.result() if await done(end) else "nothing", *status]

    return program


for name, defects in (
    ("open", ()),
    ("closed", ()),
    ("closed, waited for", ()),
    ("loop.close() alone", (74,)),
    ("closed, loop.close() alone", (74,)),
    ("exception", ()),
    ("sys.exit()", ()),
    ("interrupt", ()),
    ("os._exit()", ()),
):
    ENDING.add(name, ends(name), *defects)


@ENDING.row("interrupt of a server with an idle client", 73)
async def _(side: Side) -> Any:
    async with Nursery.of(side) as nursery:
        nursery.start("server")
        pid, port = await nursery.ready()
        reader, writer = await side.open_connection(LOCALHOST, port)
        writer.write(b"hello")
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGINT)
        reading = asyncio.ensure_future(reader.read())
        ended = await done(reading, 500)  # in another process
        writer.close()
        return [ended, await reading, *await nursery.ended("server")]
