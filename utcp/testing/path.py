"""One direction of a network path: whether and when a packet arrives. Pure: seed and sending times in, arrival times
out."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypedDict

from utcp.testing.faults import FaultKind, always
from utcp.testing.rules import Carrier

UDP_IP_HEADERS: Final = 28
"""Bytes that IPv4 and UDP headers add to a datagram. They take bandwidth too."""

IP_HEADER: Final = 20
"""Bytes of an IPv4 header."""

HEADERS: Final[dict[Carrier, int]] = {"utcp": UDP_IP_HEADERS, "tcp": IP_HEADER, "udp": UDP_IP_HEADERS}
"""Bytes that the headers below a packet's data take: IPv4 and UDP, or IPv4 alone."""

ETHERNET_MTU: Final = 1500

CE: Final = 3
"""ECN codepoint "congestion experienced" (RFC 3168 5). Packets with codepoint 1 or 2 are ECN-capable and may be marked
so; packets with 0 may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The behaviour of a path. Times are in seconds, shares are 0..1, and packets are independent unless stated
    otherwise.

    Raises ValueError for values out of range.
    """

    latency: float = 0.0
    """One-way delay, seconds. Packets that are sent after it has become lower overtake those in flight, as after a
    change of route."""
    jitter: float = 0.0
    """Maximum additional delay, seconds, evenly distributed. Packets keep their order."""
    bandwidth: float | None = None
    """Bits per second, IP and UDP headers included. None: no limit."""
    queue: int = 1000
    """Maximum number of packets that wait for the bandwidth. Further packets are dropped (tail drop)."""
    policer_burst: int | None = None
    """Size, bytes, of a token bucket that fills at `bandwidth` and polices it. Each packet takes tokens for its size,
    IP and UDP headers included, and is dropped when there are too few. No packet waits, and `queue` has no effect.
    None: packets wait for the bandwidth."""
    ecn_threshold: int | None = None
    """Queue length, packets, from which on ECN-capable packets (ECN bits not 0) are marked with CE (RFC 3168). `queue`
    still applies. None: the path marks no packets."""
    loss: float = 0.0
    """Share of packets lost."""
    burst_loss: float = 0.0
    """Share of packets lost during a burst (Gilbert-Elliott model). 0: no bursts."""
    burst_start: float = 0.01
    """Probability that a packet outside a burst starts one."""
    burst_end: float = 0.25
    """Probability that a packet in a burst ends it."""
    duplicate: float = 0.0
    """Share of packets that arrive twice."""
    reorder: float = 0.0
    """Share of packets delayed by `reorder_delay`, so that later packets overtake them."""
    reorder_delay: float = 0.01
    """Additional delay of reordered packets, seconds."""
    corrupt: float = 0.0
    """Share of packets with flipped bits. The UDP checksum drops them on arrival."""
    mtu: int = 1500
    """Largest IP packet, bytes. Larger packets are dropped."""
    icmp_too_big: bool = False
    """Whether the sender of a packet larger than `mtu` gets an ICMP error after `latency`. If False, the path is a
    black hole for such packets."""
    mtu_known: bool = True
    """Whether senders know `mtu` in advance, as that of their own interface. If False, they assume Ethernet's 1500
    bytes, and each connection discovers the path MTU itself."""

    def __post_init__(self) -> None:
        for name in ("loss", "burst_loss", "burst_start", "burst_end", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share in 0..1, not {getattr(self, name)}")
        for name in ("latency", "jitter", "reorder_delay", "queue"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.ecn_threshold is not None and self.ecn_threshold < 0:
            raise ValueError(f"ecn_threshold must be 0 or more, or None, not {self.ecn_threshold}")
        if self.bandwidth is not None and self.bandwidth <= 0:
            raise ValueError(f"bandwidth must be above 0 bits per second, or None, not {self.bandwidth}")
        if self.policer_burst is not None and self.bandwidth is None:
            raise ValueError("policer_burst needs a bandwidth, which fills its bucket")
        if self.policer_burst is not None and self.policer_burst < self.mtu:
            raise ValueError(
                f"policer_burst must be None or the mtu ({self.mtu} bytes) or more, not {self.policer_burst}"
            )
        if self.mtu < 576:
            raise ValueError(f"mtu must be 576 bytes or more (RFC 791), not {self.mtu}")


class ConditionChanges(TypedDict, total=False):
    """Fields of `Conditions` as keyword arguments."""

    latency: float
    jitter: float
    bandwidth: float | None
    queue: int
    policer_burst: int | None
    ecn_threshold: int | None
    loss: float
    burst_loss: float
    burst_start: float
    burst_end: float
    duplicate: float
    reorder: float
    reorder_delay: float
    corrupt: float
    mtu: int
    icmp_too_big: bool
    mtu_known: bool


class Carried(NamedTuple):
    """The fate of a packet: its arrival times (none, one or two), its ECN bits, whether it was dropped because it
    exceeds the path's `mtu`, and the faults that it has suffered by chance, each with the number of the packet, or
    of its fragment, on the path."""

    arrivals: list[float]
    ecn: int
    too_big: bool = False
    faults: tuple[tuple[int, FaultKind], ...] = ()


class Path:
    """The state of one direction: random numbers, queue, burst.

    Args:
        conditions: the behaviour of the path.
        seed: the seed of its random numbers.
        may_happen: whether a fault may happen to the packet with a number, from 1.
    """

    __slots__ = (
        "_bucket_full_at",
        "_departures",
        "_in_burst",
        "_last_arrival",
        "_may_happen",
        "_random",
        "conditions",
        "counts",
        "waits",
    )

    def __init__(
        self, conditions: Conditions, seed: int | str, may_happen: Callable[[int, FaultKind], bool] = always
    ) -> None:
        self.conditions = conditions
        self._may_happen = may_happen
        self._random = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self._departures: deque[float] = deque()  # of packets queued for the bandwidth
        self._bucket_full_at = 0.0  # if no other packet takes tokens
        self._last_arrival = 0.0
        self._in_burst = False
        kinds = ("sent", "lost", "queue_full", "policed", "corrupted", "too_big", "duplicated", "marked")
        self.counts = dict.fromkeys(kinds, 0)
        self.waits: list[float] | None = None
        """Queueing delay of each packet, seconds, in order of sending, without the packets that the queue or the
        policer dropped. None: not recorded. Assign a list to record."""

    def change(self, conditions: Conditions) -> None:
        """Set the conditions for subsequent packets. With a lower latency, they take a shorter route, on which they
        overtake those in flight."""
        if conditions.latency < self.conditions.latency:
            self._last_arrival = 0.0
        self.conditions = conditions

    def carry(self, size: int, now: float) -> list[float]:
        """Send `size` bytes of UDP payload at `now`. Return the arrival times (none, one or two)."""
        return self.forward(size, now).arrivals

    def forward_datagram(self, size: int, now: float) -> Carried:
        """Send a UDP datagram with `size` bytes of payload at `now`, in fragments if it exceeds the MTU. Return the
        fate of the whole datagram, which is lost with any of its fragments."""
        if size + UDP_IP_HEADERS <= self.conditions.mtu:
            return self.forward(size, now)
        most = (self.conditions.mtu - IP_HEADER) // 8 * 8
        rest = size + UDP_IP_HEADERS - IP_HEADER
        last = now
        arrives = True
        faults: list[tuple[int, FaultKind]] = []
        while rest > 0:
            fragment = self.forward(min(rest, most), now, headers=IP_HEADER)
            arrives = arrives and bool(fragment.arrivals)
            faults += fragment.faults
            last = max([last, *fragment.arrivals[:1]])
            rest -= most
        return Carried([last] if arrives else [], 0, faults=tuple(faults))

    def forward(self, size: int, now: float, ecn: int = 0, headers: int = UDP_IP_HEADERS) -> Carried:
        """Send `size` bytes and `headers` at `now`, in a packet with these ECN bits, and return its fate."""
        conditions, rng = self.conditions, self._random
        self.counts["sent"] += 1
        number, may_happen = self.counts["sent"], self._may_happen
        # Each packet takes a fixed number of random numbers, so that changing one condition does not change the effects
        # of the others.
        luck = [rng.random() for _ in range(7)]
        if size + headers > conditions.mtu:
            self.counts["too_big"] += 1
            return Carried([], ecn, too_big=True)
        departure = now
        if conditions.policer_burst is not None:
            if not self._conforms(size + headers, now):
                self.counts["policed"] += 1
                return Carried([], ecn)
        elif conditions.bandwidth is not None:
            departures = self._departures
            while departures and departures[0] <= now:
                departures.popleft()
            if len(departures) > conditions.queue:  # one is in transmission, the others wait
                self.counts["queue_full"] += 1
                return Carried([], ecn)
            # Marking depends on the queue only, so it comes before a loss further on.
            if ecn and conditions.ecn_threshold is not None and len(departures) > conditions.ecn_threshold:
                self.counts["marked"] += 1
                ecn = CE
            begin = departures[-1] if departures else now
            departure = begin + (size + headers) * 8 / conditions.bandwidth
            departures.append(departure)
            if self.waits is not None:
                self.waits.append(begin - now)
        if conditions.burst_loss:
            self._in_burst = luck[0] >= conditions.burst_end if self._in_burst else luck[0] < conditions.burst_start
        if luck[1] < (conditions.burst_loss if self._in_burst else conditions.loss) and may_happen(number, "lost"):
            self.counts["lost"] += 1
            return Carried([], ecn, faults=((number, "lost"),))
        if luck[2] < conditions.corrupt and may_happen(number, "corrupted"):
            self.counts["corrupted"] += 1
            return Carried([], ecn, faults=((number, "corrupted"),))
        faults: list[tuple[int, FaultKind]] = []
        arrival = departure + conditions.latency
        if conditions.jitter and may_happen(number, "delayed"):
            arrival += luck[3] * conditions.jitter
            faults.append((number, "delayed"))
        if luck[4] < conditions.reorder and may_happen(number, "reordered"):
            arrival += conditions.reorder_delay
            faults.append((number, "reordered"))
        else:
            arrival = self._last_arrival = max(arrival, self._last_arrival)
        arrivals = [arrival]
        if luck[5] < conditions.duplicate and may_happen(number, "duplicated"):
            self.counts["duplicated"] += 1
            arrivals.append(arrival + luck[6] * max(conditions.latency, 0.001))
            faults.append((number, "duplicated"))
        return Carried(arrivals, ecn, faults=tuple(faults))

    def _conforms(self, size: int, now: float) -> bool:
        """Take the tokens for a packet of `size` bytes. Return False if the policer's bucket has too few."""
        bandwidth, burst = self.conditions.bandwidth, self.conditions.policer_burst
        assert bandwidth is not None and burst is not None  # noqa: S101, PT018  # Conditions checks this
        full_at = max(self._bucket_full_at, now) + size * 8 / bandwidth
        if full_at - now > burst * 8 / bandwidth:
            return False
        self._bucket_full_at = full_at
        return True
