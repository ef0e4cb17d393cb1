"""`utcp.run()`: how soon a program ends that gets two signals."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import uvloop

import utcp
from tests.aio.test_killed_peer import SERVER
from tests.udp.sockets import needs_linux

pytestmark = needs_linux

HUGE = bytes(1 << 23)
"""More than the server, which does not read, takes."""


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("late", [False, True])
def test_a_second_signal_ends_the_loop_at_once(late: bool, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Also when it comes late, while the other tasks are being cancelled."""
    ended = 0.0

    def second_signal() -> None:
        nonlocal ended
        ended = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if late:
                second_signal()

    async def main(port: int) -> None:
        _, writer = await utcp.open_connection("127.0.0.1", port)
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
            seconds = time.monotonic() - ended
        finally:
            process.kill()
    assert raised.value.code == 128 + signal.SIGTERM
    assert seconds < 1
