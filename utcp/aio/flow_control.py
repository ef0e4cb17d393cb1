"""asyncio's flow control of transports, as the base of a class that mypyc compiles."""

from __future__ import annotations

from asyncio import constants, transports
from collections.abc import Callable
from typing import Any, Final

# Both names are private, but the fallback of loop.sendfile() requires them.
SENDFILE_FALLBACK: Final[Any] = constants._SendfileMode.FALLBACK  # noqa: SLF001

LOGGED_DROPS: Final[int] = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
"""Writes after the end of a connection that are dropped silently. A transport logs a warning for each further one."""


class _WeaklyReferenced:
    __slots__ = ("__weakref__",)


class FlowControl(transports._FlowControlMixin, _WeaklyReferenced):  # type: ignore[misc]  # noqa: SLF001  # to mypy, a base for weak references conflicts with one that has slots
    """asyncio's flow control, whose methods need the attributes `_loop`, `_protocol_paused`, `_high_water` and
    `_low_water`.

    This class itself is not compiled. A compiled class keeps its attributes where an object of asyncio's class has its
    slots, and mypyc accepts a base only if its `__slots__` are empty. So the compiled subclass must have an attribute
    for each slot of asyncio's classes (`tests/aio/test_base_classes.py`).
    """

    __slots__ = ()

    # Methods of the base class that its type stubs lack.
    _maybe_pause_protocol: Callable[[], None]
    _maybe_resume_protocol: Callable[[], None]
