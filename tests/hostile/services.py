"""What the attacked server offers, over utcp or over the kernel's TCP, and the commands that its process takes.

`python -m tests.hostile.services STACK HOST` serves until its standard input ends. A line there is answered by a line
of JSON: the server's figures since the last.
"""

import asyncio
import json
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from struct import Struct
from time import process_time
from typing import Any, Final

import utcp
from bench.resources import resident

UDP_PORT: Final = 9000
ECHO: Final = 9000
DOWNLOAD: Final = 9001
"""Writes for ever."""
SINK: Final = 9002
"""Reads nothing."""
CLOSE: Final = 9003
"""Closes at once."""

DRIBBLE: Final = 9004
"""Writes single octets, 10,000 a second."""

BACKLOG: Final = 1024
_PIECE: Final = 1 << 16
_TICK: Final = 0.01
_SND_MSS: Final = Struct("=16xI")
"""Where `struct tcp_info` has the MSS."""
_TCP_INFO_SIZE: Final = 104
_PAGE: Final = resource.getpagesize()

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _download(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"d" * _PIECE)  # new octets each time, as from a file
        await writer.drain()


async def _dribble(__: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        for _ in range(100):
            writer.write(b"w")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _sink(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _close(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    return


_HANDLERS: Final[dict[int, Handler]] = {ECHO: _echo, DOWNLOAD: _download, SINK: _sink, CLOSE: _close, DRIBBLE: _dribble}


class Service:
    """The handlers, and what is measured about the process that runs them."""

    def __init__(self) -> None:
        self._echoing: list[asyncio.StreamWriter] = []
        self._blocked = 0.0
        self._cpu = process_time()

    def handler(self, port: int) -> Handler:
        """What serves a connection to `port`, and closes it at the end."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if port == ECHO and not self._echoing:
                self._echoing.append(writer)
            with suppress(OSError):
                await _HANDLERS[port](reader, writer)
            writer.close()

        return serve

    async def watch_loop(self) -> None:
        """Note by how much the loop is late."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK
            await asyncio.sleep(_TICK)
            self._blocked = max(self._blocked, loop.time() - due)

    def figures(self) -> dict[str, float | None]:
        """Since the last call: processor time and the loop's longest lateness, in seconds. Now: octets of memory, the
        kernel's for TCP among them, and the MSS towards the client that came first."""
        blocked, self._blocked = self._blocked, 0.0
        before, self._cpu = self._cpu, process_time()
        return {
            "cpu": self._cpu - before,
            "blocked": blocked,
            "memory": (resident() or 0) + _kernel_memory(),
            "mss": self._mss(),
        }

    def _mss(self) -> float | None:
        if not self._echoing or self._echoing[0].transport.is_closing():
            return None
        sock = self._echoing[0].get_extra_info("socket")
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        mss: int = _SND_MSS.unpack_from(info)[0]
        return mss


def _kernel_memory() -> int:
    """Octets that the kernel's TCP holds in buffers, on the whole machine; 0 where that is not told."""
    with suppress(FileNotFoundError):
        for line in Path("/proc/net/sockstat").read_text().splitlines():
            if line.startswith("TCP:"):
                return int(line.split()[-1]) * _PAGE
    return 0


async def _serve(stack: str, host: str) -> None:
    service = Service()
    async with AsyncExitStack() as exits:
        if stack == "utcp":
            endpoint = await exits.enter_async_context(utcp.Endpoint((host, UDP_PORT)))
            for port in _HANDLERS:
                await endpoint.start_server(service.handler(port), port, backlog=BACKLOG)
        else:
            for port in _HANDLERS:
                server = await asyncio.start_server(service.handler(port), host, port, backlog=BACKLOG)
                exits.callback(server.close)
        watching = asyncio.ensure_future(service.watch_loop())
        exits.callback(watching.cancel)
        await obey(lambda _: _figures(service))


async def _figures(service: Service) -> Any:
    return service.figures()


async def obey(command: Callable[[str], Awaitable[Any]]) -> None:
    """Answer each line of standard input by what `command(line)` returns, as JSON, until the input ends. An empty
    object says at first that all is ready."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _answer({})
    while line := await reader.readline():
        _answer(await command(line.decode().strip()))
    transport.close()


def _answer(value: Any) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201  # it is a program's answer


def allow_descriptors() -> None:
    """As many descriptors as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    allow_descriptors()
    asyncio.run(_serve(*sys.argv[1:]))
