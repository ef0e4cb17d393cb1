"""The eleven states of RFC 9293 figure 5, and the table of transitions, which drives the state machine.

Only `Tcb.on(happened)` changes the state; it looks up the successor here. The code that processes a segment or a call
determines the event. Diagrams are generated from the table.
"""

from typing import Final, NamedTuple

# Plain integers: states are compared on every segment.
CLOSED: Final = 0
LISTEN: Final = 1
SYN_SENT: Final = 2
SYN_RCVD: Final = 3
ESTABLISHED: Final = 4
FIN_WAIT_1: Final = 5
FIN_WAIT_2: Final = 6
CLOSE_WAIT: Final = 7
CLOSING: Final = 8
LAST_ACK: Final = 9
TIME_WAIT: Final = 10

NAMES: Final = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)


# Events of the state machine.
ACTIVE_OPEN: Final = 0
PASSIVE_OPEN: Final = 1
SYN_RECEIVED: Final = 2
SYN_ACKED: Final = 3
"""The peer has acknowledged our SYN, and the peer's SYN has arrived."""
CLOSE: Final = 4
"""The user closes the sending direction. The FIN leaves behind the queued data."""
FIN_ACKED: Final = 5
FIN_RECEIVED: Final = 6
FIN_RECEIVED_AND_ACKED: Final = 7
"""The peer's FIN has arrived, and our FIN is acknowledged."""
EXPIRE: Final = 8
"""2 MSL have passed."""
DELETE: Final = 9
"""The connection ends by force: RST, ABORT, a timeout, or a CLOSE before the handshake."""

EVENTS: Final = (
    "active OPEN",
    "passive OPEN",
    "SYN",
    "ACK of SYN",
    "CLOSE",
    "ACK of FIN",
    "FIN",
    "FIN with ACK of FIN",
    "2 MSL",
    "the end by force",
)


class Transition(NamedTuple):
    """The transition from state `before` to `after` on the event `on`, with its description `event` and the RFC section
    `source`."""

    before: int
    on: int
    after: int
    event: str
    source: str


TRANSITIONS: Final = (
    # Opening
    Transition(CLOSED, ACTIVE_OPEN, SYN_SENT, "active OPEN, send SYN", "RFC 9293 3.10.1"),
    Transition(CLOSED, PASSIVE_OPEN, LISTEN, "passive OPEN", "RFC 9293 3.10.1"),
    Transition(LISTEN, SYN_RECEIVED, SYN_RCVD, "receive SYN, send SYN-ACK", "RFC 9293 3.10.7.2"),
    Transition(LISTEN, DELETE, CLOSED, "CLOSE", "RFC 9293 3.10.4"),
    Transition(SYN_SENT, SYN_ACKED, ESTABLISHED, "receive SYN-ACK, send ACK", "RFC 9293 3.10.7.3"),
    Transition(SYN_SENT, SYN_RECEIVED, SYN_RCVD, "receive SYN, send SYN-ACK (simultaneous open)", "RFC 9293 3.10.7.3"),
    Transition(SYN_SENT, DELETE, CLOSED, "CLOSE, ABORT, receive RST, or timeout", "RFC 9293 3.10.4"),
    Transition(SYN_RCVD, SYN_ACKED, ESTABLISHED, "receive ACK of SYN", "RFC 9293 3.10.7.4"),
    Transition(SYN_RCVD, CLOSE, FIN_WAIT_1, "CLOSE, send FIN", "RFC 9293 3.10.4"),
    Transition(SYN_RCVD, DELETE, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    # Closing first
    Transition(ESTABLISHED, CLOSE, FIN_WAIT_1, "CLOSE, send FIN", "RFC 9293 3.10.4"),
    Transition(FIN_WAIT_1, FIN_ACKED, FIN_WAIT_2, "receive ACK of FIN", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_1, FIN_RECEIVED, CLOSING, "receive FIN, send ACK", "RFC 9293 3.10.7.4"),
    Transition(
        FIN_WAIT_1, FIN_RECEIVED_AND_ACKED, TIME_WAIT, "receive FIN with ACK of FIN, send ACK", "RFC 9293 3.10.7.4"
    ),
    Transition(FIN_WAIT_2, FIN_RECEIVED, TIME_WAIT, "receive FIN, send ACK", "RFC 9293 3.10.7.4"),
    Transition(CLOSING, FIN_ACKED, TIME_WAIT, "receive ACK of FIN", "RFC 9293 3.10.7.4"),
    Transition(TIME_WAIT, EXPIRE, CLOSED, "2 MSL passed", "RFC 9293 3.10.8"),
    # Closing second
    Transition(ESTABLISHED, FIN_RECEIVED, CLOSE_WAIT, "receive FIN, send ACK", "RFC 9293 3.10.7.4"),
    Transition(CLOSE_WAIT, CLOSE, LAST_ACK, "CLOSE, send FIN", "RFC 9293 3.10.4, errata 3305 of RFC 793"),
    Transition(LAST_ACK, FIN_ACKED, CLOSED, "receive ACK of FIN", "RFC 9293 3.10.7.4"),
    # Ending by force
    Transition(ESTABLISHED, DELETE, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(CLOSE_WAIT, DELETE, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_1, DELETE, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_2, DELETE, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(CLOSING, DELETE, CLOSED, "receive RST, or timeout", "RFC 9293 3.10.7.4"),
    Transition(LAST_ACK, DELETE, CLOSED, "receive RST, or timeout", "RFC 9293 3.10.7.4"),
)

_NONE: Final = -1

SUCCESSORS: Final = [[_NONE] * len(EVENTS) for _ in NAMES]
"""SUCCESSORS[state][event] is the next state; negative: the transition is illegal."""
for _row in TRANSITIONS:
    SUCCESSORS[_row.before][_row.on] = _row.after


class IllegalTransition(Exception):
    """The stack tried a transition that RFC 9293 does not have. This is a bug in utcp."""


def illegal(before: int, happened: int) -> IllegalTransition:
    """Return the error for an event that the table does not list for a state."""
    return IllegalTransition(f"{EVENTS[happened]} in {NAMES[before]} is not a transition of TCP")


def check(before: int, after: int) -> None:
    """Raise IllegalTransition unless the table lists `before` -> `after`."""
    if not any(row.before == before and row.after == after for row in TRANSITIONS):
        raise IllegalTransition(f"{NAMES[before]} -> {NAMES[after]} is not a transition of TCP")


def unpack(path: int) -> tuple[int, ...]:
    """Return the states of a history with four bits for each state, the latest in the lowest bits. A leading CLOSED,
    which is 0, is not included."""
    states = []
    while path:
        states.append(path & 15)
        path >>= 4
    return tuple(reversed(states))
