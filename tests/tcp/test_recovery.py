"""Recovery and sending at their edges: partial and late ACKs, refused probes, the FIN at the window's edge, Nagle."""

import pytest

from tests.tcp.notation import stream
from tests.tcp.reach import established
from tests.tcp.script import MSS
from utcp.errors import UserTimedOut
from utcp.tcp.state import CLOSED, ESTABLISHED


@pytest.mark.rfc("6582", "3.2-5")
@pytest.mark.rfc("9937", "6-8")
def test_partial_ack_takes_back_what_it_acknowledges() -> None:
    """RFC 6582 3.2 step 3: the inflated window shrinks by what was acknowledged and grows by one segment."""
    t = established(congestion_control="newreno")
    t.write(100_000)
    assert len(t.drain()) == 10
    t.receives(*[". 1:1 ack 1"] * 3)
    t.sends(". 1:1001 ack 1")
    assert t.info.snd_ssthresh == 5 * MSS
    t.receives(*[". 1:1 ack 1"] * 5)  # the window is 5 segments and one more for each of 8 duplicate ACKs
    t.sends(". 10001:11001 ack 1", ". 11001:12001 ack 1", ". 12001:13001 ack 1")
    t.receives(". 1:1 ack 4001")  # 13 - 4 + 1 segments, of which 9 are in flight
    t.sends(". 4001:5001 ack 1", ". 13001:14001 ack 1")


@pytest.mark.rfc("6582", "3.2-2")
def test_duplicate_acks_of_a_retransmission_after_a_timeout_start_no_fast_recovery() -> None:
    """RFC 6582 3.2 step 1, 4.1: what was in flight at the timeout has all been sent again already."""
    t = established()
    t.write(3000)
    t.sends(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:3001 ack 1")
    t.sends_after(0.2, ". 1:1001 ack 1")
    t.receives(". 1:1 ack 1001")
    t.sends(". 1001:2001 ack 1", "P. 2001:3001 ack 1")
    before = t.info
    t.receives(*[". 1:1 ack 1001"] * 3)
    t.silent()
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (before.snd_cwnd, before.snd_ssthresh)


def test_echo_older_than_the_retransmission_is_no_measurement() -> None:
    """It answers the first transmission, late: it would measure the timeout (RFC 7323 4.1, RFC 6298 3)."""
    t = established(rtt=0.125, options="mss 1000,ts 100")
    t.write(100)
    t.sends("P. 1:101 ack 1 <ts 125:*>")
    t.sends_at(0.5, "P. 1:101 ack 1 <ts>")
    t.advance(0.1)
    t.receives(". 1:1 ack 101 <ts *:125>")
    assert (t.info.rtt, t.info.rttvar) == pytest.approx((0.125, 0.0625))


def test_refused_probe_goes_again_at_once_when_the_window_opens() -> None:
    """RFC 9293 3.8.6.1: the closed window did not take its octet, and no timer need expire to know it."""
    t = established(window=0)
    t.write(1000)
    t.sends_after(0.2, ". 1:2 ack 1")
    t.receives(". 1:1 ack 1 win 0")
    t.silent()
    t.receives(". 1:1 ack 1 win 4000")
    t.sends(". 1:2 ack 1", "P. 2:1001 ack 1")
    t.receives(". 1:1 ack 1001 win 4000")
    t.silent_for(600)


def test_last_small_piece_with_a_fin_behind_it_waits_for_no_ack() -> None:
    """Nagle (RFC 9293 3.7.4) waits for more data to send; behind a FIN none will come."""
    t = established(nodelay=False)
    t.write(1100)
    t.close()
    t.sends(". 1:1001 ack 1", "F. 1001:1101 ack 1")


def test_fin_stays_behind_a_window_that_the_data_fills() -> None:
    """A FIN takes a sequence number, and that must lie in the window (RFC 9293 3.4)."""
    t = established(window=1000)
    t.write(1000)
    t.close()
    t.sends("P. 1:1001 ack 1")
    t.receives(". 1:1 ack 1001")
    t.sends("F. 1001:1001 ack 1")


def test_user_timeout_runs_at_a_closed_window() -> None:
    """Data that may not leave counts as much as data in flight, before the first probe (RFC 9293 3.9.1.1)."""
    t = established(rtt=0.9, window=0, user_timeout=2.0)
    assert t.info.rto == pytest.approx(2.7)
    t.write(100)
    t.silent_for(1.9)
    assert t.state == ESTABLISHED
    t.advance(0.2)
    t.drain()
    assert t.state == CLOSED
    assert isinstance(t.error, UserTimedOut)


def test_segments_of_a_connection_leave_in_order_when_its_sizes_are_anothers_in_reverse() -> None:
    """A train that another connection opened must not carry a later segment past an earlier one."""
    t = established()
    first, one = t.connection, t.flow
    second = t.connect(local_port=50001)
    t.sends("S 0:0")
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.sends(". 1:1 ack 1")
    two = t.flow
    one.patterned = two.patterned = True
    first.send(stream(1, 401))
    second.send(stream(1, 1401))
    one.sends("P. 1:401 ack 1")
    two.sends(". 1:1001 ack 1", "P. 1001:1401 ack 1")
