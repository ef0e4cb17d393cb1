"""CUBIC: the window is a cubic function of the time since the last loss (RFC 9438)."""

from math import cbrt
from typing import ClassVar, Final

from utcp._compiled import mypyc_attr
from utcp.tcp.congestion.loss_based import LossBased
from utcp.tcp.recovery.delivery import AckSample

BETA: Final = 0.7
"""beta_cubic: what a loss leaves of the window."""
C: Final = 0.4
"""How steep the function is, in segments per cubic second."""
ALPHA: Final = 3 * (1 - BETA) / (1 + BETA)
"""alpha_cubic: segments per round trip that, with BETA, make a window as large as Reno's on average."""
_SEARCH: Final = 0.05
"""The least growth in a round trip while the path's limit is unknown."""
_NOTHING: Final = (0.0, 0.0, 0.0, 0, ALPHA, False, False, 0.0)
"""What is remembered before the first loss."""


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Cubic(LossBased):
    """Windows are in octets; the formulas have them in segments, so C becomes C times the MSS.

    One deviation from RFC 9438, as in Linux: until the first loss after the start or a timeout there is no meaningful
    W_max. The window then grows by at least a twentieth in a round trip, because the cubic function starts flat and
    would take ten seconds to fill such a path.
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

    def begin(self, mss: int) -> None:
        super().begin(mss)
        self._w_max = 0.0
        """Where the function is flat, in octets; 0 before the first loss."""
        self._k = 0.0
        """When it is, in seconds of the epoch."""
        self._w_est = 0.0
        """Reno's window, had it been here, in octets."""
        self._prior = 0
        """cwnd_prior: the window before ssthresh was last set."""
        self._alpha = ALPHA
        self._searching = True
        self._in_epoch = False
        """A stage of congestion avoidance is under way."""
        self._epoch = 0.0
        """When it began, later by what the application paused."""
        self._grown_at = 0.0
        """When the window last grew, or could have."""
        self._carry = 0.0
        """The part of an octet by which it has grown."""
        self._before = _NOTHING
        """What a loss overwrote of the above."""

    def set_mss(self, mss: int) -> None:
        super().set_mss(mss)
        self._in_epoch = False  # K was in segments of the old size

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
        # Fast convergence: a window that did not reach the last one, by a segment, leaves room for others (4.7).
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
            # The application had nothing to send for more than the round trip that any ACK may take to tell (4.2, 5.8).
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
        """A stage of congestion avoidance begins at `cwnd`, which is W_max if that is lower or unknown (4.8, 4.10)."""
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
        """Figure 1: the window so many seconds into the epoch, in octets."""
        return C * self.mss * (elapsed - self._k) ** 3 + self._w_max

    def _target(self, elapsed: float) -> float:
        """The window aimed at, so many seconds into the epoch, in octets: it does not shrink, nor grow faster than in
        slow start (4.2)."""
        least = self.cwnd * (1 + _SEARCH) if self._searching else self.cwnd
        return min(max(self._w_cubic(elapsed), least), 1.5 * self.cwnd)

    def _shift(self, pause: float) -> None:
        """The epoch does not count this time, in seconds."""
        self._epoch += pause
        self._grown_at += pause
