"""Loss detection and recovery (RFC 6675, 8985, 5682, 4015, 9937, 3168; without SACK RFC 5681, 6582).

The scoreboard records the state of each octet. Only this module decides which octets are lost.
"""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.congestion import CongestionController
from utcp.tcp.counters import Counters
from utcp.tcp.pacing import UNPACED_BELOW
from utcp.tcp.path_mtu import MtuProbe
from utcp.tcp.recovery.delivery import AckSample, Delivery
from utcp.tcp.recovery.duplicate_acks import DuplicateAcks
from utcp.tcp.recovery.prr import RateReduction
from utcp.tcp.recovery.rack import DUP_THRESH, Rack
from utcp.tcp.recovery.scoreboard import IN_FLIGHT, SACKED, Departure, Run, Scoreboard
from utcp.tcp.recovery.spurious import NO_DSACK, SpuriousDetection
from utcp.tcp.recovery.tail_loss import SHORTEST, TailLossProbe
from utcp.tcp.rtt import RttEstimator

OPEN: Final = 0
REDUCED: Final = 1
"""The window shrinks after a congestion mark, without a known loss (CWR in Linux)."""
FAST: Final = 2
"""Fast recovery: a loss was detected by the delivery of later data."""
TIMED_OUT: Final = 3
"""The retransmission timer expired, and the data then in flight is not all acknowledged."""

_SPARE_RUNS: Final = 256
_MAX_RUNS: Final = 4096
"""Limits of the number of runs. SACK blocks are ignored above twice the number of segments in flight plus _SPARE_RUNS
for small segments, and above _MAX_RUNS, which a window of 16 MiB reaches only if every third segment is lost."""

PHASES: Final = ("open", "cwr", "recovery", "loss")


def _start(run: Run) -> int:
    return run.start


@mypyc_attr(acyclic=True)
class Recovery(Delivery):
    """Owns the scoreboard and the phase of recovery, and decides which data is lost.

    Most connections lose nothing, so the objects for recovery are created when they are first needed.
    """

    __slots__ = (
        "_congestion",
        "_counters",
        "_duplicates",
        "_last_end",
        "_last_rtt",
        "_last_sent_at",
        "_limited_until",
        "_mtu_probe",
        "_probe",
        "_probe_samples",
        "_rack",
        "_recover",
        "_reduction",
        "_rtt",
        "_sacked_segments",
        "_sample",
        "_spurious",
        "board",
        "delivered_ce",
        "dsack_dups",
        "forced",
        "phase",
        "plain",
        "probe_at",
        "reduced",
        "reord_seen",
        "reorder_at",
        "retransmit_at",
        "sack",
    )

    def __init__(self, congestion: CongestionController, rtt: RttEstimator, counters: Counters, now: float) -> None:
        self.delivered = self.lost_in_total = self._app_limited_until = 0
        self.delivered_at = self._first_sent_at = now
        self.delivery_rate = 0.0
        self.rate_app_limited = False
        self._newest = None
        self._congestion = congestion
        self._counters = counters
        self._rtt = rtt
        self.board = Scoreboard()
        self._sample: AckSample | None = None
        """The sample of plain ACKs, reused because they are too frequent for a new object each."""
        self.plain = True
        """True while nothing is lost, SACKed or being probed, so that a cumulative ACK can take the fast path. Cleared
        when any of these begins; set again by the first ACK that finds none of them."""
        self.sack = False
        """True if SACK was negotiated, so that RACK-TLP detects losses. Otherwise duplicate ACKs do."""
        self.phase = OPEN
        self.forced = False
        """True if the next retransmission leaves regardless of the congestion window."""
        self.reduced = False
        """True if the window was reduced and CWR was not sent since (RFC 3168 6.1.2)."""
        self.retransmit_at = inf
        """Expiry of the retransmission timer, seconds; `inf`: off."""
        self.probe_at = inf
        """Departure of the tail loss probe, seconds; `inf`: none."""
        self.reorder_at = inf
        """Expiry of RACK's reordering timer, at which loss detection runs again, seconds; `inf`: off."""
        self.reord_seen = 0
        """Number of ACKs that showed reordering on the path."""
        self.dsack_dups = 0
        """Number of segments that the peer reported as received twice."""
        self.delivered_ce = 0
        """Octets delivered by ACKs with ECE."""
        self._rack: Rack | None = None
        self._last_end = 0
        """End position of the last data that a plain ACK delivered, with which RACK begins when it is needed."""
        self._last_sent_at = -inf
        """Departure of that data, seconds."""
        self._last_rtt = 0.0
        """Round-trip time of that data, seconds."""
        self._probe: TailLossProbe | None = None
        self._probe_samples = 0
        """Number of round-trip time samples when the last tail loss probe left."""
        self._mtu_probe: MtuProbe | None = None
        self._duplicates: DuplicateAcks | None = None
        """The duplicate ACKs of a peer without SACK; None before the first."""
        self._spurious: SpuriousDetection | None = None
        """The detection of a wrong reduction; None before the first reduction."""
        self._sacked_segments = 0
        """Approximate number of segments SACKed since SND.UNA last passed a SACKed segment."""
        self._recover = 0
        """Position of SND.NXT when the last loss was detected (RFC 6582; RecoveryPoint of RFC 6675)."""
        self._reduction: RateReduction | None = None
        self._limited_until = 0
        """Position until whose acknowledgement the sender counts as limited by the congestion window."""

    # ------------------------------------------------------------------ its parts

    @property
    def rack(self) -> Rack:
        rack = self._rack
        if rack is None:
            self._rack = rack = Rack(self._last_end, self._last_sent_at, self._last_rtt)
        return rack

    @property
    def probe(self) -> TailLossProbe:
        if self._probe is None:
            self._probe = TailLossProbe()
        return self._probe

    # ------------------------------------------------------------------ what may leave

    @property
    def in_flight(self) -> int:
        """Octets sent that are neither delivered nor considered lost (pipe of RFC 6675)."""
        duplicates = self._duplicates
        if duplicates is not None and duplicates.count:
            # Each duplicate ACK shows that a segment has left the network (RFC 5681 2, RFC 3042).
            return max(0, self.board.in_flight - duplicates.count * self._congestion.mss)
        return self.board.in_flight

    @property
    def window(self) -> int:
        """The congestion window in force, octets."""
        if self._reduction is not None:
            return self._reduction.window
        return self._congestion.cwnd

    @property
    def probe_under_way(self) -> bool:
        """True if a tail loss probe was sent and not yet answered."""
        return self._probe is not None and self._probe.under_way

    @property
    def probe_is_useful(self) -> bool:
        """True if a tail loss probe may be sent: data is in flight, no loss or out-of-order delivery is known, no probe
        is under way (RFC 8985 7.2), and there was a round-trip time sample since the last probe (7.3). Otherwise the
        delay would never adapt to a path that has become slower."""
        if not self.sack or self._rtt.samples <= self._probe_samples or self.board.in_flight <= 0:
            return False
        return self.plain or not (self.phase > REDUCED or self.board.sacked or self.probe_under_way)

    @property
    def room(self) -> int:
        """Lower bound of the octets that may leave by the congestion window. More may leave if duplicate ACKs were
        counted, or if nothing is in flight."""
        return self.window - self.board.in_flight

    @property
    def pending(self) -> bool:
        """True if lost data waits to be retransmitted."""
        return self.board.lost > 0

    @property
    def phase_name(self) -> str:
        """Name of the phase, as in Linux. "disorder": data arrived out of order, but none is considered lost."""
        told = self.board.sacked or (self._duplicates is not None and self._duplicates.count)
        return "disorder" if self.phase == OPEN and told else PHASES[self.phase]

    @property
    def new_data_first(self) -> bool:
        """True if F-RTO requires new data before retransmissions (RFC 5682 2.1 step 2b, 3.1)."""
        return self._spurious is not None and self._spurious.new_data_first

    @property
    def recovering(self) -> bool:
        """True in fast recovery, or while the window shrinks after a congestion mark."""
        return self._reduction is not None or self.phase == FAST

    def depart(self, now: float) -> Departure:
        """Return a new departure, which `sent` and `resent` use for all data of this flush."""
        congestion = self._congestion
        in_flight = self.board.in_flight if self._duplicates is None else self.in_flight
        if not in_flight:
            self._first_sent_at = self.delivered_at = now
        limited = self._app_limited_until > 0
        departure = Departure(
            now, self.delivered, self.delivered_at, self._first_sent_at, self.lost_in_total, limited, congestion.mss
        )
        congestion.on_sent(in_flight, now)
        if self._rack is not None and self._rack.tracking:
            departure.track()
            self._rack.sent(departure)
        return departure

    def begin(self, congestion: CongestionController, sack: bool) -> None:
        """Take the controller of the connection, because the SYN of the peer has arrived. `sack`: SACK was
        negotiated."""
        self._congestion = congestion
        self.sack = sack

    def take_reduced(self) -> bool:
        """Return True if CWR must be sent, because the window was reduced, and clear `reduced`."""
        reduced = self.reduced
        self.reduced = False
        return reduced

    def discard(self) -> None:
        """Release the departures, because nothing will be sent any more."""
        if self._rack is not None:
            self._rack.discard()

    def sent(self, size: int, departure: Departure) -> None:
        """Record that `size` octets of sequence space leave for the first time."""
        self.probe_at = inf
        self.board.send(size, departure)
        if self._reduction is not None:
            self._reduction.sent(size)

    def resent(self, start: int, size: int, departure: Departure) -> None:
        """Record that `size` octets from position `start` on are retransmitted."""
        self.board.resend(start, size, departure)
        if self.phase == FAST:
            self._counters.fast_retrans += 1
        elif self.phase == TIMED_OUT and start and not self.forced:
            self._counters.slow_start_retrans += 1
        self.forced = False
        if self._spurious is not None and self.phase > REDUCED:  # otherwise it is a probe, which repairs no known loss
            self._spurious.resent(start, start + size, departure.at)
        if self._reduction is not None:
            self._reduction.sent(size)

    def probe_sent(self, resent: bool) -> None:
        """Record that a tail loss probe leaves. `resent`: it is a retransmission."""
        self.plain = False
        self.probe.sent(self.board.nxt, resent)
        self._probe_samples = self._rtt.samples

    @property
    def mtu_probe_under_way(self) -> bool:
        return self._mtu_probe is not None and self._mtu_probe.under_way

    def mtu_probe_leaves(self, size: int) -> None:
        """Record that the next segment is a path MTU probe with `size` octets."""
        self.plain = False
        if self._mtu_probe is None:
            self._mtu_probe = MtuProbe()
        self._mtu_probe.sent(self.board.nxt, size)

    def mtu_probe_over(self) -> MtuProbe | None:
        """Return the path MTU probe whose arrival or loss the last ACK has shown; None: there is none."""
        probe = self._mtu_probe
        return probe if probe is not None and probe.under_way and probe.is_over(self.board.una) else None

    # ------------------------------------------------------------------ its timers

    def set_timers(self, now: float, one_segment: bool, max_ack_delay: float) -> None:
        """Start the retransmission timer, and the timer of the tail loss probe if one is useful: PTO is two round trips
        (RFC 8985 7.2). Called at the end of a flush with data in flight other than a zero-window probe.

        Args:
            now: the stack's time, seconds.
            one_segment: a single segment is in flight, whose ACK the peer may delay.
            max_ack_delay: the longest delay of that ACK, seconds.
        """
        rtt, retransmit_at = self._rtt, self.retransmit_at
        if retransmit_at == inf:
            self.retransmit_at = retransmit_at = now + rtt.rto
        # `probe_is_useful`, here without the call for the usual case
        if not (rtt.samples > self._probe_samples if self.plain and self.sack else self.probe_is_useful):
            self.probe_at = inf
        elif self.probe_at == inf:
            delay = 2 * rtt.srtt  # a useful probe has a round-trip time
            if one_segment:
                delay += max_ack_delay
            elif delay < SHORTEST:
                delay = SHORTEST
            self.probe_at = min(now + delay, retransmit_at)  # the probe precedes a retransmission timeout

    def restart_retransmission(self, now: float) -> None:
        """Restart the retransmission timer, because its data was sent again."""
        self.retransmit_at = now + self._rtt.rto

    def stop_expired(self, now: float) -> None:
        """Turn off the timers that have expired."""
        if self.retransmit_at <= now:
            self.retransmit_at = inf
        if self.probe_at <= now:
            self.probe_at = inf
        if self.reorder_at <= now:
            self.reorder_at = inf

    def flushed(self, departure: Departure | None, held_back: bool, idle: bool) -> None:
        """Handle the end of a flush. `held_back`: the congestion window held back data; `idle`: all data was sent."""
        congestion, in_flight = self._congestion, self.board.in_flight
        if self._duplicates is not None:
            in_flight = self.in_flight
            if departure is not None:
                departure.left(in_flight)
        cwnd = congestion.cwnd
        if held_back or (cwnd < congestion.ssthresh and 2 * in_flight > cwnd):
            # This holds for a window of data, because the decrease of the flight until the next flush does not mean
            # that data is missing (RFC 7661 4.1).
            self._limited_until = self.board.nxt
        if idle and in_flight < cwnd:  # the application has no more data (draft-ietf-ccwg-bbr, 4.1.2.4)
            self._app_limited_until = self.delivered + in_flight or 1

    # ------------------------------------------------------------------ ACKs

    def on_plain_ack(self, advance: int, acked: int, now: float) -> bool:
        """Process an ACK that only moves SND.UNA while recovery is `plain`, the usual case, with the effect of
        `on_ack`. Return True if the congestion controller may have changed the window or the pacing rate."""
        board, rtt = self.board, self._rtt
        una, prior_in_flight = board.una, board.in_flight
        runs = board.acknowledge(una + advance)
        last = runs[-1]
        departure = last.departure
        elapsed = now - departure.at
        measured = last.sent == 1
        if len(runs) > 1:
            measured = all(run.sent == 1 for run in runs)
        if measured:
            rtt.sample(elapsed, now)
        self.probe_at = inf
        self.retransmit_at = now + rtt.rto if board.in_flight else inf  # nothing is lost or SACKed
        if not self.sack:
            pass
        elif last.sent > 1:
            self.rack.delivered(last, -1.0, rtt.min_rtt, False, now)
        elif self._rack is None:
            self._last_end = last.end
            self._last_sent_at = departure.at
            self._last_rtt = elapsed
        else:
            self._rack.delivered_in_order(last, board.una == board.nxt, now)
        congestion = self._congestion
        if not acked:  # a SYN or FIN does not measure the rate of the path
            self.delivered += advance
            self.delivered_at = now
            return False
        interval = self.deliver_all(advance, departure, rtt.min_rtt, now)
        limited = una < self._limited_until
        if not limited and not congestion.every_ack:
            paced = rtt.min_rtt >= UNPACED_BELOW
            congestion.on_unlimited_ack(prior_in_flight, rtt.srtt, paced, now)
            # An initial window may leave at once, so that a connection is not paced while it needs no larger one.
            return paced and congestion.cwnd > congestion.initial_window
        sample = self._sample
        if sample is None:
            self._sample = sample = AckSample(now)
        sample.begin(now, acked, prior_in_flight, limited)
        sample.delivers(advance, elapsed if measured else None)
        sample.judged(board.in_flight, False, rtt.srtt, rtt.min_rtt)
        self.complete(sample, departure, interval)
        congestion.on_ack(sample)
        return True

    def on_ack(
        self,
        advance: int,
        acked: int,
        blocks: list[tuple[int, int]],
        dsack: tuple[int, int],
        duplicate: bool,
        ece: bool,
        echo_age: float,
        now: float,
    ) -> None:
        """Process an ACK.

        Args:
            advance: octets of sequence space by which SND.UNA moves.
            acked: payload octets among them.
            blocks: the SACK blocks as positions, all between the new SND.UNA and SND.NXT.
            dsack: the range that the DSACK reports as received twice (RFC 2883), or NO_DSACK.
            duplicate: the segment is a duplicate ACK by RFC 5681 2.
            ece: it has ECE, and ECN was negotiated.
            echo_age: the age of the echoed timestamp, seconds; -1: there is none.
            now: the stack's time, seconds.
        """
        board = self.board
        sample = AckSample(now, acked, ece, self.in_flight, board.una < self._limited_until)
        recovering = self.recovering
        delivered, original, resent_at = self._deliver(advance, blocks, sample, echo_age, now)
        if dsack != NO_DSACK:
            self._count_dsack(dsack)
        if not self.sack:
            delivered = self._count_duplicate(advance, duplicate)
        # The order matters: a probe that repaired a loss, an undo, the end of a recovery, a new loss.
        probe, spurious = self._probe, self._spurious
        needless = spurious is not None and dsack != NO_DSACK and spurious.take_dsack(dsack[0], dsack[1])
        if needless and spurious is not None and spurious.by_order:
            self.rack.saw_reordering()
            self._count_reordering()
        repaired = probe is not None and probe.acknowledged(board.una, dsack[1], duplicate and not blocks)
        if repaired:
            self._counters.loss_probe_recoveries += 1
        if (
            spurious is not None
            and spurious.in_question
            and self._was_spurious(
                spurious, advance, delivered, duplicate, original, needless, echo_age, resent_at, now
            )
        ):
            self._undo(now)
        if self.phase != OPEN and board.una >= self._recover + (self.phase == REDUCED):
            # After a mark, data sent later must be acknowledged, because until CWR arrives each ACK has ECE (RFC 3168
            # 6.1.2).
            self._recovered(now)
        lost = self._detect_loss(now)
        if (lost or self._reno_loss(advance, now)) and self.phase in (OPEN, REDUCED):
            self._enter_fast(delivered, now)
        elif (ece or repaired) and self.phase == OPEN:
            self._reduce(ece, delivered, now)
            if not ece:  # the probe has repaired the loss, so that the recovery is over
                self._recovered(now)
        if ece:
            self.delivered_ce += delivered
        rtt = self._rtt
        sample.judged(self.in_flight, self.recovering or recovering, rtt.srtt, rtt.min_rtt)
        self.measure(sample)
        self._congestion.on_ack(sample)
        if self._reduction is not None:
            self._reduction.acknowledged(delivered, self.in_flight, advance > 0 and not lost)
        if advance:
            self.probe_at = inf
            if board.una == board.nxt:
                self.retransmit_at = self.reorder_at = inf
            else:
                self.retransmit_at = now + self._rtt.rto
        self.plain = (
            self.phase == OPEN
            and not board.lost
            and not board.sacked
            and not (self._duplicates is not None and self._duplicates.count)
            and not self.probe_under_way
            and not self.mtu_probe_under_way
        )

    def _count_duplicate(self, advance: int, duplicate: bool) -> int:
        """Process an ACK of a peer without SACK. Return the octets that it delivers."""
        duplicates = self._duplicates
        if duplicates is None:
            if not duplicate:
                return advance
            self._duplicates = duplicates = DuplicateAcks()
        mss = self._congestion.mss
        if advance:
            return duplicates.advanced(advance, mss, self.phase == FAST)
        return duplicates.arrived(self.board.nxt - self.board.una, mss) if duplicate else 0

    def _deliver(
        self, advance: int, blocks: list[tuple[int, int]], sample: AckSample, echo_age: float, now: float
    ) -> tuple[int, bool, float]:
        """Update the scoreboard and the estimators by the data that the ACK delivers.

        Return the number of newly delivered octets, whether they include never retransmitted data that was outstanding
        at the last loss, and when the earliest retransmission of cumulatively acknowledged data left (`inf`: there was
        none)."""
        board, rtt = self.board, self._rtt
        una = board.una + advance
        runs = board.acknowledge(una) if advance else []
        resent_at = min([run.departure.at for run in runs if run.sent > 1], default=inf)
        if advance and self._sacked_segments:  # segments that SND.UNA has passed no longer count
            self._sacked_segments = min(self._sacked_segments, -(-board.sacked // self._congestion.mss))
        for left, right in blocks:
            if board.run_count <= min(2 * (board.nxt - una) // self._congestion.mss + _SPARE_RUNS, _MAX_RUNS):
                sacked = board.sack(left, right)
                if sacked:
                    runs = runs + sacked
                    size = sum(run.end - run.start for run in sacked)
                    self._sacked_segments += max(1, size // self._congestion.mss)
        if not runs:
            return 0, False, resent_at
        total = 0
        original = False
        newest: Departure | None = None
        for run in runs:
            size = run.end - run.start
            total += size
            self.deliver(size, run.departure, now)
            if run.sent == 1:
                original = original or run.end <= self._recover
                if newest is None or run.departure.at > newest.at:
                    newest = run.departure
        measured = now - newest.at if newest is not None and resent_at == inf else None
        sample.delivers(total, measured)
        if measured is not None:
            rtt.sample(measured, now)
        elif advance and echo_age >= 0:
            # For retransmitted data only the echoed timestamp gives a sample. An echo from before the retransmission
            # belongs to the first transmission, whose ACK was lost or late, so that it measures our timeout, not the
            # path.
            latest = max(run.departure.at for run in runs)
            if echo_age <= now - latest + 0.001:
                rtt.sample(max(echo_age, 0.001), now)
        if self.sack:
            overtaken = False
            rack, timed_out = self.rack, self.phase == TIMED_OUT
            # Sorted, because the first of several blocks is the newest (RFC 2018 4), and none has overtaken another.
            for run in sorted(runs, key=_start) if len(blocks) > 1 else runs:
                # Beyond a hole the echoed timestamp is that of a segment before the hole (RFC 7323 4.3).
                if rack.delivered(run, echo_age if run.end <= una else -1.0, rtt.min_rtt, timed_out, now):
                    overtaken = True
            if overtaken:
                self._count_reordering()
        return total, original, resent_at

    def _count_reordering(self) -> None:
        """Count an ACK that showed reordering on the path."""
        self.reord_seen += 1
        self._counters.sack_reorderings += 1

    def _count_dsack(self, dsack: tuple[int, int]) -> None:
        """Count a DSACK, the range that the peer has received twice, and pass it to RACK."""
        left, right = dsack
        board = self.board
        self.dsack_dups += -(-(right - left) // self._congestion.mss)
        if right <= board.una:
            self._counters.dsacks_received += 1
        else:
            self._counters.dsacks_ofo_received += 1
        if not self.probe_under_way:
            self.rack.saw_dsack(board.nxt, board.una)

    def _detect_loss(self, now: float) -> int:
        """Run RACK's loss detection and set the reordering timer. Return the number of octets newly lost."""
        if not self.sack:
            return 0
        runs, self.reorder_at = self._tracking_rack().detect(self._reordering_window(), now)
        return self._mark_lost(runs, now)

    def _tracking_rack(self) -> Rack:
        """Return RACK, after it has begun to collect departures."""
        rack = self.rack
        if not rack.tracking:
            rack.track(self.board.runs())
        return rack

    def _reordering_window(self) -> float:
        impatient = self.phase in (FAST, TIMED_OUT) or self._sacked_segments >= DUP_THRESH
        return self.rack.window(impatient, self._rtt.min_rtt, self._rtt.srtt)

    def _mark_lost(self, runs: list[Run], now: float) -> int:
        total = 0
        for run in runs:
            if run.state != IN_FLIGHT:
                continue  # it is delivered, or was considered lost before
            size = run.end - run.start
            self.plain = False
            self.board.mark_lost(run)
            if self._mtu_probe is not None and self._mtu_probe.under_way and self._mtu_probe.is_lost_with(run):
                continue  # the loss of a path MTU probe is not a sign of congestion (RFC 8899 4.2)
            total += size
            self._note_lost(run, size, now)
        return total

    def _note_lost(self, run: Run, size: int, now: float) -> None:
        self.count_lost(size)
        if run.sent > 1:
            self._counters.lost_retransmits += -(-size // self._congestion.mss)
        self._congestion.on_lost(size, run.departure, now)

    def _reno_loss(self, advance: int, now: float) -> bool:
        """Detect a loss without SACK, by three duplicate ACKs, or by a partial ACK in fast recovery (RFC 6582). Return
        True if fast recovery begins."""
        if self.sack:
            return False
        board = self.board
        count = 0 if self._duplicates is None else self._duplicates.count
        begins = self.phase in (OPEN, REDUCED) and count == DUP_THRESH and board.una > self._recover
        if not begins and not (self.phase == FAST and advance):
            return False
        self._mark_first_lost(now)
        self.forced = not begins  # RFC 6582 3.2 step 3: retransmit at once
        return begins

    # ------------------------------------------------------------------ phases

    def _enter_fast(self, delivered: int, now: float) -> None:
        if self.phase == OPEN:
            self._begin_reduction(False, delivered, now)
        if self.sack:
            self._counters.sack_recoveries += 1
        else:
            self._counters.reno_recoveries += 1
        self._detection().overtaken()
        self.phase = FAST
        self._recover = self.board.nxt
        self._cancel_probe()

    def _reduce(self, ece: bool, delivered: int, now: float) -> None:
        """Reduce the window although no data is lost."""
        self._begin_reduction(ece, delivered, now)
        self.phase = REDUCED
        self._recover = self.board.nxt

    def _begin_reduction(self, ece: bool, delivered: int, now: float) -> None:
        board, congestion = self.board, self._congestion
        spurious = self._detection()
        spurious.begin()
        self.reduced = True
        outstanding = self.in_flight + board.lost
        if ece:
            congestion.on_mark(outstanding, now)
            spurious.rule_out()
        else:
            congestion.on_loss(outstanding, now)
        if congestion.loss_based:
            flight = outstanding + delivered  # RFC 9937: including the data that this ACK delivers
            self._reduction = RateReduction(flight, congestion.ssthresh, congestion.mss, self.in_flight)

    def _recovered(self, now: float) -> None:
        """End the recovery, because all data outstanding at the loss or mark is acknowledged."""
        if self.phase == TIMED_OUT:
            self._congestion.on_repaired(self.in_flight, now)
        else:
            self._congestion.on_recovered(self.in_flight, now)
        if self.phase != REDUCED:
            self.rack.recovered()
        self._leave()

    def _leave(self) -> None:
        self.phase = OPEN
        self._reduction = None
        if self._spurious is not None:
            self._spurious.over()
        self.forced = False

    def _detection(self) -> SpuriousDetection:
        """Return the detection of a wrong reduction, created at the first use."""
        if self._spurious is None:
            self._spurious = SpuriousDetection()
        return self._spurious

    def _cancel_probe(self) -> None:
        if self._probe is not None:
            self._probe.cancel()

    def on_timeout(self, first: bool, now: float) -> None:
        """Handle a retransmission timeout. `first`: it is the first one for this octet. A repeated timeout does not
        lower ssthresh again (RFC 5681 3.1)."""
        board, congestion = self.board, self._congestion
        outstanding = self.in_flight + board.lost
        self._detection().timed_out(first, self.phase in (OPEN, REDUCED))
        if first:
            congestion.on_timeout(outstanding, now)
        else:
            congestion.on_repeated_timeout()
        self.phase = TIMED_OUT
        self.plain = False
        self.reduced = True
        self._reduction = None
        self._duplicates = None  # the count no longer applies
        self._recover = board.nxt
        self._cancel_probe()
        self.reorder_at = inf
        runs = board.runs()
        if runs and runs[0].state == SACKED:
            board.forget_sacks()  # the peer has dropped SACKed data (RFC 2018 8)
            self._sacked_segments = 0
            self._mark_lost(board.runs(), now)
        elif self.sack:
            self._mark_lost(self._tracking_rack().overdue(self._reordering_window(), now), now)
        else:
            self._mark_lost(runs, now)
        self.mark_first_lost(now)

    def mark_first_lost(self, now: float) -> None:
        """Mark the first octets in flight as lost, and retransmit them regardless of the congestion window."""
        self._mark_first_lost(now)
        self.forced = True

    def _mark_first_lost(self, now: float) -> None:
        run = self.board.mark_first_lost(self._congestion.mss)
        if run is not None:
            self.plain = False
            if self._mtu_probe is not None and self._mtu_probe.under_way:
                self._mtu_probe.is_lost_with(run)
            self._note_lost(run, run.end - run.start, now)

    def mark_larger_lost(self, size: int) -> None:
        """Mark all runs above `size` octets as lost, because their segments may be too large for the path. This is not
        reported to the congestion controller (RFC 1191 6.4)."""
        for run in self.board.runs():
            if run.state == IN_FLIGHT and run.end - run.start > size:
                self.plain = False
                self.board.mark_lost(run)

    def on_reordering_timeout(self, now: float) -> None:
        """Run loss detection, because RACK's reordering timer has expired."""
        self.reorder_at = inf
        if self._detect_loss(now) and self.phase in (OPEN, REDUCED):
            self._enter_fast(0, now)
            if self._reduction is not None:
                self._reduction.allow(self.in_flight + self._congestion.mss)

    def _was_spurious(
        self,
        spurious: SpuriousDetection,
        advance: int,
        delivered: int,
        duplicate: bool,
        original: bool,
        needless: bool,
        echo_age: float,
        resent_at: float,
        now: float,
    ) -> bool:
        """Return True if this ACK shows that the last reduction was wrong."""
        if needless and spurious.all_were_needless:
            return True
        if self.phase in (OPEN, REDUCED):
            return False
        if spurious.judge_echo(echo_age, resent_at, now):
            return True
        return self.phase == TIMED_OUT and spurious.judge_timeout(advance, delivered, duplicate, original)

    def _undo(self, now: float) -> None:
        if self.phase == TIMED_OUT:
            self._counters.spurious_rtos += 1
        self._detection().rule_out()
        self._congestion.on_spurious(now)
        # The back-off of the RTO stays until the next sample, because the RTO was too short for the path (RFC 4015 4).
        if self.phase != OPEN:
            rack = self._tracking_rack() if self.sack else None
            found = self.board.find_lost_again()
            if rack is not None:
                rack.restore(found)
            self._leave()
