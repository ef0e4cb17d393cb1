"""`TimerQueue` against a model: at any time, the queue knows the earliest deadline, and drops dead entries."""

from __future__ import annotations

from math import inf
from typing import Final

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
def test_dead_entries_do_not_pile_up() -> None:
    queue, subjects = TimerQueue(), [Subject() for _ in range(1000)]
    for step in range(20):
        for subject in subjects:
            subject.deadline = 100.0 - step
            queue.schedule(subject, subject.deadline)
    assert len(queue) == len(subjects)
    assert len(queue._heap) <= 2 * len(subjects) + 64
    for subject in subjects:
        queue.remove(subject)
    assert len(queue) == 0
    assert len(queue._heap) <= 64
    assert queue.next() == queue.wakeup() == inf
