"""Faults as data: what a run has suffered, and the same run with some of it only."""

import asyncio
from collections.abc import Callable

import pytest

from tests.testing.apps import ask
from tests.testing.hosts import pair
from utcp.testing import Network
from utcp.testing.faults import RunSeed

BAD = {
    "latency": 0.05,
    "jitter": 0.01,
    "loss": 0.1,
    "burst_loss": 0.5,
    "corrupt": 0.2,
    "reorder": 0.1,
    "duplicate": 0.1,
}


def run(seed: int | str, **conditions: float) -> Network:
    net = Network(seed)
    _, client = pair(net, **conditions)

    async def scenario() -> None:
        assert await client.run(ask("server", bytes(20_000))) == bytes(20_000)

    net.run(scenario())
    return net


def keep(net: Network, chosen: Callable[[str], bool]) -> str:
    keys = [fault.key for fault in net.faults.suffered if chosen(fault.kind)]
    return str(RunSeed(net.seed, keep=frozenset(keys)))


def test_every_kind_is_recorded_once_for_each_packet() -> None:
    net = run(1, **BAD)
    suffered = net.faults.suffered
    keys = [fault.key for fault in suffered]
    assert len(set(keys)) == len(keys)
    assert {fault.kind for fault in suffered} == {"lost", "corrupted", "reordered", "delayed", "duplicated"}
    for kinds, arrivals in ((("lost", "corrupted"), 0), (("duplicated",), 2)):
        packets = {sent.packet for sent in net.trace if len(sent.arrivals) == arrivals}
        assert {fault.packet for fault in suffered if fault.kind in kinds} == packets


def test_all_of_them_kept_is_the_same_run() -> None:
    net = run(1, **BAD)
    again = run(keep(net, lambda kind: True), **BAD)
    assert again.digest() == net.digest()
    assert [fault.key for fault in again.faults.suffered] == [fault.key for fault in net.faults.suffered]


def test_none_of_them_kept_is_a_perfect_path() -> None:
    assert run("1 keep nothing", **BAD).digest() == run(1, latency=0.05).digest()


def test_only_those_kept_happen() -> None:
    net = run(1, **BAD)
    lost = [fault for fault in net.faults.suffered if fault.kind == "lost"]
    again = run(f"1 keep {lost[0].key}", **BAD)
    assert [fault.key for fault in again.faults.suffered] == [lost[0].key]
    assert again.replay == f"1 keep {lost[0].key}"
    assert again.seed == "1"


def test_words() -> None:
    delayed = [str(fault) for fault in run(1, latency=0.05, jitter=0.01).faults.suffered]
    assert delayed[:2] == [
        "the 1st packet client > server (SYN) was delayed at 0 s",
        "the 1st packet server > client (SYN,ACK) was delayed at 0.0552228 s",
    ]
    assert "the 11th packet client > server (ACK, 1440 bytes) was delayed at" in " ".join(delayed)


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        (7, RunSeed(7)),
        ("7", RunSeed("7")),
        ("a name", RunSeed("a name")),
        ("7 shuffled", RunSeed("7", shuffled=True)),
        ("7 keep nothing", RunSeed("7", keep=frozenset())),
        ("7 shuffled keep a>b#2.lost,b>a#1.lost", RunSeed("7", True, frozenset({"a>b#2.lost", "b>a#1.lost"}))),
        ("keep it", RunSeed("keep it")),
        ("", RunSeed("")),
    ],
)
def test_the_text_of_a_seed(text: int | str, seed: RunSeed) -> None:
    assert RunSeed.parse(text) == seed
    assert str(seed) == str(text)


def test_events_of_the_scenario() -> None:
    def events(seed: int | str) -> tuple[list[float], Network]:
        net = Network(seed)
        happened: list[float] = []

        async def scenario() -> None:
            for _ in range(30):
                await asyncio.sleep(1)
                if net.chance("a restart, at last", 0.2):
                    happened.append(net.loop.now)

        net.run(scenario())
        return happened, net

    all_of_them, net = events(3)
    assert 1 < len(all_of_them) < 10
    first, second, *_ = net.faults.suffered
    assert first.key == f"a%20restart%2C%20at%20last#{all_of_them[0]:.0f}"
    assert str(first).startswith(f"a restart, at last at {all_of_them[0]:.0f} s")
    assert events(f"3 keep {second.key}")[0] == [all_of_them[1]]
    with pytest.raises(ValueError, match=r"0\.\.1"):
        net.chance("a restart", 2)
