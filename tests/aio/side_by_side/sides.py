"""The two sides: the calls that a program makes, over kernel TCP by asyncio and over UDP by utcp."""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, TypeVar

import utcp
import utcp.aio.connect
import utcp.aio.listen
from tests.ports import free_port

LOCALHOST: Final = "127.0.0.1"
MUCH: Final = 6 << 20
"""Octets that no buffers hold, the kernel's or ours."""
FAST: Final = utcp.Config(msl=0.05, close_timeout=30.0)
"""TIME_WAIT of 0.1 s, so that a row leaves nothing behind for long."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_QUIET: Final = 12
"""Turns of the loop, at least 2 ms each, without a callback after which nothing more is expected on loopback. Turns,
because on a busy machine what is due within some milliseconds may not have been read yet."""


NotesT = TypeVar("NotesT", bound="Notes")


class Notes(asyncio.Protocol):
    """Notes its callbacks by name in `calls`, one entry for consecutive data_received()."""

    def __init__(self, keep_open: bool = True) -> None:
        self.keep_open = keep_open
        self.calls: list[str] = []
        self.data = bytearray()
        """What was received."""
        self.transport: Any = None

    def note(self, call: str) -> None:
        self.calls.append(call)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.calls[-1] != "data":
            self.note("data")

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(f"lost {describe(exc)}" if exc is not None else "lost")

    @property
    def received(self) -> bytes:
        return bytes(self.data)

    @property
    def lost(self) -> bool:
        return any(call.startswith("lost") for call in self.calls)


class Echo(Notes):
    """Sends back what comes, and closes when its peer does."""

    def __init__(self) -> None:
        super().__init__(keep_open=False)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


def describe(error: BaseException) -> str:
    """An exception by the first of its classes that is not utcp's, and by its errno."""
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}({', '.join(map(describe, error.exceptions))})"
    name = next(each.__name__ for each in type(error).__mro__ if not each.__module__.startswith("utcp"))
    return f"{name} {error.errno}" if isinstance(error, OSError) and error.errno is not None else name


async def attempt(call: Awaitable[Any] | Callable[[], Any]) -> Any:
    """What a call returns, or how it fails, as a text; "hangs" when it takes more than 60 s."""
    try:
        if callable(call):
            return call()
        async with asyncio.timeout(60):
            return await call
    except TimeoutError as error:
        return "hangs" if error.errno is None else describe(error)
    except (Exception, asyncio.CancelledError) as error:
        return describe(error)


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true; TimeoutError after 60 s."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.001)


async def done(future: asyncio.Future[Any], turns: int = 100) -> bool:
    """Let the loop turn, at least 2 ms each time, until `future` is done. False when it is not even then."""
    for _ in range(turns):
        if future.done():
            return True
        await asyncio.sleep(0.002)
    return False


async def settled(*noters: Notes) -> None:
    """Wait until none of them has been called for a while."""
    before: list[int] = []
    quiet = 0
    while quiet < _QUIET:
        now = [len(each.calls) + len(each.data) for each in noters]
        quiet = quiet + 1 if now == before else 0
        before = now
        await asyncio.sleep(0.002)


class Side(ABC):
    """One of the two. Remembers what a program opens, so that `clean()` can end it."""

    name: ClassVar[str]
    kind: ClassVar[socket.SocketKind]
    """The kind of socket that `sock=` takes."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._transports: list[Any] = []
        self._writers: list[Any] = []  # not their transports only: a writer that goes before those are closed complains
        self._noters: list[Notes] = []
        self._servers: list[Any] = []

    # --- what programs call

    async def create_connection(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        transport, protocol = await self._create_connection(*arguments, **options)
        self._transports.append(transport)
        return transport, protocol

    async def open_connection(self, *arguments: Any, **options: Any) -> tuple[asyncio.StreamReader, Any]:
        reader, writer = await self._open_connection(*arguments, **options)
        self._writers.append(writer)
        return reader, writer

    async def create_server(self, *arguments: Any, **options: Any) -> Any:
        server = await self._create_server(*arguments, **options)
        self._servers.append(server)
        return server

    async def start_server(self, handler: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        def remembered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            self._writers.append(writer)
            return handler(reader, writer)

        server = await self._start_server(remembered, *arguments, **options)
        self._servers.append(server)
        return server

    async def connect_and_forget(self, *arguments: Any) -> None:
        await self._create_connection(asyncio.Protocol, *arguments)

    async def open_and_forget(self, *arguments: Any) -> None:
        await self._open_connection(*arguments)

    async def serve_and_forget(self, *arguments: Any) -> None:
        await self._create_server(*arguments)

    def notes(self, keep_open: bool = True) -> Notes:
        """A protocol whose transport `clean()` aborts."""
        return self.noted(Notes(keep_open))

    def noted(self, protocol: NotesT) -> NotesT:
        """`protocol`, which `clean()` will look after."""
        self._noters.append(protocol)
        return protocol

    def echo(self) -> Notes:
        return self.noted(Echo())

    async def serve(self, factory: Callable[[], asyncio.BaseProtocol] | None = None, **options: Any) -> tuple[Any, int]:
        """A server on IPv4 loopback (an echo server unless told otherwise), and its port."""
        server = await self.create_server(factory or self.echo, LOCALHOST, 0, **options)
        return server, port_of(server)

    async def serve_both(self) -> int:
        """The port of echo servers on the loopback addresses of both families."""
        while True:
            _, port = await self.serve()
            try:
                await self.create_server(self.echo, "::1", port)
            except OSError:  # that port is taken
                continue
            return port

    async def pair(
        self, near: Notes | None = None, far: Notes | None = None, **options: Any
    ) -> tuple[Any, Any, Any, Any]:
        """A client's transport and protocol, and the same of the server that it is connected to."""
        near = self.noted(near or Notes())
        far = self.noted(far or Notes())
        _, port = await self.serve(lambda: far)
        transport, _ = await self.create_connection(lambda: near, LOCALHOST, port, **options)
        await until(lambda: far.transport)
        return transport, near, far.transport, far

    async def streams(self, **options: Any) -> tuple[asyncio.StreamReader, Any, asyncio.StreamReader, Any]:
        """A client's reader and writer, and the server's."""
        accepted: asyncio.Future[tuple[asyncio.StreamReader, Any]] = self.loop.create_future()
        server = await self.start_server(lambda *streams: accepted.set_result(streams), LOCALHOST, 0, **options)
        reader, writer = await self.open_connection(LOCALHOST, port_of(server), **options)
        return reader, writer, *await accepted

    async def free_port(self) -> int:
        """A port on IPv4 loopback on which nobody listens."""
        return free_port(self.kind)

    def socket(self, address: tuple[str, int] | None = (LOCALHOST, 0)) -> socket.socket:
        """A socket of the kind that `sock=` takes, bound to `address` unless that is None."""
        sock = socket.socket(socket.AF_INET, self.kind)
        if address is not None:
            sock.bind(address)
        return sock

    @staticmethod
    def reset(transport: Any) -> None:
        """Let the peer get RST: `abort()` alone means a FIN over kernel TCP."""
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def clean(self) -> None:
        """End what is left."""
        for server in self._servers:
            server.close()
        transports = [*self._transports, *(writer.transport for writer in self._writers)]
        for transport in (*transports, *(noter.transport for noter in self._noters)):
            if transport is not None and not _over(transport):
                transport.abort()

    # --- what differs

    @abstractmethod
    async def _create_connection(self, *arguments: Any, **options: Any) -> tuple[Any, Any]: ...

    @abstractmethod
    async def _open_connection(self, *arguments: Any, **options: Any) -> tuple[asyncio.StreamReader, Any]: ...

    @abstractmethod
    async def _create_server(self, *arguments: Any, **options: Any) -> Any: ...

    @abstractmethod
    async def _start_server(self, *arguments: Any, **options: Any) -> Any: ...

    @abstractmethod
    async def start_tls(self, transport: Any, protocol: Any, context: Any, **options: Any) -> Any: ...


class Kernel(Side):
    """asyncio over kernel TCP."""

    name = "kernel"
    kind = socket.SOCK_STREAM

    async def _create_connection(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        return await self.loop.create_connection(*arguments, **options)

    async def _open_connection(self, *arguments: Any, **options: Any) -> tuple[asyncio.StreamReader, Any]:
        return await asyncio.open_connection(*arguments, **options)

    async def _create_server(self, *arguments: Any, **options: Any) -> Any:
        return await self.loop.create_server(*arguments, **options)

    async def _start_server(self, *arguments: Any, **options: Any) -> Any:
        return await asyncio.start_server(*arguments, **options)

    async def start_tls(self, transport: Any, protocol: Any, context: Any, **options: Any) -> Any:
        return await self.loop.start_tls(transport, protocol, context, **options)


class Utcp(Side):
    """utcp over UDP."""

    name = "utcp"
    kind = socket.SOCK_DGRAM

    async def _create_connection(self, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        return await utcp.create_connection(*arguments, config=FAST, **options)

    async def _open_connection(self, *arguments: Any, **options: Any) -> tuple[asyncio.StreamReader, Any]:
        return await utcp.open_connection(*arguments, config=FAST, **options)

    async def _create_server(self, *arguments: Any, **options: Any) -> Any:
        return await utcp.create_server(*arguments, config=FAST, **options)

    async def _start_server(self, *arguments: Any, **options: Any) -> Any:
        return await utcp.start_server(*arguments, config=FAST, **options)

    async def start_tls(self, transport: Any, protocol: Any, context: Any, **options: Any) -> Any:
        return await utcp.start_tls(transport, protocol, context, **options)


def _over(transport: Any) -> bool:
    """Not to be aborted: asyncio might take the descriptor off the loop that another connection has by now."""
    if getattr(transport, "_ssl_protocol", transport) is None:  # TLS that is closed
        return True
    if transport.is_closing() and not transport.get_write_buffer_size():
        return True
    protocol = transport.get_protocol()
    return isinstance(protocol, Notes) and protocol.lost


def port_of(server: Any) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
