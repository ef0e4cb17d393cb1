"""Where intervals and lifetimes end, to the instant."""

import pytest

from tests.tcp.reach import established, syn_rcvd, syn_sent, time_wait
from tests.tcp.script import MSS, Script
from utcp.errors import AddressInUse, UserTimedOut
from utcp.tcp.rate_limit import TO_SYN
from utcp.tcp.time_wait import TimeWaitTable
from utcp.wire.seq import HALF

DAY = 86400.0
TS_RECENT_LIFETIME = 24 * DAY
"""RFC 7323 5.5."""


def challenged(t: Script) -> bool:
    """Whether a SYN that proves nothing gets an ACK now."""
    t.receives("S 5:5")
    return len(t.drain()) == 1


def test_the_next_challenge_ack_is_due_when_the_interval_is_over() -> None:
    t = established(challenge_ack_interval=0.5)
    assert challenged(t)
    t.now += 0.499
    assert not challenged(t)
    t.now = t.start + 0.5
    assert challenged(t)


def test_time_wait_answers_again_when_the_interval_is_over() -> None:
    t = time_wait(challenge_ack_interval=0.5)
    assert challenged(t)
    t.now += 0.499
    assert not challenged(t)
    t.now = t.start + 0.5
    assert challenged(t)


def test_time_wait_answers_at_once_on_a_clock_that_begins_at_zero() -> None:
    table = TimeWaitTable(60.0)
    table.add(("peer", 80, 50000), 0.0, 1, 1, 0, 0, 0, False)
    assert table.may_answer(("peer", 80, 50000), TO_SYN, 0.0, 0.5)


def test_a_connection_challenges_at_once_on_a_clock_that_begins_at_zero() -> None:
    assert challenged(established(start=0.0))


def test_an_old_timestamp_is_old_however_late_it_is() -> None:
    """The machine may be up for months when the connection begins."""
    t = established(options=f"mss {MSS},ts 1000", start=100 * DAY)
    t.receives("P. 1:101 ack 1 <ts 999>")
    t.sends(". 1:1 ack 1")
    assert t.connection.readable == 0


def test_a_timestamp_half_way_round_is_old() -> None:
    t = established(options=f"mss {MSS},ts 1000")
    t.receives(f"P. 1:101 ack 1 <ts {1000 + HALF}>")
    t.sends(". 1:1 ack 1")
    assert t.connection.readable == 0


def test_a_timestamp_proves_nothing_after_24_days() -> None:
    for seconds, accepted in ((TS_RECENT_LIFETIME - 1, 0), (TS_RECENT_LIFETIME, 100)):
        t = established(options=f"mss {MSS},ts {HALF}")
        t.now += seconds
        t.receives("P. 1:101 ack 1 <ts 1>")
        t.drain()
        assert t.connection.readable == accepted


def test_data_with_an_old_timestamp_is_answered_each_time() -> None:
    """Its sender waits for that ACK: it is not rationed as empty segments are (RFC 7323 5.3 R1)."""
    t = established(options=f"mss {MSS},ts 1000")
    for _ in range(3):
        t.receives("P. 1:101 ack 1 <ts 999>")
        t.sends(". 1:1 ack 1")


def test_keepalive_begins_with_one_idle_time() -> None:
    t = established(keepalive=True, keepalive_idle=100.0, keepalive_interval=10.0)
    assert t.stack.next_timeout() == t.now + 100.0


def test_no_timer_runs_where_nothing_is_waited_for() -> None:
    assert established().stack.next_timeout() is None
    for t in (syn_sent(), syn_rcvd()):
        assert t.stack.next_timeout() == t.now + t.stack.config.rto_initial


def test_no_timer_runs_when_all_is_acknowledged() -> None:
    t = established()
    t.write(100)
    t.drain()
    t.receives(". 1:1 ack 101")
    assert t.stack.next_timeout() is None


def test_user_timeout_begins_anew_when_some_is_acknowledged() -> None:
    t = established(user_timeout=3.0)
    t.write(2 * MSS)
    t.drain()
    t.advance(0.1)
    t.receives(f". 1:1 ack {MSS + 1}")
    t.advance(2.99)
    t.drain()
    assert not t.ended
    t.advance(0.02)
    t.drain()
    assert isinstance(t.error, UserTimedOut)


@pytest.mark.parametrize("left", [0.5, 1.5])
def test_a_port_in_time_wait_is_told_to_be_free_when_it_is(left: float) -> None:
    t = time_wait()
    t.now = t.start + 60.0 - left
    with pytest.raises(AddressInUse) as caught:
        t.connect()
    assert caught.value.seconds == left
