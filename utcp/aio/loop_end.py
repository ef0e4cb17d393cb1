"""The end of an event loop, before which its endpoints are closed in good order."""

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
    """The endpoints of a loop."""

    async def aclose(self) -> None:
        """Deliver queued data, and close."""

    def close_now(self) -> int:
        """Close at once. Return how many connections had undelivered data."""


class LoopEnd:
    """Closes `contents` before the running loop is closed.

    The only hook in the runners of asyncio and uvloop is that they finalize the loop's asynchronous generators before
    they close it. So one generator is kept suspended. In programs without a runner, the loop's `close()` closes the
    contents first. If the loop is never closed, the end of the process does it. A `simulated` loop always has a runner.
    """

    def __init__(self, contents: Contents, *, simulated: bool) -> None:
        self._contents = contents
        self._simulated = simulated
        self._ends_at_once = False
        """Whether the end of the loop waits for nothing."""
        self._loop: Any = asyncio.get_running_loop()
        self._process = os.getpid()
        self._guard = self._closed_with_the_loop()
        try:
            # The first step, up to the yield, registers the generator with the loop.
            self._guard.asend(None).send(None)
        except StopIteration:
            pass
        if not simulated:
            self._replaced_close = vars(self._loop).get("close")
            self._close_loop = self._loop.close
            self._loop.close = self._close  # type: ignore[method-assign]  # no loop has a hook for it
            _unclosed.add(self)

    def end_at_once(self) -> None:
        """Let the end of the loop wait for nothing, because the user has requested the end of the program twice."""
        self._ends_at_once = True

    def end(self) -> None:
        """Close the contents as a runner does, for a program without one. Do nothing if a runner has closed them.

        The loop runs for this, up to `Config.close_timeout`. If another loop runs in this thread, connections with
        undelivered data are reset, with a ResourceWarning. An interrupt also resets them, and so does an earlier
        `end_at_once()`.
        """
        loop = self._loop
        if self not in _unclosed or not self._may_end():
            return
        if self._ends_at_once:
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
        """Close the contents, then the loop. Replaces the loop's own close()."""
        try:
            self.end()
        finally:
            if self._may_end():  # a runner was interrupted, or the loop is garbage-collected
                self._contents.close_now()
            self._close_loop()

    def _may_end(self) -> bool:
        """Return whether this process may close the contents. A running loop cannot be closed, and in a forked process
        the connections are those of its parent."""
        return self._process == os.getpid() and not self._loop.is_running() and not self._loop.is_closed()

    def _restore_close(self) -> None:
        """Restore the loop's previous close(), unless another one, which calls ours, has replaced it since."""
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
"""The instances whose loops are not closed."""


@atexit.register
def _end_all() -> None:
    with ExitStack() as ends:  # each is called, even if another one raises
        for each in list(_unclosed):
            ends.callback(each.end)
