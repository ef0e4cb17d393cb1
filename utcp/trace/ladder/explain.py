"""Explanations of rungs in sentences and tables, for pages that step through a ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, TypedDict

from utcp.tcp import timers
from utcp.tcp.state import CLOSED, NAMES, TIME_WAIT, TRANSITIONS
from utcp.trace.comments import Comment, running_timers
from utcp.trace.ladder.rungs import ENDS, PEER, Arrow, End, Rung, duration, stays_in_time_wait
from utcp.trace.ladder.words import is_late
from utcp.wire import RST, SYN, flag_names

Facts: TypeAlias = tuple[tuple[str, str], ...]
"""Details as names and values, for readers."""

MEANING: Final = {
    timers.RETRANSMIT: "the oldest octet in flight was not acknowledged in time (RFC 6298)",
    timers.PERSIST: "the peer's window is closed, and a probe is due (RFC 9293 3.8.6.1)",
    timers.DELAYED_ACK: "the delayed ACK (RFC 9293 3.8.6.3), or the SACK of several out-of-order segments, is due",
    timers.KEEPALIVE: "the peer has sent nothing for the keepalive time (RFC 9293 3.8.4)",
    timers.FIN_WAIT_2: "the peer did not send its FIN in time",
    timers.USER_TIMEOUT: "data was not acknowledged within the user timeout (RFC 9293 3.8.3)",
    timers.LINGER: "the connection did not deliver its data within the linger time",
    timers.PROBE: "the last segments were not acknowledged, and a tail loss probe is due (RFC 8985 7)",
    timers.REORDER: "a segment did not arrive within the reordering window, and counts as lost (RFC 8985 6)",
    timers.PACING: "the next segments are due",
}


class EndNow(TypedDict):
    """An end at a step: its state (None: unknown), the transition at this step, the known variables, and the step (from
    1) from which they come."""

    state: int | None
    edge: str | None
    facts: Facts
    known: int


class Step(TypedDict):
    """One rung with its explanation. `fields` are those of the segment."""

    heading: str
    said: list[str]
    fields: list[tuple[str, str]]
    client: EndNow
    server: EndNow


class _Words:
    """The sentences, in English or translated by a mapping from the English ones, and the names of the ends."""

    def __init__(self, translated: Mapping[str, str], names: tuple[str, str]) -> None:
        self._translated = translated
        self.called: dict[End, str] = dict(zip(ENDS, names, strict=True))

    def say(self, sentence: str, /, **values: object) -> str:
        """Return a sentence with `values` filled in as by str.format()."""
        return self._translated.get(sentence, sentence).format(**values)


def explain(rungs: Sequence[Rung], names: tuple[str, str], translated: Mapping[str, str] | None = None) -> list[Step]:
    """Return a step for each rung.

    Args:
        rungs: the ladder.
        names: names of the two ends.
        translated: the sentences in another language, by the English ones; those that are absent stay English.
    """
    words = _Words(translated or {}, names)
    steps: list[Step] = []
    ends: dict[End, EndNow] = {end: {"state": None, "edge": None, "facts": (), "known": 0} for end in ENDS}
    stays = {(stay.last, stay.end): stay for stay in stays_in_time_wait(rungs)}
    is_reset = False  # whether the latest segment is an RST: in captures, the state follows in a rung of its own
    for index, rung in enumerate(rungs):
        arrow = rung.arrow
        if arrow is not None:
            is_reset = bool(arrow.flags & RST)
        said: list[str] = []
        moved: list[str] = []
        for end in ENDS:
            facts = () if arrow is None else _facts(arrow.at_sender if arrow.sender == end else arrow.at_receiver)
            before, after = ends[end]["state"], rung.state(end)
            now: EndNow = {**ends[end], "edge": None}
            ends[end] = now
            if facts:
                now["facts"], now["known"] = facts, index + 1
            if after is not None and after != before:
                now["state"], now["edge"] = after, None if before is None else f"{before}-{after}"
                if after in (CLOSED, TIME_WAIT):
                    now["facts"], now["known"] = (), 0
                moved.append(_transition(words, end, before, after, forced=is_reset or rung.expired is not None))
                if (index, end) in stays:
                    stay = stays[index, end]
                    lasted = duration(stay.ended - stay.began)
                    moved.append(words.say("It was in TIME_WAIT for {time}.", time=lasted))
        if arrow is not None:
            said += _fate(words, arrow, is_late(rungs, index))
        if rung.expired is not None:
            end, timer = rung.expired
            said.append(_expiry(words, end, timer))
        if rung.note is not None:
            said.append(rung.note)
        steps.append(
            {
                "heading": _heading(words, index, rung),
                "said": said + moved,
                "fields": [] if arrow is None else _fields(words, arrow),
                "client": ends["client"],
                "server": ends["server"],
            }
        )
    return steps


def _heading(words: _Words, index: int, rung: Rung) -> str:
    arrow = rung.arrow
    if arrow is not None:
        return f"{words.called[arrow.sender]} → {words.called[PEER[arrow.sender]]}: {flag_names(arrow.flags)}"
    if rung.note is not None:
        return words.say("Note")
    return words.say("A state changes" if index else "The beginning")


def _fate(words: _Words, arrow: Arrow, late: bool) -> list[str]:
    said = []
    if arrow.timer is not None:
        said.append(_expiry(words, arrow.sender, arrow.timer))
    if arrow.retransmission:
        said.append(words.say("It is a retransmission."))
    if arrow.received is None:
        said.append(words.say("It is lost."))
    elif arrow.sent is None:
        said.append(
            words.say(
                "It arrives without having been sent: the network has duplicated it, or it is older than the ladder."
            )
        )
    elif arrow.received > arrow.sent:
        said.append(words.say("It arrives {time} later.", time=duration(arrow.received - arrow.sent)))
    if late:
        said.append(words.say("A segment that was sent later has arrived before it."))
    return said


def _expiry(words: _Words, end: End, timer: int) -> str:
    return words.say(
        "The timer {timer} of the {end} has expired: {meaning}.",
        timer=words.say(timers.NAMES[timer]),
        end=words.called[end],
        meaning=words.say(MEANING[timer]),
    )


def _transition(words: _Words, end: End, before: int | None, after: int, *, forced: bool) -> str:
    """Return a transition in words. LAST_ACK has two to CLOSED; an RST or a timer is the cause of the one by force."""
    name = words.called[end]
    if before is None:
        return words.say("The {end} is in {state}.", end=name, state=NAMES[after])
    states = {"before": NAMES[before], "after": NAMES[after]}
    for transition in reversed(TRANSITIONS) if forced else TRANSITIONS:
        if (transition.before, transition.after) == (before, after):
            return words.say(
                "The {end} goes from {before} to {after}: {event} ({source}).",
                end=name,
                event=words.say(transition.event),
                source=words.say(transition.source),
                **states,
            )
    return words.say("The {end} goes from {before} to {after}.", end=name, **states)


def _fields(words: _Words, arrow: Arrow) -> list[tuple[str, str]]:
    """Return the header fields, with the RFCs' names; relative numbers, and after them those on the wire."""
    fields = [("control bits", flag_names(arrow.flags))]
    last = arrow.seq + arrow.length - 1
    fields.append(
        ("SEQ", words.say("{first} to {last}", first=arrow.seq, last=last) if arrow.length > 1 else str(arrow.seq))
    )
    if arrow.ack is not None:
        fields.append(("ACK", str(arrow.ack)))
    fields.append(("octets of data", str(arrow.length)))
    segment = arrow.segment
    if segment is None:
        return _named(words, fields)
    fields += [("SEQ on the wire", str(segment.seq)), ("window field", str(segment.window))]
    if segment.flags & SYN:
        if segment.mss is not None:
            fields.append(("MSS", str(segment.mss)))
        if segment.window_scale is not None:
            fields.append(("window scale", str(segment.window_scale)))
        if segment.sack_permitted:
            fields.append(("SACK", words.say("permitted")))
    if segment.ts_val is not None:
        fields.append(("TSval, TSecr", f"{segment.ts_val}, {segment.ts_ecr or 0}"))
    if segment.sack_blocks:
        fields.append(("SACK", ", ".join(f"{left}:{right}" for left, right in segment.sack_blocks)))
    if segment.urgent:
        fields.append(("urgent pointer", str(segment.urgent)))
    return _named(words, fields)


def _named(words: _Words, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(words.say(name), value) for name, value in fields]


def _facts(comment: Comment) -> Facts:
    """Return the variables of an end."""
    octets = (
        ("cwnd", comment.get("cwnd")),
        ("ssthresh", comment.get("ssthresh")),
        ("in flight", comment.get("in_flight")),
        ("SND.WND", comment.get("snd_wnd")),
        ("RCV.WND", comment.get("rcv_wnd")),
    )
    facts = [(name, str(value)) for name, value in octets if value is not None]
    seconds = (("SRTT", comment.get("srtt")), ("RTO", comment.get("rto")))
    facts += [(name, duration(value)) for name, value in seconds if value is not None]
    for name, left in running_timers(comment).items():
        if name != "pacing":
            facts.append((f"timer {name}", duration(left)))
    return tuple(facts)
