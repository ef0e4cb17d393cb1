"""HyStart++ (RFC 9406), as slow start shows it."""

from math import inf

import pytest

from tests.congestion.acks import MSS, Acks
from utcp.tcp.congestion import Cubic, NewReno
from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.congestion.loss_based import LossBased

CONTROLLERS = pytest.mark.parametrize("make", [Cubic, NewReno])


def paced(make: type[LossBased], rtt: float = 0.1) -> Acks:
    acks = Acks(make(MSS), rtt)
    acks.controller.on_established(rtt, acks.now)
    return acks


def growth(acks: Acks, rtt: float, count: int = 20) -> float:
    """By what factor the window grows in a round of that round-trip time."""
    before = acks.controller.cwnd
    acks.round(count, rtt)
    return acks.controller.cwnd / before


@CONTROLLERS
@pytest.mark.rfc("9406", "4.2-2")
def test_slow_start_doubles_while_round_trips_stay(make: type[LossBased]) -> None:
    acks = paced(make)
    assert [growth(acks, 0.1) for _ in range(6)] == [2.0] * 6


@CONTROLLERS
@pytest.mark.rfc("9406", "4.2-1", "4.2-5", "4.2-7", "4.3-1")
def test_a_rise_slows_growth_and_five_rounds_end_it(make: type[LossBased]) -> None:
    """0.1 / 8 = 12.5 ms is the threshold. The round of the rise is the first of the five."""
    acks = paced(make)
    growth(acks, 0.1)
    assert 1.25 < growth(acks, 0.113) < 2.0  # noticed at the eighth sample
    factors = [growth(acks, 0.113) for _ in range(4)]
    assert factors == pytest.approx([1.25] * 4, rel=0.01)
    assert acks.controller.ssthresh == UNLIMITED
    assert growth(acks, 0.113) < 1.06
    assert acks.controller.ssthresh <= acks.controller.cwnd


@pytest.mark.rfc("9406", "4.2-3", "4.3-1")
def test_the_eighth_sample_tells() -> None:
    acks = paced(Cubic)
    acks.round(20, 0.1)
    acks.rtt = 0.2
    acks._round_start = acks.delivered
    steps = []
    for _ in range(10):
        before = acks.controller.cwnd
        acks.ack(MSS)
        steps.append(acks.controller.cwnd - before)
    assert steps == [MSS] * 7 + [MSS // 4] * 3


def test_one_early_ack_in_a_round_is_enough_to_stay() -> None:
    """The lowest counts."""
    acks = paced(Cubic)
    acks.round(20, 0.1)
    acks.rtt = 0.1
    acks._round_start = acks.delivered
    acks.ack(MSS)
    acks.rtt = 0.5
    for _ in range(30):
        before = acks.controller.cwnd
        acks.ack(MSS)
        assert acks.controller.cwnd == before + MSS


@pytest.mark.rfc("9406", "4.2-6")
def test_slow_start_goes_on_when_round_trips_fall_again() -> None:
    acks = paced(Cubic)
    growth(acks, 0.1)
    growth(acks, 0.15)
    assert growth(acks, 0.15) == pytest.approx(1.25, rel=0.01)
    growth(acks, 0.1)
    assert growth(acks, 0.1) == 2.0
    assert acks.controller.ssthresh == UNLIMITED


@pytest.mark.parametrize(
    ("base", "rise", "slows"),
    [
        (0.010, 0.0039, False),  # MIN_RTT_THRESH
        (0.010, 0.0041, True),
        (0.080, 0.0099, False),  # an eighth
        (0.080, 0.0101, True),
        (0.400, 0.0159, False),  # MAX_RTT_THRESH
        (0.400, 0.0161, True),
    ],
)
@pytest.mark.rfc("9406", "4.2-3", "4.3-1")
def test_thresholds(base: float, rise: float, slows: bool) -> None:
    acks = paced(Cubic, base)
    growth(acks, base)
    growth(acks, base + rise)
    assert (growth(acks, base + rise) < 1.5) == slows


def test_rounds_of_a_single_ack() -> None:
    """A peer that acknowledges a whole window at once: the round is judged when the next one begins."""
    acks = paced(Cubic)
    factors = [growth(acks, rtt, 1) for rtt in (0.1, 0.1, 0.15, 0.15, 0.15)]
    assert factors == pytest.approx([2, 2, 2, 1.25, 1.25], rel=0.01)
    for _ in range(5):
        growth(acks, 0.15, 1)
    assert acks.controller.ssthresh < UNLIMITED


@pytest.mark.parametrize("acks_a_round", [1, 3, 8, 30])
def test_jitter_of_a_fast_path_is_not_a_queue(acks_a_round: int) -> None:
    """Loopback: 100 microseconds, and up to 2 ms when the event loop is late."""
    acks = paced(Cubic, 0.0001)
    for late in (0.0, 0.002, 0.0005, 0.0019, 0.0, 0.001, 0.002, 0.0007) * 2:
        assert growth(acks, 0.0001 + late, acks_a_round) == pytest.approx(2.0)


def test_a_round_without_a_sample_is_passed_over() -> None:
    acks = paced(Cubic)
    growth(acks, 0.1)
    sample = acks.sample(0)
    sample.rtt = None
    sample.prior_delivered = acks.delivered
    acks.controller.on_ack(sample)
    growth(acks, 0.15)
    assert growth(acks, 0.15) == pytest.approx(1.25, rel=0.01)


def test_acks_are_ignored_while_the_window_does_not_limit_the_sender() -> None:
    """The window does not grow then, so that it is not the reason why round-trip times rise."""
    acks = paced(Cubic)
    growth(acks, 0.1)
    for rtt in (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4):
        acks.round(rtt=rtt, limited=False)
    assert growth(acks, 0.1) == pytest.approx(2.0)


@pytest.mark.rfc("9406", "4.3-3")
def test_later_slow_starts_have_no_hystart() -> None:
    """RFC 9406 4.3: after a timeout ssthresh is known."""
    acks = paced(Cubic)
    acks.controller.cwnd = 1000 * MSS
    acks.controller.on_timeout(1000 * MSS, acks.now)
    assert [growth(acks, rtt) for rtt in (0.1, 0.2, 0.3, 0.4, 0.5)] == [2.0] * 5


@pytest.mark.rfc("9406", "4.2-8")
def test_a_loss_ends_conservative_slow_start() -> None:
    acks = paced(Cubic)
    growth(acks, 0.1)
    growth(acks, 0.15)
    window = acks.controller.cwnd
    acks.lose()
    assert acks.controller.cwnd == acks.controller.ssthresh == int(window * 0.7)


@pytest.mark.rfc("9406", "4.2-2", "4.3-2")
def test_unpaced_slow_start_takes_eight_segments_an_ack() -> None:
    cubic = Cubic(MSS)
    assert cubic.pacing_rate == inf
    acks = Acks(cubic)
    sample = acks.sample(10 * MSS)
    sample.srtt = 0.0
    cubic.on_ack(sample)
    assert cubic.cwnd == 18 * MSS
    paced_one = paced(Cubic)
    paced_one.ack(10 * MSS)
    assert paced_one.controller.cwnd == 20 * MSS
