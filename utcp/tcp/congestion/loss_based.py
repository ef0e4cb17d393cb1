"""The base of loss-based controllers: slow start, window validation, one reduction per window, and its undo."""

from math import inf
from typing import ClassVar, Final

from utcp._compiled import mypyc_attr
from utcp.tcp.congestion.base import UNLIMITED, CongestionController
from utcp.tcp.congestion.hystart import CSS_GROWTH_DIVISOR, HyStart
from utcp.tcp.recovery.delivery import AckSample

_BURST: Final = 8
"""L of RFC 9406 4.3: limit of the growth per ACK in slow start without pacing, segments. Paths too short to be paced
have no limit either, because data then queues only in our own host."""
_UNUSED_FOR: Final = 1.0
"""The pipeACK sampling period of RFC 7661 4.2, seconds; three round trips if they take longer."""


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class LossBased(CongestionController):
    """A subclass defines the growth in congestion avoidance (`_avoid`) and the reduction (`_reduced`).

    A reduction starts from `cwnd`, not from the data in flight. `cwnd` measures the path, because it grows only while
    it is used, and decays while it is not (RFC 9438 4.6, RFC 7661). The data in flight when a loss is detected does
    not.
    """

    __slots__ = ("_heard_at", "_hystart", "_landing", "_paused", "_used", "_used_since")

    every_ack: ClassVar[bool] = False

    def __init__(self, mss: int, seed: int = 0) -> None:
        super().__init__(mss)
        self._hystart: HyStart | None = None
        self._heard_at = 0.0
        """Arrival of the last ACK, seconds."""
        self._paused = False
        """True if the window did not limit the sender at some time since it last grew."""
        self._landing = 0
        """`cwnd` after the present reduction, octets; 0: there is no reduction."""
        self._used = 0
        """Largest number of octets in flight since `_used_since`."""
        self._used_since = inf
        """Time at which the window last limited the sender or decayed, seconds; `inf`: not since the connection began
        or was idle."""

    def on_ack(self, sample: AckSample) -> None:
        if not sample.limited and not sample.recovering:
            self.on_unlimited_ack(sample.prior_in_flight, sample.srtt, True, sample.now)
            return
        self._used = 0
        self._used_since = self._heard_at = sample.now
        if sample.recovering:
            self._paused = self._paused or not sample.limited
        else:
            if self.ssthresh == UNLIMITED:  # the first slow start
                hystart = self._hystart
                if hystart is None:
                    self._hystart = hystart = HyStart()
                if hystart.on_ack(sample):
                    self.ssthresh = max(self.cwnd, 2 * self.mss)
            if sample.acked:
                self._grow(sample)
        if sample.srtt > 0:
            self._pace(sample.srtt)

    def on_unlimited_ack(self, in_flight: int, srtt: float, paced: bool, now: float) -> None:
        """Handle an ACK that does not let the window grow. HyStart++ ignores it, because the window did not cause a
        rise of the round-trip time then."""
        self._heard_at = now
        self._paused = True
        if self.cwnd > self.initial_window:
            self._validate(in_flight, srtt, now)
        if paced and srtt > 0:
            self._pace(srtt)

    def on_loss(self, in_flight: int, now: float) -> None:
        self._reduce(self._reduced())
        self._landing = self.ssthresh

    def on_mark(self, in_flight: int, now: float) -> None:
        """Reduce as for a loss, but `cwnd` may fall to one segment (RFC 9438 4.6)."""
        reduced = self._reduced()
        self._reduce(reduced)
        self._landing = max(reduced, self.mss)

    def on_recovered(self, in_flight: int, now: float) -> None:
        if self._landing:
            self.cwnd = self._landing
            self._landing = 0

    def on_timeout(self, in_flight: int, now: float) -> None:
        if self._landing:
            # Fast recovery has already reduced this window, and rightly so. An undo of the timeout restores the reduced
            # window.
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
        """Grow in congestion avoidance by `acked` delivered octets. The window limits the sender."""
        raise NotImplementedError

    def _reduced(self) -> int:
        """Return the window after a loss or mark, octets. It may be below the lower bound of `ssthresh`."""
        raise NotImplementedError

    def _is_lowered(self) -> bool:
        """Return True if the window is, or is about to be, below the remembered one, so that an undo is useful. Long
        after the reduction it may be above, and then the newer value is better (RFC 9438 4.9.2)."""
        return self._undo_cwnd > 0 and (self._landing > 0 or self.cwnd < self._undo_cwnd)

    # ------------------------------------------------------------------

    def _grow(self, sample: AckSample) -> None:
        # Growth counts octets, not ACKs (RFC 3465). SACKed octets are not counted again when SND.UNA passes them, or
        # the end of a recovery would cause a burst.
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
            # Octets of the ACK beyond the threshold count in congestion avoidance.
            self.cwnd = self.ssthresh
            acked -= room
        self._avoid(sample, acked)

    def _validate(self, in_flight: int, srtt: float, now: float) -> None:
        """Reduce a window that was unused for long, because it no longer measures the path: halve its distance to the
        used window, and keep the old value in ssthresh (RFC 7661)."""
        if self._used_since == inf:
            self._used = 0
            self._used_since = now
            return
        self._used = max(self._used, in_flight)
        if now - self._used_since < max(_UNUSED_FOR, 3 * srtt):
            return
        used = max(self._used, self.initial_window)
        if used < self.cwnd:
            self.ssthresh = max(self.ssthresh, self.cwnd * 3 // 4)
            self.cwnd = (self.cwnd + used) // 2
        self._used = 0
        self._used_since = now

    def _reduce(self, window: int) -> None:
        self._remember()
        self.ssthresh = max(window, 2 * self.mss)
