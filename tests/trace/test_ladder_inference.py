"""States from segments alone: every way through RFC 9293's diagram, and what segments do not prove."""

from __future__ import annotations

import pytest

from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.trace.ladder.inference import Machine
from utcp.wire import ACK, FIN, RST, SYN, Segment


def path(*steps: tuple[str, int, int, int] | tuple[str, int, int, int, int]) -> list[int | None]:
    """The states after each step: "<" received or ">" sent, control bits, SEQ, ACK, and octets of data."""
    machine = Machine()
    states = []
    for step in steps:
        direction, flags, number, ack = step[:4]
        payload = bytes(step[4]) if len(step) > 4 else b""
        segment = Segment(1, 2, number, ack, flags, payload=payload)
        if direction == ">":
            machine.sent(segment, number)
        else:
            machine.received(segment, number, ack)
        states.append(machine.state)
    return states


ACTIVE = ((">", SYN, 0, 0), ("<", SYN | ACK, 0, 1), (">", ACK, 1, 1))
PASSIVE = (("<", SYN, 0, 0), (">", SYN | ACK, 0, 1), ("<", ACK, 1, 1))


def test_opening() -> None:
    assert path(*ACTIVE) == [SYN_SENT, ESTABLISHED, ESTABLISHED]
    assert path(*PASSIVE) == [None, SYN_RCVD, ESTABLISHED]
    simultaneous = path((">", SYN, 0, 0), ("<", SYN, 0, 0), (">", SYN | ACK, 0, 1), ("<", SYN | ACK, 0, 1))
    assert simultaneous == [SYN_SENT, SYN_RCVD, SYN_RCVD, ESTABLISHED]
    assert path((">", SYN, 0, 0), ("<", SYN | ACK, 0, 99)) == [SYN_SENT, SYN_SENT]  # acknowledges something else
    assert path((">", SYN, 0, 0), (">", SYN, 0, 0)) == [SYN_SENT, SYN_SENT]


@pytest.mark.parametrize(
    ("steps", "states"),
    [
        # Closing first: FIN_WAIT_2, TIME_WAIT; and without FIN_WAIT_2.
        (
            ((">", FIN | ACK, 1, 1), ("<", ACK, 1, 2), ("<", FIN | ACK, 1, 2), (">", ACK, 2, 2)),
            [FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT, TIME_WAIT],
        ),
        (((">", FIN | ACK, 1, 1), ("<", FIN | ACK, 1, 2)), [FIN_WAIT_1, TIME_WAIT]),
        # Both at once.
        (
            ((">", FIN | ACK, 1, 1), ("<", FIN | ACK, 1, 1), (">", ACK, 2, 2), ("<", ACK, 2, 2)),
            [FIN_WAIT_1, CLOSING, CLOSING, TIME_WAIT],
        ),
        # Closing second.
        (
            (("<", FIN | ACK, 1, 1), (">", ACK, 1, 2), (">", FIN | ACK, 1, 2), ("<", ACK, 2, 2)),
            [CLOSE_WAIT, CLOSE_WAIT, LAST_ACK, CLOSED],
        ),
        # An ACK of the data before the FIN is none of the FIN.
        (((">", FIN | ACK, 1, 1, 100), ("<", ACK, 1, 101), ("<", ACK, 1, 102)), [FIN_WAIT_1, FIN_WAIT_1, FIN_WAIT_2]),
        # A FIN behind a gap counts when the gap is filled.
        (
            (("<", FIN | ACK, 101, 1, 50), ("<", ACK, 51, 1, 50), ("<", ACK, 1, 1, 50)),
            [ESTABLISHED, ESTABLISHED, CLOSE_WAIT],
        ),
        (((">", RST, 1, 0),), [CLOSED]),
        ((("<", RST, 1, 0),), [CLOSED]),
        ((("<", RST, 7, 0),), [ESTABLISHED]),  # not exactly where the next octet belongs: it may be a stranger's
        (((">", FIN | ACK, 1, 1), ("<", FIN | ACK, 1, 2), ("<", RST, 2, 0)), [FIN_WAIT_1, TIME_WAIT, TIME_WAIT]),
    ],
)
def test_closing(steps: tuple[tuple[str, int, int, int], ...], states: list[int]) -> None:
    assert path(*ACTIVE, *steps)[3:] == states
    assert path(*PASSIVE, *steps)[3:] == states


def test_refusal() -> None:
    assert path((">", SYN, 0, 0), ("<", RST | ACK, 0, 1)) == [SYN_SENT, CLOSED]
    assert path((">", SYN, 0, 0), ("<", RST | ACK, 0, 99)) == [SYN_SENT, SYN_SENT]
    assert path((">", SYN, 0, 0), ("<", RST, 0, 0)) == [SYN_SENT, SYN_SENT]


def test_a_rst_that_refuses_something_half_open_ends_nothing() -> None:
    """RFC 9293 3.5.2: in SYN_SENT an end resets what acknowledges something else, and goes on."""
    assert path((">", SYN, 0, 0), ("<", ACK, 5, 99), (">", RST, 99, 0)) == [SYN_SENT, SYN_SENT, SYN_SENT]


def test_without_its_syn_an_end_has_no_state() -> None:
    assert (
        path((">", ACK, 1, 1, 10), ("<", ACK, 1, 11, 10), (">", FIN | ACK, 11, 11), ("<", FIN | ACK, 11, 12))
        == [None] * 4
    )
