"""Snapshots of each end's variables around every event, with the counters that show what the stack decided."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from utcp.tcp import timers
from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.tcp.time_wait import ConnectionKey
from utcp.tcp.transmit import Buffer, Remote
from utcp.trace.ladder.told import TWO_MSL
from utcp.wire import Segment, decode, encode
from utcp.wire.seq import diff

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_COUNTED: Final = (
    "challenge_acks",
    "syn_challenges",
    "paws_drops",
    "estab_resets",
    "aborts_on_data",
    "ofo_queued",
    "time_wait_reuses",
    "out_rsts",
)
"""The counters (`utcp.tcp.counters`) that show what became of a received segment."""


class Snapshot(NamedTuple):
    """An end at a moment. `numbers` are the variables by their names, with relative sequence numbers."""

    state: int
    numbers: dict[str, float]
    running: dict[str, float]
    """The deadline of each running timer, by its name, virtual seconds."""
    counters: dict[str, int]


@dataclass(slots=True)
class Around:
    """What an end was before and after an event."""

    time: float
    before: Snapshot | None
    after: Snapshot | None = None
    is_arrival: bool = False


class Probe(Observer):
    """The observer of one stack. `events` has the segments that it sent and received, by their octets, in order."""

    def __init__(self, stack: Stack, ended: dict[ConnectionKey, tuple[int, int]]) -> None:
        self.stack = stack
        self.sent: dict[bytes, deque[Around]] = defaultdict(deque)
        self.received: dict[bytes, deque[Around]] = defaultdict(deque)
        self.history: list[Around] = []
        self.keepalives = 0
        self._initial = ended
        """ISS and IRS by connection."""
        self._pending: list[tuple[ConnectionKey, Around]] = []
        self._latest: dict[ConnectionKey, Snapshot] = {}

    # ------------------------------------------------------------------ events

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        octets = b"".join(buffers)
        key = (remote, int.from_bytes(octets[2:4], "big"), int.from_bytes(octets[:2], "big"))
        after = self._take(key, now)
        latest = self._latest.get(key)
        is_new = latest is None or latest.numbers.get("SND.NXT") != after.numbers.get("SND.NXT")
        before = _unsent(after, decode(octets).length) if is_new else after
        caused = [around.before for pending, around in self._pending if pending == key and not around.is_arrival]
        self._complete(key, before)
        around = Around(now, caused[0] if caused and caused[0] is not None else before, after)
        self._latest[key] = after
        self.sent[octets].append(around)
        self._add(key, around)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self._complete()
        around = self._begin((remote, segment.src_port, segment.dst_port), now, is_arrival=True)
        self.received[encode(segment)].append(around)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        if after not in (CLOSED, LISTEN) and before != LISTEN:
            self._initial[connection.key] = (connection.send_side.iss, connection.receive_side.irs)
        self._begin(connection.key, now)

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        self.keepalives += timer == timers.KEEPALIVE
        self._begin(connection.key, now)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self._begin((remote, remote_port, local_port), now)

    # ------------------------------------------------------------------ snapshots

    def _begin(self, key: ConnectionKey, now: float, *, is_arrival: bool = False) -> Around:
        """Take the snapshot before an event."""
        before = self._latest.get(key) if key not in self.stack.connections else None
        around = Around(now, before or self._take(key, now), is_arrival=is_arrival)
        self._add(key, around)
        return around

    def _add(self, key: ConnectionKey, around: Around) -> None:
        """Have the snapshot after an event taken, when the stack has processed the event."""
        self.history.append(around)
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._complete)
        self._pending.append((key, around))

    def _complete(self, key: ConnectionKey | None = None, snapshot: Snapshot | None = None) -> None:
        """Take the snapshots after the events so far. That of `key` is `snapshot`."""
        for pending, around in self._pending:
            now = snapshot if snapshot is not None and pending == key else self._take(pending, around.time)
            if around.after is None:
                around.after = now
            else:  # a segment was sent: the timers are set after it
                around.after = around.after._replace(running=now.running)
            self._latest[pending] = now
        self._pending.clear()

    def _take(self, key: ConnectionKey, now: float) -> Snapshot:
        stack = self.stack
        counters = {name: getattr(stack.counters, name) for name in _COUNTED}
        connection = stack.connections.get(key)
        if connection is not None:
            return Snapshot(connection.state, _numbers(connection), _running(connection), counters)
        record = stack.time_wait.get(key)
        if record is not None:
            iss, irs = self._initial.get(key, (0, 0))
            numbers: dict[str, float] = {
                "SND.NXT": diff(record.snd_nxt, iss),
                "RCV.NXT": diff(record.rcv_nxt, irs),
                "RCV.WND": record.rcv_wnd,
            }
            return Snapshot(TIME_WAIT, numbers, {TWO_MSL: record.expires}, counters)
        return Snapshot(LISTEN if key[2] in stack.listeners else CLOSED, {}, {}, counters)


def _unsent(after: Snapshot, length: int) -> Snapshot:
    """Return an end as it was before it sent a new segment of `length`, from what it was after it."""
    if not length or "SND.NXT" not in after.numbers:
        return after
    numbers = {**after.numbers, "SND.NXT": after.numbers["SND.NXT"] - length}
    numbers["in flight"] = max(0.0, numbers.get("in flight", 0.0) - length)
    return after._replace(numbers=numbers)


def _numbers(connection: Connection) -> dict[str, float]:
    send, receive = connection.send_side, connection.receive_side
    found: dict[str, float] = {
        "SND.UNA": diff(send.snd_una, send.iss),
        "SND.NXT": diff(send.snd_nxt, send.iss),
    }
    if connection.state != SYN_SENT:  # before, the peer's numbers are unknown
        found["SND.WND"] = send.snd_wnd
        found["RCV.NXT"] = diff(receive.rcv_nxt, receive.irs)
        found["RCV.WND"] = receive.window
    found["cwnd"] = connection.recovery.window
    if connection.congestion.ssthresh < UNLIMITED:
        found["ssthresh"] = connection.congestion.ssthresh
    found["in flight"] = connection.recovery.in_flight
    if connection.rtt.samples:
        found["SRTT"] = connection.rtt.srtt
    found["RTO"] = connection.rtt.rto
    if connection.retransmits:
        found["retransmits"] = connection.retransmits
    return found


def _running(connection: Connection) -> dict[str, float]:
    return {
        name: deadline
        for timer, (name, deadline) in enumerate(zip(timers.NAMES, connection.deadlines(), strict=True))
        if deadline != inf and timer != timers.PACING
    }


def is_busy(stack: Stack) -> bool:
    """Return whether the protocol still has something to do: a timer other than keepalive runs, or a connection is in
    TIME_WAIT or half-open."""
    if len(stack.time_wait):
        return True
    for connection in stack.connections.values():
        if connection.state in (SYN_SENT, SYN_RCVD):
            return True
        if any(deadline != inf and timer != timers.KEEPALIVE for timer, deadline in enumerate(connection.deadlines())):
            return True
    return False
