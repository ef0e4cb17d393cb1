"""One flow over one bottleneck, packet by packet: what a congestion controller is judged in. Deterministic by seed.

A sender that always has data (unless told to pause) sends trains at the controller's pacing rate, on a timer that is as
coarse as an event loop's. Packets may be lost before they reach a queue of `queue` packets, which a link of `rate`
octets per second empties, and may overtake each other behind it. Each is acknowledged by itself. One counts as lost
when another that left long enough after it has arrived (RACK); what arrives after all makes that time longer. Samples
are those of draft-ietf-ccwg-bbr 4.1.
"""

import heapq
from collections import deque
from math import ceil, inf
from random import Random

from utcp.tcp.congestion.base import CongestionController
from utcp.tcp.recovery.delivery import AckSample
from utcp.tcp.recovery.scoreboard import Departure

MSS = 1448
TICK = 0.001
RTO = 1.0


class Packet:
    __slots__ = ("departure", "done", "number")

    def __init__(self, number: int, departure: Departure) -> None:
        self.number = number
        self.departure = departure
        self.done = False


class Flow:
    def __init__(
        self,
        controller: CongestionController,
        *,
        rate: float,
        rtt: float,
        queue: int = 10_000,
        loss: float = 0.0,
        jitter: float = 0.0,
        mark_above: int = 10_000,
        seed: int = 1,
    ) -> None:
        self.controller = controller
        self.rate = rate
        self.rtt = rtt
        self.queue = queue
        self.loss = loss
        self.jitter = jitter
        """Packets are delayed by up to so many seconds more, each by itself: they arrive out of order."""
        self.mark_above = mark_above
        """From so many packets in the queue on, they carry a congestion mark."""
        self.paused = False
        """The application has nothing to send."""
        self.now = 0.0
        self.sent = self.delivered = self.lost = self.in_flight = 0
        self.longest_queue = 0
        self.timeouts = 0
        self.bursts: list[tuple[float, int]] = []
        """When trains left, and how many octets."""
        self.samples: list[AckSample] = []
        self._random = Random(seed)
        self._free_at = 0.0
        self._acks: list[tuple[float, int, Packet, bool]] = []
        self._outstanding: deque[Packet] = deque()
        self._number = 0
        self._newest = 0
        self._delivered_at = self._first_sent_at = 0.0
        self._app_limited_until = -1
        self._next_send = 0.0
        self._tick = 0.0
        self._quiet_since = 0.0
        self._recover: int | None = None
        self._lowest_rtt = inf
        self._newest_sent_at = 0.0
        self._newest_rtt = rtt
        self._reordering = rtt / 4
        controller.on_established(rtt, 0.0)

    def run(self, seconds: float) -> float:
        """Go on for so long; octets per second that arrived in that time."""
        end, before = self.now + seconds, self.delivered
        while True:
            at = self._wake_at()
            if self._acks and self._acks[0][0] <= at:
                if self._acks[0][0] > end:
                    break
                self._arrive()
            elif at > end:
                break
            else:
                self.now = max(at, self.now)
                self._send()
        self.now = end
        return (self.delivered - before) / seconds

    def _may_send(self) -> bool:
        return not self.paused and self.in_flight + MSS <= self.controller.cwnd

    def _wake_at(self) -> float:
        if self._may_send():
            return max(self.now, ceil(self._next_send / TICK - 1e-9) * TICK)
        return self._quiet_since + RTO if self.in_flight else inf

    # ------------------------------------------------------------------ sending

    def _send(self) -> None:
        if not self._may_send():
            self._time_out()
            return
        controller = self.controller
        if self.in_flight == 0:
            if self.now - self._quiet_since >= RTO:
                controller.on_idle(self.now - self._quiet_since, RTO)
            self._first_sent_at = self._delivered_at = self._quiet_since = self.now
        controller.on_sent(self.in_flight, self.now)
        departure = Departure(self.now, self.delivered, self._delivered_at, self._first_sent_at)
        departure.lost = self.lost
        departure.app_limited = self.delivered <= self._app_limited_until
        rate = controller.pacing_rate
        late = self.now - self._next_send
        train = max(2 * MSS, int((min(late, TICK) + TICK) * rate)) if rate < inf else 1 << 30
        size = 0
        while size + MSS <= train and self._may_send():
            self._transmit(departure)
            size += MSS
        departure.in_flight = self.in_flight
        self.bursts.append((self.now, size))
        self._next_send = max(self._next_send, self.now - TICK) + size / rate

    def _transmit(self, departure: Departure) -> None:
        self._number += 1
        packet = Packet(self._number, departure)
        self._outstanding.append(packet)
        self.in_flight += MSS
        self.sent += MSS
        if self._random.random() < self.loss:
            return
        at = self.now + self.rtt / 2
        waiting = int((self._free_at - at) * self.rate / MSS) if self._free_at > at else 0
        if waiting >= self.queue:
            return
        self.longest_queue = max(self.longest_queue, waiting)
        self._free_at = max(self._free_at, at) + MSS / self.rate
        back = self._free_at + self.rtt / 2 + self._random.random() * self.jitter
        heapq.heappush(self._acks, (back, packet.number, packet, waiting >= self.mark_above))

    def pause(self, seconds: float) -> None:
        """The application is silent for so long."""
        self.paused = True
        self._app_limited_until = self.delivered + self.in_flight
        self.run(seconds)
        self.paused = False

    # ------------------------------------------------------------------ receiving

    def _arrive(self) -> None:
        self.now, _, packet, marked = heapq.heappop(self._acks)
        self._quiet_since = self.now
        sample = AckSample(self.now)
        sample.prior_in_flight = self.in_flight
        departure = packet.departure
        if packet.done:  # it had been taken for lost
            self._reordering = min(self._reordering + self.rtt / 4, self.rtt + self.jitter)
            return
        packet.done = True
        self.in_flight -= MSS
        self.delivered += MSS
        self._delivered_at = self.now
        sample.newly_delivered = sample.acked = MSS
        sample.rtt = self.now - departure.at
        self._lowest_rtt = sample.min_rtt = min(self._lowest_rtt, sample.rtt)
        sample.srtt = sample.rtt
        sample.interval = max(departure.at - departure.first_sent_at, self.now - departure.delivered_at)
        sample.prior_delivered = departure.delivered
        sample.sent_in_flight = departure.in_flight
        sample.app_limited = departure.app_limited
        if packet.number > self._newest:
            self._newest = packet.number
            self._first_sent_at = self._newest_sent_at = departure.at
            self._newest_rtt = sample.rtt
        sample.rate_delivered = self.delivered - departure.delivered
        if sample.interval >= self._lowest_rtt:
            sample.delivery_rate = sample.rate_delivered / sample.interval
        newly_lost = self._detect_losses()
        sample.lost = self.lost - departure.lost
        if (newly_lost or marked) and self._recover is None:
            self._recover = self._number
            react = self.controller.on_loss if newly_lost else self.controller.on_mark
            react(self.in_flight, self.now)
        elif self._recover is not None and self._oldest() > self._recover:
            self._recover = None
            self.controller.on_recovered(self.in_flight, self.now)
        sample.recovering = self._recover is not None
        sample.in_flight = self.in_flight
        sample.total_delivered = self.delivered
        sample.limited = sample.prior_in_flight + MSS > self.controller.cwnd
        self.samples.append(sample)
        self.controller.on_ack(sample)

    def _oldest(self) -> int:
        while self._outstanding and self._outstanding[0].done:
            self._outstanding.popleft()
        return self._outstanding[0].number if self._outstanding else self._number + 1

    def _detect_losses(self) -> int:
        before = self.lost
        while self._oldest() < self._newest:
            packet = self._outstanding[0]
            at = packet.departure.at
            late = self.now - at - self._newest_rtt
            # Of one train, the order tells; of several, also the time.
            if late < self._reordering or (at > self._newest_sent_at - TICK and packet.number > self._newest - 3):
                break
            self._lose(packet)
        return self.lost - before

    def _lose(self, packet: Packet) -> None:
        packet.done = True
        self.in_flight -= MSS
        self.lost += MSS
        self.controller.on_lost(MSS, packet.departure, self.now)

    def _time_out(self) -> None:
        self.timeouts += 1
        in_flight = self.in_flight
        for packet in self._outstanding:
            if not packet.done:
                self._lose(packet)
        self.controller.on_timeout(in_flight, self.now)
        self._quiet_since = self.now
        self._recover = self._number
