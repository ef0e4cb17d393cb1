"""The sum of the memory that a stack's connections are charged, and the measures that begin as it grows.

`memory.py` describes the measures, and decides what each connection is charged.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Final, Generic, TypeVar

from utcp.tcp.allowance import GUARANTEED, MINIMUM, SMALL_SEGMENTS, Allowance
from utcp.tcp.counters import Counters
from utcp.tcp.timers import Timed

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

TIME_WAIT_RECORD: Final = 200
"""Memory of a TIME_WAIT record, octets."""

_FEW_SMALL_SEGMENTS: Final = 8

_SPARE: Final = 64
"""Spare shares when the free memory is divided, because more connections may soon exceed MINIMUM."""


class Charged(Timed):
    """A connection, as the accounts see it: an object with a charge."""

    __slots__ = ("charge",)

    charge: int
    """Memory charged to the connection, octets; 0 at first."""


T = TypeVar("T", bound=Charged)
"""The class of the connections, which is `Tcb`. It depends on this module, so that this module does not name it."""


class Accounts(Generic[T]):
    """Owns the total memory of connections and TIME_WAIT `records`, octets. `Memory` is the only subclass."""

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
        "allowance",
        "half_open",
        "limit",
        "orphaned",
        "orphans",
        "reported",
        "room",
        "sum",
    )

    def __init__(self, limit: int | None, records: Sized, counters: Counters) -> None:
        self.allowance = Allowance()
        """The limits that the parts of connections read. They hold no other reference to this object, so that no
        reference cycle arises."""
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
        """Total charge of the connections, octets."""
        self.reported = False
        """True if the present memory pressure was reported to the observer."""
        self.orphans: dict[T, None] = {}
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

    def charge(self, connection: T, kept: int) -> None:
        """Set the charge of a connection to `kept` octets."""
        before = connection.charge
        growth = kept - before
        orphan = connection in self.orphans
        # What may raise an exception comes first, numbers included: a charge is counted whole or not at all.
        total = self.sum + growth
        moved = self._moved + (growth if growth > 0 else -growth)
        busy = self._busy + (kept > IDLE) - (before > IDLE)
        half_open = self.half_open + (kept == HALF_OPEN) - (before == HALF_OPEN)
        orphaned = self.orphaned + growth if orphan else self.orphaned
        connection.charge = kept
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

    def adopt_orphan(self, connection: T) -> None:
        """Record that the user closed `connection`, which continues to deliver its data."""
        if connection.charge:
            orphaned = self.orphaned + connection.charge
            self.orphans[connection] = None
            self.orphaned = orphaned

    def note(self, connection: T) -> None:
        """Update the charge of `connection` to the memory that it now uses, if it is charged."""
        raise NotImplementedError


def max_records(limit: int | None) -> int:
    """Return the largest number of TIME_WAIT records if `Config.max_memory` is `limit`."""
    return (DEFAULT if limit is None else limit) // 8 // TIME_WAIT_RECORD
