"""What must hold of the segments that one stack sends, beyond what `Watch` says: options, sizes, SACK blocks."""

from tests.properties.watch import Flow, Watch
from utcp.tcp.connection import Connection
from utcp.tcp.state import SYN_RCVD
from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import RST, SYN, Segment, decode
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.seq import diff


class Observing(Watch):
    """What `Watch` watches; and what a connection out of a SYN cookie looks like, SACK blocks, segment sizes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.retransmissions = 0

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        super().state_changed(connection, before, after, now)
        received = self.received
        if after == SYN_RCVD and received is not None and not received.flags & SYN:
            flow = self.flows[connection.key]
            flow.snd_nxt = 1  # a cookie was its SYN-ACK
            flow.allowed_edge = 1 + (received.window << connection.send_side.shift)

    def segment_sent(self, remote: Remote, buffers: list[Buffer], now: float) -> None:
        segment = decode(b"".join(buffers))
        if segment.flags & SYN and (remote, segment.dst_port, segment.src_port) not in self.flows:
            return  # a cookie
        super().segment_sent(remote, buffers, now)
        if segment.flags & (RST | SYN):
            return
        flow = self.flows[remote, segment.dst_port, segment.src_port]
        connection = flow.connection
        if connection.timestamps != (segment.ts_val is not None):
            self.fail(f"{segment!r}: timestamps on every segment, or on none")
        size = len(segment.payload) + TIMESTAMPS_LENGTH * connection.timestamps
        if size > min(connection.receive_mss, connection.peer_mss):
            self.fail(f"{segment!r} is larger than the MSS: {size}")
        self._check_blocks(flow, segment)

    def _check_blocks(self, flow: Flow, segment: Segment) -> None:
        """RFC 2018 4: beyond the ACK, within the window, apart from each other; but for the first, which may be a
        duplicate."""
        blocks = segment.sack_blocks
        if blocks and not flow.connection.sack:
            self.fail(f"{segment!r} has SACK blocks that nobody permitted")
        edge = flow.offered_edge or 0
        seen: list[tuple[int, int]] = []
        for index, (left, right) in enumerate(blocks):
            start, end = diff(left, flow.irs), diff(right, flow.irs)
            if not 0 < start < end <= edge:
                self.fail(f"{segment!r}: block {start}:{end} of what nobody could send (edge {edge})")
            if index == 0 and (
                start < diff(segment.ack, flow.irs)
                or (len(blocks) > 1 and diff(blocks[1][0], flow.irs) <= start and end <= diff(blocks[1][1], flow.irs))
            ):
                continue
            if start <= diff(segment.ack, flow.irs):
                self.fail(f"{segment!r}: block {start}:{end} is acknowledged")
            if any(start <= other[1] and other[0] <= end for other in seen):
                self.fail(f"{segment!r}: blocks that touch")
            seen.append((start, end))

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        self.retransmissions += 1
