"""TIME_WAIT: a table of compact records (RFC 9293 3.6.1, MUST-13).

2 MSL is the same for all, so the records stand in order of expiry: a restart moves one to the back, expiry walks from
the front. No timer, object or buffer per entry.
"""

from collections import OrderedDict
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from utcp.tcp.transmit import Remote

ConnectionKey: TypeAlias = tuple[Remote, int, int]
"""(remote, remote port, local port)."""

_RECORD: Final = Struct("=ddIIIIHB?")


class TimeWait(NamedTuple):
    """What is left of a connection: enough to answer for it. `window` is the raw field of its last ACK."""

    expires: float
    next_answer: float
    snd_nxt: int
    rcv_nxt: int
    ts_recent: int
    ts_offset: int
    window: int
    shift: int
    timestamps: bool

    @property
    def rcv_wnd(self) -> int:
        """The window last offered, in octets."""
        return self.window << self.shift


class TimeWaitTable:
    """The connections in TIME_WAIT, for `duration` seconds (2 MSL) each."""

    __slots__ = ("_records", "duration")

    def __init__(self, duration: float) -> None:
        self.duration = duration
        self._records: OrderedDict[ConnectionKey, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: ConnectionKey) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[ConnectionKey]:
        return iter(self._records)

    def add(
        self,
        key: ConnectionKey,
        now: float,
        snd_nxt: int,
        rcv_nxt: int,
        ts_recent: int,
        ts_offset: int,
        window: int,
        shift: int,
        timestamps: bool,
    ) -> None:
        """Reserve `key` for 2 MSL from `now`."""
        self._records[key] = _RECORD.pack(
            now + self.duration, 0.0, snd_nxt, rcv_nxt, ts_recent, ts_offset, window, shift, timestamps
        )

    def restore(self, key: ConnectionKey, record: TimeWait, now: float) -> None:
        """Reserve `key` again, for 2 MSL from `now`."""
        self._records[key] = _RECORD.pack(*record._replace(expires=now + self.duration))

    def get(self, key: ConnectionKey) -> TimeWait | None:
        record = self._records.get(key)
        return None if record is None else TimeWait._make(_RECORD.unpack(record))

    def restart(self, key: ConnectionKey, now: float, ts_recent: int) -> None:
        """The peer's FIN came again: its 2 MSL begin anew (RFC 9293 3.10.7.4, eighth check)."""
        record = TimeWait._make(_RECORD.unpack(self._records.pop(key)))
        self.restore(key, record._replace(ts_recent=ts_recent), now)

    def may_answer(self, key: ConnectionKey, now: float, interval: float) -> bool:
        """Whether a segment that proves nothing may get an ACK: one per `interval` seconds (RFC 5961 7)."""
        record = TimeWait._make(_RECORD.unpack(self._records[key]))
        if now < record.next_answer:
            return False
        self._records[key] = _RECORD.pack(*record._replace(next_answer=now + interval))
        return True

    def remove(self, key: ConnectionKey) -> None:
        del self._records[key]

    def seconds_left(self, key: ConnectionKey, now: float) -> float | None:
        """How long `key` is still reserved; None when it is not."""
        record = self.get(key)
        return None if record is None else max(0.0, record.expires - now)

    def next_expiry(self) -> float | None:
        """When the oldest record goes."""
        for record in self._records.values():
            return TimeWait._make(_RECORD.unpack(record)).expires
        return None

    def take_expired(self, now: float) -> list[ConnectionKey]:
        """Drop the records whose 2 MSL have passed."""
        expired: list[ConnectionKey] = []
        for key, record in self._records.items():
            if TimeWait._make(_RECORD.unpack(record)).expires > now:
                break
            expired.append(key)
        for key in expired:
            del self._records[key]
        return expired
