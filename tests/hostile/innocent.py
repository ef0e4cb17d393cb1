"""The innocent client: one connection whose echoes are timed, connections that it opens meanwhile, and a download.

`python -m tests.hostile.innocent STACK SERVER HOST` connects from HOST, says from which ports, and obeys lines of
standard input: `SECONDS` or `SECONDS bulk` measures for so long, and answers a line of JSON.
"""

import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from math import ceil
from typing import Any, Final

import utcp
from tests.hostile.services import DOWNLOAD, ECHO, UDP_PORT, obey

MESSAGE: Final = bytes(64)
PAUSE: Final = 0.005
"""Seconds between an answer and the next question."""
CONNECT_EVERY: Final = 0.2
PATIENCE: Final = 10.0
"""Seconds after the measurement in which what is under way may end."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Innocent:
    """A client of the server at `server`, by `stack`. Times are in seconds of the loop's clock."""

    def __init__(self, stack: str, server: str, host: str) -> None:
        self._server = server
        self._host = host
        self._endpoint = utcp.Endpoint((host, 0)) if stack == "utcp" else None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def begin(self, exits: AsyncExitStack) -> None:
        """Open the connection that is measured."""
        if self._endpoint is not None:
            await exits.enter_async_context(self._endpoint)
        self._reader, self._writer = await self._connect(ECHO)
        exits.callback(self._writer.transport.abort)

    async def obey(self, line: str) -> Any:
        """Measure as the line says; without one, say from which UDP port and TCP port the connection comes."""
        if not line:
            port = self._writer.get_extra_info("sockname")[1]
            return [self._endpoint.address[1] if self._endpoint is not None else 0, port]
        seconds, *bulk = line.split()
        return await self.measure(float(seconds), bulk=bool(bulk))

    async def measure(self, seconds: float, *, bulk: bool) -> dict[str, Any]:
        """Echoes, opens and, with `bulk`, a download at once for `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        echoes: list[float] = []
        opens: list[float | None] = []
        octets = 0
        async with asyncio.TaskGroup() as group:
            group.create_task(self._echo(end, echoes))
            group.create_task(self._open(end, opens))
            if bulk:
                octets = await self._download(end)
        echoes.sort()
        return {
            "p50": _percentile(echoes, 50),
            "p99": _percentile(echoes, 99),
            "longest": echoes[-1],
            "opens": opens,
            "octets_per_second": octets / seconds if bulk else None,
        }

    async def _echo(self, end: float, times: list[float]) -> None:
        loop = asyncio.get_running_loop()
        while (begin := loop.time()) < end:
            try:
                async with asyncio.timeout_at(end + PATIENCE):
                    self._writer.write(MESSAGE)
                    await self._reader.readexactly(len(MESSAGE))
            except (OSError, EOFError, TimeoutError):  # not answered any more
                times.append(end + PATIENCE - begin)
                return
            times.append(loop.time() - begin)
            await asyncio.sleep(PAUSE)

    async def _open(self, end: float, times: list[float | None]) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while loop.time() < end:
                group.create_task(self._open_one(end + PATIENCE, times))
                await asyncio.sleep(CONNECT_EVERY)

    async def _open_one(self, deadline: float, times: list[float | None]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                reader, writer = await self._connect(ECHO)
                times.append(loop.time() - begin)
        except (OSError, TimeoutError):
            times.append(None)
            return
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout_at(deadline):
                writer.write(MESSAGE)
                await reader.readexactly(len(MESSAGE))
        writer.close()

    async def _download(self, end: float) -> int:
        octets = 0
        with suppress(OSError, TimeoutError):
            reader, writer = await self._connect(DOWNLOAD)
            try:
                async with asyncio.timeout_at(end):
                    while data := await reader.read(1 << 18):
                        octets += len(data)
            finally:
                writer.transport.abort()
        return octets

    async def _connect(self, port: int) -> Streams:
        if self._endpoint is not None:
            return await self._endpoint.open_connection(self._server, port, udp_port=UDP_PORT)
        return await asyncio.open_connection(self._server, port, local_addr=(self._host, 0))


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[ceil(len(ordered) * percent / 100) - 1]


async def _run(stack: str, server: str, host: str) -> None:
    innocent = Innocent(stack, server, host)
    async with AsyncExitStack() as exits:
        await innocent.begin(exits)
        await obey(innocent.obey)


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
