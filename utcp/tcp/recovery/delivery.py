"""How fast the peer receives: delivery rate samples (draft-ietf-ccwg-bbr, 4.1), by what left at one time.

All that one flush sends of a connection is one departure: it shares a send time, and what was known then. So a window
of ten thousand segments is some hundred departures.
"""

from __future__ import annotations

from typing import Final

from utcp._compiled import mypyc_attr
from utcp.tcp.recovery.scoreboard import Departure

ROUNDING: Final = 1e-6
"""Differences of large floats: two of one length need not be equal. In seconds."""


@mypyc_attr(acyclic=True)
class AckSample:
    """What the sender learned from one ACK. Octets and seconds; rates in octets per second."""

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
        """Octets that this ACK says have arrived, and none before did: cumulatively or by SACK."""
        self.in_flight = 0
        """Octets in flight now: sent, not delivered, not taken for lost; and before this ACK."""
        self.prior_in_flight = prior_in_flight
        self.rtt: float | None = None
        """Its round-trip time, if it gave an unambiguous one."""
        self.srtt = 0.0
        """The smoothed round-trip time with it; 0 before there is any."""
        self.min_rtt = 0.0
        """The lowest of the last five minutes; 0 before there is any."""
        self.ece = ece
        """It carried ECE (RFC 3168)."""
        self.limited = limited
        """The congestion window, not the application or the peer's window, limits the sender."""
        self.recovering = False
        """The sender is, or was before this ACK, in fast recovery or reducing its window after a congestion mark. Not
        after a timeout: then it is in slow start."""
        self.total_delivered = 0
        """C.delivered: octets delivered in all."""
        # The rate sample: valid when `delivery_rate` is above 0.
        self.delivery_rate = 0.0
        self.rate_delivered = 0
        """RS.delivered: octets that were delivered in `interval`."""
        self.interval = 0.0
        self.prior_delivered = -1
        """C.delivered when the newest segment that this ACK acknowledges left; -1: nothing new was delivered. A round
        trip has passed when this reaches C.delivered of the round's begin."""
        self.sent_in_flight = 0
        """RS.tx_in_flight: octets in flight when that segment had left."""
        self.lost = 0
        """RS.lost: octets taken for lost since that segment left."""
        self.app_limited = False

    def delivers(self, size: int, rtt: float | None) -> None:
        """The ACK has delivered `size` octets, and measured the round-trip time `rtt`, seconds; None: it has not."""
        self.newly_delivered = size
        self.rtt = rtt

    def judged(self, in_flight: int, recovering: bool, srtt: float, min_rtt: float) -> None:
        """What the ACK brings about has been decided: so many octets are in flight."""
        self.in_flight = in_flight
        self.recovering = recovering
        self.srtt = srtt
        self.min_rtt = min_rtt


@mypyc_attr(acyclic=True)
class Delivery:
    """Counts what is delivered and lost, and measures at which rate."""

    __slots__ = (
        "_app_limited_until",
        "_first_sent_at",
        "_newest",
        "delivered",
        "delivered_at",
        "lost",
        "rate",
        "rate_app_limited",
    )

    def __init__(self, now: float) -> None:
        self.delivered = 0
        """C.delivered, in octets, and when it last grew."""
        self.delivered_at = now
        self.lost = 0
        """C.lost: octets that were ever taken for lost."""
        self.rate = 0.0
        """The latest valid sample, in octets per second, and whether the application limited it."""
        self.rate_app_limited = False
        self._first_sent_at = now
        self._app_limited_until = 0
        self._newest: Departure | None = None
        """Of what the present ACK delivered, the departure that was sent last."""

    def depart(self, in_flight: int, mss: int, now: float) -> Departure:
        """Segments of `mss` octets leave while `in_flight` octets are under way."""
        if not in_flight:
            self._first_sent_at = self.delivered_at = now
        return Departure(
            now, self.delivered, self.delivered_at, self._first_sent_at, self.lost, self._app_limited_until > 0, mss
        )

    def count(self, size: int, now: float) -> None:
        """`size` octets have arrived."""
        self.delivered += size
        self.delivered_at = now

    def deliver(self, size: int, departure: Departure, now: float) -> None:
        """`size` octets of a departure have arrived, and are to be measured."""
        self.count(size, now)
        if self._newest is None or departure.at >= self._newest.at:
            self._newest = departure

    def deliver_all(
        self,
        size: int,
        departure: Departure,
        sample: AckSample,
        acked: int,
        in_flight: int,
        prior_in_flight: int,
        rtt: float | None,
        srtt: float,
        min_rtt: float,
        limited: bool,
        now: float,
    ) -> None:
        """`deliver` and `measure`, for an ACK that delivers `size` octets, `departure` the last of them, and completes
        `sample` with what follows."""
        self.delivered += size
        self.delivered_at = now
        self._newest = departure
        sample.now = now
        sample.acked = acked
        sample.newly_delivered = size
        sample.in_flight = in_flight
        sample.prior_in_flight = prior_in_flight
        sample.rtt = rtt
        sample.srtt = srtt
        sample.min_rtt = min_rtt
        sample.limited = limited
        self.measure(sample)

    def lose(self, size: int) -> None:
        """`size` octets are taken for lost."""
        self.lost += size

    def flushed(self, departure: Departure | None, in_flight: int, app_limited: bool) -> None:
        """A flush is over, in which `departure` left, and `in_flight` octets are in flight. `app_limited`: the
        application has nothing more to send, though there would be room (draft-ietf-ccwg-bbr, 4.1.2.4)."""
        if departure is not None:
            departure.left(in_flight)
        if app_limited:
            self._app_limited_until = self.delivered + in_flight or 1

    def measure(self, sample: AckSample) -> None:
        """Complete the sample of an ACK whose deliveries have all been told, and begin anew."""
        newest = self._newest
        self._newest = None
        sample.total_delivered = self.delivered
        sample.delivery_rate = 0.0
        if self._app_limited_until and self.delivered > self._app_limited_until:
            self._app_limited_until = 0
        if newest is None:
            return
        self._first_sent_at = newest.at
        sample.prior_delivered = newest.delivered
        sample.sent_in_flight = newest.in_flight
        sample.lost = self.lost - newest.lost
        sample.app_limited = newest.app_limited
        sample.rate_delivered = self.delivered - newest.delivered
        sample.interval = max(newest.at - newest.first_sent_at, self.delivered_at - newest.delivered_at)
        # Shorter than any round trip: ACKs were compressed, or the clock stands still.
        if sample.interval > 0 and sample.interval > sample.min_rtt - ROUNDING:
            sample.delivery_rate = sample.rate_delivered / sample.interval
            if not sample.app_limited or sample.delivery_rate >= self.rate:
                self.rate = sample.delivery_rate
                self.rate_app_limited = sample.app_limited
