"""Turns unhandled failures of a server's handler or a protocol's method into failures of the measurement."""

import asyncio
import errno
from types import TracebackType
from typing import Any, Self


class CallbackFailed(Exception):
    """A failed callback, with the failure and its reason in one line."""


class Guard:
    """An asynchronous context manager. When the loop reports such a failure, the body is cancelled and CallbackFailed
    raised. Otherwise the other end would wait until the time limit."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._why: str | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        asyncio.get_running_loop().set_exception_handler(self._note)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().set_exception_handler(None)
        task, self._task = self._task, None
        if self._why is None:
            return
        if task is not None:
            task.uncancel()
        raise CallbackFailed(self._why) from None

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        why = reason(context)
        if why is None:
            loop.default_exception_handler(context)
        elif self._why is None and self._task is not None:
            self._why = why
            self._task.cancel()


def reason(context: dict[str, Any]) -> str | None:
    """Return the failure reported to an event loop's exception handler in one line, or None if it does not concern the
    measurement.

    Reports without an exception do not, nor does a half-close after the peer has gone: asyncio's transport raises that
    error into the loop, and connection_lost() follows.
    """
    error = context.get("exception")
    if not isinstance(error, Exception) or (isinstance(error, OSError) and error.errno == errno.ENOTCONN):
        return None
    if isinstance(error, CallbackFailed):
        return str(error)
    return " ".join(f"{context['message']}: {type(error).__name__}: {error}".split())
