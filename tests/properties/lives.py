"""One connection's whole life over an impaired path, with timers as coarse as a driver's: what must hold at each step.

`Life` runs what `tests.properties.knobs` draws: two stacks, an application at each end, a path each way.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from errno import EMSGSIZE
from random import Random
from typing import Final

from tests.properties.application import PEER, App, Plan
from tests.properties.observing import Observing
from tests.properties.watch import Broken
from tests.recovery.trace import consistent
from tests.tcp import accounts
from utcp.config import Config
from utcp.tcp.congestion import HANDSHAKE
from utcp.tcp.connection import Connection
from utcp.tcp.path_mtu import BASE
from utcp.tcp.stack import Stack
from utcp.tcp.state import SYN_RCVD
from utcp.tcp.timers import PACING, PERSIST, RETRANSMIT
from utcp.testing import Conditions, Path
from utcp.testing.path import CE, UDP_IP_HEADERS
from utcp.wire import ACK, SYN, Segment, decode, encode, flag_names
from utcp.wire.seq import MASK, diff

START: Final = 1000.0
MTU: Final = 1472
"""The largest datagram that either stack may send."""
RESOLUTION: Final = 0.001
"""Seconds: timers fire up to so much late, as with a driver."""
QUIET: Final = 100
"""Timers that may fire in a row, within a second, without anything being sent."""
_SHOWN: Final = 80
"""Packets that a failure shows."""
_ICMP: Final = -1
"""In the place of ECN bits: this is no datagram, but a router's word about one."""


@dataclass(frozen=True, slots=True)
class Change:
    """From `time` on, in seconds since the beginning, the path is so, from a to b and back."""

    time: float
    there: Conditions
    back: Conditions


class Life:
    """One connection from "a" to "b"."""

    def __init__(
        self,
        seed: int,
        configs: dict[str, Config],
        plans: dict[str, Plan],
        changes: list[Change],
        *,
        lag: float = 0.0,
        crowded: bool = False,
        limit: float = 4000.0,
    ) -> None:
        """`changes`: the path, the first from the beginning on. `lag`: hosts read what has arrived only so often.
        `crowded`: the listener's backlog of handshakes is taken up by somebody else's."""
        random = Random(seed)
        self.now = START
        self.plans = plans
        self.changes = list(changes)
        self._one_path = len(changes) == 1
        self.lag = lag
        self.crowded = crowded
        self.limit = limit
        self.watches = {name: Observing(name) for name in PEER}
        self.stacks = {
            name: Stack(configs[name], secret=random.randbytes(16), observer=self.watches[name], mtu=lambda remote: MTU)
            for name in PEER
        }
        self.apps: dict[str, App] = {}
        self.trace: list[tuple[float, str, bytes, list[float], str]] = []
        self.paths = {name: Path(Conditions(), random.getrandbits(32)) for name in PEER}
        self.packets = 0
        self._timers: dict[str, float | None] = dict.fromkeys(PEER)
        self._highest = dict.fromkeys(PEER, 0)
        self._link: list[tuple[float, int, str, bytes, int]] = []
        self._quiet = 0
        self._quiet_since = self.now

    @property
    def elapsed(self) -> float:
        return self.now - START

    def over_for_users(self) -> bool:
        """Both ends have read all there is: what befalls the connection now (a FIN that meets nobody) is no harm."""
        return len(self.apps) == 2 and all(
            app.read == self.plans[PEER[name]].octets and app.finished for name, app in self.apps.items()
        )

    def run(self) -> None:
        """From SYN to the end of TIME_WAIT."""
        a, b = self.stacks["a"], self.stacks["b"]
        listener = b.listen(80, self.now)
        self._change()
        if self.crowded:
            b.receive_datagram(encode(Segment(9, 80, 1, 0, SYN, 1000, mss=500)), "stray", self.now)
        self.apps["a"] = App(self, "a", self.plans["a"], a.connect("b", 80, self.now))
        end = self.now + self.limit
        while True:
            self._settle()
            if not listener.closed and (connection := listener.accept()) is not None:
                self.apps["b"] = App(self, "b", self.plans["b"], connection)
                listener.close(self.now)
                self._settle()
            if self.refused and self.apps["a"].connection.ended:
                return
            due = self._next()
            if due == math.inf:
                break
            if due > end:
                raise Broken(f"not over after {self.limit} s")
            self.now = max(self.now, due)
            self._happen()
        self.finish()

    def finish(self) -> None:
        for name, stack in self.stacks.items():
            left = [*stack.connections.values(), *stack.time_wait]
            if left or stack.next_timeout() is not None or stack.datagrams_to_send(self.now):
                raise Broken(f"{name}: in the end there are {left}, {stack.next_timeout()}")
            app = self.apps.get(name)
            if app is None:
                raise Broken(f"{name}: no connection ever came")
            peer = self.plans[PEER[name]]
            if app.read != peer.octets or not app.closed:
                raise Broken(f"{name}: {app.connection!r}: {app.read} of {peer.octets} octets")
            if app.connection.recovery.rack._departures:
                raise Broken(f"{name}: departures are left")
        again = sum(stack.counters.retrans_segs for stack in self.stacks.values())
        if self.tame and again > 2 * self.dropped + 40:
            raise Broken(f"{again} segments were sent again, and {self.dropped} dropped")

    @property
    def dropped(self) -> int:
        """Packets that both paths dropped, for whatever reason."""
        return sum(path.counts[kind] for path in self.paths.values() for kind in ("lost", "queue_full", "too_big"))

    @property
    def refused(self) -> bool:
        """The listener took a SYN cookie for none, and reset a connection whose user had not been told of it: because
        the cookie was too old when its first text got through, or because a bare ACK came behind text that was lost,
        which says too little."""
        counters = self.stacks["b"].counters
        return counters.syncookies_failed > 0 or (counters.syncookies_sent > 0 and "b" not in self.apps)

    @property
    def tame(self) -> bool:
        """Nothing but drops gives a reason to send anything again, and both ends can tell what was dropped."""
        return (
            not self.lag
            and self._one_path
            and all(app.connection.sack and app.connection.timestamps for app in self.apps.values())
            and all(stack.config.rto_min >= 0.2 for stack in self.stacks.values())
            and not any(path.conditions.reorder for path in self.paths.values())
        )

    # ------------------------------------------------------------------ time

    def _change(self) -> None:
        while self.changes and START + self.changes[0].time <= self.now:
            change = self.changes.pop(0)
            self.paths["a"].conditions = change.there
            self.paths["b"].conditions = change.back

    def _next(self) -> float:
        due = [app.wake() for app in self.apps.values()]
        due += [timer for timer in self._timers.values() if timer is not None]
        if self._link:
            due.append(self._link[0][0])
        if self.changes and (self._link or any(stack.connections for stack in self.stacks.values())):
            due.append(START + self.changes[0].time)
        return min(due, default=math.inf)

    def _happen(self) -> None:
        self._change()
        while self._link and self._link[0][0] <= self.now:
            _, _, name, datagram, ecn = heapq.heappop(self._link)
            if name not in self.stacks:
                continue
            if ecn == _ICMP:
                mtu = int.from_bytes(datagram[8:])
                self.stacks[name].path_error(PEER[name], EMSGSIZE, mtu, datagram[:8], self.now)
                continue
            self.watches[name].received = None
            self.stacks[name].receive_datagram(datagram, PEER[name], self.now, None, ecn)
            self.watches[name].received = None
        for name, stack in self.stacks.items():
            timer = self._timers[name]
            if timer is None or timer > self.now:
                continue
            self._timers[name] = None
            timeout = stack.next_timeout()
            if timeout is not None and timeout <= self.now:
                packets = self.packets
                stack.handle_timeout(self.now)
                self._flush(name)
                self._check_use(name, packets)

    def _check_use(self, name: str, packets: int) -> None:
        """A timer of `name` has fired; until then so many packets had been sent."""
        if packets != self.packets or self.now - self._quiet_since > 1.0:
            self._quiet = 0
            self._quiet_since = self.now
            return
        self._quiet += 1
        if self._quiet > QUIET:
            raise Broken(f"{name}: timers fire {QUIET} times within a second, and nothing comes of it")

    def _settle(self) -> None:
        """What a driver does after each event: users are told, segments leave, one timer is set."""
        for stack in self.stacks.values():
            stack.take_ready()
        for app in list(self.apps.values()):
            app.work()
        for name in PEER:
            self._flush(name)
            self._arm(name)
        self.check()

    def _arm(self, name: str) -> None:
        deadline, timer = self.stacks[name].next_timeout(), self._timers[name]
        if deadline is None or (timer is not None and timer <= deadline + RESOLUTION):
            return
        delay = max(1, math.ceil((deadline - self.now) / RESOLUTION)) * RESOLUTION
        self._timers[name] = self.now + delay

    def _flush(self, name: str) -> None:
        for transmit in self.stacks[name].datagrams_to_send(self.now):
            for datagram in transmit.datagrams():
                self.packets += 1
                self._put(name, str(transmit.remote), datagram, transmit.ecn)

    def _put(self, name: str, receiver: str, datagram: bytes, ecn: int) -> None:
        if len(datagram) > MTU:
            raise Broken(f"{name}: a datagram of {len(datagram)} octets")
        if ecn:
            self._check_ecn(name, decode(datagram))
        path = self.paths[name]
        carried = path.forward(len(datagram), self.now, ecn)
        for arrival in carried.arrivals:
            if self.lag:
                arrival = math.ceil(arrival / self.lag) * self.lag
            heapq.heappush(self._link, (arrival, self.packets, receiver, datagram, carried.ecn))
        fate = "too big" if carried.too_big else "CE" if carried.ecn == CE else ""
        self.trace.append((self.now, name, datagram, carried.arrivals, fate))
        if len(self.trace) > 2 * _SHOWN:
            del self.trace[:_SHOWN]
        if carried.too_big and path.conditions.icmp_too_big and receiver in PEER:
            said = datagram[:8] + (path.conditions.mtu - UDP_IP_HEADERS).to_bytes(2)
            heapq.heappush(self._link, (self.now + 0.001, self.packets, name, said, _ICMP))

    def _check_ecn(self, name: str, segment: Segment) -> None:
        connection = self.apps[name].connection if name in self.apps else None
        if connection is None:
            return
        end = diff(segment.seq, connection.send_side.iss) + len(segment.payload)
        probe = connection.send_side.probe
        if not connection.ecn or not segment.payload or probe or end <= self._highest[name]:
            raise Broken(f"{name}: {segment!r} claims to be ECN-capable")
        self._highest[name] = end

    # ------------------------------------------------------------------ what must hold

    def check(self) -> None:
        for name, stack in self.stacks.items():
            if not self.packets & 7:
                accounts.check(stack)
            for connection in stack.connections.values():
                if connection.remote != "stray":
                    self._check(name, connection)
            timeout = stack.next_timeout()
            timer = self._timers[name]
            if timeout is not None and timeout >= self.now and (timer is None or timer > timeout + 2 * RESOLUTION):
                raise Broken(f"{name}: nobody wakes it at {timeout}: {timer}")
            if stack.output or stack.datagrams_to_send(self.now):
                raise Broken(f"{name}: something is left to send right after a flush")

    def _check(self, name: str, connection: Connection) -> None:
        send, recovery, deadlines = connection.send_side, connection.recovery, connection.deadlines()
        board, congestion = recovery.board, connection.congestion
        if (send.iss + board.una) & MASK != send.snd_una or (send.iss + board.nxt) & MASK != send.snd_nxt:
            raise Broken(f"{name}: {connection!r}: the scoreboard is about something else")
        if len(board.runs()) < 24 or self.packets % 32 == 0:
            consistent(board)
        if recovery.in_flight < 0 or board.in_flight < 0:
            raise Broken(f"{name}: {recovery.in_flight} in flight")
        cwnd = congestion.cwnd
        if not congestion.mss <= cwnd < 1 << 40 or cwnd != cwnd:
            raise Broken(f"{name}: cwnd is {cwnd}, the MSS {congestion.mss}")
        differ = congestion.mss != connection.mss and congestion is not HANDSHAKE
        if differ or not 0 < connection.mss <= max(connection.path_mtu.limit, BASE):
            raise Broken(f"{name}: MSS {connection.mss}, {congestion.mss}, {connection.path_mtu.limit}")
        if not congestion.pacing_rate > 0 or not connection.pacer.rate > 0:
            raise Broken(f"{name}: pacing rate {congestion.pacing_rate}, {connection.pacer.rate}")
        if congestion.ssthresh < congestion.mss:
            raise Broken(f"{name}: ssthresh {congestion.ssthresh}")
        if recovery.window < 0:
            raise Broken(f"{name}: window {recovery.window}")
        receive = connection.receive_side
        if receive.readable > receive.limit + (1 << receive.shift) + 65535:
            raise Broken(f"{name}: {receive.readable} octets wait in a buffer of {receive.limit}")
        if not send.probe and send.snd_una != send.snd_nxt and deadlines[RETRANSMIT] == math.inf:
            raise Broken(f"{name}: {connection!r} waits for an ACK, and no timer runs: {deadlines}")
        if send.probe and deadlines[PERSIST] == math.inf:
            raise Broken(f"{name}: {connection!r} waits for a window, and no timer runs: {deadlines}")
        waits = min(deadlines[PERSIST], deadlines[PACING]) < math.inf
        if send.snd_una == send.snd_nxt and send.pending and connection.state != SYN_RCVD and not waits:
            raise Broken(f"{name}: {connection!r} has something to send, and no timer runs: {deadlines}")
        if connection.next_deadline() != min(deadlines):
            raise Broken(f"{name}: the next deadline is {connection.next_deadline()}, of {deadlines}")
        if min(deadlines) <= self.now - 3 * RESOLUTION:
            raise Broken(f"{name}: a timer was due at {min(deadlines) - START}, now {self.elapsed}")

    def history(self) -> str:
        """The last packets, for people who look at a failure."""
        isns = {name: app.connection.send_side.iss for name, app in self.apps.items()}
        lines = []
        for now, name, datagram, arrivals, fate in self.trace[-_SHOWN:]:
            segment = decode(datagram)
            mine, theirs = isns.get(name, 0), isns.get(PEER[name], 0)
            seq = diff(segment.seq, mine)
            ack = f"ack {diff(segment.ack, theirs)}" if segment.flags & ACK else ""
            sack = [f"{diff(left, theirs)}:{diff(right, theirs)}" for left, right in segment.sack_blocks]
            when = ", ".join(f"{arrival - START:.4f}" for arrival in arrivals) or "lost"
            lines.append(
                f"{now - START:11.4f} {name} {flag_names(segment.flags)} {seq}:{seq + segment.length} {ack}"
                f" win {segment.window} {' '.join(sack)} -> {when} {fate}"
            )
        lines.append(f"{self.elapsed:11.4f} now")
        for name, app in self.apps.items():
            connection = app.connection
            deadlines = [round(deadline - START, 3) for deadline in connection.deadlines()]
            lines.append(f"{name}: {app.written} written, {app.read} read, timers {deadlines}\n{connection.info()}")
        return "\n".join(lines)
