"""Our StreamReader: read() copies nothing, and nothing else is to be seen of that."""

import asyncio
from typing import Any

import pytest

from utcp.aio.stream_reader import StreamReader

CHUNK = bytes(range(200))


class Pausing(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


class Unpausable(asyncio.Transport):
    asked = 0

    def pause_reading(self) -> None:
        self.asked += 1
        raise NotImplementedError


async def test_read_hands_on_the_object_that_came() -> None:
    reader = StreamReader()
    reader.feed_data(CHUNK)
    assert await reader.read(len(CHUNK)) is CHUNK
    waiting = asyncio.ensure_future(reader.read(4096))
    await asyncio.sleep(0)
    reader.feed_data(CHUNK)
    assert await waiting is CHUNK
    reader.feed_data(CHUNK)
    reader.feed_eof()
    assert await reader.read() is CHUNK
    assert reader.at_eof()


async def test_a_chunk_that_is_larger_than_asked_for_is_taken_in_parts() -> None:
    reader = StreamReader()
    reader.feed_data(CHUNK)
    assert await reader.read(150) == CHUNK[:150]
    assert not reader.at_eof()
    reader.feed_data(b"next")
    assert await reader.read(150) == CHUNK[150:] + b"next"
    reader.feed_eof()
    assert await reader.read(150) == b""
    assert reader.at_eof()


async def test_chunks_stay_in_order_whatever_reads_them() -> None:
    reader = StreamReader()
    for chunk in (b"a li", b"ne\nexactly", b"until;", b"re", b"st"):
        reader.feed_data(chunk)
    assert await reader.readline() == b"a line\n"
    assert await reader.readexactly(7) == b"exactly"
    assert await reader.readuntil(b";") == b"until;"
    reader.feed_eof()
    assert await reader.read() == b"rest"


async def test_read_of_nothing_takes_nothing() -> None:
    reader = StreamReader()
    reader.feed_data(CHUNK)
    assert await reader.read(0) == b""
    assert await reader.read(1000) == CHUNK


async def test_what_may_change_later_is_copied() -> None:
    reader = StreamReader()
    data = bytearray(b"before")
    reader.feed_data(data)
    data[:] = b"after!"
    assert await reader.read(100) == b"before"


async def test_an_error_comes_before_what_has_not_been_read() -> None:
    reader = StreamReader()
    reader.feed_data(CHUNK)
    reader.set_exception(ConnectionResetError("gone"))
    for size in (-1, 0, 100):
        with pytest.raises(ConnectionResetError):
            await reader.read(size)


async def test_a_reader_that_is_too_full_pauses_its_transport_and_resumes_it_when_read() -> None:
    reader = StreamReader(limit=64)
    transport = Pausing()
    reader.set_transport(transport)
    reader.feed_data(bytes(128))
    assert transport.calls == []
    assert len(await reader.read(1000)) == 128
    reader.feed_data(CHUNK)
    assert transport.calls == ["pause"]
    reader.feed_data(CHUNK)
    assert transport.calls == ["pause"]
    assert await reader.read(1000) == 2 * CHUNK
    assert transport.calls == ["pause", "resume"]
    reader.feed_data(CHUNK)
    assert await reader.read(1000) is CHUNK
    assert transport.calls == ["pause", "resume"] * 2


async def test_a_transport_that_cannot_be_paused_is_asked_once() -> None:
    reader = StreamReader(limit=64)
    transport: Any = Unpausable()
    reader.set_transport(transport)
    for _ in range(2):
        reader.feed_data(CHUNK)
        assert await reader.read(1000) is CHUNK
    assert transport.asked == 1


async def test_two_cannot_read_at_once() -> None:
    reader = StreamReader()
    first = asyncio.ensure_future(reader.read(10))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match=r"read\(\) called while another coroutine"):
        await reader.read(10)
    reader.feed_data(b"for the first")
    assert await first == b"for the fi"
