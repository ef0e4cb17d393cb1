"""Traces of a sender that has SACK and timestamps, full segments of 1000 octets, and a window that paces nothing."""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from tests.tcp.notation import stream
from tests.tcp.pair import Pair
from tests.tcp.reach import established
from tests.tcp.script import Script
from utcp.tcp.congestion import NewReno
from utcp.tcp.connection import Connection
from utcp.tcp.recovery.recovery import Recovery
from utcp.tcp.recovery.scoreboard import IN_FLIGHT, LOST, SACKED, Scoreboard
from utcp.wire import Segment

MSS: Final = 1000
RTT: Final = 0.1
OPTIONS: Final = "mss 1012,sackOK,ts 100"
"""Timestamps take 12 octets of each segment: 1000 are left."""


class Unpaced(NewReno):
    """What leaves depends on the windows alone, so that a trace shows recovery by itself."""

    __slots__ = ()

    name: ClassVar[str] = "unpaced"

    def _pace(self, srtt: float) -> None:
        pass


def sender(segments: int = 0, *, cwnd: int = 10, options: str = OPTIONS, rtt: float = RTT, **knobs: Any) -> Script:
    """ESTABLISHED, with a window of `cwnd` segments and `segments` in flight, all that were written."""
    with_timestamps = "ts" in options
    knobs = {"mss": MSS + 12 * with_timestamps, "congestion_control": "unpaced", **knobs}
    t = established(options=options, rtt=rtt, **knobs)
    assert t.connection.mss == MSS
    t.connection.congestion.cwnd = cwnd * MSS
    if segments:
        t.write(segments * MSS)
        assert len(t.drain()) == segments
    return t


def recovery(t: Script) -> Recovery:
    return t.connection.recovery


def seqs(segments: Iterable[Segment], t: Script) -> list[int]:
    """The relative sequence numbers of what carries payload, in order."""
    return [t.flow.seq(segment) for segment in segments if segment.payload]


def consistent(board: Scoreboard) -> None:
    """The runs cover [`una`, `nxt`) without a gap, and the sums are theirs."""
    position = board.una
    sums = {IN_FLIGHT: 0, SACKED: 0, LOST: 0}
    for run in board.runs():
        assert run.start == position < run.end
        sums[run.state] += run.end - run.start
        position = run.end
    assert position == board.nxt
    assert (board.in_flight, board.sacked, board.lost) == (sums[IN_FLIGHT], sums[SACKED], sums[LOST])


def transfer(p: Pair, octets: int, *, seconds: float = 600.0) -> tuple[Connection, Connection]:
    """The client sends so much, and the server reads it, all of it and nothing else."""
    near, far = p.established()
    data = stream(1, octets + 1)
    near.send(data, force=True)
    got = bytearray()

    def complete() -> bool:
        got.extend(far.read())
        return len(got) >= octets

    p.run(complete, seconds=seconds)
    assert bytes(got) == data
    return near, far
