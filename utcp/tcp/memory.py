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

from utcp.tcp.accounts import CONNECTION, HALF_OPEN, IDLE, Accounts
from utcp.tcp.allowance import MINIMUM
from utcp.tcp.connection.reset import send_reset, undelivered
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.counters import Counters

_LITTLE: Final = 512
"""Octets of text in each direction that, in at most three pieces and with _FEW_RUNS runs, take less than MINIMUM."""
_FEW_RUNS: Final = 8

RUN: Final = 224
"""Memory of a run of the scoreboard, with its share of a departure, octets."""


class Memory(Accounts[Tcb]):
    """Charges the connections of a stack for what they hold, and frees memory if it is short."""

    __slots__ = ("_unread",)

    def __init__(self, limit: int | None, records: Sized, counters: Counters) -> None:
        super().__init__(limit, records, counters)
        self._unread: dict[Tcb, None] = {}
        """Connections without a TCB that hold text not yet read by their user."""

    def leave(self, connection: Tcb) -> None:
        """Reduce the charge of `connection`, which has ended, to the text that its user can still read. Drop the rest:
        all text if the user has closed, and out-of-order text, because the hole before it will never be filled."""
        if connection.charge:
            receive = connection.receive_side
            if receive.out_of_order.holding:
                receive.out_of_order.drop()
            if not receive.readable:
                self.charge(connection, 0)
            elif connection.closed_by_user:
                receive.discard()
                self.charge(connection, 0)
            else:
                self._unread[connection] = None
                self.note(connection)

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
            self.charge(connection, kept)
            if not kept:
                del self._unread[connection]
        elif charge and charge != HALF_OPEN:
            kept = CONNECTION + max(MINIMUM, send.kept + receive.kept + connection.recovery.board.run_count * RUN)
            if kept != charge:
                self.charge(connection, kept)

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
                send_reset(connection, undelivered(connection, "memory was short"), now)
                connection.stack.settle(connection, now)
            except BaseException as cause:
                if not connection.stack.contain(connection, cause, now):
                    raise


def _held_octets(connection: Tcb) -> int:
    return connection.receive_side.out_of_order.kept
