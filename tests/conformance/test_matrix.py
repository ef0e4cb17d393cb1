"""The event x state matrix, cell by cell: `matrix` says what must happen, a stack shows what does."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest

from tests.conformance.matrix import (
    ACKS,
    EVENTS,
    MATRIX,
    REPLIES,
    ROWS,
    STATES,
    TAKES,
    UNREAD,
    VARIANTS,
    ZERO_WINDOW,
    Cell,
    Place,
    Row,
    cells,
    rule,
)
from tests.tcp.reach import closed, established, simultaneous_open, syn_rcvd, syn_sent
from tests.tcp.script import MSS, Script
from utcp.errors import ConnectionAborted, ConnectionRefused, ConnectionReset
from utcp.tcp.connection import Connection
from utcp.tcp.event import CONNECTED, ENDED, PEER_CLOSED, READABLE
from utcp.tcp.state import NAMES
from utcp.wire import ACK, RST, SYN, Segment
from utcp.wire.seq import diff

IN_FLIGHT: Final = 100
MSL: Final = 30.0
IN_TIME_WAIT: Final = 1.0
"""TIME_WAIT has lasted so long when the event arrives: whether it begins anew can be seen."""

ALL: Final = MATRIX + VARIANTS + ZERO_WINDOW
CELLS: Final = cells(ALL)
ERRORS: Final = {"refused": ConnectionRefused, "reset": ConnectionReset, "aborted": ConnectionAborted}


# --- the places, reached by real segments


def reach(place: Place) -> Script:
    knobs: dict[str, Any] = {"delayed_ack": 0.0, "msl": MSL}  # an ACK that may wait does not
    if place.state == "TIME_WAIT":
        knobs |= {"passive": place.variant != "unserved", "rfc1337": place.variant != "rfc793"}
    if place.variant == "challenge":
        knobs["syn_in_last_ack"] = "challenge"
    if place.window_is_closed:
        knobs["recv_buffer"] = UNREAD
    return _WAYS[place.state](place, knobs)


def _listen(place: Place, knobs: dict[str, Any]) -> Script:
    t = Script(**knobs)
    t.listen()
    return t


def _half_open(place: Place, knobs: dict[str, Any]) -> Script:
    return simultaneous_open(**knobs) if place.variant == "active" else syn_rcvd(**knobs)


def _established(place: Place, knobs: dict[str, Any]) -> Script:
    t = _without_flight(place, knobs)
    t.write(IN_FLIGHT)
    t.sends(f"P. 1:{1 + IN_FLIGHT} ack {place.rcv_nxt}")
    return t


def _without_flight(place: Place, knobs: dict[str, Any]) -> Script:
    t = established(**knobs)
    if place.window_is_closed:
        t.receives(*(f". {seq}:{min(seq + MSS, UNREAD + 1)} ack 1" for seq in range(1, UNREAD + 1, MSS)))
        t.sends(f". 1:1 ack {UNREAD + 1} win 0")
    return t


def _fin_wait_1(place: Place, knobs: dict[str, Any]) -> Script:
    t = _without_flight(place, knobs)
    t.write(IN_FLIGHT)
    if place.closed:
        t.close()
    else:
        t.shutdown()
    t.sends(f"FP. 1:{1 + IN_FLIGHT}")
    return t


def _fin_wait_2(place: Place, knobs: dict[str, Any]) -> Script:
    t = _fin_wait_1(place, knobs)
    seq = _before_fin(place)
    t.receives(f". {seq}:{seq} ack {2 + IN_FLIGHT}")
    t.silent()
    return t


def _closing(place: Place, knobs: dict[str, Any]) -> Script:
    return _fin_arrives(_fin_wait_1(place, knobs), place, ack=1)


def _time_wait(place: Place, knobs: dict[str, Any]) -> Script:
    t = _fin_arrives(_fin_wait_2(place, knobs), place, ack=2 + IN_FLIGHT)
    t.silent_for(IN_TIME_WAIT)
    return t


def _close_wait(place: Place, knobs: dict[str, Any]) -> Script:
    t = _fin_arrives(_without_flight(place, knobs), place, ack=1)
    t.write(IN_FLIGHT)
    t.sends(f"P. 1:{1 + IN_FLIGHT} ack {place.rcv_nxt}")
    return t


def _last_ack(place: Place, knobs: dict[str, Any]) -> Script:
    t = _close_wait(place, knobs)
    if place.closed:
        t.close()
    else:
        t.shutdown()
    t.sends(f"F. {1 + IN_FLIGHT}:{1 + IN_FLIGHT} ack {place.rcv_nxt}")
    return t


def _fin_arrives(t: Script, place: Place, ack: int) -> Script:
    seq = _before_fin(place)
    t.receives(f"F. {seq}:{seq} ack {ack}")
    t.sends(f". {t.flow.snd_nxt}:{t.flow.snd_nxt} ack {seq + 1}")
    return t


def _before_fin(place: Place) -> int:
    return 1 + UNREAD if place.window_is_closed else 1


_WAYS: Final[dict[str, Callable[[Place, dict[str, Any]], Script]]] = {
    "CLOSED": lambda place, knobs: closed(**knobs),
    "LISTEN": _listen,
    "SYN_SENT": lambda place, knobs: syn_sent(**knobs),
    "SYN_RCVD": _half_open,
    "ESTABLISHED": _established,
    "FIN_WAIT_1": _fin_wait_1,
    "FIN_WAIT_2": _fin_wait_2,
    "CLOSE_WAIT": _close_wait,
    "CLOSING": _closing,
    "LAST_ACK": _last_ack,
    "TIME_WAIT": _time_wait,
}


# --- what can be seen of a place


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of the ports, and of the connection or record that holds them; numbers relative to the ISNs."""

    state: str
    snd_una: int | None = None
    snd_nxt: int | None = None
    rcv_nxt: int | None = None
    unread: int | None = None
    seconds_left: float | None = None


def look(t: Script, iss: int) -> Seen:
    key = t.flow.key
    connection, record = t.stack.connections.get(key), t.stack.time_wait.get(key)
    assert connection is None or record is None
    if connection is not None:
        info = connection.info()
        return Seen(
            info.state,
            diff(info.snd_una, iss),
            diff(info.snd_nxt, iss),
            None if info.state == "SYN_SENT" else diff(info.rcv_nxt, t.flow.peer_iss),
            info.unread,
        )
    if record is not None:
        nxt, left = diff(record.snd_nxt, iss), t.stack.time_wait.seconds_left(key, t.now)
        return Seen("TIME_WAIT", nxt, nxt, diff(record.rcv_nxt, t.flow.peer_iss), seconds_left=left)
    return Seen("LISTEN" if t.flow.local_port in t.stack.listeners else "CLOSED")


def at(place: Place) -> Seen:
    """What is seen before the event."""
    if place.state in ("CLOSED", "LISTEN"):
        return Seen(place.state)
    if place.state == "TIME_WAIT":
        return Seen(place.state, place.snd_una, place.snd_nxt, place.rcv_nxt, seconds_left=2 * MSL - IN_TIME_WAIT)
    rcv_nxt = None if place.state == "SYN_SENT" else place.rcv_nxt
    return Seen(place.state, place.snd_una, place.snd_nxt, rcv_nxt, UNREAD if place.window_is_closed else 0)


Reply: TypeAlias = tuple[int, int | None, int | None]
"""Flags, SEQ (None: 0 absolutely), ACK (None: the bit is off)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the row of a cell says, in numbers: the segment that arrives, the reply, the place and the user after it."""

    line: str
    replies: list[Reply]
    after: Seen
    events: int
    error: type[OSError] | None
    new: bool
    """The reply opens a connection with an ISN of its own."""


def expect(cell: Cell, row: Row, rcv_wnd: int) -> Expected:
    place, event_, takes = cell.place, cell.event, row.takes
    seq, ack = place.seq(cell.seq, event_, rcv_wnd), place.ack(cell.ack)
    state = place.state if row.after == "=" else row.after
    text = event_.octets if "text" in takes else 0
    rcv_nxt = seq + 1 if "syn" in takes else place.rcv_nxt + text + ("fin" in takes)
    snd_una = max(place.snd_una, ack) if "ack" in takes else place.snd_una
    new = state == "SYN_RCVD" and place.state in ("LISTEN", "TIME_WAIT")
    fin_acked = place.fin_in_flight and "ack" in takes and ack == place.snd_nxt
    if state in ("CLOSED", "LISTEN"):
        after = Seen(state)
    elif state == "TIME_WAIT":
        restarted = place.state != "TIME_WAIT" or "2msl" in takes
        after = Seen(state, snd_una, place.snd_nxt, rcv_nxt, seconds_left=2 * MSL - (not restarted) * IN_TIME_WAIT)
    elif new:
        after = Seen(state, 0, 1, rcv_nxt, 0)
    else:
        unread = (UNREAD if place.window_is_closed else 0) + text
        after = Seen(state, snd_una, place.snd_nxt, None if state == "SYN_SENT" else rcv_nxt, unread)
    replies: dict[str, list[Reply]] = {
        "-": [],
        "ACK": [(ACK, place.snd_nxt, rcv_nxt)],
        "SYN-ACK": [(SYN | ACK, 0, rcv_nxt)],
        "RST(SEG.ACK)": [(RST, ack, None)],
        "RST(0)": [(RST | ACK, None, seq + event_.length)],
        "RST(SND.NXT)": [(RST, place.snd_nxt, None)],
        "RST, SYN": [(RST, ack, None), (SYN, 0, None)],
        "RST(both)": [(RST, place.snd_una, None), (RST, place.snd_nxt, None)],
    }
    errors = [ERRORS[name] for name in takes & ERRORS.keys()]
    events = 0
    if place.state in ("SYN_SENT", "SYN_RCVD") and state not in ("CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD"):
        events |= CONNECTED
    if "text" in takes or ("fin" in takes and place.window_is_closed):
        events |= READABLE
    if "fin" in takes:
        events |= PEER_CLOSED
    if errors or (fin_acked and place.closed):
        events |= ENDED
    return Expected(
        f"{event_.flags} {seq}:{seq + event_.octets} ack {ack}",
        replies[row.reply],
        after,
        events,
        errors[0] if errors else None,
        new,
    )


def user(t: Script) -> Connection | None:
    """The connection as its user has it: accepted now, if it waits for that; None where nobody has one."""
    if not hasattr(t, "connection") and t.stack.listeners:
        return t.listener.accept()
    return getattr(t, "connection", None)


# --- the matrix


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(cell: Cell) -> None:
    row = rule(cell)
    t = reach(cell.place)
    iss = t.flow.our_iss or 0
    assert look(t, iss) == at(cell.place)
    connection = user(t)
    if connection is not None:
        connection.take_events()
    right_edge = t.flow.right_edge
    wanted = expect(cell, row, 65535 if right_edge is None else right_edge - cell.place.rcv_nxt)

    t.receives(wanted.line)
    replies = t.drain()

    if wanted.new and replies and replies[0].flags & SYN:
        old_snd_nxt = iss + cell.place.snd_nxt
        iss = replies[0].seq
        assert cell.place.state == "LISTEN" or diff(iss, old_snd_nxt) > 0  # MAY-2 of RFC 9293 3.6.1
    connection = user(t)
    got = (
        [_reply(reply, iss, t.flow.peer_iss) for reply in replies],
        look(t, iss),
        0 if connection is None else connection.take_events(),
        None if connection is None or connection.error is None else type(connection.error),
    )
    due = (wanted.replies, wanted.after, wanted.events, wanted.error)
    if got != due:
        trace = "\n".join(f"    {line}" for line in t.trace[-4:])
        pytest.fail(f"{row.source}: {row.text}\n{trace}\n  expected {due}\n  got      {got}", pytrace=False)
    assert not any(reply.payload for reply in replies)


def _reply(reply: Segment, iss: int, peer_iss: int) -> Reply:
    absolute = reply.flags == RST | ACK and reply.seq == 0
    return (
        reply.flags,
        None if absolute else diff(reply.seq, iss),
        diff(reply.ack, peer_iss) if reply.flags & ACK else None,
    )


# --- the table


def test_the_matrix_is_whole() -> None:
    assert [place.state for place in MATRIX] == list(STATES) == list(NAMES)
    cells_of_the_matrix = cells(MATRIX)
    assert len(cells_of_the_matrix) == len(set(cells_of_the_matrix)) == 10 * 11 * 5 * 4 == 2200
    different = {(cell.place, cell.event, cell.seq, cell.event.has_ack and cell.ack) for cell in cells_of_the_matrix}
    assert len(different) == 1375
    assert (len(cells(VARIANTS)), len(cells(ZERO_WINDOW))) == (1200, 1120)


def test_every_cell_has_a_row_and_no_row_is_shadowed() -> None:
    used = Counter(rule(cell).text for cell in CELLS)
    assert [row.text for row in ROWS if not used[row.text]] == []
    assert len({row.text for row in ROWS}) == len(ROWS)


def test_rows_speak_of_what_there_is() -> None:
    """A misspelt name would never fit, or fit less than was meant."""
    for row in ROWS:
        assert row.places <= {name for place in ALL for name in (place.name, place.state)}, row
        assert row.events <= {event.name for event in EVENTS}, row
        assert row.seqs <= {where for place in ALL for where in place.seqs}, row
        assert row.acks <= set(ACKS), row
        assert row.reply in REPLIES, row
        assert row.after in {"=", *STATES}, row
        assert row.takes <= TAKES, row
        assert row.source.startswith(("RFC ", "utcp: ")), row


@pytest.mark.parametrize("place", ALL, ids=lambda place: place.name)
def test_numbers_that_mean_nothing_decide_nothing(place: Place) -> None:
    """No acknowledgement without the ACK bit, no sequence number without a RCV.NXT."""
    for event in EVENTS:
        for where in place.seqs:
            if not event.has_ack:
                assert len({rule(Cell(place, event, where, ack)) for ack in ACKS}) == 1
        for ack in ACKS:
            if place.state in ("CLOSED", "LISTEN", "SYN_SENT"):
                assert len({rule(Cell(place, event, where, ack)) for where in place.seqs}) == 1
