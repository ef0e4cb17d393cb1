"""HyStart++: leaving the first slow start when round-trip times rise, before data is lost (RFC 9406)."""

from math import inf
from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.delivery import AckSample

MIN_RTT_THRESH: Final = 0.004
"""A rise of less is noise, in seconds."""
MAX_RTT_THRESH: Final = 0.016
"""A rise of more is a queue, in seconds."""
MIN_RTT_DIVISOR: Final = 8
"""Between the two: this part of the last round's round-trip time."""
N_RTT_SAMPLE: Final = 8
"""So many samples tell before a round is over."""
CSS_GROWTH_DIVISOR: Final = 4
"""Conservative slow start grows by this part of what slow start would."""
CSS_ROUNDS: Final = 5
"""Conservative slow start lasts so many rounds."""


@mypyc_attr(acyclic=True)
class HyStart:
    """Watches round-trip times, in seconds, round by round. A rise begins conservative slow start (CSS), which ends in
    slow start again if they fall, and after five rounds in congestion avoidance if they do not.

    A round may bring fewer than eight samples here, for peers acknowledge a whole batch of segments at once. Then it is
    judged when it is over: by then it has told all it can, and CSS forgives an error.
    """

    __slots__ = ("_baseline", "_last", "_lowest", "_round_end", "_rounds", "_samples")

    def __init__(self) -> None:
        self._lowest = inf
        """currentRoundMinRTT, lastRoundMinRTT."""
        self._last = inf
        self._samples = 0
        self._round_end = 0
        """C.delivered when the round began: what leaves after that, once delivered, ends it."""
        self._baseline = inf
        """cssBaselineMinRtt."""
        self._rounds = 0
        """Rounds of CSS, the present one included; 0 in slow start."""

    @property
    def conservative(self) -> bool:
        """In CSS: grow by a quarter."""
        return self._rounds > 0

    def on_ack(self, sample: AckSample) -> bool:
        """Take an ACK of the first slow start, whether or not the window grows by it. Return whether slow start is
        over, because CSS has lasted its rounds: congestion avoidance begins."""
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
        if self._samples:  # a round without a sample says nothing, and the one before it remains the last
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
