"""What a congestion controller is told, and what it answers."""

from math import inf
from typing import ClassVar, Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.delivery import AckSample
from utcp.tcp.recovery.scoreboard import Departure

UNLIMITED: Final = 1 << 30
"""ssthresh before the first loss: more than any window that TCP can offer."""


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class CongestionController:
    """Owns `cwnd` and `ssthresh`, in octets, and `pacing_rate`, in octets per second. What is lost and what is sent
    again is decided elsewhere (`utcp.tcp.recovery.recovery`); a controller is told, and answers with these three.

    `in_flight` is what was sent, is not delivered and not taken for lost, in octets; `now` is in seconds. `seed` is the
    only randomness a controller may have. One that is not loss-based sets `loss_based = False` and handles every ACK by
    itself; for the others `cwnd` does not hold during fast recovery: proportional rate reduction (RFC 9937) leads what
    is in flight down to `ssthresh`. A controller must not hold the connection, or what leads to it: when compiled it is
    out of the garbage collector's sight.
    """

    __slots__ = ("_undo_cwnd", "_undo_ssthresh", "cwnd", "initial_window", "mss", "pacing_rate", "ssthresh")

    name: ClassVar[str] = ""
    loss_based: ClassVar[bool] = True

    def __init__(self, mss: int, seed: int = 0) -> None:
        self.pacing_rate = inf
        """How fast to send, in octets per second; `inf`: as fast as `cwnd` allows."""
        self.begin(mss)

    def begin(self, mss: int) -> None:
        """The handshake has settled the effective MSS: start from the initial window. What a lost SYN brought about
        says nothing of data: ssthresh is high again."""
        self._use_mss(mss)
        self.ssthresh = UNLIMITED
        self.cwnd = self.initial_window
        self._undo_cwnd = 0
        self._undo_ssthresh = UNLIMITED

    def on_established(self, srtt: float, now: float) -> None:
        """The handshake is over; `srtt` in seconds, 0 if it gave no sample."""
        self._pace(srtt)

    def _use_mss(self, mss: int) -> None:
        self.mss = mss
        self.initial_window = min(10 * mss, max(2 * mss, 14600))
        """Ten segments, as RFC 6928 2 bounds them."""

    @property
    def in_slow_start(self) -> bool:
        return self.cwnd < self.ssthresh

    def set_mss(self, mss: int) -> None:
        """The path takes larger or smaller segments from now on. `cwnd` stays, in octets, but one segment fits."""
        self._use_mss(mss)
        self.cwnd = max(self.cwnd, mss)
        self.ssthresh = max(self.ssthresh, 2 * mss)

    # ------------------------------------------------------------------ what happened

    def on_syn_lost(self) -> None:
        """The handshake lost a segment: start with one (RFC 5681 3.1)."""
        self.cwnd = self.mss

    def on_sent(self, in_flight: int, now: float) -> None:
        """Data is about to leave; `in_flight` does not count it yet."""

    def on_ack(self, sample: AckSample) -> None:
        """An ACK that says something new, also during fast recovery (`sample.recovering`, as it is after this ACK).

        For one ACK the order is: `on_lost` for each stretch, then `on_loss`, `on_mark`, `on_recovered` or `on_spurious`
        if it brings one about, then this."""
        raise NotImplementedError

    def on_lost(self, size: int, departure: Departure, now: float) -> None:
        """`size` octets of a departure are taken for lost. Called for each stretch."""

    def on_loss(self, in_flight: int, now: float) -> None:
        """Fast recovery begins: lower `ssthresh`, after `_remember()`. At most once per window of data."""
        raise NotImplementedError

    def on_mark(self, in_flight: int, now: float) -> None:
        """The peer echoed a congestion mark (ECE, RFC 3168 6.1.2): as for a loss, and nothing is lost. At most once per
        window of data."""
        self.on_loss(in_flight, now)

    def on_recovered(self, in_flight: int, now: float) -> None:
        """Everything outstanding when the loss or mark was noticed is delivered."""
        self.cwnd = max(self.ssthresh, self.mss)

    def on_repaired(self, in_flight: int, now: float) -> None:
        """Everything outstanding at a retransmission timeout is delivered; slow start goes on from where it is."""

    def on_timeout(self, in_flight: int, now: float) -> None:
        """The retransmission timer expired for data that had not been sent again by a timeout before; `in_flight` as it
        was before all of it was taken for lost. Lower `ssthresh`, after `_remember()`; `cwnd` is one segment."""
        raise NotImplementedError

    def on_repeated_timeout(self) -> None:
        """It expired again for the same data: one segment, and ssthresh stays (RFC 5681 3.1)."""
        self.cwnd = self.mss

    def on_spurious(self, now: float) -> None:
        """The last `on_loss` or `on_timeout` was wrong: nothing had been lost (RFC 4015, RFC 5682)."""
        self.cwnd = max(self.cwnd, self._undo_cwnd)
        self.ssthresh = max(self.ssthresh, self._undo_ssthresh)

    def on_idle(self, idle: float, rto: float) -> None:
        """Nothing was in flight or sent for `idle` seconds, at least an `rto`: halve for each, down to the restart
        window; the memory of the path stays in ssthresh (RFC 5681 4.1, RFC 7661)."""
        if self.cwnd <= self.initial_window:
            return
        self.ssthresh = max(self.ssthresh, self.cwnd * 3 // 4)
        while idle > rto and self.cwnd > self.initial_window:
            self.cwnd //= 2
            idle -= rto
        self.cwnd = max(self.cwnd, self.initial_window)

    # ------------------------------------------------------------------ for loss-based controllers

    def _remember(self) -> None:
        """Keep what `on_spurious` restores."""
        self._undo_cwnd = self.cwnd
        self._undo_ssthresh = self.ssthresh

    def _pace(self, srtt: float) -> None:
        """A window per round trip, and some more, so that pacing itself limits nothing: twice in slow start, 1.2 times
        in congestion avoidance."""
        if srtt > 0:
            gain = 2.0 if self.cwnd < self.ssthresh // 2 else 1.2
            self.pacing_rate = gain * self.cwnd / srtt
