"""The eleven states of RFC 9293 figure 5, and the table of every legal transition.

A move that the table does not list is a bug: `check` raises. Diagrams are generated from the table.
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


class Transition(NamedTuple):
    """`before` becomes `after` when `event` happens; `source` is where the RFC says so."""

    before: int
    after: int
    event: str
    source: str


TRANSITIONS: Final = (
    # Opening
    Transition(CLOSED, SYN_SENT, "active OPEN, send SYN", "RFC 9293 3.10.1"),
    Transition(CLOSED, LISTEN, "passive OPEN", "RFC 9293 3.10.1"),
    Transition(LISTEN, SYN_RCVD, "receive SYN, send SYN-ACK", "RFC 9293 3.10.7.2"),
    Transition(LISTEN, CLOSED, "CLOSE", "RFC 9293 3.10.4"),
    Transition(SYN_SENT, ESTABLISHED, "receive SYN-ACK, send ACK", "RFC 9293 3.10.7.3"),
    Transition(SYN_SENT, SYN_RCVD, "receive SYN, send SYN-ACK (simultaneous open)", "RFC 9293 3.10.7.3"),
    Transition(SYN_SENT, CLOSED, "CLOSE, ABORT, receive RST, or timeout", "RFC 9293 3.10.4"),
    Transition(SYN_RCVD, ESTABLISHED, "receive ACK of SYN", "RFC 9293 3.10.7.4"),
    Transition(SYN_RCVD, FIN_WAIT_1, "CLOSE, send FIN", "RFC 9293 3.10.4"),
    Transition(SYN_RCVD, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    # Closing first
    Transition(ESTABLISHED, FIN_WAIT_1, "CLOSE, send FIN", "RFC 9293 3.10.4"),
    Transition(FIN_WAIT_1, FIN_WAIT_2, "receive ACK of FIN", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_1, CLOSING, "receive FIN, send ACK", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_1, TIME_WAIT, "receive FIN with ACK of FIN, send ACK", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_2, TIME_WAIT, "receive FIN, send ACK", "RFC 9293 3.10.7.4"),
    Transition(CLOSING, TIME_WAIT, "receive ACK of FIN", "RFC 9293 3.10.7.4"),
    Transition(TIME_WAIT, CLOSED, "2 MSL passed", "RFC 9293 3.10.8"),
    # Closing second
    Transition(ESTABLISHED, CLOSE_WAIT, "receive FIN, send ACK", "RFC 9293 3.10.7.4"),
    Transition(CLOSE_WAIT, LAST_ACK, "CLOSE, send FIN", "RFC 9293 3.10.4, errata 3305 of RFC 793"),
    Transition(LAST_ACK, CLOSED, "receive ACK of FIN", "RFC 9293 3.10.7.4"),
    # Ending by force
    Transition(ESTABLISHED, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(CLOSE_WAIT, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_1, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(FIN_WAIT_2, CLOSED, "receive RST, ABORT, or timeout", "RFC 9293 3.10.7.4"),
    Transition(CLOSING, CLOSED, "receive RST, or timeout", "RFC 9293 3.10.7.4"),
)

# One bit mask of successors per state, so that checking a transition costs a shift.
_SUCCESSORS: Final = [
    sum(1 << transition.after for transition in TRANSITIONS if transition.before == state)
    for state in range(len(NAMES))
]


class IllegalTransition(Exception):
    """The stack tried a transition that RFC 9293 does not know: a bug in utcp."""


def check(before: int, after: int) -> None:
    """Raise IllegalTransition unless the table lists `before` -> `after`."""
    if not _SUCCESSORS[before] >> after & 1:
        raise IllegalTransition(f"{NAMES[before]} -> {NAMES[after]} is not a transition of TCP")


def unpack(path: int) -> tuple[int, ...]:
    """The states of a path that has four bits for each, the latest lowest. CLOSED, which is 0, does not show at its
    beginning."""
    states = []
    while path:
        states.append(path & 15)
        path >>= 4
    return tuple(reversed(states))
