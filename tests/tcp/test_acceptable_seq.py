"""A segment without new text has a SEQ that the peer's window, as last offered, allows. Otherwise the peer would drop
it with the ACK or the RST that it carries. The script asserts this of every trace; these traces are about it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.tcp.reach import established, syn_rcvd, time_wait
from tests.tcp.script import MSS, Script
from utcp.errors import FinTimedOut, LingerTimedOut, UserTimedOut
from utcp.tcp.state import CLOSED

pytestmark = pytest.mark.defect(44)

SACK = f"mss {MSS},sackOK"


def probing(*, options: str = f"mss {MSS}", **knobs: Any) -> Script:
    """The peer's window is closed, and the octet of a zero-window probe is in flight: SND.NXT is 2, the edge is 1."""
    t = established(options=options, window=0, rtt=0.1, delayed_ack=0.0, **knobs)
    t.write(100)
    t.sends_after(0.3, ". 1:2 ack 1")
    return t


@pytest.mark.parametrize(
    ("arrival", "answer"),
    [
        ("P. 1:101 ack 1", ". 1:1 ack 101"),
        ("P. 101:201 ack 1", ". 1:1 ack 1 <sack 101:201>"),
        (". 0:0 ack 1", ". 1:1 ack 1"),
        ("S 5000:5000", ". 1:1 ack 1"),
        ("R 5:5", ". 1:1 ack 1"),
        (". 1:1 ack 100", ". 1:1 ack 1"),
        ("F. 1:1 ack 1", ". 1:1 ack 2"),
    ],
    ids=["text", "text above a gap", "keepalive probe", "SYN", "RST in the window", "ACK of unsent data", "FIN"],
)
def test_every_ack_stands_at_the_edge_of_a_closed_window(arrival: str, answer: str) -> None:
    t = probing(options=SACK)
    t.receives(arrival)
    t.sends(answer)


def test_repeated_text_is_acknowledged_at_the_edge() -> None:
    t = probing(options=SACK)
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101 <sack 1:101>")


def test_window_update_stands_at_the_edge() -> None:
    t = established(window=0, rtt=0.1, recv_buffer=2048)
    t.receives(". 1:1001 ack 1 win 0", ". 1001:2001 ack 1 win 0", "P. 2001:2049 ack 1 win 0")
    t.sends(". 1:1 ack 2049 win 0")
    t.write(100)
    t.sends_after(0.3, ". 1:2 ack 2049 win 0")
    t.read()
    t.sends(". 1:1 ack 2049 win 2048")


def test_keepalive_stands_before_the_edge() -> None:
    t = established(window=0, keepalive=True, keepalive_idle=10.0)
    t.sends_at(10, ". 0:0 ack 1")
    t.receives(". 1:1 ack 1")
    t.silent()


def _linger(t: Script) -> None:
    t.connection.linger = 5.0
    t.close()


@pytest.mark.defect(45)
@pytest.mark.parametrize(
    ("end", "error"),
    [
        (Script.abort, None),
        (_linger, LingerTimedOut),
        (Script.close, FinTimedOut),
        (lambda t: t.connection.set_user_timeout(5.0), UserTimedOut),
    ],
    ids=["abort", "linger", "close", "user timeout"],
)
def test_every_reset_stands_at_the_edge_of_a_closed_window(
    end: Callable[[Script], None], error: type[OSError] | None
) -> None:
    t = probing()
    end(t)
    t.advance(300)
    *probes, reset = t.drain()
    assert t.flow.seq(reset) == 1
    assert all(t.flow.seq(probe) == 1 and len(probe.payload) == 1 for probe in probes)
    assert t.state == CLOSED
    assert type(t.error) is (error or type(None))


@pytest.mark.defect(45)
def test_close_with_unread_text_resets_at_the_edge() -> None:
    t = probing()
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")
    t.close()
    t.sends("R. 1:1 ack 101")


def test_everything_moves_on_when_the_window_opens() -> None:
    t = probing()
    t.receives(". 1:1 ack 2 win 0")
    t.receives("P. 1:101 ack 2 win 0")
    t.sends(". 2:2 ack 101")
    t.receives(". 101:101 ack 2 win 50")
    t.sends(". 2:52 ack 101")
    t.receives("P. 101:201 ack 2 win 50")
    t.sends(". 52:52 ack 201")


def test_window_that_shrank_moves_the_acks_back() -> None:
    """The peer judges by the window that it offers now (as Linux short of memory)."""
    t = established(window=4000, delayed_ack=0.0)
    t.write(4000)
    t.drain()
    t.receives("P. 1:101 ack 1 win 1000")
    t.sends(". 1001:1001 ack 101")
    t.receives("P. 101:201 ack 1001 win 0")
    t.sends(". 1001:1001 ack 201")
    t.abort()
    t.sends("R 1001:1001")


def test_window_that_was_rounded_down_moves_nothing_back() -> None:
    """RFC 7323 2.4: a peer may round down, and its window seems to shrink by less than a unit. It accepts SND.NXT; what
    stands before SND.NXT is old as soon as all has arrived."""
    t = established(options=f"mss {MSS},wscale 7", delayed_ack=0.0)
    t.write(2000)
    t.drain()
    t.receives("P. 1:101 ack 1 win 1920")  # 2000 rounded down
    t.sends(". 2001:2001 ack 101")
    t.receives("P. 101:201 ack 1 win 1792")  # more than a unit: it has shrunk
    t.sends(". 1793:1793 ack 201")


def test_closed_window_is_not_taken_for_a_rounded_one() -> None:
    t = probing(options=f"mss {MSS},wscale 14")
    t.receives("P. 1:101 ack 1")
    t.sends(". 1:1 ack 101")


def test_window_of_the_syn_begins_behind_our_syn() -> None:
    """In SYN_RCVD nothing is acknowledged yet, and our SYN has taken a number all the same."""
    t = syn_rcvd()
    t.flow.window = 0
    t.receives("S 1000:1000")  # out of the window: challenged
    t.drain()
    t = Script()
    t.listen()
    t.receives(f"S 0:0 win 0 <mss {MSS}>")
    t.sends("S. 0:0 ack 1")
    t.receives(". 70000:70000 ack 1")
    t.sends(". 1:1 ack 1")


@pytest.mark.defect(46)
def test_keepalive_of_the_peer_is_answered_at_the_edge() -> None:
    t = probing()
    for _ in range(9):
        t.receives(". 0:0 ack 1")
        assert t.flow.seq(t.drain()[-1]) == 1
        t.advance(1)
        t.drain()


@pytest.mark.parametrize("arrival", ["F. 1:1 ack 2", "S 5:5", ". 9:9 ack 9"])
def test_time_wait_answers_where_everything_was_acknowledged(arrival: str) -> None:
    """Our FIN is acknowledged there: SND.NXT is SND.UNA, and any window allows it."""
    t = time_wait()
    t.receives(arrival)
    t.sends(". 2:2 ack 2")


def test_ack_that_rides_beyond_a_window_that_shrank_leaves_by_itself_as_well() -> None:
    """The peer drops the tail loss probe, with its ACK, because its window ends before it."""
    t = established(window=4000, rtt=0.01, options=SACK)
    t.write(4000)
    t.drain()
    t.receives("P. 1:101 ack 1 win 1000")
    t.silent()
    t.sends_after(0.02, "P. 3001:4001 ack 101", ". 1001:1001 ack 101")


def test_ack_that_rides_within_the_window_is_enough() -> None:
    t = established(window=4000, rtt=0.01, options=SACK)
    t.write(4000)
    t.drain()
    t.receives("P. 1:101 ack 1 win 4000")
    t.silent()
    t.sends_after(0.02, "P. 3001:4001 ack 101")
    t.advance(0.05)
    assert t.stack.counters.retrans_segs == 1
