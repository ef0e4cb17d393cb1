"""The measured paths: a grid of bandwidth, round-trip time and loss, and some with one peculiarity each."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from utcp.testing.path import Conditions, Path

from .impairment import Lateness

BANDWIDTHS: Final = (10e6, 100e6)
RTTS: Final = (0.001, 0.02, 0.1)
LOSSES: Final = (0.0, 0.001, 0.01, 0.03)

MTU: Final = 1500
SHORT_QUEUE: Final = 20
"""Queue length, packets, less than the bandwidth-delay product of the paths that have it. No other path has a shorter
queue."""
REORDERED: Final = 0.01
"""Share of packets that a path with reordering delays by a quarter of the round-trip time."""
BURST_START: Final = 0.001
BURST_LENGTH: Final = 4
"""Mean number of consecutive packets lost in a burst. Each packet starts a burst with probability BURST_START, which
gives a long-run loss of 0.4 %."""
BLOATED: Final = 0.1
"""Queueing delay of a full bloated buffer, seconds."""
ACK_BANDWIDTH: Final = 500e3
"""Bandwidth of a narrow path for acknowledgments, bits per second."""
JITTERED: Final = 0.01
"""Maximum delay of a path with jitter, seconds. Packets keep their order, so jitter also bunches them."""
FAST: Final = 100e6
"""Bandwidth, bits per second, above which runs are shorter."""
SEEDS: Final = 3
"""Number of runs of a cell with randomness. Its figure is their mean."""


REORDER: Final = "reorder"
QUEUE20: Final = f"queue{SHORT_QUEUE}"
BURSTS: Final = "bursts"
BLOAT: Final = "bloat"
ACK_PATH: Final = "ack500k"
POLICER: Final = "policer"
JITTER: Final = "jitter10ms"


@dataclass(frozen=True, slots=True)
class Cell:
    """One path. `bandwidth` is in bits per second, `rtt` in seconds, for an empty path and without the transmission
    time at the bottleneck. `kind` is empty or one of the constants above."""

    bandwidth: float
    rtt: float
    loss: float = 0.0
    kind: str = ""

    @property
    def parts(self) -> tuple[str, str, str]:
        """Return the parts that identify it: ("100mbit", "20ms", "1%")."""
        return f"{self.bandwidth / 1e6:g}mbit", f"{self.rtt * 1e3:g}ms", self.kind or f"{100 * self.loss:g}%"

    @property
    def name(self) -> str:
        """Return a name such as 100mbit/20ms/1%."""
        return "/".join(self.parts)

    @property
    def queue(self) -> int:
        """Return the bottleneck's queue length, packets: a bandwidth-delay product of full ones, at least
        `SHORT_QUEUE`."""
        if self.kind == QUEUE20:
            return SHORT_QUEUE
        seconds = BLOATED if self.kind == BLOAT else self.rtt
        return max(SHORT_QUEUE, round(self.bandwidth * seconds / 8 / MTU))

    @property
    def conditions(self) -> Conditions:
        """Return the conditions for data."""
        conditions = Conditions(
            latency=self.rtt / 2, bandwidth=self.bandwidth, queue=self.queue, loss=self.loss, mtu=MTU
        )
        if self.kind == REORDER:
            return replace(conditions, reorder=REORDERED, reorder_delay=self.rtt / 4)
        if self.kind == BURSTS:
            return replace(conditions, burst_loss=1.0, burst_start=BURST_START, burst_end=1 / BURST_LENGTH)
        if self.kind == POLICER:
            return replace(conditions, policer_burst=self.queue * MTU)
        if self.kind == JITTER:
            return replace(conditions, jitter=JITTERED)
        return conditions

    @property
    def ack_conditions(self) -> Conditions:
        """Return the conditions for acknowledgments, which are lost and delayed as data is."""
        if self.kind == ACK_PATH:
            return replace(self.conditions, bandwidth=ACK_BANDWIDTH)
        return self.conditions

    @property
    def duration(self) -> float:
        """Return the seconds to measure, at least sixty round-trip times, of which slow start takes a tenth at most."""
        if self.bandwidth > FAST:
            return 5.0  # one such second takes the simulator eight
        return 20.0 if self.rtt > 0.05 else 10.0

    @property
    def seeds(self) -> range:
        chance = self.loss or self.kind in (REORDER, BURSTS, JITTER)
        return range(1, 1 + (SEEDS if chance else 1))


CELLS: Final = (
    *(Cell(bandwidth, rtt, loss) for bandwidth in BANDWIDTHS for rtt in RTTS for loss in LOSSES),
    Cell(20e6, 0.02, loss=0.05),
    Cell(5e6, 0.3),
    *(Cell(bandwidth, rtt, kind=REORDER) for bandwidth, rtt in ((10e6, 0.02), (100e6, 0.02), (100e6, 0.1))),
    *(Cell(bandwidth, rtt, kind=QUEUE20) for bandwidth, rtt in ((10e6, 0.1), (100e6, 0.02), (100e6, 0.1))),
    Cell(200e6, 0.05, kind=BURSTS),
    *(Cell(20e6, 0.02, kind=kind) for kind in (BLOAT, ACK_PATH, POLICER, JITTER)),
)


def matching(pattern: str) -> list[Cell]:
    """Return the cells that have every part of `pattern`: `100mbit/20ms/1%` matches one, `20ms` and `10mbit/reorder`
    several.

    Raises ValueError when there is none.
    """
    parts = set(pattern.split("/"))
    cells = [cell for cell in CELLS if parts <= set(cell.parts)]
    if not cells:
        raise ValueError(
            f"no path is called {pattern!r}: a name is like {Cell(100e6, 0.1, kind=REORDER).name}, or a part of one"
        )
    return cells


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one run. Packets are those of the senders."""

    mbit: tuple[float, ...]
    """Goodput of each flow, Mbit/s: payload that the receiving application read."""
    sent: int
    lost: int
    queue_full: int
    """Packets dropped by the bottleneck, by its full queue or by its policer."""
    queue_delay: float = 0.0
    queue_delay_p95: float = 0.0
    """Mean and 95th percentile of the delay in the bottleneck's queue, seconds."""
    lateness: Lateness | None = None
    """Lateness of the relay; None in virtual time, which is never late."""

    @property
    def p99(self) -> float:
        """Return the 99th percentile of the relay's lateness, seconds."""
        return 0.0 if self.lateness is None else self.lateness.p99

    @classmethod
    def over(cls, path: Path, octets: Sequence[int], seconds: float, lateness: Lateness | None = None) -> "Run":
        """Return the result of a run over `path`, whose `waits` were recorded; `octets` are those read from each
        flow."""
        waits = sorted(path.waits or [0.0])
        counts = path.counts
        return cls(
            tuple(count * 8 / seconds / 1e6 for count in octets),
            counts["sent"],
            counts["lost"],
            counts["queue_full"] + counts["policed"],
            statistics.fmean(waits),
            waits[math.ceil(len(waits) * 0.95) - 1],
            lateness,
        )


def seed_of(seed: int, source: str, destination: str) -> str:
    """Return the seed of one direction's random numbers, as in `utcp.testing.Network`, so that the n-th packet has the
    same random numbers in the simulator and in the relay."""
    return f"{seed} {source} {destination}"
