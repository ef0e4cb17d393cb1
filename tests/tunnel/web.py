"""A small HTTP service in a thread."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MEBIBYTE: Final = 1 << 20


def body(octets: int) -> bytes:
    """Octets that do not repeat within it, the same each time."""
    return random.Random(1).randbytes(octets)


class Web:
    """GET /OCTETS answers with so many; /slowly/OCTETS does so in pieces, a moment apart; /together/OCTETS as soon as
    `gathering` requests are there."""

    def __init__(self, gathering: int) -> None:
        self.port = 0
        self._gathering = gathering
        self._gathered = asyncio.Event()
        self.at_once = 0
        self.most_at_once = 0
        self._bodies: dict[int, bytes] = {}

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            *how, octets = head.split()[1].decode().strip("/").split("/")
            slowly = "slowly" in how
            if "together" in how:
                if self.at_once == self._gathering:
                    self._gathered.set()
                await self._gathered.wait()
            data = self.body(int(octets))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(data))
            step = max(1, len(data) // 20) if slowly else MEBIBYTE
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await writer.drain()
                if slowly:
                    await asyncio.sleep(0.05)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the last when the service ends
            writer.transport.abort()
        finally:
            self.at_once -= 1
            writer.close()

    def body(self, octets: int) -> bytes:
        if octets not in self._bodies:
            self._bodies[octets] = body(octets)
        return self._bodies[octets]

    async def serve(self, started: threading.Event) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=2000)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self.stopped.wait()
        server.close()


@contextmanager
def web(gathering: int = 0) -> Iterator[Web]:
    service = Web(gathering)
    started = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(service.serve(started)))
    thread.start()
    started.wait()
    try:
        yield service
    finally:
        service.loop.call_soon_threadsafe(service.stopped.set)
        thread.join()
