"""One allocation that fails, by CPython's own hook for that, where the interpreter has it (`_testcapi`).

Calls (`faults.Calls`) are where the core asks for memory by name. This is about the rest: each integer, list, tuple,
frame and exception. It is no part of the test suite, because nothing else may run in the process meanwhile.
"""

from __future__ import annotations

import importlib
from types import TracebackType
from typing import Any, Final, Self

from tests.injection.faults import Calls, say
from tests.injection.stacks import World
from utcp.tcp import COMPILED

CALLS: Final = 80
"""So many of the calls into the stack are tried."""
ALLOCATIONS: Final = 60
"""So many allocations of each of them, from the first."""


class Allocations(Calls):
    """The allocation number `allocation` in the entry number `entry` of the context fails."""

    def __init__(self, hooks: Any, entry: int = -1, allocation: int = 0) -> None:
        super().__init__()
        self._hooks = hooks
        self._entry = entry
        self._allocation = allocation
        self._armed = False

    def __enter__(self) -> Self:
        self.entry += 1
        self._armed = self.entry == self._entry
        if self._armed:
            self._hooks.set_nomemory(self._allocation, self._allocation + 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._armed:
            self._hooks.remove_mem_hooks()
            self._armed = False

    def owns(self, error: BaseException | None) -> bool:
        if isinstance(error, MemoryError):
            self.error = error
            return True
        return False


def allocations() -> tuple[int, int]:
    """Try them, and print what fails. Return how many were tried, and how many failed."""
    try:
        hooks = importlib.import_module("_testcapi")
    except ImportError:
        hooks = None
    if COMPILED or hooks is None:
        say("allocations: left out, " + ("compiled code aborts" if COMPILED else "this Python has no _testcapi"))
        return 0, 0
    count = Allocations(hooks)
    World(count).run()
    entries = range(0, count.entry, max(1, count.entry // CALLS))
    say(f"allocations: {len(entries) * ALLOCATIONS}")
    failed = raised = 0
    for entry in entries:
        for allocation in range(ALLOCATIONS):
            world = World(Allocations(hooks, entry, allocation))
            try:
                world.run()
                world.check()
                raised += world.injected.error is not None
            except BaseException as error:
                failed += 1
                say(f"  entry {entry}, allocation {allocation}: {type(error).__name__}: {error}")
    say(f"  {raised} of these allocations were made, and failed")
    return len(entries) * ALLOCATIONS, failed
