"""Pacing: how much leaves at once, and how fast, on timers that tick once in a millisecond."""

from math import ceil, inf

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.recovery.trace import MSS, RTT, sender
from tests.tcp.script import Script
from utcp.tcp.pacing import Pacer

TICK = 0.001


def pacer(rate: float) -> Pacer:
    return Pacer(0.0, rate=rate)


def run(
    pacer: Pacer, seconds: float, *, mss: int = MSS, start: float = 0.0, late: float = 0.0
) -> list[tuple[float, int]]:
    """The trains of a sender that always has data; timers fire on the next tick, and so much later."""
    trains = []
    now = start
    while now < start + seconds:
        size = 0
        while pacer.may_send(mss, now):
            pacer.sent(mss)
            size += mss
        if size:
            trains.append((now, size))
        pacer.wait(mss)
        due = pacer.deadline
        assert due > now, "a timer that does not move on"
        now = ceil(due / TICK - 1e-9) * TICK + late
    return trains


RATES = [50e3, 125e3, 1e6, 12.5e6, 125e6, 1.25e9]


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_kept_within_two_percent(rate: float) -> None:
    """Over a second, on a timer grid of a millisecond."""
    total = sum(size for _, size in run(pacer(rate), 1.0))
    assert total == pytest.approx(rate, rel=0.02, abs=3 * MSS)


@pytest.mark.parametrize("rate", [1e6, 12.5e6, 125e6])
def test_timers_a_train_late_lose_nothing(rate: float) -> None:
    """A busy event loop is late by half a millisecond every time."""
    total = sum(size for _, size in run(pacer(rate), 1.0, late=0.0005))
    assert total == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("rate", RATES)
def test_a_train_is_two_milliseconds_worth_at_most(rate: float) -> None:
    """Or three segments, on slow paths: the bucket holds what one late timer missed, no more."""
    trains = run(pacer(rate), 1.0)[1:]
    assert max(size for _, size in trains) <= 2 * TICK * rate + 3 * MSS


@pytest.mark.parametrize("rate", RATES)
def test_a_timer_per_millisecond_at_most(rate: float) -> None:
    """And never one for less than two segments."""
    trains = run(pacer(rate), 1.0)
    assert len(trains) <= 1001
    assert len(trains) <= rate / (2 * MSS) + 2


def test_idle_time_is_not_saved_up() -> None:
    p = pacer(1e6)
    run(p, 0.1)
    size = 0
    while p.may_send(MSS, 60.0):
        p.sent(MSS)
        size += MSS
    assert size <= 2 * TICK * 1e6 + 3 * MSS


def rate_at(p: Pacer, now: float) -> float:
    """The rate, in octets per second, at which the data of the next 20 ms leaves."""
    return sum(size for _, size in run(p, 0.02, start=now)) / 0.02


def test_one_late_timer_is_not_caught_up_with() -> None:
    p = pacer(1e6)
    run(p, 0.1)
    now = p.deadline + 0.05
    assert rate_at(p, now) == pytest.approx(1e6, rel=0.25)


def test_timers_that_are_late_again_are_caught_up_with_at_twice_the_rate() -> None:
    """For as long as the timer was late."""
    p = pacer(1e6)
    run(p, 0.1)
    run(p, 0.05, start=p.deadline + 0.05)
    now = p.deadline + 0.05
    p.expired(now)
    assert p.deadline == inf
    assert rate_at(p, now) == pytest.approx(2e6, rel=0.25)
    assert rate_at(p, now + 0.02) == pytest.approx(2e6, rel=0.1)
    run(p, 0.02, start=now + 0.04)
    assert rate_at(p, now + 0.06) == pytest.approx(1e6, rel=0.1)


def test_timers_a_train_late_lose_nothing_of_what_is_caught_up_with() -> None:
    """Two milliseconds at twice the rate are four at the rate."""
    p = pacer(125e6)
    run(p, 0.1)
    run(p, 0.05, start=p.deadline + 0.05)
    now = p.deadline + 0.05
    p.expired(now)
    sent = sum(size for _, size in run(p, 0.02, start=now, late=0.0005))
    assert sent == pytest.approx(0.02 * 250e6, rel=0.15)


def test_no_more_than_a_tenth_of_a_second_is_caught_up_with() -> None:
    p = pacer(1e6)
    run(p, 0.1)
    run(p, 0.05, start=p.deadline + 0.05)
    now = p.deadline + 10
    sent = sum(size for _, size in run(p, 1.0, start=now))
    assert sent == pytest.approx(1.1e6, rel=0.02)


def test_timers_that_are_late_once_in_a_while_are_not_caught_up_with() -> None:
    p = pacer(1e6)
    now = 0.0
    for _ in range(5):
        run(p, 1.0, start=now)
        now = p.deadline + 0.05
        assert rate_at(p, now) == pytest.approx(1e6, rel=0.25)
        now += 0.02


def test_an_initial_window_may_leave_at_once() -> None:
    p = pacer(1e6)
    p.refill(10 * MSS, 1.0)
    size = 0
    while p.may_send(MSS, 1.0):
        p.sent(MSS)
        size += MSS
    assert size == 10 * MSS
    p.refill(10 * MSS, 1.0)
    p.refill(10 * MSS, 1.0)  # twice is not twice as much
    size = 0
    while p.may_send(MSS, 1.0):
        p.sent(MSS)
        size += MSS
    assert size == 10 * MSS


def test_no_pacing_below_a_millisecond() -> None:
    connection = sender().connection
    connection.congestion.pacing_rate = 1e6
    connection.rtt.min_rtt = 0.0009
    connection.follow_congestion(0.0)
    assert connection.pacer.rate == inf
    assert all(connection.pacer.may_send(MSS, 0.0) for _ in range(1000))
    connection.rtt.min_rtt = 0.001
    connection.follow_congestion(0.0)
    assert connection.pacer.rate == 1e6
    connection.rtt.min_rtt = 0.0009
    connection.follow_congestion(0.0)
    assert connection.pacer.rate == inf


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rates=st.lists(st.sampled_from(RATES), min_size=1, max_size=5),
    gaps=st.lists(st.floats(0, 0.01), min_size=1, max_size=50),
)
def test_never_more_than_the_rate_and_one_bucket(rates: list[float], gaps: list[float]) -> None:
    """Whatever the rate does and whenever it is asked."""
    p = pacer(rates[0])
    now, allowed, sent = 0.0, 0.0, 0
    for index, gap in enumerate(gaps):
        rate = rates[index % len(rates)]
        p.set_rate(rate)
        now += gap
        allowed += gap * rate
        while p.may_send(MSS, now):
            p.sent(MSS)
            sent += MSS
        assert sent <= allowed + 2 * TICK * max(rates) + 3 * MSS


# --- traces


def paced(*, rtt: float = RTT) -> Script:
    return sender(rtt=rtt, congestion_control="newreno")


def test_the_initial_window_leaves_at_once_after_idle_as_well() -> None:
    t = paced()
    t.write(10 * MSS)
    assert len(t.drain()) == 10
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    t.drain()
    t.advance(0.25)
    t.write(40 * MSS)
    assert 10 <= len(t.drain()) <= 10 + 3


def test_what_an_ack_frees_leaves_in_trains() -> None:
    """A window of 20 segments in a round trip of 100 ms, paced at twice that: two segments every 5 ms, and each train a
    timer."""
    t = paced()
    t.write(60 * MSS)
    assert len(t.drain()) == 10
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    times: list[float] = []
    first = len(t.drain())
    sent = first
    for _ in range(200):
        t.advance(0.001)
        n = len(t.drain())
        if n:
            times.append(t.time)
            assert n <= 3
        sent += n
        if sent >= 20:
            break
    assert sent == 20
    assert first >= 1
    # cwnd 20 segments: 400 kB/s.
    assert times[-1] - times[0] >= (20 - first - 3) * MSS / t.connection.pacer.rate * 0.9
    assert t.connection.pacer.rate == pytest.approx(2 * 20 * MSS / (t.info.rtt or 1), rel=0.05)
    assert len(times) <= (20 - first + 1) // 2 + 1


def test_a_short_path_is_not_paced() -> None:
    t = paced(rtt=0.0005)
    t.write(60 * MSS)
    t.drain()
    t.advance(0.0005)
    t.receives(". 1:1 ack 10001")
    assert len(t.drain()) == 20  # the whole window
    assert t.connection.pacer.rate == inf


def test_a_connection_is_paced_once_the_initial_window_limits_it() -> None:
    t = paced()
    for round_trip in range(3):
        t.write(5 * MSS)
        assert len(t.drain()) == 5
        t.advance(RTT)
        t.receives(f". 1:1 ack {(round_trip + 1) * 5 * MSS + 1}")
        assert t.connection.pacer.rate == inf
    t.write(60 * MSS)
    assert len(t.drain()) == 10
    t.advance(RTT)
    t.receives(f". 1:1 ack {25 * MSS + 1}")
    assert t.connection.pacer.rate < inf
    t.drain()


def test_a_retransmission_after_a_timeout_waits_for_no_bucket() -> None:
    t = paced()
    t.write(60 * MSS)
    t.drain()
    t.connection.pacer.sent(1 << 20)  # far overdrawn
    t.advance(1.0)
    assert t.flow.seq(t.drain()[-1]) == 1
    assert t.stack.counters.timeouts >= 1


def test_no_timer_while_nothing_waits() -> None:
    t = paced()
    t.write(5 * MSS)
    t.drain()
    t.advance(RTT)
    t.receives(". 1:1 ack 5001")
    t.drain()
    assert t.stack.next_timeout() is None
