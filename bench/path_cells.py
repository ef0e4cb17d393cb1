"""The paths to measure on: a grid of bandwidth, round trip and loss, and some with one peculiarity each."""

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
"""Packets: less than the bandwidth-delay product of the paths that have it. No other path has fewer."""
REORDERED: Final = 0.01
"""Share of packets that a path with reordering holds back, by a quarter of the round trip."""
BURST_START: Final = 0.001
BURST_LENGTH: Final = 4
"""A path with bursts loses so many packets in a row on average; each packet begins a burst with that probability. That
is a loss of 0.4 % in the long run."""
BLOATED: Final = 0.1
"""Seconds that a packet waits in the full queue of a bloated buffer."""
ACK_BANDWIDTH: Final = 500e3
"""Bits per second of a narrow path for acknowledgements."""
JITTERED: Final = 0.01
"""Seconds by which a path with jitter delays packets at most, in order: so it also bunches them."""
FAST: Final = 100e6
"""Bits per second: runs of what is faster are shorter."""
SEEDS: Final = 3
"""Runs of a cell in which chance has a part. Its figure is their mean."""


REORDER: Final = "reorder"
QUEUE20: Final = f"queue{SHORT_QUEUE}"
BURSTS: Final = "bursts"
BLOAT: Final = "bloat"
ACK_PATH: Final = "ack500k"
POLICER: Final = "policer"
JITTER: Final = "jitter10ms"


@dataclass(frozen=True, slots=True)
class Cell:
    """One path. Bandwidth in bits per second, `rtt` in seconds, for an empty path and without the time that a packet
    takes to pass the bottleneck. `kind` is empty or one of the constants above."""

    bandwidth: float
    rtt: float
    loss: float = 0.0
    kind: str = ""

    @property
    def parts(self) -> tuple[str, str, str]:
        """What tells it from the others: ("100mbit", "20ms", "1%")."""
        return f"{self.bandwidth / 1e6:g}mbit", f"{self.rtt * 1e3:g}ms", self.kind or f"{100 * self.loss:g}%"

    @property
    def name(self) -> str:
        """100mbit/20ms/1%"""
        return "/".join(self.parts)

    @property
    def queue(self) -> int:
        """Packets that can wait for the bottleneck: a bandwidth-delay product of full ones, `SHORT_QUEUE` at least."""
        if self.kind == QUEUE20:
            return SHORT_QUEUE
        seconds = BLOATED if self.kind == BLOAT else self.rtt
        return max(SHORT_QUEUE, round(self.bandwidth * seconds / 8 / MTU))

    @property
    def conditions(self) -> Conditions:
        """Of the data's direction."""
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
        """Of the acknowledgements' direction: they are lost and held back as data is."""
        if self.kind == ACK_PATH:
            return replace(self.conditions, bandwidth=ACK_BANDWIDTH)
        return self.conditions

    @property
    def duration(self) -> float:
        """Seconds to measure, at least sixty round trips. They begin with slow start, which takes a tenth at most."""
        if self.bandwidth > FAST:
            return 5.0  # a second of it costs the simulator eight
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
    """The cells that have every part of `pattern`: `100mbit/20ms/1%` is one, `20ms` and `10mbit/reorder` are several.

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
    """What came out of one run. Packets are those of the senders."""

    mbit: tuple[float, ...]
    """Goodput of each flow, in Mbit/s: payload that the receiving application read."""
    sent: int
    lost: int
    queue_full: int
    """Packets that the bottleneck had no room for, in its queue or in the bucket of its policer."""
    queue_delay: float = 0.0
    queue_delay_p95: float = 0.0
    """Seconds that packets waited in the bottleneck's queue: the mean and the 95th percentile."""
    lateness: Lateness | None = None
    """Of the relay; None in virtual time, which is never late."""

    @property
    def p99(self) -> float:
        """The 99th percentile of the relay's lateness, in seconds."""
        return 0.0 if self.lateness is None else self.lateness.p99

    @classmethod
    def over(cls, path: Path, octets: Sequence[int], seconds: float, lateness: Lateness | None = None) -> "Run":
        """What came of a run over `path`, whose `waits` were recorded, in which flows had these octets read."""
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
    """The seed of one direction's random numbers, as `utcp.testing.Network` makes it: the n-th packet that is put on a
    path has the same luck in the simulator and in the relay."""
    return f"{seed} {source} {destination}"
