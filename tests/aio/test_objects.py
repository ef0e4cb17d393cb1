"""The objects of a connection that the garbage collector visits.

Each full collection visits all of them. So their number decides how much more one of 100,000 connections costs than one
of 1,000 (`python -m bench scale`).
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Final

from tests.aio.peers import Peers, until
from utcp.tcp import COMPILED

CONNECTIONS: Final = 100

WITH_STREAMS: Final = (20 if COMPILED else 36) + (sys.version_info < (3, 12))
"""Objects of one connection, both ends, with asyncio's streams and a handler that waits in `read()`. 15 of them belong
to the interface of asyncio: a transport, a protocol, a reader and a writer at each end; the handler's task with its
coroutine, context, future, the future's iterator, its wakeup method, and its weak reference. On Python
3.11, the callback at the end of the task has a context of its own."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


async def test_objects_of_a_connection_with_streams(peers: Peers) -> None:
    await peers.server.start_server(serve)
    writers: list[asyncio.StreamWriter] = []

    async def objects_with(connections: int) -> int:
        opened = [await peers.client.open_connection(peers.host, peers.port) for _ in range(connections)]
        for reader, writer in opened:  # in this order, because CPython may give each object without slots a dictionary
            writer.write(b"x" * 64)
            await reader.readexactly(64)
        writers.extend(writer for _, writer in opened)
        await until(lambda: not unacknowledged(peers))
        for _ in range(3):  # a collection also stops to visit the tuples that hold only unvisited objects
            gc.collect()
        return len(gc.get_objects())

    before = await objects_with(10)
    after = await objects_with(CONNECTIONS)
    assert after - before <= (WITH_STREAMS + 0.5) * CONNECTIONS
    for writer in writers:
        writer.close()
    await until(lambda: not peers.server.driver.transports)


async def test_a_connection_has_one_entry_in_the_timer_queue(peers: Peers) -> None:
    await peers.server.start_server(serve)
    writers = [(await peers.client.open_connection(peers.host, peers.port))[1] for _ in range(CONNECTIONS)]
    for end in (peers.client, peers.server):
        assert len(end.stack._timers) <= len(end.stack.connections)
    for writer in writers:
        writer.close()
    await until(lambda: not peers.server.driver.transports and not peers.client.driver.transports)
    for end in (peers.client, peers.server):
        assert len(end.stack._timers) == 0


def unacknowledged(peers: Peers) -> int:
    """Return the number of octets that wait for their ACK, which take objects."""
    ends = (peers.client, peers.server)
    return sum(connection.send_queue for end in ends for connection in end.stack.connections.values())
