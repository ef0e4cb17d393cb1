"""Comments on captured packets, with the state of the connection that handled the segment: writing and parsing.

    client direction=out state=ESTABLISHED timer=retransmit retransmits=2 retransmission cwnd=1448 ssthresh=2896
    snd_wnd=65535 rcv_wnd=131072 in_flight=1448 srtt=0.0123 rto=0.8 running=retransmit:0.8 lost

(in one line). People read the text in Wireshark. Its form is fixed, so that programs can read it too: first the name of
the end, if known, then `key=value` pairs and bare words, separated by single spaces. Unknown values are absent.

A packet has one comment for each end that is known: a line of the sender, and a line for each arrival. `iss` and `irs`
identify the connection that sent or handled the segment, because several connections may use the same ports.
"""

from __future__ import annotations

from math import inf
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, get_type_hints

from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.observer import Observer
from utcp.tcp.state import CLOSED, NAMES, SYN_SENT, TIME_WAIT
from utcp.tcp.timers import NAMES as TIMER_NAMES
from utcp.tcp.transmit import Buffer, Remote
from utcp.wire import Segment

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection
    from utcp.tcp.stack import Stack
    from utcp.tcp.time_wait import ConnectionKey

FLUSH: Final = 0.05
"""Seconds within which segments caused by a timer are sent, because they leave in the next turn of the loop. Later
segments are caused by the application or by the peer."""

_LONGEST_NUMBER: Final = 20
"""Maximum number of digits of a value. A longer one is invalid, so that arithmetic with values does not overflow."""

_PORTS_AND_SEQ: Final = Struct("!HHI")


class Comment(TypedDict, total=False):
    """The keys in their order of output. Values are in seconds and octets. A true bool is a bare word in the text."""

    role: str
    """The name of the end that captured the segment: "client", "server", or a simulated host's name."""
    direction: str
    """"out" for a sent segment, "in" for a received one."""
    state: str
    """The connection's state, before processing for a received segment, after the causing event for a sent one. LISTEN,
    TIME_WAIT or CLOSED if there was no connection."""
    iss: int
    irs: int
    """ISS and IRS of the connection (RFC 9293 3.3.1); absent if there was no connection. `irs` is also absent in
    SYN_SENT."""
    timer: str
    """The expired timer (`utcp.tcp.timers.NAMES`) that caused the segment."""
    retransmits: int
    """Consecutive timeouts without progress; absent if 0."""
    retransmission: bool
    """Whether the segment repeats earlier data."""
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
    """In simulated networks only: the segment did not arrive at a socket."""
    duplicated: bool
    """In simulated networks only: the segment arrived more than once."""
    copy: bool
    """In simulated networks only: the network delivered an earlier segment again, which its sender did not send."""
    flight: str
    """Transit time of each arrival, seconds, separated by commas; in simulated networks only."""
    closed: float
    """Seconds until the end entered CLOSED, if no other segment of the connection came before; in simulated networks
    only."""


_TYPES: Final[dict[str, type]] = {key: kind for key, kind in get_type_hints(Comment).items() if key != "role"}


def format_comment(comment: Comment) -> str:
    """Return the text of a comment, empty for an empty one. Times are rounded to microseconds."""
    values: dict[str, Any] = dict(comment)
    parts = ["_".join(comment["role"].split())] if comment.get("role") else []
    for key, kind in _TYPES.items():
        value = values.get(key)
        if value is not None and value is not False:
            parts.append(key if kind is bool else f"{key}={_seconds(value) if kind is float else value}")
    return " ".join(parts)


def parse_comment(text: str) -> Comment:
    """Return the comment that `text` contains, or {} for the comment of another program.

    Unknown keys and words and invalid values are left out.
    """
    found: dict[str, Any] = {}
    words = text.split()
    for word in words:
        key, equals, value = word.partition("=")
        kind = _TYPES.get(key)
        if kind is bool:
            if not equals:
                found[key] = True
        elif kind is str and value:
            found[key] = value
        elif kind is int and value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER:
            found[key] = int(value)
        elif kind is float and (seconds := _parsed_seconds(value)) is not None:
            found[key] = seconds
    if "state" in found or "direction" in found:
        first = words[0]
        if "=" not in first and _TYPES.get(first) is not bool:
            found["role"] = first
    elif len(found) != len(words):  # prose that happens to contain one of the words
        found = {}
    comment: Comment = {}
    comment.update(found)  # type: ignore[typeddict-item]  # the keys are those of Comment
    return comment


class PacketComments(NamedTuple):
    """The comments of one packet."""

    sender: Comment
    """The comment of the sender, also if only one end is known: {} if it is the receiver."""
    arrivals: list[Comment]
    """The comment of the receiver on each arrival."""
    remarks: tuple[str, ...]
    """Comments written by people."""


def packet_comments(text: str) -> PacketComments:
    """Return the comments of a packet, which are the lines of `text`."""
    sender: Comment = {}
    arrivals: list[Comment] = []
    remarks = []
    for line in text.splitlines():
        found = parse_comment(line)
        if found.get("direction") == "in":
            arrivals.append(found)
        elif found:
            sender.update(found)
        elif line.strip():
            remarks.append("".join(character if character.isprintable() else " " for character in line.strip()))
    return PacketComments(sender, arrivals, tuple(remarks))


def transit_times(comment: Comment) -> list[float]:
    """Return the transit time of each arrival of the segment, seconds; empty if the comment has none."""
    found = [_parsed_seconds(flight) for flight in comment.get("flight", "").split(",")]
    return [flight for flight in found if flight is not None] if None not in found else []


def running_timers(comment: Comment) -> dict[str, float]:
    """Return the remaining seconds of each running timer, by its name."""
    found = {}
    for timer in comment.get("running", "").split(","):
        name, _, left = timer.partition(":")
        seconds = _parsed_seconds(left)
        if seconds is not None:
            found[name] = seconds
    return found


def describe(connection: Connection, now: float) -> Comment:
    """Return the variables of `connection` that explain its sending."""
    congestion, rtt = connection.congestion, connection.rtt
    comment: Comment = {
        "state": NAMES[connection.state],
        "iss": connection.send_side.iss,
        "cwnd": connection.recovery.window,
    }
    if connection.retransmits:
        comment["retransmits"] = connection.retransmits
    if congestion.ssthresh < UNLIMITED:
        comment["ssthresh"] = congestion.ssthresh
    if connection.state != SYN_SENT:  # before, the peer's window and the start of the local window are unknown
        comment["snd_wnd"] = connection.send_side.snd_wnd
        comment["rcv_wnd"] = connection.receive_side.window
        comment["irs"] = connection.receive_side.irs
    comment["in_flight"] = connection.recovery.in_flight
    if rtt.samples:
        comment["srtt"] = rtt.srtt
    comment["rto"] = rtt.rto
    running = [
        f"{name}:{_seconds(max(0.0, deadline - now))}"
        for name, deadline in zip(TIMER_NAMES, connection.deadlines(), strict=True)
        if deadline != inf
    ]
    if running:
        comment["running"] = ",".join(running)
    return comment


class _Expiry:
    """A timer's expiry, and the segments sent because of it."""

    __slots__ = ("at", "left_at", "timer")

    def __init__(self, timer: int, at: float) -> None:
        self.timer = timer
        self.at = at
        self.left_at: float | None = None
        """The time at which the first of them was sent; the others are sent at the same time."""


class Commentary(Observer):
    """An observer of one stack that comments on its segments.

    Args:
        stack: the stack; None: all comments are empty.
        role: the name of this end; "": "client" or "server", depending on which end opened the connection.
    """

    def __init__(self, stack: Stack | None, role: str = "") -> None:
        self._stack = stack
        self._role = role
        self._expiries: dict[ConnectionKey, _Expiry] = {}
        self._waiting: dict[ConnectionKey, Comment] = {}
        """Name of the end, ISS and IRS, by connection in TIME_WAIT, whose record has none of these."""
        self._again: tuple[ConnectionKey, int] | None = None

    def timer_expired(self, connection: Connection, timer: int, now: float) -> None:
        self._expiries[connection.key] = _Expiry(timer, now)

    def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
        self._again = (connection.key, seq)

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        if after == TIME_WAIT:
            self._waiting[connection.key] = {
                "role": self._name(connection),
                "iss": connection.send_side.iss,
                "irs": connection.receive_side.irs,
            }
        elif after == CLOSED:
            self._expiries.pop(connection.key, None)
            self._waiting.pop(connection.key, None)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        self._waiting.pop((remote, remote_port, local_port), None)

    def on_sent(self, remote: Remote, header: Buffer, now: float) -> Comment:
        """Return the comment on a segment to be sent; `header` has its octets, or the first of them."""
        if self._stack is None:
            return {}
        local_port, remote_port, seq = _PORTS_AND_SEQ.unpack_from(header)
        key = (remote, remote_port, local_port)
        comment = self._on(self._stack, key, "out", now)
        expiry = self._expiries.get(key)
        if expiry is not None:
            if expiry.left_at is None and now - expiry.at <= FLUSH:
                expiry.left_at = now
            if expiry.left_at == now:
                comment["timer"] = TIMER_NAMES[expiry.timer]
            else:
                del self._expiries[key]
        if self._again == (key, seq):
            comment["retransmission"] = True
            self._again = None
        return comment

    def on_received(self, remote: Remote, segment: Segment, now: float) -> Comment:
        """Return the comment on a received segment, before the stack processes it."""
        if self._stack is None:
            return {}
        return self._on(self._stack, (remote, segment.src_port, segment.dst_port), "in", now)

    def _on(self, stack: Stack, key: ConnectionKey, direction: str, now: float) -> Comment:
        connection = stack.connections.get(key)
        if connection is not None:
            return {"direction": direction, "role": self._name(connection), **describe(connection, now)}
        comment: Comment = {"direction": direction}
        role = self._role
        record = stack.time_wait.get(key)
        if record is not None:
            comment.update(self._waiting.get(key, {}))
            role = comment.get("role", role)
            comment["state"] = "TIME_WAIT"
            comment["rcv_wnd"] = record.rcv_wnd
            comment["running"] = f"time_wait:{_seconds(max(0.0, record.expires - now))}"
        elif key[2] in stack.listeners:
            comment["state"] = "LISTEN"
            role = role or "server"
        else:
            comment["state"] = "CLOSED"
        if role:
            comment["role"] = role
        return comment

    def _name(self, connection: Connection) -> str:
        return self._role or ("server" if connection.passive else "client")


def _seconds(value: float) -> str:
    """Return `value` with microsecond precision, without trailing zeros or exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _parsed_seconds(text: str) -> float | None:
    is_number = text.isascii() and text.replace(".", "", 1).isdecimal() and len(text) <= _LONGEST_NUMBER
    return float(text) if is_number else None
