"""Two stacks and a path that loses, doubles and reorders: every octet arrives, and little is sent twice."""

from collections import Counter
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.recovery.trace import consistent, transfer
from tests.tcp.pair import DROP, PASS, Packet, Pair, Rule
from tests.variant import examples
from utcp.tcp.congestion import BBR, CONTROLLERS, Cubic
from utcp.tcp.recovery.delivery import AckSample
from utcp.tcp.recovery.recovery import OPEN

SEGMENT = 988
"""1000 less the timestamps."""


class Path:
    """Packets of the client with text are lost with a probability, those of the server as well; some come late, some
    twice. Counts what was lost."""

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        ack_loss: float = 0.0,
        late: float = 0.0,
        by: float = 0.0,
        twice: float = 0.0,
    ) -> None:
        self._random = Random(seed)
        self._loss = loss
        self._ack_loss = ack_loss
        self._late = late
        self._by = by
        self._twice = twice
        self.lost = 0
        """Data segments."""
        self.sent = 0

    def __call__(self, packet: Packet) -> tuple[float, ...]:
        draw = self._random.random
        if packet.segment.flags & 2:
            return PASS
        delay = self._by * draw() if draw() < self._late else 0.0
        if packet.sender == "server":
            return DROP if draw() < self._ack_loss else (delay,)
        if not packet.segment.payload:
            return PASS
        self.sent += 1
        if draw() < self._loss:
            self.lost += 1
            return DROP
        return (delay, delay) if draw() < self._twice else (delay,)


def after(p: Pair) -> None:
    """Nothing is left in doubt."""
    for connection in p.client.connections.values():
        board = connection.recovery.board
        consistent(board)
        assert connection.congestion.cwnd >= connection.mss


def lose_data(*numbers: int) -> Rule:
    """Drop these segments with text of the client, counted from 1, once each."""
    seen = 0

    def rule(packet: Packet) -> tuple[float, ...]:
        nonlocal seen
        if packet.sender != "client" or not packet.segment.payload:
            return PASS
        seen += 1
        return DROP if seen in numbers else PASS

    return rule


@pytest.mark.parametrize("number", [1, 2, 5, 10, 11, 30, 60, 90, 97, 98, 99, 100])
def test_one_lost_segment_costs_one_retransmission_and_no_timeout(number: int) -> None:
    """Wherever it stands: the middle is SACK's, the tail is the probe's."""
    p = Pair(lose_data(number))
    transfer(p, 100 * SEGMENT)
    assert p.client.counters.timeouts == 0
    assert p.client.counters.retrans_segs == 1
    after(p)


@pytest.mark.parametrize("numbers", [(3, 4), (1, 2, 3), (10, 20, 30), range(40, 60), range(30, 60, 5), (99, 100)])
@pytest.mark.rfc("2018", "5-2")
@pytest.mark.rfc("6675", "4-5", "5-10")
def test_several_lost_segments_cost_as_many_retransmissions_and_no_timeout(numbers: tuple[int, ...]) -> None:
    p = Pair(lose_data(*numbers))
    transfer(p, 100 * SEGMENT)
    assert p.client.counters.timeouts == 0
    assert p.client.counters.retrans_segs == len(numbers)
    after(p)


@pytest.mark.parametrize("number", [1, 5, 50])
@pytest.mark.rfc("9937", "6-8")
def test_without_sack_one_lost_segment_costs_one_retransmission_and_no_timeout(number: int) -> None:
    p = Pair(lose_data(number), sack=False)
    transfer(p, 100 * SEGMENT)
    assert p.client.counters.timeouts == 0
    assert p.client.counters.retrans_segs == 1


def test_reordering_by_less_than_a_quarter_of_a_round_trip_costs_next_to_nothing() -> None:
    """The first time three segments overtake one it may be taken for lost; then reordering is known."""
    path = Path(7, late=0.2, by=0.0045)
    p = Pair(path)
    near, _ = transfer(p, 2000 * SEGMENT)
    assert p.client.counters.timeouts == 0
    assert p.client.counters.retrans_segs <= 15
    assert near.recovery.rack.reordering_seen


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("controller", ["cubic", "bbr"])
@pytest.mark.defect(47)
def test_segments_that_many_overtake_are_sent_again_once_or_twice(controller: str, timestamps: bool) -> None:
    """2 % come 2 to 8 ms late on a path of 40 ms. The first is sent again before it arrives; then reordering is
    known."""
    draw = Random(1).random

    def late(packet: Packet) -> tuple[float, ...]:
        return (0.002 + 0.006 * draw(),) if packet.segment.payload and draw() < 0.02 else PASS

    p = Pair(late, delay=0.02, congestion_control=controller, timestamps=timestamps)
    near, _ = transfer(p, 1000 * SEGMENT)
    p.run_for(0.1)
    assert p.client.counters.retrans_segs <= 2
    assert p.client.counters.sack_recoveries <= 2
    assert p.client.counters.timeouts == 0
    assert near.info().reord_seen > 10
    if controller == "cubic":
        assert near.congestion.ssthresh > 1 << 20  # undone


@pytest.mark.rfc("2883", "5-4")
def test_duplicates_alone_cost_nothing() -> None:
    p = Pair(Path(3, twice=0.3))
    near, _ = transfer(p, 1000 * SEGMENT)
    assert p.client.counters.retrans_segs == 0
    assert near.recovery.phase == OPEN


def test_lost_acks_alone_cost_next_to_nothing() -> None:
    """The next ACK says the same; only a tail may be probed for nothing."""
    p = Pair(Path(3, ack_loss=0.3))
    transfer(p, 1000 * SEGMENT)
    assert p.client.counters.timeouts == 0
    assert p.client.counters.retrans_segs <= 2


@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1 << 16),
    loss=st.sampled_from([0.005, 0.02, 0.05, 0.1]),
    controller=st.sampled_from(["cubic", "newreno"]),
)
def test_loss_is_repaired_with_little_more_than_was_lost(seed: int, loss: float, controller: str) -> None:
    """Of what was sent again all but a few segments had been lost."""
    path = Path(seed, loss=loss)
    p = Pair(path, congestion_control=controller)
    transfer(p, 300 * SEGMENT)
    assert path.lost <= p.client.counters.retrans_segs <= path.lost + 2 + path.lost // 10
    after(p)


@settings(max_examples=examples(80), deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1 << 16),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    ack_loss=st.sampled_from([0.0, 0.1]),
    late=st.sampled_from([0.0, 0.1, 0.5]),
    by=st.sampled_from([0.002, 0.01, 0.1]),
    twice=st.sampled_from([0.0, 0.1]),
    timestamps=st.booleans(),
)
def test_everything_at_once(
    seed: int, loss: float, ack_loss: float, late: float, by: float, twice: float, timestamps: bool
) -> None:
    """Exactly what was written is read, and no more is sent again than was lost or came out of order."""
    path = Path(seed, loss=loss, ack_loss=ack_loss, late=late, by=by, twice=twice)
    p = Pair(path, timestamps=timestamps)
    transfer(p, 200 * SEGMENT)
    assert p.client.counters.retrans_segs <= 2 * path.lost + 20 + late * 200
    after(p)


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.rfc("5682", "4-1")
def test_a_pause_of_the_path_costs_nothing_in_the_end(timestamps: bool) -> None:
    """For half a second nothing passes, then all of it does, in order: a timeout, and no loss. Eifel finds it out by
    the timestamps, F-RTO or DSACK without them."""
    begin, end = 0.08, 0.58

    def pause(packet: Packet) -> tuple[float, ...]:
        return (end - packet.time,) if begin <= packet.time < end else PASS

    p = Pair(pause, timestamps=timestamps, congestion_control="newreno")
    near, _ = transfer(p, 300 * SEGMENT)
    p.run_for(0.1)
    assert p.client.counters.timeouts >= 1
    assert p.client.counters.spurious_rtos >= 1
    assert near.congestion.ssthresh > 1 << 20
    assert p.client.counters.retrans_segs <= 4


class Bottleneck(Path):
    """A path that carries `rate` octets a second, and has room for what takes `queue` seconds to pass."""

    def __init__(self, seed: int, rate: float, queue: float, *, loss: float) -> None:
        super().__init__(seed, loss=loss)
        self._rate = rate
        self._queue = queue
        self._free_at = 0.0

    def __call__(self, packet: Packet) -> tuple[float, ...]:
        if packet.sender == "server" or not packet.segment.payload:
            return super().__call__(packet)
        wait = max(0.0, self._free_at - packet.time)
        if wait > self._queue:
            return DROP
        self._free_at = packet.time + wait + (len(packet.segment.payload) + 60) / self._rate
        return tuple(wait + delay for delay in super().__call__(packet))


@pytest.mark.parametrize("controller", [BBR, Cubic])
@pytest.mark.defect(68)
def test_random_loss_alone_undoes_nothing(controller: type[BBR | Cubic], monkeypatch: pytest.MonkeyPatch) -> None:
    """10 Mbit/s, 60 ms, 3 % lost at random, and nothing is reordered: each reduction is right. BBR starts once."""
    undone = 0
    states: Counter[str] = Counter()

    class Watched(controller):  # type: ignore[misc, valid-type]  # either of the two
        __slots__ = ()

        def on_spurious(self, now: float) -> None:
            nonlocal undone
            undone += 1
            super().on_spurious(now)

        def on_ack(self, sample: AckSample) -> None:
            super().on_ack(sample)
            if isinstance(self, BBR):
                states[self.state] += 1

    monkeypatch.setitem(CONTROLLERS, "watched", Watched)
    path = Bottleneck(0, 1.25e6, 0.06, loss=0.03)
    p = Pair(path, delay=0.03, congestion_control="watched")
    near, _ = transfer(p, 1000 * SEGMENT)
    assert path.lost > 20
    assert near.info().dsack_dups == 0
    assert undone == 0
    assert states["Startup"] < 400
