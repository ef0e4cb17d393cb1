"""CUBIC: the window is a cubic function of the time since the last loss (RFC 9438)."""

from math import cbrt
from typing import ClassVar, Final

from utcp._compiled import mypyc_attr
from utcp.tcp.congestion.loss_based import LossBased
from utcp.tcp.recovery.delivery import AckSample

BETA: Final = 0.7
"""beta_cubic: the factor by which a loss reduces the window."""
C: Final = 0.4
"""The steepness of the cubic function, segments per cubic second."""
ALPHA: Final = 3 * (1 - BETA) / (1 + BETA)
"""alpha_cubic, segments per round trip. With BETA, the average window equals that of Reno."""
_SEARCH: Final = 0.05
"""Lowest relative growth per round trip while the limit of the path is unknown."""
_NOTHING: Final = (0.0, 0.0, 0.0, 0, ALPHA, False, False, 0.0)
"""The remembered values before the first loss."""


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Cubic(LossBased):
    """CUBIC with windows in octets. The RFC's formulas are in segments, so C is multiplied by the MSS.

    One deviation from RFC 9438, as in Linux: before the first loss after the start or after a timeout there is no
    meaningful W_max. The window then grows by at least a twentieth per round trip, because the cubic function starts
    flat and would take ten seconds to fill the path.
    """

    __slots__ = (
        "_alpha",
        "_before",
        "_carry",
        "_epoch",
        "_grown_at",
        "_in_epoch",
        "_k",
        "_prior",
        "_searching",
        "_w_est",
        "_w_max",
    )

    name: ClassVar[str] = "cubic"

    def __init__(self, mss: int, seed: int = 0) -> None:
        super().__init__(mss)
        self._w_max = 0.0
        """W_max: the window at which the function is flat, octets; 0 before the first loss."""
        self._k = 0.0
        """K: the time in the epoch at which the function reaches W_max, seconds."""
        self._w_est = 0.0
        """W_est: the window that Reno would have, octets."""
        self._prior = 0
        """cwnd_prior: the window before ssthresh was last set, octets."""
        self._alpha = ALPHA
        self._searching = True
        """True until the first loss after the start or a timeout."""
        self._in_epoch = False
        """True during a stage of congestion avoidance."""
        self._epoch = 0.0
        """Beginning of the stage, seconds, moved later by the pauses of the application."""
        self._grown_at = 0.0
        """Time at which the window last grew or could have grown, seconds."""
        self._carry = 0.0
        """Fraction of an octet by which the window has grown."""
        self._before = _NOTHING
        """The values before the last loss, for the undo."""

    def set_mss(self, mss: int) -> None:
        super().set_mss(mss)
        self._in_epoch = False  # K depends on the MSS

    def on_sent(self, in_flight: int, now: float) -> None:
        if in_flight == 0 and self._in_epoch:
            self._shift(now - self._heard_at)

    def on_timeout(self, in_flight: int, now: float) -> None:
        super().on_timeout(in_flight, now)
        self._in_epoch = False
        self._w_max = 0.0
        self._searching = True

    def on_repeated_timeout(self) -> None:
        super().on_repeated_timeout()
        self._in_epoch = False

    def on_spurious(self, now: float) -> None:
        if self._is_lowered():
            (
                self._w_max,
                self._k,
                self._w_est,
                self._prior,
                self._alpha,
                self._searching,
                self._in_epoch,
                self._epoch,
            ) = self._before
            self._grown_at = now
            self._paused = False
        super().on_spurious(now)

    # ------------------------------------------------------------------

    def _remember(self) -> None:
        super()._remember()
        self._before = (
            self._w_max,
            self._k,
            self._w_est,
            self._prior,
            self._alpha,
            self._searching,
            self._in_epoch,
            self._epoch,
        )

    def _reduce(self, window: int) -> None:
        super()._reduce(window)
        # Fast convergence: a window at least a segment below the last W_max leaves room for other flows (4.7).
        short = self.cwnd + self.mss <= self._w_max
        self._w_max = self.cwnd * (1 + BETA) / 2 if short else float(self.cwnd)
        self._prior = self.cwnd
        self._searching = False
        self._in_epoch = False

    def _reduced(self) -> int:
        return int(self.cwnd * BETA)

    def _grow(self, sample: AckSample) -> None:
        if self.cwnd < self.ssthresh:
            self._in_epoch = False
        super()._grow(sample)

    def _avoid(self, sample: AckSample, acked: int) -> None:
        if not self._in_epoch:
            self._begin_epoch(sample.now)
        elif self._paused and sample.now - self._grown_at > sample.srtt:
            # The application sent nothing for more than a round trip, which the epoch does not count (4.2, 5.8).
            self._shift(sample.now - self._grown_at)
        self._grown_at = sample.now
        self._paused = False
        part = min(acked / self.cwnd, 1.0)
        elapsed = sample.now - self._epoch
        self._w_est += self._alpha * self.mss * part
        if self._w_est >= self._prior:
            self._alpha = 1.0
        if self._searching or self._w_cubic(elapsed) >= self._w_est:
            self._carry += (self._target(elapsed + sample.srtt) - self.cwnd) * part
            whole = int(self._carry)
            self._carry -= whole
            self.cwnd += whole
        self.cwnd = max(self.cwnd, int(self._w_est))

    def _begin_epoch(self, now: float) -> None:
        """Begin a stage of congestion avoidance at `cwnd`. W_max is at least `cwnd` (4.8, 4.10)."""
        self._in_epoch = True
        self._epoch = now
        self._carry = 0.0
        self._w_max = max(self._w_max, float(self.cwnd))
        self._k = cbrt((self._w_max - self.cwnd) / (C * self.mss))
        self._w_est = float(self.cwnd)
        self._alpha = ALPHA
        if not self._prior:
            self._prior = self.cwnd

    def _w_cubic(self, elapsed: float) -> float:
        """Return W_cubic at `elapsed` seconds of the epoch, octets (figure 1)."""
        return C * self.mss * (elapsed - self._k) ** 3 + self._w_max

    def _target(self, elapsed: float) -> float:
        """Return the target window at `elapsed` seconds of the epoch, octets: at least `cwnd`, at most 1.5 times it
        (4.2)."""
        least = self.cwnd * (1 + _SEARCH) if self._searching else self.cwnd
        return min(max(self._w_cubic(elapsed), least), 1.5 * self.cwnd)

    def _shift(self, pause: float) -> None:
        """Exclude a pause, in seconds, from the epoch."""
        self._epoch += pause
        self._grown_at += pause
