"""Two endpoints on loopback, in real time; each method of the one's socket, of its link, or of the loop is a site."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias
from unittest import mock

from tests.injection.endpoints import watch_link
from tests.injection.faults import Fault, Faults, watch_loop
from utcp import Config, Endpoint
from utcp.link import sockopt
from utcp.link.udp import UdpLink

SIZE: Final = 40_000
TEXT: Final = (os.urandom(SIZE), os.urandom(SIZE))
"""What each of two clients writes, and reads again."""
CONFIG: Final = Config(rto_initial=0.03, rto_min=0.02, delayed_ack=0.01, msl=0.01, mss=1200, close_timeout=2.0)

Sites: TypeAlias = Literal["socket", "link", "loop"]

_NOT_SITES: Final = {"fileno", "close", "detach", "setblocking", "getsockname"}


def os_error(code: int) -> Callable[[], OSError]:
    return lambda: OSError(code, os.strerror(code))


def blocking() -> OSError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


SYSTEM: Final[tuple[Callable[[], BaseException], ...]] = (
    blocking,
    *map(
        os_error,
        (
            errno.ENOBUFS,
            errno.ENOMEM,
            errno.EPERM,
            errno.EINTR,
            errno.EIO,
            errno.EINVAL,
            errno.EMSGSIZE,
            errno.ECONNREFUSED,
            errno.EHOSTUNREACH,
            errno.ENETDOWN,
            errno.EBADF,
        ),
    ),
    MemoryError,
    lambda: RuntimeError("a bug"),
)
"""What a system call may raise."""


class WatchedSocket(socket.socket):
    """A UDP socket on loopback, each of whose methods is a site."""

    faults: Faults | None = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        faults = super().__getattribute__("faults")
        if faults is None or name.startswith("_") or name in _NOT_SITES or not callable(found):
            return found
        return faults.wrap(f"socket.{name}", found)


_ALWAYS: Final = property(lambda _: True, lambda _, value: None)


class Run:
    """One run of the program: two clients write, half-close, and read what the server sends back."""

    def __init__(self, faults: Faults, sites: Sites) -> None:
        self.faults = faults
        self.sites = sites
        self.reported: list[dict[str, Any]] = []
        self.raised: list[BaseException] = []
        self.intact = 0
        """Clients that have read what they wrote."""

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.reported.append(context))
        with contextlib.ExitStack() as stack:
            if self.sites == "loop":
                stack.enter_context(watch_loop(loop, self.faults))
                # The loop watches the socket itself then, also for room.
                stack.enter_context(mock.patch.object(sockopt, "report_errors", return_value=False))
            if self.sites == "link":  # a link is asked only if it has some
                stack.enter_context(mock.patch.object(UdpLink, "has_path_errors", new=_ALWAYS))
            await self._play()

    async def _play(self) -> None:
        server, client = Endpoint(config=CONFIG), Endpoint(("127.0.0.1", 0), config=CONFIG)
        sock = WatchedSocket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        if self.sites == "socket":
            sock.faults = self.faults
        try:
            link = UdpLink(sock)
            if self.sites == "link":
                watch_link(link, self.faults, "link")
            if self.sites != "socket":
                sock.faults = Faults(Fault("socket.sendmsg", 2, blocking))  # so that something waits for room
            server.run(link)
            await client.start()
        except BaseException as error:
            if server.started:
                await server.aclose()
            sock.faults = None
            assert self.sites == "socket" or sock.fileno() < 0, "it is left open"
            sock.close()
            self.raised.append(error)
            return
        await server.start_server(_echo)
        await asyncio.gather(*(self._talk(client, server.address[1], text) for text in TEXT))
        await asyncio.gather(client.aclose(), server.aclose())

    async def _talk(self, client: Endpoint, port: int, text: bytes) -> None:
        try:
            async with asyncio.timeout(10):
                reader, writer = await client.open_connection("127.0.0.1", port)
                writer.write(text)
                writer.write_eof()
                received = await reader.read()
                writer.close()
                await writer.wait_closed()
        except OSError as error:
            self.raised.append(error)
        else:
            self.intact += received == text

    def check(self) -> None:
        """All is intact, and what is no ordinary failure of a system call was reported once."""
        fault, error = self.faults.fault, self.faults.error
        state = f"{fault}: {self.intact} of {len(TEXT)} intact, {self.reported}, {self.raised}"
        assert all(context.get("exception") is error for context in self.reported), state
        assert len(self.reported) <= 1, state
        if error in self.raised:  # the link could not be made, or no loop watches it
            assert self.raised == [error], state
            return
        assert self.intact == len(TEXT), state
        if error is not None and not isinstance(error, OSError):
            assert len(self.reported) == 1, state


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()
    await writer.wait_closed()


async def play(fault: Fault | None, sites: Sites) -> Run:
    run = Run(Faults(fault), sites)
    await run.play()
    run.check()
    return run
