"""Both ends of the measured connections, in one process or in two, under the same conditions.

`open_ends` serves an App and connects to it. With one process, both ends run on the same loop. With two, the server
runs in its own process with a loop of the same kind. The client's calls of its App and reads of its counters go through
a socket pair, which is idle while there are no calls or failures. Times come from the system's monotonic clock
(`perf_counter`), which all processes share on Linux.
"""

import asyncio
import pickle
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from time import process_time
from typing import Any, Self

from . import loops, resources
from .peers import find
from .stacks import UNKNOWN, App, Client, Counts, Server, Setting, Streams
from .trouble import CallbackFailed, exception_handler

_LINE = 1 << 20
"""Maximum size of an answer, octets."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources used by the ends so far, in all their processes. CPU in seconds, memory in octets."""

    counts: Counts = UNKNOWN
    cpu: float = 0.0
    memory: int | None = None
    """Resident memory now, in excess of that before the server's start, octets. Kernel memory belongs to no process and
    is not included."""
    peak_memory: int | None = None
    """Peak of the same."""

    def since(self, before: "Usage") -> "Usage":
        """Return the usage between `before` and this; memory is the current value."""
        return replace(self, counts=self.counts.since(before.counts), cpu=self.cpu - before.cpu)

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum of both processes."""
        return Usage(
            self.counts.plus(other.counts),
            self.cpu + other.cpu,
            None if self.memory is None or other.memory is None else self.memory + other.memory,
            None if self.peak_memory is None or other.peak_memory is None else self.peak_memory + other.peak_memory,
        )


@dataclass(frozen=True, slots=True)
class Ends:
    """A listening server, and functions to connect to it, to call its App, and to read the usage of both ends."""

    client: Client
    ask: Callable[..., Awaitable[Any]]
    """`await ask("name", *arguments)` calls the App's coroutine method of that name, in its process. Arguments and
    result must be picklable."""
    usage: Callable[[], Awaitable[Usage]]

    async def connect(self) -> Streams:
        """Open a connection to the server."""
        return await self.client.connect()


class _Meter:
    """The usage of this process."""

    def __init__(self) -> None:
        self._resident = resources.resident()

    def read(self, counts: Counts) -> Usage:
        return Usage(counts, process_time(), self._above(resources.resident()), self._above(resources.peak()))

    def _above(self, octets: int | None) -> int | None:
        return None if octets is None or self._resident is None else octets - self._resident


@asynccontextmanager
async def open_ends(
    stack: str, app: Callable[[], App], setting: Setting, *, processes: int, loop: str, connections: int
) -> AsyncIterator[Ends]:
    """Serve `app()` and prepare to connect to it.

    Raises OSError when the limit of descriptors is too low, or when the server's process ends early.

    Args:
        stack: name of the stack.
        app: a class of a module, or a partial of one.
        setting: settings of both ends.
        processes: 1 or 2.
        loop: name of the event loop.
        connections: maximum number of concurrent connections, for the limit of descriptors (not needed for utcp).
    """
    if stack != "utcp":
        resources.require_descriptors(connections * (2 if processes == 1 else 1))
    meter = _Meter()
    find_stack = find(stack)
    if processes == 1:
        application = app()
        async with (
            find_stack.serve(application, setting) as server,
            find_stack.dial(server.address, setting) as client,
        ):

            async def ask(name: str, *arguments: Any) -> Any:
                return await getattr(application, name)(*arguments)

            async def usage() -> Usage:
                return meter.read(server.counts().plus(client.counts()))

            yield Ends(client, ask, usage)
        return

    ours, theirs = socket.socketpair()
    context = get_context("spawn")
    process = context.Process(target=_serve, args=(theirs, stack, app, setting, loop, connections), daemon=True)
    with ours:
        with theirs:
            process.start()
        try:
            channel = _Channel(*await asyncio.open_unix_connection(sock=ours, limit=_LINE))
            try:
                address = await channel.receive()
                async with find_stack.dial(address, setting) as client, _Questions(channel) as questions:

                    async def usage_of_both() -> Usage:
                        there: Usage = await questions.ask("")
                        return meter.read(client.counts()).plus(there)

                    yield Ends(client, questions.ask, usage_of_both)
            finally:
                await channel.aclose()
            await asyncio.to_thread(process.join, 10)
        finally:
            process.kill()
            process.join()


class _Channel:
    """Pickled values over a stream, each preceded by its length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, value: object) -> None:
        document = pickle.dumps(value)
        self._writer.write(len(document).to_bytes(8) + document)

    async def receive(self) -> Any:
        try:
            size = int.from_bytes(await self._reader.readexactly(8))
            value = pickle.loads(await self._reader.readexactly(size))  # noqa: S301  # from our own process
        except asyncio.IncompleteReadError:
            raise ConnectionError("the server's process has ended before its time") from None
        return value

    async def aclose(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class _Questions:
    """Calls from the client's process to the server's, one at a time. An unsolicited message of the server is
    CallbackFailed, and goes to the loop's exception handler."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[Any] | None = None
        self._gone: ConnectionError | None = None

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        await asyncio.wait([self._listening])

    async def ask(self, name: str, *arguments: Any) -> Any:
        async with self._turn:
            if self._gone is not None:
                raise self._gone
            self._answer = asyncio.get_running_loop().create_future()
            self._channel.send((name, arguments))
            answer = await self._answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _listen(self) -> None:
        while self._gone is None:
            try:
                said = await self._channel.receive()
            except ConnectionError as error:
                said = self._gone = error
            if self._answer is not None and not self._answer.done() and not isinstance(said, CallbackFailed):
                self._answer.set_result(said)
            else:
                unasked = said if isinstance(said, CallbackFailed) else CallbackFailed(str(said))
                asyncio.get_running_loop().call_exception_handler({"message": str(unasked), "exception": unasked})


def _serve(
    sock: socket.socket, stack: str, app: Callable[[], App], setting: Setting, loop: str, connections: int
) -> None:
    """Run the server's process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process too, silently
    if stack != "utcp":
        resources.require_descriptors(connections)
    loops.run(_serve_and_answer(sock, stack, app, setting), loop)


async def _serve_and_answer(sock: socket.socket, stack: str, app: Callable[[], App], setting: Setting) -> None:
    meter = _Meter()
    application = app()
    channel = _Channel(*await asyncio.open_unix_connection(sock=sock, limit=_LINE))

    asyncio.get_running_loop().set_exception_handler(exception_handler(channel.send))
    async with find(stack).serve(application, setting) as server:
        channel.send(server.address)
        while (question := await _question(channel)) is not None:
            channel.send(await _answer(question, application, meter, server))
    await channel.aclose()


async def _question(channel: _Channel) -> tuple[str, tuple[Any, ...]] | None:
    try:
        question: tuple[str, tuple[Any, ...]] = await channel.receive()
    except ConnectionError:  # the client's process has finished
        return None
    return question


async def _answer(question: tuple[str, tuple[Any, ...]], application: App, meter: _Meter, server: Server) -> object:
    """Return the answer to a call, which is the error if the call fails, so that the client's process raises it."""
    name, arguments = question
    if not name:
        return meter.read(server.counts())
    try:
        return await getattr(application, name)(*arguments)
    except Exception as error:
        return error


async def open_many(ends: Ends, count: int, at_once: int = 100) -> list[Streams]:
    """Open `count` connections, at most `at_once` at a time."""
    gate = asyncio.Semaphore(at_once)

    async def connect() -> Streams:
        async with gate:
            return await ends.connect()

    return await asyncio.gather(*(connect() for _ in range(count)))
