"""A scripted server, not a TCP, that sends and receives single segments, for scenes with a misbehaving peer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from utcp.link.path import UdpPath
from utcp.scenes.stage import CLIENT_PORT, SERVER_PORT, Stage
from utcp.tcp.state import LISTEN
from utcp.tcp.transmit import Buffer, Remote, Transmit
from utcp.wire import ACK, Segment, decode, encode
from utcp.wire.seq import MASK

_ISS = 1_000_000
_MSS = 1460
_WINDOW = 65535


class ScriptedServer:
    """The server's end of one connection. Numbers are relative: its own SYN is 0, and so is the client's.

    It has the MSS option only and no timers. The caller determines its segments and its states.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._link = stage.server.bind(("0.0.0.0", SERVER_PORT))
        self._remote: Remote = UdpPath(("", 0), "")
        self._irs = 0
        self._state = LISTEN
        self._arrived: deque[Segment] = deque()
        self._woken = asyncio.Event()
        stage.network.loop.add_reader(self._link.fileno(), self._read)

    def enter(self, state: int) -> None:
        """Set the state, which only the ladder uses."""
        before, self._state = self._state, state
        server = self._stage.recorder.server
        server.enter(self._remote, (SERVER_PORT, CLIENT_PORT), before, state, self._stage.now)

    async def receive(self, wanted: Callable[[Segment], object]) -> Segment:
        """Return the next segment that is `wanted`; segments before it are discarded."""
        while True:
            while self._arrived:
                segment = self._arrived.popleft()
                if wanted(segment):
                    return segment
            self._woken.clear()
            await self._woken.wait()

    def accept(self, syn: Segment) -> None:
        """Take the client's initial sequence number from its SYN."""
        self._irs = syn.seq

    def is_acknowledged(self, segment: Segment, seq: int) -> bool:
        """Return whether `segment` acknowledges all of the server's data before the relative number `seq`."""
        return bool(segment.flags & ACK) and segment.ack == (_ISS + seq) & MASK

    def send(self, flags: int, seq: int, ack: int, payload: bytes = b"") -> None:
        """Send a segment with ACK. `seq` and `ack` are relative."""
        segment = Segment(
            SERVER_PORT,
            CLIENT_PORT,
            (_ISS + seq) & MASK,
            (self._irs + ack) & MASK,
            flags | ACK,
            _WINDOW,
            payload,
            mss=_MSS if seq == 0 else None,
        )
        data: list[Buffer] = [encode(segment)]
        self._link.send([Transmit(self._remote, data, len(data[0]))])
        self._stage.recorder.server.segment_sent(self._remote, data, self._stage.now)

    def _read(self) -> None:
        for received in self._link.receive():
            self._remote = received.remote
            segment = decode(received.data)
            self._stage.recorder.server.segment_received(self._remote, segment, self._stage.now)
            self._arrived.append(segment)
        self._woken.set()

    def close(self) -> None:
        """Close the UDP port."""
        self._stage.network.loop.remove_reader(self._link.fileno())
        self._link.close()
