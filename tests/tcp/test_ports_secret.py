"""The order of ephemeral ports, which nobody can tell without the secret (RFC 6056 3.3.4)."""

from math import inf

from utcp.tcp.ports import EphemeralPorts

FIRST, LAST = 1000, 1999


def ports(secret: bytes) -> EphemeralPorts:
    return EphemeralPorts(FIRST, LAST, secret)


def distances(chooser: EphemeralPorts, remotes: range) -> list[int]:
    """How far apart the first ports towards these hosts are, their counters left out."""
    chooser._table = [0] * 256
    chosen = [chooser.choose(f"192.0.2.{number}", 80, lambda port: 0.0, 0.0)[0] for number in remotes]
    assert all(chosen)
    return [(port or 0) - (chosen[0] or 0) for port in chosen]


def test_offsets_depend_on_the_secret() -> None:
    """Not only where the counters begin: what one destination sees tells nothing about another."""
    one, other = (distances(ports(secret), range(50)) for secret in (b"one secret of ours", b"another one of ours"))
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 5


def test_offsets_reach_the_whole_range() -> None:
    assert len(set(distances(ports(b"sixteen or more random octets"), range(200)))) > 150


def test_counters_are_spread_over_destinations() -> None:
    chooser = ports(b"sixteen or more random octets")
    before = list(chooser._table)
    for number in range(200):
        chooser.choose(f"192.0.2.{number}", 80, lambda port: 0.0, 0.0)
    assert sum(a != b for a, b in zip(before, chooser._table, strict=True)) > 100


def test_every_port_is_tried() -> None:
    tried: set[int] = set()

    def free_at(port: int) -> float:
        tried.add(port)
        return inf

    assert ports(b"sixteen or more random octets").choose("192.0.2.1", 80, free_at, 0.0) == (None, None)
    assert tried == set(range(FIRST, LAST + 1))


def test_the_order_of_scarce_ports_depends_on_the_destination() -> None:
    """32 tries meet ports in use, so the rest of the range is searched."""

    def first(destination: str) -> int | None:
        tried: list[int] = []

        def free_at(port: int) -> float:
            tried.append(port)
            return inf if len(tried) <= 32 else 0.0

        return ports(b"sixteen or more random octets").choose(destination, 80, free_at, 0.0)[0]

    assert len({first(f"192.0.2.{number}") for number in range(50)}) > 40


def test_counters_begin_anywhere_in_16_bits_depending_on_the_secret() -> None:
    one, other = ports(b"one secret of ours")._table, ports(b"another one of ours")._table
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 5
    assert len(set(one)) >= 30
    assert 0xFF < max(one) <= 0xFFFF
