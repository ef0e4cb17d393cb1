"""BBRv3 (draft-ietf-ccwg-bbr-06): what it finds out about a path, and what it does about it."""

from itertools import pairwise
from math import inf, log2
from statistics import fmean, median
from typing import Any

import pytest

from tests.congestion.path import MSS, Flow
from utcp.tcp.congestion.bbr import (
    BBR,
    DRAIN,
    PROBE_BW_CRUISE,
    PROBE_BW_DOWN,
    PROBE_BW_REFILL,
    PROBE_BW_UP,
    PROBE_RTT,
    STARTUP,
)
from utcp.tcp.congestion.estimators import Aggregation, Dice, WindowedMax
from utcp.tcp.recovery.delivery import AckSample
from utcp.tcp.recovery.scoreboard import Departure

MBIT = 1e6 / 8
PROBE_BW = (PROBE_BW_DOWN, PROBE_BW_CRUISE, PROBE_BW_REFILL, PROBE_BW_UP)


class Watched(BBR):
    """Keeps each change of state."""

    def __init__(self, seed: int = 7) -> None:
        self.changes: list[tuple[float, str]] = [(0.0, STARTUP)]
        super().__init__(MSS, seed)

    def on_ack(self, sample: AckSample) -> None:
        super().on_ack(sample)
        if self.state != self.changes[-1][1]:
            self.changes.append((sample.now, self.state))

    def at(self, state: str) -> float:
        """When it was first in that state."""
        return next(at for at, name in self.changes if name == state)


def on_path(mbit: float = 20, rtt: float = 0.04, **path: Any) -> tuple[Watched, Flow]:
    controller = Watched()
    return controller, Flow(controller, rate=mbit * MBIT, rtt=rtt, **path)


def rtts(flow: Flow, begin: float = 0.0, end: float = inf) -> list[float]:
    """Those measured in that time."""
    return [sample.rtt for sample in flow.samples if sample.rtt is not None and begin <= sample.now < end]


def bdp(flow: Flow) -> float:
    """What the path holds without a queue, in segments."""
    return flow.rate * flow.rtt / MSS


# --- the filters


def test_windowed_max_forgets_what_is_older_than_the_window() -> None:
    values = WindowedMax()
    assert [values.update(value, time, 3) for time, value in enumerate([5, 9, 4, 3, 2, 1, 7])] == [5, 9, 9, 9, 4, 3, 7]


def test_windowed_max_keeps_one_value_a_tick() -> None:
    values = WindowedMax()
    for value in range(1000, 0, -1):
        assert values.update(value, 4, 2) == 1000
    assert len(values._values) == 1
    assert values.update(1, 5, 2) == 1000
    assert values.update(2, 6, 2) == 2


def test_windowed_max_may_become_longer_and_shorter() -> None:
    """Aggregation is remembered for one round in Startup and for ten later."""
    values = WindowedMax()
    assert [values.update(10 - time, time, 1) for time in range(3)] == [10, 9, 8]
    assert [values.update(10 - time, time, 10) for time in range(3, 6)] == [8, 8, 8]
    assert values.update(1, 6, 1) == 1


def test_aggregation_is_what_comes_above_the_rate() -> None:
    """At 800 octets a second, a hundred in an eighth: an even stream has no excess but its latest ACK."""
    path = Aggregation()
    path.restart(0.0)

    def ack(octets: int, eighths: float, round_count: int, cwnd: int = 10_000) -> float:
        return path.update(octets, 800.0, cwnd, round_count, round_count > 4, eighths / 8)

    assert [ack(100, n, n) for n in range(1, 5)] == [100, 100, 100, 100]
    assert ack(500, 5, 5) == 500
    assert ack(500, 6, 6) == 900  # a thousand in an eighth
    assert ack(5000, 6.5, 7, cwnd=2000) == 2000  # no more than the window
    assert ack(100, 80, 16) == 2000  # remembered for ten rounds
    assert ack(100, 81, 17) == 100


def test_dice_are_even_and_seeded() -> None:
    dice, again, other = Dice(3), Dice(3), Dice(4)
    rolls = [dice.roll() for _ in range(2000)]
    assert rolls == [again.roll() for _ in range(2000)]
    assert rolls[:5] != [other.roll() for _ in range(5)]
    assert min(rolls) >= 0
    assert max(rolls) < 1
    assert [sum(low <= roll < low + 0.25 for roll in rolls) for low in (0, 0.25, 0.5, 0.75)] == pytest.approx(
        [500] * 4, rel=0.1
    )


# --- Startup and Drain


def test_first_rate_is_the_initial_window_at_the_gain_of_startup() -> None:
    controller = BBR(1000)
    controller.on_established(0.1, 5.0)
    assert controller.cwnd == 10_000
    assert controller.pacing_rate == pytest.approx(2.77 * 10_000 / 0.1)
    assert controller.in_slow_start
    controller.on_established(0, 5.0)  # no sample: a millisecond is assumed (5.6.2)
    assert controller.pacing_rate == pytest.approx(2.77 * 10_000 / 0.001)


@pytest.mark.parametrize(("mbit", "rtt"), [(10, 0.02), (50, 0.02), (20, 0.1)])
def test_startup_finds_the_rate_in_a_logarithm_of_rounds(mbit: float, rtt: float) -> None:
    controller, flow = on_path(mbit, rtt)
    flow.run(3)
    left_startup = controller.at(DRAIN)
    found = next(at for at in flow.samples if at.delivery_rate > 0.95 * flow.rate).now
    assert found <= (log2(max(2, bdp(flow) / 10)) + 3) * rtt
    assert left_startup - found <= 5 * 2 * rtt  # three rounds without growth, of up to two round-trip times
    assert controller.max_bw == pytest.approx(flow.rate, rel=0.02)
    assert controller.min_rtt == pytest.approx(rtt, rel=0.1)
    assert flow.longest_queue < 1.5 * bdp(flow)


def test_drain_empties_the_queue() -> None:
    controller, flow = on_path()
    flow.run(2)
    drained = next(at for at, state in controller.changes if state in PROBE_BW)
    assert drained - controller.at(DRAIN) <= 2 * 2 * flow.rtt
    assert max(rtts(flow, end=drained)) > 1.7 * flow.rtt
    assert min(rtts(flow, drained, drained + 4 * flow.rtt)) < 1.1 * flow.rtt


def test_startup_ends_on_losses() -> None:
    """5.3.1.3: a queue of a tenth of what the path holds overflows before the plateau has lasted for three rounds."""
    controller, flow = on_path(50, 0.04, queue=16)
    flow.run(0.6)
    assert controller.full_bw_reached
    assert controller.at(DRAIN) < next(at for at in flow.samples if at.delivery_rate > 0.95 * flow.rate).now + 0.1
    assert 0.9 * bdp(flow) < controller.inflight_longterm / MSS < 1.6 * bdp(flow)


def test_random_losses_do_not_end_startup() -> None:
    controller, flow = on_path(50, 0.04, loss=0.03)
    flow.run(1.5)
    assert controller.max_bw > 0.95 * flow.rate
    assert controller.inflight_longterm == inf


# --- what it makes of a path


@pytest.mark.parametrize(
    ("loss", "least"),
    [(0.0, 0.95), (0.001, 0.95), (0.01, 0.95), (0.03, 0.92)],
)
@pytest.mark.parametrize(("mbit", "rtt"), [(10, 0.02), (10, 0.1), (50, 0.02)])
def test_share_of_the_bottleneck(mbit: float, rtt: float, loss: float, least: float) -> None:
    """Of all that could arrive after Startup, ProbeRTT included. BBRv1 gets between 95 and 98 %."""
    _, flow = on_path(mbit, rtt, loss=loss)
    flow.run(2)
    assert flow.run(6) > least * flow.rate
    assert flow.lost <= (loss * 1.3 + 0.001) * flow.sent
    assert flow.timeouts == 0


def test_the_limit_for_losses_is_a_limit() -> None:
    """Twice as much as it bears: the rate falls, as that of the draft does."""
    controller, flow = on_path(50, 0.02, loss=0.10)
    flow.run(2)
    assert flow.run(4) < 0.6 * flow.rate
    shares = []
    for _ in range(50):
        flow.run(0.02)
        shares.append(controller.bw_shortterm / controller.max_bw)
    assert min(shares) < 0.7


@pytest.mark.parametrize("rtt", [0.02, 0.1])
def test_a_short_queue(rtt: float) -> None:
    """Twenty packets; at 100 ms a twentieth of what the path holds."""
    _, flow = on_path(50, rtt, queue=20)
    flow.run(2)
    assert flow.run(8) > 0.88 * flow.rate
    before_lost, before_sent = flow.lost, flow.sent
    flow.run(4)
    assert flow.lost - before_lost < 0.02 * (flow.sent - before_sent)


def test_a_short_queue_is_left_some_room() -> None:
    """Once a probe has found the limit, 15 % of it stay free (BBR.Headroom)."""
    controller, flow = on_path(20, 0.1, queue=20)
    flow.run(6)
    while controller.state != PROBE_BW_CRUISE:
        flow.run(0.01)
    flow.run(flow.rtt)
    assert 0.95 * bdp(flow) < controller.inflight_longterm / MSS < 1.3 * bdp(flow)
    assert controller.cwnd <= 0.85 * controller.inflight_longterm


def test_more_room_is_found_behind_a_limit() -> None:
    """`inflight_longterm` grows by one, two, four segments a round: it does not stand for ever."""
    controller, flow = on_path(20, 0.04, queue=20)
    flow.run(4)
    assert controller.inflight_longterm < inf
    while controller.state != PROBE_BW_CRUISE:
        flow.run(0.01)
    assert controller._prev_probe_too_high
    flow.rate *= 4
    flow.queue *= 4
    widened = len(controller.changes)
    flow.run(8)
    ups = [(at, state) for at, state in controller.changes[widened:] if state in (PROBE_BW_REFILL, PROBE_BW_UP)]
    # The first probe turns round where the last one met with losses, and as there are none now, it is repeated at once.
    assert [state for _, state in ups[:4]] == [PROBE_BW_REFILL, PROBE_BW_UP] * 2
    assert ups[2][0] - ups[1][0] < 5 * flow.rtt
    assert controller.max_bw > 0.9 * flow.rate
    assert controller.inflight_longterm > 0.9 * bdp(flow) * MSS


def test_a_path_that_holds_less_than_a_segment() -> None:
    """There is still room for three trains of two segments (5.5.8.1)."""
    controller, flow = on_path(5, 0.001)
    flow.run(1)
    assert bdp(flow) < 1
    assert flow.run(2) > 0.98 * flow.rate
    while controller.state == PROBE_BW_UP:  # which adds two
        flow.run(0.001)
    assert controller._inflight(controller.bw) == 6 * MSS
    assert 6 * MSS <= controller.cwnd <= 12 * MSS


def test_reordering() -> None:
    _, flow = on_path(20, 0.04, jitter=0.01)
    flow.run(2)
    assert flow.run(6) > 0.94 * flow.rate


def test_the_queue_stays_short() -> None:
    controller, flow = on_path()
    flow.run(2)
    flow.longest_queue = 0
    flow.run(8)
    assert flow.longest_queue < 1.1 * bdp(flow)  # three rounds of ProbeBW_UP
    assert median(rtts(flow, 2)) < 1.2 * flow.rtt
    assert {state for _, state in controller.changes} >= {*PROBE_BW, PROBE_RTT}


def test_a_rate_that_doubles_is_found_in_a_cycle() -> None:
    controller, flow = on_path()
    flow.run(4)
    flow.rate *= 2
    flow.run(4)
    assert controller.max_bw > 0.95 * flow.rate
    assert flow.run(2) > 0.85 * flow.rate


def test_a_rate_that_halves_is_found_in_two_cycles() -> None:
    """Of up to three seconds each, and one that ProbeRTT breaks off does not count."""
    controller, flow = on_path()
    flow.run(4)
    flow.rate /= 2
    flow.run(10)
    assert controller.max_bw < 1.1 * flow.rate
    flow.longest_queue = 0
    assert flow.run(3) > 0.9 * flow.rate
    assert flow.longest_queue < 1.5 * bdp(flow)


def test_a_longer_path_is_believed_after_the_filter() -> None:
    controller, flow = on_path(rtt=0.02)
    flow.run(4)
    flow.rtt = 0.05
    flow.run(2)
    assert controller.min_rtt == pytest.approx(0.02, rel=0.1)
    flow.run(11)
    assert controller.min_rtt == pytest.approx(0.05, rel=0.1)
    assert flow.run(3) > 0.9 * flow.rate


# --- probing


def test_the_order_of_phases() -> None:
    controller, flow = on_path(10, 0.02)
    flow.run(4.9)
    states = [state for _, state in controller.changes]
    assert states[:2] == [STARTUP, DRAIN]
    # A queue that is empty already leaves nothing to do in DOWN: it lasts for no ACK.
    cycle = [state for state in states[2:] if state != PROBE_BW_DOWN]
    assert len(cycle) >= 6
    assert set(pairwise(cycle)) == {
        (PROBE_BW_CRUISE, PROBE_BW_REFILL),
        (PROBE_BW_REFILL, PROBE_BW_UP),
        (PROBE_BW_UP, PROBE_BW_CRUISE),
    }
    assert all(before in (PROBE_BW_UP, DRAIN) for before, after in pairwise(states) if after == PROBE_BW_DOWN)


def test_probes_are_two_to_three_seconds_apart_on_a_long_path() -> None:
    controller, flow = on_path(20, 0.1)
    flow.run(20)
    began, waits = 0.0, []
    for (_, before), (at, state) in pairwise(controller.changes):
        if before not in (PROBE_BW_DOWN, PROBE_BW_CRUISE):
            began = at
        elif state == PROBE_BW_REFILL:
            waits.append(at - began)
    assert len(waits) >= 3
    assert all(2 <= wait <= 3.1 for wait in waits)
    assert len({round(wait, 2) for wait in waits}) > 1


def test_probes_are_a_window_of_rounds_apart_on_a_short_path() -> None:
    """As often as Reno would regain what it loses: some 17 rounds of 20 ms, and not two seconds."""
    controller, flow = on_path(10, 0.02)
    flow.run(4.9)
    refills = [at for at, state in controller.changes if state == PROBE_BW_REFILL]
    gaps = [after - before for before, after in pairwise(refills)]
    assert all(15 * 0.02 < gap < 40 * 0.02 for gap in gaps)


def test_probe_rtt_empties_half_of_the_path_every_five_seconds() -> None:
    controller, flow = on_path(20, 0.04)
    flow.run(17)
    begins = [at for at, state in controller.changes if state == PROBE_RTT]
    assert len(begins) == 2
    assert begins[1] - begins[0] == pytest.approx(5.2, rel=0.02)
    for begin in begins:
        during = [sample for sample in flow.samples if begin < sample.now < begin + 0.3]
        assert min(sample.in_flight for sample in during) < 0.55 * bdp(flow) * MSS
        end = next(at for at, state in controller.changes if at > begin and state != PROBE_RTT)
        assert 0.2 < end - begin < 0.2 + 3 * flow.rtt
    assert controller.changes[-1][1] in PROBE_BW


def test_after_probe_rtt_all_is_as_before() -> None:
    controller, flow = on_path(20, 0.04)
    flow.run(4)
    window = controller.cwnd
    while controller.state != PROBE_RTT:
        flow.run(0.01)
    cycle = controller._cycle_count
    flow.run(0.15)
    assert controller.cwnd < 0.3 * window
    while controller.state == PROBE_RTT:
        flow.run(0.002)
    assert controller.cwnd > 0.9 * window
    flow.run(5 * flow.rtt)
    assert controller._cycle_count == cycle  # what was measured in ProbeRTT says nothing of the path's rate


def test_probe_rtt_is_over_after_an_idle_time() -> None:
    controller, flow = on_path(20, 0.04)
    while controller.state != PROBE_RTT:
        flow.run(0.01)
    flow.run(0.1)
    window = controller.cwnd
    flow.pause(3)
    assert controller.state == PROBE_RTT
    flow.run(0.01)  # something leaves, and no ACK is back
    assert controller.state == PROBE_BW_CRUISE
    assert controller.cwnd > 2 * window


def test_probe_rtt_measures_the_path_without_its_queue() -> None:
    controller, flow = on_path(20, 0.04)
    flow.run(4)
    controller.min_rtt = 0.08  # as if a queue that never emptied had been taken for the path
    controller._probe_rtt_min_delay = 0.08
    flow.run(4)
    assert controller.min_rtt == pytest.approx(0.04, rel=0.05)


# --- idle, losses, marks, timeouts


def test_no_burst_after_idle() -> None:
    controller, flow = on_path()
    flow.run(4)
    flow.pause(7)
    window, rate = controller.cwnd, controller.max_bw
    begin = flow.now
    flow.run(0.2)
    trains = [size for at, size in flow.bursts if begin <= at]
    assert window > 1.5 * bdp(flow) * MSS  # it stays
    assert max(trains) <= 2 * 0.001 * rate + 2 * MSS
    in_a_round = sum(size for at, size in flow.bursts if begin <= at < begin + flow.rtt)
    assert 0.9 * rate * flow.rtt < in_a_round < 1.1 * rate * flow.rtt
    assert controller.state != PROBE_RTT  # silence has measured the path
    assert controller.max_bw == pytest.approx(flow.rate, rel=0.05)


def test_an_application_that_sends_little_is_not_taken_for_the_path() -> None:
    controller, flow = on_path()
    flow.run(2)
    for _ in range(200):
        flow.pause(0.05)
        flow.run(0.004)
    assert controller.max_bw == pytest.approx(flow.rate, rel=0.05)


def probing() -> BBR:
    """In ProbeBW_UP on a path of 100 segments."""
    controller, flow = on_path(100 * MSS / 0.04 / MBIT, 0.04)
    flow.run(0.5)
    while controller.state != PROBE_BW_UP:
        flow.run(0.002)
    assert controller.inflight_longterm == inf
    return controller


def departure(controller: BBR, in_flight: int) -> Departure:
    left = Departure(1.0, controller._delivered, 1.0, 1.0)
    left.in_flight = in_flight * MSS
    left.lost = controller._lost
    return left


def test_too_many_losses_in_a_probe_bound_what_is_in_flight() -> None:
    """5.5.10.2, with 5 % and four segments: of 200, fourteen are borne and the fifteenth is too much."""
    controller = probing()
    left = departure(controller, 200)
    for _ in range(14):
        controller.on_lost(MSS, left, 1.0)
    assert controller.state == PROBE_BW_UP
    assert controller.inflight_longterm == inf
    controller.on_lost(MSS, left, 1.0)
    assert controller.state == PROBE_BW_DOWN
    assert controller.inflight_longterm == pytest.approx(199 * MSS, rel=0.01)
    bound = controller.inflight_longterm
    left = departure(controller, 150)
    for _ in range(20):
        controller.on_lost(MSS, left, 1.0)
    assert controller.inflight_longterm == bound  # once a probe


def test_losses_that_ended_a_probe_do_not_count_in_the_round_after_it() -> None:
    """BBRResetCongestionSignals, 5.5.10.2: the short-term bounds depend on the losses after it alone."""
    controller = probing()
    left = departure(controller, 200)
    for _ in range(15):
        controller.on_lost(MSS, left, 1.0)
    assert controller.state == PROBE_BW_DOWN
    controller.on_lost(MSS, left, 1.0)
    sample = AckSample(1.0)
    sample.total_delivered = sample.prior_delivered = controller._delivered + MSS
    sample.sent_in_flight = 200 * MSS
    controller.on_ack(sample)  # the end of the round
    assert controller.bw_shortterm == controller.inflight_shortterm == inf


def test_the_bound_is_where_losses_passed_the_limit() -> None:
    """A hundred segments of a train of 200 are lost at once: some six of them were too many."""
    controller = probing()
    controller.on_lost(100 * MSS, departure(controller, 200), 1.0)
    assert controller.inflight_longterm / MSS == pytest.approx(100 + (0.05 * 100 + 4) / 0.95)


def test_a_spurious_recovery_is_undone() -> None:
    controller = probing()
    window = controller.cwnd
    controller.on_lost(100 * MSS, departure(controller, 200), 1.0)
    controller.on_loss(100 * MSS, 1.0)
    assert controller.inflight_longterm < inf
    controller.on_spurious(1.01)
    assert controller.inflight_longterm == inf
    assert controller.cwnd == window
    assert controller.state == PROBE_BW_REFILL  # the probe begins again


def test_spurious_losses_that_ended_startup_bring_it_back() -> None:
    controller, flow = on_path(50, 0.04, queue=16)
    while controller.state == STARTUP:
        flow.run(0.002)
    assert controller.inflight_longterm < inf
    controller.on_spurious(flow.now)
    assert controller.state == STARTUP
    assert not controller.full_bw_reached
    assert controller.inflight_longterm == inf


def test_a_timeout_leaves_one_segment_and_repair_restores_the_window() -> None:
    controller, flow = on_path()
    flow.run(2)
    window, rate = controller.cwnd, controller.pacing_rate
    controller.on_timeout(flow.in_flight, flow.now)
    assert controller.cwnd == MSS
    controller.on_repeated_timeout()
    assert controller.cwnd == MSS
    controller.on_repaired(0, flow.now)
    assert controller.cwnd == window
    assert controller.pacing_rate == rate


def test_a_timeout_lowers_the_short_term_bounds() -> None:
    controller, flow = on_path()
    flow.run(1)
    while controller.state != PROBE_BW_CRUISE:
        flow.run(0.01)
    window = controller.cwnd
    controller.on_timeout(flow.in_flight, flow.now)
    controller.on_repaired(flow.in_flight, flow.now)
    flow.run(3 * flow.rtt)
    assert controller.bw_shortterm < inf
    assert controller.inflight_shortterm == pytest.approx(0.7 * window)
    assert controller.cwnd == int(controller.inflight_shortterm)
    while controller.state != PROBE_BW_REFILL:
        flow.run(0.01)
    assert controller.inflight_shortterm == controller.bw_shortterm == inf  # until the next probe


def test_a_path_that_breaks_comes_back() -> None:
    controller, flow = on_path()
    flow.run(3)
    flow.loss = 1.0
    flow.run(3)
    assert flow.timeouts >= 1
    assert controller.cwnd == MSS
    flow.loss = 0.0
    flow.run(2)
    assert flow.run(3) > 0.9 * flow.rate


def test_marks_keep_the_queue_short() -> None:
    """The draft leaves the answer open; losses above the limit are the measure (RFC 3168)."""
    (marked, flow), (_, unmarked) = on_path(mark_above=10), on_path()
    queues = []
    for path in (flow, unmarked):
        path.run(6)
        queues.append(fmean(rtts(path, 0.5)) - path.rtt)
    assert queues[0] < 0.7 * queues[1]
    assert flow.delivered > 0.85 * flow.rate * flow.now
    assert marked.inflight_longterm < inf


def test_a_mark_ends_startup() -> None:
    controller, flow = on_path(50, 0.04, mark_above=10)
    flow.run(0.5)
    assert controller.full_bw_reached
    assert flow.longest_queue < 1.2 * bdp(flow)
    assert flow.lost == 0


def test_a_mark_before_the_first_sample_stops_nothing() -> None:
    controller = BBR(1000)
    controller.on_established(0.1, 0.0)
    controller.on_mark(10_000, 0.1)
    rate = controller.pacing_rate
    sample = AckSample(0.1)
    sample.newly_delivered = sample.total_delivered = 1000
    controller.on_ack(sample)
    assert controller.pacing_rate == rate
    assert controller.cwnd >= 10_000


def test_the_same_seed_gives_the_same_flow_and_another_one_another() -> None:
    def changes(seed: int) -> list[tuple[float, str]]:
        controller = Watched(seed)
        Flow(controller, rate=20 * MBIT, rtt=0.04, loss=0.01, seed=1).run(6)
        return controller.changes

    first = changes(7)
    assert changes(7) == first
    assert changes(8) != first
