"""A reader that sleeps stops the sender: what the tunnel holds meanwhile is bounded."""

import asyncio
import socket
from dataclasses import replace

import pytest

from tests.tunnel.ends import PLAIN, Tunnel, rest, reverse_tunnel, tunnel
from tests.tunnel.test_closing import fill
from utcp.tunnel.end import End
from utcp.tunnel.pump import KernelSide, Side

BUFFER = 256 << 10
SMALL = replace(PLAIN, config=replace(PLAIN.config, send_buffer=BUFFER, recv_buffer=BUFFER))

READ = 256 << 10
"""What one read takes in: it may be on its way through each end, and there once more where it waits for room."""

BOUND = 2 * BUFFER + 4 * READ
"""A send buffer at one end and a receive buffer at the other, and what is on its way."""


def sides(end: End) -> tuple[KernelSide, Side]:
    """Of the one connection that an end carries: the kernel's and ours."""
    one, other = sorted(end._sides, key=lambda side: not isinstance(side, KernelSide))
    assert isinstance(one, KernelSide)
    return one, other


def held(source: End, sink: End) -> int:
    """Octets that the tunnel has taken from the kernel at one end and not given to it at the other."""
    read, _ = sides(source)
    written, across = sides(sink)
    unwritten: int = written.transport.get_write_buffer_size()
    return read.octets - (across.octets - unwritten)


@pytest.mark.parametrize(
    ("secure", "reverse", "sleeper"),
    [(False, False, "user"), (False, False, "service"), (True, False, "service"), (True, True, "user")],
)
async def test_what_is_held_for_a_sleeping_reader_is_bounded(secure: bool, reverse: bool, sleeper: str) -> None:
    def ends(carried: Tunnel) -> tuple[End, End]:
        return (carried.near, carried.far) if sleeper == "service" else (carried.far, carried.near)

    async with reverse_tunnel(secure, SMALL) if reverse else tunnel(secure, SMALL, SMALL) as carried:
        user, service = await carried.through()
        with user, service:
            reader, writer = (user, service) if sleeper == "user" else (service, user)
            sent = await fill(writer)
            # The windows have closed: there is more at the writer's, and it stays there.
            source, sink = ends(carried)
            read = sides(source)[0].octets
            assert BUFFER < held(source, sink) <= BOUND
            assert not sides(source)[0].transport.is_reading()
            await asyncio.sleep(0.1)
            assert sides(source)[0].octets == read < sent
            writer.shutdown(socket.SHUT_WR)
            assert len(await rest(reader)) == sent
