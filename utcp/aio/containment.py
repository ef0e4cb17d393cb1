"""Calls whose failure must not affect other connections.

An exception must end at most one connection. So a loop over several objects reports the exception of one of them and
continues with the next. A callback that an endpoint or a connection depends on is scheduled again if the first attempt
fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def attempt(loop: asyncio.AbstractEventLoop, failed: str, call: Callable[..., T], *arguments: Any) -> T | None:
    """Return the result of `call`. If it raises an Exception, pass that to the loop's exception handler, with the text
    `failed`, and return None."""
    try:
        return call(*arguments)
    except Exception as error:
        report(loop, failed, error)
        return None


def report(loop: asyncio.AbstractEventLoop, failed: str, error: BaseException) -> None:
    """Report an exception that no connection's user gets."""
    loop.call_exception_handler({"message": f"utcp: {failed}", "exception": error})


def soon(
    loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: Any, context: Context | None = None
) -> asyncio.Handle:
    """Call `loop.call_soon()`, a second time if it fails, because memory may be short for a moment only.

    The first exception is reported. Raises that of the second call, which is RuntimeError on a closed loop.
    """
    try:
        return loop.call_soon(callback, *arguments, context=context)
    except Exception as error:
        handle = loop.call_soon(callback, *arguments, context=context)
        report(loop, _AT_SECOND, error)
        return handle


def later(
    loop: asyncio.AbstractEventLoop, delay: float, callback: Callable[..., object], *arguments: Any
) -> asyncio.TimerHandle:
    """Call `loop.call_later()`, a second time if it fails, as in `soon()`. `delay` is in seconds."""
    try:
        return loop.call_later(delay, callback, *arguments)
    except Exception as error:
        handle = loop.call_later(delay, callback, *arguments)
        report(loop, _AT_SECOND, error)
        return handle


_AT_SECOND = "scheduling a callback failed; the second attempt has succeeded"
