"""The base of all ends of a tunnel: connections in progress, and an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import ssl
from collections.abc import Coroutine
from typing import Any, Final

from utcp.tcp.transmit import address_text
from utcp.tunnel.accept import Acceptor, accept_kernel
from utcp.tunnel.dial import Dialer
from utcp.tunnel.limits import Complaints
from utcp.tunnel.options import Options
from utcp.tunnel.pump import HangupWatch, KernelSide, Side, join

LOG: Final = logging.getLogger("utcp.tunnel")
"""INFO: actions of the end as a whole. DEBUG: single connections. WARNING and ERROR: problems. Problems of single
connections are logged by `End.complain()` only, which limits their number."""


class End:
    """The base of the ends. Each is started once and then stopped.

    A subclass makes its `carrier`, which accepts or opens utcp connections, and implements `_open()`, `_other_side()`
    and `description`.
    """

    carrier: Acceptor | Dialer

    def __init__(self, options: Options) -> None:
        self.options: Final = options
        self.users: asyncio.AbstractServer | None = None
        """The server of users over kernel TCP, at the users' end of a tunnel."""
        self._watch: HangupWatch | None = None
        self._complaints = Complaints(LOG)
        self._sides: set[Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stopping = False
        self._out_of_time = False

    async def run(self, grace: float) -> None:
        """Start, and stop at SIGTERM or SIGINT, when open connections have `grace` seconds to end. A second signal ends
        this wait. Raises OSError when the end cannot be started."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each user takes one, and 1024 is a usual limit
        loop = asyncio.get_running_loop()
        stop, hurry = asyncio.Event(), asyncio.Event()

        def signalled() -> None:
            if stop.is_set():
                hurry.set()
            stop.set()

        await self.start()
        # Not earlier, because before the start there is nothing to stop, and resolving a name may take long.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        LOG.info("%s", self.description)
        await stop.wait()
        await self.stop(grace, hurry)
        LOG.info("stopped")

    async def start(self) -> None:
        """Start to accept connections. Raises OSError when an address cannot be used or resolved."""
        self._watch = HangupWatch()
        try:
            await self._open()
        except BaseException:
            self._watch.close()
            await self.carrier.aclose()
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
        await self.carrier.aclose()
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

    async def _other_side(self, user: Side) -> Side:
        """Open the connection to which a user's is joined. Raises OSError."""
        raise NotImplementedError

    def _other_name(self, user: Side) -> str:
        """Return the HOST:PORT that a failure of `_other_side()` concerns, for the log."""
        raise NotImplementedError

    def _close(self) -> None:
        """Stop listening, and close connections that carry no user."""
        if self.users is not None:
            self.users.close()
        self.carrier.close()

    # --- for subclasses

    @property
    def watch(self) -> HangupWatch:
        assert self._watch is not None  # noqa: S101  # created before any connection
        return self._watch

    async def accept_users(self, address: tuple[str | None, int]) -> None:
        """Accept users over kernel TCP. Raises OSError."""
        self.users = await accept_kernel(lambda: KernelSide(self.watch, self.accepted), address)

    @property
    def users_address(self) -> str:
        """Return the addresses of the server of users, as text for the log."""
        sockets = getattr(self.users, "sockets", ())
        return " and ".join(address_text(each.getsockname()) for each in sockets)

    def accepted(self, user: Side) -> None:
        """Connect a user to the other side, in a task. If that fails or the end must stop, the user is reset."""

        def done(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                user.reset()  # the task may not have started
            self._done(task)

        task = asyncio.create_task(self._connect(user))
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

    async def connect_kernel(self, address: tuple[str, int]) -> KernelSide:
        """Connect to `address` over kernel TCP. Raises OSError."""
        async with asyncio.timeout(self.options.connect_timeout):
            _, side = await asyncio.get_running_loop().create_connection(lambda: KernelSide(self.watch), *address)
            return side

    def handshake_failed(self, name: str, error: BaseException) -> None:
        """Log why the TLS handshake with a peer failed."""
        hint = f" ({self.options.tls_hint})" if self.options.tls_hint else ""
        self.complain(name, f"TLS handshake failed: {reason(error)}{hint}")

    def complain(self, name: str, text: str) -> None:
        """Log a problem with a connection to `name`, HOST:PORT (see `Complaints`)."""
        self._complaints.add(name, text)

    async def _connect(self, user: Side) -> None:
        try:
            other = await self._other_side(user)
        except BaseException as error:
            user.reset()
            if isinstance(error, ssl.SSLError):
                self.handshake_failed(self._other_name(user), error)
            elif isinstance(error, OSError):
                self.complain(self._other_name(user), reason(error))
            else:
                raise
            return
        self._sides |= {user, other}
        LOG.debug("%s and %s: joined", user.name, other.name)
        try:
            join(user, other, self._ended)
        except BaseException:
            user.reset()
            other.reset()
            raise

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
        LOG.debug("%s and %s: %d and %d bytes, %s", first.name, last.name, first.octets, last.octets, how)
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
