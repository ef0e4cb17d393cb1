"""Which ACKs and which text are still taken, to the octet."""

import pytest

from tests.tcp.reach import established, simultaneous_open
from tests.tcp.script import MSS
from utcp.tcp.event import READABLE
from utcp.tcp.state import CLOSED, CLOSING, ESTABLISHED


@pytest.mark.parametrize(
    ("window", "ack", "taken"),
    [(1000, 1 - 1000, True), (1000, 1 - 1001, False), (0, 0, True), (0, -1, False)],
)
def test_ack_may_be_as_old_as_the_largest_window_allows(window: int, ack: int, taken: bool) -> None:
    """RFC 5961 5: SND.UNA - MAX.SND.WND =< SEG.ACK; the text of anything older is not read."""
    t = established(options=f"mss {MSS}", window=window)
    t.flow.window = window
    t.connection.send_side.max_snd_wnd = window  # the SYN offered more
    t.receives(f"P. 1:101 ack {ack}")
    t.drain()
    assert t.connection.readable == (100 if taken else 0)
    assert t.stack.counters.challenge_acks == (0 if taken else 1)


def test_text_on_the_syn_ack_of_a_simultaneous_open_stands_behind_the_syn() -> None:
    t = simultaneous_open()
    t.receives("S. 0:10 ack 1")
    t.drain()
    assert t.state == ESTABLISHED
    assert t.info.bytes_received == 10
    t.receives("P. 11:21 ack 1")
    assert t.connection.readable == 20


def test_fin_behind_text_that_was_read_before_our_close_is_a_fin() -> None:
    """Nothing in it is new but the FIN: no reason for SHLD-3's RST."""
    t = established()
    t.receives("P. 1:101 ack 1")
    t.read()
    t.close()
    t.sends("F. 1:1 ack 101")
    t.receives("F. 1:101 ack 1")
    t.sends(". 2:2 ack 102")
    assert t.state == CLOSING


def test_one_octet_after_our_close_is_too_much() -> None:
    t = established()
    t.write(10)
    t.close()
    t.sends("FP. 1:11 ack 1")
    t.receives("P. 1:2 ack 1")
    t.sends("R 1:1", "R 12:12")
    assert t.state == CLOSED
    assert "aborted: the peer sent data after close(), 10 octets of ours" in str(t.error)


def test_the_user_hears_of_new_data_only() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    assert t.connection.take_events() & READABLE
    t.receives("P. 201:301 ack 1")
    t.drain()
    assert not t.connection.take_events() & READABLE
    t.receives("P. 101:201 ack 1")
    t.drain()
    assert t.connection.take_events() & READABLE
