"""A stack contains what is raised in the middle of its work, so that it concerns one connection or observer at most. In
tests that are not about that, such an exception is a bug, and fails the test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from utcp.tcp import COMPILED, failures
from utcp.tcp import stack as stack_module
from utcp.tcp.connection.context import Context
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack

_allowed = False


def install() -> None:
    """From now on stacks raise what they would contain, except while that is `allowed`. The compiled core cannot be
    changed; drivers of bare stacks call `refuse` as well."""
    if COMPILED:
        return
    observer_failed = Stack._observer_failed

    def fail(stack: Context[Tcb], connection: Tcb, cause: BaseException, now: float) -> bool:
        if not _allowed:
            raise cause
        return failures.fail(stack, connection, cause, now)

    def failed(self: Stack, observer: Observer, error: Exception) -> None:
        if not _allowed:
            raise error
        observer_failed(self, observer, error)

    mock.patch.object(stack_module, "fail", fail).start()
    mock.patch.object(Stack, "_observer_failed", failed).start()


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """While the context lasts, stacks contain exceptions as they do outside of tests."""
    global _allowed
    before, _allowed = _allowed, True
    try:
        yield
    finally:
        _allowed = before


def refuse(stack: Stack) -> None:
    """Raise what the stack has contained, if anything."""
    for failure in stack.failures:
        raise failure.error
    assert not stack.counters.broken_off, "an exception has ended a connection: its error has the cause"
