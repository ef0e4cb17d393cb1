"""The application at one end of a life: it writes, reads, pauses, closes, and checks what it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from tests.properties.watch import Broken
from utcp.tcp.connection import Connection
from utcp.tcp.state import CLOSED, SYN_SENT

if TYPE_CHECKING:
    from tests.properties.lives import Life

PEER: Final = {"a": "b", "b": "a"}

_PERIOD: Final = 65521
_BLOCK: Final = Random(0).randbytes(_PERIOD) * 3


def content(name: str, offset: int, size: int) -> bytes:
    """`size` octets, at most 65,536, of the stream that `name` writes."""
    begin = (offset + ord(name) * 7919) % _PERIOD
    return _BLOCK[begin : begin + size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an application does: how much it writes, in which pieces, and where it pauses in writing and reading."""

    octets: int
    piece: int
    writing_pauses: tuple[tuple[int, float], ...] = ()
    """Once so many octets are written, nothing for so many seconds."""
    read_size: int = -1
    reading_pauses: tuple[tuple[int, float], ...] = ()
    closes_at_once: bool = False
    """It calls close() when it has written all and the peer writes nothing, not shutdown()."""


class App:
    """The application at one end."""

    def __init__(self, life: Life, name: str, plan: Plan, connection: Connection) -> None:
        self.life = life
        self.name = name
        self.plan = plan
        self.connection = connection
        connection.context = self
        self.written = 0
        self.read = 0
        self.write_from = life.now
        self.read_from = life.now
        self.finished = False
        self.closed = False
        self._writing_pauses = list(plan.writing_pauses)
        self._reading_pauses = list(plan.reading_pauses)

    @property
    def done(self) -> bool:
        peer = self.life.plans[PEER[self.name]]
        return self.finished and self.read == peer.octets and self.connection.at_eof

    def wake(self) -> float:
        """When it goes on by itself."""
        now = self.life.now
        times = [time for time in (self.write_from, self.read_from) if time > now]
        return min(times, default=math.inf)

    def work(self) -> None:
        """All that it can do now."""
        connection = self.connection
        connection.take_events()
        if connection.error is not None:
            if not self.life.over_for_users() and not self.life.refused:
                raise Broken(f"{self.name}: {connection!r} ended with {connection.error!r}")
            self.closed = True
            return
        if not self.closed:
            self._read()
        if not self.finished and connection.state not in (CLOSED, SYN_SENT):
            self._write()
        if self.done and not self.closed:
            self.connection.close(self.life.now)
            self.closed = True

    def _read(self) -> None:
        connection, now = self.connection, self.life.now
        while now >= self.read_from and connection.receive_side.readable:
            data = connection.read(self.plan.read_size)
            peer = PEER[self.name]
            for start in range(0, len(data), 65536):
                piece = data[start : start + 65536]
                if piece != content(peer, self.read + start, len(piece)):
                    raise Broken(f"{self.name}: read at {self.read} what nobody wrote there")
            self.read += len(data)
            while self._reading_pauses and self.read >= self._reading_pauses[0][0]:
                self.read_from = now + self._reading_pauses.pop(0)[1]
        if connection.at_eof and self.read != self.life.plans[PEER[self.name]].octets:
            raise Broken(f"{self.name}: EOF after {self.read} octets")

    def _write(self) -> None:
        connection, plan, now = self.connection, self.plan, self.life.now
        while now >= self.write_from and self.written < plan.octets:
            size = min(plan.piece, plan.octets - self.written)
            if self._writing_pauses:
                size = max(1, min(size, self._writing_pauses[0][0] - self.written))
            accepted = connection.send(content(self.name, self.written, size))
            self.written += accepted
            while self._writing_pauses and self.written >= self._writing_pauses[0][0]:
                self.write_from = now + self._writing_pauses.pop(0)[1]
            if accepted < size:
                return  # WRITABLE follows
        if now >= self.write_from and self.written == plan.octets:
            self.finished = True
            if plan.closes_at_once and not self.life.plans[PEER[self.name]].octets:
                connection.close(now)
                self.closed = True
            else:
                connection.shutdown(now)
