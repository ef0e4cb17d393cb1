"""What loss-based controllers share: slow start, when the window may grow, one reduction a window, and its undoing."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.congestion.base import UNLIMITED, CongestionController
from utcp.tcp.congestion.hystart import CSS_GROWTH_DIVISOR, HyStart
from utcp.tcp.recovery.delivery import AckSample

_BURST: Final = 8
"""L of RFC 9406 4.3: so many segments an ACK, unless pacing spreads what follows. Paths too short to be paced have no
such limit either: what queues there is our own host."""
_UNUSED_FOR: Final = 1.0
"""The pipeACK sampling period of RFC 7661 4.2, in seconds; three round trips if they take longer."""


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class LossBased(CongestionController):
    """A subclass says how it grows in congestion avoidance (`_avoid`) and to what it falls (`_reduced`).

    What falls is `cwnd`, not what was in flight: as `cwnd` only grows when it is used, and decays when it is not, it is
    a measure of the path (RFC 9438 4.6, RFC 7661), and at the time a loss is noticed what is in flight is not.
    """

    __slots__ = ("_heard_at", "_hystart", "_landing", "_paused", "_used", "_used_since")

    def begin(self, mss: int) -> None:
        super().begin(mss)
        self._hystart: HyStart | None = None
        self._heard_at = 0.0
        """When an ACK last arrived."""
        self._paused = False
        """The window did not limit the sender since it last grew."""
        self._landing = 0
        """`cwnd` once the present reduction is over; 0: there is none."""
        self._used = 0
        """Most octets in flight since the window last limited the sender, or decayed."""
        self._used_since = inf
        """When that was; `inf`: not since the connection began or was idle."""

    def on_ack(self, sample: AckSample) -> None:
        if not sample.recovering:
            if self.ssthresh == UNLIMITED:  # the first slow start
                hystart = self._hystart
                if hystart is None:
                    self._hystart = hystart = HyStart()
                if hystart.on_ack(sample):
                    self.ssthresh = max(self.cwnd, 2 * self.mss)
            if sample.acked and sample.limited:
                self._grow(sample)
        self._validate(sample)
        self._heard_at = sample.now
        if not sample.limited:
            self._paused = True
        if sample.srtt > 0:
            self._pace(sample.srtt)

    def on_loss(self, in_flight: int, now: float) -> None:
        self._reduce(self._reduced())
        self._landing = self.ssthresh

    def on_mark(self, in_flight: int, now: float) -> None:
        """As for a loss, but `cwnd` may fall to one segment (RFC 9438 4.6)."""
        reduced = self._reduced()
        self._reduce(reduced)
        self._landing = max(reduced, self.mss)

    def on_recovered(self, in_flight: int, now: float) -> None:
        if self._landing:
            self.cwnd = self._landing
            self._landing = 0

    def on_timeout(self, in_flight: int, now: float) -> None:
        if self._landing:
            # Fast recovery has reduced for this window already. It was right: to undo the timeout is to end there.
            self.cwnd = self._landing
            self._landing = 0
            self._remember()
        else:
            self._reduce(self._reduced())
        self.cwnd = self.mss

    def on_repeated_timeout(self) -> None:
        super().on_repeated_timeout()
        self._landing = 0

    def on_spurious(self, now: float) -> None:
        if self._is_lowered():
            self.cwnd = max(self.cwnd, self._undo_cwnd)
            self.ssthresh = max(self.ssthresh, self._undo_ssthresh)
        self._landing = 0
        self._undo_cwnd = 0

    def on_idle(self, idle: float, rto: float) -> None:
        super().on_idle(idle, rto)
        self._used_since = inf  # idle time has been accounted for

    # ------------------------------------------------------------------ for subclasses

    def _avoid(self, sample: AckSample, acked: int) -> None:
        """Grow in congestion avoidance: `acked` octets were delivered, and the window limits the sender."""
        raise NotImplementedError

    def _reduced(self) -> int:
        """The window that follows a loss or mark, in octets. It may be below what `ssthresh` may be."""
        raise NotImplementedError

    def _is_lowered(self) -> bool:
        """There is something to undo: the window is, or is about to be, below what was remembered. Long after an error
        it need not be, and then what was learned since is worth more (RFC 9438 4.9.2)."""
        return self._undo_cwnd > 0 and (self._landing > 0 or self.cwnd < self._undo_cwnd)

    # ------------------------------------------------------------------

    def _grow(self, sample: AckSample) -> None:
        # Octets, not ACKs, are counted (RFC 3465), each once: what SACK told of before does not count again when
        # SND.UNA passes it, or the end of a recovery would be a burst.
        acked = sample.newly_delivered
        if self.cwnd < self.ssthresh:
            if self.pacing_rate == inf:
                acked = min(acked, _BURST * self.mss)
            if self.ssthresh == UNLIMITED and self._hystart is not None and self._hystart.conservative:
                acked //= CSS_GROWTH_DIVISOR
            room = self.ssthresh - self.cwnd
            if acked <= room:
                self.cwnd += acked
                return
            # What one ACK brings beyond the threshold is congestion avoidance's.
            self.cwnd = self.ssthresh
            acked -= room
        self._avoid(sample, acked)

    def _validate(self, sample: AckSample) -> None:
        """A window that was not used for long is no measure of the path: it goes half the way to what was used, and
        ssthresh remembers (RFC 7661)."""
        if sample.limited or sample.recovering or self._used_since == inf:
            self._used = 0
            self._used_since = sample.now
            return
        self._used = max(self._used, sample.prior_in_flight)
        if sample.now - self._used_since < max(_UNUSED_FOR, 3 * sample.srtt):
            return
        used = max(self._used, self.initial_window)
        if used < self.cwnd:
            self.ssthresh = max(self.ssthresh, self.cwnd * 3 // 4)
            self.cwnd = (self.cwnd + used) // 2
        self._used = 0
        self._used_since = sample.now

    def _reduce(self, window: int) -> None:
        self._remember()
        self.ssthresh = max(window, 2 * self.mss)
