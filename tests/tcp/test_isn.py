"""Initial sequence numbers (RFC 9293 3.4.1, RFC 6528; known defect 2)."""

from itertools import pairwise

import pytest

from tests.tcp.script import SECRET, START, Script
from utcp.wire.seq import diff


def isn(
    *, at: float = 0.0, secret: bytes = SECRET, remote: str = "peer", remote_port: int = 80, local_port: int = 50000
) -> int:
    t = Script(secret=secret, start=START + at)
    t.connect(local_port=local_port, remote=remote, remote_port=remote_port)
    (syn,) = t.sends("S 0:0")
    return syn.seq


def test_same_calls_give_the_same_number() -> None:
    assert isn() == isn()


@pytest.mark.rfc9293("MUST-8", "SHLD-1")
@pytest.mark.rfc("6528", "3-1", "3-2")
def test_clock_ticks_every_4_microseconds() -> None:
    assert abs(diff(isn(at=1.0), isn()) - 250_000) <= 1
    assert abs(diff(isn(at=60.0), isn()) - 15_000_000) <= 1


def test_clock_wraps() -> None:
    """The period is about 4.77 hours."""
    assert abs(diff(isn(at=2**32 / 250_000), isn())) <= 1


@pytest.mark.rfc9293("MUST-9", "SHLD-1")
@pytest.mark.rfc("6528", "3-1", "3-3")
def test_every_part_of_the_connection_and_the_secret_count() -> None:
    numbers = {
        isn(),
        isn(secret=b"another sixteen octets"),
        isn(remote="another"),
        isn(remote_port=81),
        isn(local_port=50001),
    }
    assert len(numbers) == 5


@pytest.mark.parametrize("size", [0, 15])
@pytest.mark.rfc9293("MUST-9")
@pytest.mark.rfc("6528", "3-3")
@pytest.mark.rfc("6056", "3.4-1")
def test_secret_is_too_long_to_guess(size: int) -> None:
    with pytest.raises(ValueError, match="secret must be 16 random octets or more"):
        Script(secret=bytes(size))


@pytest.mark.rfc9293("MUST-9")
@pytest.mark.rfc("6528", "3-3")
def test_neighbouring_connections_have_unrelated_numbers() -> None:
    """Who knows the ISNs of his own connections cannot tell those of another's."""
    numbers = [isn(local_port=50000 + port) for port in range(200)]
    steps = {diff(after, before) for before, after in pairwise(numbers)}
    assert len(steps) == 199
    assert len({number >> 24 for number in numbers}) > 80  # spread over the whole space


def test_numbers_of_one_connection_grow_from_incarnation_to_incarnation() -> None:
    numbers = [isn(at=seconds * 10.0) for seconds in range(100)]
    assert all(diff(after, before) > 0 for before, after in pairwise(numbers))


@pytest.mark.rfc9293("MUST-9")
@pytest.mark.rfc("6528", "3-3")
def test_passive_open_is_keyed_as_well() -> None:
    def answer(secret: bytes) -> int:
        t = Script(secret=secret)
        t.listen()
        t.receives("S 0:0")
        (syn_ack,) = t.sends("S. 0:0 ack 1")
        return syn_ack.seq

    assert answer(SECRET) != answer(b"another sixteen octets")


@pytest.mark.rfc("7323", "5.4-2")
def test_timestamps_begin_elsewhere_for_each_connection() -> None:
    """RFC 7323 5.4: they tell neither the uptime nor other connections' clocks."""

    def first(local_port: int) -> int | None:
        t = Script()
        t.connect(local_port=local_port)
        (syn,) = t.sends("S 0:0 <ts>")
        return syn.ts_val

    assert len({first(50000 + port) for port in range(50)}) == 50
