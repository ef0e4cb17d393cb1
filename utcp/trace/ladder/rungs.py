"""The rows of a ladder, as plain values for any renderer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from utcp.tcp.state import CLOSED, TIME_WAIT
from utcp.wire import FIN

End: TypeAlias = Literal["client", "server"]

ENDS: Final[tuple[End, End]] = ("client", "server")

PEER: Final[dict[End, End]] = {"client": "server", "server": "client"}

Facts: TypeAlias = tuple[tuple[str, str], ...]
"""What else is known: names and values, for people to read."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """A segment under way.

    `seq` and `ack` are relative: each end's SYN is 0, its data begins at 1. (The raw number stands where an end's SYN
    was never seen.) `ack` is None without the ACK bit. `length` is the payload in octets. `sent` and `received` are
    times on the recorder's clock; `received` None: lost; `sent` None: it arrived without having been sent, as when the
    network doubles one. Both are the same where nobody knows how long it was under way, as in a capture of one end.
    `retransmission`: some of its sequence space had been sent before. `timer`: that of its sender whose expiry sent it
    (`utcp.tcp.timers`).

    Facts are no part of what makes two arrows equal: `fields` are the rest of the header, `at_sender` and `at_receiver`
    variables of the two ends when it was sent and received (cwnd, rto, ...).
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
    fields: Facts = field(default=(), compare=False)
    at_sender: Facts = field(default=(), compare=False)
    at_receiver: Facts = field(default=(), compare=False)

    @property
    def receiver(self) -> End:
        return PEER[self.sender]


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of a ladder: a segment, a state change or a timer that no segment shows, or a note.

    `time` is in seconds on the recorder's clock: of a segment, when it was sent. `client` and `server` are states, None
    where the row tells nothing about that end: the sender's when it sent, the receiver's if the segment led to it.
    `expired` is a timer that led to a state without a segment, and whose.
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
        """Since when `end` is in the state that the row tells."""
        arrow = self.arrow
        if arrow is not None and arrow.sender != end and arrow.received is not None:
            return arrow.received
        return self.time


@dataclass(slots=True)
class Stay:
    """An end in TIME_WAIT, from the rung with the index `first` to that with the index `last`; times in seconds."""

    end: End
    first: int
    began: float
    last: int = 0
    ended: float = 0.0
    restarts: list[int] = field(default_factory=list)
    """The rungs with a FIN that arrived meanwhile: each starts 2 MSL anew (RFC 9293 3.10.7.4)."""
    expired: bool = False
    """It ended by itself, not by a segment."""


def stays_in_time_wait(rungs: Iterable[Rung]) -> list[Stay]:
    """Every TIME_WAIT that the ladder shows from its beginning to its end, in order of their ends; not those that took
    no time (2 MSL = 0)."""
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
    """`1.25 s`, `40 ms`, `0.31 ms`, `12 µs`, with three digits that matter; `2 min 5 s` from two minutes on."""
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
