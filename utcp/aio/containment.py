"""Calls whose failure must not be felt elsewhere.

One exception must cost one connection at most. So a loop over the objects of others reports what one of them raises,
and goes on to the next. A callback that an endpoint or a connection cannot do without is scheduled at the second
attempt if the first one fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def attempt(loop: asyncio.AbstractEventLoop, failed: str, call: Callable[..., T], *arguments: Any) -> T | None:
    """Return what `call` returns. If it raises an Exception, report that to the loop's exception handler, with the text
    `failed`, and return None."""
    try:
        return call(*arguments)
    except Exception as error:
        report(loop, failed, error)
        return None


def report(loop: asyncio.AbstractEventLoop, failed: str, error: BaseException) -> None:
    """Report an exception of which no connection's user is told."""
    loop.call_exception_handler({"message": f"utcp: {failed}", "exception": error})


def soon(
    loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: Any, context: Context | None = None
) -> asyncio.Handle:
    """`loop.call_soon()`, called again if it fails: memory may be short for a moment only. The first exception is
    reported. Raises that of the second call: on a closed loop, RuntimeError."""
    try:
        return loop.call_soon(callback, *arguments, context=context)
    except Exception as error:
        handle = loop.call_soon(callback, *arguments, context=context)
        report(loop, _AT_SECOND, error)
        return handle


def later(
    loop: asyncio.AbstractEventLoop, delay: float, callback: Callable[..., object], *arguments: Any
) -> asyncio.TimerHandle:
    """`loop.call_later()`, called again if it fails, as `soon()` does. `delay` is in seconds."""
    try:
        return loop.call_later(delay, callback, *arguments)
    except Exception as error:
        handle = loop.call_later(delay, callback, *arguments)
        report(loop, _AT_SECOND, error)
        return handle


_AT_SECOND = "a callback was scheduled at the second attempt only"
