"""Sequence numbers of captured segments."""

from utcp.trace.flights import _Numbers


def test_numbers_are_relative_and_do_not_wrap() -> None:
    numbers = _Numbers()
    assert numbers.relative(7) == 7
    numbers.begin(0xFFFFFFFE)
    assert [numbers.relative(number % 2**32) for number in (0xFFFFFFFE, 0xFFFFFFFF, 2**32 + 3)] == [0, 1, 5]
    at = 0xFFFFFFFE
    for _ in range(5):
        at += 2**30
        last = numbers.relative(at % 2**32)
    assert last == 5 * 2**30
    assert numbers.relative((at - 100) % 2**32) == last - 100
