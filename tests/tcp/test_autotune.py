"""The receive buffer follows the bandwidth-delay product of what is read (dynamic right-sizing)."""

from itertools import pairwise
from typing import Any, Final

import pytest

from tests.tcp.pair import Packet, Pair, Rule
from tests.tcp.reach import syn_sent
from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.counters import Counters
from utcp.tcp.receive import ReceiveSide
from utcp.wire.seq import add

MIB: Final = 1 << 20
MSS: Final = 1250
START: Final = 1024.0


class Peer:
    """A sender in slow start over a path of some octets a second; a round trip takes `rtt` seconds."""

    def __init__(self, side: ReceiveSide, rate: float, rtt: float, *, knows_rtt: bool = True) -> None:
        self.side = side
        self.rate = rate
        self.rtt = rtt
        self.known = rtt if knows_rtt else 0.0
        self.now = START
        self.cwnd = 10 * MSS
        self.sent = 0
        side.synchronize(0, MSS, sack=False, scaling=True)
        side.acknowledge()

    def round_trip(self, *, read: bool = True) -> int:
        """What the windows allow arrives, at the rate of the path; how many octets that was."""
        allowed = min(self.cwnd, int(self.rate * self.rtt), self.side.window)
        count = allowed // MSS
        for number in range(count):
            now = self.now + number * max(MSS / self.rate, self.rtt / 1000 / count)
            assert self.side.accept(add(1, self.sent), bytes(MSS), False)
            self.side.tune(now, self.known)
            self.sent += MSS
            if read:
                self.side.read(-1)
        self.side.acknowledge()
        self.now += self.rtt
        self.cwnd *= 2
        return count * MSS


def side(limit: int = MIB, maximum: int = 16 * MIB) -> ReceiveSide:
    return ReceiveSide(Config(initial_recv_buffer=limit, max_recv_buffer=maximum), Counters())


def test_a_long_fat_path_is_filled_as_fast_as_slow_start_would() -> None:
    """100 Mbit/s and 200 ms: 2.5 MB under way. The window never is what holds the sender back."""
    peer, free = Peer(side(), 12.5e6, 0.2), Peer(side(16 * MIB, 16 * MIB), 12.5e6, 0.2)
    for _ in range(20):
        assert peer.round_trip() == free.round_trip()
    assert peer.round_trip() == 2_500_000
    assert 4_900_000 <= peer.side.limit <= 10_000_000


@pytest.mark.parametrize("knows_rtt", [True, False])
def test_a_sender_that_the_window_holds_back_gets_twice_as_much_each_round(knows_rtt: bool) -> None:
    peer = Peer(side(64 * 1024), 1e9, 0.1, knows_rtt=knows_rtt)
    peer.cwnd = 1 << 30
    limits = []
    for _ in range(14):
        peer.round_trip()
        limits.append(peer.side.limit)
    assert limits[-1] == 16 * MIB
    growth = [after / before for before, after in pairwise(limits) if after < 16 * MIB]
    assert all(1 <= factor <= 4.1 for factor in growth)


def test_a_reader_that_does_not_read_gets_no_larger_buffer() -> None:
    peer = Peer(side(), 12.5e6, 0.2)
    for _ in range(30):
        peer.round_trip(read=False)
    assert peer.side.limit == MIB
    assert peer.side.readable > MIB - MSS


def test_a_backlog_read_at_once_is_no_rate() -> None:
    """An application that reads a megabyte every 10 seconds needs no more than that."""
    peer = Peer(side(), 12.5e6, 0.2)
    for _ in range(10):
        for _ in range(30):
            peer.round_trip(read=False)
        peer.now += 10
        peer.side.read(-1)
        peer.side.acknowledge()
    assert peer.side.limit == MIB


def test_a_backlog_read_at_once_while_a_little_arrives_is_no_rate() -> None:
    peer = Peer(side(), 1e6, 0.02)
    for _ in range(20):
        for _ in range(45):
            peer.round_trip(read=False)
        peer.side.read(-1)
        peer.side.acknowledge()
    assert peer.side.limit == MIB


def test_a_slow_sender_gets_no_larger_buffer() -> None:
    """1 MB/s and 50 ms, for a long time."""
    peer = Peer(side(), 1e6, 0.05)
    for _ in range(1000):
        peer.round_trip()
    assert peer.side.limit == MIB


def test_a_slow_sender_of_unknown_round_trip_time_gets_little_more() -> None:
    """A window's worth takes long to come: that is a bound of the round trip, and the shortest one counts."""
    peer = Peer(side(), 1e6, 0.05, knows_rtt=False)
    for _ in range(1000):
        peer.round_trip()
    assert peer.side.limit <= 4 * MIB


def test_a_fixed_buffer_stays() -> None:
    peer = Peer(side(MIB, MIB), 12.5e6, 0.2)
    for _ in range(20):
        peer.round_trip()
    assert peer.side.limit == MIB


def test_a_buffer_never_shrinks() -> None:
    peer = Peer(side(), 12.5e6, 0.2)
    for _ in range(20):
        peer.round_trip()
    limit = peer.side.limit
    peer.rate = 1e5
    for _ in range(100):
        peer.round_trip()
    assert peer.side.limit == limit


def test_within_a_round_trip_nothing_is_measured() -> None:
    """The common case is one comparison."""
    receive = side()
    receive.tune(START, 0.1)
    assert receive.round_ends == pytest.approx(START + 0.1)
    receive.tune(START + 0.05, 0.1)
    assert receive.round_ends == pytest.approx(START + 0.1)
    receive.tune(START + 0.1, 0.1)
    assert receive.round_ends == pytest.approx(START + 0.2)


def test_the_window_scale_is_chosen_for_the_largest_buffer() -> None:
    """RFC 7323 2.2: it cannot be changed later."""
    assert side(MIB, 16 * MIB).shift == side(16 * MIB, 16 * MIB).shift
    assert 65535 << side(MIB, 16 * MIB).shift >= 16 * MIB
    assert side(65535, 65535).shift == 0


def test_the_sizes_of_the_configuration() -> None:
    for config, sizes in (
        (Config(), (MIB, 16 * MIB)),
        (Config(recv_buffer=5000), (5000, 5000)),
        (Config(max_recv_buffer=MIB - 1), (MIB - 1, MIB - 1)),
    ):
        side = ReceiveSide(config, Counters())
        assert (side.limit, side._maximum) == sizes
    with pytest.raises(ValueError, match="2 KiB to 1 GiB"):
        Config(max_recv_buffer=(1 << 30) + 1)
    t = syn_sent(recv_buffer=None)
    assert t.connection.receive_side.limit == MIB


def path(rate: float) -> Rule:
    """So many octets of the client's a second, and a queue without end before it."""
    free = 0.0

    def rule(packet: Packet) -> tuple[float, ...]:
        nonlocal free
        if packet.sender == "server":
            return (0.0,)
        free = max(free, packet.time) + len(packet.segment.payload) / rate
        return (free - packet.time,)

    return rule


def transfer(**knobs: Any) -> tuple[int, float, Connection]:
    """3 MB over 20 Mbit/s and 100 ms: the most that was in flight, the seconds that it took, and the receiver."""
    p = Pair(path(2.5e6), delay=0.05, send_buffer=3_000_000, server=knobs)
    near, far = p.established()
    near.send(bytes(3_000_000))
    got = most = 0

    def all_there() -> bool:
        nonlocal got, most
        got += len(far.read())
        most = max(most, near.info().unacked)
        return got == 3_000_000

    p.run(all_there)
    return most, p.time, far


def test_two_stacks_over_a_long_path() -> None:
    """250,000 octets fill the path; the buffer begins with a quarter of that."""
    most, time, far = transfer(initial_recv_buffer=65536)
    assert most > 250_000
    assert far.receive_side.limit >= 500_000
    fixed_most, fixed_time, fixed_far = transfer(recv_buffer=65536)
    assert 64_000 < fixed_most <= 65536
    assert fixed_far.receive_side.limit == 65536
    assert time < fixed_time / 2  # 1.2 s at the full rate; one buffer in each round trip takes 4.6 s
