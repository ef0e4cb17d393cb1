"""SEGMENT ARRIVES in TIME_WAIT (RFC 9293 3.10.7.4), where a record represents the connection."""

from __future__ import annotations

from typing import Final

from utcp.tcp.connection.context import Context
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.rate_limit import TO_ACK, TO_RST, TO_SYN
from utcp.tcp.time_wait import ConnectionKey, TimeWait, TimeWaitTable, is_newer
from utcp.wire import ACK, FIN, RST, SYN, Segment
from utcp.wire.seq import MASK, diff, lt

STAYS: Final = 0
"""TIME_WAIT continues."""
ENDS: Final = 1
"""TIME_WAIT ends."""
REOPENS: Final = 2
"""TIME_WAIT ends, because the segment is a SYN that opens a new connection."""


def arrives_in_time_wait(
    stack: Context[Tcb],
    table: TimeWaitTable,
    segment: Segment,
    key: ConnectionKey,
    record: TimeWait,
    may_open: bool,
    now: float,
) -> int:
    """Process a segment in TIME_WAIT (RFC 9293 3.10.7.4, RFC 1337, RFC 5961, RFC 6191). Return STAYS, ENDS or REOPENS.

    A retransmitted FIN of the peer restarts the 2 MSL, with or without text before it. Retransmitted text without the
    FIN begins before RCV.NXT; the first check answers it with an ACK, and the 2 MSL do not restart.

    Args:
        stack: the stack, which sends the answer.
        table: the TIME_WAIT table that contains `record`.
        segment: the received segment.
        key: the remote, the remote port and the local port.
        record: the TIME_WAIT record of the connection.
        may_open: a listener would accept a new connection.
        now: the stack's time, seconds.
    """
    flags = segment.flags
    offset = diff(segment.seq, record.rcv_nxt)
    length = segment.length
    if flags & RST:  # RFC 1337, or RFC 5961 3.2
        if stack.config.rfc1337 or not 0 <= offset < max(record.rcv_wnd, 1):
            return STAYS
        if offset == 0:
            return ENDS
        proves_nothing = True
        kind = TO_RST
    elif flags & SYN:
        if (
            not flags & ACK
            and may_open
            and stack.config.time_wait_reuse
            and is_newer(segment, record, stack.config.timestamps)
        ):
            return REOPENS
        proves_nothing = True
        kind = TO_SYN
    else:
        old = record.timestamps and segment.ts_val is not None and lt(segment.ts_val, record.ts_recent)
        sane = flags & ACK and diff(segment.ack, record.snd_nxt) <= 0
        in_window = 0 <= offset < max(record.rcv_wnd, 1) or offset < 0 < offset + length
        if in_window and not old and not flags & ACK:  # fifth check: "if the ACK bit is off, drop the segment"
            return STAYS
        if offset == 0 and not length and sane and not old:
            return STAYS
        proves_nothing = not (flags & FIN and sane and offset + length == 0 and not old)
        kind = TO_ACK
    if not proves_nothing:  # our last ACK was lost
        ts_recent = record.ts_recent if segment.ts_val is None else segment.ts_val
        table.restart(key, now, ts_recent)
        record = record._replace(ts_recent=ts_recent)
    elif table.may_answer(key, kind, now, stack.config.challenge_ack_interval):
        stack.counters.challenge_acks += 1
    else:
        return STAYS
    timestamps = record.timestamps
    ts_offset = stack.sequence_numbers.initial(*key, now)[1] if timestamps else 0
    stack.put(
        key[0],
        Segment(
            segment.dst_port,
            segment.src_port,
            record.snd_nxt,
            record.rcv_nxt,
            ACK,
            record.window,
            ts_val=(int(now * 1000) + ts_offset) & MASK if timestamps else None,
            ts_ecr=record.ts_recent if timestamps else None,
        ),
        now,
    )
    return STAYS
