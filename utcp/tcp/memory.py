"""What the connections of a stack keep in memory, and what happens when that nears `Config.max_memory`.

Each connection is charged a fixed amount, and what its queues take: text to be sent, text received in order and out of
order, with the overhead of its pieces, and the runs of its scoreboard. MINIMUM is charged at least, and so every
connection can always use that much: the sum of all charges stays below the limit, and no connection stands still.
A charge is brought up to date when the stack flushes the connection, which everything that grows a queue asks for.

| used, part of `max_memory` | what happens                                                                           |
|----------------------------|----------------------------------------------------------------------------------------|
| below                      | No buffer exceeds a quarter of what is left, so that no single one takes it all.       |
| 1/2 (until below 7/16)     | Memory pressure: windows and send buffers are cut to a share of what is left, an equal |
|                            | one for each connection that holds more than MINIMUM, and for some more.               |
|                            | The right edge of a window never moves left, and nothing that is queued is dropped.    |
| 3/4                        | Text that arrives out of order is dropped, unless the connection holds little. What is |
|                            | held out of order is dropped, the largest amounts first; the peers send it again.      |
|                            | A SYN is answered with a cookie. Orphans that hold more than 1/8 together are reset,   |
|                            | the oldest first.                                                                      |
| 7/8                        | No new connection: SYNs are dropped, `connect()` raises LimitReached. A connection     |
|                            | that is over leaves no TIME_WAIT record. Text in order is taken up to GUARANTEED.      |
| the rest                   | is for what arrives between two flushes, for half-open connections, and for estimates  |
|                            | that are too low.                                                                      |

Half-open connections, which anyone can forge, do not count for the first three levels. They are charged HALF_OPEN each
and hold 1/32 of `max_memory` at most: from there on a SYN is answered with a cookie.

Records in TIME_WAIT take 1/8 of `max_memory` at most: from there on each new one ends the oldest before its time
(`TimeWaitTable`). So a storm of closes shortens TIME_WAIT, and takes nothing from connections.

Where memory is full, a peer may still have a large window, because no right edge moves left. What it sends into that
beyond GUARANTEED is dropped, so that it slows down and repeats: it advances by GUARANTEED octets in each round trip or
retransmission timeout. Once the window is used up, it is no larger than GUARANTEED, and nothing is dropped any more.

What a peer was told it had (ACK), and what an application wrote to a connection that it has not closed, is kept.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Final

from utcp.tcp.allowance import GUARANTEED, MINIMUM, SMALL_SEGMENTS
from utcp.tcp.connection.tcb import Accounts, Tcb
from utcp.tcp.counters import Counters

DEFAULT: Final = 2 << 30
"""Octets: `Config.max_memory` where nothing else is known."""

CONNECTION: Final = 6144
"""Octets that a connection takes without its queues. Measured on CPython 3.13: after a request and its answer, 3,900
for the TCB (tracemalloc); 5,000 with the transport, asyncio's streams and a task (resident memory, one end of 3,000).
The rest is for what losses and attacks make a TCB have: RACK, probes, a search for the path MTU."""

IDLE: Final = CONNECTION + MINIMUM
"""Octets that a connection is charged while it holds little."""

HALF_OPEN: Final = 4096
"""Octets that a connection is charged from a SYN until the handshake completes. Measured on CPython 3.13: 3,300 for
the TCB (tracemalloc). No queue holds anything."""

_LITTLE: Final = 512
_FEW_RUNS: Final = 8
"""In each direction, so many octets in at most three pieces, and so many runs, take less than MINIMUM."""

RUN: Final = 224
"""Octets that a run of the scoreboard takes, with its share of a departure."""

TIME_WAIT_RECORD: Final = 200
"""Octets that a record in TIME_WAIT takes."""

_FEW_SMALL_SEGMENTS: Final = 8

_SPARE: Final = 64
"""Connections that are added to those that hold much, when what is left is shared: there may soon be more of them."""


class Memory(Accounts):
    """Owns the sum of what connections and TIME_WAIT `records` take, octets."""

    __slots__ = (
        "_busy",
        "_counters",
        "_full",
        "_holders",
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
        """How many connections are charged HALF_OPEN."""
        self.allowance.relax(self._full // 4)
        self._step = self.limit >> 10
        self._moved = 0
        """Octets by which charges have changed since the last judgement; `_step` of them are worth another."""
        self._busy = 0
        """How many connections are charged more than IDLE."""
        self._records = records
        self._counters = counters
        self.room = True
        """Another connection may begin."""
        self.sum = 0
        """Octets that the connections are charged, those of `_unread` included."""
        self._unread: dict[Tcb, None] = {}
        """Connections without a TCB that hold text which their user has not read yet."""
        self.reported = False
        """The observer was told of this time of pressure."""
        self.orphans: dict[Tcb, None] = {}
        """Connections that their user has closed, and that are still there, the oldest first."""
        self.orphaned = 0
        """Octets that they are charged."""
        self._holders: dict[Tcb, None] = {}
        """Connections that hold text out of order, when their charge last changed."""
        self._pruned = False
        """What was held out of order has been dropped since memory became short."""

    @property
    def used(self) -> int:
        """Octets that everything takes."""
        return self.sum + len(self._records) * TIME_WAIT_RECORD

    @property
    def floods(self) -> bool:
        """No further SYN is to leave state behind."""
        return self.allowance.short or (self.half_open + 1) * HALF_OPEN > self.limit // 32

    def enter(self, connection: Tcb) -> None:
        """Charge `connection`, which our user has opened, or whose handshake has completed."""
        self._charge(connection, IDLE)

    def enter_half_open(self, connection: Tcb) -> None:
        """Charge `connection`, which a SYN has opened."""
        self._charge(connection, HALF_OPEN)

    def leave(self, connection: Tcb) -> None:
        """Charge `connection`, which has no TCB any more, for what its user can still read, until it is read or
        discarded. What is held out of order is dropped: the stream will never reach it."""
        if connection.charge:
            if connection.receive_side.holding:
                connection.receive_side.drop_held()
            if connection.receive_side.readable and not connection.closed_by_user:
                self._unread[connection] = None
                self.note(connection)
            else:
                self._charge(connection, 0)

    def note(self, connection: Tcb) -> None:
        """Charge `connection` what it takes now, if it is charged at all."""
        send, receive, charge = connection.send_side, connection.receive_side, connection.charge
        if self._unread and connection in self._unread:
            kept = CONNECTION + receive.kept if receive.readable else 0
            self._charge(connection, kept)
            if not kept:
                del self._unread[connection]
            return
        unacknowledged = send.queued - send.acked
        if (
            charge == IDLE
            and unacknowledged <= _LITTLE
            and receive.readable <= _LITTLE
            and not receive.holding
            and (not unacknowledged or connection.recovery.board.run_count <= _FEW_RUNS)
        ) or charge in (0, HALF_OPEN):
            return
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
        if kept and connection.receive_side.holding:
            self._holders[connection] = None
        elif connection in self._holders:
            del self._holders[connection]
        if self._moved >= self._step:
            self.judge()

    def judge(self) -> None:
        """Set what is allowed, by what is used. To be called when records in TIME_WAIT have gone, too."""
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
        """Return whether memory is under pressure, which has not been reported yet. It counts as reported then."""
        begins = self.allowance.pressure and not self.reported
        self.reported = self.allowance.pressure
        return begins

    @property
    def level(self) -> str:
        """How much is used, in a word: "", "pressure", "short" (from 3/4 on) or "full" (from 7/8 on)."""
        allowance = self.allowance
        return "full" if allowance.full else "short" if allowance.short else "pressure" if allowance.pressure else ""

    def figures(self) -> dict[str, int | str]:
        """Return all that there is to show. May be asked from any thread."""
        return {
            "used": self.used,
            "limit": self.limit,
            "orphaned": self.orphaned,
            "orphans": len(self.orphans),
            "level": self.level,
        }

    def adopt_orphan(self, connection: Tcb) -> None:
        """The user has closed `connection`, which goes on delivering."""
        if connection.charge:
            orphaned = self.orphaned + connection.charge
            self.orphans[connection] = None
            self.orphaned = orphaned

    def relieve(self, now: float) -> None:
        """Where memory is short: drop what is held out of order, and end the oldest orphans that hold too much. An
        exception ends the connection during whose relief it was raised, and no other."""
        if not self.allowance.short:
            return
        if not self._pruned:
            self._pruned = True
            for connection in sorted(self._holders, key=_held_octets, reverse=True):
                try:
                    connection.receive_side.prune()
                    self.note(connection)
                except BaseException as cause:
                    if not connection.stack.contain(connection, cause, now):
                        raise
                if self.used < self._pressed:
                    break
        if self.orphaned > self.limit // 8:
            self._end_orphans(now)

    def _end_orphans(self, now: float) -> None:
        for connection in list(self.orphans):  # a copy: one whose end fails must not come up again and again
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
    """Return how many records in TIME_WAIT there may be if `Config.max_memory` is `limit`."""
    return (DEFAULT if limit is None else limit) // 8 // TIME_WAIT_RECORD


def _held_octets(connection: Tcb) -> int:
    return connection.receive_side.held_octets
