"""Both ends of the connections to measure, in one process and in two."""

import asyncio
import os
import resource
import socket
from typing import cast

import pytest

from bench import loops
from bench.ends import open_ends
from bench.stacks import STACKS, ProtocolApp, Setting, StreamApp


class Counting(StreamApp):
    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(3))
        writer.close()
        await writer.wait_closed()

    async def process(self, text: str) -> tuple[int, str]:
        return os.getpid(), text

    async def fail(self) -> None:
        raise KeyError("what")

    async def die(self) -> None:
        os._exit(1)


class Sinking(StreamApp):
    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()


class Echoing(ProtocolApp):
    def protocol(self) -> asyncio.Protocol:
        return _Echo()


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _Hearing(asyncio.Protocol):
    def __init__(self, heard: asyncio.Future[bytes]) -> None:
        self._heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(b"abc")

    def data_received(self, data: bytes) -> None:
        self._heard.set_result(data)


each_stack = pytest.mark.parametrize("stack", STACKS)
one_and_two = pytest.mark.parametrize("processes", [1, 2])
each_loop = pytest.mark.parametrize("loop", loops.LOOPS)


@each_stack
@one_and_two
@each_loop
def test_ends(stack: str, processes: int, loop: str) -> None:
    async def run() -> None:
        setting = Setting("127.0.0.9")
        async with open_ends(stack, Counting, setting, processes=processes, loop=loop, connections=1) as ends:
            before = await ends.usage()
            reader, writer = await ends.connect()
            writer.write(b"abc")
            assert await reader.read() == b"abc"
            assert writer.get_extra_info("peername")[0] == "127.0.0.9"
            writer.close()
            await writer.wait_closed()
            used = (await ends.usage()).since(before)
            if stack == "utcp":
                assert used.counts.segments is not None
                assert used.counts.segments >= 6  # SYN, SYN-ACK, ACK with data, ACK with data and FIN, FIN, ACK
            assert used.cpu > 0
            process, text = await ends.ask("process", "hear")
            assert (process == os.getpid()) == (processes == 1)
            assert text == "hear"
            with pytest.raises(KeyError, match="what"):
                await ends.ask("fail")

    loops.run(run(), loop)


@each_stack
def test_forced_mss(stack: str) -> None:
    """Of 14,000 octets each stack makes ten segments or more, and acknowledges; without it, one would do."""

    async def run() -> None:
        async with open_ends(stack, Sinking, Setting(mss=1400), processes=1, loop="asyncio", connections=1) as ends:
            before = await ends.usage()
            reader, writer = await ends.connect()
            if stack == "kernel_tcp":
                sock = writer.get_extra_info("socket")
                assert 1000 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1400
            writer.write(bytes(14_000))
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            segments = (await ends.usage()).since(before).counts.segments
            assert segments is None or segments >= 10

    loops.run(run(), "asyncio")


@each_stack
@each_loop
def test_ends_with_protocols(stack: str, loop: str) -> None:
    async def run() -> None:
        setting = Setting("127.0.0.9", 1400)
        async with open_ends(stack, Echoing, setting, processes=1, loop=loop, connections=1) as ends:
            heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            assert ends.client.connect_protocol is not None
            transport, _ = await ends.client.connect_protocol(lambda: _Hearing(heard))
            assert await heard == b"abc"
            transport.close()

    loops.run(run(), loop)


def test_a_server_that_dies_is_noticed() -> None:
    async def run() -> None:
        async with open_ends("utcp", Counting, Setting(), processes=2, loop="asyncio", connections=1) as ends:
            with pytest.raises(ConnectionError, match="the server's process has ended before its time"):
                await ends.ask("die")

    loops.run(run(), "asyncio")


async def test_only_utcp_needs_no_descriptors_for_its_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("no limit on file descriptors")
    async with open_ends("utcp", Counting, Setting(), processes=1, loop="asyncio", connections=hard) as ends:
        _, writer = await ends.connect()
        writer.close()
    complaint = rf"^{2 * hard} sockets and 64 descriptors besides exceed the hard limit of {hard} \(ulimit -Hn\)$"
    with pytest.raises(OSError, match=complaint):
        async with open_ends("kernel_tcp", Counting, Setting(), processes=1, loop="asyncio", connections=hard):
            raise AssertionError
