"""Whole connections over links that lose, duplicate, delay and reorder: whatever happens, both ends agree how it ended.

Each seed is one network; a failure names it and shows the last segments.
"""

from random import Random

import pytest

from tests.tcp.notation import stream
from tests.tcp.pair import Packet, Pair, Rule
from utcp.tcp.connection import Connection
from utcp.tcp.event import ENDED
from utcp.tcp.state import CLOSED, TIME_WAIT


def bad_network(seed: int, loss: float) -> Rule:
    """Loses, duplicates and reorders at random, the same for the same seed."""
    random = Random(seed)

    def rule(packet: Packet) -> tuple[float, ...]:
        draw = random.random()
        if draw < loss:
            return ()
        if draw < loss + 0.05:
            return (0.0, random.random() * 0.1)
        if draw < loss + 0.15:
            return (random.random() * 0.05,)
        return (0.0,)

    return rule


class Party:
    """An application that sends so much, finishes, and closes when the other has finished too."""

    def __init__(self, pair: Pair, connection: Connection, octets: int) -> None:
        self.pair = pair
        self.connection = connection
        self.left = stream(0, octets)
        self.got = bytearray()
        self.done = False

    def step(self) -> None:
        connection = self.connection
        self.got.extend(connection.read())
        if self.left:
            self.left = self.left[connection.send(self.left) :]
            if not self.left:
                connection.shutdown(self.pair.now)
        if connection.at_eof and not self.left and not self.done:
            self.done = True
            connection.close(self.pair.now)


@pytest.mark.parametrize("loss", [0.02, 0.1, 0.25])
@pytest.mark.parametrize("seed", range(40))
def test_conversation(seed: int, loss: float) -> None:
    # Where a quarter of the packets is lost, so may be the last ACK, for longer than the usual 2 MSL.
    recv_buffer = 8000 if seed % 2 else 1 << 20
    p = Pair(bad_network(seed, loss), recv_buffer=recv_buffer, send_buffer=20_000, fin_retries=15, msl=300.0)
    near, far = p.established()
    parties = [Party(p, near, seed * 500 + 1), Party(p, far, 30_000 - seed * 700)]
    wanted = [stream(0, 30_000 - seed * 700), stream(0, seed * 500 + 1)]

    def over() -> bool:
        for party in parties:
            party.step()
        return all(party.done and party.connection.state in (CLOSED, TIME_WAIT) for party in parties)

    p.run(over, seconds=5000)
    assert [bytes(party.got) for party in parties] == wanted
    for party in parties:
        assert party.connection.error is None
        assert party.connection.take_events() & ENDED
    p.run(seconds=5000)
    for stack in (p.client, p.server):
        assert not stack.connections
        assert not stack.time_wait
        assert stack.next_timeout() is None


@pytest.mark.parametrize("seed", range(60))
def test_full_close_on_both_sides_at_random_moments(seed: int) -> None:
    """Either everything was delivered and both know it, or somebody reset and was told."""
    random = Random(seed)
    p = Pair(bad_network(seed, 0.15), fin_retries=15)
    near, far = p.established()
    near.send(stream(0, random.randrange(5000)))
    p.run_for(random.random() * 0.2)
    near.close(p.now)
    p.run_for(random.random() * 0.2)
    far.read()
    far.close(p.now)
    p.run(seconds=5000)
    for connection, stack in ((near, p.client), (far, p.server)):
        assert connection.state in (CLOSED, TIME_WAIT)
        assert connection.take_events() & ENDED
        assert not stack.connections
        assert not stack.time_wait
        assert stack.next_timeout() is None
