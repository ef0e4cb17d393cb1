"""A kernel's TCP as the peer while windows are closed: every way to go on or to end, in every place, with and without
timestamps and SACK. All of it runs side by side over one wire, because most of it is waiting."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Literal, TypeAlias

import pytest

from tests.interop import kernel
from tests.interop.bulk import octets
from tests.interop.namespace import sysctl
from tests.interop.wire import KERNEL, PORT, Opener, Wire, until
from utcp import Config, StreamWriter, Transport
from utcp.tcp import state
from utcp.tcp.connection import Connection
from utcp.tcp.time_wait import ConnectionKey

pytestmark = [pytest.mark.defect(44), pytest.mark.defect(45), pytest.mark.defect(46)]

RECV_BUFFER: Final = 8192
CONFIG: Final = Config(
    close_timeout=0.3,
    recv_buffer=RECV_BUFFER,
    keepalive=True,
    keepalive_idle=0.6,  # the kernel answers two probes a second
    keepalive_interval=0.6,
    keepalive_count=3,
)
KERNEL_BUFFER: Final = 8192
SIZE: Final = 40_000
"""Octets that are sent into a window that closes: more than the buffers of both ends hold."""
THERE: Final = octets(SIZE, 1)
BACK: Final = octets(SIZE, 2)
STALL: Final = 0.3
"""Seconds for which a window stays closed: both sides probe it after 0.2 s."""
KEEPALIVE: Final = 3.3
"""Seconds after which a kernel with keepalive, one second and two probes, gives up a peer that does not answer."""
QUIET: Final = 22
"""Segments at most while nothing but probes and keepalives is sent, in KEEPALIVE seconds."""
TOTAL: Final = 500
"""Segments at most in the life of a connection: its octets take about 200, in segments of half a window."""

Closed: TypeAlias = Literal["ours", "theirs", "both", "theirs, ours busy"]
"""Whose window is closed. With ours busy, the kernel goes on sending to us, and we read."""


async def soon(condition: Callable[[], object]) -> None:
    """As `until`, for many that wait at once."""
    await until(condition, pause=0.02)


@dataclass
class Cell:
    """A connection whose window is closed, and how it got there."""

    closed: Closed
    timestamps: bool
    sack: bool
    opener: Opener
    sock: socket.socket
    reader: asyncio.StreamReader
    writer: StreamWriter
    connection: Connection
    filling: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def they_send(self) -> bool:
        return self.closed in ("ours", "both")

    @property
    def we_send(self) -> bool:
        return self.closed != "ours"

    @property
    def transport(self) -> Transport:
        assert isinstance(self.writer.transport, Transport)
        return self.writer.transport

    @property
    def segments(self) -> int:
        """How many there were so far."""
        return self.connection.send_side.segs_out + self.connection.segs_in

    @property
    def is_over(self) -> bool:
        """utcp has no connection any more."""
        return self.connection.state in (state.TIME_WAIT, state.CLOSED)

    async def close_windows(self) -> None:
        connection = self.connection
        assert (connection.timestamps, connection.sack) == (self.timestamps, self.sack)
        assert kernel.tcp_info(self.sock)[2:4] == (self.timestamps, self.sack)
        if self.they_send:
            self.transport.pause_reading()
            self.filling.append(asyncio.ensure_future(kernel.send(self.sock, BACK)))
            await soon(lambda: connection.receive_side.window == 0)
        if self.we_send:
            self.writer.write(THERE)
            await soon(lambda: connection.send_side.snd_wnd == 0)
        before = self.segments
        await asyncio.sleep(STALL)
        if self.we_send:
            await soon(lambda: connection.send_side.probe)
        assert self.segments - before <= QUIET
        if self.closed == "theirs, ours busy":
            await kernel.send(self.sock, BACK)
            assert await self.reader.readexactly(SIZE) == BACK

    async def read(self) -> None:
        """Both ends read all that was sent."""
        self.transport.resume_reading()
        if self.they_send:
            assert await self.reader.readexactly(SIZE) == BACK
        received = b""
        while self.we_send and len(received) < SIZE:
            received += await kernel.receive(self.sock)
        assert received == (THERE if self.we_send else b"")
        await asyncio.gather(*self.filling)

    async def is_reset_at_the_kernel(self) -> None:
        """And nothing of it is left here."""
        await soon(lambda: kernel.tcp_info(self.sock).state == "CLOSED")
        assert self.is_over
        with suppress(ConnectionError, TimeoutError):  # what was not delivered, if anything was not
            await self.writer.wait_closed()

    async def is_reset_here(self) -> None:
        await soon(lambda: self.is_over)
        with pytest.raises(ConnectionResetError):
            await self.writer.wait_closed()

    async def give_up_filling(self) -> None:
        for future in self.filling:
            future.cancel()
        await asyncio.gather(*self.filling, return_exceptions=True)

    async def end(self) -> None:
        await self.give_up_filling()
        self.sock.close()
        self.transport.abort()


# --- what happens at the closed window


async def read(cell: Cell) -> None:
    await cell.read()
    assert cell.connection.state == state.ESTABLISHED
    assert kernel.tcp_info(cell.sock).state == "ESTABLISHED"


async def keepalive(cell: Cell) -> None:
    """Both ends probe, as far as a probe of the window does not do that already; then everything goes on."""
    for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
        cell.sock.setsockopt(socket.IPPROTO_TCP, option, value)
    cell.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    before = cell.segments
    await asyncio.sleep(KEEPALIVE)
    assert cell.segments - before <= QUIET
    await read(cell)


async def half_close(cell: Cell) -> None:
    """Both ends, behind what waits; then both read to the end."""
    cell.writer.write_eof()
    reading = asyncio.ensure_future(kernel.receive_all(cell.sock))
    cell.transport.resume_reading()
    await asyncio.gather(*cell.filling)
    cell.sock.shutdown(socket.SHUT_WR)
    assert await cell.reader.read() == (BACK if cell.they_send else b"")
    assert await reading == (THERE if cell.we_send else b"")
    await soon(lambda: cell.is_over and kernel.tcp_info(cell.sock).state == "CLOSED")
    cell.writer.close()
    await cell.writer.wait_closed()


async def close(cell: Cell) -> None:
    """With text unread, a RST. Without, everything is delivered, unless the kernel goes on sending."""
    cell.writer.close()
    if cell.they_send:
        await cell.is_reset_at_the_kernel()
    elif cell.closed == "theirs":
        await asyncio.sleep(0.05)
        assert await kernel.receive_all(cell.sock) == THERE
        await cell.writer.wait_closed()
        cell.sock.close()
        await soon(lambda: cell.is_over)
    else:
        await kernel.send(cell.sock, b"too late")
        await cell.is_reset_at_the_kernel()


async def abort(cell: Cell) -> None:
    cell.transport.abort()
    await cell.is_reset_at_the_kernel()


async def kernel_closes(cell: Cell) -> None:
    """With text unread it sends RST; without, it delivers what it has, and FIN."""
    await cell.give_up_filling()  # of that only a part is in the socket
    cell.sock.close()
    if cell.we_send:
        await cell.is_reset_here()
        return
    cell.transport.resume_reading()
    received = await cell.reader.read()
    assert received == BACK[: len(received)]
    assert len(received) > RECV_BUFFER
    cell.writer.close()
    await cell.writer.wait_closed()
    await soon(lambda: cell.is_over)


async def kernel_aborts(cell: Cell) -> None:
    await cell.give_up_filling()
    kernel.reset_on_close(cell.sock)
    cell.sock.close()
    await cell.is_reset_here()


ENDINGS: Final[tuple[Callable[[Cell], Awaitable[None]], ...]] = (
    read,
    keepalive,
    half_close,
    close,
    abort,
    kernel_closes,
    kernel_aborts,
)
PLACES: Final[tuple[Closed, ...]] = ("ours", "theirs", "both", "theirs, ours busy")


@asynccontextmanager
async def small_buffers() -> AsyncIterator[Wire]:
    for name in ("tcp_rmem", "tcp_wmem"):
        sysctl(f"ipv4/{name}", f"4096 {KERNEL_BUFFER} {KERNEL_BUFFER}")
    async with Wire(CONFIG, trace=False) as wire:
        yield wire


async def open_cells(wire: Wire, each: int) -> list[Cell]:
    """`each` connections for every place and pair of options, opened by either side in turn."""
    accepted = await wire.serve(PORT)
    cells: list[Cell] = []
    known: dict[ConnectionKey, Connection] = {}
    with kernel.listen(KERNEL, PORT) as listener:
        for timestamps, sack in product((True, False), repeat=2):
            sysctl("ipv4/tcp_timestamps", int(timestamps))
            sysctl("ipv4/tcp_sack", int(sack))
            for number, closed in product(range(each), PLACES):
                opener: Opener = "utcp" if (number + len(cells)) % 2 else "kernel"
                if opener == "utcp":
                    reader, writer = await wire.endpoint.open_connection(KERNEL, PORT)
                    sock = await kernel.accept(listener)
                else:
                    sock = await kernel.connect(wire.host, PORT)
                    reader, writer = await accepted.get()
                (key,) = wire.endpoint.stack.connections.keys() - known.keys()
                known[key] = wire.endpoint.stack.connections[key]
                cells.append(Cell(closed, timestamps, sack, opener, sock, reader, writer, known[key]))
    return cells


async def side_by_side(cells: list[Cell], endings: list[Callable[[Cell], Awaitable[None]]]) -> None:
    """Raises what went wrong in any of them, as one group."""

    async def run(cell: Cell, ending: Callable[[Cell], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(100):
                await cell.close_windows()
                await ending(cell)
            assert cell.segments <= TOTAL
        except Exception as error:
            options = f"timestamps {cell.timestamps}, SACK {cell.sack}"
            error.add_note(f"closed: {cell.closed}; {ending.__name__}; {options}; {cell.opener} opened")
            error.add_note(str(cell.connection.info()))
            raise
        finally:
            await cell.end()

    results = await asyncio.gather(*map(run, cells, endings), return_exceptions=True)
    errors = [error for error in results if isinstance(error, Exception)]
    if errors:
        raise ExceptionGroup("closed windows", errors)


async def test_everything_that_can_happen_at_a_closed_window() -> None:
    async with small_buffers() as wire:
        cells = await open_cells(wire, len(ENDINGS))
        endings = [ending for _ in range(4) for ending in ENDINGS for _ in PLACES]
        await side_by_side(cells, endings)
        assert not wire.endpoint.stack.connections


async def test_endpoint_that_closes_leaves_no_connection_at_the_kernel() -> None:
    """The end of close_timeout resets what could not be delivered."""
    async with small_buffers() as wire:
        cells = await open_cells(wire, 1)
        together = asyncio.Barrier(len(cells))
        closing: list[asyncio.Task[None]] = []

        async def aclose(cell: Cell) -> None:
            if cell.closed == "theirs" and cell.timestamps:
                cell.sock.shutdown(socket.SHUT_WR)  # we are in LAST_ACK then, and our FIN waits for room
                await soon(lambda: cell.connection.state == state.CLOSE_WAIT)
            await together.wait()
            if not closing:
                closing.append(asyncio.create_task(wire.endpoint.aclose()))
            await closing[0]
            await cell.is_reset_at_the_kernel()

        await side_by_side(cells, [aclose] * len(cells))
