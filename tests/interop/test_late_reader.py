"""Much data both ways with a kernel whose reader, or ours, comes late: both windows close, and open again."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, TypeAlias

import pytest

from tests.interop import kernel
from tests.interop.bulk import digest, octets, send, write
from tests.interop.wire import Opener, Wire
from utcp import ConnectionInfo

SIZE = 5_000_000
LATE = float(os.environ.get("UTCP_LATE", "0.5"))
"""Seconds that the late reader sleeps. With the variable set, all six cases run, print their times, and must be quick,
too, which needs a machine that does nothing else: `UTCP_LATE=5 python -m pytest -s tests/interop -k late`."""

Sleeper: TypeAlias = Literal["kernel", "utcp", "both"]

CASES: list[tuple[Opener, Sleeper]] = [("kernel", "kernel"), ("utcp", "utcp"), ("kernel", "both")]
if "UTCP_LATE" in os.environ:
    CASES += [("utcp", "kernel"), ("kernel", "utcp"), ("utcp", "both")]


class End(NamedTuple):
    """One end of a connection: how it sends everything and FIN, and how it reads up to the other's FIN."""

    send: Callable[[bytes], Awaitable[None]]
    read: Callable[[], Awaitable[bytes]]


def kernel_end(sock: socket.socket) -> End:
    return End(lambda data: send(sock, data), lambda: kernel.receive_all(sock))


async def exchange(ends: dict[str, End], sleeper: Sleeper) -> float:
    """The sleeper sleeps, sends, and only then reads; the other end does both at once. With two sleepers, both send
    while they sleep. The seconds that it took."""
    began = time.monotonic()

    async def run(name: str) -> bytes:
        end = ends[name]
        if sleeper == name:
            await asyncio.sleep(LATE)
            await end.send(octets(SIZE, len(name)))
            return await end.read()
        sending = asyncio.ensure_future(end.send(octets(SIZE, len(name))))
        if sleeper == "both":
            await asyncio.sleep(LATE)
        received = await end.read()
        await sending
        return received

    results = dict(zip(ends, await asyncio.gather(*map(run, ends)), strict=True))
    for name, received in results.items():
        (other,) = ends.keys() - {name}
        assert digest(received) == digest(octets(SIZE, len(other)))
    return time.monotonic() - began


async def between_kernels(sleeper: Sleeper) -> float:
    """The same over loopback."""
    with kernel.listen("127.0.0.1", 9001) as listener:
        near = await kernel.connect("127.0.0.1", 9001)
        far = await kernel.accept(listener)
    with near, far:
        return await exchange({"kernel": kernel_end(near), "utcp": kernel_end(far)}, sleeper)


@pytest.mark.defect(44)
@pytest.mark.parametrize(("opener", "sleeper"), CASES)
async def test_late_reader_costs_little_more_than_between_kernels(opener: Opener, sleeper: Sleeper) -> None:
    """Both directions end, though both windows close, and hardly anything is sent twice. Where times are asked for, at
    most twice the time, and a second. The two transfers run side by side, under one load."""
    async with Wire(trace=False) as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            ends = {
                "kernel": kernel_end(sock),
                "utcp": End(lambda data: write(writer, data), reader.read),
            }
            async with asyncio.timeout(10 * LATE + 90):
                ours, theirs = await asyncio.gather(exchange(ends, sleeper), between_kernels(sleeper))
            info: ConnectionInfo = writer.get_extra_info("utcp")
            assert info.bytes_retrans < SIZE / 20
        writer.close()
    print(f"{opener} opens, {sleeper} sleeps: {ours:.2f} s, between kernels {theirs:.2f} s")  # noqa: T201
    if "UTCP_LATE" in os.environ:
        assert ours <= 2 * theirs + 1
