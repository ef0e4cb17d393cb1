"""HyStart++: ends the first slow start when round-trip times rise, before data is lost (RFC 9406)."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.delivery import AckSample

MIN_RTT_THRESH: Final = 0.004
"""Lowest threshold for a rise of the round-trip time, seconds. A smaller rise is noise."""
MAX_RTT_THRESH: Final = 0.016
"""Highest threshold, seconds. A larger rise shows a queue."""
MIN_RTT_DIVISOR: Final = 8
"""Divisor of the last round's round-trip time for the threshold between these limits."""
N_RTT_SAMPLE: Final = 8
"""Number of samples from which a round is judged before it is over."""
CSS_GROWTH_DIVISOR: Final = 4
"""Divisor of the growth in conservative slow start, compared with slow start."""
CSS_ROUNDS: Final = 5
"""Number of rounds of conservative slow start."""


@mypyc_attr(acyclic=True)
class HyStart:
    """Observes the round-trip times, in seconds, of each round. A rise begins conservative slow start (CSS). If the
    times fall, slow start continues; otherwise congestion avoidance follows after five rounds.

    A round may have fewer than eight samples, because a peer may acknowledge a whole batch of segments at once. It is
    then judged at its end. CSS tolerates an error of this judgement.
    """

    __slots__ = ("_baseline", "_last", "_lowest", "_round_end", "_rounds", "_samples")

    def __init__(self) -> None:
        self._lowest = inf
        """currentRoundMinRTT, seconds."""
        self._last = inf
        """lastRoundMinRTT, seconds."""
        self._samples = 0
        self._round_end = 0
        """C.delivered at the beginning of the round. The delivery of data sent after that ends the round."""
        self._baseline = inf
        """cssBaselineMinRtt, seconds."""
        self._rounds = 0
        """Number of rounds of CSS, including the present one; 0 in slow start."""

    @property
    def conservative(self) -> bool:
        """True in CSS, where the window grows by a quarter."""
        return self._rounds > 0

    def on_ack(self, sample: AckSample) -> bool:
        """Process an ACK of the first slow start. Return True if CSS has lasted its rounds, so that congestion
        avoidance begins."""
        if sample.prior_delivered >= self._round_end:
            self._begin_round(sample.total_delivered)
        if sample.rtt is not None:
            self._lowest = min(self._lowest, sample.rtt)
            self._samples += 1
            if self._samples >= N_RTT_SAMPLE:
                self._judge()
        return self._rounds > CSS_ROUNDS

    def _begin_round(self, delivered: int) -> None:
        if 0 < self._samples < N_RTT_SAMPLE:
            self._judge()
        if self._samples:  # a round without a sample is ignored
            self._last = self._lowest
        self._lowest = inf
        self._samples = 0
        self._round_end = delivered
        if self._rounds:
            self._rounds += 1

    def _judge(self) -> None:
        if self._rounds:
            if self._lowest < self._baseline:
                self._rounds = 0
                self._baseline = inf
            return
        threshold = max(MIN_RTT_THRESH, min(self._last / MIN_RTT_DIVISOR, MAX_RTT_THRESH))
        if self._lowest >= self._last + threshold:
            self._baseline = self._lowest
            self._rounds = 1
