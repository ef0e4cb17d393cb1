"""Two stacks whose trains lose segments on the way, and are put together from what is left, as a network card does."""

from random import Random
from typing import Final

import pytest

from tests.tcp.notation import stream
from tests.tcp.script import SECRET, START
from utcp.config import Config
from utcp.tcp.connection import Connection
from utcp.tcp.stack import Stack
from utcp.tcp.transmit import Transmit

OCTETS: Final = 300_000
DELAY: Final = 0.01


def survivors(transmits: list[Transmit], random: Random, loss: float) -> list[tuple[bytes, int | None, int]]:
    """What arrives: datagrams of one size that follow each other, the last perhaps shorter, as one train."""
    arrived: list[tuple[bytes, int | None, int]] = []
    for transmit in transmits:
        run: list[bytes] = []
        left = [datagram for datagram in transmit.datagrams() if random.random() >= loss]
        for datagram in left:
            if run and (len(datagram) > len(run[0]) or len(run[-1]) < len(run[0])):
                arrived.append((b"".join(run), len(run[0]), transmit.ecn))
                run = []
            run.append(datagram)
        if run:
            arrived.append((b"".join(run), len(run[0]) if len(run) > 1 else None, transmit.ecn))
    return arrived


@pytest.mark.parametrize("mss", [536, 1400, 8900])
@pytest.mark.parametrize(("sack", "timestamps"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("loss", [0.0, 0.02, 0.2])
def test_every_octet_arrives(loss: float, sack: bool, timestamps: bool, mss: int) -> None:
    """Three connections at once, both ways."""
    random = Random(f"{loss} {sack} {timestamps} {mss}")
    config = Config(mss=mss, sack=sack, timestamps=timestamps, retries=40, syn_retries=20)
    stacks = {name: Stack(config, secret=SECRET + name.encode(), mtu=lambda _: 9000) for name in ("client", "server")}
    now = START
    listener = stacks["server"].listen(80, now)
    connections = [stacks["client"].connect("server", 80, now) for _ in range(3)]
    texts = {port: stream(port, port + OCTETS) for port in [connection.local_port for connection in connections]}
    sent: dict[Connection, int] = dict.fromkeys(connections, 0)
    got: dict[tuple[str, int], bytearray] = {}
    for _ in range(20_000):
        accepted = listener.accept()
        if accepted is not None:
            sent[accepted] = 0
        for connection in sent:
            port = connection.local_port if connection in connections else connection.remote_port
            text = texts[port]
            while sent[connection] < OCTETS and connection.send_side.space:
                at = sent[connection]
                sent[connection] += connection.send(text[at : at + random.choice((100, 3000, 100_000))])
            side = "client" if connection in connections else "server"
            got.setdefault((side, port), bytearray()).extend(connection.read(random.choice((1000, 50_000, -1))))
        if len(got) == 6 and all(len(text) == OCTETS for text in got.values()):
            break
        flights = {
            "server": survivors(stacks["client"].datagrams_to_send(now), random, loss),
            "client": survivors(stacks["server"].datagrams_to_send(now), random, loss),
        }
        due = [stack.next_timeout() for stack in stacks.values()]
        nearest = min((timeout for timeout in due if timeout is not None), default=now)
        now = now + DELAY if any(flights.values()) else max(now, nearest)
        for name, arrived in flights.items():
            sender = "client" if name == "server" else "server"
            for data, segment_size, ecn in arrived:
                stacks[name].receive_datagram(data, sender, now, segment_size, ecn)
            if (stacks[name].next_timeout() or now + 1) <= now:
                stacks[name].handle_timeout(now)
    assert {key: bytes(text) for key, text in got.items()} == {
        (side, port): text for side in stacks for port, text in texts.items()
    }
    assert all(stack.counters.in_errs == 0 for stack in stacks.values())
