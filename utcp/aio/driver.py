"""Runs a link and a stack on an event loop, with one reader, one timer and one flush for all connections."""

from __future__ import annotations

import asyncio
import contextvars
import math
import warnings
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final, Protocol

from utcp._compiled import mypyc_attr
from utcp.aio.containment import later, report, soon
from utcp.aio.moderation import PAUSE, SHORTEST, Moderation
from utcp.link.base import Link, PathError, Received, SendError
from utcp.link.path import SocketAddress
from utcp.tcp.connection import Connection
from utcp.tcp.listener import Listener
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Remote, Transmit, address_text

BATCH: Final = 512
"""Datagrams that one wakeup reads, or slightly more. The others wait for the next turn, because the loop has other
users."""

LONE_READS: Final = 8
"""Wakeups that read one datagram only, after a batch of exactly one short one. Each saves a system call that would find
nothing. If there is more to read, the loop reports the descriptor again, and the next wakeup reads the next datagram.
While batches of one follow each other, the number doubles, up to MOST_LONE_READS. A longer datagram seldom comes alone,
so that it ends these wakeups."""

MOST_LONE_READS: Final = 64

MAX_LATENESS: Final = 1.0
"""Seconds by which the stack's timers may fire late while there is always more to read."""

READ_AGAIN: Final = 0.01
"""Seconds from a receive that raised an exception to the next one."""

TIMER_RESOLUTION: Final = 0.001
"""Seconds. uvloop fires a timer at once if it is due in less than half of this, so that the loop would spin until the
deadline."""


class User(Protocol):
    """The user of a connection or listener."""

    @property
    def callback_context(self) -> contextvars.Context | None:
        """The context in which the driver calls `ready()`; None: any."""

    def ready(self, item: Any) -> None:
        """Handle the new events of the connection or listener."""


class PeerWatch(Protocol):
    """Watches the peers on this host."""

    @property
    def examined(self) -> Collection[tuple[Link, Remote]]:
        """Remotes of links for which `watch()` need not be called again."""

    def watch(self, link: Link, remote: Remote) -> None:
        """Watch the peer of a connection that gets a transport."""


class OpenTransport(Protocol):
    """A transport before its connection_lost(), with the methods that a closing endpoint needs."""

    def is_closing(self) -> bool: ...

    def close_by_owner(self) -> None:
        """Begin to close the connection on behalf of the application."""

    def close_without_notify(self) -> None:
        """Stop waiting for the peer's answer to `close_by_owner()`."""

    def fail(self, error: OSError) -> None:
        """End the connection with `error`."""

    def vanish(self) -> None:
        """Drop the connection without RST and without callbacks. For simulations."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Driver:
    """Carries datagrams between a link and a stack, and passes events to the stack's users.

    A `User` is the `context` of a connection or listener. It is called after each batch in which there were events. The
    segments that users cause leave by a flush after the users' own callbacks, at once or one loop turn later
    (`_dispatch`). So replies carry the ACKs, and our FIN carries the ACK of the peer's.

    Args:
        has_read: called with a UDP address and a deadline, returns whether all endpoints of this loop that receive at
            this address have read everything that had arrived by the deadline. Two endpoints of one loop may be each
            other's peers. Before a timer fires, both read their sockets, because a late loop may have left the awaited
            ACK unread.
        peers: watches the peers of connections with a transport; None: none does.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Link,
        stack: Stack,
        has_read: Callable[[SocketAddress, float], bool],
        peers: PeerWatch | None = None,
    ) -> None:
        self.loop = loop
        self.link = link
        self.stack = stack
        self.transports: dict[OpenTransport, None] = {}
        """The transports before their connection_lost()."""
        self.peers: Final = peers
        self.flush_requested = False
        """Whether schedule_flush() was called since the last wakeup or flush, so that a further call does nothing."""
        self._after_flush: Callable[[], None] | None = None
        self.drained_at = -math.inf
        """Time of the last reading that left nothing unread, on the link's clock."""
        self.closed = False
        self._has_read = has_read
        self._flushes = 0  # scheduled flushes, of which the last one does the work
        self._read_again: asyncio.Handle | None = None
        self._ready: deque[Connection | Listener] = deque()
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0  # on the link's clock
        self._writing = False
        self._is_lone = False  # the last wakeup has brought one datagram or train only
        self._lone_reads = 0  # next wakeups that read one datagram or train only
        self._next_lone_reads = LONE_READS  # after a batch of one
        self._moderation = Moderation(stack)
        self._pause: asyncio.Handle | None = None  # ends a pause of reading, while the link is not watched
        self._pauses = False  # the last reading has found that a pause may follow
        loop.add_reader(link.fileno(), self._readable)

    def __del__(self) -> None:
        failed: Exception | None = None
        for transport in self.transports:
            try:
                if not transport.is_closing():
                    warnings.warn(f"unclosed transport {transport!r}", ResourceWarning, stacklevel=1, source=transport)
            except Exception as exc:  # a warning may be an error; the others are still to be warned of
                failed = exc
        if failed is not None:
            raise failed

    def schedule_flush(self) -> None:
        """Send in the next loop turn, or earlier (`_dispatch`), the segments that a user's call has caused."""
        if not self._flushes and not self.closed:
            try:
                self.loop.call_soon(self._flush)
            except Exception as exc:
                self._retry_flush(exc)
            self._flushes = 1
        self.flush_requested = True

    def flush(self) -> None:
        """Send now, and set the timer. An Exception is passed to the loop's exception handler.

        While segments wait for room in the socket (0.2 s at most, `Pending`), only answers to unverified senders are
        sent, because they have a buffer of their own.
        """
        if self.closed:
            return
        stack, link = self.stack, self.link
        try:
            if link.pending:
                transmits = stack.answers_to_send()
                self._await_room()  # again, if an earlier attempt has failed
            else:
                transmits = stack.datagrams_to_send(link.now())
            if transmits:
                try:
                    failures = link.send(transmits)
                except Exception as exc:
                    failures = self._send_singly(transmits, exc)
                if failures or link.has_path_errors:
                    self._report_path(failures, self._path_errors(), link.now())
                if link.pending:
                    self._await_room()
                if self._pause is not None and self._moderation.is_asked(link.now()):
                    self._watch_input()
        except BaseException as exc:
            self.schedule_flush()  # for the connections that this flush has not reached
            if not isinstance(exc, Exception):
                self._arm()
                raise
            self._report("a flush was interrupted by an exception", exc)
        if stack.ready or stack.failures:
            self.schedule_flush()
        self._arm()

    def call_after_flush(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` after each flush from now on, in place of the present one; None: no call."""
        self._after_flush = callback

    def read(self) -> None:
        """Read at most one batch of datagrams, and pass the events to the users."""
        if not self.closed:
            self._lone_reads = 0
            self._readable()

    def close(self) -> None:
        """Remove everything from the loop and close the link. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._after_flush = None
        for timer in (self._timer, self._read_again, self._pause):
            if timer is not None:
                timer.cancel()
        self._timer = self._read_again = self._pause = None
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
            limit = BATCH
            if self._lone_reads:
                self._lone_reads -= 1
                limit = 1
            self._receive(limit)
        finally:
            self._dispatch()
        if self._pauses and self._pause is None and not self.closed:
            self._begin_pause()

    def _begin_pause(self) -> None:
        """Stop watching the link for a while, unless what the users have just sent waits for an answer."""
        if self._moderation.is_asked(self.link.now()):
            return
        pause = later(self.loop, PAUSE, self._end_pause)  # first, because without it nothing would be read
        try:
            if self.link.watch_input(False):
                self._pause = pause
        except Exception as exc:
            self._report("pausing to read failed", exc)
        if self._pause is None:
            pause.cancel()

    def _end_pause(self) -> None:
        """Read what has arrived in a pause. Begin another one, or watch the link again."""
        self._lone_reads = 0
        pauses = False
        try:
            self._receive(BATCH)
            if self._pauses:
                self._pause = later(self.loop, PAUSE, self._end_pause)
                pauses = True
        finally:
            if not pauses:
                self._watch_input()
            self._dispatch()

    def _watch_input(self) -> None:
        """End the pauses of reading."""
        if self._pause is None:
            return
        self._pause.cancel()
        try:
            self.link.watch_input(True)
        except Exception as exc:
            self._report("watching for datagrams failed, and is tried again after 10 ms", exc)
            self._pause = later(self.loop, READ_AGAIN, self._end_pause)
        else:
            self._pause = None

    def _receive(self, limit: int) -> float:
        """Process at most `limit` datagrams, and ICMP errors. Return the datagrams' common time of arrival.

        The clock is read after the batch. With an earlier time, the round-trip time of datagrams that arrive during the
        reading would be too short, and so would the minimum derived from it. A wakeup reads only one batch, because
        further ones would wait in the socket while the first is processed, which would add to their round-trip times.
        """
        link, stack = self.link, self.stack
        received: list[Received] = []
        self._pauses = False
        try:
            received = link.receive(limit)
        except Exception as exc:
            self._report("receiving failed, and is tried again after 10 ms", exc)
            if self._read_again is None:  # the loop may not report the descriptor as readable again
                self._read_again = later(self.loop, READ_AGAIN, self._try_again)
        errors = self._path_errors() if link.has_path_errors else None
        now = link.now()
        self._is_lone = len(received) == 1
        if link.drained:
            self.drained_at = now
            if self._is_lone and limit > 1 and len(received[0].data) < SHORTEST:
                self._lone_reads = self._next_lone_reads
                self._next_lone_reads = min(2 * self._lone_reads, MOST_LONE_READS)
        if received and (len(received) > 1 or len(received[0].data) >= SHORTEST):
            self._lone_reads = 0
            self._next_lone_reads = LONE_READS
        for each in received:
            try:
                stack.receive_datagram(each.data, each.remote, now, each.segment_size, each.ecn)
            except Exception as exc:  # the other datagrams of the batch must not be lost
                self._report(f"processing a datagram from {each.remote} failed", exc)
        if errors:
            self._report_path([], errors, now)
        if self._pause is not None:
            self._pauses = self._moderation.continues(received, now)
        elif received and len(received[-1].data) >= SHORTEST:
            self._pauses = self._moderation.begins(received, now)
        return now

    def _try_again(self) -> None:
        self._read_again = None
        self.read()

    def _send_singly(self, transmits: list[Transmit], error: Exception) -> list[SendError]:
        """Send each train by itself after `error`, because it is unknown which have left. A duplicate does no harm."""
        self._report("sending failed, and each train is sent again by itself", error)
        failures: list[SendError] = []
        for transmit in transmits:
            with suppress(Exception):  # a broken link raises it each time, and it is reported above
                failures += self.link.send([transmit])
        return failures

    def _path_errors(self) -> list[PathError]:
        try:
            return self.link.path_errors()
        except Exception as exc:
            self._report("reading ICMP errors failed", exc)
            return []

    def _report_path(self, failures: list[SendError], errors: list[PathError], now: float) -> None:
        """Report failed sends, and ICMP errors about sent segments, to the stack."""
        stack = self.stack
        for failure in failures:
            try:
                stack.path_failed(failure.remote, failure.flows, failure.errno, now)
            except Exception as exc:
                self._report(f"processing a failed send to {address_text(failure.remote)} failed", exc)
        for remote, code, mtu, quoted in errors:
            try:
                stack.path_error(remote, code, mtu, quoted, now)
            except Exception as exc:
                self._report(f"processing an ICMP error about {address_text(remote)} failed", exc)
        self.schedule_flush()

    def _report(self, what: str, error: BaseException) -> None:
        """Report an exception that no connection's user gets."""
        report(self.loop, what, error)

    def _writable(self) -> None:
        failures: list[SendError] = []
        try:
            failures = self.link.flush_pending()
        except Exception as exc:
            self._report("sending the pending datagrams failed", exc)
        self._report_path(failures, self._path_errors(), self.link.now())
        if not self.link.pending:
            self.schedule_flush()
            self._stop_writing()

    def _await_room(self) -> None:
        if not self._writing:
            try:
                if not self.link.watch_room(True):
                    self.loop.add_writer(self.link.fileno(), self._writable)
            except Exception as exc:
                self._report("watching for room to send failed, and is tried again with the next flush", exc)
            else:
                self._writing = True

    def _stop_writing(self) -> None:
        if not self.link.watch_room(False):
            self.loop.remove_writer(self.link.fileno())
        self._writing = False

    def _dispatch(self) -> None:
        """Pass the events to the users. Then flush.

        The flush waits for the next loop turn, and runs there after all callbacks that the users have scheduled, so
        that one segment carries what they write, our ACK and our FIN. It does not wait if nothing else is expected: if
        no user was called, or if the wakeup has brought one datagram only and a user has answered in its callback.
        """
        # With this count, calls of the users schedule no flush, and a flush that is scheduled already does nothing,
        # because it would run before the users' callbacks.
        self._flushes += 1
        stack, at_once = self.stack, True
        try:
            if stack.ready or self._ready or stack.failures:
                at_once = self.flush_requested = False
                self._pass_events()
                at_once = self._is_lone and self.flush_requested
        finally:
            if at_once:
                self._flush()  # or the one that is scheduled already
            else:
                try:
                    self.loop.call_soon(self._flush)
                except Exception as exc:
                    self._flushes -= 1
                    self.flush_requested = False
                    self._retry_flush(exc)
                    self._flushes += 1

    def _retry_flush(self, error: Exception) -> None:
        """Schedule a flush again after `error`. Without a flush, no timer would be set any more."""
        soon(self.loop, self._flush)
        self._report("scheduling a flush failed; the second attempt has succeeded", error)

    def _pass_events(self) -> None:
        """Pass the events of connections and listeners to their users, and report contained exceptions."""
        ready, stack = self._ready, self.stack
        ready.extend(stack.take_ready())
        while ready:
            item = ready.popleft()
            user: Any = item.context
            if user is not None and (isinstance(item, Listener) or item.events):  # else it has taken them already
                try:
                    if user.callback_context is None:
                        user.ready(item)
                    else:
                        user.callback_context.run(user.ready, item)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:  # the events of other connections must not be lost
                    self._report(f"handling the events of {item!r} failed", exc)
        if stack.failures:
            for failure in stack.take_failures():
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
                self._pass_events()
        except BaseException:
            soon(self.loop, self._flush)
            raise
        self._flushes = 0
        self.flush_requested = False
        self.flush()
        if self._after_flush is not None:
            try:
                self._after_flush()
            except Exception as exc:
                self._report("the call after a flush failed", exc)

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
            self._report("finding the next timer failed", exc)
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
        self._timer = later(self.loop, delay, self._on_timer)
        self._timer_due = due

    def _on_timer(self) -> None:
        self._timer = None
        try:
            deadline = self.stack.next_timeout()
            is_early = deadline is None or deadline > self.link.now()  # the deadline has moved
        except Exception as exc:
            self._report("finding the next timer failed", exc)
            is_early = False
        if is_early:
            self._arm()
        else:
            # In the next turn, because other endpoints of this loop answer at the end of this turn, and an answer may
            # be the ACK that a timer waits for.
            self._timer = soon(self.loop, self._expire)

    def _peer_has_read(self, deadline: float) -> bool:
        """Return whether the peer of the connection whose timer is due has read everything that had arrived by
        `deadline`, if it is on this loop."""
        try:
            remote = self.stack.next_remote()
            return remote is None or self._has_read(self.link.peername(remote), deadline)
        except Exception as exc:
            self._report("finding the peer's endpoint failed", exc)
            return True

    def _expire(self) -> None:
        self._timer = None
        # In a busy loop timers fire late, and unread datagrams, of this endpoint or of a peer on this loop, may contain
        # the awaited ACK. So timers wait until both have read everything, up to MAX_LATENESS.
        try:
            now = self._receive(BATCH)
            deadline = self.stack.next_timeout()
            if deadline is not None:
                nothing_waits = self.link.drained and self._peer_has_read(deadline)
                if nothing_waits or now - deadline > MAX_LATENESS:
                    self.stack.handle_timeout(now)
        except Exception as exc:
            self._report("processing the timers failed", exc)
        finally:
            self._dispatch()
