"""A sender whose event loop other work blocks. Timers are late, and ACKs wait in the socket."""

from heapq import heappop, heappush
from math import inf

import pytest

from tests.contained import refuse
from tests.recovery.test_two_stacks import SEGMENT, Bottleneck
from tests.tcp.pair import Pair, Rule
from tests.tcp.script import PRECISION

RATE = 1.25e6
"""Of the bottleneck, octets per second."""
RTT = 0.02
CYCLE = 0.1
CONTROLLERS = ["bbr", "cubic", "newreno"]


class LatePair(Pair):
    """The client's loop is blocked for `pause` seconds at the beginning of each cycle of `CYCLE` seconds, from
    `begin` until `end`. When it runs again, it first reads what has arrived, as the driver does."""

    def __init__(self, rule: Rule, controller: str) -> None:
        super().__init__(rule, delay=RTT / 2, congestion_control=controller)
        self.pause = self.begin = self.end = 0.0
        self.near, self.far = self.established()

    def block(self, pause: float, begin: float, end: float) -> None:
        """Set the pauses; `begin` and `end` are relative to now."""
        self.pause, self.begin, self.end = pause, self.now + begin, self.now + end

    def send_for(self, seconds: float) -> int:
        """Let the client send as much as it can, and return the number of octets that have arrived."""
        near, far = self.near, self.far
        end = self.now + seconds
        got = 0

        def over() -> bool:
            nonlocal got
            if self._awake(self.now) == self.now:
                near.send(bytes(max(0, (1 << 17) - near.send_side.unsent)))
            got += len(far.read())
            return self.now >= end

        self.run(over)
        return got

    def _awake(self, time: float) -> float:
        """Return the earliest time from `time` on at which the client's loop runs."""
        phase = (time - self.begin + PRECISION) % max(CYCLE, self.pause)
        if self.begin <= time < self.end and phase < self.pause - PRECISION:
            return time + self.pause - phase + PRECISION
        return time

    def _next_event(self) -> float | None:
        due = [entry[0] if entry[2] == "server" else self._awake(entry[0]) for entry in self._link]
        for name, stack in self.stacks.items():
            timeout = stack.next_timeout()
            if timeout is not None:
                due.append(timeout if name == "server" else self._awake(timeout))
        if self._awake(self.now) > self.now:
            due.append(self._awake(self.now))
        return min(due, default=None)

    def _exchange(self) -> None:
        for name, stack in self.stacks.items():
            if name == "client" and self._awake(self.now) > self.now:
                continue
            stack.take_ready()
            for transmit in stack.datagrams_to_send(self.now):
                for datagram in transmit.datagrams():
                    self._put(name, str(transmit.remote), datagram)
            refuse(stack)
        del self.trace[:-80]

    def _arrive(self) -> None:
        if self._awake(self.now) == self.now:
            super()._arrive()
            return
        waiting = []
        while self._link and self._link[0][0] <= self.now + PRECISION:
            entry = heappop(self._link)
            if entry[2] == "client":
                waiting.append(entry)
            else:
                self.server.receive_datagram(entry[3], "client", self.now)
        for entry in waiting:
            heappush(self._link, entry)
        due = self.server.next_timeout()
        if due is not None and due <= self.now:
            self.server.handle_timeout(self.now)


def flow(controller: str, queue: float, pause: float = 0.0) -> LatePair:
    """A flow over a bottleneck of `RATE`, whose queue takes `queue` seconds to drain. It has lasted for a second."""
    p = LatePair(Bottleneck(0, RATE, queue, loss=0.0), controller)
    p.block(pause, 0.0, inf)
    p.send_for(1.0)
    return p


def share(octets: int, seconds: float) -> float:
    """Return the share of the bottleneck's rate."""
    return octets * (SEGMENT + 60) / SEGMENT / (seconds * RATE)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_loop_that_is_blocked_half_of_the_time_keeps_the_rate(controller: str) -> None:
    """The queue at the bottleneck bridges the pauses, because the sender catches up after each."""
    p = flow(controller, queue=0.1, pause=0.05)
    assert share(p.send_for(2.0), 2.0) > 0.88
    assert p.client.counters.timeouts == 0


def test_a_short_queue_does_not_overflow_after_every_pause() -> None:
    """It cannot bridge the pauses. Many segments are lost in one round trip, and all of these losses become known at
    once, when the loop runs again. That is when BBR must lower its bounds."""
    p = flow("bbr", queue=RTT, pause=0.05)
    p.send_for(2.0)
    counters = p.client.counters
    assert counters.retrans_segs < 0.05 * p.counts["client"]
    assert counters.timeouts == 0


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_one_pause_costs_its_own_time_at_most(controller: str) -> None:
    """The rate afterwards is the same: neither the low rate samples nor the long round trips of the pause lower it. No
    burst fills the queue, because the time of one pause is lost anyway."""
    p = flow(controller, queue=RTT)
    before = p.client.counters.retrans_segs
    p.block(0.05, 0.0, 0.05)
    assert share(p.send_for(0.5), 0.5) > 0.88
    assert p.client.counters.retrans_segs - before <= 3
    assert share(p.send_for(1.0), 1.0) > 0.95


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("begin", [0.03, 0.07, 0.13])
def test_a_pause_in_slow_start_does_not_end_it(controller: str, begin: float) -> None:
    """HyStart++ gets longer round trips, and BBR rates that do not grow."""
    got = []
    for pause in (0.0, 0.05):
        p = LatePair(Bottleneck(0, RATE, 0.1, loss=0.0), controller)
        p.block(pause, begin, begin + pause)
        got.append(p.send_for(1.0))
    assert got[1] > got[0] - 1.2 * 0.05 * RATE


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_nothing_is_sent_again_because_the_loop_was_late(controller: str) -> None:
    """Pauses beyond the retransmission timeout and the probe timeout, on a path that loses nothing."""
    p = LatePair(Bottleneck(0, RATE, 10.0, loss=0.0), controller)
    p.send_for(0.1)
    for _ in range(2):
        p.block(0.4, 0.0, 0.4)
        assert p.send_for(0.6) > 0
    counters = p.client.counters
    assert counters.timeouts == counters.retrans_segs == counters.loss_probes == 0
