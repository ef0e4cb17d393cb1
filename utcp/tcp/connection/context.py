"""The part of a stack that its connections may use: `Context`, and the owner of passive opens.

The stack implements it, so that connections do not depend on the stack.
"""

from __future__ import annotations

from typing import Any, Final, Generic

from utcp._compiled import mypyc_attr
from utcp.config import Config
from utcp.tcp.accounts import Accounts, T
from utcp.tcp.counters import Counters
from utcp.tcp.endings import Endings
from utcp.tcp.isn import SequenceNumbers
from utcp.tcp.rate_limit import TokenBucket
from utcp.tcp.syn_cookies import SynCookies
from utcp.tcp.time_wait import ConnectionKey
from utcp.tcp.transmit import Outbox, Remote
from utcp.wire import ACK, RST, Segment, encode
from utcp.wire.seq import MASK

_RESET_SECONDS: Final = 10.0
"""Burst of RSTs, in seconds of `Config.reset_rate`."""


class Accepting(Generic[T]):
    """The owner of connections that peers open. `Listener` is the only subclass."""

    def completed(self, tcb: T) -> None:
        """Queue a connection whose handshake has completed, until it is accepted."""
        raise NotImplementedError

    def has_waiting(self, tcb: T) -> bool:
        """Return True if the connection waits to be accepted."""
        raise NotImplementedError

    def dropped(self, tcb: T) -> None:
        """Remove a half-open connection that has ended."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)  # because Stack does
class Context(Generic[T]):
    """The interface of the stack to its connections. `Stack` is the only subclass.

    `settle` must be called after each event of a connection.
    """

    def __init__(
        self,
        config: Config,
        default_mss: int,
        counters: Counters,
        accounts: Accounts[T],
        secret: bytes,
        max_segments: int,
        max_bytes: int,
    ) -> None:
        self.config = config
        self.default_mss = default_mss
        self.counters = counters
        self.endings = Endings()
        self.accounts = accounts
        self.sequence_numbers = SequenceNumbers(secret)
        self.cookies = SynCookies(secret)
        self.observer: Any = None
        """The `Tee` that calls the observers; None if there are none. The type is Any because `Observer` refers to
        `Connection`, which depends on this module."""
        self.routine_observer: Any = None
        """`observer` if it sees routine events, else None."""
        self.output: dict[T, None] = {}
        """The connections that the next flush processes, in order."""
        self.ready: dict[object, None] = {}
        """The connections and listeners with events that their users have not taken, in order."""
        self._outbox = Outbox(max_segments, max_bytes, counters)
        self._answers = Outbox(max_segments, max_bytes, counters, unverified=True)
        """Segments to peers whose address is unverified."""
        self._resets = TokenBucket(config.reset_rate, config.reset_rate * _RESET_SECONDS)

    def settle(self, tcb: T, now: float) -> None:
        """Update the stack after an event of `tcb`: a segment, a call of its user, or a timer."""
        raise NotImplementedError

    def break_off(self, tcb: T, cause: BaseException, now: float) -> bool:
        """End the connection, because its processing raised `cause`. Return whether its user receives the error."""
        raise NotImplementedError

    def contain(self, tcb: T, cause: BaseException, now: float) -> bool:
        """Call `break_off`. Return True if the caller may continue with other connections."""
        raise NotImplementedError

    def forget(self, tcb: T, free_at: float = 0.0) -> None:
        """Remove the connection from all tables of the stack; its ports are free from `free_at` on."""
        raise NotImplementedError

    def is_half_open(self, tcb: T) -> bool:
        """Return True if a listener's handshake for the connection is under way."""
        raise NotImplementedError

    def refuses(self, remote: Remote, now: float) -> bool:
        """Return True if a limit of the stack forbids a connection from `remote`, and report the refusal."""
        raise NotImplementedError

    def half_opened(self, tcb: T, listener: Accepting[T]) -> None:
        """Add a connection that a SYN opened. It belongs to `listener` until it is accepted."""
        raise NotImplementedError

    def forget_listener(self, local_port: int) -> None:
        """Remove the listener of this port, because it has stopped listening."""
        raise NotImplementedError

    def unverified_receive_mss(self, remote: Remote, now: float) -> int:
        """Return `receive_mss` towards the sender of a SYN, whose address may be forged."""
        raise NotImplementedError

    def receive_mss(self, remote: Remote, config: Config) -> int:
        """Return the MSS to offer towards `remote`."""
        raise NotImplementedError

    def seconds_in_time_wait(self, key: ConnectionKey, now: float) -> float | None:
        """Return how long a TIME_WAIT record still holds these ports, seconds; None if there is no record."""
        raise NotImplementedError

    def port_closed(self, tcb: T, since: float, now: float) -> None:
        """End the connection, because the UDP port of its remote has been closed since `since`."""
        raise NotImplementedError

    def put(self, remote: Remote, segment: Segment, now: float, *, unverified: bool = False) -> None:
        """Queue `segment` for the next flush. `unverified`: the address `remote` is unverified (`Transmit`)."""
        if segment.flags & RST:
            self.counters.out_rsts += 1
        self.put_octets(remote, encode(segment), now, unverified=unverified)

    def put_octets(self, remote: Remote, data: bytes, now: float, *, unverified: bool = False) -> None:
        """Queue an encoded segment for the next flush, like `put`."""
        outbox = self._answers if unverified else self._outbox
        outbox.add(remote, data, None, len(data), now)

    def reset_in_reply(self, remote: Remote, segment: Segment, now: float, *, unverified: bool = True) -> bool:
        """Send RST in answer to a segment (RFC 9293 3.10.7.1), and return whether it was sent. The caller makes sure
        that the segment is not an RST.

        `Config.reset_rate` limits these RSTs, because the sender is unverified.
        """
        if not self._resets.take(now):
            self.counters.resets_withheld += 1
            return False
        if segment.flags & ACK:
            reset = Segment(segment.dst_port, segment.src_port, segment.ack, 0, RST)
        else:
            ack = (segment.seq + segment.length) & MASK
            reset = Segment(segment.dst_port, segment.src_port, 0, ack, RST | ACK)
        self.put(remote, reset, now, unverified=unverified)
        return True
