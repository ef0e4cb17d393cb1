"""The other transports in the benches: what they do where they are installed, and what is said where they are not."""

import asyncio
import importlib.util
from dataclasses import replace

import pytest

from bench import registry, rounds
from bench.ends import open_ends
from bench.peers import PEERS
from bench.progress import Progress
from bench.stacks import Setting, StreamApp
from utcp.extras import not_installed

NAMES = ("aioquic", "aiokcp")


class Upper(StreamApp):
    """Answers all that it has read, once, in capitals."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()
        await writer.wait_closed()


def test_the_names_are_those_that_the_stacks_know() -> None:
    assert tuple(PEERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_that_is_not_installed_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.find_spec", lambda _: None)
    assert PEERS[name].missing() == not_installed(name, "bench")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 64, 300_000])
async def test_a_stream_each_way_and_its_end(name: str, size: int) -> None:
    if PEERS[name].missing():
        pytest.skip(f"{name} is not installed")
    data = bytes(range(97, 123)) * (size // 26)
    async with open_ends(name, Upper, Setting(), processes=1, loop="asyncio", connections=2) as ends:
        for _ in range(2):
            reader, writer = await ends.connect()
            writer.write(data)
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == data.upper()
            writer.close()
            await writer.wait_closed()


@pytest.mark.long
@pytest.mark.parametrize("name", ["churn", "bulk"])
def test_a_bench_with_peers(name: str) -> None:
    """The first case is the one that peers are measured in."""
    bench = registry.load(name)
    quick = {option.name: option.quick for option in bench.options}
    first = replace(bench, cases=lambda values: bench.cases(values)[:1])
    with Progress(1) as progress:
        (outcome,) = rounds.run(rounds.Plan(first, quick, 1, ["asyncio"], [2], peers=True), progress)
    for peer in NAMES:
        if importlib.util.find_spec(peer) is None:
            assert outcome.absent[peer] == not_installed(peer, "bench")
        else:
            medians = [outcome.median(peer, figure.name) for figure in bench.figures]
            assert any(medians)
            assert all(value is None or value > 0 for value in medians)
