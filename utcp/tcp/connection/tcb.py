"""The transmission control block of a connection (RFC 9293 3.3.1), and what it may use of its stack.

A TCB owns the state and its parts; each part owns its variables. What segments do to it stands in `arrival.py` and
`fast_path.py`, what it sends in `output.py` and `burst.py`, what its timers do in `timeouts.py`, and the calls of its
user in `connection.py`. These modules change it only through its methods and those of its parts.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

from utcp.config import Config
from utcp.errors import ConnectionAborted
from utcp.tcp import event, state
from utcp.tcp.allowance import Allowance
from utcp.tcp.congestion import controller
from utcp.tcp.connection.ecn import Ecn
from utcp.tcp.connection.keepalive import Keepalive
from utcp.tcp.connection.persist import Persist
from utcp.tcp.connection.port_evidence import PortEvidence
from utcp.tcp.counters import Counters
from utcp.tcp.endings import Endings
from utcp.tcp.isn import SequenceNumbers
from utcp.tcp.pacing import Pacer
from utcp.tcp.path_mtu import PathMtu
from utcp.tcp.rate_limit import AnswerLimits, TokenBucket
from utcp.tcp.receive import ReceiveSide
from utcp.tcp.recovery.recovery import Recovery
from utcp.tcp.recovery.scoreboard import Departure
from utcp.tcp.rtt import RttEstimator
from utcp.tcp.send import SendSide
from utcp.tcp.state import CLOSED, CLOSING, LAST_ACK, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.tcp.syn_cookies import SynCookies
from utcp.tcp.time_wait import ConnectionKey, TimeWait
from utcp.tcp.timers import Place, Timed
from utcp.tcp.transmit import Outbox, Remote
from utcp.wire import ACK, CWR, ECE, RST, Segment, encode
from utcp.wire.options import MAX_WINDOW_SCALE, TIMESTAMPS_LENGTH
from utcp.wire.seq import MASK

_MIN_SEND_MSS: Final = 64
"""A peer that offers less would have us send more header than data."""

_INITIAL_SEND_BUFFER: Final = 1 << 20

_RESET_SECONDS: Final = 10.0
"""How many seconds' worth of `Config.reset_rate` may leave at once."""


class Accounts:
    """What connections are charged in memory: a `Memory`, the only subclass."""

    def __init__(self) -> None:
        self.allowance = Allowance()
        """What the parts of connections look at. They know no more of this, so that no reference leads back to them."""

    @property
    def floods(self) -> bool:
        """No further SYN is to leave state behind."""
        raise NotImplementedError

    def enter(self, tcb: Tcb) -> None:
        """Charge a connection which our user has opened, or whose handshake has completed."""
        raise NotImplementedError

    def enter_half_open(self, tcb: Tcb) -> None:
        """Charge a connection that a SYN has opened."""
        raise NotImplementedError

    def note(self, tcb: Tcb) -> None:
        """Charge a connection what it takes now."""
        raise NotImplementedError

    def adopt_orphan(self, tcb: Tcb) -> None:
        """The user has closed a connection, which goes on delivering."""
        raise NotImplementedError


class Accepting:
    """What takes the connections that peers open: a `Listener`, the only subclass."""

    def completed(self, tcb: Tcb) -> None:
        """A handshake has completed: the connection waits to be accepted."""
        raise NotImplementedError

    def has_waiting(self, tcb: Tcb) -> bool:
        """Return whether the connection waits to be accepted."""
        raise NotImplementedError

    def dropped(self, tcb: Tcb) -> None:
        """A half-open connection is over."""
        raise NotImplementedError


class Context:
    """What connections may use of their stack, which is a `Stack`, the only subclass.

    `config` and `default_mss` are those of the stack. `settle` is to be called after each event of a connection: it
    does what the stack has to do about it.
    """

    def __init__(
        self,
        config: Config,
        default_mss: int,
        counters: Counters,
        accounts: Accounts,
        secret: bytes,
        max_segments: int,
        max_bytes: int,
    ) -> None:
        self.config = config
        self.default_mss = default_mss
        self.counters = counters
        self.endings = Endings()
        self.accounts = accounts
        self.sequence_numbers = SequenceNumbers(secret)
        self.cookies = SynCookies(secret)
        self.observer: Any = None
        """The `Tee` that calls the observers; None if there are none. `tap` is the same if one of them sees segments,
        else None. Observers are told of `Connection`, which is made of what is here."""
        self.tap: Any = None
        self.output: dict[Tcb, None] = {}
        """The connections that the next flush looks at, in order."""
        self.ready: dict[object, None] = {}
        """The connections and listeners to whose users something has happened, in order."""
        self._outbox = Outbox(max_segments, max_bytes)
        self._answers = Outbox(max_segments, max_bytes, to_strangers=True)
        """What leaves for senders that have not proven to be at their address."""
        self._resets = TokenBucket(config.reset_rate, config.reset_rate * _RESET_SECONDS)

    def settle(self, tcb: Tcb, now: float) -> None:
        """Do what the stack has to do after an event of `tcb`: a segment, a call of its user, a timer."""
        raise NotImplementedError

    def break_off(self, tcb: Tcb, cause: BaseException, now: float) -> bool:
        """End the connection, because `cause` was raised in the middle of its processing. Return whether its user is
        told."""
        raise NotImplementedError

    def contain(self, tcb: Tcb, cause: BaseException, now: float) -> bool:
        """`break_off`, where the caller goes on with other connections. Return whether it may."""
        raise NotImplementedError

    def forget(self, tcb: Tcb, free_at: float = 0.0) -> None:
        """Note that the connection has no TCB any more; its ports are free from `free_at` on."""
        raise NotImplementedError

    def is_half_open(self, tcb: Tcb) -> bool:
        """Return whether the connection awaits the end of a listener's handshake."""
        raise NotImplementedError

    def refuses(self, remote: Remote, now: float) -> bool:
        """Return whether a limit of the stack forbids a connection that `remote` opens. If so, it is reported."""
        raise NotImplementedError

    def half_opened(self, tcb: Tcb, listener: Accepting) -> None:
        """A SYN has opened the connection, which belongs to `listener` until it is accepted."""
        raise NotImplementedError

    def forget_listener(self, local_port: int) -> None:
        """The listener of this port has stopped listening."""
        raise NotImplementedError

    def unverified_receive_mss(self, remote: Remote, now: float) -> int:
        """Return `receive_mss` towards the sender of a SYN, whose address may be forged."""
        raise NotImplementedError

    def receive_mss(self, remote: Remote, config: Config) -> int:
        """Return the MSS to offer towards `remote`."""
        raise NotImplementedError

    def seconds_in_time_wait(self, key: ConnectionKey, now: float) -> float | None:
        """Return for how long TIME_WAIT still holds these ports, None if it does not."""
        raise NotImplementedError

    def port_closed(self, tcb: Tcb, since: float, now: float) -> None:
        """The UDP port of the connection's remote has been closed since `since`."""
        raise NotImplementedError

    def put(self, remote: Remote, segment: Segment, now: float, *, to_stranger: bool = False) -> None:
        """Have `segment` leave with the next flush. `to_stranger`: nothing has come from `remote` that proves that
        anybody is there (`Transmit`)."""
        if segment.flags & RST:
            self.counters.out_rsts += 1
        self.put_octets(remote, encode(segment), now, to_stranger=to_stranger)

    def put_octets(self, remote: Remote, data: bytes, now: float, *, to_stranger: bool = False) -> None:
        """`put`, for a segment that is encoded already."""
        self.counters.out_segs += 1
        outbox = self._answers if to_stranger else self._outbox
        outbox.add(remote, data, None, len(data))
        if self.tap is not None:
            self.tap.segment_sent(remote, [data], now)

    def reset_in_reply(self, remote: Remote, segment: Segment, now: float, *, to_stranger: bool = True) -> bool:
        """Send the RST that answers an unwelcome segment (RFC 9293 3.10.7.1), and return whether it left. The caller
        makes sure that the segment is no RST.

        `Config.reset_rate` limits them, because their senders are unknown.
        """
        if not self._resets.take(now):
            self.counters.resets_withheld += 1
            return False
        if segment.flags & ACK:
            reset = Segment(segment.dst_port, segment.src_port, segment.ack, 0, RST)
        else:
            ack = (segment.seq + segment.length) & MASK
            reset = Segment(segment.dst_port, segment.src_port, 0, ack, RST | ACK)
        self.put(remote, reset, now, to_stranger=to_stranger)
        return True


class Tcb(Timed):
    """The state of a connection, its parts, and its ends. `now` is the stack's time in seconds."""

    __slots__ = (
        "_events",
        "_path",
        "answer_limits",
        "awaits_user",
        "charge",
        "closed_by_user",
        "config",
        "congestion",
        "context",
        "displaced",
        "ecn",
        "ended",
        "error",
        "fin_wait_2_at",
        "keepalive",
        "key",
        "last_heard",
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
        "place",
        "port_evidence",
        "receive_mss",
        "receive_side",
        "recovery",
        "remote",
        "remote_port",
        "resend_syn",
        "retransmits",
        "rtt",
        "sack",
        "segs_in",
        "send_side",
        "soft_error",
        "stack",
        "state",
        "tail_probe_due",
        "timestamps",
        "total_retransmits",
        "ts_offset",
        "user_timeout",
        "user_timeout_at",
        "window_scaling",
    )

    def __init__(
        self,
        stack: Context,
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
        self.stack = stack
        self.key = key
        self.remote, self.remote_port, self.local_port = key
        self.config = config
        self.context = context
        """What the user of the connection hangs on it. The stack does not look at it."""
        self.state = self._path = LISTEN if passive else CLOSED
        self.passive = passive
        """A SYN of the peer has opened the connection."""
        self.awaits_user = passive
        """No user has accepted the connection yet: it belongs to a listener."""
        self.displaced = displaced
        """The TIME_WAIT record that this half-open connection took the place of."""
        self.opened_at = now
        self.error: OSError | None = None
        self.ended = False
        """Its user has been told that it is over (event ENDED)."""
        self.closed_by_user = False
        self.charge = 0
        """Octets of memory that it is charged (`utcp.tcp.memory`)."""
        self._events = 0
        self.send_side = SendSide(
            iss,
            config.send_buffer or min(_INITIAL_SEND_BUFFER, config.max_send_buffer),
            config.send_buffer or config.max_send_buffer,
            stack.accounts.allowance,
        )
        limit, maximum = config.recv_buffer_sizes
        self.receive_side = ReceiveSide(limit, maximum, stack.counters, stack.accounts.allowance)
        self.rtt = RttEstimator(config.rto_initial, config.rto_min, config.rto_max)
        self.receive_mss = receive_mss
        """The MSS that we offer: the largest payload we take in one segment."""
        self.offers_mss = True
        """Our SYN has the MSS option. A SYN-ACK has it only if the SYN had: it is not longer than what it answers."""
        self.mss = receive_mss
        """The effective send MSS: payload of a full-sized segment, timestamps already subtracted."""
        self.peer_mss = receive_mss
        """The largest payload that the peer says it takes."""
        self.mtu_search: PathMtu | None = None
        """The search for the segment size that the path takes; None until there is a doubt."""
        self.congestion = controller(config.congestion_control, receive_mss, iss)
        self.recovery = Recovery(self.congestion, self.rtt, stack.counters, now)
        self.pacer = Pacer(now)
        self.persist = Persist()
        self.keepalive = Keepalive(config.keepalive_idle, config.keepalive_interval, config.keepalive_count)
        self.ecn = Ecn()
        self.place = Place(self)
        self.ts_offset = ts_offset
        self.window_scaling = False
        self.timestamps = False
        self.sack = False
        self.resend_syn = False
        """Our SYN or SYN-ACK is to be sent again, although nothing shows that it was lost."""
        self.retransmits = 0
        """Timeouts in a row without progress: what R2 counts (RFC 9293 3.8.3)."""
        self.total_retransmits = 0
        self.tail_probe_due = False
        """The next flush sends a tail loss probe."""
        self.segs_in = 0
        """Segments of all kinds that arrived."""
        self.last_sent = now
        """When data, a SYN or a FIN left for the first time; `last_heard`: when an acceptable segment arrived."""
        self.last_heard = now
        self.answer_limits: AnswerLimits | None = None
        """None until the first segment that proves nothing about its sender arrives; few connections receive one."""
        self.soft_error: OSError | None = None
        """What the network has said of the peer since it last acknowledged something."""
        self.port_evidence: PortEvidence | None = None
        """None until an ICMP message says that the peer's UDP port is closed."""
        self.nodelay = config.nodelay
        self.linger: float | None = None
        """Seconds that delivery may take after the close (SO_LINGER); None: `Config.orphan_timeout` decides."""
        self.user_timeout = config.user_timeout
        self.fin_wait_2_at = inf
        """When the timers FIN_WAIT_2, LINGER and USER_TIMEOUT expire; `inf`: they are off."""
        self.linger_at = inf
        self.user_timeout_at = inf

    def __repr__(self) -> str:
        name = state.NAMES[self.state]
        return f"<{type(self).__name__} {self.local_port} -> {self.remote}:{self.remote_port} {name}>"

    # ------------------------------------------------------------------ state

    @property
    def unproven(self) -> bool:
        """A SYN has opened the connection, and its sender, which may be anywhere, has not acknowledged our SYN-ACK."""
        return self.state == SYN_RCVD and self.passive

    @property
    def path(self) -> tuple[int, ...]:
        """The states taken so far, CLOSED or LISTEN first, the present one last."""
        return state.unpack(self._path) if self.passive else (CLOSED, *state.unpack(self._path))

    @property
    def send_queue(self) -> int:
        """Payload octets accepted and not acknowledged yet."""
        return self.send_side.queued - self.send_side.acked

    def on(self, happened: int, now: float) -> None:
        """Change the state as the table says (`utcp.tcp.state`). Raises IllegalTransition if it has no such row."""
        before = self.state
        after = state.SUCCESSORS[before][happened]
        if after < 0:
            raise state.illegal(before, happened)
        self.state = after
        self._path = self._path << 4 | after
        observer = self.stack.observer
        if observer is not None:
            observer.state_changed(self, before, after, now)

    # ------------------------------------------------------------------ the handshake

    def open_actively(self, now: float) -> None:
        """Active OPEN (RFC 9293 3.10.1): a SYN will leave."""
        self.on(state.ACTIVE_OPEN, now)
        self.stack.accounts.enter(self)
        self.touch()

    def open_passively(self, syn: Segment, now: float) -> None:
        """A listener received `syn` (RFC 9293 3.10.7.2): a SYN-ACK will leave. Text and FIN on the SYN are left for the
        peer to send again."""
        self.offers_mss = syn.mss is not None
        self._half_open(syn, now)
        self.touch()

    def open_from_cookie(self, syn: Segment, now: float) -> None:
        """An ACK brought back a SYN cookie: `syn` is what that tells of the SYN. The SYN-ACK left long ago; the caller
        goes on to process the ACK."""
        self._half_open(syn, now)
        self.send_side.advance_over_syn()
        departure = self.recovery.depart(now)
        self.recovery.sent(1, departure)
        self.recovery.resent(0, 1, departure)  # it is unknown when it left: Karn's rule, no round trip is measured

    def _half_open(self, syn: Segment, now: float) -> None:
        self.stack.counters.passive_opens += 1
        self.negotiate(syn, now)
        self.on(state.SYN_RECEIVED, now)
        self.stack.accounts.enter_half_open(self)

    def negotiate(self, syn: Segment, now: float) -> None:
        """Take the peer's SYN or SYN-ACK: its ISN, window and options, as far as we offer them too."""
        send, receive, config = self.send_side, self.receive_side, self.config
        receive.synchronize(syn.seq)
        self.sack = config.sack and syn.sack_permitted
        self.recovery.use_sack(self.sack)
        receive.use_sack(self.sack)
        # A second and later SYN does not ask for ECN, so its sender must not mark (RFC 3168 6.1.1).
        asked = config.ecn == "request" and not self.total_retransmits
        agreed = syn.flags & (ECE | CWR) == (ECE if syn.flags & ACK else ECE | CWR)
        self.ecn.agree(agreed and (config.ecn != "off" if self.passive else asked))
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
        self.mtu_search = None
        options = TIMESTAMPS_LENGTH if self.timestamps else 0
        self.mss = min(offered, self.receive_mss) - options
        receive.expect_mss((self.receive_mss if self.offers_mss else self.stack.default_mss) - options)
        self.congestion.begin(self.mss)

    def syn_repeated(self, syn: Segment) -> None:
        """The peer has sent its SYN again, and gets the SYN-ACK again, with no option that `syn` has not."""
        self.offers_mss = self.offers_mss and syn.mss is not None
        if not syn.flags & (ECE | CWR):  # the first one asked, and may have been lost for it (RFC 3168 6.1.1)
            self.ecn.agree(False)

    def repeat_syn(self) -> None:
        """Send our SYN or SYN-ACK again, although nothing shows that it was lost."""
        self.resend_syn = True
        self.touch()

    def syn_leaves(self, now: float, first: bool) -> None:
        """Our SYN or SYN-ACK leaves."""
        self.resend_syn = False
        if first:
            self.last_sent = now

    def establish(self, now: float) -> None:
        """The peer has acknowledged our SYN."""
        if self.total_retransmits:
            self.congestion.on_syn_lost()
            if self.rtt.srtt is None:
                self.rtt.syn_was_lost()
        self.congestion.on_established(self.rtt.srtt or 0.0, now)
        if self.config.keepalive:
            self.keepalive.start(now)
        if self.state == SYN_SENT or self.state == SYN_RCVD:
            self.on(state.SYN_ACKED, now)
            if self.send_side.fin_queued:  # the user half-closed before the handshake ended
                self.on(state.CLOSE, now)
        self.displaced = None
        self.tell(event.CONNECTED)

    def accept(self) -> None:
        """A listener hands the connection to its user."""
        self.awaits_user = False
        if self._events:
            self.stack.ready[self] = None

    # ------------------------------------------------------------------ what is noted

    def tell(self, events: int) -> None:
        """Tell the user that `events` happened (bits of `utcp.tcp.event`)."""
        self._events |= events
        if not self.awaits_user:
            self.stack.ready[self] = None

    def touch(self) -> None:
        """Have the next flush look at this connection."""
        self.stack.output[self] = None

    def ack_now(self) -> None:
        """Have the next flush send an ACK, by itself if no other segment carries it."""
        self.receive_side.owe_ack()
        self.touch()

    def count_segments(self, count: int) -> None:
        """So many segments of any kind arrived."""
        self.segs_in += count

    def heard(self, now: float) -> None:
        """An acceptable segment arrived."""
        self.last_heard = now
        if self.keepalive.unanswered:
            self.keepalive.heard()

    def heard_in_order(self, count: int, now: float) -> None:
        """`count` acceptable segments arrived: `count_segments` and `heard` together."""
        self.segs_in += count
        self.last_heard = now
        if self.keepalive.unanswered:
            self.keepalive.heard()

    def probe_peer(self, now: float) -> None:
        """Have the next flush send a keepalive probe, unless the peer is heard of before that or data leaves."""
        self.keepalive.probe(now)
        self.touch()

    def sent(self, size: int, fin: bool, probe: bool, segments: int, departure: Departure, now: float) -> None:
        """`size` octets of text, and our FIN if `fin`, leave for the first time in so many `segments`; as a zero-window
        probe if `probe`."""
        self.send_side.advance(size, fin, probe, segments)
        self.recovery.sent(size + fin, departure)
        if self.pacer.rate != inf:
            self.pacer.sent(size)
        self.last_sent = now

    def set_charge(self, charge: int) -> None:
        """The connection is charged `charge` octets of memory from now on (`utcp.tcp.memory`)."""
        self.charge = charge

    def set_soft_error(self, error: OSError | None) -> None:
        """The network has said that the peer is out of reach; None: the peer has acknowledged something since."""
        self.soft_error = error

    def set_port_evidence(self, evidence: PortEvidence) -> None:
        """An ICMP message says that the peer's UDP port is closed."""
        self.port_evidence = evidence

    def take_answer(self, kind: int, now: float, interval: float) -> bool:
        """Take the right to answer a segment of this kind (`rate_limit`), which proves nothing. False: no answer."""
        limits = self.answer_limits
        if limits is None:
            self.answer_limits = limits = AnswerLimits()
        return limits.take(kind, now, interval)

    def note_retransmission(self, seq: int, length: int, now: float) -> None:
        """`length` octets of sequence space from `seq` on are about to leave again."""
        self.total_retransmits += 1
        self.stack.counters.retrans_segs += 1
        observer = self.stack.observer
        if observer is not None:
            observer.retransmitted(self, seq, length, now)

    def ts_now(self, now: float) -> int:
        """TSval at `now`: milliseconds, offset per connection (RFC 7323 5.4)."""
        return (int(now * 1000) + self.ts_offset) & MASK

    # ------------------------------------------------------------------ timers

    def deadlines(self) -> list[float]:
        """When each timer expires, by its number in `utcp.tcp.timers`; `inf`: it is off."""
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
        """When the first timer expires; `inf`: none runs."""
        recovery = self.recovery
        return min(
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
        )

    def timed_out(self) -> None:
        """A retransmission timeout, or a zero-window probe, has gone by without progress."""
        self.retransmits += 1

    def send_tail_probe(self, due: bool) -> None:
        """Have the next flush send a tail loss probe; False: it does so now."""
        self.tail_probe_due = due

    def answered(self) -> None:
        """The peer answers, although its window may stay closed: R2 begins anew (MUST-37, SHLD-17)."""
        self.retransmits = 0

    def progress(self, now: float) -> None:
        """SND.UNA has moved."""
        if self.retransmits:
            self.retransmits = 0
            if self.mtu_search is not None and self.mtu_search.first_passed(now):
                self.use_mss(self.mtu_search.size, now)
        self.soft_error = None
        self.user_timeout_at = inf
        if self.persist.probes:
            self.persist.begin_anew()

    def start_user_timeout(self, now: float) -> None:
        """Something waits for an acknowledgement: the timer USER_TIMEOUT runs, if it did not."""
        if self.user_timeout is not None and self.user_timeout_at == inf:
            self.user_timeout_at = now + self.user_timeout

    def wait_for_fin(self, now: float) -> None:
        """The user has closed, and the peer has acknowledged our FIN: its own must arrive in time."""
        self.fin_wait_2_at = now + self.config.fin_wait_2_timeout

    def fin_acknowledged(self, now: float) -> None:
        """The peer has acknowledged our FIN: nothing is left to be delivered. In FIN_WAIT_1 the state changes only
        after the rest of the segment, which may carry the peer's FIN."""
        self.linger_at = inf
        if self.state == CLOSING:
            self.enter_time_wait(state.FIN_ACKED, now)
        elif self.state == LAST_ACK:
            self.on(state.FIN_ACKED, now)
            self._let_go()

    def stop_user_timers(self, now: float) -> None:
        """Turn the timers FIN_WAIT_2, USER_TIMEOUT and LINGER off if they have expired."""
        if self.fin_wait_2_at <= now:
            self.fin_wait_2_at = inf
        if self.user_timeout_at <= now:
            self.user_timeout_at = inf
        if self.linger_at <= now:
            self.linger_at = inf

    # ------------------------------------------------------------------ the size of segments

    @property
    def path_mtu(self) -> PathMtu:
        """The search for the segment size that the path takes: made when there is a doubt."""
        if self.mtu_search is None:
            self.mtu_search = PathMtu(self.mss)
        return self.mtu_search

    def mtu_probe_due(self, now: float) -> int:
        """The size of a probe of the path MTU that may be sent now, 0 for none."""
        if self.mtu_search is None:
            return 0
        send = self.send_side
        # Behind it there is data, by which its loss will show (RFC 8899 5.2, RFC 4821 7.4).
        return self.mtu_search.due(min(send.unsent, send.usable_window) - 3 * self.mss, now)

    def mtu_probe_over(self, size: int, arrived: bool, now: float) -> None:
        """A probe of the path MTU has arrived or is lost (RFC 8899 5.2)."""
        if arrived:
            self.path_mtu.arrived(size, now)
        else:
            self.path_mtu.lost(size, now)
        self.use_mss(self.path_mtu.size, now)

    def use_mss(self, mss: int, now: float) -> None:
        """The path takes segments of this size from now on."""
        if mss != self.mss:
            before = self.mss
            self.mss = mss
            self.congestion.set_mss(mss)
            observer = self.stack.observer
            if observer is not None:
                observer.mss_changed(self, before, now)

    # ------------------------------------------------------------------ ends

    def drop_half_open(self, now: float) -> None:
        """Delete a connection that no user has heard of."""
        self.ended = True
        self.stack.counters.attempt_fails += 1
        self.delete_tcb(now)

    def refuse(self, now: float) -> None:
        """Reset the peer of a half-open passive connection, and drop it (RFC 9293 3.10.5, SYN-RECEIVED)."""
        reset = Segment(self.local_port, self.remote_port, self.send_side.snd_nxt, 0, RST)
        self.stack.put(self.remote, reset, now, to_stranger=True)
        self.drop_half_open(now)

    def send_reset(self, error: OSError | None, now: float, *, with_ack: bool = False, in_reply: bool = False) -> None:
        """Send RST, and fail with `error`. RFC 9293 3.10.5: <SEQ=SND.NXT><CTL=RST>, with a SEQ that the peer's window
        allows. In SYN_SENT there is no peer to reset.

        Args:
            error: what the user is told; None: the user asked for it.
            with_ack: the RST acknowledges what has arrived.
            in_reply: the RST answers a segment, and its SEQ is SEG.ACK (RFC 9293 3.5.2, group 1). That is exact unless
                data in flight arrives first; then a second RST, with SEQ=SND.NXT, is exact. The peer drops the other.
        """
        if self.state == SYN_SENT:
            self.fail(error, now)
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
            send.note_empty()
            self.stack.put(self.remote, segment, now, to_stranger=self.unproven)
        self.fail(error, now)

    def undelivered(self, reason: str) -> OSError | None:
        """Return the error of a reset that we cause: None when all that our user sent was acknowledged."""
        if not self.send_queue:
            return None
        return ConnectionAborted(f"Connection aborted: {reason}, {self.send_queue} octets of ours were unacknowledged")

    def fail(self, error: OSError | None, now: float) -> None:
        """End by force, or for `error`, of which the user is told."""
        if self.state == SYN_SENT or self.state == SYN_RCVD:
            self.stack.counters.attempt_fails += 1
        self.delete_tcb(now)
        self.end(error, now)

    def delete_tcb(self, now: float) -> None:
        """Enter CLOSED: nothing arrives here, nothing leaves, no timer runs."""
        if self.state == TIME_WAIT:  # an exception came between its beginning and its record
            self.skip_time_wait(now)
        elif self.state != CLOSED:
            self.on(state.DELETE, now)
        self._let_go()

    def enter_time_wait(self, happened: int, now: float) -> None:
        """Enter TIME_WAIT: from here on a record in the stack's table answers for the connection. What was received can
        still be read."""
        self.on(happened, now)
        self._let_go()

    def skip_time_wait(self, now: float) -> None:
        """TIME_WAIT is over as soon as it began: the MSL is 0, memory is full, or no record could be made."""
        self.on(state.EXPIRE, now)

    def _let_go(self) -> None:
        """Let go of what is of no use any more. The timers still run, but the stack does not look at them."""
        self.send_side.discard()
        self.recovery.discard()
        self.receive_side.stop_delaying()

    def abandon(self) -> None:
        """See that the stack processes the connection no more, wherever an exception has cut its end off."""
        self.state = CLOSED

    def peer_has_gone(self, now: float) -> None:
        """End a connection in CLOSING or LAST_ACK of which only the FIN is unacknowledged, as the ACK of the FIN would.
        The peer has closed and has acknowledged all data, and nothing is left of it that could acknowledge the FIN."""
        self.send_side.acknowledge(self.send_side.snd_nxt)
        self.delete_tcb(now)
        self.end_if_delivered(now)

    def end_if_delivered(self, now: float) -> None:
        """End without an error if the user has closed and everything is acknowledged."""
        if self.closed_by_user and self.send_side.fin_acked:
            self.end(None, now, delivered=True)

    def end(self, error: OSError | None, now: float, *, delivered: bool = False) -> None:
        """The connection is over for its user."""
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

    def discard_unread(self) -> None:
        """Drop what was received and not read: the user will not read it."""
        self.receive_side.discard()
        self.stack.accounts.note(self)

    def take_displaced(self) -> TimeWait | None:
        """Return the TIME_WAIT record to restore: the SYN that opened this half-open connection was an old duplicate
        after all (RFC 9293 3.6.1, MAY-2). None for any other connection."""
        displaced = self.displaced
        self.displaced = None
        return displaced
