"""The round-trip time as loss recovery needs it (RFC 6298, RFC 7323 4): what is measured, and the lowest of it."""

import pytest

from tests.recovery.trace import RTT, sender, seqs
from utcp.tcp.rtt import RttEstimator


def estimator() -> RttEstimator:
    return RttEstimator(1.0, 0.2, 60.0)


@pytest.mark.rfc("8985", "6.2-1")
def test_the_lowest_round_trip_is_believed_for_five_minutes() -> None:
    rtt = estimator()
    rtt.sample(0.1, 0.0)
    rtt.sample(0.05, 10.0)
    rtt.sample(0.2, 309.9)
    assert rtt.min_rtt == 0.05
    rtt.sample(0.2, 310.1)
    assert rtt.min_rtt == 0.2


@pytest.mark.rfc("8985", "6.2-1")
def test_a_sample_as_low_renews_it() -> None:
    rtt = estimator()
    rtt.sample(0.05, 0.0)
    rtt.sample(0.05, 200.0)
    rtt.sample(0.2, 400.0)
    assert rtt.min_rtt == 0.05


def test_rto_min_bounds_the_variance_not_the_timeout() -> None:
    """On purpose, as in Linux: a steady path of 500 ms must not time out at 500 ms."""
    rtt = estimator()
    for second in range(100):
        rtt.sample(0.5, float(second))
    assert rtt.srtt == pytest.approx(0.5)
    assert rtt.rttvar < 0.001
    assert rtt.rto == pytest.approx(0.7)


def test_one_sample_in_a_round_trip_moves_the_average() -> None:
    """RFC 7323 4.2; the lowest takes every one."""
    rtt = estimator()
    rtt.sample(0.1, 0.0)
    for step in range(1, 10):
        rtt.sample(0.05, 0.049 * step / 9)
    assert rtt.srtt == pytest.approx(0.1)
    assert rtt.min_rtt == 0.05
    rtt.sample(0.05, 0.051)
    assert rtt.srtt == pytest.approx(0.1 * 7 / 8 + 0.05 / 8)


def test_sacks_are_measured() -> None:
    """The first segment is missing, and still each SACK tells how long the path takes."""
    t = sender(10)
    before = t.info.rtt
    t.advance(0.15)
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    assert t.info.rtt == pytest.approx(before * 7 / 8 + 0.15 / 8)


def test_what_was_sent_again_is_not_measured_without_timestamps() -> None:
    """Karn, though what the same ACK covers behind it was sent once: it has been waiting there."""
    t = sender(5, options="mss 1000,sackOK")
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    assert seqs(t.drain(), t) == [1]
    samples = t.connection.rtt.samples
    t.advance(0.5)
    t.drain()
    t.receives(". 1:1 ack 5001")
    assert t.connection.rtt.samples == samples
