"""TCP connections that an attacker plays by hand: each is a few numbers, and follows no rule but its own."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Final

from tests.hostile.forge import Forge
from tests.hostile.wires import Wire
from utcp.wire import ACK, FIN, SYN, MalformedSegment, Segment, decode
from utcp.wire.seq import MASK

MSS: Final = 1000
FIRST_PORT: Final = 1024
_BATCH: Final = 100
"""SYNs that are under way at once: less than a server's backlog."""
_MOST: Final = 60_000
"""Connections that differ in nothing but their port."""
_PATIENCE: Final = 0.25
"""Seconds after which a SYN is sent again."""


@dataclass(slots=True)
class Peer:
    """One end of a connection: the next number to send, the next to expect, and the window to offer."""

    port: int
    seq: int
    ack: int = 0
    window: int = 0
    is_open: bool = False


class Crowd:
    """The connections of one attacker to one port of the server.

    `window` is offered by each of them; `window_scale` and `sack` are options of their SYNs.
    """

    def __init__(
        self,
        forge: Forge,
        wire: Wire,
        own: bytes,
        service: int,
        *,
        window: int = 65535,
        window_scale: int | None = None,
        sack: bool = False,
    ) -> None:
        self._forge = forge
        self._wire = wire
        self._own = own
        self._service = service
        self._window = window
        self._window_scale = window_scale
        self._sack = sack
        self.peers: list[Peer] = []

    @property
    def open_peers(self) -> list[Peer]:
        """Those whose handshake is complete."""
        return [peer for peer in self.peers if peer.is_open]

    def dial(self) -> Peer | None:
        """Send the SYN of a new connection; None when the ports are used up."""
        if len(self.peers) >= _MOST:
            return None
        peer = Peer(FIRST_PORT + len(self.peers), len(self.peers) << 16 & MASK, window=self._window)
        self.peers.append(peer)
        self._send_syn(peer)
        return peer

    def open(self, count: int, seconds: float = 20.0) -> None:
        """Open `count` connections, a batch at a time, or as many as `seconds` suffice for."""
        end = monotonic() + seconds
        unanswered: deque[Peer] = deque()
        left = count
        while (left or unanswered) and monotonic() < end:
            batch = [unanswered.popleft() for _ in range(min(_BATCH, len(unanswered)))]
            for peer in batch:
                self._send_syn(peer)
            fresh = min(left, _BATCH - len(batch))
            batch += [dialled for _ in range(fresh) if (dialled := self.dial())]
            left -= fresh
            patience = monotonic() + _PATIENCE
            while not all(peer.is_open for peer in batch) and monotonic() < patience:
                for _ in self.arrivals(0.01):
                    pass
            unanswered.extend(peer for peer in batch if not peer.is_open)

    def say(self, peer: Peer, text: bytes, *, at: int | None = None) -> None:
        """Send `text` as the next of the stream; or `at` octets beyond, behind a hole, where nothing moves."""
        if at is None:
            self.send(peer, ACK, text)
            peer.seq = (peer.seq + len(text)) & MASK
        else:
            self._put(Segment(peer.port, self._service, (peer.seq + at) & MASK, peer.ack, ACK, peer.window, text))

    def send(self, peer: Peer, flags: int, text: bytes = b"", sack: tuple[tuple[int, int], ...] = ()) -> None:
        """Send a segment with the connection's numbers."""
        self._put(Segment(peer.port, self._service, peer.seq, peer.ack, flags, peer.window, text, sack_blocks=sack))

    def arrivals(self, seconds: float) -> Iterator[tuple[Peer, Segment]]:
        """The server's segments, waiting up to `seconds` for the first. A handshake is completed on the way; nothing
        else is answered."""
        for packet in self._wire.receive(seconds):
            found = self._forge.read(packet)
            if found is None:
                continue
            for segment in _segments(found[1], cut=self._forge.stack == "utcp"):
                index = segment.dst_port - FIRST_PORT
                if segment.src_port != self._service or not 0 <= index < len(self.peers):
                    continue
                peer = self.peers[index]
                if segment.flags & SYN and not peer.is_open:
                    peer.is_open = True
                    peer.seq = (peer.seq + 1) & MASK
                    peer.ack = (segment.seq + 1) & MASK
                    self.send(peer, ACK)
                yield peer, segment

    def _send_syn(self, peer: Peer) -> None:
        self._put(
            Segment(
                peer.port,
                self._service,
                peer.seq,
                0,
                SYN,
                peer.window,
                mss=MSS,
                window_scale=self._window_scale,
                sack_permitted=self._sack,
            )
        )

    def _put(self, segment: Segment) -> None:
        self._wire.send(self._forge.segment(self._own, self._wire.udp_port, segment))


def _segments(octets: bytes, *, cut: bool) -> Iterator[Segment]:
    """The segments of a train that the kernel has not cut: of one size, with MSS octets of text, or of a handshake or a
    close, without. Kernel TCP's large segments are whole (`cut` false)."""
    while octets:
        try:
            segment = decode(octets)
        except MalformedSegment:
            return
        if cut:
            size = octets[12] >> 2 & 0x3C
            if not segment.flags & (SYN | FIN):
                size += MSS
            segment = decode(octets[:size])
            octets = octets[size:]
        else:
            octets = b""
        yield segment
