"""SYN_RCVD: what ends it, what leaves it alone, and what is said about it."""

import pytest

from tests.tcp.reach import simultaneous_open, syn_rcvd
from tests.tcp.script import MSS
from utcp.errors import SynTimedOut
from utcp.tcp.state import CLOSED, SYN_RCVD
from utcp.wire import RST


@pytest.mark.parametrize("seq", [1, 2, 65535])
@pytest.mark.parametrize("flags", ["S", "S."])
def test_new_syn_in_the_window_of_a_passive_open_returns_to_listen(flags: str, seq: int) -> None:
    """RFC 9293 3.10.7.4, fourth check."""
    t = syn_rcvd()
    (connection,) = t.stack.connections.values()
    t.receives(f"{flags} {seq}:{seq}" + (" ack 1" if flags == "S." else ""))
    t.silent()
    assert not connection.take_events()
    assert t.state == CLOSED
    assert not t.stack.connections
    assert not t.listener.half_open
    assert t.listener.accept() is None


@pytest.mark.parametrize("seq", [-1, 65536, 1 << 30])
def test_new_syn_outside_the_window_of_a_passive_open_is_challenged(seq: int) -> None:
    t = syn_rcvd()
    t.receives(f"S {seq}:{seq}")
    t.sends(". 1:1 ack 1")
    assert t.state == SYN_RCVD


def test_repeated_syn_with_an_older_timestamp_is_the_same_syn() -> None:
    t = syn_rcvd(options=f"mss {MSS},ts 1000")
    t.receives(f"S 0:0 <mss {MSS},ts 900>")
    t.sends("S. 0:0 ack 1")
    assert t.stack.counters.paws_drops == 0


def test_timestamp_of_the_syn_already_makes_others_old() -> None:
    t = syn_rcvd(options=f"mss {MSS},ts 1000")
    t.receives(". 1:1 ack 1 <ts 999>")
    t.sends(". 1:1 ack 1 <ts *:1000>")
    assert t.state == SYN_RCVD


def test_simultaneous_open_that_nobody_acknowledges_is_reset_and_times_out() -> None:
    t = simultaneous_open(syn_ack_retries=2)
    t.advance(100)
    *again, reset = t.drain()
    assert len(again) == 2
    assert (reset.flags, t.flow.seq(reset), reset.ack) == (RST, 1, 0)
    assert isinstance(t.error, SynTimedOut)
    assert t.state == CLOSED


def test_half_open_connection_that_vanished_has_ended() -> None:
    t = syn_rcvd()
    (connection,) = t.stack.connections.values()
    t.receives("R 1:1")
    assert connection.ended
    assert connection not in t.stack.connections.values()
    assert not connection.take_events()
