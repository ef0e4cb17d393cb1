"""`utcp.run()`: what a program gets from asyncio.run(), and what signals do to it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import uvloop

import utcp
from tests.aio.test_killed_peer import SERVER
from tests.link.sockets import needs_linux

pytestmark = needs_linux

HUGE = bytes(1 << 23)
"""More than the server, which does not read, takes."""


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("late", [False, True])
def test_a_second_signal_ends_the_loop_at_once(late: bool, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Also when it comes late, while the other tasks are being cancelled. Without it, the loop's end would wait for
    `close_timeout`, which is longer than pytest lets a test run."""

    def second_signal() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if late:
                second_signal()

    async def main(port: int) -> None:
        _, writer = await utcp.open_connection("127.0.0.1", port, config=utcp.Config(close_timeout=1000.0))
        writer.write(HUGE)
        tasks.append(asyncio.create_task(other()))
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            if not late:
                second_signal()

    tasks: list[asyncio.Task[None]] = []
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            with pytest.raises(SystemExit) as raised:
                utcp.run(main(port), loop_factory=make)
        finally:
            process.kill()
    assert raised.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_result_of_main_is_returned(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert utcp.run(main(), loop_factory=make).startswith(make.__module__.split(".", maxsplit=1)[0])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.defect(100)
@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, None)],
    ids=["TERM", "HUP", "INT"],
)
def test_a_signal_cancels_main_and_delivers_what_is_queued(
    number: int, status: int | None, make: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    received: asyncio.Future[bytes]
    told: list[str] = []

    async def main() -> None:
        nonlocal received
        received = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.set_result(await reader.read(100))
            writer.close()

        server = await utcp.start_server(serve, "127.0.0.1", 0)
        _, writer = await utcp.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        await asyncio.sleep(0.05)
        writer.write(b"last words")
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            await received  # the loop runs
            writer.close()
            raise

    with pytest.raises(KeyboardInterrupt if status is None else SystemExit) as raised:
        utcp.run(main(), loop_factory=make)
    assert told == ["cancelled"]
    assert received.result() == b"last words"
    assert getattr(raised.value, "code", None) == status


def test_a_main_that_swallows_its_cancellation_goes_on() -> None:
    async def main() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "result"
        raise AssertionError

    assert utcp.run(main()) == "result"


def test_a_cancellation_that_no_signal_made_is_the_programs_own() -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        utcp.run(main())


def test_signals_that_the_program_handles_are_left_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:

        async def main() -> str:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
            return "result"

        assert utcp.run(main()) == "result"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_in_another_thread_no_signal_is_handled() -> None:
    async def main() -> object:
        return signal.getsignal(signal.SIGTERM)

    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(utcp.run(main())))
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(ValueError, match="a coroutine was expected"):
        utcp.run(None)  # type: ignore[arg-type]

    async def inner() -> None: ...

    async def outer() -> None:
        utcp.run(inner())

    with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
        utcp.run(outer())
