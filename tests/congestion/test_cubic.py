"""CUBIC (RFC 9438): figures worked out by hand, in segments unless said otherwise."""

from itertools import pairwise

import pytest

from tests.congestion.acks import MSS, Acks
from utcp.tcp.congestion.cubic import ALPHA, Cubic


def after_loss(window: int, rtt: float = 0.1) -> tuple[Cubic, Acks]:
    """A loss at a window of so many segments, and its recovery; congestion avoidance is about to begin."""
    cubic = Cubic(MSS)
    cubic.cwnd = window * MSS
    acks = Acks(cubic, rtt)
    acks.lose()
    return cubic, acks


# --- the reduction (4.6, 4.7)


@pytest.mark.rfc("9438", "4.6-1")
def test_a_loss_leaves_seven_tenths() -> None:
    cubic, _ = after_loss(100)
    assert (cubic.cwnd, cubic.ssthresh) == (70 * MSS, 70 * MSS)


def test_the_window_stays_until_recovery_is_over() -> None:
    """Proportional rate reduction leads what is in flight down meanwhile."""
    cubic = Cubic(MSS)
    cubic.on_loss(10 * MSS, 0.0)
    assert (cubic.cwnd, cubic.ssthresh) == (10 * MSS, 7 * MSS)
    cubic.on_recovered(7 * MSS, 1.0)
    assert cubic.cwnd == 7 * MSS


@pytest.mark.rfc("9438", "4.6-4")
def test_ssthresh_is_two_segments_at_least() -> None:
    cubic, _ = after_loss(2)
    assert (cubic.cwnd, cubic.ssthresh) == (2 * MSS, 2 * MSS)


@pytest.mark.rfc("9438", "4.6-4")
def test_marks_lead_down_to_one_segment() -> None:
    """4.6: a loss leaves two, ECN-Echo one."""
    cubic = Cubic(MSS)
    windows = []
    for _ in range(9):
        cubic.on_mark(cubic.cwnd, 0.0)
        cubic.on_recovered(cubic.cwnd, 1.0)
        windows.append(cubic.cwnd)
    assert windows == [7000, 4900, 3430, 2401, 1680, 1176, 1000, 1000, 1000]
    assert cubic.ssthresh == 2 * MSS


@pytest.mark.rfc("9438", "4.7-1")
def test_fast_convergence() -> None:
    """4.7: a loss at 900 after one at 1000 makes W_max 900 * 0.85 = 765."""
    cubic, acks = after_loss(1000)
    assert cubic._w_max == 1000 * MSS
    cubic.cwnd = 900 * MSS
    acks.lose()
    assert cubic._w_max == pytest.approx(765 * MSS)
    cubic.cwnd = 800 * MSS
    acks.lose()
    assert cubic._w_max == 800 * MSS  # it had come beyond


# --- the cubic function (4.2, 4.4, 4.5)


@pytest.mark.rfc("9438", "4.2-2", "5.1-1")
def test_k() -> None:
    """Figure 2: cbrt((1000 - 700) / 0.4) = 9.0856."""
    cubic, acks = after_loss(1000)
    acks.ack(MSS)
    assert cubic._k == pytest.approx(9.0856, abs=1e-4)


@pytest.mark.defect(8)
@pytest.mark.rfc("9438", "4.2-2")
def test_k_after_fast_convergence_is_that_of_rfc_9438() -> None:
    """RFC 8312's K, cbrt(W_max * 0.3 / 0.4), would be 8.31 here and the function would begin at 535,
    far below the window; RFC 9438's is cbrt((765 - 630) / 0.4) = 6.9624."""
    cubic, acks = after_loss(1000)
    cubic.cwnd = 900 * MSS
    acks.lose()
    acks.ack(MSS)
    assert cubic._k == pytest.approx(6.9624, abs=1e-4)
    assert cubic._w_cubic(0.0) == pytest.approx(630 * MSS)


@pytest.mark.parametrize(
    ("elapsed", "window"), [(1, 788.56), (3, 909.85), (5, 972.72), (9, 999.9997), (12, 1009.90), (15, 1082.75)]
)
@pytest.mark.rfc("9438", "4.2-1", "4.2-3", "5.1-1")
def test_the_window_follows_the_cubic_function(elapsed: float, window: float) -> None:
    """Figure 1: 0.4 (t - 9.0856)^3 + 1000. It aims a round trip ahead: it is as far along as that, no further."""
    cubic, acks = after_loss(1000)
    acks.ack(MSS)
    epoch = acks.now
    assert cubic._w_cubic(elapsed) == pytest.approx(window * MSS, abs=20)
    acks.until(epoch + elapsed)
    assert window * MSS - 20 <= cubic.cwnd <= cubic._w_cubic(elapsed + acks.rtt) + 1


@pytest.mark.rfc("9438", "4.4-1")
def test_the_window_is_reached_whether_acks_are_many_or_few() -> None:
    windows = []
    for acks_a_round in (1, 3, 50):
        cubic, acks = after_loss(1000)
        for _ in range(50):
            acks.round(acks_a_round)
        windows.append(cubic.cwnd)
    assert max(windows) - min(windows) < 10 * MSS


@pytest.mark.rfc("9438", "4.4-1")
def test_growth_of_less_than_an_octet_adds_up() -> None:
    cubic, acks = after_loss(1000)
    other, few = after_loss(1000)
    for _ in range(3):
        acks.round(5000)
        few.round(50)
    assert cubic.cwnd - 700 * MSS == pytest.approx(other.cwnd - 700 * MSS, rel=0.02)


@pytest.mark.rfc("9438", "4.2-3")
def test_growth_is_half_a_window_in_a_round_trip_at_most() -> None:
    """4.2: target is 1.5 cwnd at most, however long there was no loss."""
    cubic, acks = after_loss(100)
    acks.ack(MSS)
    acks.now += 1000.0
    before = cubic.cwnd
    acks.ack(before)
    assert cubic.cwnd == before * 3 // 2


# --- the Reno-friendly region (4.3)


@pytest.mark.rfc("9438", "4.3-2")
def test_alpha() -> None:
    """3 * 0.3 / 1.7."""
    assert pytest.approx(9 / 17) == ALPHA


@pytest.mark.rfc9293("MAY-18")
@pytest.mark.rfc("9438", "4.3-1", "4.3-2", "4.3-3")
def test_reno_friendly_region() -> None:
    """On a short round trip W_est leads: 9/17 segment in each up to the window before the loss, then a whole one."""
    cubic, acks = after_loss(20, rtt=0.01)
    windows = [cubic.cwnd]
    for _ in range(30):
        acks.round(10)
        windows.append(cubic.cwnd)
    steps = [after - before for before, after in pairwise(windows)]
    below = [step for step, window in zip(steps, windows[1:], strict=False) if window < 20 * MSS]
    above = [step for step, window in zip(steps, windows, strict=False) if window > 20 * MSS]
    assert len(below) >= 10
    assert len(above) >= 10
    # An ACK within the round counts against the window as it has grown by then: a little less than the whole.
    assert all(0.95 * 9 / 17 * MSS < step <= 9 / 17 * MSS + 1 for step in below)
    assert all(0.95 * MSS < step <= MSS + 1 for step in above)


# --- without W_max (4.8, 4.10)


def test_without_a_loss_the_window_grows_by_a_twentieth() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = cubic.ssthresh = 1000 * MSS
    acks = Acks(cubic, rtt=0.1)
    acks.round(1)
    assert cubic.cwnd == 1050 * MSS
    acks.round(1)
    assert cubic.cwnd == pytest.approx(1102.5 * MSS, abs=1)


@pytest.mark.rfc("9438", "4.8-1", "4.8-2")
def test_timeout() -> None:
    """4.8: one segment, slow start up to seven tenths, and then K = 0 and W_max where that began."""
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_timeout(cubic.cwnd, 0.0)
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 70 * MSS)
    acks = Acks(cubic, 0.1)
    while cubic.in_slow_start:
        acks.round(4)
    assert cubic._k == 0.0
    assert cubic._w_max == 70 * MSS
    assert cubic._prior == 100 * MSS


@pytest.mark.rfc("5681", "3.1-7")
def test_repeated_timeouts_leave_ssthresh() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_timeout(cubic.cwnd, 0.0)
    for _ in range(5):
        cubic.on_repeated_timeout()
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 70 * MSS)


def test_a_timeout_in_recovery_reduces_once() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_loss(cubic.cwnd, 0.0)
    cubic.on_timeout(50 * MSS, 1.0)
    assert (cubic.cwnd, cubic.ssthresh) == (MSS, 70 * MSS)
    cubic.on_spurious(2.0)  # the timeout was wrong, the loss was not
    assert (cubic.cwnd, cubic.ssthresh) == (70 * MSS, 70 * MSS)


def test_the_hold_on_a_reduction_ends_with_a_repeated_timeout() -> None:
    cubic = Cubic(MSS)
    cubic.on_loss(cubic.cwnd, 0.0)
    cubic.on_repeated_timeout()
    cubic.on_recovered(0, 1.0)
    assert cubic.cwnd == MSS


# --- undo (4.9)


def state(cubic: Cubic) -> tuple[object, ...]:
    names = ("cwnd", "ssthresh", "_w_max", "_k", "_epoch", "_w_est", "_prior", "_alpha", "_searching", "_in_epoch")
    return tuple(getattr(cubic, name) for name in names)


@pytest.mark.parametrize("wrong", ["loss", "timeout"])
@pytest.mark.rfc("9438", "4.9-1")
def test_undo_restores_all(wrong: str) -> None:
    cubic, acks = after_loss(1000)
    acks.until(acks.now + 3.0)
    before = state(cubic)
    if wrong == "loss":
        cubic.on_loss(cubic.cwnd, acks.now)
    else:
        cubic.on_timeout(cubic.cwnd, acks.now)
    assert state(cubic) != before
    cubic.on_spurious(acks.now + 0.1)
    assert state(cubic) == before


def test_undo_of_a_loss_in_the_first_slow_start() -> None:
    cubic = Cubic(MSS)
    before = state(cubic)
    cubic.on_loss(cubic.cwnd, 1.0)
    cubic.on_recovered(cubic.ssthresh, 2.0)
    cubic.on_spurious(3.0)
    assert state(cubic) == before
    assert cubic.in_slow_start


@pytest.mark.rfc("9438", "4.9-2")
def test_undo_long_after_changes_nothing() -> None:
    """4.9.2: the window is higher by then than it was."""
    cubic, acks = after_loss(20, rtt=0.01)
    acks.until(acks.now + 1.0)
    assert cubic.cwnd > 20 * MSS
    before = state(cubic)
    cubic.on_spurious(acks.now)
    assert state(cubic) == before


def test_undo_works_once() -> None:
    cubic = Cubic(MSS)
    cubic.cwnd = 100 * MSS
    cubic.on_loss(cubic.cwnd, 0.0)
    cubic.on_spurious(1.0)
    cubic.cwnd = 50 * MSS
    cubic.on_spurious(2.0)
    assert cubic.cwnd == 50 * MSS


# --- what limits the sender (4.2, 5.8)


@pytest.mark.rfc("9438", "4.6-3", "5.8-1")
def test_a_window_that_is_not_used_does_not_grow() -> None:
    cubic, acks = after_loss(1000)
    acks.round(limited=False)
    assert cubic.cwnd == 700 * MSS


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.rfc("9438", "4.2-4")
def test_time_without_data_does_not_count(idle: bool) -> None:
    """Half a minute with little or nothing to send, and the function goes on where it was."""
    cubic, acks = after_loss(1000)
    acks.until(acks.now + 3.0)
    before = cubic.cwnd
    if idle:
        acks.now += 30.0
        cubic.on_sent(0, acks.now)
    else:
        for _ in range(60):  # for less than it takes until a window that is not used decays
            acks.now += 0.5
            cubic._used_since = acks.now
            acks.ack(100, limited=False)
    acks.round()
    assert before < cubic.cwnd < before + 15 * MSS


def test_an_ack_of_the_whole_window_is_no_pause() -> None:
    """A peer that acknowledges a window at once leaves nothing in flight for a moment in each round trip."""
    cubic, acks = after_loss(1000)
    acks.ack(MSS)
    epoch = cubic._epoch
    for _ in range(20):
        acks.round(1)
        cubic.on_sent(0, acks.now)
    assert cubic._epoch == pytest.approx(epoch)


def test_another_mss_begins_another_epoch() -> None:
    cubic, acks = after_loss(1000)
    acks.ack(MSS)
    cubic.set_mss(MSS // 2)
    acks.ack(MSS)
    assert cubic._k == pytest.approx((300 / 0.2) ** (1 / 3), rel=0.001)  # C is in segments
