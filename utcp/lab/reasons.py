"""Why an end did what it did with a segment, and the section that requires it, from what the stack counted and changed.

The stack decides. Its states, variables and counters before and after a segment show which rule it has applied.
"""

from __future__ import annotations

from typing import NamedTuple

from utcp.lab.probe import Around, Snapshot
from utcp.lab.words import tables
from utcp.scenes.text import Text
from utcp.tcp.state import CLOSED, LAST_ACK, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.trace.ladder import Arrow
from utcp.trace.ladder.told import TWO_MSL
from utcp.wire import ACK, FIN, RST, SYN


class Reason(NamedTuple):
    """A decision in words, and the section of the specification."""

    said: Text
    source: str


def _reason(key: str) -> Reason:
    table = tables("reasons")[key]
    return Reason(Text(table["en"], table["zh"]), table["source"])


def received(arrow: Arrow, around: Around) -> list[Reason]:
    """Return what the receiver decided about a segment."""
    before, after = around.before, around.after
    if before is None or after is None:
        return []
    return [_reason(key) for key in _keys(arrow, before, after)]


def _keys(arrow: Arrow, before: Snapshot, after: Snapshot) -> list[str]:
    """Return the rules by name, in the order of the checks."""
    flags, state = arrow.flags, before.state
    if state in (CLOSED, LISTEN):
        return [_without_connection(flags, state)]
    if state == TIME_WAIT:
        return [_in_time_wait(flags, before, after)]
    if state == SYN_SENT:
        return [_in_syn_sent(arrow)]
    if _grew("syn_challenges", before, after):
        return ["syn_challenged"]
    if flags & SYN and not flags & RST:
        if state == LAST_ACK and _grew("out_rsts", before, after):
            return ["syn_in_last_ack"]
        if state == SYN_RCVD:
            return ["syn_again"]
    if _grew("paws_drops", before, after):
        return ["paws"]
    if flags & RST:
        if _grew("challenge_acks", before, after):
            return ["rst_challenged"]
        return ["rst_accepted" if before.state != after.state else "rst_outside"]
    if _grew("aborts_on_data", before, after):
        return ["data_after_close"]
    if _grew("challenge_acks", before, after):
        return ["unacceptable"]
    return _in_order(arrow, before, after)


def _in_order(arrow: Arrow, before: Snapshot, after: Snapshot) -> list[str]:
    """Return the rules for a segment that passed the checks of SYN and RST."""
    keys = []
    start, flags = before.numbers.get("RCV.NXT", 0), arrow.flags
    length = arrow.length + bool(flags & FIN)
    end = arrow.seq + length
    if not flags & ACK:
        return ["no_ack"]
    if after.numbers.get("SND.UNA", -1) > before.numbers.get("SND.UNA", 0) or (
        before.state != after.state and not after.numbers
    ):
        keys.append("ack_new")
    if length and end <= start:
        keys.append("old_data")
    elif length and arrow.seq > start:
        keys.append("out_of_order")
    elif length and arrow.length:
        keys.append("text_in_order" if arrow.seq == start else "text_overlaps")
    if flags & FIN and arrow.seq <= start < end:
        keys.append("fin")
    return keys or ["ack_nothing"]


def _without_connection(flags: int, state: int) -> str:
    if flags & RST:
        return "closed_rst"
    if state == LISTEN:
        return "listen_ack" if flags & ACK else ("listen_syn" if flags & SYN else "listen_other")
    return "closed_ack" if flags & ACK else "closed_other"


def _in_time_wait(flags: int, before: Snapshot, after: Snapshot) -> str:
    if _grew("time_wait_reuses", before, after):
        return "time_wait_reused"
    if flags & RST:
        return "time_wait_rst" if after.state == TIME_WAIT else "time_wait_ended_by_rst"
    if after.running.get(TWO_MSL, 0.0) > before.running.get(TWO_MSL, 0.0):
        return "time_wait_fin"
    if _grew("challenge_acks", before, after):
        return "time_wait_answered"
    return "time_wait_quiet"


def _in_syn_sent(arrow: Arrow) -> str:
    flags = arrow.flags
    if flags & ACK and arrow.ack != 1:
        return "syn_sent_rst_ignored" if flags & RST else "syn_sent_wrong_ack"
    if flags & RST:
        return "syn_sent_refused" if flags & ACK else "syn_sent_rst_ignored"
    if not flags & SYN:
        return "syn_sent_other"
    return "syn_sent_syn_ack" if flags & ACK else "syn_sent_syn"


def sent(arrow: Arrow) -> list[Reason]:
    """Return why a segment was sent, as far as its header shows it."""
    flags = arrow.flags
    if arrow.timer is not None:
        return []
    if flags & RST:
        return [_reason("sends_rst")]
    if flags & SYN:
        return [_reason("sends_syn_ack" if flags & ACK else "sends_syn")]
    if flags & FIN:
        return [_reason("sends_fin_with_data" if arrow.length else "sends_fin")]
    if arrow.length:
        return [_reason("sends_data")]
    return [_reason("sends_ack")]


def _grew(counter: str, before: Snapshot, after: Snapshot) -> bool:
    return after.counters[counter] > before.counters[counter]
