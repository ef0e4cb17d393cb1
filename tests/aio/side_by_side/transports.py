"""Rows: every method of a transport at every moment of its life, callbacks that raise, and ends of connections."""

from __future__ import annotations

import array
import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from tests.aio.side_by_side.sides import LOCALHOST, MUCH, Echo, Notes, Side, attempt, settled, until
from tests.aio.side_by_side.table import Program, Table

TRANSPORTS: Final = Table("transports")
AFTER_THE_END: Final = Table("after the end", alone=True)
"""Since 3.12 asyncio's writelines() after the end may change what the loop does with a descriptor that is reused."""

Moment: TypeAlias = Callable[[Side], Awaitable[tuple[Any, Notes, Notes]]]
"""Brings a connection there: our transport, our protocol, the peer's protocol."""
Action: TypeAlias = Callable[[Any], Any]


# --- moments


async def opened(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, _, far = await side.pair()
    return transport, near, far


async def half_closed(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, far = await opened(side)
    transport.write_eof()
    await until(lambda: "eof" in far.calls)
    return transport, near, far


async def peer_half_closed(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, far = await opened(side)
    far.transport.write_eof()
    await until(lambda: "eof" in near.calls)
    return transport, near, far


async def closing(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, far = await opened(side)
    transport.close()
    return transport, near, far


async def closed(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, _, far = await side.pair(far=Notes(keep_open=False))
    transport.close()
    await until(lambda: near.lost and far.lost)
    return transport, near, far


async def aborted(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, far = await opened(side)
    transport.abort()
    return transport, near, far


async def reset(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, far = await opened(side)
    side.reset(far.transport)
    await until(lambda: near.lost)
    return transport, near, far


async def paused(side: Side) -> tuple[Any, Notes, Notes]:
    transport, near, far = await opened(side)
    transport.pause_reading()
    far.transport.write(b"from the peer")
    await asyncio.sleep(0.1)  # many programs run at once, so that the loop is slow
    return transport, near, far


MOMENTS: Final[dict[str, Moment]] = {
    "open": opened,
    "half-closed": half_closed,
    "peer half-closed": peer_half_closed,
    "closing": closing,
    "closed": closed,
    "aborted": aborted,
    "reset": reset,
    "paused": paused,
}

# --- what is done then


def twice(action: Action) -> Action:
    def act(transport: Any) -> Any:
        action(transport)
        return action(transport)

    return act


def _limits(**options: Any) -> Action:
    def act(transport: Any) -> Any:
        transport.set_write_buffer_limits(**options)
        return transport.get_write_buffer_limits()

    return act


def _shape(value: Any) -> Any:
    """An address by its form, a socket by what it says of itself, another object by its type."""
    return [type(part).__name__ for part in value] if isinstance(value, tuple) else type(value).__name__


def _new_protocol(transport: Any) -> Any:
    protocol = Notes()
    protocol.transport = transport
    protocol.note("set")
    transport.set_protocol(protocol)
    return transport.get_protocol() is protocol


ACTIONS: Final[dict[str, Action]] = {
    "write": lambda transport: transport.write(b"x"),
    "write nothing": lambda transport: transport.write(b""),
    "write bytearray": lambda transport: transport.write(bytearray(b"x")),
    "write memoryview": lambda transport: transport.write(memoryview(b"wxyz")[1:3]),
    "write memoryview of integers": lambda transport: transport.write(memoryview(array.array("I", [1, 2]))),
    "write str": lambda transport: transport.write("x"),
    "write int": lambda transport: transport.write(1),
    "write None": lambda transport: transport.write(None),
    "write list": lambda transport: transport.write([b"x"]),
    "write array": lambda transport: transport.write(array.array("B", b"x")),
    "writelines": lambda transport: transport.writelines([b"a", b"b"]),
    "writelines of nothing": lambda transport: transport.writelines([]),
    "writelines of empty": lambda transport: transport.writelines([b"", b""]),
    "writelines of str": lambda transport: transport.writelines([b"a", "b"]),
    "writelines of a generator": lambda transport: transport.writelines(part for part in (b"a", bytearray(b"b"))),
    "writelines of bytes": lambda transport: transport.writelines(b"ab"),
    "write_eof": lambda transport: transport.write_eof(),
    "write_eof twice": twice(lambda transport: transport.write_eof()),
    "can_write_eof": lambda transport: transport.can_write_eof(),
    "close": lambda transport: transport.close(),
    "close twice": twice(lambda transport: transport.close()),
    "is_closing": lambda transport: transport.is_closing(),
    "pause_reading": lambda transport: transport.pause_reading(),
    "pause_reading twice": twice(lambda transport: transport.pause_reading()),
    "resume_reading": lambda transport: transport.resume_reading(),
    "resume_reading twice": twice(lambda transport: transport.resume_reading()),
    "is_reading": lambda transport: transport.is_reading(),
    "limits": _limits(),
    "limits, high 0": _limits(high=0),
    "limits, high 10": _limits(high=10),
    "limits, low 10": _limits(low=10),
    "limits, low 0": _limits(low=0),
    "limits, high -1": _limits(high=-1),
    "limits, low -1": _limits(low=-1),
    "limits, low above high": _limits(high=1, low=2),
    "limits as text": _limits(high="1"),
    "limits, high 1.5": _limits(high=1.5),
    "write buffer size": lambda transport: transport.get_write_buffer_size(),
    "set_protocol": _new_protocol,
    "set_protocol None": lambda transport: transport.set_protocol(None),
    "get_protocol": lambda transport: _shape(transport.get_protocol()),
    "extra socket": lambda transport: transport.get_extra_info("socket").type.name,
    "extra peername": lambda transport: _shape(transport.get_extra_info("peername")),
    "extra sockname": lambda transport: _shape(transport.get_extra_info("sockname")),
    "extra sslcontext": lambda transport: transport.get_extra_info("sslcontext"),
    "extra unknown": lambda transport: transport.get_extra_info("no such key", 7),
    "repr": lambda transport: bool(repr(transport)),
}


def at(moment: Moment, action: Action) -> Program:
    async def program(side: Side) -> Any:
        transport, near, far = await moment(side)
        result = await attempt(lambda: action(transport))
        await settled(near, far)
        # What the peer is told of an abort differs, and has a row of its own.
        seen = [] if moment is aborted or action is abort else far.calls
        return [result, near.calls, seen, far.received, transport.is_closing()]

    return program


def abort(transport: Any) -> None:
    transport.abort()


def peer(moment: Moment, act: Callable[[Side, Any], object]) -> Program:
    """What our protocol is told of what the peer does then."""

    async def program(side: Side) -> Any:
        transport, near, far = await moment(side)
        if not far.lost:
            act(side, far.transport)
        await settled(near, far)
        return [near.calls, near.received, transport.is_closing()]

    return program


for when, moment in MOMENTS.items():
    for what, action in ACTIONS.items():
        ended = moment in (closing, closed, aborted, reset) and what.startswith("writelines")
        (AFTER_THE_END if ended else TRANSPORTS).add(f"{when}: {what}", at(moment, action))
    TRANSPORTS.add(f"{when}: abort", at(moment, abort))
    TRANSPORTS.add(f"{when}: peer writes", peer(moment, lambda side, transport: transport.write(b"y")))
    TRANSPORTS.add(f"{when}: peer closes", peer(moment, lambda side, transport: transport.close()))
    TRANSPORTS.add(f"{when}: peer resets", peer(moment, lambda side, transport: side.reset(transport)))

TRANSPORTS.add(
    "open: write memoryview with gaps", at(opened, lambda transport: transport.write(memoryview(b"xyz")[::2]))
)
TRANSPORTS.add("open: writelines of None", at(opened, lambda transport: transport.writelines(None)))


@TRANSPORTS.row("what the peer sees of abort")
async def _(side: Side) -> Any:
    transport, near, far = await opened(side)
    transport.abort()
    await settled(near, far)
    return far.calls


# --- inside connection_made


class Eager(Notes):
    """Does something in connection_made()."""

    def __init__(self, action: Action) -> None:
        super().__init__()
        self.action = action
        self.result: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        try:
            self.result = self.action(transport)
        except Exception as error:  # it is what is compared
            self.result = type(error).__name__


def made(action: Action) -> Program:
    async def program(side: Side) -> Any:
        near = side.noted(Eager(action))
        far = side.notes()
        _, port = await side.serve(lambda: far)
        transport, _ = await side.create_connection(lambda: near, LOCALHOST, port)
        await settled(near, far)
        return [near.result, near.calls, far.received, transport.is_closing()]

    return program


for what in (
    "write",
    "write_eof",
    "close",
    "pause_reading",
    "resume_reading",
    "is_reading",
    "is_closing",
    "limits, high 0",
    "extra peername",
    "set_protocol",
    "write str",
):
    TRANSPORTS.add(f"connection_made: {what}", made(ACTIONS[what]))


@TRANSPORTS.row("connection_made: abort")
async def _(side: Side) -> Any:
    near = side.noted(Eager(lambda transport: transport.abort()))
    _, port = await side.serve()
    transport, _ = await side.create_connection(lambda: near, LOCALHOST, port)
    await settled(near)
    return [near.calls, transport.is_closing()]


# --- flow control


@TRANSPORTS.row("much is written to a peer that reads late")
async def _(side: Side) -> Any:
    transport, near, far_transport, far = await side.pair()
    far_transport.pause_reading()
    for _ in range(48):
        transport.write(bytes(MUCH // 48))
    await settled(near, far)
    seen = [near.calls, transport.get_write_buffer_size() > 65536]
    far_transport.resume_reading()
    await until(lambda: len(far.data) == MUCH)
    await settled(near, far)
    return [*seen, near.calls, transport.get_write_buffer_size()]


@TRANSPORTS.row("limit 0 pauses at the first octet that waits, and close delivers it")
async def _(side: Side) -> Any:
    transport, near, far_transport, far = await side.pair()
    transport.set_write_buffer_limits(0)
    far_transport.pause_reading()
    transport.write(bytes(MUCH))
    seen = [*near.calls]
    transport.close()
    far_transport.resume_reading()
    await until(lambda: "eof" in far.calls)
    return [*seen, len(far.data)]


@TRANSPORTS.row("a bytearray is changed after the write")
async def _(side: Side) -> Any:
    transport, _, _, far = await side.pair()
    data = bytearray(b"before")
    transport.write(data)
    data[:] = b"after "
    await until(lambda: len(far.data) == 6)
    return far.received


@TRANSPORTS.row("many writes after the end")
async def _(side: Side) -> Any:
    transport, near, _ = await reset(side)
    for _ in range(8):
        transport.write(b"x")
    return near.calls


@TRANSPORTS.row("writes that meet a reset")
async def _(side: Side) -> Any:
    transport, near, far_transport, _ = await side.pair()
    side.reset(far_transport)
    async with asyncio.timeout(60):
        while not near.lost:
            transport.write(bytes(1000))
            await asyncio.sleep(0.001)
    return near.calls[-1] in ("lost ConnectionResetError 104", "lost BrokenPipeError 32")


@TRANSPORTS.row("peer closes without reading")
async def _(side: Side) -> Any:
    transport, near, far_transport, far = await side.pair()
    far_transport.pause_reading()
    transport.write(b"unread")
    await settled(near, far)
    far_transport.close()
    await settled(near, far)
    return [near.calls, far.calls]


# --- callbacks that raise


class Failing(Notes):
    """Raises in one callback."""

    def __init__(self, callback: str, error: type[BaseException] = LookupError) -> None:
        super().__init__()
        self.callback = callback
        self.error = error

    def note(self, call: str) -> None:
        super().note(call)
        if call.startswith(self.callback):
            raise self.error


def fails(callback: str, error: type[BaseException], act: Callable[[Side, Any, Any], object]) -> Program:
    async def program(side: Side) -> Any:
        near = side.noted(Failing(callback, error))
        far = side.notes()
        _, port = await side.serve(lambda: far)
        transport, _ = await side.create_connection(lambda: near, LOCALHOST, port)
        if callback == "made":  # the peer may have been reset before it was told
            await settled(near)
            return [near.calls, transport.is_closing()]
        await until(lambda: far.transport)
        act(side, transport, far.transport)
        await settled(near, far)
        return [near.calls, transport.is_closing(), "eof" in far.calls or far.lost]

    return program


for error in (LookupError, ConnectionResetError, asyncio.CancelledError):
    for callback, act in {
        "made": lambda side, near, far: None,
        "data": lambda side, near, far: far.write(b"x"),
        "eof": lambda side, near, far: far.write_eof(),
        "lost": lambda side, near, far: near.close(),
        "pause": lambda side, near, far: (far.pause_reading(), near.write(bytes(MUCH))),
        "resume": lambda side, near, far: near.write(bytes(MUCH)),
    }.items():
        TRANSPORTS.add(f"{error.__name__} in callback {callback}", fails(callback, error, act))


class Filling(asyncio.BufferedProtocol):
    """Hands out what it is given as its buffer."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer
        self.calls: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> Any:
        self.calls.append("get")
        if isinstance(self.buffer, Exception):
            raise self.buffer
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.calls.append(f"updated {nbytes}")

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost" if exc is None else f"lost {type(exc).__name__}")


for name, buffer in {
    "bytearray": bytearray(4),
    "empty": bytearray(),
    "bytes": b"1234",
    "None": None,
    "integer": 4,
    "memoryview": memoryview(bytearray(3)),
    "array": array.array("I", [0, 0]),
    "raises": LookupError(),
}.items():

    async def filled(side: Side, buffer: Any = buffer) -> Any:
        near = Filling(buffer)
        far = side.notes()
        _, port = await side.serve(lambda: far)
        transport, _ = await side.create_connection(lambda: near, LOCALHOST, port)
        await until(lambda: far.transport)
        far.transport.write(b"12345")
        await asyncio.sleep(0.02)
        await settled(far)
        seen = [*near.calls]
        transport.abort()
        return seen

    TRANSPORTS.add(f"BufferedProtocol, buffer {name}", filled)


@TRANSPORTS.row("eof_received returns None")
async def _(side: Side) -> Any:
    _, near, far_transport, far = await side.pair(near=Echo())
    far_transport.write(b"x")
    far_transport.write_eof()
    await settled(near, far)
    return [near.calls, far.calls, far.received]


# --- forgotten, and never closed

FORGOTTEN: Final = Table("forgotten", alone=True)


@FORGOTTEN.row("a client's transport")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    await side.connect_and_forget(LOCALHOST, port)
    gc.collect()
    await asyncio.sleep(0.02)


@FORGOTTEN.row("a client's streams")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    await side.open_and_forget(LOCALHOST, port)
    gc.collect()
    await asyncio.sleep(0.02)


@FORGOTTEN.row("a client's streams, closed and not waited for")
async def _(side: Side) -> Any:
    _, port = await side.serve()
    _, writer = await side.open_connection(LOCALHOST, port)
    writer.close()


@FORGOTTEN.row("a server")
async def _(side: Side) -> Any:
    await side.serve_and_forget(Echo, LOCALHOST, 0)
    gc.collect()
    await asyncio.sleep(0.02)


@FORGOTTEN.row("a server that serves")
async def _(side: Side) -> Any:
    server, port = await side.serve()
    transport, _ = await side.create_connection(side.notes, LOCALHOST, port)
    await asyncio.sleep(0.01)
    server.close()
    transport.close()
