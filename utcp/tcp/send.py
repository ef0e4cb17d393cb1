"""The send side of a connection: SND.* variables, and the queue of SYN, data and FIN in sequence space."""

from bisect import bisect_right
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.config import Config
from utcp.tcp.allowance import Allowance
from utcp.tcp.transmit import Buffer
from utcp.wire.seq import HALF, MASK

_INITIAL_BUFFER: Final = 1 << 20
"""Initial size of a buffer that grows automatically, octets."""

_COPY_BELOW: Final = 4096
"""Length below which a copy of a slice is cheaper than a view, octets."""

SMALL: Final = 512
"""Length below which two adjacent pieces of the queue are joined, octets. An application may write single octets, and
each piece takes PIECE octets beyond its text. A join copies at most twice this length, in 0.1 microseconds."""

PIECE: Final = 96
"""Memory overhead of a piece of the queue, octets."""

_NO_CHUNKS: Final[list[Buffer]] = []
_NO_STARTS: Final[list[int]] = []
"""The lists of all empty queues, which never change: the first piece brings lists of its own."""


@mypyc_attr(acyclic=True)
class SendSide:
    """Owns SND.UNA, SND.NXT, the peer's window, and the queue of unacknowledged and unsent octets.

    Payload is addressed by its stream offset, an integer that does not wrap. SND.NXT never decreases; retransmissions
    read the queue again.
    """

    __slots__ = (
        "_allowance",
        "_chunks",
        "_empty_segs_out",
        "_head",
        "_maximum",
        "_starts",
        "acked",
        "bytes_retrans",
        "data_segs_out",
        "fin_acked",
        "fin_queued",
        "fin_sent",
        "iss",
        "limit",
        "max_snd_wnd",
        "probe",
        "queued",
        "sent",
        "shift",
        "snd_nxt",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "syn_acked",
        "wanted",
    )

    def __init__(self, iss: int, config: Config, allowance: Allowance | None = None) -> None:
        self._allowance = Allowance() if allowance is None else allowance
        self._maximum = maximum = config.send_buffer or config.max_send_buffer
        self.limit = config.send_buffer or min(_INITIAL_BUFFER, maximum)
        """Size of the send buffer, octets. It holds data until it is acknowledged."""
        self.iss = iss
        self.snd_una = iss
        self.syn_acked = False
        """True once our SYN is acknowledged. SND.UNA != ISS does not show this, because SND.UNA passes the ISS again
        every 4 GiB."""
        self.snd_nxt = iss
        self.snd_wnd = 0
        self.snd_wl1 = 0
        self.snd_wl2 = 0
        self.max_snd_wnd = 0
        """The largest window that the peer ever offered, octets (RFC 9293 3.8.6.2.1, RFC 5961 5)."""
        self.shift = 0
        """The peer's window scale, bits: we shift its window field by it."""
        self.acked = 0
        """Number of payload octets acknowledged."""
        self.sent = 0
        """Number of payload octets sent at least once."""
        self.queued = 0
        """Number of payload octets accepted from the application."""
        self.bytes_retrans = 0
        """Number of payload octets retransmitted."""
        self.data_segs_out = 0
        """Number of segments sent with text."""
        self._empty_segs_out = 0
        """Number of segments sent without text."""
        self.fin_queued = False
        self.fin_sent = False
        self.fin_acked = False
        self.probe = False
        """True while the only octet in flight is a zero-window probe."""
        self.snd_up = 0
        """SND.UP as a stream offset, at which urgent data ends (RFC 9293 3.8.5); 0: there was no urgent data."""
        self.wanted = False
        """True if `append` accepted only a part of its data, so that the event WRITABLE is due when there is space."""
        self._chunks = _NO_CHUNKS
        self._starts = _NO_STARTS
        self._head = 0

    # ------------------------------------------------------------------ positions and sizes

    @property
    def flight_size(self) -> int:
        """Number of octets of sequence space sent and not acknowledged (RFC 5681 2)."""
        return (self.snd_nxt - self.snd_una) & MASK

    @property
    def unsent(self) -> int:
        """Number of payload octets that wait to be sent for the first time."""
        return self.queued - self.sent

    @property
    def pending(self) -> bool:
        """True if data or a FIN waits to be sent for the first time."""
        return self.queued > self.sent or (self.fin_queued and not self.fin_sent)

    @property
    def usable_window(self) -> int:
        """SND.UNA + SND.WND - SND.NXT, octets; negative after the peer has shrunk its window (MUST-34)."""
        return self.snd_wnd - self.flight_size

    @property
    def acceptable_seq(self) -> int:
        """SEQ of a segment without new text: SND.NXT, but at most the right edge of the peer's window. Beyond the edge
        the peer would drop the segment with its ACK or RST (RFC 9293 3.10.7.4, first check).

        SND.NXT is beyond the edge after a zero-window probe, and after the peer has shrunk its window. If it is beyond
        by less than the unit of the window scale, the peer has rounded its window down, and its true edge has not moved
        (RFC 7323 2.4). This does not apply to a closed window. The window of the peer's SYN begins after our SYN.
        """
        beyond = ((self.snd_nxt - self.snd_una) & MASK) - self.snd_wnd
        if beyond <= 0 or (self.snd_wnd and beyond < 1 << self.shift) or not self.syn_acked:
            return self.snd_nxt
        return (self.snd_una + self.snd_wnd) & MASK

    @property
    def space(self) -> int:
        """Number of octets that `append` accepts."""
        space = self._in_force - (self.queued - self.acked)
        return max(0, space)

    @property
    def _in_force(self) -> int:
        """The size of the buffer in force, octets: `limit`, or less if memory is short."""
        most = self._allowance.most
        return min(most, self.limit)

    @property
    def kept(self) -> int:
        """Memory that the queue takes, octets. A piece is kept whole until its last octet is acknowledged."""
        pieces = len(self._chunks) - self._head
        return self.queued - self._starts[self._head] + pieces * PIECE if pieces else 0

    # ------------------------------------------------------------------ what is counted

    @property
    def segs_out(self) -> int:
        """Number of segments sent, of all kinds."""
        return self.data_segs_out + self._empty_segs_out

    def note_empty(self) -> None:
        """Count a segment that leaves without text, and without a FIN that `advance` or `note_resent` has counted."""
        self._empty_segs_out += 1

    def note_resent(self, size: int) -> None:
        """Count a segment that leaves again, with `size` payload octets."""
        self.data_segs_out += size > 0
        self._empty_segs_out += size == 0
        self.bytes_retrans += size

    # ------------------------------------------------------------------ the queue

    def grow(self, size: int) -> None:
        """Grow the buffer to `size` octets, at most to its maximum."""
        if size > self.limit:
            self.limit = max(self.limit, min(size, self._maximum))

    def resize(self, size: int) -> None:
        """Set the size of the buffer to `size` octets, and stop its growth."""
        self.limit = self._maximum = size

    def append(self, data: Buffer, force: bool) -> int:
        """Queue as much of `data` as there is space for, all of it if `force`, and return the number of octets queued.
        Only small pieces are copied."""
        size = len(data)
        if not force:
            space = min(self._allowance.most, self.limit) - (self.queued - self.acked)
            if size > space:
                space = max(space, 0)
                self.wanted = True
                data = memoryview(data)[:space]
                size = space
        if size:
            chunks = self._chunks
            if not chunks:
                starts = [self.queued]
                self._chunks = [data]
                self._starts = starts
            elif size < SMALL and len(chunks[-1]) < SMALL:
                chunks[-1] = b"".join((chunks[-1], data))
            else:
                chunks.append(data)
                try:
                    self._starts.append(self.queued)
                except BaseException:  # the two lists must keep the same length
                    chunks.pop()
                    raise
            self.queued += size
        return size

    def advance_over_syn(self) -> None:
        """Advance SND.NXT over the SYN, which leaves for the first time, and count its segment."""
        self.snd_nxt = (self.iss + 1) & MASK
        self._empty_segs_out += 1

    def advance(self, size: int, fin: bool, probe: bool, segments: int) -> None:
        """Advance SND.NXT over `size` payload octets, and the FIN behind them if `fin`, which leave for the first time
        as `segments` segments. `probe`: they are a zero-window probe."""
        if size:
            self.data_segs_out += segments
        else:
            self._empty_segs_out += segments
        self.probe = probe
        self.sent += size
        self.snd_nxt = (self.snd_nxt + size + fin) & MASK
        if fin:
            self.fin_sent = True

    def queue_fin(self) -> None:
        """Queue a FIN behind the data. No data may be queued after it."""
        self.fin_queued = True

    def mark_urgent(self) -> None:
        """Mark all queued data as urgent (RFC 9293 3.10.2)."""
        self.snd_up = self.queued

    def payload(self, offset: int, size: int) -> Buffer:
        """Return `size` queued octets from stream `offset` on as one buffer, copied at most once."""
        starts = self._starts
        if starts[-1] == offset and len(self._chunks[-1]) == size:
            return self._chunks[-1]  # the usual case: a piece that leaves alone
        index = bisect_right(starts, offset, self._head) - 1
        chunk = self._chunks[index]
        begin = offset - starts[index]
        available = len(chunk) - begin
        if available >= size:
            if begin == 0 and available == size:
                return chunk
            return chunk[begin : begin + size] if size < _COPY_BELOW else memoryview(chunk)[begin : begin + size]
        return b"".join(self.pieces(offset, size))

    def pieces(self, offset: int, size: int) -> list[Buffer]:
        """Return `size` queued octets from stream `offset` on as views of the queue's pieces."""
        index = bisect_right(self._starts, offset, self._head) - 1
        chunk = self._chunks[index]
        begin = offset - self._starts[index]
        pieces: list[Buffer] = []
        while len(chunk) - begin < size:
            pieces.append(memoryview(chunk)[begin:] if begin else chunk)
            size -= len(chunk) - begin
            index += 1
            chunk = self._chunks[index]
            begin = 0
        pieces.append(memoryview(chunk)[begin : begin + size])
        return pieces

    def piece(self, offset: int) -> tuple[Buffer, int]:
        """Return the piece that contains stream `offset`, and the position in it."""
        index = bisect_right(self._starts, offset, self._head) - 1
        return self._chunks[index], offset - self._starts[index]

    def in_one_piece(self, offset: int) -> int:
        """Return the number of octets from stream `offset` to the end of its piece."""
        chunk, begin = self.piece(offset)
        return len(chunk) - begin

    def discard(self) -> None:
        """Drop the queue, because nothing will be sent any more."""
        self._chunks = _NO_CHUNKS
        self._starts = _NO_STARTS
        self._head = 0

    # ------------------------------------------------------------------ acknowledgement

    def acknowledge(self, ack: int, seq: int, window: int) -> int:
        """Move SND.UNA to `ack`, which lies in (SND.UNA, SND.NXT], and take the peer's window from this segment, with
        SEQ `seq`. Return the number of payload octets acknowledged."""
        octets = (ack - self.snd_una) & MASK
        self.snd_wl1 = seq
        self.snd_wl2 = ack
        self.snd_wnd = window
        if window > self.max_snd_wnd:
            self.max_snd_wnd = window
        if not self.syn_acked:
            self.syn_acked = True
            octets -= 1
        self.snd_una = ack
        self.probe = False
        if self.fin_sent and ack == self.snd_nxt:
            self.fin_acked = True
            octets -= 1
        if octets:
            self.acked += octets
            if self.acked == self.queued:
                self._chunks = _NO_CHUNKS
                self._starts = _NO_STARTS
                self._head = 0
            else:
                self._release()
        return octets

    def _release(self) -> None:
        """Release the acknowledged pieces. At least one piece is not acknowledged."""
        chunks, starts, acked = self._chunks, self._starts, self.acked
        head = self._head
        while starts[head] + len(chunks[head]) <= acked:
            chunks[head] = b""
            head += 1
        if head >= 64 and head * 2 >= len(chunks):
            del chunks[:head]
            del starts[:head]
            head = 0
        self._head = head

    def end_probe(self) -> None:
        """End the zero-window probe, because the window is open. Its octet counts as ordinary data in flight."""
        self.probe = False

    def open_window(self, seq: int, window: int, shift: int) -> None:
        """Take the window and scale of the peer's SYN. The window itself is not scaled (RFC 7323 2.2)."""
        self.snd_wl1 = seq
        self.snd_wl2 = self.iss
        self.snd_wnd = self.max_snd_wnd = window
        self.shift = shift

    def update_window(self, seq: int, ack: int, window: int) -> bool:
        """Take the window of a segment that acknowledges nothing new, unless it is older than the one that set the
        window. Return whether the window changed.

        RFC 9293 3.10.7.4, fifth check, compares SEG.SEQ first, and therefore misses the window of a retransmission with
        a higher ACK, so that data would be sent beyond the true window. A segment with a higher ACK is always newer.
        """
        ahead = (ack - self.snd_wl2) & MASK
        if ahead >= HALF or (ahead == 0 and (seq - self.snd_wl1) & MASK >= HALF):
            return False
        self.snd_wl1 = seq
        self.snd_wl2 = ack
        changed = window != self.snd_wnd
        self.snd_wnd = window
        if window > self.max_snd_wnd:
            self.max_snd_wnd = window
        return changed

    def room_again(self) -> bool:
        """Return True if a third of the buffer is free, as in Linux, and clear `wanted`."""
        if self.space * 3 < self._in_force:
            return False
        self.wanted = False
        return True
