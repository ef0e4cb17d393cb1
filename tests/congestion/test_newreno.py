"""NewReno (RFC 5681), and what it shares with CUBIC: pacing, idle time, a window that is not used, names."""

from math import inf

import pytest

from tests.congestion.acks import INITIAL_WINDOW, MSS, Acks
from utcp.config import Config
from utcp.tcp.congestion import CONTROLLERS, Cubic, NewReno
from utcp.tcp.congestion.base import HANDSHAKE, UNLIMITED
from utcp.tcp.congestion.loss_based import LossBased
from utcp.tcp.recovery.scoreboard import Departure

BOTH = pytest.mark.parametrize("make", [Cubic, NewReno])


@pytest.mark.rfc("5681", "3.1-5")
def test_a_segment_in_a_round_trip() -> None:
    reno = NewReno(MSS)
    reno.ssthresh = INITIAL_WINDOW
    acks = Acks(reno)
    for expected in (11, 12, 13):
        acks.ack(reno.cwnd - 1)
        assert reno.cwnd == (expected - 1) * MSS
        acks.ack(1)
        assert reno.cwnd == expected * MSS


@pytest.mark.rfc("5681", "3.1-5")
def test_octets_beyond_a_window_count_for_the_next() -> None:
    reno = NewReno(MSS)
    reno.ssthresh = INITIAL_WINDOW
    acks = Acks(reno)
    acks.ack(15 * MSS)
    acks.ack(6 * MSS - 1)
    assert reno.cwnd == 11 * MSS
    acks.ack(1)
    assert reno.cwnd == 12 * MSS


def test_a_loss_leaves_half() -> None:
    reno = NewReno(MSS)
    acks = Acks(reno)
    acks.lose()
    assert (reno.cwnd, reno.ssthresh) == (5 * MSS, 5 * MSS)


@pytest.mark.rfc("5681", "3.1-8")
def test_a_timeout_leaves_one_segment() -> None:
    reno = NewReno(MSS)
    reno.on_timeout(10 * MSS, 0.0)
    assert (reno.cwnd, reno.ssthresh) == (MSS, 5 * MSS)
    reno.on_recovered(0, 1.0)
    assert reno.cwnd == MSS  # slow start goes on from where it is


@pytest.mark.parametrize("wrong", ["loss", "timeout"])
def test_undo(wrong: str) -> None:
    reno = NewReno(MSS)
    if wrong == "loss":
        reno.on_loss(10 * MSS, 0.0)
    else:
        reno.on_timeout(10 * MSS, 0.0)
    reno.on_spurious(1.0)
    assert (reno.cwnd, reno.ssthresh) == (INITIAL_WINDOW, UNLIMITED)


def test_octets_that_filled_slow_start_do_not_count_again() -> None:
    acks = Acks(NewReno(MSS), 0.1)
    acks.controller.on_established(0.1, acks.now)
    acks.controller.ssthresh = 16 * MSS
    acks.ack(20 * MSS)
    assert acks.controller.cwnd == 16 * MSS
    acks.ack(2 * MSS)
    assert acks.controller.cwnd == 17 * MSS


@BOTH
def test_a_larger_mss(make: type[LossBased]) -> None:
    """One segment fits, and ssthresh is two at least."""
    one = make(MSS)
    one.on_timeout(MSS, 0.0)
    one.ssthresh = 2 * MSS
    one.set_mss(9 * MSS)
    assert (one.cwnd, one.ssthresh) == (9 * MSS, 18 * MSS)


@BOTH
@pytest.mark.rfc("9438", "4.10-1")
def test_slow_start_ends_at_ssthresh_exactly(make: type[LossBased]) -> None:
    """One ACK for a hundred segments does not lead beyond."""
    acks = Acks(make(MSS), 0.1)
    acks.controller.on_established(0.1, acks.now)
    acks.controller.ssthresh = 16 * MSS
    acks.ack(100 * MSS)
    assert 16 * MSS <= acks.controller.cwnd <= 17 * MSS


@BOTH
def test_what_sack_told_of_does_not_count_again(make: type[LossBased]) -> None:
    """The ACK that ends a recovery passes a whole window; of it only one segment is news."""
    acks = Acks(make(MSS), 0.1)
    sample = acks.sample(100 * MSS)
    sample.newly_delivered = MSS
    acks.controller.on_ack(sample)
    assert acks.controller.cwnd == 11 * MSS


@BOTH
@pytest.mark.rfc("3168", "6.1.2-2")
@pytest.mark.rfc("5681", "3.2-8")
def test_nothing_grows_in_recovery(make: type[LossBased]) -> None:
    acks = Acks(make(MSS))
    acks.controller.on_loss(INITIAL_WINDOW, acks.now)
    for _ in range(20):
        acks.controller.on_ack(acks.sample(MSS, recovering=True))
    acks.controller.on_recovered(0, acks.now)
    assert acks.controller.cwnd == acks.controller.ssthresh


@BOTH
@pytest.mark.rfc("5681", "3.1-1")
def test_begin_forgets(make: type[LossBased]) -> None:
    """A lost SYN leaves nothing behind: the controller of all handshakes does not change, and another one follows."""
    names = [name for base in type(HANDSHAKE).__mro__ for name in getattr(base, "__slots__", ())]
    before = [getattr(HANDSHAKE, name) for name in names]
    HANDSHAKE.on_sent(0, 0.0)
    HANDSHAKE.on_timeout(1, 1.0)
    HANDSHAKE.on_lost(1, Departure(0.0, 0, 0.0, 0.0), 1.0)
    HANDSHAKE.on_repeated_timeout()
    HANDSHAKE.set_mss(9000)
    assert [getattr(HANDSHAKE, name) for name in names] == before
    begun = make(MSS)
    assert begun.cwnd == INITIAL_WINDOW
    assert begun.ssthresh == UNLIMITED


# --- idle, and not used (RFC 5681 4.1, RFC 7661)


@BOTH
@pytest.mark.parametrize(("idle", "window"), [(1.0, 160), (1.5, 80), (2.5, 40), (3.5, 20), (4.5, 10), (1e9, 10)])
@pytest.mark.rfc("6928", "2-2")
def test_idle_time_halves_the_window(make: type[LossBased], idle: float, window: int) -> None:
    """For each RTO of it, down to the initial window; ssthresh remembers three quarters."""
    one = make(MSS)
    one.cwnd, one.ssthresh = 160 * MSS, 100 * MSS
    one.on_idle(idle, 1.0)
    assert (one.cwnd, one.ssthresh) == (window * MSS, 120 * MSS)


@BOTH
@pytest.mark.rfc("6928", "2-2")
def test_idle_time_leaves_a_small_window(make: type[LossBased]) -> None:
    one = make(MSS)
    one.cwnd, one.ssthresh = 3 * MSS, 2 * MSS
    one.on_idle(100.0, 1.0)
    assert (one.cwnd, one.ssthresh) == (3 * MSS, 2 * MSS)


@BOTH
@pytest.mark.rfc("9438", "4.6-3")
def test_a_window_that_is_not_used_decays(make: type[LossBased]) -> None:
    """Half the way to what is used, each second."""
    one = make(MSS)
    one.cwnd, one.ssthresh = 160 * MSS, 100 * MSS
    acks = Acks(one, 0.1)

    def use(octets: int) -> None:
        sample = acks.sample(MSS, limited=False)
        sample.prior_in_flight = octets
        one.on_ack(sample)

    use(40 * MSS)
    acks.now += 0.9
    use(40 * MSS)
    assert one.cwnd == 160 * MSS
    acks.now += 0.2
    use(MSS)
    assert (one.cwnd, one.ssthresh) == (100 * MSS, 120 * MSS)
    for _ in range(40):
        acks.now += 0.5
        use(MSS)
    assert INITIAL_WINDOW <= one.cwnd <= 11 * MSS


@BOTH
def test_a_window_that_is_used_now_and_then_does_not_decay(make: type[LossBased]) -> None:
    one = make(MSS)
    one.cwnd, one.ssthresh = 160 * MSS, 160 * MSS
    acks = Acks(one, 0.1)
    for index in range(40):
        acks.now += 0.3
        acks.ack(100, limited=index % 3 == 0)
    assert one.cwnd >= 160 * MSS


@BOTH
def test_idle_time_is_not_counted_twice(make: type[LossBased]) -> None:
    one = make(MSS)
    one.cwnd, one.ssthresh = 160 * MSS, 100 * MSS
    acks = Acks(one, 0.1)
    acks.ack(MSS, limited=False)
    acks.now += 2.5
    one.on_idle(2.5, 1.0)
    sample = acks.sample(MSS, limited=False)
    sample.prior_in_flight = MSS
    one.on_ack(sample)
    assert one.cwnd == 40 * MSS


# --- pacing


@BOTH
def test_pacing(make: type[LossBased]) -> None:
    one = make(MSS)
    assert one.pacing_rate == inf
    one.on_established(0.0, 0.0)
    assert one.pacing_rate == inf
    one.on_established(0.1, 0.0)
    assert one.pacing_rate == pytest.approx(2 * INITIAL_WINDOW / 0.1)
    one.ssthresh = INITIAL_WINDOW
    acks = Acks(one, 0.1)
    acks.ack(100)
    assert one.pacing_rate == pytest.approx(1.2 * one.cwnd / 0.1)


# --- names


def test_names() -> None:
    for name in ("newreno", "cubic"):
        made = CONTROLLERS[name](MSS, 7)
        assert made.name == name
        assert made.loss_based
    with pytest.raises(ValueError, match=r'"bbr", "cubic", "newreno", not \'vegas\''):
        Config(congestion_control="vegas")
