"""Both ends of connections over utcp, as anyio's programs have them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketAttribute

from tests.aio.peers import FAST
from utcp.integrations.anyio import UtcpAttribute, UtcpStream, connect_utcp, create_utcp_listener

HOST = "127.0.0.1"
SIZE = 2 << 20


def about(stream: Any, attribute: Any) -> Any:
    return stream.extra(attribute)  # noqa: S610  # not Django's


async def echo(stream: Any) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


@asynccontextmanager
async def serving(handler: Any, **options: Any) -> AsyncIterator[int]:
    """The port of a listener that is served."""
    listener = await create_utcp_listener(local_host=HOST, config=FAST, **options)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handler)
        yield about(listener, SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[UtcpStream, UtcpStream]]:
    """Both ends of a connection."""
    async with await create_utcp_listener(local_host=HOST, config=FAST) as listener:
        ours = await connect_utcp(HOST, about(listener, SocketAttribute.local_port), config=FAST)
        theirs = await listener.accept()
        try:
            yield ours, theirs
        finally:
            for stream in (ours, theirs):
                about(stream, UtcpAttribute.transport).abort()


async def send_for_ever(stream: UtcpStream) -> None:
    while True:
        await stream.send(bytes(1 << 20))


async def drained(stream: anyio.abc.ByteReceiveStream) -> bytes:
    return b"".join([data async for data in stream])
