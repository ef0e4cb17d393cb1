"""`TimerQueue` against a model: at any time, the queue knows the earliest deadline, and holds each connection once."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.variant import examples, interpreted_only
from utcp.tcp.timers import Timed, TimerQueue

NUMBER: Final = 6


class Subject(Timed):
    """A connection with one timer."""

    def __init__(self) -> None:
        self.queued = inf
        self.entry = 0
        self.deadline = inf

    def next_deadline(self) -> float:
        return self.deadline


ACTION: Final = st.tuples(
    st.sampled_from(["move", "move", "move", "move", "expire", "expire and keep", "look", "remove"]),
    st.integers(0, NUMBER - 1),
    st.floats(0, 10) | st.just(inf),
)


@interpreted_only
@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(st.lists(ACTION, max_size=60), st.integers(1, 40))
def test_the_queue_knows_the_earliest_deadline(actions: list[tuple[str, int, float]], times: int) -> None:
    queue, subjects, now = TimerQueue(), [Subject() for _ in range(NUMBER)], 0.0
    for action, index, delay in actions * times:
        subject = subjects[index]
        if action == "move":
            subject.deadline = now + delay
            queue.schedule(subject, subject.deadline)
        elif action == "remove":
            queue.remove(subject)
            assert subject.removed
            subjects[index] = Subject()
        elif action != "look" and delay < inf:
            now += delay
            due = sorted(each.deadline for each in subjects if each.deadline <= now)
            expired = queue.take_expired(now)
            assert [each.next_deadline() for each in expired] == due
            for each in subjects:
                if action == "expire" and each.deadline <= now:
                    each.deadline = inf
            queue.put_back(expired)
        earliest = min(each.deadline for each in subjects)
        assert queue.wakeup() <= earliest
        if action != "move":
            assert queue.next() == earliest
            first = queue.first()
            assert first is None if earliest == inf else first is not None and first.next_deadline() == earliest
        assert len(queue) <= NUMBER


@interpreted_only
def test_each_connection_has_one_entry_which_leaves_with_it() -> None:
    queue, subjects = TimerQueue(), [Subject() for _ in range(1000)]
    for step in range(20):
        for subject in subjects:
            subject.deadline = 100.0 - step
            queue.schedule(subject, subject.deadline)
    assert len(queue) == len(queue._heap) == len(subjects)
    for left, subject in enumerate(subjects, 1):
        queue.remove(subject)
        assert len(queue) == len(queue._heap) == len(subjects) - left
    assert queue.next() == queue.wakeup() == inf


@interpreted_only
def test_equal_deadlines_expire_in_the_order_in_which_they_were_set() -> None:
    queue, subjects = TimerQueue(), [Subject() for _ in range(100)]
    for subject in (*subjects[50:], *subjects[:50]):
        subject.deadline = 5.0
        queue.schedule(subject, 5.0)
    queue.remove(subjects[60])
    subjects[70].deadline = 4.0
    queue.schedule(subjects[70], 4.0)
    subjects[70].deadline = 5.0
    assert queue.next() == 5.0  # entered again, behind the others
    expected = [*subjects[50:60], *subjects[61:70], *subjects[71:], *subjects[:50], subjects[70]]
    assert queue.take_expired(5.0) == expected


@interpreted_only
def test_an_interrupt_in_a_move_costs_no_connection_its_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever move is interrupted, before it begins, the queue still knows every deadline."""
    for at in range(60):
        queue, subjects = TimerQueue(), [Subject() for _ in range(20)]
        move, calls = TimerQueue._move, 0

        def interrupted(self: TimerQueue, subject: Timed, number: int = at, move: Any = move) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt
            move(self, subject)

        with monkeypatch.context() as patch:
            patch.setattr(TimerQueue, "_move", interrupted)
            for index, subject in enumerate(subjects * 2):
                subject.deadline = float(7 * index % 20) - (index // 20)
                with suppress(KeyboardInterrupt):
                    queue.schedule(subject, subject.deadline)
            for subject in subjects[5:10]:
                with suppress(KeyboardInterrupt):
                    queue.remove(subject)
        left = subjects[:5] + subjects[10:]
        assert len(queue) == len(left)
        assert queue.next() == min(each.deadline for each in left)
        expired = queue.take_expired(100.0)
        assert sorted(each.deadline for each in left) == [each.next_deadline() for each in expired]
        assert len(queue) == 0
