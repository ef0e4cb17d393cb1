"""loop.sendfile(), beside kernel TCP: the same files, offsets and counts, and the same outcome."""

import asyncio
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import utcp
from tests.aio.peers import Peers, Polite, Recorder, connection_of, until
from tests.certificates import client_context, server_context

CONTENT = bytes(range(256)) * 40


@contextmanager
def fresh(path: Path) -> Iterator[Any]:
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        yield file


@contextmanager
def read_ahead(path: Path) -> Iterator[Any]:
    """Its position is 100, and the buffered reader holds all of it."""
    with fresh(path) as file:
        file.read(100)
        yield file


@contextmanager
def written(path: Path) -> Iterator[Any]:
    """Its position is its end."""
    with path.open("w+b") as file:
        file.write(CONTENT)
        file.flush()
        yield file


@contextmanager
def unflushed(path: Path) -> Iterator[Any]:
    """All but 1000 octets are still in the buffered writer, which no other reader of the file sees."""
    with path.open("w+b", buffering=1 << 20) as file:
        file.write(CONTENT[:1000])
        file.flush()
        file.write(CONTENT[1000:])
        yield file


@contextmanager
def unbuffered(path: Path) -> Iterator[Any]:
    path.write_bytes(CONTENT)
    with path.open("rb", buffering=0) as file:
        yield file


@contextmanager
def write_only(path: Path) -> Iterator[Any]:
    with path.open("wb") as file:
        file.write(CONTENT)
        file.flush()
        yield file


@contextmanager
def text(path: Path) -> Iterator[Any]:
    path.write_bytes(CONTENT)
    with path.open(encoding="latin-1") as file:
        yield file


@contextmanager
def empty(path: Path) -> Iterator[Any]:
    path.write_bytes(b"")
    with path.open("rb") as file:
        yield file


@contextmanager
def in_memory(_: Path) -> Iterator[Any]:
    yield io.BytesIO(CONTENT)


@contextmanager
def pipe(_: Path) -> Iterator[Any]:
    reading, writing = os.pipe()
    os.write(writing, CONTENT)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        yield file


@contextmanager
def closed(path: Path) -> Iterator[Any]:
    with fresh(path) as file:
        pass
    yield file


class Case(NamedTuple):
    file: Callable[[Path], Any]
    arguments: tuple[Any, ...] = ()
    fallback: bool = True


CASES = [
    *(Case(file) for file in (fresh, read_ahead, written, unflushed, unbuffered, write_only, text, empty, closed)),
    *(Case(file, (0, 500)) for file in (fresh, read_ahead, written, unflushed, unbuffered, in_memory, empty)),
    *(Case(file, (200,)) for file in (fresh, read_ahead, written, unflushed, in_memory)),
    *(Case(fresh, (200, 300)), Case(written, (200, 300)), Case(written, (10_000, 1000)), Case(fresh, (20_000,))),
    *(Case(fresh, (0, count)) for count in (0, -1, 1.5, True, "5", None, 1 << 40)),
    *(Case(written, (offset, 10)) for offset in (-1, 1.5, None, True)),
    Case(fresh, (1 << 70,)),
    *(Case(file, (), False) for file in (fresh, written, in_memory, pipe, text, empty)),
    *(Case(file, (0, 500), False) for file in (in_memory, pipe)),
    *(Case(pipe, arguments) for arguments in ((), (0, 500))),
    Case(in_memory),
    Case(in_memory, (0, 0)),
]


def name_of(case: Case) -> str:
    return f"{case.file.__name__}{case.arguments}{'' if case.fallback else ' without fallback'}"


class Outcome(NamedTuple):
    result: object
    received: bytes
    position: object


async def outcome(case: Case, path: Path, over: Any, **tls: Any) -> Outcome:
    """What becomes of `case` over `over`, asyncio or utcp."""
    loop: Any = asyncio.get_running_loop()
    received: asyncio.Future[bytes] = loop.create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.close()
        received.set_result(data)

    with ExitStack() as stack:
        file = stack.enter_context(case.file(path))
        server = await over.start_server(receive, "127.0.0.1", 0, **({"ssl": server_context()} if tls else {}))
        _, writer = await over.open_connection(*server.sockets[0].getsockname(), **tls)
        writer.write(b"head ")
        try:
            result: object = await loop.sendfile(writer.transport, file, *case.arguments, fallback=case.fallback)
        except Exception as exc:
            result = type(exc)
        writer.write(b" tail")
        writer.close()
        try:
            position: object = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        except (OSError, ValueError):
            position = None if file.closed or not file.seekable() else file.tell()
        sent = await received
        server.close()
        return Outcome(result, sent, position)


@pytest.mark.defect(76)
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_as_over_kernel_tcp(case: Case, tmp_path: Path) -> None:
    theirs = await outcome(case, tmp_path / "file", asyncio)
    ours = await outcome(case, tmp_path / "file", utcp)
    assert ours == theirs


@pytest.mark.defect(76)
@pytest.mark.parametrize("case", [Case(fresh), Case(written), Case(fresh, (200, 300))], ids=name_of)
async def test_as_over_kernel_tcp_through_tls(case: Case, tmp_path: Path) -> None:
    """asyncio's fallback on both sides, with what it makes of positions."""
    ssl = client_context()
    theirs = await outcome(case, tmp_path / "file", asyncio, ssl=ssl, server_hostname="localhost")
    ours = await outcome(case, tmp_path / "file", utcp, ssl=ssl, server_hostname="localhost")
    assert ours == theirs


# --- while it runs


def has_sendfile() -> Any:
    loop: Any = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop has no loop.sendfile()")
    return loop


class Slow(Polite):
    """Reads when told."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()


BIG = bytes(range(256)) * 16384
"""4 MiB: more than all buffers together."""


@contextmanager
def big(path: Path) -> Iterator[Any]:
    path.write_bytes(BIG)
    with path.open("rb") as file:
        yield file


async def sending(peers: Peers, file: Any, *arguments: Any) -> tuple[Any, Any, asyncio.Task[int]]:
    """A sendfile that waits for room, behind what was written before."""
    loop = has_sendfile()
    transport, client, server = await peers.connect(Recorder, Slow)
    transport.write(b"head ")
    task = asyncio.ensure_future(loop.sendfile(transport, file, *arguments, fallback=False))
    connection = connection_of(transport)
    await until(lambda: connection.send_side.queued > 0 and not connection.send_side.space)
    return client, server, task


async def test_a_file_that_is_larger_than_all_buffers(peers: Peers, tmp_path: Path) -> None:
    with big(tmp_path / "file") as file:
        client, server, task = await sending(peers, file, 5, len(BIG) - 10)
        assert not task.done()
        server.transport.resume_reading()
        assert await task == len(BIG) - 10
        assert file.tell() == len(BIG) - 5
    assert client.calls == ["made"]  # it was not told to pause or resume
    assert client.transport.is_reading()
    client.transport.write(b" tail")
    client.transport.close()
    await until(lambda: server.lost)
    assert server.received == b"head " + BIG[5:-5] + b" tail"


async def test_nothing_else_is_written_or_read_meanwhile(peers: Peers, tmp_path: Path) -> None:
    with big(tmp_path / "file") as file:
        client, server, task = await sending(peers, file)
        transport = client.transport
        for write in (transport.write, lambda data: transport.writelines([data])):
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                write(b"x")
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            await has_sendfile().sendfile(transport, file)
        server.transport.write(b"early")
        await until(lambda: connection_of(transport).readable == 5)
        assert client.received == b""
        server.transport.resume_reading()
        await task
        await until(lambda: client.received == b"early")
        transport.abort()


@pytest.mark.defect(76)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_after_write_eof_it_is_refused_like_a_write(peers: Peers, tmp_path: Path, when: str) -> None:
    """The connection stays: the peer has a FIN, and may answer. Over kernel TCP the result is a wrong 0."""
    with big(tmp_path / "file") as file:
        if when == "meanwhile":
            client, server, task = await sending(peers, file)
            server.keep_open = True
            client.transport.write_eof()
            server.transport.resume_reading()
        else:
            loop = has_sendfile()
            transport, client, server = await peers.connect(Recorder, Recorder)
            transport.write_eof()
            task = asyncio.ensure_future(loop.sendfile(transport, file))
        with pytest.raises(RuntimeError, match="after write_eof"):
            await task
        await until(lambda: "eof" in server.calls)
        server.transport.write(b"answer")
        await until(lambda: client.received == b"answer")
        client.transport.abort()


async def test_the_position_after_a_cancellation(peers: Peers, tmp_path: Path) -> None:
    """It says how much went out; asyncio's own leaves the position where it was."""
    with big(tmp_path / "file") as file:
        client, server, task = await sending(peers, file)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        position = file.tell()
    client.transport.write(b" tail")
    server.transport.resume_reading()
    client.transport.close()
    await until(lambda: server.lost)
    assert 0 < position < len(BIG)
    assert server.received == b"head " + BIG[:position] + b" tail"


@pytest.mark.parametrize("end", ["reset by the peer", "aborted", "closed"])
async def test_the_connection_ends_meanwhile(peers: Peers, tmp_path: Path, end: str) -> None:
    with big(tmp_path / "file") as file:
        client, server, task = await sending(peers, file)
        if end == "reset by the peer":
            server.transport.abort()
        elif end == "aborted":
            client.transport.abort()
        else:
            client.transport.close()
            server.transport.resume_reading()
        with pytest.raises(ConnectionResetError if end == "reset by the peer" else ConnectionError):
            await task
        assert 0 < file.tell() < len(BIG)
    await until(lambda: client.lost)


async def test_a_kernel_transport_on_the_same_loop_keeps_its_own(peers: Peers, tmp_path: Path) -> None:
    loop = has_sendfile()
    transport, _, _ = await peers.connect(Recorder)
    with fresh(tmp_path / "file") as file:
        assert await loop.sendfile(transport, file) == len(CONTENT)
    transport.abort()
    assert (await outcome(Case(fresh, (), False), tmp_path / "file", asyncio)).result == len(CONTENT)
