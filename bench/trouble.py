"""Turns unhandled failures of a server's handler or a protocol's method into failures of the measurement."""

import asyncio
import errno
from asyncio import AbstractEventLoop
from collections.abc import Callable
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
        asyncio.get_running_loop().set_exception_handler(exception_handler(self._note))
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

    def _note(self, failure: CallbackFailed) -> None:
        if self._why is None and self._task is not None:
            self._why = str(failure)
            self._task.cancel()


def exception_handler(report: Callable[[CallbackFailed], None]) -> Callable[[AbstractEventLoop, dict[str, Any]], None]:
    """Return an exception handler for an event loop, which calls `report` with each failure.

    Contexts without an exception go to the loop's default handler. A half-close after the peer has gone is no failure:
    asyncio's transport raises that error into the loop, and connection_lost() follows.
    """

    def handle(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, CallbackFailed):
            report(error)
        elif isinstance(error, OSError) and error.errno == errno.ENOTCONN:
            pass
        elif isinstance(error, Exception):
            line = f"{context['message']}: {type(error).__name__}: {error}"
            report(CallbackFailed(" ".join(line.split())))
        else:
            loop.default_exception_handler(context)

    return handle
