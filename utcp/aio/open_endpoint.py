"""An open endpoint: a link and its stack, from their opening until both are closed in good order."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Final, Protocol

from utcp.aio.containment import attempt, later, soon
from utcp.aio.driver import Driver, User
from utcp.aio.opening import Opening
from utcp.aio.transport import CLOSE_NOTIFY_GRACE
from utcp.config import Config
from utcp.errors import FinTimedOut
from utcp.link.base import Link
from utcp.link.path import SocketAddress
from utcp.tcp.connection import Connection
from utcp.tcp.listener import Listener
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, FIN_WAIT_2, TIME_WAIT

_MAX_BACKLOG: Final = 2**31 - 1

PEER_FIN_GRACE: Final = 1.0
"""Seconds that a closing endpoint waits, after all data is delivered, for the FINs of peers, because a closed endpoint
acknowledges no FIN."""

HALF_OPEN_GRACE: Final = 1.0
"""Seconds that a closed server continues open handshakes, because their peers may already be connected."""

_NOT_CLOSED: Final = "closing a part of an endpoint failed"


class Siblings(Protocol):
    """The registry of the loop's endpoints, with the methods that an open endpoint needs."""

    def discard(self, endpoint: OpenEndpoint) -> None:
        """Remove the endpoint, which is closed."""

    def linger(self, endpoint: OpenEndpoint) -> None:
        """Keep the endpoint, which has no owner any more, until its connections are gone."""


class ListenerUser(User, Protocol):
    """The user of a listener. `ready()` accepts the waiting connections, if there are any."""

    def close(self) -> None:
        """Stop listening, because the endpoint closes."""


class OpenEndpoint:
    """A link, its stack, and the driver between them. The registry of the loop opens it (`LoopEndpoints.open()`).

    `config` is the requested configuration; that of the stack may have smaller buffers.
    """

    started: Final = True

    def __init__(self, driver: Driver, config: Config, siblings: Siblings) -> None:
        self.config: Final = config
        self._driver: Final = driver
        self._siblings = siblings
        self._closed: asyncio.Future[None] | None = None
        """Future that is done when the endpoint is closed; None until closing begins."""
        self._drained = False
        self._deadline: float | None = None
        """Time of the loop's clock by which closing must end; None unless the owner has begun to close earlier."""
        self._stopping: dict[Listener, asyncio.TimerHandle] = {}
        """Stopped listeners that still accept connections that were half-open at the stop, with their timers."""

    def __repr__(self) -> str:
        return f"<Endpoint {self.description()}>"

    def description(self) -> str:
        """Return the state, the address and the number of connections, for `repr()`."""
        state = "closed" if self.closed else "open"
        return f"{state} {self.address} connections={len(self.stack.connections)}"

    # --- parts

    @property
    def driver(self) -> Driver:
        """The driver. Raises RuntimeError if the endpoint is closed or closing."""
        if self._driver.closed or self._closed is not None:
            raise RuntimeError(f"{self!r} is not open")
        return self._driver

    @property
    def stack(self) -> Stack:
        """The TCP stack. It stays readable after the endpoint is closed."""
        return self._driver.stack

    @property
    def link(self) -> Link:
        """The socket and the clock. It stays readable after the endpoint is closed."""
        return self._driver.link

    @property
    def address(self) -> SocketAddress:
        """The UDP address that the link is bound to."""
        return self._driver.link.address

    @property
    def closed(self) -> bool:
        return self._driver.closed

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Report the stack's events to `observer` as well. Return a function that ends this."""
        self.stack.observe_also(observer)
        return partial(self.stack.observe_no_more, observer)

    def snmp(self) -> dict[str, int]:
        """Return the totals of all connections, as `nstat` names them, and TcpCurrEstab."""
        return self.stack.snmp()

    def flush_soon(self) -> None:
        """Send in the next turn of the loop the segments that a call on the stack has queued."""
        self._driver.schedule_flush()

    def has_read(self, deadline: float) -> bool:
        """Return whether all datagrams that had arrived by `deadline`, a time of the link's clock, are read.

        After the last reading, which may have been of a single datagram, it may be unknown whether there is another
        one. A busy endpoint would then delay the timers of its peers on this loop, if only that reading counted.
        """
        return self.link.drained or self._driver.drained_at >= deadline

    def read_soon(self) -> None:
        """Read the link in the next turn of the loop, even if the loop does not report it as readable."""
        soon(self._driver.loop, self._driver.read)

    # --- closing

    async def aclose(self) -> None:
        """Close the connections, wait until the peers have acknowledged everything, and close the link. Idempotent."""
        await self.drain()
        await self.finish()

    async def drain(self) -> None:
        """Do the first part of `aclose()`, after which the link is still open. If closing has already begun, wait for
        its end."""
        driver = self._driver
        if driver.closed:
            return
        if self._closed is not None:
            if not self._drained:
                await asyncio.shield(self._closed)
            return
        loop = driver.loop
        self._closed = loop.create_future()
        deadline = loop.time() + self.config.close_timeout
        if self._deadline is not None:  # the owner has begun to close the connections earlier
            deadline = min(deadline, self._deadline)
        try:
            self._close_all()
            if not all(transport.is_closing() for transport in driver.transports):  # TLS above some of them
                await _until(driver, _shut_down, min(CLOSE_NOTIFY_GRACE, (deadline - loop.time()) / 2))
                for transport in list(driver.transports):
                    attempt(loop, _NOT_CLOSED, transport.close_without_notify)
            await _until(driver, _delivered, deadline - loop.time())
            # No FIN is in flight from a peer that has been silent for PEER_FIN_GRACE.
            last_received = max(
                (connection.last_received for connection in driver.stack.connections.values()), default=-inf
            )
            grace = last_received + PEER_FIN_GRACE - driver.link.now()
            await _until(driver, _finished, min(grace, deadline - loop.time()))
            self._drained = True
        except BaseException:
            self._shut()
            raise

    async def finish(self) -> None:
        """Do the second part of `aclose()`: reset connections with undelivered data, and close the link."""
        if self._driver.closed:
            return
        self._shut()
        # connection_lost() of a transport is called in the next turn, that of a protocol above TLS one turn later.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def close_now(self) -> int:
        """Close without waiting. Reset the connections with undelivered data, and return their number."""
        driver = self._driver
        if driver.closed:
            return 0
        undelivered = sum(not _delivered(connection) for connection in driver.stack.connections.values())
        try:
            self._close_all()
        finally:
            self._shut()
        return undelivered

    def vanish(self) -> None:
        """Drop everything without sending a segment, like a machine that loses its power. For simulations."""
        driver = self._driver
        if not driver.closed:
            for transport in list(driver.transports):
                transport.vanish()
            driver.close()

    def close_by(self, deadline: float) -> None:
        """Limit the wait of `aclose()` and of the loop's end. The caller has begun to close the connections.

        `deadline` is a time of the loop's clock.
        """
        self._deadline = deadline

    def close_when_idle(self) -> None:
        """Have the endpoint closed when its last connection and TIME_WAIT record are gone. Return at once.

        Until then, a new server on the same address takes the endpoint over.
        """
        driver = self._driver
        if driver.closed or self._closed is not None:
            return

        def close_if_idle() -> None:
            stack = driver.stack
            if not (driver.transports or stack.connections or len(stack.time_wait) or self._stopping):
                self._shut()

        driver.call_after_flush(close_if_idle)
        driver.schedule_flush()
        self._siblings.linger(self)

    def keep_open(self) -> None:
        """Undo `close_when_idle()`, because a new server uses the endpoint."""
        self.driver.call_after_flush(None)
        self._deadline = None

    def _close_all(self) -> None:
        driver = self._driver
        loop, now = driver.loop, driver.link.now()
        for listener in list(driver.stack.listeners.values()):
            user: Any = listener.context
            if user is not None:
                attempt(loop, _NOT_CLOSED, user.close)
            attempt(loop, _NOT_CLOSED, listener.close, now)
        for listener in list(self._stopping):
            attempt(loop, _NOT_CLOSED, self.end_listening, listener)
        for connection in list(driver.stack.connections.values()):
            if isinstance(connection.context, Opening):
                attempt(loop, _NOT_CLOSED, connection.abort, now)
        for transport in list(driver.transports):
            transport.close_by_owner()  # raises no Exception

    def _shut(self) -> None:
        """Close at once. Report each failure, and close the rest."""
        driver = self._driver
        if driver.closed:
            return
        loop, now = driver.loop, driver.link.now()
        try:
            for transport in list(driver.transports):
                error = FinTimedOut("The endpoint was closed before the peer had acknowledged everything")
                attempt(loop, _NOT_CLOSED, transport.fail, error)
            for listener in list(self._stopping):
                attempt(loop, _NOT_CLOSED, self.end_listening, listener)
            for connection in list(driver.stack.connections.values()):
                if not _delivered(connection):
                    attempt(loop, _NOT_CLOSED, connection.abort, now)
            driver.flush()
        finally:
            attempt(loop, _NOT_CLOSED, driver.close)
            attempt(loop, _NOT_CLOSED, self._siblings.discard, self)
            if self._closed is not None and not self._closed.done():
                self._closed.set_result(None)

    # --- listening

    def listen(self, port: int, backlog: int, user: ListenerUser | None) -> Listener:
        """Listen on a utcp port. `user.ready(listener)` is called when connections wait.

        Args:
            port: the utcp port.
            backlog: the number of connections that may wait, as for `socket.listen()`; below 1 it counts as 1.
            user: accepts the connections.

        Raises AddressInUse; TypeError if `backlog` is not an integer; OverflowError if it is above 2**31 - 1.
        """
        driver = self.driver
        number = operator.index(backlog)
        if number > _MAX_BACKLOG:
            raise OverflowError(f"backlog must be at most {_MAX_BACKLOG}, not {number}")
        return driver.stack.listen(port, driver.link.now(), backlog=max(number, 1), context=user)

    def stop_listening(self, listener: Listener) -> None:
        """Stop listening. Allowed after the endpoint is closed.

        Half-open connections are still accepted for HALF_OPEN_GRACE seconds. Then `end_listening()` resets the rest.
        """
        driver = self._driver
        listener.stop()
        # If SYN cookies are outstanding, the endpoint stays open to answer their ACKs with RST.
        waits = listener.half_open or listener.queue or driver.stack.cookies.outstanding(driver.link.now())
        if waits and not driver.closed:
            self._stopping[listener] = later(driver.loop, HALF_OPEN_GRACE, self.end_listening, listener)
        else:
            self.end_listening(listener)

    def end_listening(self, listener: Listener) -> None:
        """Stop listening, and reset the connections that are not accepted. Then call `user.ready(listener)`."""
        driver = self._driver
        timer = self._stopping.pop(listener, None)
        if timer is not None:
            timer.cancel()
        listener.close(driver.link.now())
        driver.schedule_flush()
        user: Any = listener.context
        if user is not None:
            user.ready(listener)

    def abort(self, connection: Connection) -> None:
        """Reset a connection that has no user."""
        connection.abort(self._driver.link.now())
        self._driver.schedule_flush()


def _shut_down(connection: Connection) -> bool:
    """Return whether our FIN is sent or queued."""
    return connection.state not in (ESTABLISHED, CLOSE_WAIT)


def _delivered(connection: Connection) -> bool:
    """Return whether the peer has acknowledged all data and our FIN, or the connection has ended."""
    return connection.state in (FIN_WAIT_2, TIME_WAIT, CLOSED)


def _finished(connection: Connection) -> bool:
    return connection.state in (TIME_WAIT, CLOSED)


async def _until(driver: Driver, done: Callable[[Connection], bool], timeout: float) -> None:
    """Wait until every connection is `done`, but no longer than `timeout` seconds."""
    waiting = list(driver.stack.connections.values())
    waiter = driver.loop.create_future()

    def check() -> None:
        while waiting and done(waiting[-1]):
            waiting.pop()
        if not waiting and not waiter.done():
            waiter.set_result(None)

    # At least one flush, because it also passes events to the users.
    driver.call_after_flush(check)
    driver.schedule_flush()
    try:
        async with asyncio.timeout(timeout):
            await waiter
    except TimeoutError:
        return
    finally:
        driver.call_after_flush(None)
