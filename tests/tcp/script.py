"""Protocol tests as packet traces, in virtual time: one stack, its scripted peer, and what must hold of every trace."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest

from tests.contained import refuse
from tests.tcp.notation import FLAGS, Line, parse, stream
from utcp.config import Config
from utcp.tcp import event
from utcp.tcp.connection import Connection
from utcp.tcp.connection.info import ConnectionInfo
from utcp.tcp.listener import Listener
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, LISTEN, NAMES, TIME_WAIT, IllegalTransition, check
from utcp.tcp.transmit import Remote
from utcp.wire import ACK, PSH, RST, SYN, MalformedSegment, Segment, decode, encode
from utcp.wire.seq import add, diff

SECRET: Final = b"sixteen or more random octets"
START: Final = 1024.0
"""The stack's `now` when a script begins: not 0, which could pass for a missing value."""
PRECISION: Final = 1e-6
MSS: Final = 1000
"""Both ways, by `Config.mss` and by the peer's option: numbers that are easy to read."""
PEER_ISS: Final = 0xFFFFFF00
"""Every trace that carries more than 256 octets from the peer wraps its sequence numbers."""
MAX_STEPS: Final = 20_000

Key: TypeAlias = tuple[Remote, int, int]
"""(remote, remote port, local port): how a stack and a script know a conversation."""


class Flow:
    """One conversation of the scripted peer with the stack: both sides' numbers, and what must hold of every trace."""

    def __init__(self, script: "Script", remote: Remote, remote_port: int, local_port: int, peer_iss: int) -> None:
        self.script = script
        self.remote = remote
        self.remote_port = remote_port
        self.local_port = local_port
        self.window = 65535
        self.patterned = False
        self.begin(peer_iss)

    def begin(self, peer_iss: int) -> None:
        """The peer begins a new incarnation between the same ports: numbers start anew."""
        self.peer_iss = peer_iss
        self.incarnation = 0
        self.our_iss: int | None = None
        self.our_shift: int | None = None
        self.peer_shift: int | None = None
        self.snd_nxt = 0
        self.right_edge: int | None = None
        self.acked = 0
        """The last acknowledgement that has left."""
        self.syn_window = 0
        self.peer_window = 0
        """The window last offered by the peer, in octets from `peer_una` on."""
        self.peer_una = 1
        self.peer_seq: int | None = None
        """The highest acknowledgement that has arrived, and the SEQ of the segment that offered the window."""
        self.answered: set[int] = set()
        """SEG.ACK of each segment of the last batch: a RST that answers one of them takes its SEQ from there."""
        self.first_ts_val: int | None = None
        self.last_ts_val = 0
        self.peer_has_timestamps = False

    @property
    def key(self) -> Key:
        return self.remote, self.remote_port, self.local_port

    def receives(self, *lines: str) -> None:
        """These segments arrive, as one batch."""
        __tracebackhide__ = True
        self.script.deliver(self, [self.segment(line) for line in lines])

    def sends(self, *lines: str) -> list[Segment]:
        """Exactly these segments have left this flow, now; other flows are not looked at."""
        __tracebackhide__ = True
        return self.script.claim(lines, self.script.time, self)

    def silent(self) -> None:
        __tracebackhide__ = True
        self.sends()

    def seq(self, segment: Segment) -> int:
        """The relative sequence number of a segment that left."""
        return diff(segment.seq, self.our_iss or 0)

    def segment(self, text: str) -> Segment:
        """What the peer puts on the wire for a line."""
        line = parse(text)
        base = 0 if line.absolute else self.peer_iss
        seq, end = line.seq or 0, line.end or line.seq or 0
        segment = Segment(
            self.remote_port,
            self.local_port,
            add(base, seq),
            0 if line.ack is None else add(self.our_iss or 0, line.ack),
            line.flags,
            payload=stream(seq, end),
            mss=line.mss,
            window_scale=line.wscale,
            sack_permitted=line.sack_permitted,
        )
        window = self.window if line.win is None else line.win
        if line.flags & SYN:
            self.peer_shift = line.wscale
            self.peer_has_timestamps = line.ts is not None
        elif self.our_shift is not None and self.peer_shift is not None:
            window >>= min(self.peer_shift, 14)
        segment.window = min(window, 65535)
        if line.sack is not None:
            iss = self.our_iss or 0
            segment.sack_blocks = tuple((add(iss, left), add(iss, right)) for left, right in line.sack)
        if line.ts is not None or (self.peer_has_timestamps and not line.no_ts):
            value, echo = line.ts or (None, None)
            segment.ts_val = self.script.peer_clock() if value is None else value & 0xFFFFFFFF
            segment.ts_ecr = self.last_ts_val if echo is None else add(self.first_ts_val or 0, echo)
            if not line.flags & ACK:
                segment.ts_ecr = 0
        return segment

    def note_arrived(self, segment: Segment) -> None:
        """Learn from a segment of the peer what its window allows."""
        if segment.flags & ACK:
            self.answered.add(segment.ack)
        if segment.flags & RST or (self.our_iss is None and segment.flags & ACK):
            return
        seq = diff(segment.seq, self.peer_iss)
        if not segment.flags & ACK:
            if segment.flags & SYN:
                self.syn_window = segment.window
                if self.peer_seq is None:
                    self.peer_window = segment.window
            return
        if segment.flags & SYN and self.peer_seq is not None:  # challenged, and its ACK is not read (RFC 5961 4.2)
            return
        ack = diff(segment.ack, self.our_iss or 0)
        newer = ack > self.peer_una or self.peer_seq is None
        if ack == self.peer_una and self.peer_seq is not None:
            newer = seq >= self.peer_seq and seq + max(segment.length, 1) > self.acked  # not old text, nor a probe
        if newer and self.peer_una <= ack <= self.snd_nxt:
            self.peer_una, self.peer_seq, self.peer_window = ack, seq, self._octets(segment, outgoing=False)

    def _misplaced(self, seq: int) -> str | None:
        """What is wrong with the SEQ of a segment without new text: it is SND.NXT, or the right edge of the window that
        the peer offered last, if SND.NXT is beyond it. An edge that is less than a unit of the peer's window scale to
        the left of SND.NXT has been rounded down (RFC 7323 2.4)."""
        edge = self.peer_una + self.peer_window
        unit = 1 << min(self.peer_shift or 0, 14) if self.our_shift is not None and self.peer_window else 1
        right = edge if self.snd_nxt - edge >= unit else self.snd_nxt
        if seq in (right, right - self.script.keepalive):
            return None
        return f"an empty segment has SEQ {seq}; SND.NXT is {self.snd_nxt}, and the peer's window ends at {edge}"

    def note_sent(self, segment: Segment) -> str | None:
        """Learn our numbers from a segment that left; the rule it breaks, if it breaks one."""
        if segment.flags & SYN:
            incarnation = self.script.watch.incarnations.get(self.key, 0)
            if self.our_iss is None or self.incarnation != incarnation:
                self.incarnation = incarnation
                self.our_iss = segment.seq
                self.snd_nxt = 0
                self.right_edge = None
                self.peer_una, self.peer_seq, self.peer_window = 1, None, self.syn_window
            self.our_shift = segment.window_scale
        if segment.ts_val is not None:
            if self.first_ts_val is None:
                self.first_ts_val = segment.ts_val
            self.last_ts_val = segment.ts_val
        if self.our_iss is None:
            return None
        seq = diff(segment.seq, self.our_iss)
        if segment.flags & RST:
            in_reply = (
                segment.seq in self.answered or seq == self.peer_una or (segment.flags & ACK and segment.seq == 0)
            )
            return None if in_reply else self._misplaced(seq)
        if self.patterned and segment.payload != stream(seq, seq + len(segment.payload)):
            return "payload is not what was written there"
        if segment.length == 0 and (misplaced := self._misplaced(seq)) is not None:
            return misplaced
        self.snd_nxt = max(self.snd_nxt, seq + segment.length)
        if segment.flags & ACK:
            self.acked = diff(segment.ack, self.peer_iss)
            edge = self.acked + self._octets(segment, outgoing=True)
            if self.right_edge is not None and edge < self.right_edge:
                return f"the right edge of the offered window moves left, from {self.right_edge} to {edge}"
            self.right_edge = edge
        return None

    def matches(self, line: Line, segment: Segment) -> bool:
        """Whether a segment that left is what an expectation says."""
        ignored = 0 if line.flags & PSH else PSH
        if line.ack_free:
            ignored |= ACK
        iss, peer_iss = self.our_iss or 0, self.peer_iss
        seq = segment.seq if line.absolute else diff(segment.seq, iss)
        ts_val, ts_ecr = line.ts or (None, None)
        return (
            (segment.flags & ~ignored == line.flags & ~ignored)
            and line.seq in (None, seq)
            and line.end in (None, seq + len(segment.payload))
            and line.ack in (None, diff(segment.ack, peer_iss))
            and line.win in (None, self._octets(segment, outgoing=True))
            and line.mss in (None, segment.mss)
            and line.wscale in (None, segment.window_scale)
            and (segment.sack_permitted or not line.sack_permitted)
            and line.sack in (None, tuple((diff(a, peer_iss), diff(b, peer_iss)) for a, b in segment.sack_blocks))
            and (segment.ts_val is not None or line.ts is None)
            and ts_val in (None, diff(segment.ts_val or 0, self.first_ts_val or 0))
            and ts_ecr in (None, segment.ts_ecr)
            and not (line.no_ts and segment.ts_val is not None)
        )

    def describe(self, segment: Segment, *, outgoing: bool) -> str:
        """A segment as a line of the trace."""
        ours, theirs = self.our_iss or 0, self.peer_iss
        seq_base, ack_base = (ours, theirs) if outgoing else (theirs, ours)
        seq = diff(segment.seq, seq_base)
        mark = ""
        if segment.flags & RST and segment.seq == 0 != seq:
            seq, mark = 0, "#"
        text = "".join(letter for letter, bit in FLAGS.items() if segment.flags & bit) or "-"
        text += f" {mark}{seq}:{mark}{seq + len(segment.payload)}"
        if segment.flags & ACK:
            text += f" ack {diff(segment.ack, ack_base)}"
        text += f" win {self._octets(segment, outgoing=outgoing)}"
        options = []
        if segment.mss is not None:
            options.append(f"mss {segment.mss}")
        if segment.window_scale is not None:
            options.append(f"wscale {segment.window_scale}")
        if segment.sack_permitted:
            options.append("sackOK")
        if segment.sack_blocks:
            blocks = (f"{diff(a, ack_base)}:{diff(b, ack_base)}" for a, b in segment.sack_blocks)
            options.append("sack " + " ".join(blocks))
        if segment.ts_val is not None and segment.ts_ecr is not None:
            first = self.first_ts_val or 0
            value = diff(segment.ts_val, first) if outgoing else segment.ts_val
            echo = segment.ts_ecr if outgoing or not segment.flags & ACK else diff(segment.ts_ecr, first)
            options.append(f"ts {value}:{echo}")
        return text + (f" <{','.join(options)}>" if options else "")

    def _octets(self, segment: Segment, *, outgoing: bool) -> int:
        if segment.flags & SYN or self.our_shift is None or self.peer_shift is None:
            return segment.window
        return segment.window << min(self.our_shift if outgoing else self.peer_shift, 14)


class Watch(Observer):
    """What must hold whatever happens: only the table's transitions, in an unbroken path; one end per connection."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.paths: dict[Key, list[int]] = {}
        self.incarnations: Counter[Key] = Counter()
        self._ended: set[Key] = set()

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        key = _key(connection)
        path = self.paths.setdefault(key, [])
        try:
            check(before, after)
        except IllegalTransition as error:
            self.violations.append(str(error))
        if before in (CLOSED, LISTEN):
            path[:] = [before]
            self.incarnations[key] += 1
            self._ended.discard(key)
        elif not path or path[-1] != before:
            self.violations.append(f"the path {_names(path)} goes on with {NAMES[before]} -> {NAMES[after]}")
        path.append(after)

    def connection_ended(self, connection: Connection, now: float) -> None:
        key = _key(connection)
        if key in self._ended:
            self.violations.append(f"{key} ended twice")
        self._ended.add(key)

    def time_wait_ended(self, remote: Remote, remote_port: int, local_port: int, now: float) -> None:
        path = self.paths.get((remote, remote_port, local_port), [])
        if path and path[-1] == TIME_WAIT:
            path.append(CLOSED)


def _key(connection: Connection) -> Key:
    return connection.remote, connection.remote_port, connection.local_port


def _names(states: Iterable[int]) -> str:
    return " ".join(NAMES[state] for state in states)


@dataclass(frozen=True, slots=True)
class Left:
    """A segment that left the stack, and when."""

    time: float
    flow: Flow
    segment: Segment


class Script:
    """One stack, its scripted peer, and the trace so far. `knobs` are fields of Config; keepalive is off by default, so
    that traces show what they are about."""

    connection: Connection
    listener: Listener
    flow: Flow

    def __init__(
        self,
        *,
        mtu: int | None = None,
        host: Callable[[Remote], Hashable] | None = None,
        secret: bytes = SECRET,
        start: float = START,
        **knobs: Any,
    ) -> None:
        self.start = self.now = start
        self.watch = Watch()
        self.mtu = mtu or 0
        """What the link says that a datagram may hold; without one the stack has its own idea."""
        self.stack = Stack(
            Config(**{"mss": MSS, "keepalive": False, **knobs}),
            secret=secret,
            mtu=None if mtu is None else lambda remote: self.mtu,
            host=host,
            observer=self.watch,
        )
        self.flush = self.stack.datagrams_to_send
        """How segments are fetched: a test may look at what the trace does not show."""
        self.keepalive = self.stack.config.keepalive
        """Keepalive probes, whose SEQ is SND.NXT - 1, may leave."""
        self.trace: list[str] = []
        self._flows: dict[Key, Flow] = {}
        self._left: list[Left] = []
        self._only_resets_arrived = False
        self._events = 0
        self._written = 1
        self._read = 1

    @property
    def time(self) -> float:
        """Seconds since the script began."""
        return self.now - self.start

    # --- what the user does

    def connect(self, *, local_port: int | None = 50000, remote_port: int = 80, remote: Remote = "peer") -> Connection:
        self.connection = self.stack.connect(remote, remote_port, self.now, local_port=local_port)
        self.flow = self.flow_to(remote_port, self.connection.local_port, remote=remote)
        return self.connection

    def listen(self, *, local_port: int = 80, remote_port: int = 50000, backlog: int = 100) -> Listener:
        self.listener = self.stack.listen(local_port, self.now, backlog=backlog)
        self.flow = self.flow_to(remote_port, local_port)
        return self.listener

    def accept(self) -> Connection:
        connection = self.listener.accept()
        assert connection is not None, self._report("nothing to accept")
        self.connection = connection
        return connection

    def write(self, octets: int) -> int:
        """Send the next octets of our stream; what leaves is then compared with it."""
        self.flow.patterned = True
        taken = self.connection.send(stream(self._written, self._written + octets))
        self._written += taken
        return taken

    def read(self, limit: int = -1) -> int:
        """Read, compare with the peer's stream, and say how many octets came."""
        data = self.connection.read(limit)
        assert data == stream(self._read, self._read + len(data)), self._report("read what the peer never sent there")
        self._read += len(data)
        return len(data)

    def shutdown(self) -> None:
        self.connection.shutdown(self.now)

    def close(self) -> None:
        self.connection.close(self.now)

    def abort(self) -> None:
        self.connection.abort(self.now)

    # --- what the network does

    def flow_to(self, remote_port: int, local_port: int, *, remote: Remote = "peer", peer_iss: int = PEER_ISS) -> Flow:
        """The conversation between these ports."""
        key = (remote, remote_port, local_port)
        if key not in self._flows:
            self._flows[key] = Flow(self, remote, remote_port, local_port, peer_iss)
        return self._flows[key]

    def receives(self, *lines: str) -> None:
        """These segments arrive now, as one batch. Whatever left before must have been expected."""
        __tracebackhide__ = True
        self.flow.receives(*lines)

    def receives_bytes(self, data: bytes, segment_size: int | None = None) -> None:
        """This datagram, or train of them, arrives now."""
        __tracebackhide__ = True
        self._flush()
        self._nothing_unexpected()
        self.trace.append(f"{self.time:9.3f} < {len(data)} octets: {data[:32].hex()}")
        self._only_resets_arrived = False
        self.flow.answered.clear()
        for start in range(0, len(data), segment_size or max(len(data), 1)):
            with suppress(MalformedSegment):
                segment = decode(data[start : start + (segment_size or len(data))])
                self.flow_to(segment.src_port, segment.dst_port, remote=self.flow.remote).note_arrived(segment)
        self.stack.receive_datagram(data, self.flow.remote, self.now, segment_size)

    def sends(self, *lines: str) -> list[Segment]:
        """Exactly these segments have left, now."""
        __tracebackhide__ = True
        return self.claim(lines, self.time)

    def silent(self) -> None:
        """Nothing has left."""
        __tracebackhide__ = True
        self.sends()

    def drain(self) -> list[Segment]:
        """Whatever has left: for the parts of a trace where a stack is free."""
        __tracebackhide__ = True
        self._flush()
        segments = [left.segment for left in self._left]
        self._left.clear()
        return segments

    def advance(self, seconds: float) -> None:
        """Time passes, timers run; what leaves on the way waits to be claimed."""
        __tracebackhide__ = True
        self._run_until(self.now + seconds)

    def sends_at(self, time: float, *lines: str) -> list[Segment]:
        """Time passes until `time` after the beginning; exactly these segments leave then, and nothing before."""
        __tracebackhide__ = True
        self._run_until(self.start + time + PRECISION / 2)
        return self.claim(lines, time)

    def sends_after(self, seconds: float, *lines: str) -> list[Segment]:
        """As `sends_at`, counted from now."""
        __tracebackhide__ = True
        return self.sends_at(self.time + seconds, *lines)

    def silent_for(self, seconds: float) -> None:
        __tracebackhide__ = True
        self.advance(seconds)
        self.silent()

    def peer_clock(self) -> int:
        """The timestamp an ordinary peer would send now."""
        return 1000 + round(self.time * 1000)

    # --- what can be seen

    @property
    def state(self) -> int:
        """The state of the connection between the script's ports, TIME_WAIT and CLOSED included."""
        if self.flow.key in set(self.stack.time_wait):
            return TIME_WAIT
        path = self.watch.paths.get(self.flow.key)
        state = path[-1] if path else CLOSED
        live = self.stack.connections.get(self.flow.key)
        assert live is None or live.state == state, self._report("the observer saw another state")
        return state

    @property
    def path(self) -> tuple[int, ...]:
        return tuple(self.watch.paths[self.flow.key])

    @property
    def info(self) -> ConnectionInfo:
        return self.connection.info()

    @property
    def events(self) -> int:
        """Everything that the user was told so far, as bits of utcp.tcp.event."""
        self._events |= self.connection.take_events()
        return self._events

    @property
    def ended(self) -> bool:
        return bool(self.events & event.ENDED)

    @property
    def error(self) -> OSError | None:
        """Why the connection ended; it must have."""
        assert self.ended, self._report("the user was not told of an end")
        return self.connection.error

    # --- the machinery

    def deliver(self, flow: Flow, segments: list[Segment]) -> None:
        __tracebackhide__ = True
        self._flush()
        self._nothing_unexpected()
        self._only_resets_arrived = all(segment.flags & RST for segment in segments)
        flow.answered.clear()
        for segment in segments:
            self.trace.append(f"{self.time:9.3f} < {flow.describe(segment, outgoing=False)}")
            flow.note_arrived(segment)
            self.stack.receive_datagram(encode(segment), flow.remote, self.now)

    def claim(self, lines: Iterable[str], time: float, flow: Flow | None = None) -> list[Segment]:
        __tracebackhide__ = True
        self._flush()
        claimed = [left for left in self._left if flow is None or left.flow is flow]
        expected = list(lines)
        right = len(claimed) == len(expected) and all(
            left.flow is (flow or self.flow)
            and abs(left.time - time) <= PRECISION
            and left.flow.matches(parse(line), left.segment)
            for line, left in zip(expected, claimed, strict=True)
        )
        if not right:
            wanted = "\n".join(f"    {time:9.3f} > {line}" for line in expected) or "    nothing"
            got = "\n".join(f"    {self._line(left)}" for left in claimed) or "    nothing"
            pytest.fail(self._report(f"expected\n{wanted}\n  got\n{got}"))
        self._left = [left for left in self._left if flow is not None and left.flow is not flow]
        return [left.segment for left in claimed]

    def _run_until(self, end: float) -> None:
        __tracebackhide__ = True
        self._flush()
        for _ in range(MAX_STEPS):
            due = self.stack.next_timeout()
            if due is None or due > end:
                self.now = max(self.now, end)
                return
            self.now = max(self.now, due)
            self.stack.handle_timeout(self.now)
            self._only_resets_arrived = False
            self._flush()
        pytest.fail(self._report(f"{MAX_STEPS} timeouts until {self.time:.6f}: a timer that does not move on"))

    def _flush(self) -> None:
        __tracebackhide__ = True
        self.stack.take_ready()
        broken = None
        for transmit in self.flush(self.now):
            for datagram in transmit.datagrams():
                segment = decode(datagram)
                flow = self.flow_to(segment.dst_port, segment.src_port, remote=transmit.remote)
                broken = flow.note_sent(segment) or broken
                left = Left(self.time, flow, segment)
                self.trace.append(self._line(left))
                self._left.append(left)
                if self._only_resets_arrived and segment.flags & RST:
                    broken = "a RST is answered with a RST"
        refuse(self.stack)
        if broken is None and self.watch.violations:
            broken = "; ".join(self.watch.violations)
        if broken is None and self.stack.datagrams_to_send(self.now):
            broken = "asked again at once, the stack has more to send"
        if broken:
            pytest.fail(self._report(broken))

    def _nothing_unexpected(self) -> None:
        __tracebackhide__ = True
        if self._left:
            got = "\n".join(f"    {self._line(left)}" for left in self._left)
            pytest.fail(self._report(f"nobody expected\n{got}"))

    def _line(self, left: Left) -> str:
        line = f"{left.time:9.3f} > {left.flow.describe(left.segment, outgoing=True)}"
        if left.flow is not self.flow:
            line += f"   (port {left.flow.local_port} to {left.flow.remote} {left.flow.remote_port})"
        return line

    def _report(self, what: str) -> str:
        return f"{what}\n  the trace so far\n" + "\n".join(f"    {line}" for line in self.trace[-60:])
