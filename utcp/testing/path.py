"""One direction of a network path: when, and whether, what is sent arrives. Pure: a seed and times in, times out."""

import random
from collections import deque
from dataclasses import dataclass
from typing import Final

UDP_IP_HEADERS: Final = 28
"""Octets that IPv4 and UDP add to a datagram: they take bandwidth too."""


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

    def __post_init__(self) -> None:
        for name in ("loss", "burst_loss", "burst_start", "burst_end", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, in 0..1, not {getattr(self, name)}")
        for name in ("latency", "jitter", "reorder_delay", "queue"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ValueError(f"bandwidth must be above 0 bits per second, or None, not {self.bandwidth}")
        if self.mtu < 576:
            raise ValueError(f"mtu must be 576 octets or more (RFC 791), not {self.mtu}")


class Path:
    """The state of one direction: its random numbers, its queue, its burst."""

    __slots__ = ("_departures", "_in_burst", "_last_arrival", "_random", "conditions", "counts")

    def __init__(self, conditions: Conditions, seed: int | str) -> None:
        self.conditions = conditions
        self._random = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self._departures: deque[float] = deque()  # of those that the bandwidth has kept waiting
        self._last_arrival = 0.0
        self._in_burst = False
        self.counts = {"sent": 0, "lost": 0, "queue_full": 0, "corrupted": 0, "too_big": 0, "duplicated": 0}

    def carry(self, size: int, now: float) -> list[float]:
        """Send `size` octets of UDP payload at `now`; when they arrive: never, once, or twice."""
        conditions, rng = self.conditions, self._random
        self.counts["sent"] += 1
        # One number per question and packet, asked or not: a changed knob leaves the others' luck alone.
        luck = [rng.random() for _ in range(7)]
        if size + UDP_IP_HEADERS > conditions.mtu:
            self.counts["too_big"] += 1
            return []
        departure = now
        if conditions.bandwidth is not None:
            departures = self._departures
            while departures and departures[0] <= now:
                departures.popleft()
            if len(departures) > conditions.queue:  # one is being transmitted, the others wait
                self.counts["queue_full"] += 1
                return []
            begin = departures[-1] if departures else now
            departure = begin + (size + UDP_IP_HEADERS) * 8 / conditions.bandwidth
            departures.append(departure)
        if conditions.burst_loss:
            self._in_burst = luck[0] >= conditions.burst_end if self._in_burst else luck[0] < conditions.burst_start
        if luck[1] < (conditions.burst_loss if self._in_burst else conditions.loss):
            self.counts["lost"] += 1
            return []
        if luck[2] < conditions.corrupt:
            self.counts["corrupted"] += 1
            return []
        arrival = departure + conditions.latency + luck[3] * conditions.jitter
        if luck[4] < conditions.reorder:
            arrival += conditions.reorder_delay
        else:
            arrival = self._last_arrival = max(arrival, self._last_arrival)
        if luck[5] < conditions.duplicate:
            self.counts["duplicated"] += 1
            return [arrival, arrival + luck[6] * max(conditions.latency, 0.001)]
        return [arrival]
