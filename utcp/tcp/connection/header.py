"""The header of a segment that carries our ACK."""

from __future__ import annotations

from typing import Final

from utcp.tcp.connection.tcb import Tcb
from utcp.wire import HEADER_LENGTH
from utcp.wire.header import HEADER, HEADER_WITH_TIMESTAMPS, PLAIN_HEADER_WITH_TIMESTAMPS
from utcp.wire.options import ALIGNED_TIMESTAMPS, TIMESTAMPS_LENGTH
from utcp.wire.seq import MASK

_PLAIN_OFFSET: Final = HEADER_LENGTH << 10
_TIMESTAMPS_OFFSET: Final = (HEADER_LENGTH + TIMESTAMPS_LENGTH) << 10


def pack(tcb: Tcb, seq: int, flags: int, now: float, urgent: int = 0) -> bytes:
    """Return a header with our ACK and window, and with timestamps, if negotiated, as its only option. It echoes a
    congestion mark. This records the ACK as sent, and moves the right edge of the window, so that the segment must
    leave."""
    receive = tcb.receive_side
    window = receive.acknowledge()
    if tcb.timestamps and not urgent:
        return PLAIN_HEADER_WITH_TIMESTAMPS.pack(
            tcb.local_port,
            tcb.remote_port,
            seq,
            receive.rcv_nxt,
            _TIMESTAMPS_OFFSET | flags | tcb.ecn.echo,
            window,
            ALIGNED_TIMESTAMPS,
            (int(now * 1000) + tcb.ts_offset) & MASK,
            receive.ts_recent,
        )
    if tcb.timestamps:
        return HEADER_WITH_TIMESTAMPS.pack(
            tcb.local_port,
            tcb.remote_port,
            seq,
            receive.rcv_nxt,
            _TIMESTAMPS_OFFSET | flags | tcb.ecn.echo,
            window,
            0,
            urgent,
            ALIGNED_TIMESTAMPS,
            (int(now * 1000) + tcb.ts_offset) & MASK,
            receive.ts_recent,
        )
    return HEADER.pack(
        tcb.local_port, tcb.remote_port, seq, receive.rcv_nxt, _PLAIN_OFFSET | flags | tcb.ecn.echo, window, 0, urgent
    )
