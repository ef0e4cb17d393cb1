"""TIME_WAIT: a table of compact records (RFC 9293 3.6.1, MUST-13).

Because 2 MSL is the same for all records, they expire in the order of their addition. A restart moves a record to the
back, and expiry removes records from the front. There is no timer, object or buffer per entry.

A storm of closes leaves many records, so each is packed into two small objects. Measured on CPython 3.13 with 100,000
records, a record takes 150 octets with its places in all containers, and the garbage collector visits none of it. A
dictionary of plain objects with slots takes 324 octets for each, and one object of the garbage collector; with tuples
it takes 332. `max_memory` counts 200. The packing costs 50 instructions of the interpreter to add a record, and as many
to expire it: together 1.5 microseconds of the life of a connection.

The first object is the code of the connection: the number of the remote, the remote port and the local port, as 8
octets. It is not an int, because Python hashes an int by its value, but octets with a secret of the process
(PYTHONHASHSEED). With ints, a peer could choose 40,000 ports so that each lookup took 129 times as long. The second
object is the packed record. It is an int, because an int of 22 octets takes 48 bytes, and bytes of 22 octets take 64.
Derivable values are not stored: the offset of the timestamps follows from the connection (`SequenceNumbers.initial`),
and the time of the next answer is stored only for records that have answered recently.
"""

from collections import deque
from collections.abc import Iterator
from math import ceil
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from utcp.tcp.counters import Counters
from utcp.tcp.rate_limit import KINDS
from utcp.tcp.transmit import Remote
from utcp.wire import Segment
from utcp.wire.seq import ge, gt

ConnectionKey: TypeAlias = tuple[Remote, int, int]
"""(remote, remote port, local port)."""

_RECORD: Final = Struct(">QIIIHB")
"""Expiry in ticks, SND.NXT, RCV.NXT, TS.Recent, window field, and one octet with the window scale and _TIMESTAMPS."""
_pack: Final = _RECORD.pack
_to_int: Final = int.from_bytes
_CODE: Final = Struct(">IHH")
"""The code of a connection: number of the remote, remote port, local port."""
_code: Final = _CODE.pack
_DESTINATION: Final = Struct(">IH")
"""The first part of a code: number of the remote, remote port."""
_TIMESTAMPS: Final = 0x10
"""Flag for timestamps, above the window scale, which is at most 14."""
_BELOW_EXPIRY: Final = 8 * (_RECORD.size - 8)
"""Number of bits below the expiry."""
_TICKS_PER_SECOND: Final = 2.0**20
"""Ticks per second. A power of two, so that the multiplication does not round: no record expires early, nor more than a
microsecond late."""
_FOREVER: Final = 2.0**32
_UNLIMITED: Final = 1 << 62
_STALE_PLACES: Final = 64
"""Number of stale places below which they are not swept."""
_ANSWERS: Final = 64
"""Number of times of next answers below which past ones are not removed."""


class TimeWait(NamedTuple):
    """The state of a connection in TIME_WAIT. `window` is the raw field of its last ACK."""

    expires: float
    snd_nxt: int
    rcv_nxt: int
    ts_recent: int
    window: int
    shift: int
    timestamps: bool

    @property
    def rcv_wnd(self) -> int:
        """The window last offered, octets."""
        return self.window << self.shift


class TimeWaitTable:
    """The connections in TIME_WAIT, for `duration` seconds (2 MSL) each.

    There are at most `most` records (None: no limit). If another one is added, the oldest ends early: `next_expiry`
    returns 0, and the next call of `take_expired` returns the record. The oldest record is needed least, because a peer
    repeats its FIN within seconds, and old segments are less likely to arrive as time passes. If one does arrive, a new
    connection on the same ports rejects it by its timestamp (RFC 7323 5) or, nearly always, by its sequence number.
    """

    __slots__ = (
        "_counters",
        "_most",
        "_next_answers",
        "_order",
        "_prune_at",
        "_records",
        "_remotes",
        "_stale",
        "duration",
    )

    def __init__(self, duration: float, most: int | None = None, counters: Counters | None = None) -> None:
        self.duration = min(duration, _FOREVER)  # infinity cannot be converted to ticks
        self._most = _UNLIMITED if most is None else most
        self._counters = Counters() if counters is None else counters
        self._records: dict[bytes, int] = {}
        self._remotes = _Remotes()
        self._order: deque[bytes] = deque()
        """Codes in order of expiry. A record that is restarted or removed leaves a stale place."""
        self._stale: dict[bytes, int] = {}
        """Number of stale places of a code. They are always before its valid place."""
        self._next_answers: dict[tuple[bytes, int], float] = {}
        """Time from which a segment may be answered again, seconds, by code and kind of segment."""
        self._prune_at = _ANSWERS

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: ConnectionKey) -> bool:
        remote, remote_port, local_port = key
        number = self._remotes.numbers.get(remote)
        return number is not None and _code(number, remote_port, local_port) in self._records

    def __iter__(self) -> Iterator[ConnectionKey]:
        return map(self._key, self._in_order())

    def add(
        self,
        key: ConnectionKey,
        now: float,
        snd_nxt: int,
        rcv_nxt: int,
        ts_recent: int,
        window: int,
        shift: int,
        timestamps: bool,
    ) -> None:
        """Reserve `key` for 2 MSL from `now`."""
        remote, remote_port, local_port = key
        remotes = self._remotes
        number = remotes.numbers.get(remote)
        if number is None:
            number = remotes.add(remote)
        code = _code(number, remote_port, local_port)
        records = self._records
        expires = ceil((now + self.duration) * _TICKS_PER_SECOND)
        flags = shift + _TIMESTAMPS if timestamps else shift
        record = _to_int(_pack(expires, snd_nxt, rcv_nxt, ts_recent, window, flags), "big")
        is_new = code not in records
        # No call: after one, a signal handler could raise an exception, and the place would stay.
        self._order += (code,)
        try:
            if not is_new:
                self._stale[code] = self._stale.get(code, 0) + 1
            records[code] = record
        except BaseException:  # each record must have exactly one valid place, or every later access would fail
            self._order.pop()
            raise
        if is_new:
            remotes.records[number] += 1
        else:
            self._sweep()

    def restore(self, key: ConnectionKey, record: TimeWait, now: float) -> None:
        """Reserve `key` again, for 2 MSL from `now`."""
        self.add(key, now, *record[1:])

    def get(self, key: ConnectionKey) -> TimeWait | None:
        remote, remote_port, local_port = key
        number = self._remotes.numbers.get(remote)
        if number is None:
            return None
        record = self._records.get(_code(number, remote_port, local_port))
        return None if record is None else _unpack(record)

    def restart(self, key: ConnectionKey, now: float, ts_recent: int) -> None:
        """Restart the 2 MSL, because the peer retransmitted its FIN (RFC 9293 3.10.7.4, eighth check)."""
        record = _unpack(self._records[self._code(key)])
        self.restore(key, record._replace(ts_recent=ts_recent), now)

    def may_answer(self, key: ConnectionKey, kind: int, now: float, interval: float) -> bool:
        """Take one answer to an unverified segment of this kind (`rate_limit`) from the limit of one in `interval`
        seconds (RFC 5961 7). Return False if no answer may be sent."""
        answer = (self._code(key), kind)
        answers = self._next_answers
        next_answer = answers.get(answer)
        if next_answer is not None and now < next_answer:
            return False
        if len(answers) >= self._prune_at:
            answers = {other: due for other, due in answers.items() if due > now}
            self._next_answers = answers
            self._prune_at = 2 * len(answers) + _ANSWERS
        answers[answer] = now + interval
        return True

    def remove(self, key: ConnectionKey) -> None:
        code = self._code(key)
        self._stale[code] = self._stale.get(code, 0) + 1
        del self._records[code]
        self._release(code)
        self._sweep()
        if not self._records:
            self._clear()

    def seconds_left(self, key: ConnectionKey, now: float) -> float | None:
        """Return how long `key` is still reserved, seconds; None: it is not reserved."""
        record = self.get(key)
        return None if record is None else max(0.0, record.expires - now)

    def ports_by_destination(self, first: int, last: int) -> dict[tuple[Remote, int], int]:
        """Return the number of reserved local ports from `first` to `last` by remote and remote port. Concurrent
        changes in another thread may be missing."""
        remotes = self._remotes.remotes
        counts: dict[bytes, int] = {}
        for code in list(self._records):
            if first <= code[6] << 8 | code[7] <= last:
                counts[code[:6]] = counts.get(code[:6], 0) + 1
        found: dict[tuple[Remote, int], int] = {}
        for destination, count in counts.items():
            number, remote_port = _DESTINATION.unpack(destination)
            if number < len(remotes):
                found[remotes[number], remote_port] = count
        return found

    def next_expiry(self) -> float | None:
        """Return the expiry of the oldest record, or 0.0, which has passed, if there are too many; None: no record."""
        if len(self._records) > self._most:
            return 0.0
        if self._stale:
            self._skip_stale_places()
        return (self._records[self._order[0]] >> _BELOW_EXPIRY) / _TICKS_PER_SECOND if self._order else None

    def take_expired(self, now: float) -> list[ConnectionKey]:
        """Remove the records whose 2 MSL have passed, and the oldest ones if there are too many. Return their keys."""
        expired: list[ConnectionKey] = []
        order, records = self._order, self._records
        ticks = now * _TICKS_PER_SECOND
        while records:
            if self._stale:
                self._skip_stale_places()
            code = order[0]
            if records[code] >> _BELOW_EXPIRY > ticks:
                if len(records) <= self._most:
                    break
                self._counters.time_wait_overflows += 1
            del records[code]
            del order[0]
            expired.append(self._release(code))
        if expired and not records:
            self._clear()
        return expired

    def _code(self, key: ConnectionKey) -> bytes:
        """Return the code of a key that is in the table."""
        remote, remote_port, local_port = key
        return _code(self._remotes.numbers[remote], remote_port, local_port)

    def _key(self, code: bytes) -> ConnectionKey:
        number, remote_port, local_port = _CODE.unpack(code)
        return self._remotes.remotes[number], remote_port, local_port

    def _release(self, code: bytes) -> ConnectionKey:
        """Remove the other data of a removed record. Return its key."""
        if self._next_answers:
            for kind in range(KINDS):
                self._next_answers.pop((code, kind), None)
        number, remote_port, local_port = _CODE.unpack(code)
        remotes = self._remotes
        remote = remotes.remotes[number]
        remotes.records[number] -= 1
        if not remotes.records[number]:
            remotes.forget(number)
        return remote, remote_port, local_port

    def _clear(self) -> None:
        """Replace all containers after the last record is removed, because emptied containers keep their memory."""
        self._records = {}
        self._remotes = _Remotes()
        self._order = deque()
        self._stale = {}
        self._next_answers = {}
        self._prune_at = _ANSWERS

    def _in_order(self) -> Iterator[bytes]:
        """Iterate over the codes in order of expiry, without stale places."""
        stale = dict(self._stale)
        for code in self._order:
            places = stale.get(code, 0)
            if places:
                stale[code] = places - 1
            else:
                yield code

    def _sweep(self) -> None:
        """Remove stale places when they are half of all, so that endlessly repeated FINs or SYNs increase neither the
        memory nor the average work."""
        if len(self._order) > 2 * len(self._records) + _STALE_PLACES:
            self._order = deque(self._in_order())
            self._stale = {}

    def _skip_stale_places(self) -> None:
        """Remove stale places from the front, so that the first place is valid."""
        stale, order = self._stale, self._order
        while stale and (places := stale.get(order[0], 0)):
            code = order[0]
            del order[0]  # no call, as in `add`
            if places == 1:
                del stale[code]
            else:
                stale[code] = places - 1


class _Remotes:
    """Small numbers for the remotes with records. The number of a remote without records is reused."""

    __slots__ = ("_free", "numbers", "records", "remotes")

    def __init__(self) -> None:
        self.numbers: dict[Remote, int] = {}
        self.remotes: list[Remote] = []
        """The remote of each number; None: the number is free."""
        self.records: list[int] = []
        """Number of records of each remote, by its number."""
        self._free: list[int] = []

    def add(self, remote: Remote) -> int:
        """Assign a number to `remote`, which has none, and return it."""
        if self._free:
            number = self._free.pop()
            self.remotes[number] = remote
        else:
            number = len(self.remotes)
            self.records.append(0)  # first, because an entry without a remote is harmless
            self.remotes.append(remote)
        self.numbers[remote] = number
        return number

    def forget(self, number: int) -> None:
        """Free the number of a remote that has no record left."""
        del self.numbers[self.remotes[number]]
        self.remotes[number] = None
        self._free.append(number)


def _unpack(record: int) -> TimeWait:
    expires, snd_nxt, rcv_nxt, ts_recent, window, flags = _RECORD.unpack(record.to_bytes(_RECORD.size, "big"))
    shift = flags & (_TIMESTAMPS - 1)
    expires /= _TICKS_PER_SECOND
    return TimeWait._make((expires, snd_nxt, rcv_nxt, ts_recent, window, shift, flags >= _TIMESTAMPS))


def is_newer(syn: Segment, record: TimeWait, timestamps: bool) -> bool:
    """Return True if a SYN in TIME_WAIT belongs to a new incarnation, by its timestamp or sequence number (RFC 6191 2).

    If the new incarnation has `timestamps` and the old one had none, any SYN is accepted, because segments of the old
    incarnation are recognized by the missing option.
    """
    if timestamps and syn.ts_val is not None and not record.timestamps:
        return True
    if record.timestamps and syn.ts_val is not None and syn.ts_val != record.ts_recent:
        return gt(syn.ts_val, record.ts_recent)
    return ge(syn.seq, record.rcv_nxt)
