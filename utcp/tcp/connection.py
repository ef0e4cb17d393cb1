"""A connection (the TCB): the user's calls, and every way to end (RFC 9293 3.10.1-3.10.6).

It owns the state and coordinates its parts; each part owns its variables. What segments do to it stands in
`arrival.py`, what it sends in `output.py`, what timers bring about in `timeouts.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from utcp.config import Config
from utcp.errors import ConnectionAborted, InvalidState
from utcp.tcp import event, state
from utcp.tcp.congestion import controller
from utcp.tcp.info import ConnectionInfo, info_of
from utcp.tcp.memory import MINIMUM
from utcp.tcp.pacing import Pacer
from utcp.tcp.path_mtu import PathMtu
from utcp.tcp.rate_limit import AnswerLimits
from utcp.tcp.receive import NOW, ReceiveSide
from utcp.tcp.recovery import Recovery
from utcp.tcp.rtt import RttEstimator
from utcp.tcp.send import SendSide
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.tcp.time_wait import ConnectionKey, TimeWait
from utcp.tcp.timeouts import delivery_time
from utcp.tcp.timers import FIN_WAIT_2 as FIN_WAIT_2_TIMER
from utcp.tcp.timers import KEEPALIVE, LINGER, USER_TIMEOUT, Timers
from utcp.tcp.transmit import Buffer
from utcp.wire import ACK, CWR, ECE, RST, Segment
from utcp.wire.options import MAX_WINDOW_SCALE, TIMESTAMPS_LENGTH
from utcp.wire.seq import MASK

if TYPE_CHECKING:
    from utcp.tcp.listener import Listener
    from utcp.tcp.path_errors import PortEvidence
    from utcp.tcp.stack import Stack

_MIN_SEND_MSS: Final = 64
"""A peer that offers less would have us send more header than data."""

_INITIAL_SEND_BUFFER: Final = 1 << 20


class Connection:
    """One connection, from the user's side: made by `Stack.connect` and `Listener.accept`.

    `now` is the stack's time in seconds. What happens is told as bits of `utcp.tcp.event` (`take_events`).
    """

    __slots__ = (
        "_events",
        "_path",
        "_path_mtu",
        "answer_limits",
        "charge",
        "closed_by_user",
        "config",
        "congestion",
        "context",
        "displaced",
        "ece",
        "ecn",
        "ended",
        "error",
        "in_output",
        "keepalive",
        "keepalive_count",
        "keepalive_due",
        "keepalive_idle",
        "keepalive_interval",
        "keepalive_probes",
        "key",
        "last_heard",
        "last_sent",
        "linger",
        "listener",
        "local_port",
        "mss",
        "nodelay",
        "offers_mss",
        "opened_at",
        "pacer",
        "passive",
        "peer_mss",
        "port_evidence",
        "probe_due",
        "probes",
        "ready",
        "receive_mss",
        "receive_side",
        "recovery",
        "remote",
        "remote_port",
        "retransmits",
        "rtt",
        "sack",
        "send_side",
        "soft_error",
        "stack",
        "state",
        "syn_again",
        "tail_probe_due",
        "timers",
        "timestamps",
        "total_retransmits",
        "ts_offset",
        "user_timeout",
        "window_scaling",
    )

    def __init__(
        self,
        stack: Stack,
        key: ConnectionKey,
        config: Config,
        iss: int,
        ts_offset: int,
        now: float,
        context: object,
        receive_mss: int,
    ) -> None:
        self.stack = stack
        self.key = key
        self.remote, self.remote_port, self.local_port = key
        self.config = config
        self.context = context
        self.state = CLOSED
        self._path = 0
        self.passive = False
        self.listener: Listener | None = None
        """Set while the connection is passive and not accepted: it has no user yet."""
        self.displaced: TimeWait | None = None
        """The TIME_WAIT record that this half-open connection took the place of."""
        self.opened_at = now
        self.error: OSError | None = None
        self.ended = False
        """Its user has been told that it is over (event ENDED)."""
        self.closed_by_user = False
        self.ready = False
        """It stands in the stack's list of those with something to tell."""
        self.in_output = False
        """It stands in the stack's list of those with something to send."""
        self.charge = 0
        """Octets of memory that it is charged (`utcp.tcp.memory`)."""
        self._events = 0
        self.send_side = SendSide(
            iss,
            config.send_buffer or min(_INITIAL_SEND_BUFFER, config.max_send_buffer),
            config.send_buffer or config.max_send_buffer,
            stack.memory.allowance,
        )
        limit, maximum = config.recv_buffer_sizes
        self.receive_side = ReceiveSide(limit, maximum, stack.counters, stack.memory.allowance)
        self.rtt = RttEstimator(config.rto_initial, config.rto_min, config.rto_max)
        self.receive_mss = receive_mss
        """The MSS that we offer: the largest payload we take in one segment."""
        self.offers_mss = True
        """Our SYN has the MSS option. A SYN-ACK has it only if the SYN had: it is not longer than what it answers."""
        self.mss = self.receive_mss
        """The effective send MSS: payload of a full-sized segment, timestamps already subtracted."""
        self.peer_mss = self.receive_mss
        """The largest payload that the peer says it takes."""
        self._path_mtu: PathMtu | None = None
        self.congestion = controller(config.congestion_control, self.mss, iss)
        self.recovery = Recovery(self.congestion, self.rtt, stack.counters, now)
        self.pacer = Pacer(now)
        self.timers = Timers(key)
        self.ts_offset = ts_offset
        self.window_scaling = False
        self.timestamps = False
        self.sack = False
        self.ecn = False
        """Congestion marks are exchanged (RFC 3168)."""
        self.ece = 0
        """ECE while a congestion mark of the peer's data is to be echoed, else 0."""
        self.syn_again = False
        """Our SYN or SYN-ACK is to be sent again, although nothing shows that it was lost."""
        self.retransmits = 0
        """Timeouts in a row without progress: what R2 counts (RFC 9293 3.8.3)."""
        self.total_retransmits = 0
        self.probes = 0
        """Window probes since the window closed: their back-off."""
        self.probe_due = False
        self.tail_probe_due = False
        self.last_sent = now
        self.last_heard = now
        self.answer_limits: AnswerLimits | None = None
        """None until the first segment that proves nothing about its sender arrives; few connections receive one."""
        self.soft_error: OSError | None = None
        """What the network has said of the peer since it last acknowledged something."""
        self.port_evidence: PortEvidence | None = None
        """None until an ICMP message says that the peer's UDP port is closed."""
        self.nodelay = config.nodelay
        self.linger: float | None = None
        self.user_timeout = config.user_timeout
        self.keepalive = False
        """The peer is probed when the connection is idle."""
        self.keepalive_due = False
        self.keepalive_probes = 0
        """Keepalive probes sent since the peer was last heard of."""
        self.keepalive_idle = config.keepalive_idle
        self.keepalive_interval = config.keepalive_interval
        self.keepalive_count = config.keepalive_count

    def __repr__(self) -> str:
        return f"<Connection {self.local_port} -> {self.remote}:{self.remote_port} {state.NAMES[self.state]}>"

    # ------------------------------------------------------------------ opening

    @property
    def unproven(self) -> bool:
        """A SYN has opened the connection, and its sender, which may be anywhere, has not acknowledged our SYN-ACK."""
        return self.state == SYN_RCVD and self.passive

    def open_actively(self, now: float) -> None:
        """Active OPEN (RFC 9293 3.10.1): a SYN will leave."""
        self.enter(SYN_SENT, now)
        self.stack.memory.enter(self)
        self.touch()

    def open_passively(self, syn: Segment, listener: Listener, now: float) -> None:
        """A SYN reached `listener` (RFC 9293 3.10.7.2): a SYN-ACK will leave. Text and FIN on the SYN are left for the
        peer to send again."""
        self.offers_mss = syn.mss is not None
        self._half_open(syn, listener, now)
        self.touch()

    def open_from_cookie(self, syn: Segment, listener: Listener, now: float) -> None:
        """An ACK brought back a SYN cookie: `syn` is what that tells of the SYN. The SYN-ACK left long ago; the caller
        goes on to process the ACK."""
        self._half_open(syn, listener, now)
        self.send_side.advance_over_syn()
        departure = self.recovery.depart(now)
        self.recovery.sent(1, departure)
        self.recovery.resent(0, 1, departure)  # nobody knows when it left: Karn's rule, no round trip is measured

    def _half_open(self, syn: Segment, listener: Listener, now: float) -> None:
        self.passive = True
        listener.half_open[self] = None
        self.stack.counters.passive_opens += 1
        self._path = state.LISTEN
        self.state = state.LISTEN
        self.negotiate(syn, now)
        self.enter(SYN_RCVD, now)
        self.stack.memory.enter_half_open(self)

    def accepted(self) -> None:
        """The listener handed the connection to its user."""
        self.listener = None
        if self._events:
            self.stack.add_ready(self)

    def negotiate(self, syn: Segment, now: float) -> None:
        """Take the peer's SYN or SYN-ACK: its ISN, window and options, as far as we offer them too."""
        send, receive, config = self.send_side, self.receive_side, self.config
        receive.synchronize(syn.seq)
        self.sack = config.sack and syn.sack_permitted
        self.recovery.use_sack(self.sack)
        receive.use_sack(self.sack)
        # Who has sent a SYN without asking, as the second and later are, must not mark (RFC 3168 6.1.1).
        asked = config.ecn == "request" and not self.total_retransmits
        agreed = syn.flags & (ECE | CWR) == (ECE if syn.flags & ACK else ECE | CWR)
        self.ecn = agreed and (config.ecn != "off" if self.passive else asked)
        if config.timestamps and syn.ts_val is not None:
            self.timestamps = True
            receive.begin_timestamps(syn.ts_val, now)
        if config.window_scaling and syn.window_scale is not None:
            self.window_scaling = True
            receive.scale_window()
            peer_shift = min(syn.window_scale, MAX_WINDOW_SCALE)
        else:
            peer_shift = 0
        send.open_window(syn.seq, syn.window, peer_shift)
        offered = self.stack.default_mss if syn.mss is None else max(syn.mss, _MIN_SEND_MSS)
        self.peer_mss = offered
        self._path_mtu = None
        options = TIMESTAMPS_LENGTH if self.timestamps else 0
        self.mss = min(offered, self.receive_mss) - options
        receive.expect_mss((self.receive_mss if self.offers_mss else self.stack.default_mss) - options)
        self.congestion.begin(self.mss)

    def establish(self, now: float) -> None:
        if self.total_retransmits:
            self.congestion.on_syn_lost()
            if self.rtt.srtt is None:
                self.rtt.syn_was_lost()
        self.congestion.on_established(self.rtt.srtt or 0.0, now)
        if self.config.keepalive:
            self.start_keepalive(now)
        if self.state in (SYN_SENT, SYN_RCVD):
            self.enter(ESTABLISHED, now)
            if self.send_side.fin_queued:  # the user half-closed before the handshake ended
                self.enter(FIN_WAIT_1, now)
        listener = self.listener
        self.displaced = None
        if listener is not None:
            listener.half_open.pop(self, None)
            listener.queue.append(self)
            self.stack.memory.enter(self)
            self.stack.admission.entered(self)
            self.stack.add_ready(listener)
        self.tell(event.CONNECTED)

    # ------------------------------------------------------------------ the user's calls

    def send(self, data: Buffer, *, force: bool = False, urgent: bool = False) -> int:
        """SEND (RFC 9293 3.10.2): queue `data`; how many octets were accepted.

        At most `send_space`, unless `force`. When that is less than `data`, the event WRITABLE follows. `data` is kept,
        not copied: it must not change. `urgent`: the peer is told that the stream is urgent up to the end of what was
        accepted (RFC 9293 3.8.5; new applications should not use it, SHLD-13).

        Raises InvalidState after `shutdown`, `close` or the end, and nothing is queued.
        """
        if self.send_side.fin_queued or self.closed_by_user:
            raise InvalidState("cannot send after shutdown() or close()")
        if self.ended or self.state == CLOSED:
            raise InvalidState("cannot send: the connection has ended")
        self.touch()  # first: when one of the two fails, nothing is queued
        accepted = self.send_side.append(data, force)
        if urgent:
            self.send_side.mark_urgent()
        if self.send_side.queued - self.send_side.acked > MINIMUM:  # many may write before the next flush
            self.stack.memory.note(self)
        return accepted

    @property
    def send_space(self) -> int:
        """Octets that `send` accepts now."""
        return self.send_side.space

    @property
    def send_queue(self) -> int:
        """Payload octets accepted and not acknowledged yet."""
        return self.send_side.queued - self.send_side.acked

    def read(self, limit: int = -1) -> bytes:
        """RECEIVE (RFC 9293 3.10.3): up to `limit` octets of the stream, all that is there if negative; `b""` when
        nothing is. The window opens accordingly."""
        data = self.receive_side.read(limit)
        if self.state in (CLOSED, TIME_WAIT):  # no flush looks at it
            self.stack.memory.note(self)
        elif self.receive_side.ack_due == NOW:
            try:
                self.touch()
            except BaseException as cause:  # the octets are lost
                self.stack.break_off(self, cause, max(self.last_sent, self.last_heard))
                raise
        elif not self.in_output:
            self.stack.memory.note(self)
        return data

    @property
    def readable(self) -> int:
        """Octets that `read` has."""
        return self.receive_side.readable

    @property
    def urgent_ahead(self) -> int:
        """Octets from the next one that `read` gives to the end of the peer's urgent data; 0: none is ahead."""
        return self.receive_side.urgent_ahead

    @property
    def at_eof(self) -> bool:
        """The peer has finished and all it sent has been read."""
        return self.receive_side.fin_reached and not self.receive_side.readable

    def shutdown(self, now: float) -> None:
        """Half-close: FIN goes out behind what is queued, reading goes on. A second call does nothing.

        Raises InvalidState when the connection has ended.
        """
        if self.send_side.fin_queued:
            return
        if self.ended or self.state == CLOSED:
            raise InvalidState("cannot shut down: the connection has ended")
        try:
            self.send_side.queue_fin()
            if self.state in (ESTABLISHED, SYN_RCVD):
                self.enter(FIN_WAIT_1, now)
            elif self.state == CLOSE_WAIT:
                self.enter(LAST_ACK, now)
            self.touch()
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    def close(self, now: float) -> None:
        """CLOSE (RFC 9293 3.10.4), of both directions. The event ENDED follows once the peer has acknowledged our data
        and FIN, or with the error that prevented it. A second call does nothing.

        Data that nobody read, or that arrives later, is answered with RST (SHLD-3); `error` is then set if something
        of ours was not acknowledged. In SYN_SENT the connection vanishes (RFC 9293 3.10.4).
        """
        if self.closed_by_user:
            return
        self.closed_by_user = True
        if self.ended:
            self.discard_unread()
        else:
            try:
                self._close(now)
            except BaseException as cause:
                self.stack.break_off(self, cause, now)
                raise

    def _close(self, now: float) -> None:
        if self.state in (CLOSED, TIME_WAIT):  # both directions were over: the user's word was all that was missing
            self._end(self.error, now, self.send_side.fin_acked)
        elif self.state == SYN_SENT:
            self.finish(None, now)
        elif self.linger == 0:
            self.stack.counters.aborts_on_data += 1
            self.reset_peer(None, now)
        elif self.receive_side.readable:
            self.stack.counters.aborts_on_close += 1
            self.reset_peer(self.undelivered("closed with unread received data"), now, with_ack=True)
        else:
            self.shutdown(now)
            if not self.send_side.fin_acked:
                self.timers.set(LINGER, now + delivery_time(self))
                self.touch()  # the flush schedules it
            if self.state == FIN_WAIT_2:
                self.set_timer(FIN_WAIT_2_TIMER, now + self.config.fin_wait_2_timeout)
            self.stack.memory.adopt_orphan(self)
            self.end_if_delivered(now)

    def abort(self, now: float) -> None:
        """ABORT (RFC 9293 3.10.5): RST to the peer, everything queued is dropped, ENDED without error. In CLOSING and
        LAST_ACK no RST is sent, unless the FIN waits for data or for the peer's window: the RFC enters these states
        only when it leaves (and Linux resets there as well)."""
        self.closed_by_user = True
        try:
            if self.state in (SYN_RCVD, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT) or (
                self.state in (CLOSING, LAST_ACK) and self.send_side.pending
            ):
                self.stack.counters.aborts_on_data += 1
                self.reset_peer(None, now)
            elif self.state in (SYN_SENT, CLOSING, LAST_ACK):
                self.finish(None, now)
            else:
                self._end(None, now, self.send_side.fin_acked)
        except BaseException as cause:
            self.stack.break_off(self, cause, now)
            raise

    def discard_unread(self) -> None:
        """Drop what was received and not read: the user will not read it."""
        self.receive_side.discard()
        self.stack.memory.note(self)

    def set_keepalive(self, enabled: bool, now: float) -> None:
        """Probe the peer when the connection is idle (RFC 9293 3.8.4), by `keepalive_idle`, `_interval`, `_count`.

        Where there is nothing to keep alive any more, in CLOSED and TIME_WAIT, it does nothing.
        """
        if self.state in (CLOSED, TIME_WAIT):
            return
        if enabled:
            self.start_keepalive(now)
        else:
            self.keepalive = False
            self.timers.stop(KEEPALIVE)

    def set_user_timeout(self, seconds: float | None) -> None:
        """R2 of this connection (RFC 9293 3.8.3, MUST-21) as a time, counted from now; None: `Config.retries` again."""
        self.user_timeout = seconds
        self.timers.stop(USER_TIMEOUT)
        self.touch()

    def start_keepalive(self, now: float) -> None:
        """Begin to watch for an idle peer."""
        self.keepalive = True
        self.keepalive_probes = 0
        self.set_timer(KEEPALIVE, now + self.keepalive_idle)

    def probe_peer(self, now: float) -> None:
        """Have the next flush send a keepalive probe, unless the peer is heard of before that or data leaves."""
        self.keepalive_probes += 1
        self.keepalive_due = True
        if self.keepalive:
            self.timers.set(KEEPALIVE, now + self.keepalive_interval)
        self.touch()

    def take_events(self) -> int:
        """What happened since the last call, as bits of `utcp.tcp.event`."""
        events = self._events
        self._events = 0
        return events

    @property
    def path(self) -> tuple[int, ...]:
        """The states taken so far, CLOSED or LISTEN first, the present one last."""
        return state.unpack(self._path) if self.passive else (CLOSED, *state.unpack(self._path))

    def info(self, now: float | None = None) -> ConnectionInfo:
        """The connection's variables (RFC 9293 3.10.6, STATUS), the last ones once it has ended. Times are counted up
        to `now`; None: up to when it last sent something new or heard of its peer."""
        return info_of(self, max(self.last_sent, self.last_heard) if now is None else now)

    # ------------------------------------------------------------------ endings

    def vanish(self, now: float) -> None:
        """A half-open passive connection goes; nobody has heard of it, nobody is told."""
        self.ended = True
        self.stack.counters.attempt_fails += 1
        self.leave(now)
        self.listener = None
        if self.displaced is not None:  # its SYN was an old duplicate after all (RFC 9293 3.6.1, MAY-2)
            self.stack.time_wait.restore(self.key, self.displaced, now)

    def refuse(self, now: float) -> None:
        """Reset the peer of a half-open passive connection, and vanish (RFC 9293 3.10.5, SYN-RECEIVED)."""
        reset = Segment(self.local_port, self.remote_port, self.send_side.snd_nxt, 0, RST)
        self.stack.put(self.remote, reset, now, to_stranger=True)
        self.vanish(now)

    def reset_peer(self, error: OSError | None, now: float, *, with_ack: bool = False, in_reply: bool = False) -> None:
        """Send RST, and end the connection. RFC 9293 3.10.5: <SEQ=SND.NXT><CTL=RST>, with a SEQ that the peer's window
        allows. In SYN_SENT there is no peer to reset.

        `with_ack`: the RST acknowledges what has arrived.
        `in_reply`: the RST answers a segment, and its SEQ is SEG.ACK (RFC 9293 3.5.2, group 1). That is exact unless
        data in flight arrives first; then a second RST, with SEQ=SND.NXT, is exact. The peer drops the other one.
        """
        if self.state == SYN_SENT:
            self.finish(error, now)
            return
        send = self.send_side
        if self.state != SYN_RCVD:
            self.stack.counters.estab_resets += 1
        seq = send.acceptable_seq
        for number in (send.snd_una, seq) if in_reply and seq != send.snd_una else (seq,):
            segment = Segment(
                self.local_port,
                self.remote_port,
                number,
                self.receive_side.rcv_nxt if with_ack else 0,
                RST | ACK if with_ack else RST,
                ts_val=self.ts_now(now) if self.timestamps else None,
                ts_ecr=self.receive_side.ts_recent if self.timestamps else None,
            )
            send.note_segment(False)
            self.stack.put(self.remote, segment, now, to_stranger=self.unproven)
        self.finish(error, now)

    def undelivered(self, reason: str) -> OSError | None:
        """The error of a reset that we cause: None when all that our user sent was acknowledged."""
        if not self.send_queue:
            return None
        return ConnectionAborted(f"Connection aborted: {reason}, {self.send_queue} octets of ours were unacknowledged")

    @property
    def path_mtu(self) -> PathMtu:
        """The search for the segment size that the path takes: made when there is a doubt."""
        if self._path_mtu is None:
            self._path_mtu = PathMtu(self.mss)
        return self._path_mtu

    def mtu_probe_due(self, now: float) -> int:
        """The size of a probe of the path MTU that may be sent now, 0 for none."""
        if self._path_mtu is None:
            return 0
        send = self.send_side
        # Behind it there is data, by which its loss will show (RFC 8899 5.2, RFC 4821 7.4).
        return self._path_mtu.due(min(send.unsent, send.usable_window) - 3 * self.mss, now)

    def mtu_probe_over(self, size: int, arrived: bool, now: float) -> None:
        """What became of a probe of the path MTU (RFC 8899 5.2)."""
        if arrived:
            self.path_mtu.arrived(size, now)
        else:
            self.path_mtu.lost(size, now)
        self.use_mss(self.path_mtu.size, now)

    def timeouts_over(self, now: float) -> None:
        """SND.UNA has moved after the retransmission timer had expired."""
        self.retransmits = 0
        if self._path_mtu is not None and self._path_mtu.first_passed(now):
            self.use_mss(self._path_mtu.size, now)

    def use_mss(self, mss: int, now: float) -> None:
        """The path takes segments of this size from now on."""
        if mss != self.mss:
            before = self.mss
            self.mss = mss
            self.congestion.set_mss(mss)
            observer = self.stack.observer
            if observer is not None:
                observer.mss_changed(self, before, now)

    def finish(self, error: OSError | None, now: float) -> None:
        """The end, by force or for an error."""
        if self.state in (SYN_SENT, SYN_RCVD):
            self.stack.counters.attempt_fails += 1
        self.leave(now)
        self._end(error, now)

    def leave(self, now: float) -> None:
        """The TCB is gone: nothing arrives here, nothing leaves, no timer runs."""
        if self.state != CLOSED:
            self.enter(CLOSED, now)
        if self.listener is not None:  # no way to end may leave a half-open connection in its count
            self.listener.half_open.pop(self, None)
        self.stack.forget(self)
        self.timers.stop_all()
        self.send_side.discard()
        self.recovery.discard()

    def abandon(self) -> None:
        """See that the stack processes the connection no more, wherever an exception has cut its end off."""
        self.state = CLOSED
        self.timers.stop_all()

    def enter_time_wait(self, now: float) -> None:
        """From here a record in the stack's table answers for the connection. What was received can still be read."""
        self.enter(TIME_WAIT, now)
        self.timers.stop_all()
        self.send_side.discard()
        self.recovery.discard()
        self.stack.enter_time_wait(self, now)

    def skip_time_wait(self, now: float) -> None:
        """The MSL is 0: nothing keeps the ports."""
        self.leave(now)

    def peer_has_gone(self, now: float) -> None:
        """End a connection in CLOSING or LAST_ACK of which only the FIN is unacknowledged, as the ACK of the FIN would.
        The peer has closed and has acknowledged all data, and nothing is left of it that could acknowledge the FIN."""
        self.send_side.acknowledge(self.send_side.snd_nxt)
        self.leave(now)
        self.end_if_delivered(now)

    def end_if_delivered(self, now: float) -> None:
        if self.closed_by_user and self.send_side.fin_acked:
            self._end(None, now, True)

    def _end(self, error: OSError | None, now: float, delivered: bool = False) -> None:
        if self.ended:
            if self.closed_by_user:
                self.discard_unread()
            return
        self.tell(event.ENDED)  # first: what fails may be repeated
        self.ended = True
        self.error = error
        self.stack.endings.note(error, delivered)
        if self.closed_by_user:
            self.discard_unread()
        observer = self.stack.observer
        if observer is not None:
            observer.connection_ended(self, now)

    # ------------------------------------------------------------------ for the other parts

    def ts_now(self, now: float) -> int:
        """TSval at `now`: milliseconds, offset per connection (RFC 7323 5.4)."""
        return (int(now * 1000) + self.ts_offset) & MASK

    def note_retransmission(self, seq: int, length: int, now: float) -> None:
        """`length` octets of sequence space from `seq` on are about to leave again."""
        self.total_retransmits += 1
        self.stack.counters.retrans_segs += 1
        observer = self.stack.observer
        if observer is not None:
            observer.retransmitted(self, seq, length, now)

    def enter(self, new: int, now: float) -> None:
        before = self.state
        state.check(before, new)
        self.state = new
        if before == SYN_SENT:
            self.stack.open_ended(self)
        self._path = self._path << 4 | new
        observer = self.stack.observer
        if observer is not None:
            observer.state_changed(self, before, new, now)

    def tell(self, events: int) -> None:
        self._events |= events
        if self.listener is None:
            self.stack.add_ready(self)

    def set_timer(self, timer: int, deadline: float) -> None:
        """Set a timer outside of a flush, which would schedule the connection by itself."""
        self.timers.set(timer, deadline)
        self.stack.schedule(self)

    def ack_now(self) -> None:
        """Have the next flush send an ACK, by itself if nothing carries it."""
        self.receive_side.owe_ack()
        self.touch()

    def may_answer(self, kind: int, now: float, interval: float) -> bool:
        """Take the right to answer a segment of this kind (`rate_limit`), which proves nothing. False: no answer."""
        limits = self.answer_limits
        if limits is None:
            self.answer_limits = limits = AnswerLimits()
        return limits.take(kind, now, interval)

    def touch(self) -> None:
        """Have the next flush look at this connection."""
        if not self.in_output:
            self.stack.output.append(self)  # first: it may fail
            self.in_output = True
