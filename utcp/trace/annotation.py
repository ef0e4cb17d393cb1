"""Comments on captured packets, with the state of the connection that handled the segment: formatting and parsing.

    client direction=out state=ESTABLISHED timer=retransmit retransmits=2 retransmission cwnd=1448 ssthresh=2896
    snd_wnd=65535 rcv_wnd=131072 in_flight=1448 srtt=0.0123 rto=0.8 running=retransmit:0.8 lost

(in one line). People read the text in Wireshark. Its form is fixed, so that programs can read it too: first the name of
the end, if known, then `key=value` pairs and bare words, separated by single spaces. Unknown values are absent.
"""

from __future__ import annotations

from typing import Any, Final, TypedDict


class Comment(TypedDict, total=False):
    """The keys in their order of output. Values are in seconds and octets."""

    role: str
    """The name of the end that captured the segment: "client", "server", or a simulated host's name."""
    direction: str
    """"out" for a sent segment, "in" for a received one."""
    state: str
    """The connection's state, before processing for a received segment, after the causing event for a sent one. LISTEN,
    TIME_WAIT or CLOSED if there was no connection."""
    timer: str
    """The expired timer (`utcp.tcp.timers.NAMES`) that caused the segment."""
    retransmits: int
    """Consecutive timeouts without progress; absent if 0."""
    retransmission: bool
    """A bare word on a segment that repeats earlier data."""
    cwnd: int
    ssthresh: int
    """Slow start threshold, octets; absent while unlimited."""
    snd_wnd: int
    """The window that the peer offers, scaled, octets. `rcv_wnd` is the window last offered to the peer."""
    rcv_wnd: int
    in_flight: int
    srtt: float
    rto: float
    running: str
    """The running timers with their remaining seconds: `retransmit:0.198,keepalive:7200`."""
    lost: bool
    """A bare word, in simulated networks only: the segment did not arrive."""
    duplicated: bool
    """A bare word, in simulated networks only: the segment arrived more than once."""
    flight: str
    """Transit time of each arrival, seconds, separated by commas; in simulated networks only."""


_TEXTS: Final = frozenset(("direction", "state", "timer", "running", "flight"))
_INTEGERS: Final = frozenset(("retransmits", "cwnd", "ssthresh", "snd_wnd", "rcv_wnd", "in_flight"))
_SECONDS: Final = frozenset(("srtt", "rto"))
_WORDS: Final = frozenset(("retransmission", "lost", "duplicated"))
_ORDER: Final = tuple(key for key in Comment.__annotations__ if key != "role")


def format_comment(comment: Comment) -> str:
    """Return the text of a comment, empty for an empty one. Times are rounded to microseconds."""
    values: dict[str, Any] = dict(comment)
    parts = ["_".join(comment["role"].split())] if comment.get("role") else []
    for key in _ORDER:
        value = values.get(key)
        if value is None or value is False:
            continue
        if key in _WORDS:
            parts.append(key)
        elif key in _SECONDS:
            parts.append(f"{key}={seconds(value)}")
        else:
            parts.append(f"{key}={value}")
    return " ".join(parts)


def parse_comment(text: str) -> Comment:
    """Return the comment that `text` contains, or {} for the comment of another program.

    Unknown keys and words and invalid values are left out.
    """
    found: dict[str, Any] = {}
    words = text.split()
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            if key in _WORDS:
                found[key] = True
        elif key in _TEXTS and value:
            found[key] = value
        elif key in _INTEGERS and value.isascii() and value.isdecimal():
            found[key] = int(value)
        elif key in _SECONDS and value.replace(".", "", 1).isdecimal() and value.isascii():
            found[key] = float(value)
    if "state" in found or "direction" in found:
        first = words[0]
        if "=" not in first and first not in _WORDS:
            found["role"] = first
    elif len(found) != len(words):  # prose that happens to contain one of the words
        found = {}
    comment: Comment = {}
    comment.update(found)  # type: ignore[typeddict-item]  # the keys are those of Comment
    return comment


def flights_of(comment: Comment) -> list[float]:
    """Return the transit time of each arrival of the segment, seconds; empty if the comment has none."""
    found = []
    for flight in comment.get("flight", "").split(","):
        if not (flight.replace(".", "", 1).isdecimal() and flight.isascii()):
            return []
        found.append(float(flight))
    return found


def seconds(value: float) -> str:
    """Return `value` with microsecond precision, without trailing zeros or exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
