"""The base of all ends of a tunnel: connections in progress, and an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Coroutine
from typing import Any, Final

from utcp.tunnel.complaints import Complaints
from utcp.tunnel.hangup import HangupWatch
from utcp.tunnel.options import Options
from utcp.tunnel.pump import KernelSide, Side, address_text, join

LOG: Final = logging.getLogger("utcp.tunnel")
"""INFO: actions of the end as a whole. DEBUG: single connections. WARNING and ERROR: problems. Problems of single
connections are logged by `End.complain()` only, which limits their number."""


class End:
    """The base of the ends. Each is started once and then stopped."""

    def __init__(self, options: Options) -> None:
        self.options: Final = options
        self._watch: HangupWatch | None = None
        self._complaints = Complaints(LOG)
        self._sides: set[Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stopping = False
        self._out_of_time = False

    async def start(self) -> None:
        """Start to accept connections. Raises OSError when an address cannot be used or resolved."""
        self._watch = HangupWatch(asyncio.get_running_loop())
        try:
            await self._open()
        except BaseException:
            self._watch.close()
            await self._release()
            self._complaints.close()
            raise

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Stop accepting connections, wait up to `grace` seconds for open ones to end, and reset the rest.

        `hurry` ends the wait when it is set.
        """
        self.stopping = True
        self._close()
        for task in self._background:
            task.cancel()
        if self.connections:
            LOG.info("stopping: %d connections have %g seconds to end", self.connections, grace)
        waiting = [asyncio.create_task(self._idle.wait())]
        if hurry is not None:
            waiting.append(asyncio.create_task(hurry.wait()))
        await asyncio.wait(waiting, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        for wait in waiting:
            wait.cancel()
        self._out_of_time = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*waiting, *tasks, *self._background, return_exceptions=True)
        if self._sides:
            LOG.info("resetting %d connections", self.connections)
        for side in list(self._sides):
            side.reset()
        await self._idle.wait()
        if self._watch is not None:
            self._watch.close()
        await self._release()
        self._complaints.close()

    @property
    def connections(self) -> int:
        """Return the number of users' connections, including those that wait for the connection to the other side."""
        return len(self._sides) // 2 + len(self._tasks)

    @property
    def description(self) -> str:
        """Return the listening addresses, as text for the log."""
        raise NotImplementedError

    async def _open(self) -> None:
        """Start to listen."""
        raise NotImplementedError

    def _close(self) -> None:
        """Stop listening, and close connections that carry no user."""
        raise NotImplementedError

    async def _release(self) -> None:
        """Close the UDP sockets after all sent data is delivered, within `Config.close_timeout`."""
        raise NotImplementedError

    # --- for subclasses

    @property
    def watch(self) -> HangupWatch:
        assert self._watch is not None  # noqa: S101  # created before any connection
        return self._watch

    def spawn(self, side: Side, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` for a connection as a task. If the end must stop, the task is cancelled and `side` reset."""

        def done(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                side.reset()  # the task may not have started
            self._done(task)

        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._idle.clear()
        task.add_done_callback(done)
        if self._out_of_time:  # accepted before the stop but reported after it
            task.cancel()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` that carries no user as a task. It is cancelled as soon as the end stops."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def carry(self, one: Side, other: Side) -> None:
        """Join two connections. Both are reset if an exception occurs."""
        self._sides |= {one, other}
        self._idle.clear()
        LOG.debug("%s and %s: joined", one.name, other.name)
        try:
            join(one, other, self._ended)
        except BaseException:
            one.reset()
            other.reset()
            raise

    async def connect_kernel(self, address: tuple[str, int]) -> KernelSide:
        """Connect to `address` over kernel TCP. Raises OSError."""
        async with asyncio.timeout(self.options.connect_timeout):
            _, side = await asyncio.get_running_loop().create_connection(lambda: KernelSide(self.watch), *address)
            return side

    async def forward(self, side: Side, address: tuple[str, int]) -> None:
        """Connect to `address` over kernel TCP and join `side` to it, or reset `side` on failure."""
        try:
            target = await self.connect_kernel(address)
        except BaseException as error:
            side.reset()
            if not isinstance(error, OSError):
                raise
            self.complain(logging.WARNING, address_text(address), reason(error))
            return
        self.carry(side, target)

    def handshake_failed(self, name: str, error: BaseException) -> None:
        """Log why the TLS handshake with a peer failed."""
        hint = f" ({self.options.tls_hint})" if self.options.tls_hint else ""
        self.complain(logging.ERROR, name, f"TLS handshake failed: {reason(error)}{hint}")

    def complain(self, level: int, name: str, text: str) -> None:
        """Log a problem with a connection to `name`, HOST:PORT (see `Complaints`)."""
        self._complaints.add(level, name, text)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("unexpected exception", exc_info=task.exception())
        self._settle()

    def _ended(self, first: Side, last: Side) -> None:
        self._sides -= {first, last}
        error = first.error
        how = "closed" if first.eof and last.eof else f"reset: {reason(error)}" if error is not None else "reset"
        LOG.debug("%s and %s: %d and %d octets, %s", first.name, last.name, first.octets, last.octets, how)
        self._settle()

    def _settle(self) -> None:
        if not self._sides and not self._tasks:
            self._idle.set()


def reason(error: BaseException) -> str:
    """Return the reason of an error in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and getattr(error, "reason", None):  # utcp's own errors have no reason
        return error.reason.replace("_", " ").lower()
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        if error.errno and error.strerror.startswith("Connect call failed"):
            return os.strerror(error.errno)  # the log line names the address already
        return " ".join(error.strerror.split())
    return " ".join(str(error).split()) or type(error).__name__
