"""Processes that end in one of several ways, with a connection open: `child.py SIDE LOOP`.

Each line on standard input, "PORT ENDING", forks a process that connects to that port and ends. Each line on standard
output is a tuple: ending, exit status, what the process wrote to standard error; or "ready", pid, port of a server.
Forking costs little where an interpreter with its imports costs half a second. A forked process ends as any does, by
the interpreter's own end.
"""

import asyncio
import os
import select
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import IO, Any

import uvloop

HOST = "127.0.0.1"
SIDE, LOOP = sys.argv[1:]
PORT = 0
"""The forked process's."""

if SIDE == "utcp":
    import utcp
    import utcp.aio.connect
    import utcp.aio.listen

    config = utcp.Config(msl=0.05, close_timeout=30.0)


async def connect() -> Any:
    if SIDE == "utcp":
        return await utcp.open_connection(HOST, PORT, config=config)
    return await asyncio.open_connection(HOST, PORT)


async def with_octets() -> Any:
    """A connection on which 100,000 octets were written."""
    _, writer = await connect()
    writer.write(bytes(100_000))
    return writer


async def open_at_the_end() -> None:
    await with_octets()


async def closed_at_the_end() -> None:
    (await with_octets()).close()


async def waited_for() -> None:
    writer = await with_octets()
    writer.close()
    await writer.wait_closed()


async def exception() -> None:
    await with_octets()
    raise LookupError("on purpose")


async def sys_exit() -> None:
    await with_octets()
    sys.exit(3)


async def interrupt() -> None:
    writer = await with_octets()
    os.kill(os.getpid(), signal.SIGINT)
    await writer.drain()
    await asyncio.sleep(60)


async def os_exit() -> None:
    reader, writer = await connect()
    writer.write(bytes(99_999) + b"?")  # the peer answers that
    await reader.readexactly(1)
    os._exit(4)


async def serve() -> None:
    """Until SIGINT comes."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    server: Any
    if SIDE == "utcp":
        server = await utcp.start_server(hold, HOST, 0, config=config)
    else:
        server = await asyncio.start_server(hold, HOST, 0)
    report("ready", os.getpid(), server.sockets[0].getsockname()[1])
    await server.serve_forever()


def report(*facts: object) -> None:
    os.write(1, f"{facts!r}\n".encode())  # in one piece: several processes write there


def new_loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop() if LOOP == "uvloop" else asyncio.new_event_loop()


ENDINGS: dict[str, Callable[[], Any]] = {
    "open": open_at_the_end,
    "closed": closed_at_the_end,
    "closed, waited for": waited_for,
    "loop.close() alone": open_at_the_end,
    "closed, loop.close() alone": closed_at_the_end,
    "exception": exception,
    "sys.exit()": sys_exit,
    "interrupt": interrupt,
    "os._exit()": os_exit,
    "server": serve,
}


def end(ending: str) -> None:
    if ending.endswith("loop.close() alone"):
        loop = new_loop()
        loop.run_until_complete(ENDINGS[ending]())
        loop.close()
    else:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(ENDINGS[ending]())


signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
running: dict[int, tuple[str, IO[bytes]]] = {}
listening = True
while listening or running:
    if listening and select.select([0], [], [], 0.01)[0]:
        lines = os.read(0, 1 << 16).decode().splitlines()  # whole ones: they are short
        listening = bool(lines)
        for line in lines:
            port, _, ending = line.partition(" ")
            file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process has ended
            pid = os.fork()
            if not pid:
                os.dup2(file.fileno(), 2)
                PORT = int(port)
                end(ending)
                sys.exit()
            running[pid] = ending, file
    ended, status = os.waitpid(-1, os.WNOHANG if listening else 0) if running else (0, 0)
    if ended:
        ending, written = running.pop(ended)
        with written:
            written.seek(0)
            report(ending, os.waitstatus_to_exitcode(status), written.read())
