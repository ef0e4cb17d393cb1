"""The order of ephemeral ports, which nobody can tell without the secret (RFC 6056 3.3.4)."""

from utcp.tcp.ports import EphemeralPorts

FIRST, LAST = 1000, 1999


def ports(secret: bytes) -> EphemeralPorts:
    return EphemeralPorts(FIRST, LAST, secret)


def distances(chooser: EphemeralPorts, remotes: range) -> list[int]:
    """How far apart the first ports towards these hosts are, their counters left out."""
    chooser._table = [0] * 256
    chosen = [chooser.choose(f"192.0.2.{number}", 80, lambda port: False) for number in remotes]
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
        chooser.choose(f"192.0.2.{number}", 80, lambda port: False)
    assert sum(a != b for a, b in zip(before, chooser._table, strict=True)) > 100


def test_every_port_is_tried_once() -> None:
    tried: list[int] = []

    def taken(port: int) -> bool:
        tried.append(port)
        return True

    chooser = ports(b"sixteen or more random octets")
    assert chooser.choose("192.0.2.1", 80, taken) is None
    assert sorted(tried) == list(range(FIRST, LAST + 1)) == list(chooser.all())


def test_counters_begin_anywhere_in_16_bits_depending_on_the_secret() -> None:
    one, other = ports(b"one secret of ours")._table, ports(b"another one of ours")._table
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 5
    assert len(set(one)) >= 30
    assert 0xFF < max(one) <= 0xFFFF
