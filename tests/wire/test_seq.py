"""Sequence arithmetic (RFC 9293 3.4), across the wrap as everywhere else."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.strategies import u32
from utcp.wire import seq

TOP = 0xFFFFFFFF
ahead = st.integers(1, 2**31 - 1)


@pytest.mark.parametrize(
    ("start", "count", "end"),
    [(0, 0, 0), (TOP, 1, 0), (0, -1, TOP), (TOP, 2**32, TOP), (0x80000000, 0x80000000, 0), (10, 5, 15)],
)
def test_add_wraps(start: int, count: int, end: int) -> None:
    assert seq.add(start, count) == end


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [(5, 5, 0), (0, TOP, 1), (TOP, 0, -1), (2**31 - 1, 0, 2**31 - 1), (2**31, 0, -(2**31)), (2, TOP - 2, 5)],
)
def test_diff_is_signed_and_wraps(a: int, b: int, distance: int) -> None:
    assert seq.diff(a, b) == distance


@given(u32, st.integers(-(2**31), 2**31 - 1))
def test_diff_undoes_add(start: int, count: int) -> None:
    end = seq.add(start, count)
    assert 0 <= end <= TOP
    assert seq.diff(end, start) == count


@given(u32, ahead)
def test_what_lies_ahead_is_greater(start: int, count: int) -> None:
    end = seq.add(start, count)
    assert seq.lt(start, end)
    assert seq.gt(end, start)
    assert seq.ge(end, start)
    assert not seq.lt(end, start)
    assert not seq.gt(start, end)
    assert not seq.ge(start, end)


@given(u32)
def test_a_number_equals_itself(number: int) -> None:
    assert seq.ge(number, number)
    assert not seq.lt(number, number)
    assert not seq.gt(number, number)


@given(u32, ahead, st.integers(0, 2**31 - 1))
def test_within_is_half_open(left: int, size: int, offset: int) -> None:
    assert seq.within(seq.add(left, offset), left, size) == (offset < size)


@given(u32, st.integers(0, 2**31 - 1))
def test_within_excludes_what_lies_before(left: int, size: int) -> None:
    assert not seq.within(seq.add(left, -1), left, size)


@given(u32)
def test_nothing_is_within_an_empty_window(left: int) -> None:
    assert not seq.within(left, left, 0)


@given(u32, u32)
@example(0, 2**31)
@example(2**31, 0)
def test_a_number_is_before_another_or_not(a: int, b: int) -> None:
    """Even at 2**31 apart, where neither answer means anything, two tests of one thing do not contradict each other."""
    assert seq.lt(a, b) != seq.ge(a, b)
    assert seq.gt(a, b) == seq.lt(b, a)
    assert seq.lt(a, b) == (seq.diff(a, b) < 0)
