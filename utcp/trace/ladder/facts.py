"""Details of a segment and of the ends that sent and received it, in words for readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from utcp.trace.annotation import Comment
from utcp.trace.ladder.rungs import Facts, duration
from utcp.wire import SYN, Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

_UNLIMITED: Final = 1 << 30
"""Value from which on ssthresh counts as unlimited."""


def header_fields(segment: Segment) -> Facts:
    """Return the header fields that a label leaves out, with the RFCs' names and the numbers on the wire."""
    fields = [("SEQ on the wire", str(segment.seq)), ("window field", str(segment.window))]
    if segment.flags & SYN:
        if segment.mss is not None:
            fields.append(("MSS", str(segment.mss)))
        if segment.window_scale is not None:
            fields.append(("window scale", str(segment.window_scale)))
        if segment.sack_permitted:
            fields.append(("SACK", "permitted"))
    if segment.ts_val is not None:
        fields.append(("TSval, TSecr", f"{segment.ts_val}, {segment.ts_ecr or 0}"))
    if segment.sack_blocks:
        fields.append(("SACK", ", ".join(f"{left}:{right}" for left, right in segment.sack_blocks)))
    if segment.urgent:
        fields.append(("urgent pointer", str(segment.urgent)))
    return tuple(fields)


def connection_facts(connection: Connection, now: float) -> Facts:
    """Return the variables of `connection` at `now` that explain its sending."""
    info = connection.info(now)
    return _variables(
        info.snd_cwnd,
        info.snd_ssthresh if info.snd_ssthresh < _UNLIMITED else None,
        info.in_flight,
        info.snd_wnd,
        info.rcv_wnd,
        info.rtt or None,
        info.rto,
        ", ".join(f"{name} in {duration(left)}" for name, left in info.timers.items() if name != "pacing"),
    )


def comment_facts(comment: Comment) -> Facts:
    """Return the variables that the comment of a captured packet contains."""
    running = []
    for timer in comment.get("running", "").split(","):
        name, colon, left = timer.partition(":")
        if colon and left.replace(".", "", 1).isdecimal() and left.isascii():
            running.append(f"{name} in {duration(float(left))}")
    return _variables(
        comment.get("cwnd"),
        comment.get("ssthresh"),
        comment.get("in_flight"),
        comment.get("snd_wnd"),
        comment.get("rcv_wnd"),
        comment.get("srtt"),
        comment.get("rto"),
        ", ".join(running),
    )


def _variables(
    cwnd: int | None,
    ssthresh: int | None,
    in_flight: int | None,
    snd_wnd: int | None,
    rcv_wnd: int | None,
    srtt: float | None,
    rto: float | None,
    running: str,
) -> Facts:
    octets = (
        ("cwnd", cwnd),
        ("ssthresh", ssthresh),
        ("in flight", in_flight),
        ("SND.WND", snd_wnd),
        ("RCV.WND", rcv_wnd),
    )
    facts = [(name, str(value)) for name, value in octets if value is not None]
    facts += [(name, duration(value)) for name, value in (("SRTT", srtt), ("RTO", rto)) if value is not None]
    if running:
        facts.append(("timers", running))
    return tuple(facts)
