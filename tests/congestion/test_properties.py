"""What holds whatever a controller is told."""

from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.congestion.acks import Acks
from utcp.tcp.congestion import Cubic, NewReno
from utcp.tcp.congestion.loss_based import LossBased

STEPS = ("ack", "big", "unlimited", "recovering", "loss", "mark", "recovered", "timeout", "again", "spurious", "idle")
BOTH = pytest.mark.parametrize("make", [Cubic, NewReno])


def step(acks: Acks, name: str) -> None:
    one = acks.controller
    match name:
        case "ack":
            acks.ack(one.mss)
        case "big":
            acks.ack(one.cwnd)
        case "unlimited":
            acks.ack(one.mss, limited=False)
        case "recovering":
            one.on_ack(acks.sample(one.mss, recovering=True))
        case "loss":
            one.on_loss(one.cwnd, acks.now)
        case "mark":
            one.on_mark(one.cwnd, acks.now)
        case "recovered":
            one.on_recovered(one.cwnd, acks.now)
        case "timeout":
            one.on_timeout(one.cwnd, acks.now)
        case "again":
            one.on_repeated_timeout()
        case "spurious":
            one.on_spurious(acks.now)
        case "idle":
            one.on_idle(acks.rtt * 5, acks.rtt * 2)


@BOTH
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    mss=st.integers(64, 65495),  # a peer that offers less is not believed
    window=st.integers(1, 1 << 32),
    rtt=st.floats(1e-6, 60.0),
    lives=st.lists(st.tuples(st.sampled_from(STEPS), st.floats(0.0, 100.0)), max_size=40),
)
def test_windows_stay_in_bounds(
    make: type[LossBased], mss: int, window: int, rtt: float, lives: list[tuple[str, float]]
) -> None:
    one = make(mss)
    one.cwnd = max(window, mss)
    acks = Acks(one, rtt)
    for name, pause in lives:
        acks.now += pause
        before = one.cwnd
        step(acks, name)
        assert isinstance(one.cwnd, int)
        assert isinstance(one.ssthresh, int)
        assert one.cwnd >= mss
        assert one.ssthresh >= 2 * mss
        assert one.pacing_rate > 0
        if name in ("ack", "big"):
            # Slow start doubles it at most; what is left of the ACK then adds a segment at most.
            assert before <= one.cwnd <= 2 * before + mss
        if isinstance(one, Cubic):
            assert isfinite(one._k)
            assert one._k >= 0.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    mss=st.integers(64, 65495),  # a peer that offers less is not believed
    w_max=st.floats(0.0, 1e12),
    window=st.integers(1, 1 << 40),
)
def test_k_is_real_for_every_window(mss: int, w_max: float, window: int) -> None:
    cubic = Cubic(mss)
    cubic.cwnd = cubic.ssthresh = max(window, mss)
    cubic._w_max = w_max
    cubic._searching = False
    Acks(cubic, 0.1).ack(mss)
    assert isinstance(cubic._k, float)
    assert 0.0 <= cubic._k < 1e5
    assert cubic._w_cubic(0.0) <= cubic.cwnd * 1.000001 + 1  # the function begins at the window


@BOTH
def test_small_acks_add_up_at_gigabytes(make: type[LossBased]) -> None:
    """A window of 4 GiB grows as much by 1,000 ACKs of a part of it as by few: nothing is rounded away."""
    windows = []
    for acks_a_round in (10, 1000):
        one = make(1000)
        one.cwnd = 4 << 30
        acks = Acks(one, 0.1)
        acks.lose()
        for _ in range(3):
            acks.round(acks_a_round)
        assert one.cwnd > one.ssthresh
        windows.append(one.cwnd - one.ssthresh)
    assert windows[0] == pytest.approx(windows[1], rel=0.15)
