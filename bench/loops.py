"""The event loops of the measurements."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

import uvloop

T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run(main: Coroutine[object, object, T], loop: str) -> T:
    """Run `main` as asyncio.run() does, on the named loop."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(main)
