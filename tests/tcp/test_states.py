"""The table of transitions: each row is reached by real segments, and nothing else is legal."""

from collections.abc import Callable
from itertools import pairwise, product

import pytest

from tests.tcp.reach import (
    close_wait,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    simultaneous_open,
    syn_rcvd,
    syn_sent,
    time_wait,
)
from tests.tcp.script import Script
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    NAMES,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
    TRANSITIONS,
    IllegalTransition,
    check,
)


def reset(t: Script, seq: int = 1) -> Script:
    t.receives(f"R {seq}:{seq}")
    t.silent()
    return t


def after(t: Script, *lines: str) -> Script:
    t.receives(*lines)
    t.drain()
    return t


def closed_in(t: Script) -> Script:
    t.close()
    t.drain()
    return t


def expired(t: Script) -> Script:
    t.advance(60.1)
    t.silent()
    return t


WAYS: dict[tuple[int, int], Callable[[], Script]] = {
    (CLOSED, SYN_SENT): syn_sent,
    (LISTEN, SYN_RCVD): syn_rcvd,
    (SYN_SENT, ESTABLISHED): established,
    (SYN_SENT, SYN_RCVD): simultaneous_open,
    (SYN_SENT, CLOSED): lambda: closed_in(syn_sent()),
    (SYN_RCVD, ESTABLISHED): lambda: established(passive=True),
    (SYN_RCVD, FIN_WAIT_1): lambda: closed_in(simultaneous_open()),
    (SYN_RCVD, CLOSED): lambda: reset(simultaneous_open()),
    (ESTABLISHED, FIN_WAIT_1): fin_wait_1,
    (FIN_WAIT_1, FIN_WAIT_2): fin_wait_2,
    (FIN_WAIT_1, CLOSING): closing,
    (FIN_WAIT_1, TIME_WAIT): lambda: after(fin_wait_1(), "F. 1:1 ack 2"),
    (FIN_WAIT_2, TIME_WAIT): time_wait,
    (CLOSING, TIME_WAIT): lambda: after(closing(), ". 2:2 ack 2"),
    (TIME_WAIT, CLOSED): lambda: expired(time_wait()),
    (ESTABLISHED, CLOSE_WAIT): close_wait,
    (CLOSE_WAIT, LAST_ACK): last_ack,
    (LAST_ACK, CLOSED): lambda: after(last_ack(), ". 2:2 ack 2"),
    (ESTABLISHED, CLOSED): lambda: reset(established()),
    (CLOSE_WAIT, CLOSED): lambda: reset(close_wait(), 2),
    (FIN_WAIT_1, CLOSED): lambda: reset(fin_wait_1()),
    (FIN_WAIT_2, CLOSED): lambda: reset(fin_wait_2()),
    (CLOSING, CLOSED): lambda: reset(closing(), 2),
}

# A listener is no connection: its two moves are calls.
LISTENER_MOVES = {(CLOSED, LISTEN), (LISTEN, CLOSED)}


def test_every_row_of_the_table_has_a_way() -> None:
    rows = {(row.before, row.after) for row in TRANSITIONS}
    assert rows == WAYS.keys() | LISTENER_MOVES


@pytest.mark.parametrize(
    ("row", "way"), WAYS.items(), ids=[f"{NAMES[before]}-{NAMES[after]}" for before, after in WAYS]
)
def test_row(row: tuple[int, int], way: Callable[[], Script]) -> None:
    t = way()
    assert row in set(pairwise(t.path))


def test_listener_moves() -> None:
    t = Script()
    listener = t.listen()
    assert t.stack.listeners == {80: listener}
    listener.close(t.now)
    assert t.stack.listeners == {}


@pytest.mark.parametrize(("before", "after"), sorted(product(range(11), repeat=2)))
def test_check(before: int, after: int) -> None:
    if any((row.before, row.after) == (before, after) for row in TRANSITIONS):
        check(before, after)
    else:
        with pytest.raises(IllegalTransition):
            check(before, after)


def test_every_row_names_its_source() -> None:
    assert all(row.source.startswith("RFC 9293 3.10.") for row in TRANSITIONS)
    assert all(row.event for row in TRANSITIONS)


def test_connection_knows_its_path() -> None:
    t = close_wait(passive=True)
    t.close()
    t.sends("F. 1:1 ack 2")
    t.receives(". 2:2 ack 2")
    assert t.connection.path == t.path == (LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED)


@pytest.mark.parametrize(
    ("reach", "state"),
    [
        (syn_sent, SYN_SENT),
        (syn_rcvd, SYN_RCVD),
        (simultaneous_open, SYN_RCVD),
        (established, ESTABLISHED),
        (fin_wait_1, FIN_WAIT_1),
        (fin_wait_2, FIN_WAIT_2),
        (closing, CLOSING),
        (time_wait, TIME_WAIT),
        (close_wait, CLOSE_WAIT),
        (last_ack, LAST_ACK),
    ],
)
def test_the_scripts_ways_reach_their_states(reach: Callable[[], Script], state: int) -> None:
    assert reach().state == state
