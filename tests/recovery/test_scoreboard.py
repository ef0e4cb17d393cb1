"""The scoreboard against a model that knows one octet at a time; and what an ACK costs."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import SupportsIndex, overload

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.recovery.trace import consistent
from tests.variant import examples
from utcp.tcp.recovery.rack import Rack
from utcp.tcp.recovery.scoreboard import IN_FLIGHT, LOST, SACKED, Departure, Run, Scoreboard

SPAN = 60
"""Octets in flight at most, in the model: small numbers meet each other more often."""


def departure(at: float = 0.0) -> Departure:
    leaving = Departure(at, 0, 0.0, 0.0)
    leaving.runs = []
    return leaving


class OctetByOctet(RuleBasedStateMachine):
    """Every operation on the scoreboard, and on a list with the fate of each octet."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Scoreboard()
        self.una = 0
        self.states: list[int] = []
        """Of the octets from `una` on."""
        self.sent: list[int] = []
        self.delivered: set[int] = set()
        self.departure = departure()
        self.clock = 0.0

    @property
    def nxt(self) -> int:
        return self.una + len(self.states)

    def _deliver(self, runs: list[Run]) -> None:
        for run in runs:
            octets = set(range(run.start, run.end))
            assert octets
            assert not octets & self.delivered, "delivered twice"
            self.delivered |= octets

    def _expect_delivered(self, runs: list[Run], expected: set[int]) -> None:
        before = set(self.delivered)
        self._deliver(runs)
        assert self.delivered - before == expected

    @rule()
    def next_flush(self) -> None:
        self.clock += 1
        self.departure = departure(self.clock)

    @precondition(lambda self: len(self.states) < SPAN)
    @rule(size=st.integers(1, 12))
    def send(self, size: int) -> None:
        self.board.send(size, self.departure)
        self.states += [IN_FLIGHT] * size
        self.sent += [1] * size

    @precondition(lambda self: LOST in self.states)
    @rule(size=st.integers(1, 12))
    def resend_the_first_lost(self, size: int) -> None:
        run = self.board.next_lost()
        assert run is not None
        self._resend(run, run.start, min(size, run.end - run.start))

    @precondition(lambda self: any(state != SACKED for state in self.states))
    @rule(data=st.data())
    def resend_anything(self, data: st.DataObject) -> None:
        """As a tail loss probe does: also from the middle, also what is in flight."""
        run = data.draw(st.sampled_from([run for run in self.board.runs() if run.state != SACKED]))
        start = data.draw(st.integers(run.start, run.end - 1))
        self._resend(run, start, data.draw(st.integers(1, run.end - start)))

    def _resend(self, run: Run, start: int, size: int) -> None:
        times = run.sent
        self.board.resend(start, size, self.departure)
        for position in range(start, start + size):
            self.states[position - self.una] = IN_FLIGHT
            assert self.sent[position - self.una] == times
            self.sent[position - self.una] += 1
        assert any(run.start == start and run.end == start + size for run in self.departure.runs or [])

    @precondition(lambda self: bool(self.states))
    @rule(share=st.floats(0, 1))
    def acknowledge(self, share: float) -> None:
        size = max(1, round(share * len(self.states)))
        expected = {self.una + i for i in range(size) if self.states[i] != SACKED} - self.delivered
        self._expect_delivered(self.board.acknowledge(self.una + size), expected)
        self.una += size
        del self.states[:size]
        del self.sent[:size]

    @precondition(lambda self: bool(self.states))
    @rule(left=st.integers(0, SPAN), size=st.integers(1, SPAN))
    def sack(self, left: int, size: int) -> None:
        left = min(left, len(self.states) - 1)
        right = min(left + size, len(self.states))
        expected = {self.una + i for i in range(left, right) if self.states[i] != SACKED}
        self._expect_delivered(self.board.sack(self.una + left, self.una + right), expected)
        self.states[left:right] = [SACKED] * (right - left)

    @precondition(lambda self: IN_FLIGHT in self.states)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([run for run in self.board.runs() if run.state == IN_FLIGHT]))
        self.board.mark_lost(run)
        for position in range(run.start, run.end):
            self.states[position - self.una] = LOST

    @rule(size=st.integers(1, 12))
    def lose_first(self, size: int) -> None:
        run = self.board.mark_first_lost(size)
        if run is None:
            assert not self.states or self.states[0] != IN_FLIGHT
            return
        assert run.start == self.una
        assert run.end - run.start <= size + 1
        for i in range(run.end - run.start):
            assert self.states[i] == IN_FLIGHT
            self.states[i] = LOST

    @rule()
    def forget_sacks(self) -> None:
        """What the peer told of is in flight again: it will be delivered once more."""
        self.board.forget_sacks()
        for run in self.board.runs():
            for i in range(run.start - self.una, run.end - self.una):
                if self.states[i] == SACKED:
                    assert run.sent > 1  # nobody knows how often, nor when
                    self.sent[i] = run.sent
                    self.states[i] = IN_FLIGHT
                    self.delivered.discard(self.una + i)

    @rule()
    def find_lost_again(self) -> None:
        found = self.board.find_lost_again()
        for run in found:
            run.departure.keep(run)  # as RACK does
        assert {position for run in found for position in range(run.start, run.end)} == {
            self.una + i for i, state in enumerate(self.states) if state == LOST
        }
        self.states = [IN_FLIGHT if state == LOST else state for state in self.states]

    @invariant()
    def sums_and_runs(self) -> None:
        board = self.board
        consistent(board)
        assert (board.una, board.nxt) == (self.una, self.nxt)
        states = [run.state for run in board.runs() for _ in range(run.start, run.end)]
        assert states == self.states
        for run in board.runs():
            if run.state != SACKED:
                assert self.sent[run.start - self.una : run.end - self.una] == [run.sent] * (run.end - run.start)

    @invariant()
    def the_next_lost_is_the_lowest(self) -> None:
        run = self.board.next_lost()
        if LOST in self.states:
            assert run is not None
            assert run.start == self.una + self.states.index(LOST)
            assert run.state == LOST
        else:
            assert run is None

    @invariant()
    def a_departure_knows_what_of_it_is_in_flight(self) -> None:
        """RACK looks nowhere else."""
        for run in self.board.runs():
            if run.state == IN_FLIGHT:
                assert any(known is run for known in run.departure.runs or [])

    @invariant()
    def what_is_sacked_is_one_run(self) -> None:
        states = [run.state for run in self.board.runs()]
        assert not any(a == b == SACKED for a, b in pairwise(states))


@pytest.mark.rfc("8985", "4-1")
@pytest.mark.rfc("6675", "3-1", "4-1", "4-4")
def test_octet_by_octet() -> None:
    run_state_machine_as_test(
        OctetByOctet,
        settings=settings(
            max_examples=examples(150),
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# --- what an ACK costs


class Counting(list[Run]):
    """A list that counts the elements it hands out: one by one, as a slice, and in a loop."""

    touched = 0

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Run: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Run]: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Run | list[Run]:
        got = super().__getitem__(index)
        self.touched += len(got) if isinstance(got, list) else 1
        return got

    @overload
    def __setitem__(self, index: SupportsIndex, value: Run, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Run], /) -> None: ...
    def __setitem__(self, index: SupportsIndex | slice, value: Run | Iterable[Run], /) -> None:
        if isinstance(index, slice):
            assert isinstance(value, list)
            self.touched += len(range(*index.indices(len(self)))) + len(value)
            super().__setitem__(index, value)
        else:
            assert isinstance(value, Run)
            self.touched += 1
            super().__setitem__(index, value)

    def __iter__(self) -> Iterator[Run]:
        for run in super().__iter__():
            self.touched += 1
            yield run


SEARCH = 14
"""Runs that a binary search looks at among 10,000."""


def in_flight(segments: int, per_departure: int) -> tuple[Scoreboard, Rack, Counting]:
    board, rack = Scoreboard(), Rack()
    board._runs = runs = Counting()
    for first in range(0, segments, per_departure):
        leaving = departure(first / 1000)
        leaving.runs = Counting()
        rack.sent(leaving)
        board.send(per_departure * 1000, leaving)
    return board, rack, runs


def touched(rack: Rack, runs: Counting) -> int:
    return runs.touched + sum(
        leaving.runs.touched for leaving in rack._departures if isinstance(leaving.runs, Counting)
    )


def test_all_acks_of_a_large_window_together_cost_its_size() -> None:
    """10,000 segments, every tenth lost: each ACK tells of one more segment, and of two blocks that were known."""
    segments = 10_000
    board, _, runs = in_flight(segments, 20)
    runs.touched = 0
    blocks: list[tuple[int, int]] = []
    for segment in range(segments):
        if segment % 10 == 0:
            blocks = [(0, 0), *blocks[:2]]
            continue
        begin = segment * 1000
        blocks[0] = (begin if segment % 10 == 1 else blocks[0][0], begin + 1000)
        for left, right in blocks:
            if right:
                board.sack(left, right)
    assert board.sacked == 9_000_000
    assert runs.touched < (20 + 6 * SEARCH) * segments
    for run in board.runs():
        if run.state == IN_FLIGHT:
            board.mark_lost(run)
    runs.touched = 0
    again = departure(20.0)
    while (lost := board.next_lost()) is not None:
        board.resend(lost.start, 1000, again)
    for segment in range(10, segments + 1, 10):
        board.acknowledge(segment * 1000)
    assert (board.una, board.in_flight, board.sacked, board.lost) == (board.nxt, 0, 0, 0)
    assert runs.touched < (5 + SEARCH) * segments


def test_an_ack_that_repeats_what_is_known_costs_the_same_in_any_window() -> None:
    board, _, runs = in_flight(10_000, 20)
    for segment in range(1, 10_000, 2):
        board.sack(segment * 1000, segment * 1000 + 1000)
    runs.touched = 0
    for segment in (9_999, 5_001, 1):
        assert board.sack(segment * 1000, segment * 1000 + 1000) == []
    assert runs.touched <= 3 * (2 + SEARCH)


@pytest.mark.parametrize("reo_wnd", [0.0, 100.0])
@pytest.mark.parametrize("train", [20, 10_000])
def test_detection_costs_the_same_in_trains_of_any_length(train: int, reo_wnd: float) -> None:
    """Detection after each of 9,000 SACKs: the sum is linear, also while nothing is overdue yet."""
    segments = 10_000
    board, rack, runs = in_flight(segments, train)
    work = 0
    lost = 0
    for segment in range(segments):
        if segment % 10 == 0:
            continue
        now = segment / 1000 + 1.0
        for run in board.sack(segment * 1000, segment * 1000 + 1000):
            rack.delivered(run, -1.0, 1.0, False, now)
        before = touched(rack, runs)
        found, _ = rack.detect(reo_wnd, now)
        work += abs(touched(rack, runs) - before)
        for run in found:
            lost += run.end - run.start
            board.mark_lost(run)
    assert lost >= 990_000 or reo_wnd
    assert work < 30 * segments
