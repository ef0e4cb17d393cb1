"""Delivery rate samples (draft-ietf-ccwg-bbr, 4.1), by departure.

All segments of a connection in one flush are one departure. They share the send time and the state at that time, so
that a window of ten thousand segments consists of about a hundred departures.
"""

from __future__ import annotations

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.scoreboard import Departure

ROUNDING: Final = 1e-6
"""Tolerance for comparing differences of large floats, seconds."""


@mypyc_attr(acyclic=True)
class AckSample:
    """The measurements of one ACK, in octets, seconds, and octets per second."""

    __slots__ = (
        "acked",
        "app_limited",
        "delivery_rate",
        "ece",
        "in_flight",
        "interval",
        "limited",
        "lost",
        "min_rtt",
        "newly_delivered",
        "now",
        "prior_delivered",
        "prior_in_flight",
        "rate_delivered",
        "recovering",
        "rtt",
        "sent_in_flight",
        "srtt",
        "total_delivered",
    )

    def __init__(
        self, now: float, acked: int = 0, ece: bool = False, prior_in_flight: int = 0, limited: bool = False
    ) -> None:
        self.now = now
        self.acked = acked
        """Payload octets that SND.UNA advanced over."""
        self.newly_delivered = 0
        """Octets that this ACK is the first to acknowledge, cumulatively or by SACK."""
        self.in_flight = 0
        """Octets in flight after this ACK: sent, and neither delivered nor considered lost."""
        self.prior_in_flight = prior_in_flight
        """Octets in flight before this ACK."""
        self.rtt: float | None = None
        """Round-trip time sample of the ACK, seconds; None: there is no unambiguous one."""
        self.srtt = 0.0
        """Smoothed round-trip time after this ACK, seconds; 0: there is none."""
        self.min_rtt = 0.0
        """Lowest round-trip time of the last five minutes, seconds; 0: there is none."""
        self.ece = ece
        """True if the ACK carried ECE (RFC 3168)."""
        self.limited = limited
        """True if the congestion window, not the application or the peer's window, limits the sender."""
        self.recovering = False
        """True if before or after this ACK the sender is in fast recovery, or reduces its window after a congestion
        mark. False after a timeout, when the sender is in slow start."""
        self.total_delivered = 0
        """C.delivered: octets delivered in total."""
        # The rate sample, valid if `delivery_rate` is above 0.
        self.delivery_rate = 0.0
        self.rate_delivered = 0
        """RS.delivered: octets delivered in `interval`."""
        self.interval = 0.0
        """Time in which they were delivered, seconds; 0: the sample is invalid."""
        self.prior_delivered = -1
        """C.delivered at the departure of the newest segment that this ACK acknowledges; -1: nothing new was delivered.
        A round trip has passed when this reaches the value of C.delivered at the beginning of the round."""
        self.sent_in_flight = 0
        """RS.tx_in_flight: octets in flight after the departure of that segment."""
        self.lost = 0
        """RS.lost: octets considered lost since the departure of that segment."""
        self.app_limited = False

    def begin(self, now: float, acked: int, prior_in_flight: int, limited: bool) -> None:
        """Begin a sample of another ACK without ECE."""
        self.now = now
        self.acked = acked
        self.prior_in_flight = prior_in_flight
        self.limited = limited

    def delivers(self, size: int, rtt: float | None) -> None:
        """Set the number of delivered octets and the round-trip time sample, seconds; None: there is no sample."""
        self.newly_delivered = size
        self.rtt = rtt

    def judged(self, in_flight: int, recovering: bool, srtt: float, min_rtt: float) -> None:
        """Set the values that are known after the ACK was processed."""
        self.in_flight = in_flight
        self.recovering = recovering
        self.srtt = srtt
        self.min_rtt = min_rtt


@mypyc_attr(acyclic=True)
class Delivery:
    """Counts delivered and lost octets, and measures the delivery rate. `Recovery` is the only subclass, whose
    constructor sets the first values, because a call of another one would cost more than the values."""

    __slots__ = (
        "_app_limited_until",
        "_first_sent_at",
        "_newest",
        "delivered",
        "delivered_at",
        "delivery_rate",
        "lost_in_total",
        "rate_app_limited",
    )

    delivered: int
    """C.delivered: octets delivered in total."""
    delivered_at: float
    """Time at which C.delivered last grew, seconds."""
    lost_in_total: int
    """C.lost: octets ever considered lost."""
    delivery_rate: float
    """The latest valid rate sample, octets per second."""
    rate_app_limited: bool
    """True if the application limited that sample."""
    _first_sent_at: float
    _app_limited_until: int
    _newest: Departure | None
    """The latest departure with data that the present ACK delivered."""

    def deliver(self, size: int, departure: Departure, now: float) -> None:
        """Count `size` delivered octets of a departure, and include them in the rate sample."""
        self.delivered += size
        self.delivered_at = now
        if self._newest is None or departure.at >= self._newest.at:
            self._newest = departure

    def deliver_all(self, size: int, departure: Departure, min_rtt: float, now: float) -> float:
        """Count the `size` octets that an ACK delivers, the last of them from `departure`, and update the delivery
        rate. Return the interval of the rate sample, seconds; 0: the sample is invalid."""
        self.delivered = delivered = self.delivered + size
        self.delivered_at = now
        if self._app_limited_until and delivered > self._app_limited_until:
            self._app_limited_until = 0
        sent_at = departure.at
        self._first_sent_at = sent_at
        interval = sent_at - departure.first_sent_at
        if now - departure.delivered_at > interval:
            interval = now - departure.delivered_at
        # An interval below the lowest round-trip time is invalid: ACKs were compressed, or the clock has stopped.
        if interval <= 0.0 or interval <= min_rtt - ROUNDING:
            return 0.0
        rate = (delivered - departure.delivered) / interval
        if not departure.app_limited or rate >= self.delivery_rate:
            self.delivery_rate = rate
            self.rate_app_limited = departure.app_limited
        return interval

    def count_lost(self, size: int) -> None:
        """Count `size` octets that are considered lost."""
        self.lost_in_total += size

    def measure(self, sample: AckSample) -> None:
        """Complete the sample of an ACK after all its deliveries, and prepare for the next ACK."""
        newest = self._newest
        if newest is None:
            sample.total_delivered = self.delivered
            return
        self._newest = None
        self.complete(sample, newest, self.deliver_all(0, newest, sample.min_rtt, self.delivered_at))

    def complete(self, sample: AckSample, newest: Departure, interval: float) -> None:
        """Set the values of a sample that `deliver_all` has measured in `interval`, by the data of `newest`."""
        delivered = self.delivered
        sample.total_delivered = delivered
        sample.prior_delivered = newest.delivered
        sample.sent_in_flight = newest.in_flight
        sample.lost = self.lost_in_total - newest.lost
        sample.app_limited = newest.app_limited
        sample.rate_delivered = delivered - newest.delivered
        sample.interval = interval
        sample.delivery_rate = sample.rate_delivered / interval if interval else 0.0
