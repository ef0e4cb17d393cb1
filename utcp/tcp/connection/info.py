"""A connection's variables at one moment, for people and tools (RFC 9293 3.10.6, STATUS)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from utcp.tcp import state
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.timers import NAMES
from utcp.wire import HEADER_LENGTH
from utcp.wire.options import TIMESTAMPS_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """What TCP_INFO of Linux shows, under its names without `tcpi_`; state and sequence variables as RFC 9293 has them.

    Units are the same everywhere: seconds, octets, octets per second. Linux has microseconds (milliseconds in some
    fields), and counts what is in flight, the windows in which it stands, and what is delivered in segments; here only
    `total_retrans`, `segs_*`, `data_segs_*`, `dsack_dups`, `reord_seen`, `rcv_ooopack`, `retransmits`, `probes` and
    `backoff` are numbers of something else than octets. Sequence numbers are absolute.

    Of TCP_INFO there is no `fackets` and `last_ack_sent` (Linux does not fill them either), `reordering` (RACK has no
    threshold that grows: `reord_seen`), `rcv_ssthresh` and `rcv_rtt` (the receive buffer is sized by what was read in a
    round trip, and shown as `rcv_space`), `max_pacing_rate` (no such limit), `busy_time`, `rwnd_limited` and
    `sndbuf_limited` (they would need a clock for each change of what limits the sender), `rehash`, `total_rto*`, and
    nothing of TCP Fast Open.
    """

    state: str
    path: tuple[str, ...]
    """The states taken so far, the present one last."""
    timers: dict[str, float]
    """The timers that run, by their names in `utcp.tcp.timers`, and "time_wait": seconds left, 0 when due."""
    local_port: int
    remote_port: int

    # What was sent and is not acknowledged
    snd_una: int
    snd_nxt: int
    snd_wnd: int
    """The peer's window, scaled."""
    unacked: int
    """Octets of sequence space sent and not acknowledged cumulatively."""
    in_flight: int
    """Those of them that are under way: not SACKed, not taken for lost, or sent again since."""
    sacked: int
    """Those that the peer has told of by SACK."""
    lost: int
    """Those that are taken for lost and were not sent again yet. Linux counts those that were as well."""
    retrans: int
    """Those in flight that were sent again."""
    notsent_bytes: int
    """Octets accepted from the application and not sent yet."""

    # What was received
    rcv_nxt: int
    rcv_wnd: int
    """The window last offered, scaled."""
    rcv_space: int
    """Octets that the receive buffer holds at present; it may grow (`Config.max_recv_buffer`)."""
    unread: int
    """Octets received and not read by the application yet."""

    # Congestion control and recovery
    congestion_control: str
    """The name of the controller (`Config.congestion_control`)."""
    ca_state: str
    """"open", "disorder" (something arrived out of order, nothing is taken for lost), "cwr" (the window shrinks after a
    congestion mark), "recovery" (fast recovery) or "loss" (after a timeout)."""
    snd_cwnd: int
    """The congestion window in force, octets. In fast recovery, and after a congestion mark, that is the window of
    proportional rate reduction (RFC 9937) unless the controller leads by itself (BBR)."""
    snd_ssthresh: int
    """The slow start threshold, octets."""
    pacing_rate: float
    """Octets per second; infinite when nothing is paced."""
    delivery_rate: float
    """The latest measurement, octets per second; 0 before the first."""
    delivery_rate_app_limited: bool
    """It was the application, not the path, that set this rate."""
    retransmits: int
    """Timeouts in a row without progress."""
    backoff: int
    """How often `rto` has been doubled since the last measurement."""
    probes: int
    """Window probes and keepalive probes that are unanswered."""
    reord_seen: int
    """ACKs that told of something overtaken on the way."""
    dsack_dups: int
    """Segments of ours that the peer says it received twice (RFC 2883)."""

    # Times, in seconds
    rtt: float
    """The smoothed round-trip time; 0 before the first measurement."""
    rttvar: float
    """The variation of the round-trip time; 0 before the first measurement."""
    rto: float
    """The retransmission timeout, back-off included."""
    min_rtt: float
    """The lowest round-trip time of the last five minutes; 0 before the first."""
    ato: float
    """For how long an ACK may be delayed; 0: not at all."""
    last_data_sent: float
    """Since data, a SYN or a FIN left for the first time; `last_ack_recv`: since an acceptable segment arrived."""
    last_ack_recv: float
    last_data_recv: float | None
    """Since text arrived; None when none has."""

    # Segment sizes
    snd_mss: int
    """Payload of a full-sized segment as we send them."""
    rcv_mss: int
    """The largest payload received, 536 at first, and never more than the MSS that we offer allows."""
    advmss: int
    """The MSS that we offer."""
    pmtu: int
    """The UDP payload that a full-sized segment makes."""

    # Totals since the connection began
    bytes_sent: int
    """Payload sent, each time that it was sent; `bytes_retrans`: not for the first time."""
    bytes_retrans: int
    bytes_acked: int
    """Payload acknowledged, and received in order."""
    bytes_received: int
    segs_out: int
    """Segments of all kinds, and those with text among them."""
    data_segs_out: int
    segs_in: int
    data_segs_in: int
    total_retrans: int
    """Segments sent again."""
    delivered: int
    """Octets of sequence space known to have arrived, by ACK or SACK; `delivered_ce`: by an ACK with ECE."""
    delivered_ce: int
    rcv_ooopack: int
    """Segments that arrived out of order."""

    # What was agreed on
    window_scaling: bool
    snd_wscale: int
    """What the peer's window field is shifted by, and ours."""
    rcv_wscale: int
    timestamps: bool
    sack: bool
    ecn: bool

    @property
    def options(self) -> tuple[str, ...]:
        """What was agreed on, as `ss` writes it: of "ts", "sack", "ecn", "wscale"."""
        agreed = {"ts": self.timestamps, "sack": self.sack, "ecn": self.ecn, "wscale": self.window_scaling}
        return tuple(name for name, is_on in agreed.items() if is_on)


def info_of(tcb: Tcb, now: float) -> ConnectionInfo:
    """The variables of `tcb` at `now`."""
    send, receive, recovery, rtt = tcb.send_side, tcb.receive_side, tcb.recovery, tcb.rtt
    last_data = receive.last_data_at
    return ConnectionInfo(
        state=state.NAMES[tcb.state],
        path=tuple(state.NAMES[number] for number in tcb.path),
        timers=_seconds_left(tcb, now),
        local_port=tcb.local_port,
        remote_port=tcb.remote_port,
        snd_una=send.snd_una,
        snd_nxt=send.snd_nxt,
        snd_wnd=send.snd_wnd,
        unacked=send.flight_size,
        in_flight=recovery.in_flight,
        sacked=recovery.board.sacked,
        lost=recovery.board.lost,
        retrans=recovery.board.resent_in_flight,
        notsent_bytes=send.unsent,
        rcv_nxt=receive.rcv_nxt,
        rcv_wnd=receive.window,
        rcv_space=receive.limit,
        unread=receive.readable,
        congestion_control=tcb.config.congestion_control,
        ca_state=recovery.phase_name,
        snd_cwnd=recovery.window,
        snd_ssthresh=tcb.congestion.ssthresh,
        pacing_rate=tcb.pacer.rate,
        delivery_rate=recovery.delivery.rate,
        delivery_rate_app_limited=recovery.delivery.rate_app_limited,
        retransmits=tcb.retransmits,
        backoff=rtt.backoff,
        probes=tcb.persist.probes + tcb.keepalive.unanswered,
        reord_seen=recovery.reord_seen,
        dsack_dups=recovery.dsack_dups,
        rtt=rtt.srtt or 0.0,
        rttvar=rtt.rttvar,
        rto=rtt.rto,
        min_rtt=rtt.min_rtt,
        ato=tcb.config.delayed_ack,
        last_data_sent=now - tcb.last_sent,
        last_ack_recv=now - tcb.last_heard,
        last_data_recv=None if last_data is None else now - last_data,
        snd_mss=tcb.mss,
        rcv_mss=receive.mss,
        advmss=tcb.receive_mss,
        pmtu=tcb.mss + HEADER_LENGTH + (TIMESTAMPS_LENGTH if tcb.timestamps else 0),
        bytes_sent=send.sent + send.bytes_retrans,
        bytes_retrans=send.bytes_retrans,
        bytes_acked=send.acked,
        bytes_received=receive.bytes_received,
        segs_out=send.segs_out,
        data_segs_out=send.data_segs_out,
        segs_in=tcb.segs_in,
        data_segs_in=receive.data_segs_in,
        total_retrans=tcb.total_retransmits,
        delivered=recovery.delivery.delivered,
        delivered_ce=recovery.delivered_ce,
        rcv_ooopack=receive.out_of_order,
        window_scaling=tcb.window_scaling,
        snd_wscale=send.shift,
        rcv_wscale=receive.shift,
        timestamps=tcb.timestamps,
        sack=tcb.sack,
        ecn=tcb.ecn.agreed,
    )


def _seconds_left(tcb: Tcb, now: float) -> dict[str, float]:
    """Of each timer that runs."""
    left = {}
    if tcb.state not in (state.CLOSED, state.TIME_WAIT):
        left = {NAMES[timer]: max(0.0, due - now) for timer, due in enumerate(tcb.deadlines()) if due != inf}
    if tcb.state == state.TIME_WAIT:
        wait = tcb.stack.seconds_in_time_wait(tcb.key, now)
        if wait is not None:
            left["time_wait"] = wait
    return left
