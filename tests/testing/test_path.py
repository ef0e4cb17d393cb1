"""What a path does to packets, knob by knob."""

import asyncio
import itertools

import pytest

from utcp.testing import Conditions, Network, Path
from utcp.testing.path import UDP_IP_HEADERS

PACKETS = 20_000


def share_lost(conditions: Conditions) -> float:
    path = Path(conditions, seed=1)
    return sum(not path.carry(100, now=i) for i in range(PACKETS)) / PACKETS


def arrivals(path: Path, *, interval: float = 0.001, count: int = 2000) -> list[list[float]]:
    return [path.carry(100, now=i * interval) for i in range(count)]


def test_a_perfect_path_delivers_at_once() -> None:
    assert Path(Conditions(), seed=1).carry(1000, now=5.0) == [5.0]


def test_latency() -> None:
    assert Path(Conditions(latency=0.25), seed=1).carry(1000, now=5.0) == [5.25]


def test_jitter_spreads_arrivals_and_keeps_their_order() -> None:
    times = [time for times in arrivals(Path(Conditions(latency=0.1, jitter=0.05), seed=1)) for time in times]
    delays = [time - i * 0.001 for i, time in enumerate(times)]
    assert times == sorted(times)
    assert 0.1 <= min(delays) < 0.14 < max(delays) <= 0.15


def test_a_lower_latency_lets_packets_overtake_those_in_flight() -> None:
    path = Path(Conditions(latency=0.5, jitter=0.1), seed=1)
    (old,) = path.carry(100, now=0.0)
    path.change(Conditions(latency=0.1, jitter=0.1))
    new = [path.carry(100, now=0.1 + i * 0.001)[0] for i in range(100)]
    assert 0.2 <= min(new) < max(new) < 0.5 <= old
    assert new == sorted(new)
    path.change(Conditions(latency=0.5))
    assert path.carry(100, now=0.2) == [0.7]


@pytest.mark.parametrize("seed", range(5))
def test_tcp_survives_a_route_that_changes_for_ever(seed: int) -> None:
    """Segments overtake others, and none is lost. Each octet arrives once, in order."""
    network = Network(seed)
    server, client = network.host("server"), network.host("client")
    network.link(server, client, bandwidth=2e7)
    sent = network.random.randbytes(1_000_000)

    async def change() -> None:
        while True:
            network.link(server, client, latency=network.random.uniform(0.001, 0.1))
            await asyncio.sleep(network.random.uniform(0.001, 0.1))

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    async def scenario() -> None:
        changing = asyncio.create_task(change())
        await server.run(asyncio.start_server(send, "0.0.0.0", 80))
        reader, writer = await client.run(asyncio.open_connection("server", 80))
        assert await reader.read() == sent
        writer.close()
        changing.cancel()

    network.run(scenario())
    arrivals = [sent.arrivals[0] for sent in network.trace if sent.packet.source == "server"]
    assert arrivals != sorted(arrivals)


def test_bandwidth_counts_headers() -> None:
    path = Path(Conditions(bandwidth=8000.0, latency=0.5), seed=1)  # an octet per millisecond
    size = 1000 - UDP_IP_HEADERS
    assert [path.carry(size, now=0.0), path.carry(size, now=0.0)] == [[1.5], [2.5]]
    assert path.carry(size, now=10.0) == [11.5]


def test_the_queue_holds_packets_whatever_their_size() -> None:
    path = Path(Conditions(bandwidth=8000.0, queue=2), seed=1)
    sizes = (1000 - UDP_IP_HEADERS, 472, 472, 472)
    assert [path.carry(size, now=0.0) for size in sizes] == [[1.0], [1.5], [2.0], []]
    assert path.counts["queue_full"] == 1
    assert path.carry(472, now=1.0) == [2.5]  # one has left


def test_waits_are_recorded_when_asked_for() -> None:
    path = Path(Conditions(bandwidth=8000.0, latency=0.5, queue=1), seed=1)
    size = 1000 - UDP_IP_HEADERS
    path.carry(size, now=0.0)
    assert path.waits is None
    path.waits = []
    assert [path.carry(size, now=0.25), path.carry(size, now=0.25)] == [[2.5], []]
    path.carry(size, now=4.0)
    assert path.waits == [0.75, 0.0]  # the packet that was dropped did not wait


def test_a_policer_drops_what_its_bucket_has_no_tokens_for_and_delays_nothing() -> None:
    path = Path(Conditions(bandwidth=8000.0, latency=0.5, policer_burst=3000, queue=0), seed=1)
    size = 1000 - UDP_IP_HEADERS
    assert [path.carry(size, now=10.0) for _ in range(4)] == [[10.5], [10.5], [10.5], []]
    assert path.carry(size, now=10.5) == []  # half of a packet's tokens
    assert path.carry(size, now=11.0) == [11.5]
    assert path.carry(size, now=11.5) == []
    assert [path.carry(size, now=99.0) for _ in range(4)] == [[99.5], [99.5], [99.5], []]
    assert path.counts["policed"] == 4
    assert path.counts["queue_full"] == 0


def test_a_policer_holds_the_rate() -> None:
    path = Path(Conditions(bandwidth=1e6, policer_burst=15_000), seed=1)
    passed = sum(bool(times) for times in arrivals(path, interval=0.0005, count=PACKETS))
    assert passed * 128 * 8 / (PACKETS * 0.0005) == pytest.approx(1e6, rel=0.02)


def test_the_two_directions_of_a_link_have_conditions_of_their_own() -> None:
    network = Network()
    server, client = network.host("server"), network.host("client")
    network.link(server, client, latency=0.01, bandwidth=20e6)
    network.link_oneway(client, server, bandwidth=0.5e6)
    assert network.path(server, client).conditions == Conditions(latency=0.01, bandwidth=20e6)
    assert network.path(client, server).conditions == Conditions(latency=0.01, bandwidth=0.5e6)
    network.close()


def test_random_loss() -> None:
    assert share_lost(Conditions(loss=0.05)) == pytest.approx(0.05, abs=0.005)


def test_bursts_lose_packets_in_a_row() -> None:
    conditions = Conditions(burst_loss=1.0, burst_start=0.01, burst_end=0.25)
    path = Path(conditions, seed=1)
    lost = [not times for times in arrivals(path, count=PACKETS)]
    share = sum(lost) / PACKETS
    after_a_loss = sum(b for a, b in itertools.pairwise(lost) if a) / sum(lost)
    assert share == pytest.approx(0.01 / (0.01 + 0.25), abs=0.01)
    assert after_a_loss == pytest.approx(0.75, abs=0.03)


def test_duplicates_come_later() -> None:
    twice = [times for times in arrivals(Path(Conditions(latency=0.1, duplicate=0.02), seed=1)) if len(times) == 2]
    assert len(twice) == pytest.approx(40, abs=15)
    assert all(first <= second <= first + 0.1 for first, second in twice)


def test_reordering_lets_later_packets_overtake() -> None:
    conditions = Conditions(latency=0.1, reorder=0.1, reorder_delay=0.02)
    times = [time for times in arrivals(Path(conditions, seed=1)) for time in times]
    overtaken = sum(any(later < time for later in times[i + 1 : i + 30]) for i, time in enumerate(times))
    assert overtaken == pytest.approx(200, abs=40)


def test_corruption_is_loss_by_checksum() -> None:
    path = Path(Conditions(corrupt=0.05), seed=1)
    assert sum(not times for times in arrivals(path)) == path.counts["corrupted"] == pytest.approx(100, abs=30)


def test_what_exceeds_the_mtu_vanishes() -> None:
    path = Path(Conditions(mtu=1000), seed=1)
    assert path.carry(1000 - UDP_IP_HEADERS, now=0.0) == [0.0]
    assert path.carry(1001 - UDP_IP_HEADERS, now=0.0) == []
    assert path.counts["too_big"] == 1


def test_the_threshold_marks_what_is_ecn_capable_and_drops_nothing() -> None:
    path = Path(Conditions(bandwidth=8000.0, ecn_threshold=2), seed=1)
    size = 1000 - UDP_IP_HEADERS
    # The first is being transmitted, two wait.
    assert [path.forward(size, 0.0, ecn=2).ecn for _ in range(3)] == [2, 2, 2]
    assert [path.forward(size, 0.0, ecn=ecn) for ecn in (0, 1, 2, 3)] == [
        ([4.0], 0, False, ()),
        ([5.0], 3, False, ()),
        ([6.0], 3, False, ()),
        ([7.0], 3, False, ()),
    ]
    assert path.counts["marked"] == 3
    assert path.counts["queue_full"] == 0
    assert path.forward(size, 5.0, ecn=1).ecn == 1  # only one waits then


def test_a_threshold_of_0_marks_whatever_waits() -> None:
    path = Path(Conditions(bandwidth=8000.0, ecn_threshold=0), seed=1)
    assert [path.forward(100, 0.0, ecn=1).ecn for _ in range(2)] == [1, 3]


def test_marks_change_nobodys_luck() -> None:
    bad = {"loss": 0.1, "jitter": 0.1, "bandwidth": 1e6}
    path = Path(Conditions(**bad, ecn_threshold=0), seed=1)  # type: ignore[arg-type]
    marked = [path.forward(100, now=i * 0.001, ecn=1).arrivals for i in range(2000)]
    assert path.counts["marked"] > 100
    assert marked == arrivals(Path(Conditions(**bad), seed=1))  # type: ignore[arg-type]


def test_a_path_without_a_threshold_marks_nothing() -> None:
    path = Path(Conditions(bandwidth=8000.0), seed=1)
    assert {path.forward(100, 0.0, ecn=1).ecn for _ in range(100)} == {1}


def test_what_is_too_big_is_said_to_be() -> None:
    path = Path(Conditions(mtu=1000), seed=1)
    assert not path.forward(1000 - UDP_IP_HEADERS, now=0.0).too_big
    assert path.forward(1001 - UDP_IP_HEADERS, now=0.0).too_big


def test_the_seed_decides() -> None:
    conditions = Conditions(loss=0.5)
    assert arrivals(Path(conditions, seed=1)) == arrivals(Path(conditions, seed=1))
    assert arrivals(Path(conditions, seed=1)) != arrivals(Path(conditions, seed=2))


def test_a_knob_leaves_the_luck_of_the_others_alone() -> None:
    alone = arrivals(Path(Conditions(loss=0.1), seed=1))
    together = arrivals(Path(Conditions(loss=0.1, duplicate=0.5, reorder=0.5, jitter=0.1), seed=1))
    assert [not times for times in alone] == [not times for times in together]


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.1},
        {"duplicate": -0.1},
        {"latency": -1.0},
        {"queue": -1},
        {"bandwidth": 0.0},
        {"mtu": 575},
        {"ecn_threshold": -1},
        {"policer_burst": 3000},
        {"policer_burst": 1499, "bandwidth": 1e6},
    ],
)
def test_values_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions(**wrong)  # type: ignore[arg-type]  # each value fits its own field, or is the point
