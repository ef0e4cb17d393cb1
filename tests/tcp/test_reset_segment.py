"""The RST of RFC 9293 3.10.5: <SEQ=SND.NXT><CTL=RST>, and with an ACK only where data was left unread."""

from collections.abc import Callable

import pytest

from tests.tcp.reach import close_wait, established, fin_wait_1, fin_wait_2, simultaneous_open
from tests.tcp.script import Script
from utcp.errors import RetransmissionTimedOut
from utcp.tcp.state import CLOSED
from utcp.wire import ACK, RST, Segment


@pytest.mark.parametrize("reach", [simultaneous_open, established, fin_wait_1, fin_wait_2, close_wait])
def test_abort_sends_a_bare_rst(reach: Callable[[], Script]) -> None:
    t = reach()
    t.abort()
    (reset,) = t.drain()
    expected = Segment(50000, 80, t.connection.send_side.snd_nxt, 0, RST)
    assert reset == expected


def test_unread_data_is_acknowledged_by_the_rst() -> None:
    """The peer's data did arrive: its sender shall not wonder."""
    t = established()
    t.receives("P. 1:101 ack 1")
    t.close()
    (reset,) = t.sends("R. 1:1 ack 101")
    assert reset.flags == RST | ACK


def test_what_nobody_will_read_is_dropped_with_an_abort() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    t.abort()
    t.drain()
    assert t.connection.readable == 0


@pytest.mark.parametrize("passive", [False, True])
def test_retransmissions_given_up_reset_whoever_opened(passive: bool) -> None:
    t = established(passive=passive, retries=2)
    t.write(100)
    t.advance(100)
    t.drain()
    assert t.state == CLOSED
    assert isinstance(t.error, RetransmissionTimedOut)
    assert t.stack.counters.out_rsts == 1


def test_the_error_says_how_much_was_not_delivered() -> None:
    t = established()
    t.write(300)
    t.drain()
    t.receives("P. 1:101 ack 1")
    t.close()
    t.drain()
    assert "aborted: closed with unread received data, 300 octets of ours" in str(t.error)
