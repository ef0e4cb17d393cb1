"""Delivery rate samples (draft-ietf-ccwg-bbr 4.1), against ones computed by hand."""

import pytest

from tests.recovery.trace import MSS, RTT, recovery, sender
from utcp.tcp.congestion import NewReno
from utcp.tcp.counters import Counters
from utcp.tcp.recovery.delivery import AckSample, Delivery
from utcp.tcp.recovery.recovery import Recovery
from utcp.tcp.recovery.scoreboard import Departure
from utcp.tcp.rtt import RttEstimator


def measured() -> Recovery:
    """A flow whose octets in flight the test sets, instead of the scoreboard."""
    return Recovery(NewReno(MSS), RttEstimator(1.0, 0.2, 60.0), Counters(), 0.0)


def leave(flow: Recovery, size: int, in_flight: int, now: float) -> Departure:
    flow.board.in_flight = in_flight
    departure = flow.depart(now)
    departure.in_flight = in_flight + size
    return departure


def limited_by_application(flow: Recovery, in_flight: int) -> None:
    flow.board.in_flight = in_flight
    flow.flushed(None, held_back=False, idle=True)


def ack(delivery: Delivery, now: float, *arrivals: tuple[int, Departure], min_rtt: float = 0.1) -> AckSample:
    sample = AckSample(now)
    sample.min_rtt = min_rtt
    for size, departure in arrivals:
        delivery.deliver(size, departure, now)
    delivery.measure(sample)
    return sample


def test_a_window_per_round_trip() -> None:
    """10,000 octets leave at 0, and all are acknowledged at 0.1: 100,000 octets a second."""
    delivery = measured()
    departure = leave(delivery, 10_000, 0, 0.0)
    sample = ack(delivery, 0.1, (10_000, departure))
    assert sample.delivery_rate == pytest.approx(100_000)
    assert sample.rate_delivered == 10_000
    assert sample.interval == pytest.approx(0.1)
    assert (sample.prior_delivered, sample.total_delivered) == (0, 10_000)
    assert sample.sent_in_flight == 10_000
    assert delivery.delivery_rate == pytest.approx(100_000)


def test_steady_state() -> None:
    """1000 octets every 10 ms in both directions, a round trip of 100 ms: what is measured is 100,000 octets a second,
    by ten segments delivered since the newest left."""
    delivery = measured()
    departures = [leave(delivery, 1000, step * 1000, step / 100) for step in range(10)]
    sample = AckSample(0.0)
    for step in range(10, 60):
        now = step / 100
        sample = ack(delivery, now, (1000, departures[step - 10]))
        departures.append(leave(delivery, 1000, 9000, now))
    assert sample.rate_delivered == 10_000
    assert sample.interval == pytest.approx(0.1)
    assert sample.delivery_rate == pytest.approx(100_000)


def test_compressed_acks_do_not_inflate_it() -> None:
    """The ACKs of 0.0 to 0.09 arrive together at 0.19: the send interval is the longer one and holds."""
    delivery = measured()
    departures = [leave(delivery, 1000, step * 1000, step / 100) for step in range(10)]
    sample = ack(delivery, 0.19, *((1000, departure) for departure in departures))
    # Newest: left at 0.09, nothing was delivered by then, its flight began at 0.0; ACK interval 0.19 from 0.0.
    assert sample.interval == pytest.approx(0.19)
    assert sample.delivery_rate == pytest.approx(10_000 / 0.19)


def test_what_was_sent_slowly_did_not_arrive_fast() -> None:
    """Two segments left 0.2 s apart, and their ACKs come 0.1 s apart: the send interval holds."""
    delivery = measured()
    first = leave(delivery, 1000, 0, 0.0)
    leave(delivery, 1000, 1000, 0.1)
    ack(delivery, 0.15, (1000, first))
    second = leave(delivery, 1000, 1000, 0.2)
    sample = ack(delivery, 0.25, (1000, second), min_rtt=0.05)
    assert sample.interval == pytest.approx(0.2)
    assert sample.rate_delivered == 1000


def test_the_latest_sample_is_the_rate_also_when_it_is_lower() -> None:
    delivery = measured()
    ack(delivery, 0.1, (10_000, leave(delivery, 10_000, 0, 0.0)))
    ack(delivery, 0.2, (5000, leave(delivery, 5000, 0, 0.1)))
    assert delivery.delivery_rate == pytest.approx(50_000)


def test_a_burst_of_acks_within_less_than_a_round_trip_is_no_sample() -> None:
    delivery = measured()
    first = leave(delivery, 1000, 0, 0.0)
    ack(delivery, 0.1, (1000, first))
    second = leave(delivery, 1000, 0, 0.1)
    sample = ack(delivery, 0.15, (1000, second))
    assert sample.delivery_rate == 0.0
    assert delivery.delivery_rate == pytest.approx(10_000)


def test_the_newest_departure_counts_also_when_an_older_one_is_told_of_last() -> None:
    delivery = measured()
    first = leave(delivery, 1000, 0, 0.0)
    second = leave(delivery, 1000, 1000, 0.05)
    sample = ack(delivery, 0.15, (1000, second), (1000, first))
    assert sample.sent_in_flight == 2000
    assert sample.interval == pytest.approx(0.15)
    assert sample.rate_delivered == 2000


def test_after_idle_the_flight_begins_anew() -> None:
    """4.1.2.2: the pause is no part of the next interval."""
    delivery = measured()
    ack(delivery, 0.1, (1000, leave(delivery, 1000, 0, 0.0)))
    departure = leave(delivery, 5000, 0, 50.0)
    sample = ack(delivery, 50.1, (5000, departure))
    assert sample.delivery_rate == pytest.approx(50_000)


def test_an_ack_that_delivers_nothing_gives_no_sample() -> None:
    delivery = measured()
    leave(delivery, 1000, 0, 0.0)
    sample = ack(delivery, 0.1)
    assert (sample.delivery_rate, sample.prior_delivered) == (0.0, -1)


def test_lost_since_the_newest_left() -> None:
    delivery = measured()
    delivery.lost_in_total = 3000
    departure = leave(delivery, 1000, 0, 0.0)
    delivery.lost_in_total += 2000
    assert ack(delivery, 0.1, (1000, departure)).lost == 2000


# --- limited by the application (4.1.2.4)


def test_marking() -> None:
    """All that is in flight, and what leaves until it is delivered, is marked; what leaves later is not."""
    delivery = measured()
    before = leave(delivery, 1000, 0, 0.0)
    limited_by_application(delivery, 1000)
    bubble = leave(delivery, 1000, 1000, 0.05)
    assert not before.app_limited
    assert bubble.app_limited
    ack(delivery, 0.1, (1000, before))
    assert leave(delivery, 1000, 1000, 0.1).app_limited  # the bubble is not through yet
    ack(delivery, 0.15, (1000, bubble))
    assert not leave(delivery, 1000, 1000, 0.2).app_limited


def test_a_limited_sample_raises_the_rate_and_never_lowers_it() -> None:
    delivery = measured()
    ack(delivery, 0.1, (10_000, leave(delivery, 10_000, 0, 0.0)))
    limited_by_application(delivery, 0)
    sample = ack(delivery, 1.1, (1000, leave(delivery, 1000, 0, 1.0)))
    assert sample.app_limited
    assert sample.delivery_rate == pytest.approx(10_000)
    assert delivery.delivery_rate == pytest.approx(100_000)
    assert not delivery.rate_app_limited
    limited_by_application(delivery, 0)
    ack(delivery, 2.1, (30_000, leave(delivery, 30_000, 0, 2.0)))
    assert delivery.delivery_rate == pytest.approx(300_000)
    assert delivery.rate_app_limited


# --- traces


def test_a_connection_measures_its_path() -> None:
    """Ten segments in a round trip of 100 ms, by cumulative ACKs and by SACK alike."""
    t = sender(10)
    t.write(30 * MSS)
    t.advance(RTT)
    t.receives(". 1:1 ack 5001", ". 1:1 ack 5001 <sack 6001:10001>")
    delivery = recovery(t)
    assert delivery.delivered == 1 + 9 * MSS  # the SYN is one
    assert delivery.delivery_rate == pytest.approx(9 * MSS / RTT, rel=0.01)
    assert not delivery.rate_app_limited


def test_a_writer_that_pauses_limits() -> None:
    t = sender(2)
    t.advance(RTT)
    t.receives(". 1:1 ack 2001")
    t.write(2 * MSS)
    t.drain()
    t.advance(RTT)
    t.receives(". 1:1 ack 4001")
    assert recovery(t).rate_app_limited


def test_each_octet_is_delivered_once() -> None:
    """Told of by SACK, by a repeated SACK, and by the cumulative ACK."""
    t = sender(10)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 2001:5001>", ". 1:1 ack 1 <sack 2001:5001>", ". 1:1 ack 3001 <sack 4001:5001>")
    t.drain()
    t.receives(". 1:1 ack 10001")
    assert recovery(t).delivered == 1 + 10 * MSS
