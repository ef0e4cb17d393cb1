"""The memory of a stack's connections, and the measures when it approaches `Config.max_memory`.

Each connection is charged a fixed amount plus its queues: text to send, text received in order and out of order, the
overhead of the pieces, and the runs of the scoreboard. The lowest charge for the queues is MINIMUM, so that every
connection can always use that much without exceeding the limit, and no connection stalls. The stack updates the charge
when it flushes a connection, and every change that grows a queue requests a flush.

| used, part of `max_memory` | measures                                                                               |
|----------------------------|----------------------------------------------------------------------------------------|
| below 1/2                  | No buffer exceeds a quarter of the free memory, so that no connection takes it all.    |
| 1/2 (until below 7/16)     | Memory pressure: windows and send buffers are limited to a share of the free memory.   |
|                            | The shares are equal for the connections above MINIMUM, plus some spare ones.          |
|                            | The right edge of a window never moves left, and no queued data is dropped.            |
| 3/4                        | Arriving out-of-order text is dropped, unless the connection holds little. Held        |
|                            | out-of-order text is dropped, the largest amounts first; the peers retransmit it.      |
|                            | A SYN is answered with a cookie. If orphans hold more than 1/8 together, the oldest    |
|                            | are reset.                                                                             |
| 7/8                        | No new connections: SYNs are dropped, and `connect()` raises LimitReached. Connections |
|                            | that end leave no TIME_WAIT record. In-order text is accepted up to GUARANTEED.        |
| the rest                   | A reserve for text that arrives between two flushes, for half-open connections, and    |
|                            | for estimates that are too low.                                                        |

Half-open connections do not count for the first three levels, because anyone can forge them. Each is charged HALF_OPEN,
and together they take at most 1/32 of `max_memory`. Beyond that a SYN is answered with a cookie.

TIME_WAIT records take at most 1/8 of `max_memory`. Beyond that each new record ends the oldest one early
(`TimeWaitTable`). So a storm of closes shortens TIME_WAIT, but takes no memory from connections.

When memory is full, a peer may still have a large window, because no right edge moves left. Text beyond GUARANTEED is
then dropped, so that the peer slows down and retransmits: it advances by GUARANTEED octets in each round trip or
retransmission timeout. When the window is used up, it is at most GUARANTEED, and no more text is dropped.

Acknowledged data, and data written to a connection that the application has not closed, is never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Final

from utcp.tcp.allowance import GUARANTEED, MINIMUM, SMALL_SEGMENTS
from utcp.tcp.connection.context import Accounts
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.counters import Counters

DEFAULT: Final = 2 << 30
"""Memory limit if neither `Config.max_memory` nor a limit of the system is known, octets."""

CONNECTION: Final = 6144
"""Memory of a connection without its queues, octets. Measured on CPython 3.13 after a request and its answer: 3,100 for
the TCB (tracemalloc); less than 5,000 with the transport, asyncio's streams and a task (resident memory, one end of
3,000 connections). The rest is for parts that losses and attacks add: RACK, probes, path MTU discovery."""

IDLE: Final = CONNECTION + MINIMUM
"""Charge of a connection whose queues hold little, octets."""

HALF_OPEN: Final = 4096
"""Charge of a connection from the SYN until the handshake completes, octets. Measured on CPython 3.13: 2,900 for the
TCB (tracemalloc). Its queues are empty."""

_LITTLE: Final = 512
"""Octets of text in each direction that, in at most three pieces and with _FEW_RUNS runs, take less than MINIMUM."""
_FEW_RUNS: Final = 8

RUN: Final = 224
"""Memory of a run of the scoreboard, with its share of a departure, octets."""

TIME_WAIT_RECORD: Final = 200
"""Memory of a TIME_WAIT record, octets."""

_FEW_SMALL_SEGMENTS: Final = 8

_SPARE: Final = 64
"""Spare shares when the free memory is divided, because more connections may soon exceed MINIMUM."""


class Memory(Accounts[Tcb]):
    """Owns the total memory of connections and TIME_WAIT `records`, octets."""

    __slots__ = (
        "_busy",
        "_counters",
        "_full",
        "_moved",
        "_pressed",
        "_pruned",
        "_records",
        "_relaxed",
        "_short",
        "_step",
        "_unread",
        "half_open",
        "limit",
        "orphaned",
        "orphans",
        "reported",
        "room",
        "sum",
    )

    def __init__(self, limit: int | None, records: Sized, counters: Counters) -> None:
        super().__init__()
        self.limit = DEFAULT if limit is None else limit
        self._relaxed = self.limit * 7 // 16
        self._pressed = self.limit // 2
        self._short = self.limit * 3 // 4
        self._full = self.limit * 7 // 8
        self.half_open = 0
        """Number of connections charged HALF_OPEN."""
        self.allowance.relax(self._full // 4)
        self._step = self.limit >> 10
        self._moved = 0
        """Sum of all changes of charges since the last `update_allowance`, octets. `_step` of them call it again."""
        self._busy = 0
        """Number of connections charged more than IDLE."""
        self._records = records
        self._counters = counters
        self.room = True
        """True if another connection may begin."""
        self.sum = 0
        """Total charge of the connections, including `_unread`, octets."""
        self._unread: dict[Tcb, None] = {}
        """Connections without a TCB that hold text not yet read by their user."""
        self.reported = False
        """True if the present memory pressure was reported to the observer."""
        self.orphans: dict[Tcb, None] = {}
        """Connections that were closed by their user and have not ended, the oldest first."""
        self.orphaned = 0
        """Total charge of the orphans, octets."""
        self._pruned = False
        """True if out-of-order text was dropped since memory became short."""

    @property
    def used(self) -> int:
        """Memory in use, octets."""
        return self.sum + len(self._records) * TIME_WAIT_RECORD

    @property
    def floods(self) -> bool:
        """True if no further SYN may create state."""
        return self.allowance.short or (self.half_open + 1) * HALF_OPEN > self.limit // 32

    def enter(self, connection: Tcb) -> None:
        """Charge `connection`, which our user opened, or whose handshake has completed."""
        self._charge(connection, IDLE)

    def enter_half_open(self, connection: Tcb) -> None:
        """Charge `connection`, which a SYN opened."""
        self._charge(connection, HALF_OPEN)

    def leave(self, connection: Tcb) -> None:
        """Reduce the charge of `connection`, which has ended, to the text that its user can still read. Drop its
        out-of-order text, because the hole before it will never be filled."""
        if connection.charge:
            receive = connection.receive_side
            if receive.out_of_order.holding:
                receive.out_of_order.drop()
            if receive.readable and not connection.closed_by_user:
                self._unread[connection] = None
                self.note(connection)
            else:
                self._charge(connection, 0)

    def note(self, connection: Tcb) -> None:
        """Update the charge of `connection` to the memory that it now uses, if it is charged."""
        send, receive, charge = connection.send_side, connection.receive_side, connection.charge
        if (
            charge == IDLE
            and receive.readable <= _LITTLE
            and not receive.out_of_order.holding
            and (unacknowledged := send.queued - send.acked) <= _LITTLE
            and (not unacknowledged or connection.recovery.board.run_count <= _FEW_RUNS)
            and not self._unread
        ):
            return  # the usual case
        if connection in self._unread:
            kept = CONNECTION + receive.kept if receive.readable else 0
            self._charge(connection, kept)
            if not kept:
                del self._unread[connection]
        elif charge and charge != HALF_OPEN:
            kept = CONNECTION + max(MINIMUM, send.kept + receive.kept + connection.recovery.board.run_count * RUN)
            if kept != charge:
                self._charge(connection, kept)

    def _charge(self, connection: Tcb, kept: int) -> None:
        before = connection.charge
        growth = kept - before
        orphan = connection in self.orphans
        # What may raise an exception comes first, numbers included: a charge is counted whole or not at all.
        total = self.sum + growth
        moved = self._moved + (growth if growth > 0 else -growth)
        busy = self._busy + (kept > IDLE) - (before > IDLE)
        half_open = self.half_open + (kept == HALF_OPEN) - (before == HALF_OPEN)
        orphaned = self.orphaned + growth if orphan else self.orphaned
        connection.set_charge(kept)
        self.sum = total
        self._moved = moved
        self._busy = busy
        self.half_open = half_open
        self.orphaned = orphaned
        if orphan and not kept:
            del self.orphans[connection]
        if moved >= self._step:
            self.update_allowance()

    def update_allowance(self) -> None:
        """Set the allowance by the memory in use. Also called when TIME_WAIT records were removed."""
        self._moved = 0
        used = self.sum + len(self._records) * TIME_WAIT_RECORD
        self.room = used + IDLE <= self._full
        used -= self.half_open * HALF_OPEN
        pressed = self.allowance.pressure
        if used < (self._relaxed if pressed else self._pressed):
            self.allowance.relax((self._full - used) // 4)
            self.reported = self._pruned = False
            return
        if not pressed:
            self._counters.memory_pressures += 1
        short = used >= self._short
        if not short:
            self._pruned = False
        most = max(GUARANTEED, (self._full - used) // (self._busy + _SPARE))
        self.allowance.press(most, _FEW_SMALL_SEGMENTS if short else SMALL_SEGMENTS, short, used >= self._full)

    def begins_to_press(self) -> bool:
        """Return True if there is memory pressure that was not reported before, and mark it as reported."""
        begins = self.allowance.pressure and not self.reported
        self.reported = self.allowance.pressure
        return begins

    @property
    def level(self) -> str:
        """The present level: "", "pressure" (from 1/2 on), "short" (from 3/4 on) or "full" (from 7/8 on)."""
        allowance = self.allowance
        return "full" if allowance.full else "short" if allowance.short else "pressure" if allowance.pressure else ""

    def figures(self) -> dict[str, int | str]:
        """Return the values for monitoring. May be called from any thread."""
        return {
            "used": self.used,
            "limit": self.limit,
            "orphaned": self.orphaned,
            "orphans": len(self.orphans),
            "level": self.level,
        }

    def adopt_orphan(self, connection: Tcb) -> None:
        """Record that the user closed `connection`, which continues to deliver its data."""
        if connection.charge:
            orphaned = self.orphaned + connection.charge
            self.orphans[connection] = None
            self.orphaned = orphaned

    def relieve(self, connections: Iterable[Tcb], now: float) -> None:
        """If memory is short, drop out-of-order text of `connections`, and reset the oldest orphans while they hold too
        much together. An exception ends only the connection that was being processed."""
        if not self.allowance.short:
            return
        if not self._pruned:
            self._pruned = True
            # Dropping text of connections that hold little frees nothing, because they are charged MINIMUM anyway.
            holders = [each for each in connections if each.charge > IDLE and each.receive_side.out_of_order.holding]
            for connection in sorted(holders, key=_held_octets, reverse=True):
                try:
                    connection.receive_side.out_of_order.prune()
                    self.note(connection)
                except BaseException as cause:
                    if not connection.stack.contain(connection, cause, now):
                        raise
                if self.used < self._pressed:
                    break
        if self.orphaned > self.limit // 8:
            self._end_orphans(now)

    def _end_orphans(self, now: float) -> None:
        for connection in list(self.orphans):  # a copy, so that an orphan whose end fails is not tried again
            if not self.allowance.short or self.orphaned <= self.limit // 8:
                return
            self._counters.aborts_on_memory += 1
            try:
                connection.send_reset(connection.undelivered("memory was short"), now)
                connection.stack.settle(connection, now)
            except BaseException as cause:
                if not connection.stack.contain(connection, cause, now):
                    raise


def max_records(limit: int | None) -> int:
    """Return the largest number of TIME_WAIT records if `Config.max_memory` is `limit`."""
    return (DEFAULT if limit is None else limit) // 8 // TIME_WAIT_RECORD


def _held_octets(connection: Tcb) -> int:
    return connection.receive_side.out_of_order.kept
