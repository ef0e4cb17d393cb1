"""The RSTs with which this side ends a connection (RFC 9293 3.10.5, 3.5.2)."""

from __future__ import annotations

from utcp.errors import ConnectionAborted
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.state import SYN_RCVD, SYN_SENT
from utcp.wire import ACK, RST, Segment


def send_reset(tcb: Tcb, error: OSError | None, now: float, *, with_ack: bool = False, in_reply: bool = False) -> None:
    """Send RST, and end the connection with `error`. The RST is <SEQ=SND.NXT><CTL=RST> (RFC 9293 3.10.5), with SEQ
    limited to the peer's window. In SYN_SENT no RST is sent.

    Args:
        tcb: the connection.
        error: the error for the user; None: the user requested the reset.
        now: the stack's time, seconds.
        with_ack: the RST acknowledges the received data.
        in_reply: the RST answers a segment, and its SEQ is SEG.ACK (RFC 9293 3.5.2, group 1). That is exact unless data
            in flight arrives first. For that case a second RST has SEQ=SND.NXT. The peer drops one of the two.
    """
    if tcb.state == SYN_SENT:
        tcb.fail(error, now)
        return
    stack, send, receive = tcb.stack, tcb.send_side, tcb.receive_side
    if tcb.state != SYN_RCVD:
        stack.counters.estab_resets += 1
    seq = send.acceptable_seq
    for number in (send.snd_una, seq) if in_reply and seq != send.snd_una else (seq,):
        segment = Segment(
            tcb.local_port,
            tcb.remote_port,
            number,
            receive.rcv_nxt if with_ack else 0,
            RST | ACK if with_ack else RST,
            ts_val=tcb.ts_now(now) if tcb.timestamps else None,
            ts_ecr=receive.ts_recent if tcb.timestamps else None,
        )
        send.note_empty()
        stack.put(tcb.remote, segment, now, unverified=tcb.unverified)
    tcb.fail(error, now)


def refuse(tcb: Tcb, now: float) -> None:
    """Send RST for a half-open passive connection, and drop it (RFC 9293 3.10.5, SYN-RECEIVED)."""
    reset = Segment(tcb.local_port, tcb.remote_port, tcb.send_side.snd_nxt, 0, RST)
    tcb.stack.put(tcb.remote, reset, now, unverified=True)
    tcb.drop_half_open(now)


def undelivered(tcb: Tcb, reason: str) -> OSError | None:
    """Return the error of a reset that this side causes for `reason`; None if all data of the user was acknowledged."""
    if not tcb.send_queue:
        return None
    return ConnectionAborted(f"Connection aborted: {reason}, {tcb.send_queue} octets of ours were unacknowledged")
