"""Rows: tasks that are cancelled in each of their first turns, and what is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from tests.aio.side_by_side.sides import LOCALHOST, MUCH, Notes, Side, attempt, port_of, settled, until
from tests.aio.side_by_side.table import Program, Table
from tests.certificates import client_context, server_context

CANCELLING: Final = Table("cancelling")

Call: TypeAlias = Callable[[Side], Awaitable[Callable[[], Awaitable[Any]]]]
"""Prepares, and returns what is to be cancelled."""

TURNS: Final = range(9)


def cancelled(call: Call, turn: int) -> Program:
    """Cancel a call in one of its turns. It ends with CancelledError, unless it had succeeded by then."""

    async def program(side: Side) -> Any:
        task = asyncio.ensure_future((await call(side))())
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        result = await attempt(task)
        await asyncio.sleep(0.01)
        # How many turns a call takes is each side's own.
        return "CancelledError or done" if result == "CancelledError" or not isinstance(result, str) else result

    return program


async def opening(side: Side) -> Callable[[], Awaitable[Any]]:
    _, port = await side.serve()
    return lambda: side.open_connection(LOCALHOST, port)


async def opening_a_name(side: Side) -> Callable[[], Awaitable[Any]]:
    _, port = await side.serve()
    return lambda: side.open_connection("two-addresses.test", port, happy_eyeballs_delay=0.01)


async def opening_refused(side: Side) -> Callable[[], Awaitable[Any]]:
    port = await side.free_port()

    async def call() -> None:
        try:
            await side.open_connection(LOCALHOST, port)
        except ConnectionRefusedError:
            return

    return call


async def opening_ssl(side: Side) -> Callable[[], Awaitable[Any]]:
    _, port = await side.serve(ssl=server_context())
    return lambda: side.open_connection(LOCALHOST, port, ssl=client_context())


async def serving(side: Side) -> Callable[[], Awaitable[Any]]:
    return lambda: side.start_server(lambda reader, writer: None, LOCALHOST, 0)


async def serving_a_name(side: Side) -> Callable[[], Awaitable[Any]]:
    return lambda: side.start_server(lambda reader, writer: None, "localhost", 0)


async def upgrading(side: Side) -> Callable[[], Awaitable[Any]]:
    transport, near, far_transport, far = await side.pair(Notes(keep_open=False), Notes(keep_open=False))
    upgrade = asyncio.ensure_future(side.start_tls(far_transport, far, server_context(), server_side=True))
    upgrade.add_done_callback(lambda task: task.cancelled() or task.exception())
    return lambda: side.start_tls(transport, near, client_context(), server_hostname="localhost")


async def upgrading_alone(side: Side) -> Callable[[], Awaitable[Any]]:
    transport, near, _, _ = await side.pair(Notes(keep_open=False))
    return lambda: side.start_tls(transport, near, client_context(), server_hostname="localhost")


async def waiting_for_a_writer(side: Side) -> Callable[[], Awaitable[Any]]:
    _, writer, _, _ = await side.streams()

    async def call() -> None:
        writer.close()
        await writer.wait_closed()

    return call


async def waiting_for_a_server(side: Side) -> Callable[[], Awaitable[Any]]:
    server, port = await side.serve()
    await side.create_connection(side.notes, LOCALHOST, port)

    async def call() -> None:
        server.close()
        await server.wait_closed()

    return call


async def draining(side: Side) -> Callable[[], Awaitable[Any]]:
    _, writer, _, far_writer = await side.streams()
    far_writer.transport.pause_reading()

    async def call() -> None:
        writer.write(bytes(MUCH))
        await writer.drain()

    return call


async def reading(side: Side) -> Callable[[], Awaitable[Any]]:
    reader, _, _, far_writer = await side.streams()

    async def call() -> Any:
        far_writer.write(b"ping")
        return [await reader.readexactly(4)]

    return call


for name, call in {
    "open_connection": opening,
    "open_connection to a name": opening_a_name,
    "open_connection, refused": opening_refused,
    "open_connection with ssl": opening_ssl,
    "start_server": serving,
    "start_server on a name": serving_a_name,
    "start_tls": upgrading,
    "start_tls, no answer": upgrading_alone,
    "wait_closed of a writer": waiting_for_a_writer,
    "wait_closed of a server": waiting_for_a_server,
    "drain": draining,
    "read": reading,
}.items():
    for turn in TURNS:
        CANCELLING.add(f"{name}, turn {turn}", cancelled(call, turn))


# --- what is left


def left(turn: int) -> Program:
    """A server's connection ends, whenever its client's open_connection() is cancelled."""

    async def program(side: Side) -> Any:
        accepted: list[Notes] = []

        def accept() -> Notes:
            accepted.append(side.notes(keep_open=False))
            return accepted[-1]

        _, port = await side.serve(accept)
        task = asyncio.ensure_future(side.open_connection(LOCALHOST, port))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        if not isinstance(await attempt(task), str):
            return "no connection is left"  # it was open already
        await settled(*accepted)
        await until(lambda: all(each.lost for each in accepted))
        return "no connection is left"

    return program


for turn in TURNS:
    CANCELLING.add(f"the server's side of an open that is cancelled, turn {turn}", left(turn))


def server_left(turn: int) -> Program:
    """The port is free again. Another process may take a free port, so there are three tries."""

    async def is_free_again(side: Side, port: int) -> bool:
        task = asyncio.ensure_future(side.create_server(side.echo, LOCALHOST, port))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        if not isinstance(await attempt(task), str):
            return True
        await asyncio.sleep(0)
        return not isinstance(await attempt(side.create_server(side.echo, LOCALHOST, port)), str)

    async def program(side: Side) -> Any:
        for _ in range(3):
            if await is_free_again(side, await side.free_port()):
                return "the port is free"
        return "the port is in use"

    return program


for turn in TURNS[:5]:
    CANCELLING.add(f"the port of a server that is cancelled, turn {turn}", server_left(turn))


@CANCELLING.row("a timeout around open_connection")
async def _(side: Side) -> Any:
    _, port = await side.serve(side.notes)

    async def open_tls() -> None:
        async with asyncio.timeout(0.05):
            await side.open_connection(LOCALHOST, port, ssl=client_context())

    return await attempt(open_tls())


@CANCELLING.row("a handler is cancelled with its server's task group")
async def _(side: Side) -> Any:
    seen: list[str] = []

    async def handler(reader: asyncio.StreamReader, writer: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await reader.read()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            writer.close()

    server = await side.start_server(handler, LOCALHOST, 0)
    reader, writer = await side.open_connection(LOCALHOST, port_of(server))
    got = await reader.read()
    writer.close()
    return [seen, got, await attempt(writer.wait_closed())]
