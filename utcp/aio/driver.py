"""Runs a link and a stack on an event loop, with one reader, one timer and one flush for all connections."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from utcp.aio.containment import later, report, soon
from utcp.link.base import Link, PathError, Received, SendError
from utcp.link.path import SocketAddress
from utcp.tcp.connection import Connection
from utcp.tcp.listener import Listener
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Remote, Transmit

BATCH: Final = 512
"""Datagrams that one wakeup reads, or slightly more. The others wait for the next turn, because the loop has other
users."""

MAX_LATENESS: Final = 1.0
"""Seconds by which the stack's timers may fire late while there is always more to read."""

READ_AGAIN: Final = 0.01
"""Seconds from a receive that raised an exception to the next one."""

TIMER_RESOLUTION: Final = 0.001
"""Seconds. uvloop fires a timer at once if it is due in less than half of this, so that the loop would spin until the
deadline."""


class OpenTransport(Protocol):
    """A transport before its connection_lost(), with the methods that a closing endpoint needs."""

    def is_closing(self) -> bool: ...

    def close_politely(self) -> None:
        """Begin to close the connection on behalf of the application."""

    def close_unanswered(self) -> None:
        """Stop waiting for the peer's answer to `close_politely()`."""

    def lose(self, error: OSError) -> None:
        """End the connection with `error`."""

    def vanish(self) -> None:
        """Drop the connection without RST and without callbacks. For simulations."""


class Driver:
    """Carries datagrams between a link and a stack, and passes events to the stack's users.

    A user is the `context` of a connection or listener. Its `ready(connection_or_listener)` is called after each batch
    in which there were events. The segments that users cause leave one loop turn later, by a flush that is scheduled
    after the users' own callbacks. So replies carry the ACKs, and our FIN carries the ACK of the peer's.

    Args:
        has_read: called with a UDP address, returns whether all endpoints of this loop that receive at this address
            have read everything. Two endpoints of one loop may be each other's peers. Before a timer fires, both read
            their sockets, because a late loop may have left the awaited ACK unread.
        met_peer: called with the remote of each connection that gets a transport; None: no call.
    """

    __slots__ = (
        "_after_flush",
        "_flushes",
        "_has_read",
        "_read_again",
        "_ready",
        "_timer",
        "_timer_due",
        "_writing",
        "closed",
        "link",
        "loop",
        "met_peer",
        "stack",
        "transports",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Link,
        stack: Stack,
        has_read: Callable[[SocketAddress], bool],
        met_peer: Callable[[Remote], None] | None = None,
    ) -> None:
        self.loop = loop
        self.link = link
        self.stack = stack
        self.transports: dict[OpenTransport, None] = {}
        """The transports before their connection_lost()."""
        self.met_peer: Final = met_peer
        self._after_flush: Callable[[], None] | None = None
        self.closed = False
        self._has_read = has_read
        self._flushes = 0  # scheduled flushes, of which the last one does the work
        self._read_again: asyncio.Handle | None = None
        self._ready: deque[Connection | Listener] = deque()
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0  # on the link's clock
        self._writing = False
        loop.add_reader(link.fileno(), self._readable)

    def schedule_flush(self) -> None:
        """Send in the next loop turn the segments that a user's call has caused."""
        if not self._flushes and not self.closed:
            try:
                self.loop.call_soon(self._flush)
            except Exception as exc:
                self._insist_on_flush(exc)
            self._flushes = 1

    def flush(self) -> None:
        """Send now. An Exception is passed to the loop's exception handler.

        While segments wait for room in the socket (0.2 s at most, `Pending`), only answers to strangers are sent,
        because they have a buffer of their own.
        """
        if self.closed:
            return
        stack, link = self.stack, self.link
        try:
            if link.pending:
                transmits = stack.answers_to_send()
                if not self._writing:  # an earlier attempt has failed
                    self._await_room()
            else:
                transmits = stack.datagrams_to_send(link.now())
            if transmits:
                self._send(transmits)
                if link.pending:
                    self._await_room()
        except BaseException as exc:
            self.schedule_flush()  # for the connections that this flush has not reached
            if not isinstance(exc, Exception):
                raise
            self._report("a flush came to no end", exc)
        if stack.ready or stack.failures:
            self.schedule_flush()

    def call_after_flush(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` after each flush from now on, in place of the present one; None: no call."""
        self._after_flush = callback

    def read(self) -> None:
        """Read at most one batch of datagrams, and pass the events to the users."""
        if not self.closed:
            self._readable()

    def close(self) -> None:
        """Remove everything from the loop and close the link. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._after_flush = None
        for timer in (self._timer, self._read_again):
            if timer is not None:
                timer.cancel()
        self._timer = self._read_again = None
        try:
            # Before the descriptor is closed, because its number may be reused, and the selector would watch that one.
            self.loop.remove_reader(self.link.fileno())
            if self._writing:
                self._stop_writing()
        finally:
            self.link.close()

    def _readable(self) -> None:
        try:
            if self._writing:  # the descriptor may be readable because there is room (`Link.watch_room`)
                self._writable()
            self._receive()
        finally:
            self._dispatch()

    def _receive(self) -> float:
        """Process one batch of datagrams, and ICMP errors. Return their common time of arrival.

        The clock is read after the batch. With an earlier time, the round-trip time of datagrams that arrive during the
        reading would be too short, and so would the minimum derived from it. A wakeup reads only one batch, because
        further ones would wait in the socket while the first is processed, which would add to their round-trip times.
        """
        received: list[Received] = []
        try:
            received = self.link.receive(BATCH)
        except Exception as exc:
            self._report("the link could not receive, which is tried again", exc)
            if self._read_again is None:  # the loop may not report the descriptor as readable again
                self._read_again = later(self.loop, READ_AGAIN, self._try_again)
        errors = self._path_errors() if self.link.has_path_errors else None
        now = self.link.now()
        stack = self.stack
        for data, remote, segment_size, ecn in received:
            try:
                stack.receive_datagram(data, remote, now, segment_size, ecn)
            except Exception as exc:  # the other datagrams of the batch must not be lost
                self._report(f"a datagram from {remote} was not processed to its end", exc)
        if errors:
            self._report_path([], errors, now)
        return now

    def _try_again(self) -> None:
        self._read_again = None
        self.read()

    def _send(self, transmits: list[Transmit]) -> None:
        failures: list[SendError] = []
        link = self.link
        try:
            failures = link.send(transmits)
        except Exception as exc:
            self._report("the link could not send", exc)
            # It is unknown which have left, so each is sent by itself. A duplicate does no harm.
            for transmit in transmits:
                with suppress(Exception):  # a broken link raises it each time, and it is reported above
                    failures += link.send([transmit])
        if failures or link.has_path_errors:
            self._sent(failures)

    def _sent(self, failures: list[SendError]) -> None:
        """Report the failures of a send, and ICMP errors, to the stack."""
        if failures or self.link.has_path_errors:
            self._report_path(failures, self._path_errors(), self.link.now())

    def _path_errors(self) -> list[PathError]:
        try:
            return self.link.path_errors()
        except Exception as exc:
            self._report("the link's ICMP errors are lost", exc)
            return []

    def _report_path(self, failures: list[SendError], errors: list[PathError], now: float) -> None:
        """Report failed sends, and ICMP errors about sent segments, to the stack."""
        stack = self.stack
        for failure in failures:
            try:
                stack.path_failed(failure.remote, failure.flows, failure.errno, now)
            except Exception as exc:
                self._report(f"a failed send to {failure.remote} was not processed to its end", exc)
        for remote, code, mtu, quoted in errors:
            try:
                stack.path_error(remote, code, mtu, quoted, now)
            except Exception as exc:
                self._report(f"an ICMP error about {remote} was not processed to its end", exc)
        self.schedule_flush()

    def _report(self, what: str, error: BaseException) -> None:
        """Report an exception that no connection's user gets."""
        report(self.loop, what, error)

    def _writable(self) -> None:
        failures: list[SendError] = []
        try:
            failures = self.link.flush_pending()
        except Exception as exc:
            self._report("the link could not send what had waited", exc)
        self._sent(failures)
        if not self.link.pending:
            self.schedule_flush()
            self._stop_writing()

    def _await_room(self) -> None:
        if not self._writing:
            try:
                if not self.link.watch_room(True):
                    self.loop.add_writer(self.link.fileno(), self._writable)
            except Exception as exc:
                self._report("the link cannot be watched for room, which is tried again with the next flush", exc)
            else:
                self._writing = True

    def _stop_writing(self) -> None:
        if not self.link.watch_room(False):
            self.loop.remove_writer(self.link.fileno())
        self._writing = False

    def _dispatch(self) -> None:
        # This flush runs after all callbacks that the users below schedule. An earlier flush of this turn would run
        # before them, so it does nothing.
        self._flushes += 1
        try:
            if self.stack.ready or self._ready or self.stack.failures:
                self._tell()
        finally:
            try:
                self.loop.call_soon(self._flush)
            except Exception as exc:
                self._flushes -= 1
                self._insist_on_flush(exc)
                self._flushes += 1

    def _insist_on_flush(self, error: Exception) -> None:
        """Schedule a flush again after `error`. Without a flush, no timer would be set any more."""
        soon(self.loop, self._flush)
        self._report("a flush was scheduled at the second attempt only", error)

    def _tell(self) -> None:
        ready = self._ready
        ready.extend(self.stack.take_ready())
        while ready:
            item = ready.popleft()
            user: Any = item.context
            if user is not None:
                try:
                    user.ready(item)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:  # the events of other connections must not be lost
                    self._report(f"the events of {item!r} were not handled to their end", exc)
        if self.stack.failures:
            for failure in self.stack.take_failures():
                self._report(failure.what, failure.error)

    def _flush(self) -> None:
        if self.closed:
            return
        if self._flushes > 1:
            self._flushes -= 1
            return
        try:
            # Events that the users' own calls have caused, or that are left after a KeyboardInterrupt in a callback.
            if self.stack.ready or self._ready or self.stack.failures:
                self._tell()
        except BaseException:
            soon(self.loop, self._flush)
            raise
        self._flushes = 0
        try:
            self.flush()
        finally:
            self._arm()
        if self._after_flush is not None:
            try:
                self._after_flush()
            except Exception as exc:
                self._report("what was to follow a flush came to no end", exc)

    def _arm(self) -> None:
        """Make sure that the timer fires by the stack's next deadline.

        An earlier timer stays: it finds nothing due and sets the next one. Most deadlines move later with every ACK,
        and cancelling a timer costs as much as setting one. A timer also stays if a new one would not be earlier.
        Otherwise, after a deadline has passed, flushes within TIMER_RESOLUTION of each other would postpone the timer
        again and again.
        """
        try:
            if self._timer is not None and self._timer_due <= self.stack.next_wakeup() + TIMER_RESOLUTION:
                return
            deadline = self.stack.next_timeout()
        except Exception as exc:
            self._report("the next timer is not known", exc)
            deadline = self.link.now() + MAX_LATENESS
        if deadline is None or (self._timer is not None and self._timer_due <= deadline + TIMER_RESOLUTION):
            return
        now = self.link.now()
        delay = max(1, math.ceil((deadline - now) / TIMER_RESOLUTION)) * TIMER_RESOLUTION
        due = now + delay
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
            self._timer = None  # the next call may raise
        try:
            self._timer = self.loop.call_later(delay, self._on_timer)
        except Exception as exc:
            self._timer = self.loop.call_later(delay, self._on_timer)
            self._report("a timer was set at the second attempt only", exc)
        self._timer_due = due

    def _on_timer(self) -> None:
        # In the next turn, because other endpoints of this loop answer at the end of this turn, and an answer may be
        # the ACK that a timer waits for.
        self._timer = None
        self._timer = soon(self.loop, self._expire)

    def _peer_has_read(self) -> bool:
        """Return whether the peer of the connection whose timer is due has read everything, if it is on this loop."""
        try:
            remote = self.stack.next_remote()
            return remote is None or self._has_read(self.link.peername(remote))
        except Exception as exc:
            self._report("it is not known whether the peer is on this loop", exc)
            return True

    def _expire(self) -> None:
        self._timer = None
        # In a busy loop timers fire late, and unread datagrams, of this endpoint or of a peer on this loop, may contain
        # the awaited ACK. So timers wait until both have read everything, up to MAX_LATENESS.
        try:
            now = self._receive()
            deadline = self.stack.next_timeout()
            if deadline is not None:
                nothing_waits = self.link.drained and self._peer_has_read()
                if nothing_waits or now - deadline > MAX_LATENESS:
                    self.stack.handle_timeout(now)
        except Exception as exc:
            self._report("timers were not handled to their end", exc)
        finally:
            self._dispatch()
