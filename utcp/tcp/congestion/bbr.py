"""BBRv3: congestion control by a model of the path (draft-ietf-ccwg-bbr-06).

The model consists of a rate (`max_bw`), a round-trip time (`min_rtt`), and bounds on the data in flight, derived from
losses. Names and behaviour follow the draft, with these exceptions:

* Losses are a sign of congestion above 5 % and four segments per round trip, not above 2 %; fewer losses are ignored.
  The draft lowers its short-term bounds after every round with a loss, and resets them only at the next probe, up to 63
  rounds later. It also treats one lost segment of fifty as congestion, so that with a small window the result is
  random. In the model of `tests/congestion` with 100 Mbit/s and 20 ms, the draft reaches 78 % of the rate with 1 %
  random loss, and 38 % with 3 %; with our limit it is 97 % and 95 %. BBRv1 ignores random losses altogether. Above the
  limit the behaviour follows the draft: the rate decreases from 5 % loss on, and is a quarter at 8 %.
* The draft only states that a congestion mark is a sign of congestion (3.7). Here a mark, and a retransmission timeout,
  has the effect of losses above the limit (RFC 3168 6.1.2).
* A flow is idle if it sends nothing for a retransmission timeout. Shorter pauses need no restart, because pacing
  continues through them.
* The target for the data in flight has room for trains of segments, as in Linux (`_target_inflight`).

Units are octets, seconds, and octets per second.
"""

from math import inf
from typing import ClassVar, Final

from utcp._compiled import mypyc_attr
from utcp.tcp.congestion.base import CongestionController
from utcp.tcp.congestion.estimators import Aggregation, Dice, WindowedMax
from utcp.tcp.recovery.delivery import AckSample
from utcp.tcp.recovery.scoreboard import Departure

STARTUP: Final = "Startup"
DRAIN: Final = "Drain"
PROBE_BW_DOWN: Final = "ProbeBW_DOWN"
PROBE_BW_CRUISE: Final = "ProbeBW_CRUISE"
PROBE_BW_REFILL: Final = "ProbeBW_REFILL"
PROBE_BW_UP: Final = "ProbeBW_UP"
PROBE_RTT: Final = "ProbeRTT"

_GAINS: Final[dict[str, tuple[float, float]]] = {  # 5.6.1: pacing_rate over bw, and cwnd over the BDP
    STARTUP: (2.77, 2.0),
    DRAIN: (0.5, 2.0),
    PROBE_BW_DOWN: (0.9, 2.0),
    PROBE_BW_CRUISE: (1.0, 2.0),
    PROBE_BW_REFILL: (1.0, 2.0),
    PROBE_BW_UP: (1.25, 2.25),
    PROBE_RTT: (1.0, 0.5),
}
_PACING_MARGIN: Final = 0.99
"""PacingMarginPercent as a factor: 1 % below the estimated rate, so that queues drain."""

_BETA: Final = 0.7
_HEADROOM: Final = 0.15
_MIN_RTT_FILTER_LEN: Final = 10.0
_PROBE_RTT_INTERVAL: Final = 5.0
_PROBE_RTT_DURATION: Final = 0.2
_MAX_BW_FILTER_LEN: Final = 2
_FULL_BW_GROWTH: Final = 1.25
_FULL_BW_ROUNDS: Final = 3
_STARTUP_FULL_LOSS_COUNT: Final = 6
_DRAIN_ROUNDS: Final = 3
_RENO_ROUNDS: Final = 63


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class BBR(CongestionController):
    """The model of one flow's path, and the state machine that probes the path."""

    __slots__ = (
        "_aggregation",
        "_app_limited",
        "_app_limited_until",
        "_bw_latest",
        "_bw_probe_up_acked",
        "_bw_probe_up_rounds",
        "_bw_probe_wait",
        "_congested_in_round",
        "_cwnd_limited",
        "_cwnd_limited_in_round",
        "_cycle_count",
        "_cycle_stamp",
        "_delivered",
        "_dice",
        "_drain_start_round",
        "_full_bw",
        "_full_bw_count",
        "_full_bw_now",
        "_idle_restart",
        "_in_recovery",
        "_inflight_latest",
        "_is_bw_probe_sample",
        "_loss_events_in_round",
        "_loss_in_round",
        "_loss_round_delivered",
        "_loss_round_start",
        "_lost",
        "_lost_in_round",
        "_marked_in_startup",
        "_max_bw_filter",
        "_min_rtt_stamp",
        "_next_round_delivered",
        "_prev_probe_precautionary",
        "_prev_probe_too_high",
        "_prior_cwnd",
        "_probe_rtt_done_stamp",
        "_probe_rtt_expired",
        "_probe_rtt_min_delay",
        "_probe_rtt_min_stamp",
        "_probe_rtt_round_done",
        "_probe_stopping",
        "_probe_up_acked_per_inc",
        "_round_start",
        "_rounds_since_probe_up",
        "_state_saved",
        "_undo_bw_shortterm",
        "_undo_inflight_longterm",
        "_undo_inflight_shortterm",
        "_undo_state",
        "bw_shortterm",
        "extra_acked",
        "full_bw_reached",
        "inflight_longterm",
        "inflight_shortterm",
        "max_bw",
        "min_rtt",
        "round_count",
        "send_quantum",
        "state",
    )

    name: ClassVar[str] = "bbr"
    loss_based: ClassVar[bool] = False

    LOSS_THRESH: ClassVar[float] = 0.05
    """Fraction of the data in flight that may be lost in a round trip. The draft has 2 %; see the module docstring."""
    LOSS_ALLOWANCE: ClassVar[int] = 4
    """Number of segments that may be lost in addition. With both limits, random loss of 3 % is mistaken for congestion
    in fewer than one round of two hundred at any window, because the number of losses is nearly Poisson-distributed."""

    def __init__(self, mss: int, seed: int = 0) -> None:
        super().__init__(mss)
        self._dice = Dice(seed)
        # The model of the path.
        self.state: str = STARTUP
        self.max_bw = 0.0
        self.bw_shortterm = inf
        self.min_rtt = inf
        self.inflight_longterm = inf
        self.inflight_shortterm = inf
        self.extra_acked = 0.0
        self.send_quantum = 2.0 * mss
        self.full_bw_reached = False
        self.round_count = 0
        # Rounds.
        self._delivered = 0
        self._lost = 0
        self._next_round_delivered = 0
        self._round_start = False
        self._app_limited = False
        self._app_limited_until = -1
        self._cwnd_limited = False
        self._cwnd_limited_in_round = False
        # The filters.
        self._max_bw_filter = WindowedMax()
        self._cycle_count = 0
        self._aggregation = Aggregation()
        self._min_rtt_stamp = 0.0
        self._probe_rtt_min_delay = inf
        self._probe_rtt_min_stamp = 0.0
        self._full_bw = 0.0
        self._full_bw_count = 0
        self._full_bw_now = False
        # Losses.
        self._loss_round_delivered = 0
        self._loss_round_start = False
        self._loss_events_in_round = 0
        self._lost_in_round = 0
        self._loss_in_round = False
        self._congested_in_round = False
        self._bw_latest = 0.0
        self._inflight_latest = 0
        self._marked_in_startup = False
        self._in_recovery = False
        self._state_saved = False
        self._prior_cwnd = 0
        self._undo_state = ""
        self._undo_bw_shortterm = 0.0
        self._undo_inflight_shortterm = 0.0
        self._undo_inflight_longterm = 0.0
        # Phases.
        self._drain_start_round = 0
        self._probe_stopping = False
        self._is_bw_probe_sample = False
        self._probe_up_acked_per_inc = inf
        self._bw_probe_up_acked = 0.0
        self._bw_probe_up_rounds = 0
        self._rounds_since_probe_up = 0
        self._bw_probe_wait = 0.0
        self._cycle_stamp = 0.0
        self._prev_probe_too_high = False
        self._prev_probe_precautionary = False
        self._probe_rtt_done_stamp = 0.0
        self._probe_rtt_expired = False
        self._probe_rtt_round_done = False
        self._idle_restart = False

    def on_established(self, srtt: float, now: float) -> None:
        """Start with the initial window at the gain of Startup, until there is a rate sample (5.2.1, 5.6.2)."""
        self.min_rtt = srtt if srtt > 0 else inf
        self._min_rtt_stamp = now
        self._probe_rtt_min_stamp = now
        self._aggregation.restart(now)
        self.pacing_rate = _GAINS[STARTUP][0] * self.cwnd / (srtt if srtt > 0 else 0.001)
        self._set_send_quantum()

    @property
    def in_slow_start(self) -> bool:
        return self.state == STARTUP

    @property
    def bw(self) -> float:
        """The present estimate of the path's rate, octets per second."""
        return min(self.max_bw, self.bw_shortterm)

    # ------------------------------------------------------------------ events

    def on_sent(self, in_flight: int, now: float) -> None:
        # A flow that becomes idle in ProbeRTT has had low data in flight long enough when it restarts (5.4.1).
        if self._idle_restart and in_flight == 0 and self.state == PROBE_RTT:
            self._check_probe_rtt_done(now)

    def on_idle(self, idle: float, rto: float) -> None:
        """Restart from idle (5.4.1): keep the window and send at the rate of the path. Pacing prevents a burst."""
        self._idle_restart = True
        self._aggregation.pause()
        if self._in_probe_bw():
            self._set_pacing_rate(1.0)

    def on_ack(self, sample: AckSample) -> None:
        """Update the model, the state and the output (5.2.3)."""
        self._note_arrival(sample)
        self._update_latest_delivery_signals(sample)
        self._update_congestion_signals(sample)
        self.extra_acked = self._aggregation.update(
            sample.newly_delivered, self.bw, self.cwnd, self.round_count, self.full_bw_reached, sample.now
        )
        self._check_full_bw_reached(sample)
        self._check_startup_done(sample)
        self._check_drain_done(sample)
        self._update_probe_bw_cycle_phase(sample)
        self._update_min_rtt(sample)
        self._check_probe_rtt(sample)
        self._advance_latest_delivery_signals(sample)
        self._set_pacing_rate(_GAINS[self.state][0])
        self._set_send_quantum()
        self._set_cwnd(sample.newly_delivered)
        self._state_saved = self._in_recovery

    def on_lost(self, size: int, departure: Departure, now: float) -> None:
        """Handle the loss of data (HandleLostPacket, 5.5.10.2)."""
        self._save_state_upon_loss()
        self._lost += size
        self._lost_in_round += size
        self._loss_events_in_round += 1
        self._note_loss()
        if not self._is_bw_probe_sample:
            return
        lost = self._lost - departure.lost
        if self._is_inflight_too_high(lost, departure.in_flight):
            self._app_limited = departure.app_limited
            self._handle_inflight_too_high(self._inflight_at_loss(size, lost, departure.in_flight), now)

    def on_loss(self, in_flight: int, now: float) -> None:
        """Handle the beginning of fast recovery (OnEnterFastRecovery, 5.6.4.4). The window stays; the model sets it."""
        self._save_state_upon_loss()
        self._in_recovery = True

    def on_mark(self, in_flight: int, now: float) -> None:
        """Handle a congestion mark like losses above the limit."""
        self._save_state_upon_loss()
        self._in_recovery = True
        self._note_loss()
        self._congested_in_round = True
        if self.state == STARTUP:
            self._marked_in_startup = True
        elif self._is_bw_probe_sample:
            self._handle_inflight_too_high(in_flight, now)

    def on_recovered(self, in_flight: int, now: float) -> None:
        self._in_recovery = self._state_saved = False
        self._restore_cwnd()

    def on_repaired(self, in_flight: int, now: float) -> None:
        self.on_recovered(in_flight, now)

    def on_timeout(self, in_flight: int, now: float) -> None:
        """Handle a retransmission timeout (OnEnterRTO, 5.6.4.4): `cwnd` is one segment."""
        self._save_cwnd()
        self._save_state_upon_loss()
        self._in_recovery = True
        self._note_loss()
        self._congested_in_round = True
        self.cwnd = self.mss

    def on_spurious(self, now: float) -> None:
        """Undo a spurious loss detection (HandleSpuriousLossDetection, 5.5.11.2)."""
        self._in_recovery = self._state_saved = False
        self._restore_cwnd()
        self._loss_in_round = False
        self._congested_in_round = False
        self._reset_full_bw(0.0)
        self.bw_shortterm = max(self.bw_shortterm, self._undo_bw_shortterm)
        self.inflight_shortterm = max(self.inflight_shortterm, self._undo_inflight_shortterm)
        self.inflight_longterm = max(self.inflight_longterm, self._undo_inflight_longterm)
        undo, self._undo_state = self._undo_state, ""
        if undo == STARTUP and self.state != STARTUP:
            self.full_bw_reached = False
            if self.state != PROBE_RTT:
                self.state = STARTUP
        elif undo == PROBE_BW_UP and self.state not in (PROBE_BW_UP, PROBE_RTT):
            self._start_probe_bw_refill()

    # ------------------------------------------------------------------ rounds and samples

    def _note_arrival(self, sample: AckSample) -> None:
        """Update the round (UpdateRound, 5.5.1) and the limits of the sender."""
        self._delivered = sample.total_delivered
        prior = sample.prior_delivered
        # Data sent while ProbeRTT held the flow back also counts as application-limited (MarkConnectionAppLimited).
        self._app_limited = sample.app_limited or 0 <= prior <= self._app_limited_until
        self._round_start = prior >= self._next_round_delivered
        if self._round_start:
            self._start_round()
            self.round_count += 1
            self._rounds_since_probe_up += 1
            self._cwnd_limited = self._cwnd_limited_in_round
            self._cwnd_limited_in_round = False
        if sample.prior_in_flight + self.mss > self.cwnd:
            self._cwnd_limited = self._cwnd_limited_in_round = True

    def _start_round(self) -> None:
        self._next_round_delivered = self._delivered

    def _update_latest_delivery_signals(self, sample: AckSample) -> None:
        self._bw_latest = max(self._bw_latest, sample.delivery_rate)
        self._inflight_latest = max(self._inflight_latest, sample.rate_delivered)
        self._loss_round_start = sample.prior_delivered >= self._loss_round_delivered
        if self._loss_round_start:
            self._loss_round_delivered = self._delivered

    def _advance_latest_delivery_signals(self, sample: AckSample) -> None:
        if self._loss_round_start:
            self._bw_latest = sample.delivery_rate
            self._inflight_latest = sample.rate_delivered
            self._loss_events_in_round = 0
            self._lost_in_round = 0

    def _reset_congestion_signals(self) -> None:
        self._loss_events_in_round = 0
        self._lost_in_round = 0
        self._loss_in_round = False
        self._congested_in_round = False
        self._bw_latest = 0.0
        self._inflight_latest = 0

    def _update_congestion_signals(self, sample: AckSample) -> None:
        rate = sample.delivery_rate
        if rate > 0 and (rate >= self.max_bw or not self._app_limited):
            self.max_bw = self._max_bw_filter.update(rate, self._cycle_count, _MAX_BW_FILTER_LEN)
        if not self._loss_round_start:
            return
        # The losses since the last segment left would be too few if all of the round became known at once before, as
        # after a pause of the event loop.
        if self._congested_in_round or (
            self._loss_in_round and self._is_inflight_too_high(self._lost_in_round, sample.sent_in_flight)
        ):
            self._adapt_lower_bounds()
        self._loss_in_round = False
        self._congested_in_round = False

    def _update_min_rtt(self, sample: AckSample) -> None:
        """Update the lowest round-trip time (5.3.4.3)."""
        now = sample.now
        self._probe_rtt_expired = now > self._probe_rtt_min_stamp + _PROBE_RTT_INTERVAL
        if sample.rtt is not None and (sample.rtt < self._probe_rtt_min_delay or self._probe_rtt_expired):
            self._probe_rtt_min_delay = sample.rtt
            self._probe_rtt_min_stamp = now
        expired = now > self._min_rtt_stamp + _MIN_RTT_FILTER_LEN
        if self._probe_rtt_min_delay < self.min_rtt or expired:
            self.min_rtt = self._probe_rtt_min_delay
            self._min_rtt_stamp = self._probe_rtt_min_stamp

    # ------------------------------------------------------------------ Startup and Drain

    def _reset_full_bw(self, rate: float) -> None:
        self._full_bw = rate
        self._full_bw_count = 0
        self._full_bw_now = False

    def _check_full_bw_reached(self, sample: AckSample) -> None:
        """Detect a full path: three rounds in which the rate grew by less than a quarter (5.3.1.2)."""
        rate = sample.delivery_rate
        if self._full_bw_now or not self._round_start or self._app_limited or rate <= 0:
            return
        if rate >= self._full_bw * _FULL_BW_GROWTH:
            self._reset_full_bw(rate)
            return
        self._full_bw_count += 1
        self._full_bw_now = self._full_bw_count >= _FULL_BW_ROUNDS
        if self._full_bw_now:
            self.full_bw_reached = True

    def _check_startup_done(self, sample: AckSample) -> None:
        if self.state != STARTUP:
            return
        # Losses end Startup if there are many in a full round of recovery (5.3.1.3). A mark ends it at once.
        many = self._loss_round_start and sample.recovering and self._loss_events_in_round >= _STARTUP_FULL_LOSS_COUNT
        if (many and self._is_inflight_too_high(self._lost_in_round, sample.sent_in_flight)) or (
            self._marked_in_startup and self.max_bw > 0
        ):
            self._undo_state = STARTUP
            self._marked_in_startup = False
            self.full_bw_reached = True
            self.inflight_longterm = max(self._bdp(self.bw), self._inflight_latest)
        if self.full_bw_reached:
            self.state = DRAIN
            self._drain_start_round = self.round_count

    def _check_drain_done(self, sample: AckSample) -> None:
        if self.state == DRAIN and (
            sample.in_flight <= self._inflight(self.bw) or self.round_count > self._drain_start_round + _DRAIN_ROUNDS
        ):
            self._start_probe_bw_down(sample.now)

    # ------------------------------------------------------------------ ProbeBW (5.3.3)

    def _in_probe_bw(self) -> bool:
        return self.state in (PROBE_BW_DOWN, PROBE_BW_CRUISE, PROBE_BW_REFILL, PROBE_BW_UP)

    def _start_probe_bw_down(self, now: float) -> None:
        self._reset_congestion_signals()
        self._probe_up_acked_per_inc = inf
        self._rounds_since_probe_up = 1 if self._dice.roll() < 0.5 else 0
        self._bw_probe_wait = 2.0 + self._dice.roll()
        self._cycle_stamp = now
        self._probe_stopping = True
        self._start_round()
        self.state = PROBE_BW_DOWN

    def _start_probe_bw_refill(self) -> None:
        self._reset_short_term_model()
        self._bw_probe_up_rounds = 0
        self._bw_probe_up_acked = 0.0
        self._prev_probe_precautionary = False
        self._probe_stopping = False
        self._start_round()
        self.state = PROBE_BW_REFILL

    def _start_probe_bw_up(self, rate: float) -> None:
        self._start_round()
        self._reset_full_bw(rate)
        self.state = PROBE_BW_UP
        self._raise_inflight_longterm_slope()

    def _update_probe_bw_cycle_phase(self, sample: AckSample) -> None:
        if not self.full_bw_reached or self._adapt_long_term_model(sample):
            return
        state = self.state
        if state in (PROBE_BW_DOWN, PROBE_BW_CRUISE):
            if self._is_time_to_probe_bw(sample.now):
                self._start_probe_bw_refill()
            elif state == PROBE_BW_DOWN and self._is_time_to_cruise(sample.in_flight):
                self.state = PROBE_BW_CRUISE
        elif state == PROBE_BW_REFILL:
            if self._round_start:
                self._is_bw_probe_sample = True
                self._start_probe_bw_up(sample.delivery_rate)
        elif state == PROBE_BW_UP and self._is_time_to_go_down(sample):
            self._prev_probe_too_high = False
            self._start_probe_bw_down(sample.now)

    def _is_time_to_probe_bw(self, now: float) -> bool:
        """Return True after two to three seconds, or as many rounds as Reno needs to recover from a loss."""
        rounds = min(self._target_inflight() / self.mss, _RENO_ROUNDS)
        return now > self._cycle_stamp + self._bw_probe_wait or self._rounds_since_probe_up >= rounds

    def _is_time_to_cruise(self, in_flight: int) -> bool:
        return in_flight <= self._inflight_with_headroom() and in_flight <= self._inflight(self.max_bw)

    def _is_time_to_go_down(self, sample: AckSample) -> bool:
        # As in Linux, this uses the data in flight before the ACK, because after it a window that inflight_longterm
        # limits is never full.
        if self._prev_probe_too_high and sample.prior_in_flight + self.mss > self.inflight_longterm:
            self._prev_probe_precautionary = True
            return True
        if self._cwnd_limited and self.cwnd >= self.inflight_longterm:
            # The bound limits the rate, not the path, so this is not a plateau.
            self._reset_full_bw(sample.delivery_rate)
            return False
        return self._full_bw_now

    def _inflight_with_headroom(self) -> float:
        """Return inflight_longterm less headroom for other flows, octets."""
        if self.inflight_longterm == inf:
            return inf
        headroom = max(self.mss, _HEADROOM * self.inflight_longterm)
        return max(self.inflight_longterm - headroom, self._min_pipe_cwnd())

    def _raise_inflight_longterm_slope(self) -> None:
        growth = 1 << self._bw_probe_up_rounds
        self._bw_probe_up_rounds = min(self._bw_probe_up_rounds + 1, 30)
        self._probe_up_acked_per_inc = max(self.cwnd / growth, self.mss)

    def _probe_inflight_longterm_upward(self, newly_delivered: int) -> None:
        """Raise inflight_longterm by one segment in the first round of a probe, and by two, four, eight in the next."""
        if not self._cwnd_limited or self.cwnd < self.inflight_longterm:
            return
        self._bw_probe_up_acked += newly_delivered
        steps = self._bw_probe_up_acked // self._probe_up_acked_per_inc
        if steps > 0:
            self._bw_probe_up_acked -= steps * self._probe_up_acked_per_inc
            self.inflight_longterm += steps * self.mss
        if self._round_start:
            self._raise_inflight_longterm_slope()

    def _adapt_long_term_model(self, sample: AckSample) -> bool:
        """Update the long-term model. Return True if the state has changed."""
        if self._probe_stopping and self._round_start:  # all data of the probe is acknowledged
            self._is_bw_probe_sample = False
            self._probe_stopping = False
            if self._in_probe_bw():
                if not self._app_limited:
                    self._cycle_count += 1
                if self._prev_probe_precautionary and not self._prev_probe_too_high:
                    self._start_probe_bw_refill()
                    return True
        if self.inflight_longterm < inf and not self._is_inflight_too_high(sample.lost, sample.sent_in_flight):
            self.inflight_longterm = max(self.inflight_longterm, sample.sent_in_flight)
            if self.state == PROBE_BW_UP:
                self._probe_inflight_longterm_upward(sample.newly_delivered)
        return False

    # ------------------------------------------------------------------ ProbeRTT (5.3.4)

    def _check_probe_rtt(self, sample: AckSample) -> None:
        if self.state != PROBE_RTT and self._probe_rtt_expired and not self._idle_restart:
            self._save_cwnd()
            self.state = PROBE_RTT
            self._probe_rtt_done_stamp = 0.0
            self._probe_stopping = True
            self._start_round()
        if self.state == PROBE_RTT:
            self._handle_probe_rtt(sample)
        if sample.rate_delivered > 0:
            self._idle_restart = False

    def _handle_probe_rtt(self, sample: AckSample) -> None:
        self._app_limited_until = sample.total_delivered + sample.in_flight
        if self._probe_rtt_done_stamp == 0.0:
            if sample.in_flight <= self._probe_rtt_cwnd():
                self._probe_rtt_done_stamp = sample.now + _PROBE_RTT_DURATION
                self._probe_rtt_round_done = False
                self._start_round()
            return
        if self._round_start:
            self._probe_rtt_round_done = True
        if self._probe_rtt_round_done:
            self._check_probe_rtt_done(sample.now)

    def _check_probe_rtt_done(self, now: float) -> None:
        if self._probe_rtt_done_stamp == 0.0 or now <= self._probe_rtt_done_stamp:
            return
        self._probe_rtt_min_stamp = now
        self._restore_cwnd()
        self._reset_short_term_model()
        if self.full_bw_reached:
            self._start_probe_bw_down(now)
            self.state = PROBE_BW_CRUISE  # the queue is empty after ProbeRTT
        else:
            self.state = STARTUP

    def _probe_rtt_cwnd(self) -> float:
        return max(_GAINS[PROBE_RTT][1] * self._bdp(self.bw), self._min_pipe_cwnd())

    # ------------------------------------------------------------------ losses (5.5.10)

    def _is_inflight_too_high(self, lost: int, in_flight: int) -> bool:
        return lost > self.LOSS_THRESH * in_flight + self.LOSS_ALLOWANCE * self.mss

    def _inflight_at_loss(self, size: int, lost: int, in_flight: int) -> float:
        """Return an estimate of the octets in flight when the losses exceeded the limit."""
        before = in_flight - size
        allowed = self.LOSS_THRESH * before + self.LOSS_ALLOWANCE * self.mss
        return before + max(0.0, (allowed - (lost - size)) / (1 - self.LOSS_THRESH))

    def _note_loss(self) -> None:
        if not self._loss_in_round:
            self._loss_round_delivered = self._delivered
        self._loss_in_round = True

    def _handle_inflight_too_high(self, in_flight: float, now: float) -> None:
        """Record the octets in flight at which a probe was too high, and end the probe."""
        self._prev_probe_too_high = True
        self._is_bw_probe_sample = False  # once per probe
        if not self._app_limited:
            self.inflight_longterm = max(in_flight, self._target_inflight() * _BETA)
        if self.state == PROBE_BW_UP:
            self._undo_state = PROBE_BW_UP
            self._start_probe_bw_down(now)

    def _adapt_lower_bounds(self) -> None:
        """Lower the short-term bounds towards the delivery in a round with too much loss, outside of probes."""
        if self.state in (STARTUP, PROBE_BW_REFILL, PROBE_BW_UP) or self.max_bw <= 0:
            return
        if self.bw_shortterm == inf:
            self.bw_shortterm = self.max_bw
        if self.inflight_shortterm == inf:
            self.inflight_shortterm = float(self.cwnd)
        self.bw_shortterm = max(self._bw_latest, _BETA * self.bw_shortterm)
        self.inflight_shortterm = max(float(self._inflight_latest), _BETA * self.inflight_shortterm)

    def _reset_short_term_model(self) -> None:
        self.bw_shortterm = inf
        self.inflight_shortterm = inf

    def _save_state_upon_loss(self) -> None:
        """Save the state for an undo (5.5.11.1) at the first sign of a loss episode, because `on_lost` precedes
        `on_loss` and may change the state."""
        if self._state_saved:
            return
        self._state_saved = True
        self._save_cwnd()
        self._undo_state = ""
        self._undo_bw_shortterm = self.bw_shortterm
        self._undo_inflight_shortterm = self.inflight_shortterm
        self._undo_inflight_longterm = self.inflight_longterm

    def _save_cwnd(self) -> None:
        if self._in_recovery or self.state == PROBE_RTT:
            self._prior_cwnd = max(self._prior_cwnd, self.cwnd)
        else:
            self._prior_cwnd = self.cwnd

    def _restore_cwnd(self) -> None:
        self.cwnd = max(self.cwnd, self._prior_cwnd)

    # ------------------------------------------------------------------ output (5.6)

    def _set_pacing_rate(self, gain: float) -> None:
        rate = gain * self.bw * _PACING_MARGIN
        if rate > self.pacing_rate or (self.full_bw_reached and rate > 0):
            self.pacing_rate = rate

    def _set_send_quantum(self) -> None:
        self.send_quantum = max(min(self.pacing_rate * 0.001, 65536.0), 2.0 * self.mss)

    def _min_pipe_cwnd(self) -> int:
        return 4 * self.mss

    def _bdp(self, bw: float) -> float:
        return bw * self.min_rtt if self.min_rtt < inf else float(self.initial_window)

    def _quantized(self, cap: float) -> float:
        """Return `cap` with room for three trains: at the sender, in the network and at the receiver
        (QuantizationBudget, 5.6.4.2)."""
        cap = max(cap, 3 * self.send_quantum, self._min_pipe_cwnd())
        return cap + 2 * self.mss if self.state == PROBE_BW_UP else cap

    def _inflight(self, bw: float) -> float:
        return self._quantized(self._bdp(bw))

    def _target_inflight(self) -> float:
        return min(self._inflight(self.bw), self.cwnd)

    def _set_cwnd(self, newly_delivered: int) -> None:
        """Set `cwnd` (5.6.4.6): raise it by the delivered octets at most, lower it at once."""
        most = self._quantized(_GAINS[self.state][1] * self._bdp(self.bw) + self.extra_acked)
        cwnd = float(self.cwnd)
        if self.full_bw_reached:
            cwnd = min(cwnd + newly_delivered, most)
        elif cwnd < most or self._delivered < self.initial_window:
            cwnd += newly_delivered
        cwnd = max(cwnd, self._min_pipe_cwnd())
        if self.state == PROBE_RTT:
            cwnd = min(cwnd, self._probe_rtt_cwnd())
        self.cwnd = int(min(cwnd, self._cap()))

    def _cap(self) -> float:
        """Return the bound of `cwnd` by the model, octets (BoundCwndForModel, 5.6.4.7)."""
        if self.state in (PROBE_RTT, PROBE_BW_CRUISE):
            cap = self._inflight_with_headroom()
        else:
            cap = self.inflight_longterm if self._in_probe_bw() else inf
        return max(min(cap, self.inflight_shortterm), self._min_pipe_cwnd())
