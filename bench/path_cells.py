"""The paths to measure on: a grid of bandwidth, round trip and loss, and some that reorder or have a short queue."""

from dataclasses import dataclass
from typing import Final

from utcp.testing.path import Conditions

from .impairment import Lateness

BANDWIDTHS: Final = (10e6, 100e6)
RTTS: Final = (0.001, 0.02, 0.1)
LOSSES: Final = (0.0, 0.001, 0.01, 0.03)

MTU: Final = 1500
SHORT_QUEUE: Final = 20
"""Packets: less than the bandwidth-delay product of the paths that have it. No other path has fewer."""
REORDERED: Final = 0.01
"""Share of packets that a path with reordering holds back, by a quarter of the round trip."""
SEEDS: Final = 3
"""Runs of a cell in which chance has a part. Its figure is their mean."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One path, the same both ways. Bandwidth in bits per second, `rtt` in seconds, for an empty path and without the
    time that a packet takes to pass the bottleneck."""

    bandwidth: float
    rtt: float
    loss: float = 0.0
    reorder: float = 0.0
    short_queue: bool = False

    @property
    def parts(self) -> tuple[str, str, str]:
        """What tells it from the others: ("100mbit", "20ms", "1%")."""
        special = f"{100 * self.loss:g}%"
        if self.reorder:
            special = "reorder"
        elif self.short_queue:
            special = f"queue{SHORT_QUEUE}"
        return f"{self.bandwidth / 1e6:g}mbit", f"{self.rtt * 1e3:g}ms", special

    @property
    def name(self) -> str:
        """100mbit/20ms/1%"""
        return "/".join(self.parts)

    @property
    def queue(self) -> int:
        """Packets that can wait for the bottleneck: a bandwidth-delay product of full ones, `SHORT_QUEUE` at least."""
        return SHORT_QUEUE if self.short_queue else max(SHORT_QUEUE, round(self.bandwidth * self.rtt / 8 / MTU))

    @property
    def conditions(self) -> Conditions:
        """Of each direction: acknowledgements are lost and held back as data is."""
        return Conditions(
            latency=self.rtt / 2,
            bandwidth=self.bandwidth,
            queue=self.queue,
            loss=self.loss,
            reorder=self.reorder,
            reorder_delay=self.rtt / 4,
            mtu=MTU,
        )

    @property
    def duration(self) -> float:
        """Seconds to measure. They begin with slow start, which on the longest path takes less than a twentieth."""
        return 20.0 if self.rtt > 0.05 else 10.0

    @property
    def seeds(self) -> range:
        return range(1, 1 + (SEEDS if self.loss or self.reorder else 1))


CELLS: Final = (
    *(Cell(bandwidth, rtt, loss) for bandwidth in BANDWIDTHS for rtt in RTTS for loss in LOSSES),
    *(Cell(bandwidth, rtt, reorder=REORDERED) for bandwidth, rtt in ((10e6, 0.02), (100e6, 0.02), (100e6, 0.1))),
    *(Cell(bandwidth, rtt, short_queue=True) for bandwidth, rtt in ((10e6, 0.1), (100e6, 0.02), (100e6, 0.1))),
)


def matching(pattern: str) -> list[Cell]:
    """The cells that have every part of `pattern`: `100mbit/20ms/1%` is one, `20ms` and `10mbit/reorder` are several.

    Raises ValueError when there is none.
    """
    parts = set(pattern.split("/"))
    cells = [cell for cell in CELLS if parts <= set(cell.parts)]
    if not cells:
        raise ValueError(f"no path is called {pattern!r}: a name is like {CELLS[-4].name}, or a part of one")
    return cells


@dataclass(frozen=True, slots=True)
class Run:
    """What came out of one run. Packets are those of the senders."""

    mbit: tuple[float, ...]
    """Goodput of each flow, in Mbit/s: payload that the receiving application read."""
    sent: int
    lost: int
    queue_full: int
    """Packets that the bottleneck's queue had no room for."""
    lateness: Lateness | None = None
    """Of the relay; None in virtual time, which is never late."""

    @property
    def p99(self) -> float:
        """The 99th percentile of the relay's lateness, in seconds."""
        return 0.0 if self.lateness is None else self.lateness.p99


def seed_of(seed: int, source: str, destination: str) -> str:
    """The seed of one direction's random numbers, as `utcp.testing.Network` makes it: the n-th packet that is put on a
    path has the same luck in the simulator and in the relay."""
    return f"{seed} {source} {destination}"
