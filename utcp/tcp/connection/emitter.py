"""Sending a segment: `pack` makes its header, `emit` updates the state of the connection and adds it to a train."""

from __future__ import annotations

from typing import Final

from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.transmit import Buffer, Outbox
from utcp.wire import HEADER_LENGTH
from utcp.wire.header import HEADER, HEADER_WITH_TIMESTAMPS
from utcp.wire.options import ALIGNED_TIMESTAMPS, TIMESTAMPS_LENGTH
from utcp.wire.segment import NOT_ECT
from utcp.wire.seq import MASK

_PLAIN_OFFSET: Final = HEADER_LENGTH << 10
_TIMESTAMPS_OFFSET: Final = (HEADER_LENGTH + TIMESTAMPS_LENGTH) << 10


def pack(tcb: Tcb, seq: int, flags: int, now: float, urgent: int = 0) -> bytes:
    """Return a header with our ACK and window, and with timestamps, if negotiated, as its only option. It echoes a
    congestion mark. The right edge of the window moves, so that the segment must leave."""
    receive = tcb.receive_side
    window = receive.offer_window()
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


def emit(
    tcb: Tcb,
    header: bytes,
    payload: Buffer | None,
    size: int,
    now: float,
    outbox: Outbox,
    after: int = 0,
    ecn: int = NOT_ECT,
) -> int:
    """Send a segment with our ACK and `size` octets of `payload`, in train `after` or a later one. Return the index of
    its train."""
    stack, receive = tcb.stack, tcb.receive_side
    if receive.ack_due:  # the segment carries our ACK, so that no other ACK is due except a delayed SACK
        receive.acknowledged()
    stack.counters.out_segs += 1
    if stack.tap is not None:
        stack.tap.segment_sent(tcb.remote, [header] if payload is None else [header, payload], now)
    return outbox.add(tcb.remote, header, payload, len(header) + size, after, ecn)


def note_train(tcb: Tcb, count: int) -> None:
    """Update the state of the connection for a train of `count` segments with text, as `emit` does for one segment."""
    receive = tcb.receive_side
    if receive.ack_due:
        receive.acknowledged()
    tcb.stack.counters.out_segs += count
