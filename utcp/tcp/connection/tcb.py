"""The transmission control block of a connection (RFC 9293 3.3.1).

A TCB owns the state and its parts, and each part owns its variables. `arrival.py` and `fast_path.py` process segments,
`output.py` and `burst.py` send, `timeouts.py` handles timers, and `connection.py` has the calls of the user. These
modules change a TCB only through its methods and the methods of its parts.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

from utcp.config import Config
from utcp.tcp import event, state
from utcp.tcp.accounts import Charged
from utcp.tcp.congestion import CONTROLLERS, HANDSHAKE, CongestionController, initial_window
from utcp.tcp.connection.context import Context
from utcp.tcp.connection.ecn import WITHOUT_ECN, Ecn
from utcp.tcp.connection.keepalive import NOT_STARTED, Keepalive
from utcp.tcp.connection.persist import NEVER_STARTED, Persist
from utcp.tcp.connection.port_evidence import PortEvidence
from utcp.tcp.pacing import UNPACED, UNPACED_BELOW, Pacer
from utcp.tcp.path_mtu import PathMtu
from utcp.tcp.rate_limit import AnswerLimits
from utcp.tcp.receive import ReceiveSide
from utcp.tcp.recovery.recovery import Recovery
from utcp.tcp.recovery.scoreboard import Departure
from utcp.tcp.rtt import RttEstimator
from utcp.tcp.send import SendSide
from utcp.tcp.state import (
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    LISTEN,
    SUCCESSORS,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.tcp.time_wait import ConnectionKey, TimeWait
from utcp.tcp.transmit import address_text
from utcp.wire import ACK, CWR, ECE, Segment
from utcp.wire.options import MAX_WINDOW_SCALE, TIMESTAMPS_LENGTH
from utcp.wire.seq import MASK

_MIN_SEND_MSS: Final = 64
"""Lowest MSS accepted from a peer, octets. Below it segments would carry more header than data."""

TAIL_LOSS_PROBE: Final = 1
"""A tail loss probe (RFC 8985 7), as a bit of `Tcb.probes_due`."""
WINDOW_PROBE: Final = 2
"""A zero-window probe (RFC 9293 3.8.6.1)."""
KEEPALIVE_PROBE: Final = 4
"""A keepalive probe (RFC 9293 3.8.4)."""


class Tcb(Charged):
    """The state of a connection, its parts, and its ends. `now` is the stack's time in seconds."""

    __slots__ = (
        "_path",
        "answer_limits",
        "awaits_user",
        "closed_by_user",
        "config",
        "congestion",
        "context",
        "displaced",
        "ecn",
        "ended",
        "error",
        "events",
        "fin_wait_2_at",
        "keepalive",
        "key",
        "last_received",
        "last_sent",
        "linger",
        "linger_at",
        "local_port",
        "mss",
        "mtu_search",
        "nodelay",
        "offers_mss",
        "opened_at",
        "pacer",
        "passive",
        "peer_mss",
        "persist",
        "port_evidence",
        "probes_due",
        "receive_mss",
        "receive_side",
        "recovery",
        "remote",
        "remote_port",
        "resend_syn",
        "retransmits",
        "rtt",
        "segs_in",
        "send_side",
        "soft_error",
        "stack",
        "state",
        "timestamps",
        "total_retransmits",
        "ts_offset",
        "user_timeout",
        "user_timeout_at",
        "window_scaling",
    )

    def __init__(
        self,
        stack: Context[Tcb],
        key: ConnectionKey,
        config: Config,
        iss: int,
        ts_offset: int,
        now: float,
        context: object,
        receive_mss: int,
        *,
        passive: bool = False,
        displaced: TimeWait | None = None,
    ) -> None:
        self.queued = inf
        self.entry = self.place = self.charge = 0
        self.stack = stack
        self.key: Any = key
        """The key in `Stack.connections`: a `ConnectionKey`, as one object. With the precise type, compiled code would
        make a new object for each search, which then compares all parts."""
        self.remote, self.remote_port, self.local_port = key
        self.config = config
        self.context = context
        """The user's object. The stack does not use it."""
        self.state = self._path = LISTEN if passive else CLOSED
        self.passive = passive
        """True if a SYN of the peer opened the connection."""
        self.awaits_user = passive
        """True until the connection is accepted. Until then it belongs to a listener."""
        self.displaced = displaced
        """The TIME_WAIT record that this half-open connection replaced."""
        self.opened_at = now
        self.error: OSError | None = None
        self.ended = False
        """True once the connection is over for its user (event ENDED)."""
        self.closed_by_user = False
        self.events = 0
        """The events that the user has not taken yet, bits of `utcp.tcp.event`."""
        self.send_side = SendSide(iss, config, stack.accounts.allowance)
        self.receive_side = ReceiveSide(config, stack.counters, stack.accounts.allowance)
        self.rtt = RttEstimator(config.rto_initial, config.rto_min, config.rto_max)
        self.receive_mss = receive_mss
        """The MSS that we offer: the largest payload of a received segment, octets."""
        self.offers_mss = True
        """True if our SYN has the MSS option. A SYN-ACK has it only if the SYN has it, so that the SYN-ACK is not
        longer than the SYN."""
        self.mss = receive_mss
        """Effective send MSS: the payload of a full-sized segment without the timestamps option, octets."""
        self.peer_mss = receive_mss
        """The MSS that the peer offered, octets."""
        self.mtu_search: PathMtu | None = None
        """Path MTU discovery; None until a segment size is in doubt."""
        self.congestion: CongestionController = HANDSHAKE
        """The congestion controller. `negotiate` makes it, because it starts with the MSS of the handshake."""
        self.recovery = Recovery(self.congestion, self.rtt, stack.counters, now)
        self.pacer = UNPACED
        self.persist = NEVER_STARTED
        self.keepalive = NOT_STARTED
        self.ecn = WITHOUT_ECN
        self.ts_offset = ts_offset
        self.window_scaling = False
        self.timestamps = False
        self.resend_syn = False
        """True if our SYN or SYN-ACK must be sent again although no loss was detected."""
        self.retransmits = 0
        """Number of consecutive timeouts without progress, which R2 limits (RFC 9293 3.8.3)."""
        self.total_retransmits = 0
        self.probes_due = 0
        """The probes that the next flush sends, as bits."""
        self.segs_in = 0
        """Number of received segments of all kinds."""
        self.last_sent = now
        """Time at which data or a FIN last left for the first time, seconds; until then the time of the open."""
        self.last_received = now
        """Time at which the last acceptable segment arrived, seconds."""
        self.answer_limits: AnswerLimits | None = None
        """Rate limits of answers to unverified segments; None until the first arrives, because few connections receive
        any."""
        self.soft_error: OSError | None = None
        """The last network error since the peer last acknowledged something."""
        self.port_evidence: PortEvidence | None = None
        """Evidence that the peer's UDP port is closed; None until an ICMP message reports it."""
        self.nodelay = config.nodelay
        self.linger: float | None = None
        """Time that delivery may take after the close, seconds (SO_LINGER); None: `Config.orphan_timeout` applies."""
        self.user_timeout = config.user_timeout
        self.fin_wait_2_at = inf
        """Expiry of the timer FIN_WAIT_2, seconds; `inf`: off."""
        self.linger_at = inf
        """Expiry of the timer LINGER, seconds; `inf`: off."""
        self.user_timeout_at = inf
        """Expiry of the timer USER_TIMEOUT, seconds; `inf`: off."""

    def __repr__(self) -> str:
        name = state.NAMES[self.state]
        return (
            f"<{type(self).__name__} {self.local_port} -> {address_text(self.remote)} port {self.remote_port} {name}>"
        )

    # ------------------------------------------------------------------ state

    @property
    def unverified(self) -> bool:
        """True if a SYN opened the connection and the peer has not acknowledged our SYN-ACK, so that the peer's address
        is unverified."""
        return self.state == SYN_RCVD and self.passive

    @property
    def path(self) -> tuple[int, ...]:
        """The history of states: CLOSED or LISTEN first, the present state last."""
        return state.unpack(self._path) if self.passive else (CLOSED, *state.unpack(self._path))

    @property
    def sack(self) -> bool:
        """True if SACK was negotiated."""
        return self.recovery.sack

    @property
    def send_queue(self) -> int:
        """Number of payload octets accepted from the user and not yet acknowledged."""
        return self.send_side.queued - self.send_side.acked

    def on(self, happened: int, now: float) -> None:
        """Change the state by the table in `utcp.tcp.state`. Raises IllegalTransition if the table has no such row."""
        before = self.state
        after = SUCCESSORS[before][happened]
        if after < 0:
            raise state.illegal(before, happened)
        self.state = after
        self._path = self._path << 4 | after
        observer = self.stack.routine_observer
        if observer is not None:
            observer.state_changed(self, before, after, now)

    # ------------------------------------------------------------------ the handshake

    def open_actively(self, now: float) -> None:
        """Open actively (RFC 9293 3.10.1). The next flush sends a SYN."""
        self.on(state.ACTIVE_OPEN, now)
        self.stack.output[self] = None

    def open_passively(self, syn: Segment, now: float) -> None:
        """Open passively, because a listener received `syn` (RFC 9293 3.10.7.2). The next flush sends a SYN-ACK, unless
        `open_from_cookie` calls this. Data and FIN on the SYN are ignored, because the peer retransmits them."""
        self.stack.counters.passive_opens += 1
        self.offers_mss = syn.mss is not None
        self.negotiate(syn, now)
        self.on(state.SYN_RECEIVED, now)
        self.stack.output[self] = None

    def open_from_cookie(self, syn: Segment, now: float) -> None:
        """Open from a SYN cookie that an ACK returned. `syn` is the SYN as reconstructed from the cookie. The SYN-ACK
        has left before; the caller then processes the ACK."""
        self.open_passively(syn, now)
        self.send_side.advance_over_syn()
        departure = self.recovery.depart(now)
        self.recovery.sent(1, departure)
        # The departure time of the SYN-ACK is unknown. Marked as retransmitted, it gives no RTT sample (Karn's rule).
        self.recovery.resent(0, 1, departure)

    def negotiate(self, syn: Segment, now: float) -> None:
        """Take over the ISN, window and options of the peer's SYN or SYN-ACK, but only options that we offer too."""
        config, largest, default_mss = self.config, self.receive_mss, self.stack.default_mss
        if syn.flags & ECE and self._agrees_on_ecn(syn.flags):
            self.ecn = Ecn()
        sack = config.sack and syn.sack_permitted
        ts_val = syn.ts_val if config.timestamps else None
        options = 0
        if ts_val is not None:
            self.timestamps = True
            options = TIMESTAMPS_LENGTH
        peer_shift = 0
        if config.window_scaling and syn.window_scale is not None:
            self.window_scaling = True
            peer_shift = min(syn.window_scale, MAX_WINDOW_SCALE)
        self.receive_side.synchronize(
            syn.seq,
            (largest if self.offers_mss else default_mss) - options,
            sack,
            self.window_scaling,
            ts_val,
            now,
        )
        self.send_side.open_window(syn.seq, syn.window, peer_shift)
        self.peer_mss = offered = default_mss if syn.mss is None else max(syn.mss, _MIN_SEND_MSS)
        self.mtu_search = None
        self.mss = mss = min(offered, largest) - options
        self.congestion = congestion = CONTROLLERS[config.congestion_control](mss, self.send_side.iss)
        self.recovery.begin(congestion, sack)

    def _agrees_on_ecn(self, flags: int) -> bool:
        """Return True if the flags of the peer's SYN or SYN-ACK request or accept ECN, and ours do as well. A
        retransmitted SYN of ours does not request ECN, so ECN must not be used after one (RFC 3168 6.1.1)."""
        if (flags & CWR == 0) == (flags & ACK == 0):  # a SYN has both flags, a SYN-ACK only ECE
            return False
        ecn = self.config.ecn
        return ecn != "off" if self.passive else ecn == "request" and not self.total_retransmits

    def syn_repeated(self, syn: Segment) -> None:
        """Adapt our SYN-ACK to a retransmitted SYN, so that it has only options that `syn` has."""
        self.offers_mss = self.offers_mss and syn.mss is not None
        if not syn.flags & (ECE | CWR):  # the first SYN may have been dropped because it requested ECN (RFC 3168 6.1.1)
            self.ecn = WITHOUT_ECN

    def repeat_syn(self) -> None:
        """Have the next flush send our SYN or SYN-ACK again, although no loss was detected."""
        self.resend_syn = True
        self.touch()

    def syn_leaves(self) -> None:
        """Clear `resend_syn`, because our SYN or SYN-ACK leaves."""
        self.resend_syn = False

    def establish(self, now: float) -> None:
        """Complete the handshake, because the peer has acknowledged our SYN. The caller reports CONNECTED."""
        congestion, rtt = self.congestion, self.rtt
        if self.total_retransmits:
            congestion.on_syn_lost()
            if not rtt.samples:
                rtt.syn_was_lost()
        congestion.on_established(rtt.srtt, now)
        if self.keepalive is NOT_STARTED:  # otherwise our user has already turned it on or off
            self.keepalive = Keepalive(self.config, now)
        if self.state < ESTABLISHED:  # otherwise our user has closed in SYN_RCVD
            self.on(state.SYN_ACKED, now)
            if self.send_side.fin_queued:  # the user half-closed before the handshake ended
                self.on(state.CLOSE, now)
        self.displaced = None

    def accept(self) -> None:
        """Hand the connection over from its listener to its user."""
        self.awaits_user = False
        if self.events:
            self.stack.ready[self] = None

    # ------------------------------------------------------------------ what is noted

    def report(self, events: int) -> None:
        """Report `events` (bits of `utcp.tcp.event`) to the user."""
        self.events |= events
        if not self.awaits_user:
            self.stack.ready[self] = None

    def touch(self) -> None:
        """Have the next flush process this connection."""
        self.stack.output[self] = None

    def ack_now(self) -> None:
        """Have the next flush send an ACK, on its own unless another segment carries it."""
        self.receive_side.owe_ack()
        self.touch()

    def count_segment(self) -> None:
        """Count a received segment of any kind."""
        self.segs_in += 1

    def note_received(self, now: float) -> None:
        """Record that an acceptable segment arrived."""
        self.last_received = now
        if self.keepalive.unanswered:
            self.keepalive.peer_answered()

    def note_arrival(self, count: int, events: int, needs_flush: bool, now: float) -> None:
        """Record that acceptable segments have arrived, report `events`, and have the next flush process this
        connection if `needs_flush`: the calls of `count_segment` (`count` times), `note_received`, `report` and
        `touch` in one."""
        self.segs_in += count
        self.last_received = now
        if self.keepalive.unanswered:
            self.keepalive.peer_answered()
        if events:
            self.events |= events
            if not self.awaits_user:
                self.stack.ready[self] = None
        if needs_flush:
            self.stack.output[self] = None

    def probe_peer(self, now: float) -> None:
        """Have the next flush send a keepalive probe, unless a segment of the peer arrives first or data leaves."""
        self.keepalive.probe(now)
        self.owe_probe(KEEPALIVE_PROBE)
        self.touch()

    def sent(self, size: int, fin: bool, probe: bool, segments: int, departure: Departure, now: float) -> None:
        """Record that `size` octets of data, and our FIN if `fin`, leave for the first time, as `segments` segments.
        `probe`: they are a zero-window probe."""
        self.stack.counters.orig_data_sent += segments
        self.send_side.advance(size, fin, probe, segments)
        self.recovery.sent(size + fin, departure)
        if self.pacer.rate != inf:
            self.pacer.sent(size)
        self.last_sent = now

    def set_soft_error(self, error: OSError | None) -> None:
        """Set the last network error; None: clear it."""
        self.soft_error = error

    def set_port_evidence(self, evidence: PortEvidence) -> None:
        """Set the evidence that the peer's UDP port is closed."""
        self.port_evidence = evidence

    def take_answer(self, kind: int, now: float, interval: float) -> bool:
        """Take one answer to an unverified segment of this kind from the rate limit (`rate_limit`). Return False if no
        answer may be sent."""
        limits = self.answer_limits
        if limits is None:
            self.answer_limits = limits = AnswerLimits()
        return limits.take(kind, now, interval)

    def note_retransmission(self, seq: int, length: int, now: float) -> None:
        """Record that `length` octets of sequence space from `seq` on are retransmitted."""
        self.total_retransmits += 1
        self.stack.counters.retrans_segs += 1
        observer = self.stack.routine_observer
        if observer is not None:
            observer.retransmitted(self, seq, length, now)

    def ts_now(self, now: float) -> int:
        """Return TSval at `now`: milliseconds, with an offset per connection (RFC 7323 5.4)."""
        return (int(now * 1000) + self.ts_offset) & MASK

    # ------------------------------------------------------------------ timers

    def deadlines(self) -> list[float]:
        """Return the deadline of each timer, in the order of `utcp.tcp.timers`; `inf`: off."""
        recovery = self.recovery
        return [
            recovery.retransmit_at,
            self.persist.deadline,
            self.receive_side.delayed_ack_at,
            self.keepalive.deadline,
            self.fin_wait_2_at,
            self.user_timeout_at,
            self.linger_at,
            recovery.probe_at,
            recovery.reorder_at,
            self.pacer.deadline,
        ]

    def next_deadline(self) -> float:
        """Return the earliest deadline of all timers; `inf`: none runs."""
        # Compiled, each comparison takes a few instructions, and min() of ten numbers would take 2,500.
        recovery = self.recovery
        earliest = recovery.retransmit_at
        if recovery.probe_at < earliest:
            earliest = recovery.probe_at
        if recovery.reorder_at < earliest:
            earliest = recovery.reorder_at
        if self.persist.deadline < earliest:
            earliest = self.persist.deadline
        if self.receive_side.delayed_ack_at < earliest:
            earliest = self.receive_side.delayed_ack_at
        if self.keepalive.deadline < earliest:
            earliest = self.keepalive.deadline
        if self.pacer.deadline < earliest:
            earliest = self.pacer.deadline
        if self.fin_wait_2_at < earliest:
            earliest = self.fin_wait_2_at
        if self.user_timeout_at < earliest:
            earliest = self.user_timeout_at
        if self.linger_at < earliest:
            earliest = self.linger_at
        return earliest

    def timed_out(self) -> None:
        """Count a retransmission timeout, or an unanswered zero-window probe, without progress."""
        self.retransmits += 1

    def owe_probe(self, kind: int) -> None:
        """Have the next flush send a probe of this kind, unless it is no longer useful by then."""
        self.probes_due |= kind

    def take_probes(self) -> int:
        """Return `probes_due`, and clear it."""
        due = self.probes_due
        self.probes_due = 0
        return due

    def restart_r2(self) -> None:
        """Restart R2, because the peer answers, even if its window stays closed (MUST-37, SHLD-17)."""
        self.retransmits = 0

    def progress(self, now: float) -> None:
        """Reset retransmission state, because SND.UNA has moved."""
        if self.retransmits:
            self.retransmits = 0
            if self.mtu_search is not None and self.mtu_search.first_passed(now):
                self.use_mss(self.mtu_search.size, now)
        self.soft_error = None
        self.user_timeout_at = inf
        if self.persist.probes:
            self.persist.begin_anew()

    def follow_congestion(self, now: float) -> None:
        """Set the pacing rate and grow the send buffer by the decisions of the congestion controller. A connection that
        is paced for the first time has the credit of the initial window with which it began."""
        congestion, pacer = self.congestion, self.pacer
        rate = congestion.pacing_rate if self.rtt.min_rtt >= UNPACED_BELOW else inf
        if rate != pacer.rate:
            if pacer is UNPACED:
                options = TIMESTAMPS_LENGTH if self.timestamps else 0
                credit = initial_window(min(self.peer_mss, self.receive_mss) - options)
                self.pacer = Pacer(now, credit, rate)
            else:
                pacer.set_rate(rate)
        # Twice the congestion window, as in Linux: the data in flight, and as much that waits.
        size = 2 * congestion.cwnd
        if size > self.send_side.limit:
            self.send_side.grow(size)

    def start_persist(self, deadline: float) -> None:
        """Start the persist timer: send a zero-window probe at `deadline` if the window is still closed."""
        if self.persist is NEVER_STARTED:
            self.persist = Persist()
        self.persist.start(deadline)

    def start_user_timeout(self, now: float) -> None:
        """Start the timer USER_TIMEOUT unless it runs, because something waits for an acknowledgement."""
        if self.user_timeout is not None and self.user_timeout_at == inf:
            self.user_timeout_at = now + self.user_timeout

    def wait_for_fin(self, now: float) -> None:
        """Start the timer FIN_WAIT_2: the peer has acknowledged our FIN after the user's close, and its FIN must arrive
        in time. Drop out-of-order text, which the user will not read."""
        self.fin_wait_2_at = now + self.config.fin_wait_2_timeout
        if self.receive_side.out_of_order.holding:
            self.discard_unread()

    def stop_user_timers(self, now: float) -> None:
        """Turn off those of the timers FIN_WAIT_2, USER_TIMEOUT and LINGER that have expired."""
        if self.fin_wait_2_at <= now:
            self.fin_wait_2_at = inf
        if self.user_timeout_at <= now:
            self.user_timeout_at = inf
        if self.linger_at <= now:
            self.linger_at = inf

    # ------------------------------------------------------------------ the size of segments

    @property
    def path_mtu(self) -> PathMtu:
        """Path MTU discovery, created at the first use."""
        if self.mtu_search is None:
            self.mtu_search = PathMtu(self.mss)
        return self.mtu_search

    def use_mss(self, mss: int, now: float) -> None:
        """Set the effective send MSS."""
        if mss != self.mss:
            before = self.mss
            self.mss = mss
            self.congestion.set_mss(mss)
            observer = self.stack.routine_observer
            if observer is not None:
                observer.mss_changed(self, before, now)

    # ------------------------------------------------------------------ ends

    def fin_arrived(self, now: float) -> None:
        """Change the state, because the peer's FIN and everything before it have arrived. The caller reports
        PEER_CLOSED."""
        acked = self.state == FIN_WAIT_1 and self.send_side.fin_acked
        self.on(state.FIN_RECEIVED_AND_ACKED if acked else state.FIN_RECEIVED, now)

    def fin_acknowledged(self, now: float) -> None:
        """Handle the ACK of our FIN, after the rest of its segment was processed, which may carry the peer's FIN. A
        second call has no effect, except that it ends a connection whose user has closed since."""
        before = self.state
        self.linger_at = inf
        if before in (FIN_WAIT_1, CLOSING, LAST_ACK):
            self.on(state.FIN_ACKED, now)
        if self.closed_by_user:
            if before == FIN_WAIT_1:
                self.wait_for_fin(now)
            self.end(None, now, delivered=True)

    def drop_half_open(self, now: float) -> None:
        """Delete a connection that was never handed to a user."""
        self.ended = True
        self.stack.counters.attempt_fails += 1
        self.delete_tcb(now)

    def fail(self, error: OSError | None, now: float) -> None:
        """Delete the TCB, and end the connection for its user with `error`; None: without an error."""
        if self.state == SYN_SENT or self.state == SYN_RCVD:
            self.stack.counters.attempt_fails += 1
        self.delete_tcb(now)
        self.end(error, now)

    def delete_tcb(self, now: float) -> None:
        """Enter CLOSED: no segment is processed or sent. Most deadlines stay set, but the stack ignores them."""
        if self.state == TIME_WAIT:  # an exception prevented the TIME_WAIT record
            self.skip_time_wait(now)
        elif self.state != CLOSED:
            self.on(state.DELETE, now)
        self.send_side.discard()
        self.receive_side.stop_delaying()  # or it would depend on whether segments or trains have arrived

    def skip_time_wait(self, now: float) -> None:
        """Leave TIME_WAIT at once, because the MSL is 0, memory is full, or the record could not be created."""
        self.on(state.EXPIRE, now)

    def abandon(self) -> None:
        """Make the stack ignore the connection, even if an exception interrupted its end."""
        self.state = CLOSED

    def end(self, error: OSError | None, now: float, *, delivered: bool = False) -> None:
        """End the connection for its user: report ENDED with `error`. A second call reports nothing. `delivered`: the
        peer has acknowledged all data and the FIN."""
        if self.ended:
            return
        self.report(event.ENDED)  # before `ended` is set, so that the call can be repeated if this raises
        self.ended = True
        self.error = error
        endings = self.stack.endings
        if delivered:
            endings.delivered += 1
        else:
            endings.note(error)
        observer = self.stack.routine_observer if error is None else self.stack.observer
        if observer is not None:
            observer.connection_ended(self, now)

    def discard_unread(self) -> None:
        """Drop received data that the user will not read."""
        receive = self.receive_side
        if receive.readable or receive.out_of_order.holding:
            receive.discard()
            self.stack.accounts.note(self)

    def take_displaced(self) -> TimeWait | None:
        """Return the TIME_WAIT record to restore if the SYN of this half-open connection was an old duplicate (RFC 9293
        3.6.1, MAY-2); None for any other connection."""
        displaced = self.displaced
        self.displaced = None
        return displaced
