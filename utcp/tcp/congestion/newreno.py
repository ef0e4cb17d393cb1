"""NewReno: slow start, congestion avoidance, and halving of the window at a loss (RFC 5681, RFC 6582)."""

from typing import ClassVar

from utcp._compiled import mypyc_attr
from utcp.tcp.congestion.loss_based import LossBased
from utcp.tcp.recovery.delivery import AckSample


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class NewReno(LossBased):
    """Grow by one segment per round trip, and halve the window at a loss. Growth counts octets, not ACKs (RFC 3465)."""

    __slots__ = ("_acked",)

    name: ClassVar[str] = "newreno"

    def __init__(self, mss: int, seed: int = 0) -> None:
        super().__init__(mss)
        self._acked = 0
        """Octets delivered since the window last grew in congestion avoidance."""

    def _avoid(self, sample: AckSample, acked: int) -> None:
        self._acked += acked
        if self._acked >= self.cwnd:
            # Even an ACK of more than a window, after the window was reduced, adds only one segment.
            self._acked = min(self._acked - self.cwnd, self.cwnd)
            self.cwnd += self.mss

    def _reduced(self) -> int:
        self._acked = 0
        return self.cwnd // 2
