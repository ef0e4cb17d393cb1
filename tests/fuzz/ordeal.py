"""A stack in one of the eleven states, and what a fuzzer lets happen to it.

What arrives begins as a segment that is nearly right: numbers close to the edges that matter, then some octets changed.
After every step the stack's promises are checked; at the end, that everything ends.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from tests.contained import refuse
from tests.fuzz.source import Source
from tests.tcp import reach
from tests.tcp.script import MSS, Key, Script, Watch
from utcp.errors import AddressInUse, InvalidState
from utcp.tcp.connection import Connection
from utcp.tcp.state import CLOSED, ESTABLISHED, SYN_SENT
from utcp.tcp.transmit import Remote
from utcp.wire import RST, MalformedSegment, Segment, decode, encode
from utcp.wire.header import MAX_HEADER_LENGTH
from utcp.wire.seq import HALF, add, diff

MAX_STEPS: Final = 40
"""What a fuzzer adds beyond so many steps is left out: long inputs find little and take long."""

LONGEST_WAIT: Final = 60.0
"""No timer of the default configuration is set further ahead: 2 MSL, RTO and FIN_WAIT_2 are 60 s at most."""

MAX_TIMEOUTS: Final = 200
"""Enough for everything that is left at the end to give up."""

OPTIONS: Final = (f"mss {MSS}", f"mss {MSS},sackOK,ts 1000:0,wscale 7")


def _with_options(state: Callable[..., Script], **more: Any) -> Callable[..., Script]:
    return lambda options, **knobs: state(options=options, **more, **knobs)


def _without(state: Callable[..., Script]) -> Callable[..., Script]:
    return lambda options, **knobs: state(**knobs)


def _listening(**knobs: Any) -> Script:
    script = Script(**knobs)
    script.listen()
    return script


STATES: Final[tuple[Callable[..., Script], ...]] = (
    _without(reach.closed),
    _without(_listening),
    _without(reach.syn_sent),
    _with_options(reach.syn_rcvd),
    _without(reach.simultaneous_open),
    _with_options(reach.established),
    _with_options(reach.established, passive=True),
    _with_options(reach.fin_wait_1),
    _with_options(reach.fin_wait_2),
    _with_options(reach.fin_wait_2, half=True),
    _with_options(reach.close_wait),
    _with_options(reach.closing),
    _with_options(reach.last_ack),
    _with_options(reach.time_wait),
)

KNOBS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"timestamps": False, "sack": False, "window_scaling": False},
    {"syn_in_last_ack": "challenge", "rfc1337": False, "time_wait_reuse": False},
    {"recv_buffer": 2048, "send_buffer": 2048, "delayed_ack": 0.0},
    {"nodelay": False, "msl": 0.0},
)


class _Watch(Watch):
    """Tells two connections on the same ports apart: users may be slow to leave the old one."""

    def __init__(self, before: Watch) -> None:
        super().__init__()
        self.paths.update(before.paths)
        self._over: set[Connection] = set()

    def connection_ended(self, connection: Connection, now: float) -> None:
        if connection in self._over:
            self.violations.append(f"{connection} ended twice")
        self._over.add(connection)


class Ordeal:
    """One stack, what happens to it, and what must hold whatever that is."""

    def __init__(self, source: Source) -> None:
        self._source = source
        state, knobs, options = source.choice(STATES), source.choice(KNOBS), source.choice(OPTIONS)
        script = state(options, **knobs)
        self._flow = script.flow
        self._stack = script.stack
        self._watch = _Watch(script.watch)
        self._stack.observe(self._watch)
        self._now = script.now
        self._users = [script.connection] if hasattr(script, "connection") else []
        self._steps = 0
        self._edges: dict[Connection, tuple[int, int]] = {}
        self._check()

    def step(self) -> None:
        """Let one thing happen."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            self._source.octets(1 << 20)
            return
        self._source.choice(
            (
                self._segment_arrives,
                self._segment_arrives,
                self._segment_arrives,
                self._segment_arrives,
                self._segment_of_a_stranger,
                self._train_arrives,
                self._noise_arrives,
                self._time_passes,
                self._next_timeout,
                self._user_sends,
                self._user_reads,
                self._user_accepts,
                self._user_opens,
                self._user_shuts_down,
                self._user_closes,
                self._user_aborts,
            )
        )()

    def end(self) -> None:
        """The users close, the peers have fallen silent: all must come to an end, within a bound."""
        self._user_accepts()
        for listener in list(self._stack.listeners.values()):
            listener.close(self._now)
        for connection in self._users:
            connection.close(self._now)
        self._flush()
        for _ in range(MAX_TIMEOUTS):
            if self._stack.next_timeout() is None:
                break
            self._next_timeout()
        assert not self._stack.connections, f"left over: {list(self._stack.connections.values())}"
        assert not len(self._stack.time_wait)
        assert self._stack.next_timeout() is None
        assert all(connection.ended for connection in self._users)

    # --- what arrives

    def _segment_arrives(self) -> None:
        self._arrives(self._segment(self._flow.key), self._flow.remote)

    def _segment_of_a_stranger(self) -> None:
        """From another address, or another port of the peer's."""
        remote, remote_port, local_port = self._flow.key
        if self._source.choice((True, False)):
            remote = "stranger"
        else:
            remote_port = self._source.choice((remote_port + 1, 0, 65535))
        self._arrives(self._segment((remote, remote_port, local_port)), remote)

    def _train_arrives(self) -> None:
        segments = [self._segment(self._flow.key) for _ in range(2 + self._source.number(1) % 3)]
        self._arrives(b"".join(segments), self._flow.remote, len(segments[0]))

    def _noise_arrives(self) -> None:
        self._arrives(self._source.octets(self._source.number(1)), self._flow.remote)

    def _segment(self, key: Key) -> bytes:
        source = self._source
        connection, record = self._stack.connections.get(key), self._stack.time_wait.get(key)
        if connection is not None:
            receive, send = connection.receive_side, connection.send_side
            rcv_nxt, window, ts_recent = receive.rcv_nxt, receive.window, receive.ts_recent
            snd_una, snd_nxt = send.snd_una, send.snd_nxt
        elif record is not None:
            rcv_nxt, window, ts_recent = record.rcv_nxt, record.window, record.ts_recent
            snd_una = snd_nxt = record.snd_nxt
        else:
            rcv_nxt, window, ts_recent = self._flow.peer_iss, 0, 0
            snd_una = snd_nxt = self._flow.our_iss or 0
        segment = Segment(
            key[1],
            key[2],
            add(rcv_nxt, self._distance(window)),
            add(source.choice((snd_nxt, snd_una)), self._distance(window)),
            source.number(1),
            source.number(2),
            bytes(source.choice((0, 0, 0, 1, 2, 10, MSS, MSS + 1, source.number(2) % 4000))),
        )
        options = source.number(1)
        if options & 1:
            segment.mss = source.number(2)
        if options & 2:
            segment.window_scale = source.number(1)
        segment.sack_permitted = bool(options & 4)
        if options & 8 or (connection is not None and connection.timestamps and not options & 16):
            segment.ts_val = add(ts_recent, self._distance(window))
            segment.ts_ecr = source.number(4)
        for _ in range(options >> 6):
            left = add(snd_una, self._distance(window))
            segment.sack_blocks += ((left, add(left, self._distance(window))),)
        octets = bytearray(encode(segment))
        if options & 32:
            for _ in range(1 + source.number(1) % 3):
                octets[source.number(1) % min(len(octets), MAX_HEADER_LENGTH)] ^= source.number(1)
        return bytes(octets)

    def _distance(self, window: int) -> int:
        """How far from the number that is expected; half of the time it is that number."""
        near = (0, 0, 0, 0, 0, 0, 0, 0, 1, -1, 2, -2, 3, window - 1, window, window + 1)
        far = (-window, 1 - window, HALF - 1, HALF, 1000, -1000, 65535, -65536)
        tag = self._source.number(1)
        if tag < 192:
            return near[tag % len(near)]
        return far[tag % len(far)] if tag < 248 else self._source.number(4)

    def _arrives(self, data: bytes, remote: Remote, segment_size: int | None = None) -> None:
        stack = self._stack
        received = stack.counters.in_segs
        queued = sum(connection.send_queue for connection in stack.connections.values())
        expected = self._expected()
        stack.receive_datagram(data, remote, self._now, segment_size)
        received = stack.counters.in_segs - received
        sent = self._flush()
        expected |= self._expected()
        assert all(to == remote for to, _ in sent), "what arrives from one host is answered to another"
        assert sum(len(segment.payload) for _, segment in sent) <= queued
        if not queued:
            assert len(sent) <= 2 * received, f"{len(sent)} segments answer {received}"
        forged = [segment for to, segment in sent if (to, segment.dst_port, segment.src_port) not in expected]
        assert len(forged) <= received, f"{len(forged)} segments answer {received} of an unverified sender"
        assert not any(segment.payload for segment in forged), "data for an unverified sender"
        if _only_resets(data, segment_size):
            assert not any(segment.flags & RST for _, segment in sent), "a RST answers a RST"

    def _expected(self) -> set[Key]:
        """The conversations that are no forger's: we began them, or the peer acknowledged our SYN."""
        paths = self._watch.paths
        return {key for key, path in paths.items() if {SYN_SENT, ESTABLISHED} & set(path) and path[-1] != CLOSED}

    # --- time

    def _time_passes(self) -> None:
        """Some milliseconds, or a long time."""
        end = self._now + self._source.number(2) / 1000
        for _ in range(MAX_TIMEOUTS):
            due = self._stack.next_timeout()
            if due is None or due > end:
                break
            self._next_timeout()
        self._now = max(self._now, end)

    def _next_timeout(self) -> None:
        due = self._stack.next_timeout()
        if due is not None:
            self._now = max(self._now, due)
            self._stack.handle_timeout(self._now)
            self._flush()

    # --- what the users do

    def _user_sends(self) -> None:
        for connection in self._users:
            try:
                connection.send(bytes(self._source.choice((1, 10, MSS, 2 * MSS + 1, 5000))))
            except InvalidState:
                pass
        self._flush()

    def _user_reads(self) -> None:
        limit = self._source.choice((-1, 1, MSS))
        for connection in self._users:
            connection.read(limit)
        self._flush()

    def _user_accepts(self) -> None:
        for listener in self._stack.listeners.values():
            while (connection := listener.accept()) is not None:
                self._users.append(connection)

    def _user_opens(self) -> None:
        """Actively, between the ports of before."""
        remote, remote_port, local_port = self._flow.key
        try:
            connection = self._stack.connect(remote, remote_port, self._now, local_port=local_port)
        except AddressInUse:
            return
        self._users.append(connection)
        self._flush()

    def _user_shuts_down(self) -> None:
        for connection in self._users:
            try:
                connection.shutdown(self._now)
            except InvalidState:
                pass
        self._flush()

    def _user_closes(self) -> None:
        for connection in self._users:
            connection.close(self._now)
        self._flush()

    def _user_aborts(self) -> None:
        for connection in self._users:
            connection.abort(self._now)
        self._flush()

    # --- what must hold

    def _flush(self) -> list[tuple[Remote, Segment]]:
        """What leaves; then every promise that can be checked at any time."""
        sent = [
            (transmit.remote, decode(datagram))
            for transmit in self._stack.datagrams_to_send(self._now)
            for datagram in transmit.datagrams()
        ]
        assert not self._stack.datagrams_to_send(self._now), "asked again at once, it has more to send"
        for ready in self._stack.take_ready():
            if isinstance(ready, Connection):
                ready.take_events()
        self._check()
        return sent

    def _check(self) -> None:
        stack, now = self._stack, self._now
        refuse(stack)
        assert not self._watch.violations, self._watch.violations
        due = stack.next_timeout()
        if due is not None:
            assert isfinite(due)
            assert now < due <= now + LONGEST_WAIT + 1e-6, f"the next timeout is due in {due - now} s"
        edges = {}
        for key, connection in stack.connections.items():
            send, receive = connection.send_side, connection.receive_side
            assert connection.key == key
            assert connection.state != CLOSED
            assert key not in stack.time_wait
            assert 0 <= diff(send.snd_nxt, send.snd_una) <= send.queued - send.acked + 2
            assert diff(receive.rcv_adv, receive.rcv_nxt) >= 0
            assert receive.readable <= receive.limit
            edges[connection] = (send.snd_nxt, receive.rcv_adv)
            if connection in self._edges and receive.irs:
                snd_nxt, rcv_adv = self._edges[connection]
                assert diff(send.snd_nxt, snd_nxt) >= 0, "SND.NXT went back"
                assert not rcv_adv or diff(receive.rcv_adv, rcv_adv) >= 0, "the right window edge moved left"
        self._edges = edges


def _only_resets(data: bytes, segment_size: int | None) -> bool:
    """Whether all segments in the train have RST."""
    step = segment_size or max(len(data), 1)
    try:
        return all(decode(data[start : start + step]).flags & RST for start in range(0, max(len(data), 1), step))
    except MalformedSegment:
        return False
