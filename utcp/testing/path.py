"""One direction of a network path: when, and whether, what is sent arrives. Pure: a seed and times in, times out."""

import random
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

UDP_IP_HEADERS: Final = 28
"""Octets that IPv4 and UDP add to a datagram: they take bandwidth too."""

ETHERNET_MTU: Final = 1500

CE: Final = 3
"""ECN bits: congestion experienced (RFC 3168 5). 1 and 2 say that the packet may be marked so, 0 that it may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a path does to packets. Times in seconds, shares in 0..1, independent for each packet unless said otherwise.

    Raises ValueError for values out of range.
    """

    latency: float = 0.0
    """From one end to the other."""
    jitter: float = 0.0
    """Up to so much more, evenly distributed; packets keep their order."""
    bandwidth: float | None = None
    """Bits per second, IP and UDP headers included; None: no limit."""
    queue: int = 1000
    """Packets that wait for the bandwidth at most; further ones are dropped from the tail."""
    policer_burst: int | None = None
    """Octets of a token bucket that fills at `bandwidth` and polices it: each packet takes tokens for its size, IP and
    UDP headers included, and a packet that finds too few is dropped. No packet waits, and `queue` has no effect. None:
    packets wait for the bandwidth."""
    ecn_threshold: int | None = None
    """A packet that finds so many waiting for the bandwidth, or more, is marked with CE if it is ECN-capable (RFC 3168:
    its ECN bits are not 0). None: the path marks nothing. `queue` still drops."""
    loss: float = 0.0
    burst_loss: float = 0.0
    """Share of packets lost during a burst (Gilbert-Elliott model); 0: there are no bursts."""
    burst_start: float = 0.01
    """How likely each packet outside a burst is to begin one."""
    burst_end: float = 0.25
    """How likely each packet in a burst is to end it."""
    duplicate: float = 0.0
    reorder: float = 0.0
    """Share of packets held back by `reorder_delay`, so that later ones overtake them."""
    reorder_delay: float = 0.01
    corrupt: float = 0.0
    """Share of packets with flipped bits: the UDP checksum drops them on arrival."""
    mtu: int = 1500
    """Largest IP packet. Larger datagrams vanish."""
    icmp_too_big: bool = False
    """The sender of a datagram larger than `mtu` is told so by ICMP, after `latency`; False: the path is a black hole
    for them."""
    mtu_known: bool = True
    """Senders know `mtu` beforehand, as that of their own interface. False: they take the path for an Ethernet's, with
    1500 octets, and each connection finds out by itself."""

    def __post_init__(self) -> None:
        for name in ("loss", "burst_loss", "burst_start", "burst_end", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, in 0..1, not {getattr(self, name)}")
        for name in ("latency", "jitter", "reorder_delay", "queue"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.ecn_threshold is not None and self.ecn_threshold < 0:
            raise ValueError(f"ecn_threshold must be 0 or more, or None, not {self.ecn_threshold}")
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ValueError(f"bandwidth must be above 0 bits per second, or None, not {self.bandwidth}")
        if self.policer_burst is not None and self.bandwidth is None:
            raise ValueError("policer_burst needs a bandwidth, at which its bucket fills")
        if self.policer_burst is not None and self.policer_burst < self.mtu:
            raise ValueError(
                f"policer_burst must be None or the mtu ({self.mtu} octets) or more, not {self.policer_burst}"
            )
        if self.mtu < 576:
            raise ValueError(f"mtu must be 576 octets or more (RFC 791), not {self.mtu}")


class Carried(NamedTuple):
    """What becomes of a packet: when it arrives (never, once, or twice) and with which ECN bits; whether it did not
    because it exceeds the path's `mtu`."""

    arrivals: list[float]
    ecn: int
    too_big: bool = False


class Path:
    """The state of one direction: its random numbers, its queue, its burst."""

    __slots__ = (
        "_bucket_full_at",
        "_departures",
        "_in_burst",
        "_last_arrival",
        "_random",
        "conditions",
        "counts",
        "waits",
    )

    def __init__(self, conditions: Conditions, seed: int | str) -> None:
        self.conditions = conditions
        self._random = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self._departures: deque[float] = deque()  # of those that the bandwidth has kept waiting
        self._bucket_full_at = 0.0  # unless another packet takes tokens
        self._last_arrival = 0.0
        self._in_burst = False
        kinds = ("sent", "lost", "queue_full", "policed", "corrupted", "too_big", "duplicated", "marked")
        self.counts = dict.fromkeys(kinds, 0)
        self.waits: list[float] | None = None
        """Seconds for which each packet waited in the queue for the bandwidth, in the order of sending; those that the
        queue or the policer dropped are not in it. None: they are not recorded. Assign a list to record them."""

    def change(self, conditions: Conditions) -> None:
        """Set the conditions for the packets to come."""
        self.conditions = conditions

    def carry(self, size: int, now: float) -> list[float]:
        """Send `size` octets of UDP payload at `now`; when they arrive: never, once, or twice."""
        return self.forward(size, now).arrivals

    def forward(self, size: int, now: float, ecn: int = 0) -> Carried:
        """Send `size` octets of UDP payload at `now`, in a packet with these ECN bits."""
        conditions, rng = self.conditions, self._random
        self.counts["sent"] += 1
        # One number per question and packet, asked or not: a changed knob leaves the others' luck alone.
        luck = [rng.random() for _ in range(7)]
        if size + UDP_IP_HEADERS > conditions.mtu:
            self.counts["too_big"] += 1
            return Carried([], ecn, too_big=True)
        departure = now
        if conditions.policer_burst is not None:
            if not self._conforms(size, now):
                self.counts["policed"] += 1
                return Carried([], ecn)
        elif conditions.bandwidth is not None:
            departures = self._departures
            while departures and departures[0] <= now:
                departures.popleft()
            if len(departures) > conditions.queue:  # one is being transmitted, the others wait
                self.counts["queue_full"] += 1
                return Carried([], ecn)
            # Whether it will be lost further on or not: the mark comes with the packet's place in the queue.
            if ecn and conditions.ecn_threshold is not None and len(departures) > conditions.ecn_threshold:
                self.counts["marked"] += 1
                ecn = CE
            begin = departures[-1] if departures else now
            departure = begin + (size + UDP_IP_HEADERS) * 8 / conditions.bandwidth
            departures.append(departure)
            if self.waits is not None:
                self.waits.append(begin - now)
        if conditions.burst_loss:
            self._in_burst = luck[0] >= conditions.burst_end if self._in_burst else luck[0] < conditions.burst_start
        if luck[1] < (conditions.burst_loss if self._in_burst else conditions.loss):
            self.counts["lost"] += 1
            return Carried([], ecn)
        if luck[2] < conditions.corrupt:
            self.counts["corrupted"] += 1
            return Carried([], ecn)
        arrival = departure + conditions.latency + luck[3] * conditions.jitter
        if luck[4] < conditions.reorder:
            arrival += conditions.reorder_delay
        else:
            arrival = self._last_arrival = max(arrival, self._last_arrival)
        if luck[5] < conditions.duplicate:
            self.counts["duplicated"] += 1
            return Carried([arrival, arrival + luck[6] * max(conditions.latency, 0.001)], ecn)
        return Carried([arrival], ecn)

    def _conforms(self, size: int, now: float) -> bool:
        """Take the tokens for `size` octets of UDP payload, if the policer's bucket has as many."""
        bandwidth, burst = self.conditions.bandwidth, self.conditions.policer_burst
        assert bandwidth is not None and burst is not None  # noqa: S101, PT018  # Conditions has checked this
        full_at = max(self._bucket_full_at, now) + (size + UDP_IP_HEADERS) * 8 / bandwidth
        if full_at - now > burst * 8 / bandwidth:
            return False
        self._bucket_full_at = full_at
        return True
