"""The interface of congestion controllers."""

from math import inf
from typing import ClassVar, Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.delivery import AckSample
from utcp.tcp.recovery.scoreboard import Departure

UNLIMITED: Final = 1 << 30
"""ssthresh before the first loss, octets: more than any window that TCP can offer."""


def initial_window(mss: int) -> int:
    """Return the initial window of segments of `mss` octets, octets (RFC 6928 2)."""
    return min(10 * mss, max(2 * mss, 14600))


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class CongestionController:
    """Owns `cwnd` and `ssthresh`, in octets, and `pacing_rate`, in octets per second.

    `utcp.tcp.recovery.recovery` decides which data is lost and retransmitted, and calls the methods of the controller,
    which set these three values. `in_flight` is the number of octets sent that are neither delivered nor considered
    lost; `now` is in seconds. `seed` is the only source of randomness.

    A controller that is not loss-based sets `loss_based = False` and controls `cwnd` at all times. For loss-based ones,
    proportional rate reduction (RFC 9937) replaces `cwnd` in fast recovery and reduces the data in flight to
    `ssthresh`. A controller must not refer to the connection, directly or indirectly, because the garbage collector
    does not see compiled controllers.
    """

    __slots__ = ("_undo_cwnd", "_undo_ssthresh", "cwnd", "initial_window", "mss", "pacing_rate", "ssthresh")

    name: ClassVar[str] = ""
    loss_based: ClassVar[bool] = True
    every_ack: ClassVar[bool] = True
    """False if `on_unlimited_ack` handles the ACKs that arrive while the window does not limit the sender."""

    def __init__(self, mss: int, seed: int = 0) -> None:
        """Start from the initial window with the effective send MSS of the handshake. The ssthresh is unlimited even
        after a lost SYN."""
        self.pacing_rate = inf
        """The pacing rate, octets per second; `inf`: only `cwnd` limits sending."""
        self.mss = mss
        self.cwnd = self.initial_window = initial_window(mss)
        """Initial window, octets."""
        self.ssthresh = UNLIMITED
        self._undo_cwnd = 0
        self._undo_ssthresh = UNLIMITED

    def on_established(self, srtt: float, now: float) -> None:
        """Handle the end of the handshake. `srtt` is in seconds; 0: there was no sample."""
        self._pace(srtt)

    @property
    def in_slow_start(self) -> bool:
        return self.cwnd < self.ssthresh

    def set_mss(self, mss: int) -> None:
        """Change the effective send MSS. `cwnd` keeps its octets, but is at least one segment."""
        self.mss = mss
        self.initial_window = initial_window(mss)
        self.cwnd = max(self.cwnd, mss)
        self.ssthresh = max(self.ssthresh, 2 * mss)

    # ------------------------------------------------------------------ events

    def on_syn_lost(self) -> None:
        """Start with one segment, because a segment of the handshake was lost (RFC 5681 3.1)."""
        self.cwnd = self.mss

    def on_sent(self, in_flight: int, now: float) -> None:
        """Handle the departure of data, which `in_flight` does not include yet."""

    def on_ack(self, sample: AckSample) -> None:
        """Handle an ACK with new information, also during fast recovery (`sample.recovering`).

        For one ACK the order of calls is: `on_lost` for each run, then `on_loss`, `on_mark`, `on_recovered` or
        `on_spurious` if one applies, then this."""
        raise NotImplementedError

    def on_unlimited_ack(self, in_flight: int, srtt: float, paced: bool, now: float) -> None:
        """Handle an ACK of new data while no loss is suspected, and while the application or the peer's window, not the
        congestion window, limits the sender. It has no `AckSample`, because most ACKs of most connections are of this
        kind. Called if `every_ack` is False.

        Args:
            in_flight: the octets in flight before this ACK.
            srtt: the smoothed round-trip time, seconds; 0: there is none.
            paced: the path is long enough for pacing, so that the pacing rate is used.
            now: the time, seconds.
        """

    def on_lost(self, size: int, departure: Departure, now: float) -> None:
        """Handle the loss of `size` octets of a departure. Called for each lost run."""

    def on_loss(self, in_flight: int, now: float) -> None:
        """Handle the beginning of fast recovery: lower `ssthresh` after `_remember()`. Called at most once per window
        of data."""
        raise NotImplementedError

    def on_mark(self, in_flight: int, now: float) -> None:
        """Handle an echoed congestion mark (ECE, RFC 3168 6.1.2), by default like a loss, although no data is lost.
        Called at most once per window of data."""
        self.on_loss(in_flight, now)

    def on_recovered(self, in_flight: int, now: float) -> None:
        """Handle the end of fast recovery or of the reduction after a mark: all data outstanding at its beginning is
        delivered."""
        self.cwnd = max(self.ssthresh, self.mss)

    def on_repaired(self, in_flight: int, now: float) -> None:
        """Handle the delivery of all data outstanding at a retransmission timeout. Slow start continues."""

    def on_timeout(self, in_flight: int, now: float) -> None:
        """Handle the first retransmission timeout of some data: lower `ssthresh` after `_remember()`, and set `cwnd` to
        one segment. `in_flight` is the value before the data was considered lost."""
        raise NotImplementedError

    def on_repeated_timeout(self) -> None:
        """Handle a repeated timeout of the same data: `cwnd` is one segment, and ssthresh stays (RFC 5681 3.1)."""
        self.cwnd = self.mss

    def on_spurious(self, now: float) -> None:
        """Undo the last `on_loss` or `on_timeout`, because nothing was lost (RFC 4015, RFC 5682)."""
        self.cwnd = max(self.cwnd, self._undo_cwnd)
        self.ssthresh = max(self.ssthresh, self._undo_ssthresh)

    def on_idle(self, idle: float, rto: float) -> None:
        """Handle the end of an idle time of `idle` seconds, at least one `rto`, without data in flight. Halve `cwnd`
        for each `rto`, down to the restart window, and keep the old value in ssthresh (RFC 5681 4.1, RFC 7661)."""
        if self.cwnd <= self.initial_window:
            return
        self.ssthresh = max(self.ssthresh, self.cwnd * 3 // 4)
        while idle > rto and self.cwnd > self.initial_window:
            self.cwnd //= 2
            idle -= rto
        self.cwnd = max(self.cwnd, self.initial_window)

    # ------------------------------------------------------------------ for loss-based controllers

    def _remember(self) -> None:
        """Save the values that `on_spurious` restores."""
        self._undo_cwnd = self.cwnd
        self._undo_ssthresh = self.ssthresh

    def _pace(self, srtt: float) -> None:
        """Set the pacing rate to 2 windows per round trip in slow start, and 1.2 in congestion avoidance, so that
        pacing does not limit the rate below one window per round trip."""
        if srtt > 0:
            gain = 2.0 if self.cwnd < self.ssthresh // 2 else 1.2
            self.pacing_rate = gain * self.cwnd / srtt


@mypyc_attr(acyclic=True)
class Handshake(CongestionController):
    """The controller before the MSS of the peer is known, when only a SYN is in flight, which no window limits. All
    connections share one (`HANDSHAKE`), because no event changes it."""

    __slots__ = ()

    def set_mss(self, mss: int) -> None:
        pass

    def on_timeout(self, in_flight: int, now: float) -> None:
        pass

    def on_repeated_timeout(self) -> None:
        pass


HANDSHAKE: Final = Handshake(536)
