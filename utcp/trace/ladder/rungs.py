"""The rows of a ladder, as plain values for any renderer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from utcp.tcp.state import CLOSED, TIME_WAIT
from utcp.trace.comments import Comment
from utcp.wire import FIN, Segment

End: TypeAlias = Literal["client", "server"]

ENDS: Final[tuple[End, End]] = ("client", "server")

PEER: Final[dict[End, End]] = {"client": "server", "server": "client"}


@dataclass(frozen=True, slots=True)
class Arrow:
    """A segment in flight.

    `seq` and `ack` are relative: each end's SYN is 0, its data begins at 1. (They are unchanged if an end's SYN was not
    captured.) `ack` is None without the ACK bit. `length` is the payload in octets. `sent` and `received` are times on
    the recorder's clock. `received` is None for a lost segment, `sent` is None for one that arrived without being sent,
    such as a duplicate by the network. Both are equal if the transit time is unknown, as in a capture of one end.
    `retransmission` is True if part of its sequence space was sent before. `timer` is the sender's timer that caused it
    (`utcp.tcp.timers`).

    Details are not compared: `segment` has the rest of the header, `at_sender` and `at_receiver` have the variables of
    the two ends at sending and receipt (cwnd, rto, ...).
    """

    sender: End
    flags: int
    seq: int
    ack: int | None
    length: int
    sent: float | None
    received: float | None
    retransmission: bool
    timer: int | None = None
    segment: Segment | None = field(default=None, compare=False)
    at_sender: Comment = field(default_factory=Comment, compare=False)
    at_receiver: Comment = field(default_factory=Comment, compare=False)

    @property
    def receiver(self) -> End:
        return PEER[self.sender]


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of a ladder: a segment, a state change or a timer without a segment, or a note.

    `time` is in seconds on the recorder's clock; for a segment, its sending time. `client` and `server` are states, or
    None if the row does not set that end's state: the sender's at sending, the receiver's if the segment caused it.
    `expired` is a timer that caused a state without a segment, and its end.
    """

    time: float
    client: int | None = None
    server: int | None = None
    arrow: Arrow | None = None
    note: str | None = None
    expired: tuple[End, int] | None = None

    def state(self, end: End) -> int | None:
        return self.client if end == "client" else self.server

    def state_time(self, end: End) -> float:
        """Return the time at which `end` entered the row's state."""
        arrow = self.arrow
        if arrow is not None and arrow.sender != end and arrow.received is not None:
            return arrow.received
        return self.time


@dataclass(slots=True)
class Stay:
    """A TIME_WAIT of an end, from the rung with the index `first` to that with the index `last`; times in seconds."""

    end: End
    first: int
    began: float
    last: int = 0
    ended: float = 0.0
    restarts: list[int] = field(default_factory=list)
    """Indices of the rungs with a FIN that arrived meanwhile; each restarts 2 MSL (RFC 9293 3.10.7.4)."""
    expired: bool = False
    """Whether the timer ended it, and not a segment."""


def stays_in_time_wait(rungs: Iterable[Rung]) -> list[Stay]:
    """Return every TIME_WAIT whose start and end the ladder shows, in order of their ends, without those of no duration
    (2 MSL = 0)."""
    stays = []
    present: dict[End, Stay] = {}
    for index, rung in enumerate(rungs):
        arrow = rung.arrow
        if arrow is not None and arrow.flags & FIN and arrow.received is not None:
            stay = present.get(arrow.receiver)
            if stay is not None and rung.state(arrow.receiver) is None:
                stay.restarts.append(index)
        for end in ENDS:
            state = rung.state(end)
            if state == TIME_WAIT:
                present.setdefault(end, Stay(end, index, rung.state_time(end)))
            elif state is not None and end in present:
                stay = present.pop(end)
                stay.last, stay.ended = index, rung.state_time(end)
                stay.expired = arrow is None and state == CLOSED
                if stay.ended > stay.began:
                    stays.append(stay)
    return stays


def duration(seconds: float) -> str:
    """Return a text such as `1.25 s`, `40 ms`, `0.31 ms`, `12 µs`, with three significant digits; `2 min 5 s` from two
    minutes on."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if round(seconds) >= 120:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if not seconds:
        return "0 s"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        value = float(f"{seconds / scale:.3g}")
        if value >= 1 or unit == "µs" or (unit == "ms" and value >= 0.1):
            return f"{value:.10g} {unit}"
    raise AssertionError(seconds)
