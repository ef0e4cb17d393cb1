"""What a captured packet's comment says of the connection that the segment met: written and read back.

    client direction=out state=ESTABLISHED timer=retransmit retransmits=2 retransmission cwnd=1448 ssthresh=2896
    snd_wnd=65535 rcv_wnd=131072 in_flight=1448 srtt=0.0123 rto=0.8 running=retransmit:0.8 lost

(in one line). It is text to be read in Wireshark, and the form is fixed so that programs can read it: the end's name
first, if it is known; then `key=value` pairs and bare words, separated by single spaces. What is unknown is absent.
"""

from __future__ import annotations

from typing import Any, Final, TypedDict


class Comment(TypedDict, total=False):
    """The keys, in the order in which they are written. Seconds and octets."""

    role: str
    """The name of the end that saw the segment: "client", "server", or a simulated host's."""
    direction: str
    """"out" where it was sent, "in" where it was received."""
    state: str
    """The connection's: for a segment received, before anything was done about it; for one sent, after what led to
    it. LISTEN, TIME_WAIT and CLOSED where there was no connection."""
    timer: str
    """The timer (`utcp.tcp.timers.NAMES`) that had expired and brought the segment about."""
    retransmits: int
    """Timeouts in a row without progress, where there are any."""
    retransmission: bool
    """A bare word: it repeats what was sent before."""
    cwnd: int
    ssthresh: int
    """Absent while it is unlimited."""
    snd_wnd: int
    """What the peer offers, scaled; `rcv_wnd`: what was last offered to it."""
    rcv_wnd: int
    in_flight: int
    srtt: float
    rto: float
    running: str
    """The timers that run, and the seconds left of each: `retransmit:0.198,keepalive:7200`."""
    lost: bool
    """A bare word, of simulated networks: it did not arrive."""
    duplicated: bool
    """A bare word, of simulated networks: it arrived more than once."""
    flight: str
    """Of simulated networks: for how many seconds it was under way; with commas between them, of each that arrived."""


_TEXTS: Final = frozenset(("direction", "state", "timer", "running", "flight"))
_INTEGERS: Final = frozenset(("retransmits", "cwnd", "ssthresh", "snd_wnd", "rcv_wnd", "in_flight"))
_SECONDS: Final = frozenset(("srtt", "rto"))
_WORDS: Final = frozenset(("retransmission", "lost", "duplicated"))
_ORDER: Final = tuple(key for key in Comment.__annotations__ if key != "role")


def format_comment(comment: Comment) -> str:
    """The text; empty for an empty comment. Times are rounded to microseconds."""
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
    """What `text` says, as far as it is of this form: comments of other programs, which say nothing of it, give {}.

    Keys and words that are not known are left out, and so are values that make no sense.
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
    elif len(found) != len(words):  # prose in which one of our words happens to stand
        found = {}
    comment: Comment = {}
    comment.update(found)  # type: ignore[typeddict-item]  # its keys are those of Comment
    return comment


def flights_of(comment: Comment) -> list[float]:
    """For how many seconds the segment was under way, as often as it arrived; empty where the comment does not tell."""
    found = []
    for flight in comment.get("flight", "").split(","):
        if not (flight.replace(".", "", 1).isdecimal() and flight.isascii()):
            return []
        found.append(float(flight))
    return found


def seconds(value: float) -> str:
    """To the microsecond, without zeros at the end, and never with an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
