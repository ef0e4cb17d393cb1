"""What utcp sent and received, as lines that a failing test prints, and as segments that tests ask for."""

import time
from typing import Literal, NamedTuple, TypeAlias

from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer
from utcp.tcp.state import NAMES
from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import ACK, SYN, Segment, decode, flag_names
from utcp.wire.seq import MASK

Direction: TypeAlias = Literal["<", ">"]
"""`>` leaves utcp, `<` arrives."""

_LAST = 60  # lines that a failing test prints


class Entry(NamedTuple):
    direction: Direction
    segment: Segment
    line: str


class Trace(Observer):
    """The segments, in order, and the states that connections took."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.states: list[str] = []
        self._began = time.monotonic()
        self._iss: dict[tuple[int, int], int] = {}

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        self._note(">", decode(b"".join(buffers)), now)

    def segment_received(self, remote: Remote, segment: Segment, now: float) -> None:
        self._note("<", segment, now)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self.states.append(NAMES[after])

    def flags(self, direction: Direction | None = None, start: int = 0) -> list[str]:
        """`> FIN,ACK` for each segment from number `start` on; without the arrow for one direction."""
        return [
            flags if direction else f"{entry.direction} {flags}"
            for entry in self.entries[start:]
            if direction in (None, entry.direction)
            for flags in [flag_names(entry.segment.flags & ~8)]  # PSH says nothing about what happens
        ]

    def render(self) -> str:
        lines = [entry.line for entry in self.entries]
        left_out = [f"... {len(lines) - _LAST} segments before these"] if len(lines) > _LAST else []
        return "\n".join(left_out + lines[-_LAST:])

    def _note(self, direction: Direction, segment: Segment, now: float) -> None:
        ports = (segment.src_port, segment.dst_port)
        if segment.flags & SYN or ports not in self._iss:
            self._iss[ports] = segment.seq
        first = (segment.seq - self._iss[ports]) & MASK
        ack = ""
        if segment.flags & ACK:
            ack = f" ack {(segment.ack - self._iss.get(ports[::-1], 0)) & MASK}"
        line = (
            f"{now - self._began:8.4f} {direction} {ports[0]}>{ports[1]} {flag_names(segment.flags)}"
            f" {first}:{first + len(segment.payload)}{ack} win {segment.window}"
        )
        self.entries.append(Entry(direction, segment, line))
