"""The table of TIME_WAIT records: order of expiry, exactness, what it costs, and what it forgets."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from math import inf, nextafter
from types import FrameType
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.tcp.counters import Counters
from utcp.tcp.rate_limit import TO_SYN
from utcp.tcp.time_wait import ConnectionKey, TimeWait, TimeWaitTable

MICROSECOND = 1e-6
FIELDS = (0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFF, 14, True)
"""SND.NXT, RCV.NXT, TS.Recent, window, shift, timestamps: the largest of each."""


class Host:
    """A remote of which it is known how many exist."""

    alive: ClassVar[WeakSet["Host"]] = WeakSet()

    def __init__(self) -> None:
        Host.alive.add(self)


def key(index: int, remotes: int = 1) -> ConnectionKey:
    """The same key each time, of objects made anew: like the ones that a segment makes."""
    remote, connection = index % remotes, index // remotes
    return (f"192.0.2.{remote}", 4000), 1024 + connection // 60_000, 1024 + connection % 60_000


def filled(records: int, remotes: int = 1, duration: float = 60.0) -> TimeWaitTable:
    """One record each 2**-10 seconds, from 0 on."""
    table = TimeWaitTable(duration)
    for index in range(records):
        table.add(key(index, remotes), index / 1024, *FIELDS)
    return table


def growth(change: Callable[[], object]) -> int:
    """The octets that are in use after `change` and were not before; what it returns is in use."""
    gc.collect()
    tracemalloc.start()
    kept = change()
    gc.collect()
    octets = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return octets


def lines_run(call: Callable[[], object]) -> int:
    """How many lines of Python `call` runs: of a walk, some for each entry."""
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


# --- records


@pytest.mark.parametrize("fields", [FIELDS, (0, 0, 0, 0, 0, False), (1, 2, 3, 4, 5, False), (5, 4, 3, 2, 1, True)])
def test_a_record_comes_back_as_it_went_in(fields: tuple[int, int, int, int, int, bool]) -> None:
    table = TimeWaitTable(60.0)
    table.add(("peer", 65535, 1), 1000.5, *fields)
    assert table.get(("peer", 65535, 1)) == TimeWait(1060.5, *fields)


def test_remote_and_both_ports_tell_records_apart() -> None:
    table = TimeWaitTable(60.0)
    keys = [(remote, a, b) for remote in ("one", "two") for a in (1, 2, 65535) for b in (1, 2, 65535)]
    for number, each in enumerate(keys):
        table.add(each, 0.0, number, 0, 0, 0, 0, False)
    assert list(table) == keys
    for number, each in enumerate(keys):
        record = table.get(each)
        assert record is not None
        assert record.snd_nxt == number


@pytest.mark.parametrize("stranger", [("nobody", 80, 50000), ("peer", 81, 50000), ("peer", 80, 50001)])
def test_a_key_that_is_not_there(stranger: ConnectionKey) -> None:
    table = TimeWaitTable(60.0)
    table.add(("peer", 80, 50000), 0.0, *FIELDS)
    assert stranger not in table
    assert table.get(stranger) is None
    assert table.seconds_left(stranger, 0.0) is None
    with pytest.raises(KeyError):
        table.remove(stranger)
    assert list(table) == [("peer", 80, 50000)]


@given(st.floats(0, 2.0**31), st.floats(0.001, 600.0))
def test_no_record_ends_early_nor_a_microsecond_late(now: float, duration: float) -> None:
    table = TimeWaitTable(duration)
    table.add(key(0), now, *FIELDS)
    due = now + duration
    expiry = table.next_expiry()
    assert expiry is not None
    assert due <= expiry < due + MICROSECOND
    assert not table.take_expired(nextafter(due, 0.0))
    assert table.take_expired(expiry) == [key(0)]  # who waits until then does not wait again


def test_an_infinite_msl_reserves_the_ports_for_an_age() -> None:
    table = TimeWaitTable(inf)
    table.add(key(0), 1e9, *FIELDS)
    assert not table.take_expired(4e9)
    assert key(0) in table


@pytest.mark.defect(96)
def test_of_too_many_records_the_oldest_end_before_their_time() -> None:
    counters = Counters()
    table = TimeWaitTable(60.0, 3, counters)
    for index in range(3):
        table.add(key(index), float(index), *FIELDS)
    assert table.next_expiry() == 60.0
    table.restart(key(0), 3.0, 0)
    for index in (3, 4):
        table.add(key(index), float(index + 1), *FIELDS)
    assert table.next_expiry() == 0.0, "it is due"
    assert table.take_expired(5.0) == [key(1), key(2)]
    assert list(table) == [key(0), key(3), key(4)]
    assert table.next_expiry() == 63.0
    assert counters.time_wait_overflows == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "restart", "remove", "answer", "wait", "expire"]),
            st.integers(0, 8),
            st.sampled_from([0.0, 0.25, 1.0, 3.0]),
        ),
        max_size=120,
    )
)
def test_whatever_happens_the_records_stand_in_the_order_of_their_expiry(steps: list[tuple[str, int, float]]) -> None:
    """Against a plain dict in which a new record goes to the end. Three remotes share the keys: their numbers go and
    come back."""
    table, model, answers = TimeWaitTable(4.0), dict[ConnectionKey, tuple[float, int]](), dict[ConnectionKey, float]()
    now = 0.0
    for step, index, seconds in steps:
        each = key(index, remotes=3)
        if step == "wait":
            now += seconds
        elif step == "expire":
            gone = [other for other, (expires, _) in model.items() if expires <= now]
            assert table.take_expired(now) == gone
            for other in gone:
                del model[other]
                answers.pop(other, None)
        elif step == "add":
            table.add(each, now, 1, 2, 3, 4, 5, True)
            model.pop(each, None)
            model[each] = (now + 4.0, 3)
        elif each in model:
            if step == "restart":
                table.restart(each, now, index)
                del model[each]
                model[each] = (now + 4.0, index)
            elif step == "remove":
                table.remove(each)
                del model[each]
                answers.pop(each, None)
            else:
                may = now >= answers.get(each, 0.0)
                assert table.may_answer(each, TO_SYN, now, 1.0) == may
                if may:
                    answers[each] = now + 1.0
        assert list(table) == list(model)
        assert len(table) == len(model)
        assert table.next_expiry() == next((expires for expires, _ in model.values()), None)
        for other, (expires, ts_recent) in model.items():
            assert table.get(other) == TimeWait(expires, 1, 2, ts_recent, 4, 5, True)


def test_one_that_was_restarted_twice_keeps_no_other_waiting() -> None:
    table = filled(3)
    for now in (10.0, 20.0):
        table.restart(key(0), now, 1)
    assert table.take_expired(60.5) == [key(1), key(2)]
    assert table.next_expiry() == 80.0
    assert table.take_expired(80.0) == [key(0)]


def test_a_later_record_of_the_same_key_may_answer_at_once() -> None:
    table = filled(2)
    assert table.may_answer(key(0), TO_SYN, 1.0, 0.5)
    table.remove(key(0))
    table.add(key(0), 1.1, *FIELDS)
    assert table.may_answer(key(0), TO_SYN, 1.2, 0.5)
    assert not table.may_answer(key(0), TO_SYN, 1.3, 0.5)


# --- memory


@pytest.mark.parametrize("remotes", [1, 1000])
def test_a_record_takes_150_octets_at_most_with_its_key(remotes: int) -> None:
    records = 20_000
    assert growth(lambda: filled(records, remotes)) / records <= 150


def test_a_record_of_a_remote_of_its_own_takes_300_octets_at_most() -> None:
    records = 20_000
    hosts = [Host() for _ in range(records)]

    def fill() -> TimeWaitTable:
        table = TimeWaitTable(60.0)
        for host in hosts:
            table.add((host, 4000, 80), 0.0, *FIELDS)
        return table

    assert growth(fill) / records <= 300


@pytest.mark.parametrize("how", ["expires", "is removed"])
def test_when_the_last_record_goes_nothing_is_left(how: str) -> None:
    def fill_and_empty() -> TimeWaitTable:
        table = filled(20_000, remotes=1000)
        for index in range(0, 20_000, 2):
            table.may_answer(key(index, 1000), TO_SYN, 20.0, 0.5)
            table.restart(key(index, 1000), 20.0, 1)
        if how == "expires":
            table.take_expired(1000.0)
        else:
            for index in range(20_000):
                table.remove(key(index, 1000))
        return table

    assert growth(fill_and_empty) < 4096


def test_a_remote_without_a_record_is_forgotten() -> None:
    table = TimeWaitTable(60.0)
    table.add(key(0), 0.0, *FIELDS)
    stays, goes = Host(), Host()
    for host in (stays, goes):
        for port in (1, 2):
            table.add((host, port, 80), 1.0, *FIELDS)
    table.remove((goes, 1, 80))
    table.remove((stays, 2, 80))
    assert list(table) == [key(0), (stays, 1, 80), (goes, 2, 80)]
    table.remove((goes, 2, 80))
    del goes, host
    assert list(Host.alive) == [stays]
    table.take_expired(61.0)
    table.add(key(0), 61.0, *FIELDS)
    del stays
    assert not Host.alive


def test_many_remotes_one_after_another_leave_nothing() -> None:
    """One record stays all the time; 20,000 remotes have one for a while, up to ten of them at once."""
    table = TimeWaitTable(60.0)
    for index in range(64):
        table.add((Host(), index, 80), 0.0, *FIELDS)

    def come_and_go() -> None:
        for second in range(1, 20_000):
            table.add(key(0), second, *FIELDS)
            table.add((Host(), 4000, 80), second, *FIELDS)
            table.take_expired(second)

    assert growth(come_and_go) < 31_000
    assert len(Host.alive) == len(table) - 1 == 60


@pytest.mark.parametrize("step", ["restart", "remove and add"])
def test_repeating_without_end_makes_no_memory_grow(step: str) -> None:
    """A peer may send its FIN, or open and close, as often as it likes."""
    table = filled(50)

    def repeat() -> None:
        for count in range(20_000):
            each = key(count % 7)
            if step == "restart":
                table.restart(each, 1.0, count)
            else:
                table.remove(each)
                table.add(each, 1.0, *FIELDS)

    assert growth(repeat) < 16_000
    others = [key(index) for index in range(7, 50)]
    again = [key(count % 7) for count in range(19_993, 20_000)]  # the last times, in order
    assert list(table) == [*others, *again]
    assert table.take_expired(60.5) == others
    assert table.take_expired(61.0) == again


def test_what_has_been_answered_is_remembered_no_longer_than_it_counts() -> None:
    """Of 20,000 records, each provoked once; the times of two are of interest at once."""
    table = filled(20_000)

    def provoke() -> None:
        for index in range(20_000):
            assert table.may_answer(key(index), TO_SYN, 30.0 + index / 1024, 2 / 1024)

    assert growth(provoke) < 20_000
    assert not table.may_answer(key(19_999), TO_SYN, 30.0 + 20_000 / 1024, 2 / 1024)


# --- steps


def test_expiry_does_not_walk() -> None:
    """50,000 records go one at a time while others come: each step costs the same."""
    table = filled(50_000)
    now, steps = 60.0, []

    def one_goes_one_comes(index: int) -> None:
        nonlocal now
        assert table.next_expiry() == now
        assert table.take_expired(now) == [key(index)]
        table.add(key(50_000 + index), now, *FIELDS)
        now += 1 / 1024

    for index in range(50_000):
        if index % 500:
            one_goes_one_comes(index)
        else:
            steps.append(lines_run(lambda index=index: one_goes_one_comes(index)))  # type: ignore[misc]  # bound
    assert max(steps) == min(steps)
    assert len(table) == 50_000


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
@pytest.mark.parametrize("step", ["restart", "remove"])
def test_a_restart_or_removal_costs_a_few_lines_on_average(step: str, order: str) -> None:
    """4,000 at once, and between them the question for the next expiry, which must not look at the others again."""
    table = filled(4000)
    indices = range(4000) if order == "oldest first" else range(3999, -1, -1)

    def all_of_them() -> None:
        for index in indices:
            if step == "restart":
                table.restart(key(index), 10.0, 1)
            else:
                table.remove(key(index))
            table.next_expiry()

    assert lines_run(all_of_them) < 100 * 4000
    assert len(table) == (4000 if step == "restart" else 0)
