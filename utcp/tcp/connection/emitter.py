"""Sending a segment: `emit` packs its header, and `put` updates the state of the connection and adds it to a train."""

from __future__ import annotations

from typing import Final

from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.transmit import Buffer, Outbox
from utcp.wire import HEADER_LENGTH
from utcp.wire.header import HEADER, HEADER_WITH_TIMESTAMPS
from utcp.wire.options import ALIGNED_TIMESTAMPS, TIMESTAMPS_LENGTH
from utcp.wire.segment import NOT_ECT

_PLAIN_OFFSET: Final = HEADER_LENGTH << 10
_TIMESTAMPS_OFFSET: Final = (HEADER_LENGTH + TIMESTAMPS_LENGTH) << 10


def pack(tcb: Tcb, seq: int, ack: int, flags: int, window: int, ts_val: int, ts_ecr: int, urgent: int) -> bytes:
    """Return a header with timestamps, if negotiated, as its only option. It echoes a congestion mark."""
    if tcb.timestamps:
        return HEADER_WITH_TIMESTAMPS.pack(
            tcb.local_port,
            tcb.remote_port,
            seq,
            ack,
            _TIMESTAMPS_OFFSET | flags | tcb.ecn.echo,
            window,
            0,
            urgent,
            ALIGNED_TIMESTAMPS,
            ts_val,
            ts_ecr,
        )
    return HEADER.pack(
        tcb.local_port, tcb.remote_port, seq, ack, _PLAIN_OFFSET | flags | tcb.ecn.echo, window, 0, urgent
    )


def emit(
    tcb: Tcb,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    ts_val: int,
    ts_ecr: int,
    payload: Buffer | None,
    size: int,
    now: float,
    outbox: Outbox,
    after: int,
    urgent: int = 0,
    ecn: int = NOT_ECT,
) -> int:
    """Send a segment with `size` octets of `payload`, in train `after` or a later one. Return the train's index."""
    header = pack(tcb, seq, ack, flags, window, ts_val, ts_ecr, urgent)
    return put(tcb, header, payload, len(header) + size, now, outbox, after, ecn)


def put(
    tcb: Tcb, header: bytes, payload: Buffer | None, size: int, now: float, outbox: Outbox, after: int, ecn: int = 0
) -> int:
    """Send a segment with a packed header, like `emit`. `size` is the length of the whole segment, octets."""
    stack, receive = tcb.stack, tcb.receive_side
    if receive.ack_due:  # the segment carries our ACK, so that no other ACK is due except a delayed SACK
        receive.acknowledged()
    stack.counters.out_segs += 1
    if stack.tap is not None:
        stack.tap.segment_sent(tcb.remote, [header] if payload is None else [header, payload], now)
    return outbox.add(tcb.remote, header, payload, size, after, ecn)


def note_train(tcb: Tcb, count: int) -> None:
    """Update the state of the connection for a train of `count` segments with text, as `put` does for one segment."""
    receive = tcb.receive_side
    if receive.ack_due:
        receive.acknowledged()
    tcb.stack.counters.out_segs += count
