"""Paths for controllers alone: one whose losses are counted out, and a bottleneck that flows share."""

from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf

from utcp.tcp.congestion import CongestionController
from utcp.tcp.recovery.delivery import AckSample

MSS = 1000

_WAKE = -1
"""In the place of a segment's number: the pacer lets the next one go."""


def average_window(controller: CongestionController, p: float, rtt: float, losses: int, acks: int = 10) -> float:
    """The average window in segments, on a path that loses one segment of each 1/p and has no other limit; the first
    half of the losses, when the flow settles, does not count."""
    now, since_loss, counted, rounds, seen = 0.0, 0.0, 0.0, 0, 0
    controller.on_loss(controller.cwnd, now)
    recovering = True
    while seen < losses:
        window = controller.ssthresh if recovering else controller.cwnd
        if recovering:
            recovering = False
            now += rtt
            controller.on_recovered(window, now)
        else:
            for _ in range(acks):
                now += rtt / acks
                controller.on_ack(_sample(window // acks, now, rtt, window))
        if seen >= losses // 2:
            counted += window / MSS
            rounds += 1
        since_loss += window / MSS
        if since_loss >= 1 / p:
            since_loss -= 1 / p
            controller.on_loss(window, now)
            recovering = True
            seen += 1
    return counted / rounds


def _sample(acked: int, now: float, rtt: float, in_flight: int) -> AckSample:
    sample = AckSample(now)
    sample.acked = sample.newly_delivered = acked
    sample.rtt = sample.srtt = sample.min_rtt = rtt
    sample.prior_in_flight = in_flight
    sample.limited = True
    return sample


class Flow:
    """A sender that always has more to send. What is lost is noticed when its ACK would have come."""

    def __init__(self, controller: CongestionController, start: float = 0.0) -> None:
        self.controller = controller
        self.start = start
        self.in_flight = 0
        self.delivered = 0
        self.lost = 0
        self.recover = -1
        """The newest segment sent when a loss was noticed; -1 outside recovery."""
        self.sent = 0
        self.srtt = 0.0
        self.paced_until = 0.0
        self.asleep = False

    @property
    def window(self) -> int:
        if self.recover >= 0:
            return self.controller.ssthresh
        return self.controller.cwnd


class Bottleneck:
    """A queue of `depth` segments before a link of `rate` segments a second, and `rtt` seconds around both. Every
    `lose_every`th segment is lost besides, when that is not 0."""

    def __init__(self, flows: Iterable[Flow], rate: float, rtt: float, depth: int, lose_every: int = 0) -> None:
        self.flows = list(flows)
        self.rate = rate
        self.rtt = rtt
        self.depth = depth
        self.lose_every = lose_every
        self.queue_at_most = 0.0
        self._free_at = 0.0
        self._passed = 0
        self._serial = 0
        self._events: list[tuple[float, int, Flow, int, bool, float, int]] = []

    def run(self, duration: float) -> None:
        """From 0 to `duration`, in seconds."""
        for flow in self.flows:
            self._post(flow.start, flow, _WAKE, True, 0.0, 0)
        while self._events and self._events[0][0] < duration:
            now, _, flow, segment, arrived, sent_at, delivered = heappop(self._events)
            if segment >= 0:
                flow.in_flight -= MSS
                if arrived:
                    self._acknowledge(flow, segment, now, sent_at, delivered)
                else:
                    self._lose(flow, segment, now)
            elif segment == _WAKE:
                flow.asleep = False
            # In recovery one segment leaves for each that arrives, or two while too little is in flight (RFC 9937).
            room = flow.sent + 2 if flow.recover >= 0 else inf
            while flow.in_flight + MSS <= flow.window and flow.sent < room:
                if flow.paced_until > now + 1e-9:
                    self._sleep(flow)
                    break
                flow.paced_until = max(flow.paced_until, now) + MSS / flow.controller.pacing_rate
                self._send(flow, now)

    def _sleep(self, flow: Flow) -> None:
        if not flow.asleep:
            flow.asleep = True
            self._post(flow.paced_until, flow, _WAKE, True, 0.0, 0)

    def _send(self, flow: Flow, now: float) -> None:
        flow.controller.on_sent(flow.in_flight, now)
        flow.in_flight += MSS
        self._passed += 1
        queued = max(0.0, self._free_at - now) * self.rate
        self.queue_at_most = max(self.queue_at_most, queued)
        arrives = queued < self.depth and not (self.lose_every and self._passed % self.lose_every == 0)
        leaves = max(now, self._free_at) + (1 / self.rate if arrives else 0.0)
        self._free_at = leaves
        self._post(leaves + self.rtt, flow, flow.sent, arrives, now, flow.delivered)
        flow.sent += 1

    def _post(self, at: float, flow: Flow, segment: int, arrived: bool, sent_at: float, delivered: int) -> None:
        self._serial += 1
        heappush(self._events, (at, self._serial, flow, segment, arrived, sent_at, delivered))

    def _acknowledge(self, flow: Flow, segment: int, now: float, sent_at: float, delivered: int) -> None:
        controller = flow.controller
        flow.delivered += MSS
        if 0 <= flow.recover < segment:
            flow.recover = -1
            controller.on_recovered(flow.in_flight, now)
        rtt = now - sent_at
        flow.srtt = flow.srtt + (rtt - flow.srtt) / 8 if flow.srtt else rtt
        sample = _sample(MSS, now, rtt, flow.in_flight + MSS)
        sample.srtt = flow.srtt
        sample.in_flight = flow.in_flight
        sample.recovering = flow.recover >= 0
        sample.prior_delivered = delivered
        sample.total_delivered = flow.delivered
        controller.on_ack(sample)

    def _lose(self, flow: Flow, segment: int, now: float) -> None:
        flow.lost += 1
        if flow.recover < 0 or segment > flow.recover:
            flow.recover = flow.sent - 1
            flow.controller.on_loss(flow.in_flight, now)


def jain(shares: list[int]) -> float:
    """Jain's fairness index: 1 when all are equal."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
