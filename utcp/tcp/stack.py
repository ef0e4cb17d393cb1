"""The stack: dispatches segments to connections, and owns connections, listeners, TIME_WAIT, ports and timers.

It implements OPEN (RFC 9293 3.10.1) and SEGMENT ARRIVES for CLOSED (3.10.7.1) and for TIME_WAIT, which has no TCB.
`Listener` implements SEGMENT ARRIVES for LISTEN.
"""

from collections.abc import Callable, Hashable, Iterable
from errno import ECONNREFUSED, EMSGSIZE
from math import inf
from struct import Struct
from typing import Any, Final

from utcp._compiled import mypyc_attr
from utcp.config import Config
from utcp.errors import AddressInUse, AddressNotAvailable, ConnectionRefused, LimitReached, PathUnreachable
from utcp.tcp.accounts import HALF_OPEN, IDLE, max_records
from utcp.tcp.admission import Admission
from utcp.tcp.connection import Connection, path_errors
from utcp.tcp.connection.arrival import segment_arrives
from utcp.tcp.connection.context import Accepting, Context
from utcp.tcp.connection.fast_path import takes_fast_path
from utcp.tcp.connection.output import transmit
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.connection.timeouts import handle_timeout
from utcp.tcp.counters import Counters
from utcp.tcp.failures import MAX_FAILURES, Failure, fail
from utcp.tcp.listener import Listener
from utcp.tcp.memory import Memory
from utcp.tcp.observer import Observer, Tee
from utcp.tcp.ports import EphemeralPorts, check_port
from utcp.tcp.rate_limit import TokenBucket
from utcp.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.tcp.time_wait import ConnectionKey, TimeWait, TimeWaitTable
from utcp.tcp.time_wait_arrival import REOPENS, STAYS, arrives_in_time_wait
from utcp.tcp.timers import TimerQueue
from utcp.tcp.transmit import Remote, Transmit, address_text
from utcp.wire import ACK, FIN, HEADER_LENGTH, PSH, RST, MalformedSegment, Segment, decode
from utcp.wire.header import PLAIN_HEADER_WITH_TIMESTAMPS
from utcp.wire.options import ALIGNED_TIMESTAMPS
from utcp.wire.segment import CONGESTION_EXPERIENCED, LENGTH_WITH_TIMESTAMPS, VIEW_ABOVE
from utcp.wire.train import MAX_SEGMENTS, Train, read_train

_ETHERNET_UDP_PAYLOAD: Final = 1472
_UNASKED_UDP_PAYLOAD: Final = 1452
"""The UDP payload of an Ethernet frame over IPv6, octets. It fits over IPv4 as well."""
_MAX_MSS: Final = 65495
_UNVERIFIED_ROUTES_PER_SECOND: Final = 1000.0
_PORTS_AND_SEQ: Final = Struct("!HHI")
_PLAIN: Final = (LENGTH_WITH_TIMESTAMPS << 10) | ACK
"""Data offset and flags of most segments, as one field of the header, without PSH and FIN."""
_NOT_PSH_OR_FIN: Final = 0xFFFF ^ (PSH | FIN)


@mypyc_attr(allow_interpreted_subclasses=True)  # for tests
class Stack(Context[Tcb]):
    """A TCP without a socket or a clock: datagrams and the time go in, datagrams and the next deadline come out.

    `now` is in seconds and must not decrease. The same secret and the same calls produce the same bytes.

    Args:
        config: the configuration; None: the defaults.
        secret: at least 16 random octets, the key of ISNs, timestamp offsets and ephemeral ports.
        mtu: returns the largest UDP payload towards a remote, octets. A segment takes the whole payload.
        host: returns the host of a remote; None: each remote is a host of its own.
        default_mss: the send MSS if the peer sends no MSS option, octets: 536 over IPv4, 1220 over IPv6 (MUST-15).
        observer: receives the stack's reports.
        max_train_segments: the largest number of segments in one train, at most 128.
        max_train_bytes: the largest size of one train, octets.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        secret: bytes,
        mtu: Callable[[Remote], int] | None = None,
        host: Callable[[Remote], Hashable] | None = None,
        default_mss: int = 536,
        observer: Observer | None = None,
        max_train_segments: int = 64,
        max_train_bytes: int = 65507,
    ) -> None:
        if len(secret) < 16:
            raise ValueError(f"secret must be 16 random octets or more, not {len(secret)}")
        config = config if config is not None else Config()
        counters = Counters()
        self.time_wait = TimeWaitTable(2 * config.msl, max_records(config.max_memory), counters)
        memory = Memory(config.max_memory, self.time_wait, counters)
        segments = min(max_train_segments, MAX_SEGMENTS)
        super().__init__(config, default_mss, counters, memory, secret, segments, max_train_bytes)
        self.memory = memory
        """The memory charges, the same object as `accounts`."""
        self.failures: list[Failure] = []
        """The failures that the next call of `take_failures` returns."""
        self._tap: Tee | None = None
        """The observer if it sees segments, else None."""
        self.observe(observer)
        self.connections: dict[ConnectionKey, Connection] = {}
        """The connections by (remote, remote port, local port), except those in TIME_WAIT."""
        self._opening: dict[tuple[Remote, int], dict[Tcb, None]] = {}
        """The connections in SYN_SENT, by (remote, remote port)."""
        self.listeners: dict[int, Listener] = {}
        self._unaccepted: dict[Tcb, Accepting[Tcb]] = {}
        """The listener of each connection whose handshake is under way."""
        self.admission = Admission(config, memory, counters, self.connections, host)
        self._timers = TimerQueue()
        self._route_questions = TokenBucket(_UNVERIFIED_ROUTES_PER_SECOND, _UNVERIFIED_ROUTES_PER_SECOND)
        self._last_asked: Remote | None = None
        self._searches = TokenBucket(1.0, 10.0)
        self._ports = EphemeralPorts(*self.config.ephemeral_ports, secret)
        self._mtu = mtu

    def observe(self, observer: Observer | None) -> None:
        """Report to `observer` only from now on; None: to no observer.

        An observer that raises an Exception is not called again, and the exception is added to `failures`.
        """
        self._watch(() if observer is None else (observer,))

    def observe_also(self, observer: Observer) -> None:
        """Add `observer` to the observers."""
        self._watch((*self.observers, observer))

    def observe_no_more(self, observer: Observer) -> None:
        """Remove `observer` from the observers. An observer may call this while it is being called."""
        gone = Tee(observer).observers
        self._watch(tuple([other for other in self.observers if all(other is not part for part in gone)]))

    @property
    def observers(self) -> tuple[Observer, ...]:
        """The observers that the stack reports to."""
        return () if self.observer is None else self.observer.observers

    def _watch(self, observers: tuple[Observer, ...]) -> None:
        tee = Tee(*observers, failed=self._observer_failed) if observers else None
        self.observer = tee
        self.routine_observer = tee if tee is not None and tee.sees_routine else None
        self._tap = tee if tee is not None and tee.sees_segments else None
        self._outbox.show(self._tap)
        self._answers.show(self._tap)

    def _observer_failed(self, observer: Observer, error: Exception) -> None:
        self.observe_no_more(observer)
        self._note_failure(f"an observer failed, and is not called again: {type(observer).__name__}", error)

    # ------------------------------------------------------------------ opening

    def connect(
        self,
        remote: Remote,
        remote_port: int,
        now: float,
        *,
        local_port: int | None = None,
        context: object = None,
        config: Config | None = None,
    ) -> Connection:
        """Open a connection actively (OPEN, RFC 9293 3.10.1) and return it.

        Args:
            remote: the address of the peer.
            remote_port: the peer's TCP port.
            now: the stack's time, seconds.
            local_port: the local TCP port; None: an ephemeral port (RFC 6056).
            context: the caller's object, kept as `Connection.context`.
            config: the configuration of this connection; None: the stack's.

        Raises:
            AddressInUse: a connection or a TIME_WAIT record towards this remote uses `local_port`.
            AddressNotAvailable: every ephemeral port is in use towards this remote.
            LimitReached: `Config.max_memory` or `max_connections` forbids another connection.
            ValueError: a port is outside 1..65535, or `config` differs from the stack's in a field that all
                connections share.
        """
        check_port(remote_port)
        if config is not None:
            config.check_shares(self.config)
        if not self.memory.room or self.admission.limited:
            limit = self.admission.refusal(None)
            if limit:
                self.refused(limit, remote, now)
                raise LimitReached(limit)
        if local_port is None:
            local_port = self._ephemeral_port(remote, remote_port, now)
        else:
            check_port(local_port)
            self._expire_time_wait(now)
            self._check_free((remote, remote_port, local_port), now)
        key = (remote, remote_port, local_port)
        iss, ts_offset = self.sequence_numbers.initial(remote, remote_port, local_port, now)
        config = config or self.config
        receive_mss = self.receive_mss(remote, config)
        connection = Connection(self, key, config, iss, ts_offset, now, context, receive_mss)
        self.connections[connection.key] = connection
        self.counters.active_opens += 1
        try:
            self._opening.setdefault((remote, remote_port), {})[connection] = None
            self.memory.charge(connection, IDLE)
            connection.open_actively(now)
        except BaseException:
            connection.drop_half_open(now)
            self.settle(connection, now)
            raise
        return connection

    def listen(self, local_port: int, now: float, *, backlog: int = 100, context: object = None) -> Listener:
        """Listen on a port (passive OPEN, RFC 9293 3.10.1) and return the listener.

        Args:
            local_port: the local TCP port; 0: an ephemeral port.
            now: the stack's time, seconds.
            backlog: the number of connections that may wait for `accept`.
            context: the caller's object, kept as `Listener.context`.

        Raises:
            AddressInUse: the port has a listener (MUST-41).
            AddressNotAvailable: `local_port` is 0 and every ephemeral port has a listener.
            ValueError: the port is invalid, or the backlog is below 1.
        """
        if backlog < 1:
            raise ValueError(f"backlog must be 1 or more, not {backlog}")
        if local_port == 0:
            # A listener may share its port with connections (RFC 9293 3.9.1.1, MUST-42).
            chosen, _ = self._ports.choose("", 0, lambda port: inf if port in self.listeners else 0.0, now)
            if chosen is None:
                raise AddressNotAvailable("every ephemeral port is in use: none is left to listen on")
            local_port = chosen
        check_port(local_port)
        if local_port in self.listeners:
            raise AddressInUse(f"port {local_port} is being listened on: close that listener first")
        listener = Listener(self, local_port, backlog, self.config.syn_backlog, context)
        self.listeners[local_port] = listener
        return listener

    def _ephemeral_port(self, remote: Remote, remote_port: int, now: float) -> int:
        def free_at(port: int) -> float:
            key = (remote, remote_port, port)
            if key in self.connections or port in self.listeners:
                return inf
            record = self.time_wait.get(key)
            if record is None:
                return 0.0
            if record.expires <= now:
                self._expire_time_wait(now)
            return record.expires

        port, when = self._ports.choose(remote, remote_port, free_at, now)
        if port is not None:
            return port
        self.counters.ports_exhausted += 1
        if self.observer is not None:
            self.observer.ports_exhausted(remote, remote_port, now)
        seconds = None if when is None else when - now
        first, last = self.config.ephemeral_ports
        hint = "close one" if seconds is None else f"TIME_WAIT frees one in {seconds:.3f} seconds"
        raise AddressNotAvailable(
            f"every ephemeral port ({first} to {last}) is in use towards {_peer(remote, remote_port)}: {hint}", seconds
        )

    def _check_free(self, key: ConnectionKey, now: float) -> None:
        remote, remote_port, local_port = key
        if key in self.connections:
            raise AddressInUse(f"port {local_port} is in use by a connection to {_peer(remote, remote_port)}")
        seconds = self.time_wait.seconds_left(key, now)
        if seconds is not None:
            raise AddressInUse(
                f"port {local_port} is in TIME_WAIT towards {_peer(remote, remote_port)}"
                f" for another {seconds:.3f} seconds",
                seconds,
            )

    # ------------------------------------------------------------------ datagrams in

    def receive_datagram(
        self, data: bytes | memoryview, remote: Remote, now: float, segment_size: int | None = None, ecn: int = 0
    ) -> None:
        """Process a datagram, or a train of datagrams, from `remote`.

        A datagram that is not a TCP segment is dropped and counted (`counters.in_errs`).

        Args:
            data: the payload. `bytes` may be kept; any other buffer is copied.
            remote: the sender's address.
            now: the stack's time, seconds.
            segment_size: the size of each datagram of a train, octets; the last one may be shorter. None: one datagram.
            ecn: the ECN codepoint of the IP header.
        """
        if not isinstance(data, bytes):
            data = bytes(data)
        size = len(data)
        if segment_size is None or size <= segment_size:
            self._segment_arrives(data, 0, size, remote, now, ecn)
            return
        if self._tap is None and ecn != CONGESTION_EXPERIENCED:
            train = read_train(data, segment_size)
            if train is not None:
                self._train_arrives(train, data, remote, now, segment_size, ecn)
                return
        self._segments_arrive(data, 0, size, remote, now, segment_size, ecn)

    def _train_arrives(self, train: Train, data: bytes, remote: Remote, now: float, step: int, ecn: int) -> None:
        """Process a train: each stretch as one segment if the fast path takes it, else segment by segment."""
        first = 0
        while first < train.segments:
            end = train.stretch(first)
            if end - first > 1 and train.is_plain(first):
                segment = train.segment(first, end)
                if self._takes_fast_path(segment, remote, now, end - first, train.size):
                    self.counters.in_segs += end - first
                    first = end
                    continue
            self._segments_arrive(data, first * step, min(end * step, len(data)), remote, now, step, ecn)
            first = end
        if first * step < len(data):
            self._segments_arrive(data, first * step, len(data), remote, now, step, ecn)

    def _segments_arrive(
        self, data: bytes, start: int, stop: int, remote: Remote, now: float, step: int, ecn: int
    ) -> None:
        """Process the segments in `data[start:stop]`. Each has `step` octets; the last may have fewer."""
        while start < stop:
            end = min(start + step, stop)
            self._segment_arrives(data, start, end, remote, now, ecn)
            start = end

    def _segment_arrives(self, data: bytes, start: int, end: int, remote: Remote, now: float, ecn: int) -> None:
        """Process the segment in `data[start:end]`."""
        self.counters.in_segs += 1
        # A view keeps the whole train in memory, uncounted by any window, so a small part of it is copied.
        view = end - start > VIEW_ABOVE and 2 * (end - start) >= len(data) and self._tap is None
        begin = start + LENGTH_WITH_TIMESTAMPS
        if begin <= end and self._tap is None and ecn != CONGESTION_EXPERIENCED:
            src_port, dst_port, seq, ack, flags, window, kinds, ts_val, ts_ecr = (
                PLAIN_HEADER_WITH_TIMESTAMPS.unpack_from(data, start)
            )
            if flags & _NOT_PSH_OR_FIN == _PLAIN and kinds == ALIGNED_TIMESTAMPS:  # as in nearly every segment
                connection = self.connections.get((remote, src_port, dst_port))
                if connection is not None:
                    text = memoryview(data)[begin:end] if view else data[begin:end]
                    try:
                        if takes_fast_path(connection, seq, ack, flags & FIN, window, ts_val, ts_ecr, text, now):
                            return
                    except BaseException as cause:
                        if not self.contain(connection, cause, now):
                            raise
                        return
        try:
            segment = decode(data, start, end, view, ecn)
        except MalformedSegment as error:
            self.counters.in_errs += 1
            if self.routine_observer is not None:
                self.routine_observer.malformed(remote, str(error), now)
            return
        tap = self._tap
        if tap is not None:
            tap.segment_received(remote, segment, now)
        if (segment.ts_val is None or tap is not None) and self._takes_fast_path(segment, remote, now):
            return
        key = (remote, segment.src_port, segment.dst_port)
        connection = self.connections.get(key)
        if connection is None:
            self._arrives_without_tcb(segment, key, remote, now)
            return
        try:
            segment_arrives(connection, segment, now)
            self.settle(connection, now)
        except BaseException as cause:
            if not self.contain(connection, cause, now):
                raise

    def _takes_fast_path(self, segment: Segment, remote: Remote, now: float, count: int = 1, size: int = 0) -> bool:
        """Process a decoded segment, or a stretch of `count` segments of `size` octets, if its connection takes it on
        the fast path. Return False if nothing was done."""
        connection = self.connections.get((remote, segment.src_port, segment.dst_port))
        if (
            connection is None
            or segment.flags & ~(PSH | FIN) != ACK
            or segment.sack_blocks
            or segment.ecn == CONGESTION_EXPERIENCED
        ):
            return False
        try:
            return takes_fast_path(
                connection,
                segment.seq,
                segment.ack,
                segment.flags & FIN,
                segment.window,
                segment.ts_val,
                segment.ts_ecr,
                segment.payload,
                now,
                count,
                size,
            )
        except BaseException as cause:
            if not self.contain(connection, cause, now):
                raise
            return True

    def _arrives_without_tcb(self, segment: Segment, key: ConnectionKey, remote: Remote, now: float) -> None:
        """Process a segment that belongs to no TCB: TIME_WAIT, LISTEN or CLOSED."""
        record = self.time_wait.get(key)
        if record is not None:
            if record.expires > now:
                self._arrives_in_time_wait(segment, key, record, now)
                return
            self._expire_time_wait(now)
        listener = self.listeners.get(segment.dst_port)
        if listener is not None:
            listener.segment_arrives(self, segment, key, now)
        elif not segment.flags & RST:  # RFC 9293 3.10.7.1
            self.reset_in_reply(remote, segment, now)

    def _arrives_in_time_wait(self, segment: Segment, key: ConnectionKey, record: TimeWait, now: float) -> None:
        listener = self.listeners.get(segment.dst_port)
        may_open = listener is not None and not listener.full and not self.admission.refusal(key[0])
        verdict = arrives_in_time_wait(self, self.time_wait, segment, key, record, may_open, now)
        if verdict == STAYS:
            return
        self.end_time_wait(key, now)
        if verdict == REOPENS and listener is not None:
            self.counters.time_wait_reuses += 1
            listener.open(self, segment, key, now, record)

    # ------------------------------------------------------------------ datagrams out

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Return all trains that may leave now: segments of connections, then answers to unverified senders. After an
        exception, the next call continues with the connections that were not processed."""
        output = self.output
        if output:
            outbox, answers, timers, memory = self._outbox, self._answers, self._timers, self.memory
            rest = iter(output)
            try:
                self.output = {}
                for connection in rest:
                    state = connection.state
                    if state != CLOSED:
                        try:
                            transmit(connection, now, answers if state == SYN_RCVD and connection.passive else outbox)
                            if state == TIME_WAIT:
                                continue  # the last ACK was its only output
                            timers.schedule(connection, connection.next_deadline())
                            memory.note(connection)
                        except BaseException as cause:
                            if not self.contain(connection, cause, now):
                                raise
            except BaseException:
                for connection in rest:
                    connection.touch()
                raise
            if memory.allowance.pressure:
                self._relieve_memory(now)
        transmits = self._outbox.take()
        return transmits + self.answers_to_send() if self._answers.trains else transmits

    def _relieve_memory(self, now: float) -> None:
        memory = self.memory
        if memory.begins_to_press() and self.observer is not None:
            self.observer.memory_pressed(memory.used, memory.limit, now)
        try:
            memory.relieve(self.connections.values(), now)
        except Exception as error:  # the output of the connections must still leave
            self._note_failure("memory is short, and an attempt to free some failed", error)

    def answers_to_send(self) -> list[Transmit]:
        """Return only the answers to unverified senders, for a link that has no room for segments of connections."""
        return self._answers.take()

    def path_failed(self, remote: Remote, flows: Iterable[tuple[int, int]], code: int, now: float) -> None:
        """Handle the failure of the link to send segments towards `remote`.

        In SYN_SENT the connection ends with PathUnreachable. In other states this is a soft error, and retransmission
        continues (RFC 9293 3.9.2.2). EMSGSIZE means that the interface now takes only smaller segments.

        Only the connections of the lost segments are examined. Examining all would cost more than the send, because a
        failing interface makes thousands of sends fail, and forged SYNs can make the answers to them fail.

        Args:
            remote: the destination.
            flows: the (local port, remote port) pairs of the lost segments.
            code: the errno of the failure.
            now: the stack's time, seconds.
        """
        for local_port, remote_port in flows:
            connection = self.connections.get((remote, remote_port, local_port))
            if connection is None:
                continue
            try:
                if code == EMSGSIZE:
                    path_errors.too_big(connection, None, now)
                else:
                    path_errors.unreachable(connection, PathUnreachable(code), now)
                self.settle(connection, now)
            except BaseException as cause:
                if not self.contain(connection, cause, now):
                    raise

    def path_error(self, remote: Remote, code: int, mtu: int | None, quoted: bytes, now: float) -> None:
        """Handle an ICMP error about a datagram to `remote`.

        The first 8 octets of `quoted` identify the connection and the segment. The error is ignored unless the segment
        is in flight or is our last ACK (RFC 5927 4.1). An error about a SYN ends every open under way to the same port.

        Args:
            remote: the destination of the datagram.
            code: the reason, an errno.
            mtu: the largest payload that the path takes, octets, if `code` is EMSGSIZE.
            quoted: the beginning of the datagram's payload.
            now: the stack's time, seconds.
        """
        if len(quoted) < _PORTS_AND_SEQ.size:
            return
        local_port, remote_port, seq = _PORTS_AND_SEQ.unpack_from(quoted)
        connection = self.connections.get((remote, remote_port, local_port))
        if connection is None or not path_errors.is_ours(connection, seq, code):
            self.counters.out_of_window_icmps += 1
            return
        concerned: list[Tcb] = [connection]
        if connection.state == SYN_SENT and code != EMSGSIZE:
            # The error applies to all SYNs to this port, but it may be the only one, because the kernel may have sent
            # several SYNs in one send (UDP_SEGMENT), and the answering host limits the rate of its ICMP messages.
            concerned = [each for each in self._opening.get((remote, remote_port), ()) if each.send_side.flight_size]
        for each in concerned:
            try:
                if code == EMSGSIZE:
                    path_errors.too_big(each, mtu, now)
                elif each.state == SYN_SENT:
                    each.fail(ConnectionRefused() if code == ECONNREFUSED else PathUnreachable(code), now)
                else:
                    path_errors.undelivered(each, seq, code, now)
                self.settle(each, now)
            except BaseException as cause:
                if not self.contain(each, cause, now):
                    raise

    def port_closed(self, tcb: Tcb, since: float, now: float) -> None:
        """End the connection, and others to its remote, because the remote's UDP port has been closed since `since`
        (`path_errors.end_for_closed_port`).

        The search for the other connections runs at most once a second on average, because a peer that closes many
        ports could make it costly. Connections that it misses detect the closed port by themselves."""
        remote = tcb.remote
        path_errors.end_for_closed_port(tcb, since, now)
        self.settle(tcb, now)  # before the search, so that the search does not find it
        if self._searches.take(now):
            for each in [each for each in self.connections.values() if each.remote == remote]:
                try:
                    path_errors.end_for_closed_port(each, since, now)
                    self.settle(each, now)
                except BaseException as cause:
                    if not self.contain(each, cause, now):
                        raise

    # ------------------------------------------------------------------ users

    def take_ready(self) -> list[Connection | Listener]:
        """Return the connections and listeners with events since the last call, each once, in order of the events."""
        if not self.ready:
            return []
        ready: list[Any] = list(self.ready)
        self.ready = {}  # last, so that an interrupt does not lose events
        return ready

    def listener_ready(self, listener: Accepting[Tcb]) -> None:
        """Record that a connection of `listener` waits for `Listener.accept`."""
        self.ready[listener] = None

    def break_off(self, tcb: Tcb, cause: BaseException, now: float) -> bool:
        """End the connection, because its processing raised `cause`, and drop incomplete trains from the outboxes.
        Return whether the connection's user receives the error (`failures.fail`)."""
        self.counters.broken_off += 1
        self._outbox.drop_incomplete()
        self._answers.drop_incomplete()
        try:
            return fail(self, tcb, cause, now)
        finally:
            displaced = tcb.take_displaced()
            if displaced is not None:
                self.time_wait.restore(tcb.key, displaced, now)

    def contain(self, tcb: Tcb, cause: BaseException, now: float) -> bool:
        """Call `break_off`, and record an Exception that no user receives. Return True if the caller may continue with
        other connections, False if `cause` is to end the program."""
        told = self.break_off(tcb, cause, now)
        if not isinstance(cause, Exception):
            return False
        if not told:
            self._note_failure(f"it ended {tcb!r}, which has no user", cause)
        return True

    def take_failures(self) -> list[Failure]:
        """Return the exceptions since the last call that no user receives: exceptions of observers, and exceptions that
        ended connections before they were accepted. The first 64 are kept."""
        failures = self.failures
        if failures:
            self.failures = []
        return failures

    def _note_failure(self, what: str, error: Exception) -> None:
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(Failure(what, error))

    # ------------------------------------------------------------------ time

    def next_wakeup(self) -> float:
        """Return a time not after `next_timeout`; `inf` if no timer runs. It is cheaper than `next_timeout`, because it
        does not look up deadlines that have moved later."""
        wakeup = self._timers.wakeup()
        expiry = self.time_wait.next_expiry() if self.time_wait else None
        return wakeup if expiry is None or wakeup < expiry else expiry

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due; None if no timer runs. Call it after `datagrams_to_send`, which sets
        timers too."""
        deadline = self._timers.next()
        expiry = self.time_wait.next_expiry() if self.time_wait else None
        if expiry is not None and expiry < deadline:
            return expiry
        return None if deadline == inf else deadline

    def next_remote(self) -> Remote | None:
        """Return the remote of the connection whose timer is due next; None if no timer runs."""
        first = self._timers.first()
        return first.remote if isinstance(first, Tcb) else None

    def handle_timeout(self, now: float) -> None:
        """Process all expired timers and TIME_WAIT records."""
        expired = self._timers.take_expired(now)
        try:
            for connection in expired:
                if isinstance(connection, Tcb) and not connection.removed:
                    try:
                        handle_timeout(connection, now)
                        self.settle(connection, now)
                    except BaseException as cause:
                        if not self.contain(connection, cause, now):
                            raise
        finally:  # an interrupt must not remove the timers of other connections
            self._timers.put_back(expired)
        self._expire_time_wait(now)

    # ------------------------------------------------------------------ looking

    def snmp(self) -> dict[str, int]:
        """Return `Counters.snmp` and the gauge TcpCurrEstab: connections in ESTABLISHED and CLOSE_WAIT (RFC 4022). This
        examines every connection."""
        current = sum(connection.state in (ESTABLISHED, CLOSE_WAIT) for connection in self.connections.values())
        return {"TcpCurrEstab": current, **self.counters.snmp()}

    def ports_in_use(self) -> int:
        """Return the number of ephemeral ports in use towards the destination (remote and remote port) with the most.

        Connections and TIME_WAIT records use ports; this examines each of them. When all of `Config.ephemeral_ports`
        are in use, the next `connect()` to that destination fails. May be called from any thread."""
        first, last = self.config.ephemeral_ports
        used = self.time_wait.ports_by_destination(first, last)
        for remote, remote_port, local_port in list(self.connections):
            if first <= local_port <= last:
                used[remote, remote_port] = used.get((remote, remote_port), 0) + 1
        return max(used.values(), default=0)

    # ------------------------------------------------------------------ for connections and listeners

    @property
    def half_open(self) -> int:
        """Number of handshakes of listeners that are under way, including those of stopped listeners."""
        return self.memory.half_open

    def refused(self, limit: str, remote: Remote, now: float) -> None:
        """Report that the Config field `limit` forbade a connection with `remote`."""
        if self.observer is not None:
            self.observer.limit_reached(limit, remote, now)

    def receive_mss(self, remote: Remote, config: Config) -> int:
        """Return the MSS to offer to `remote`: a datagram's payload less a header without options (RFC 9293 3.7.1,
        MUST-67)."""
        mtu = _ETHERNET_UDP_PAYLOAD if self._mtu is None else self._mtu(remote)
        mss = min(mtu - HEADER_LENGTH, _MAX_MSS)
        return mss if config.mss is None else min(mss, config.mss)

    def unverified_receive_mss(self, remote: Remote, now: float) -> int:
        """Return `receive_mss` towards the sender of a SYN, whose address may be forged.

        The lookup of a new remote costs system calls and an entry in the link's route cache, so at most
        _UNVERIFIED_ROUTES_PER_SECOND remotes are looked up. Beyond that an Ethernet is assumed, because the SYNs are a
        flood. The value limits only the segments that we receive; the send MSS adapts to the path.
        """
        if self._mtu is None or remote == self._last_asked or self._route_questions.take(now):
            self._last_asked = remote
            return self.receive_mss(remote, self.config)
        mss = _UNASKED_UDP_PAYLOAD - HEADER_LENGTH
        return mss if self.config.mss is None else min(mss, self.config.mss)

    def settle(self, tcb: Tcb, now: float) -> None:
        """Update the stack after an event of a connection: a segment, a call of its user, or a timer.

        Delete the TCB if the connection is over. Unless the next flush processes the connection, charge its memory and
        schedule its earliest deadline."""
        state = tcb.state
        if state in (CLOSED, TIME_WAIT):
            if tcb.queued != -inf:  # not removed yet; a search in `connections` takes longer
                self._delete_tcb(tcb, now)
            return
        if self._opening and not tcb.passive and state != SYN_SENT:
            self._open_ended(tcb)
        if tcb.awaits_user and tcb.send_side.syn_acked:
            self._handshake_complete(tcb)
        if tcb not in self.output:
            self.memory.note(tcb)
            deadline = tcb.next_deadline()
            if deadline < tcb.queued:
                self._timers.schedule(tcb, deadline)

    def _delete_tcb(self, tcb: Tcb, now: float) -> None:
        """Delete the TCB. If it is in TIME_WAIT, add a record instead, unless the MSL is 0 or memory is full."""
        free_at = 0.0
        if tcb.state == TIME_WAIT:
            overflows = self.memory.allowance.full
            if overflows:
                self.counters.time_wait_overflows += 1
            else:
                self.counters.time_waits += 1
            if self.time_wait.duration and not overflows:
                free_at = now + self.time_wait.duration
            else:
                transmit(tcb, now, self._outbox)
                tcb.skip_time_wait(now)
        displaced = None if tcb.displaced is None else tcb.take_displaced()
        self.forget(tcb, free_at)
        if free_at:
            receive = tcb.receive_side
            self.time_wait.add(
                tcb.key,
                now,
                tcb.send_side.snd_nxt,
                receive.rcv_nxt,
                receive.ts_recent,
                receive.window_field,
                receive.shift,
                tcb.timestamps,
            )
        elif displaced is not None:
            self.time_wait.restore(tcb.key, displaced, now)

    def forget(self, tcb: Tcb, free_at: float = 0.0) -> None:
        """Remove the connection from all tables of the stack; its ports are free from `free_at` on. Idempotent."""
        if tcb in self._unaccepted:
            self._unaccepted[tcb].dropped(tcb)
            del self._unaccepted[tcb]
        key = tcb.key
        if self.connections.get(key) is not tcb:
            return
        self._timers.remove(tcb)
        tcb.recovery.discard()
        self.memory.leave(tcb)
        if self.admission.limited:
            self.admission.left(tcb)
        if self._opening:
            self._open_ended(tcb)
        del self.connections[key]
        send, counters = tcb.send_side, self.counters
        counters.past_bytes_sent += send.sent + send.bytes_retrans
        counters.past_bytes_received += tcb.receive_side.bytes_received
        if self._ports.scarce:
            self._ports.released(tcb.remote, tcb.remote_port, tcb.local_port, free_at)

    def half_opened(self, tcb: Tcb, listener: Accepting[Tcb]) -> None:
        self._unaccepted[tcb] = listener
        if isinstance(tcb, Connection):
            self.connections[tcb.key] = tcb
        self.memory.charge(tcb, HALF_OPEN)

    def is_half_open(self, tcb: Tcb) -> bool:
        listener = self._unaccepted.get(tcb)
        return listener is not None and not listener.has_waiting(tcb)

    def _handshake_complete(self, tcb: Tcb) -> None:
        """Move the connection from its handshake to the queue for `Listener.accept`, unless that was done before."""
        listener = self._unaccepted.get(tcb)
        if listener is not None:
            self.ready[listener] = None  # first, so that the listener's user is woken even if the rest fails
            listener.completed(tcb)
            del self._unaccepted[tcb]
            self.memory.charge(tcb, IDLE)
            if self.admission.limited:
                self.admission.entered(tcb)

    def refuses(self, remote: Remote, now: float) -> bool:
        if self.memory.room and not self.admission.limited:
            return False
        limit = self.admission.refusal(remote)
        if limit:
            self.refused(limit, remote, now)
        return bool(limit)

    def seconds_in_time_wait(self, key: ConnectionKey, now: float) -> float | None:
        return self.time_wait.seconds_left(key, now)

    def _open_ended(self, tcb: Tcb) -> None:
        """Remove the connection from `_opening`, because it has left SYN_SENT."""
        destination = (tcb.remote, tcb.remote_port)
        opening = self._opening.get(destination)
        if opening is not None:
            opening.pop(tcb, None)
            if not opening:
                del self._opening[destination]

    def forget_listener(self, local_port: int) -> None:
        del self.listeners[local_port]
        self._ports.released_by_listener(local_port, 0.0)

    def _expire_time_wait(self, now: float) -> None:
        expired = self.time_wait.take_expired(now)
        if expired:
            self.memory.update_allowance()
        for remote, remote_port, local_port in expired:
            if self.routine_observer is not None:  # checked each time, because the call may remove the observer
                self.routine_observer.time_wait_ended(remote, remote_port, local_port, now)

    def end_time_wait(self, key: ConnectionKey, now: float) -> None:
        """Remove the TIME_WAIT record, because a newer connection reuses its ports."""
        self.time_wait.remove(key)
        self.memory.update_allowance()
        self._ports.released(*key, now)
        if self.routine_observer is not None:
            self.routine_observer.time_wait_ended(*key, now)


def _peer(remote: Remote, remote_port: int) -> str:
    return f"{address_text(remote)} port {remote_port}"
