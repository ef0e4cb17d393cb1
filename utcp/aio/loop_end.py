"""The end of an event loop: what is open on it is closed first, in good order."""

from __future__ import annotations

import asyncio
import atexit
import os
import warnings
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Any, Final, Protocol
from weakref import WeakSet


class Contents(Protocol):
    """What is open on a loop."""

    async def aclose(self) -> None:
        """Deliver what is queued, and close."""

    def close_now(self) -> int:
        """Close at once. Return how many connections had something undelivered."""


class LoopEnd:
    """Closes `contents` before the running loop is closed.

    Both loops' runners offer one hook for that: before they close the loop they finalise its asynchronous generators,
    so one is kept suspended. For programs without a runner the loop's `close()` does it first, and the end of the
    process does it if the loop was not closed. A simulated loop (`simulated`) has a runner.
    """

    def __init__(self, contents: Contents, *, simulated: bool) -> None:
        self._contents = contents
        self._simulated = simulated
        self._hurried = False
        """The end of the loop waits for nothing."""
        self._loop: Any = asyncio.get_running_loop()
        self._process = os.getpid()
        self._guard = self._closed_with_the_loop()
        try:
            # The loop learns of the generator by its first step, which runs up to the yield.
            self._guard.asend(None).send(None)
        except StopIteration:
            pass
        if not simulated:
            self._replaced_close = vars(self._loop).get("close")
            self._close_loop = self._loop.close
            self._loop.close = self._close  # type: ignore[method-assign]  # no loop offers a hook for it
            _unclosed.add(self)

    def hurry(self) -> None:
        """Wait for nothing at the end of the loop: the user has asked twice for the end of the program."""
        self._hurried = True

    def end(self) -> None:
        """Close the contents as a runner does, for a program that has none. Do nothing if a runner has closed them.

        The loop runs for that, up to `Config.close_timeout`. If it cannot, because another one runs in this thread,
        what is not delivered is reset, and a ResourceWarning says so. An interrupt resets it as well. After `hurry()`
        it is reset at once.
        """
        loop = self._loop
        if self not in _unclosed or not self._may_end():
            return
        if self._hurried:
            self._contents.close_now()
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            try:
                loop.run_until_complete(self._guard.aclose())
            finally:
                self._contents.close_now()
            return
        undelivered = self._contents.close_now()
        if undelivered:
            warnings.warn(
                f"loop.close() has reset {undelivered} utcp connections, because another loop runs in this thread:"
                " await writer.wait_closed(), or loop.shutdown_asyncgens(), before",
                ResourceWarning,
                stacklevel=3,
                source=loop,
            )

    def _close(self) -> None:
        """Close the contents, then the loop. Stands in for the loop's own close()."""
        try:
            self.end()
        finally:
            if self._may_end():  # a runner's end was interrupted, or the collector has found the loop
                self._contents.close_now()
            self._close_loop()

    def _may_end(self) -> bool:
        """Return whether this process may close them: a running loop cannot be closed, and a forked process has copies
        of its parent's connections."""
        return self._process == os.getpid() and not self._loop.is_running() and not self._loop.is_closed()

    def _restore_close(self) -> None:
        """Give the loop back the close() that it had, unless it has got another one since, which calls ours."""
        replaced = vars(self._loop).get("close")
        if replaced != self._close:
            return
        if self._replaced_close is None:
            del self._loop.close
        else:
            self._loop.close = self._replaced_close

    async def _closed_with_the_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _unclosed.discard(self)
            await self._contents.aclose()
            if not self._simulated:
                self._restore_close()


_unclosed: Final[WeakSet[LoopEnd]] = WeakSet()
"""Those of loops that are not closed."""


@atexit.register
def _end_all() -> None:
    with ExitStack() as ends:  # each is called, whatever another one raises
        for each in list(_unclosed):
            ends.callback(each.end)
