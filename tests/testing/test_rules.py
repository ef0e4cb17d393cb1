"""Rules: a packet at a time, by what is in it."""

import asyncio
import contextlib

import pytest

from tests.testing.apps import ask
from tests.testing.hosts import pair
from utcp.testing import DROP, PASS, Network, Packet, Verdict, nth
from utcp.wire import FIN, SYN


def test_drop_the_first_fin(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.01)

    async def scenario() -> None:
        with simnet.rule(nth(1, lambda segment: segment.flags & FIN)):
            await client.run(ask("server", b"?"))

    simnet.run(scenario())
    fins = [sent for sent in simnet.trace if sent.packet.segment and sent.packet.segment.flags & FIN]
    assert [len(sent.arrivals) for sent in fins[:2]] == [0, 1]
    assert fins[0].packet.source == fins[1].packet.source == "client"


def test_deliver_later(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.01)

    async def scenario() -> None:
        with simnet.rule(nth(1, lambda segment: segment.flags & SYN, 0.5)):
            await client.run(ask("server", b"?"))

    simnet.run(scenario())
    assert simnet.trace[0].arrivals[0] == pytest.approx(0.51)


def test_a_rule_ends_with_its_guard(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.01)
    seen: list[Packet] = []

    def decide(packet: Packet) -> Verdict | float:
        seen.append(packet)
        return DROP

    async def scenario() -> bytes:
        with contextlib.suppress(TimeoutError), simnet.rule(decide):
            async with asyncio.timeout(0.5):
                await client.run(ask("server", b"?"))
        assert [packet.number for packet in seen] == [0]
        answer = await client.run(ask("server", b"?"))
        assert len(seen) == 1
        return answer

    assert simnet.run(scenario()) == b"?"


def test_the_latest_rule_comes_first(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.01)
    order: list[str] = []

    def first(_: Packet) -> Verdict | float:
        order.append("first")
        return PASS

    def second(_: Packet) -> Verdict | float:
        order.append("second")
        return PASS

    async def scenario() -> None:
        with simnet.rule(first), simnet.rule(second):
            await client.run(ask("server", b"?"))

    simnet.run(scenario())
    assert order[:4] == ["second", "first", "second", "first"]


@pytest.mark.parametrize("answer", [None, -1.0, "drop"])
def test_a_rule_that_says_nothing_fails_the_run(simnet: Network, answer: object) -> None:
    _, client = pair(simnet, latency=0.01)

    async def scenario() -> None:
        with simnet.rule(lambda _: answer):  # type: ignore[arg-type, return-value]
            await client.run(ask("server", b"?"))

    with pytest.raises(TypeError, match="PASS, DROP"):
        simnet.run(scenario())


def test_a_rule_that_raises_fails_the_run(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.01)

    async def scenario() -> None:
        with simnet.rule(lambda packet: packet.number / 0):
            await client.run(ask("server", b"?"))

    with pytest.raises(ZeroDivisionError):
        simnet.run(scenario())
