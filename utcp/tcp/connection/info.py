"""The variables of a connection at one time, for users and tools (STATUS, RFC 9293 3.10.6)."""

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
    """The fields of Linux's TCP_INFO, under their names without `tcpi_`, and the state and sequence variables of RFC
    9293.

    All units are seconds, bytes, and bytes per second. Linux uses microseconds (milliseconds in some fields), and
    counts data in flight, congestion windows and delivered data in segments. Here only `total_retrans`, `segs_*`,
    `data_segs_*`, `dsack_dups`, `reord_seen`, `rcv_ooopack`, `retransmits`, `probes` and `backoff` are counts of
    something other than bytes. Sequence numbers are absolute.

    These fields of TCP_INFO are missing: `fackets` and `last_ack_sent` (Linux does not fill them either), `reordering`
    (RACK has no adaptive threshold; see `reord_seen`), `rcv_ssthresh` and `rcv_rtt` (the size of the receive buffer
    follows the bytes read per round trip; see `rcv_space`), `max_pacing_rate` (there is no such limit), `busy_time`,
    `rwnd_limited` and `sndbuf_limited` (they need a timestamp at each change of the sender's limit), `rehash`,
    `total_rto*`, and the fields of TCP Fast Open.
    """

    state: str
    path: tuple[str, ...]
    """The history of states, the present state last."""
    timers: dict[str, float]
    """Time left of each running timer, seconds, by its name in `utcp.tcp.timers`, and of "time_wait"; 0: due."""
    local_port: int
    remote_port: int

    # Sent and unacknowledged
    snd_una: int
    snd_nxt: int
    snd_wnd: int
    """The peer's window, bytes, after scaling."""
    unacked: int
    """Bytes of sequence space sent and not acknowledged cumulatively."""
    in_flight: int
    """Unacknowledged bytes that are neither SACKed nor lost. Retransmitted bytes are in flight again."""
    sacked: int
    """Unacknowledged bytes that are SACKed."""
    lost: int
    """Bytes considered lost and not yet retransmitted. Linux includes retransmitted ones."""
    retrans: int
    """Bytes in flight that were retransmitted."""
    notsent_bytes: int
    """Bytes accepted from the application and not yet sent."""

    # Received
    rcv_nxt: int
    rcv_wnd: int
    """The window last offered, bytes, after scaling."""
    rcv_space: int
    """Present size of the receive buffer, bytes. It may grow (`Config.max_recv_buffer`)."""
    unread: int
    """Bytes received and not yet read by the application."""

    # Congestion control and recovery
    congestion_control: str
    """The name of the controller (`Config.congestion_control`)."""
    ca_state: str
    """The phase of recovery: "open", "disorder" (data arrived out of order at the peer, but none is considered lost),
    "cwr" (the window shrinks after a congestion mark), "recovery" (fast recovery) or "loss" (after a timeout)."""
    snd_cwnd: int
    """The congestion window in force, bytes. In fast recovery, and after a congestion mark, it is the window of
    proportional rate reduction (RFC 9937), except with BBR, which sets its own window."""
    snd_ssthresh: int
    """The slow start threshold, bytes."""
    pacing_rate: float
    """The pacing rate, bytes per second; infinite: no pacing."""
    delivery_rate: float
    """The latest measured delivery rate, bytes per second; 0 before the first measurement."""
    delivery_rate_app_limited: bool
    """True if the application limited this rate, not the path."""
    retransmits: int
    """Number of consecutive timeouts without progress."""
    backoff: int
    """Number of doublings of `rto` since the last measurement."""
    probes: int
    """Number of unanswered zero-window probes and keepalive probes."""
    reord_seen: int
    """Number of ACKs that showed reordering on the path."""
    dsack_dups: int
    """Number of our segments that the peer reported as received twice (RFC 2883)."""

    # Times
    rtt: float
    """Smoothed round-trip time, seconds; 0 before the first measurement."""
    rttvar: float
    """Variation of the round-trip time, seconds; 0 before the first measurement."""
    rto: float
    """Retransmission timeout with its back-off, seconds."""
    min_rtt: float
    """Lowest round-trip time of the last five minutes, seconds; 0 before the first measurement."""
    ato: float
    """Longest delay of an ACK, seconds; 0: ACKs are not delayed."""
    last_data_sent: float
    """Time since data or a FIN last left for the first time, until then since the open, seconds."""
    last_ack_recv: float
    """Time since the last acceptable segment arrived, seconds."""
    last_data_recv: float | None
    """Time since text last arrived, seconds; None: none has."""

    # Segment sizes
    snd_mss: int
    """Effective send MSS, bytes."""
    rcv_mss: int
    """The largest payload received, bytes: initially 536, at most what our MSS option allows."""
    advmss: int
    """The MSS that we offer, bytes."""
    pmtu: int
    """UDP payload of a full-sized segment, bytes."""

    # Totals since the connection began
    bytes_sent: int
    """Payload bytes sent, retransmissions included."""
    bytes_retrans: int
    """Payload bytes retransmitted."""
    bytes_acked: int
    """Payload bytes acknowledged."""
    bytes_received: int
    """Payload bytes received in order."""
    segs_out: int
    """Number of segments sent, of all kinds."""
    data_segs_out: int
    """Number of segments sent with text."""
    segs_in: int
    """Number of segments received, of all kinds."""
    data_segs_in: int
    """Number of segments received with text."""
    total_retrans: int
    """Number of segments retransmitted."""
    delivered: int
    """Bytes of sequence space delivered, by ACK or SACK."""
    delivered_ce: int
    """Bytes of sequence space delivered by ACKs with ECE."""
    rcv_ooopack: int
    """Number of segments received out of order."""

    # Negotiated options
    window_scaling: bool
    snd_wscale: int
    """The peer's window scale, bits."""
    rcv_wscale: int
    """Our window scale, bits."""
    timestamps: bool
    sack: bool
    ecn: bool

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the negotiated options, as in the output of `ss`: "ts", "sack", "ecn", "wscale"."""
        agreed = {"ts": self.timestamps, "sack": self.sack, "ecn": self.ecn, "wscale": self.window_scaling}
        return tuple(name for name, is_on in agreed.items() if is_on)


def info_of(tcb: Tcb, now: float) -> ConnectionInfo:
    """Return the variables of `tcb` at `now`."""
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
        delivery_rate=recovery.delivery_rate,
        delivery_rate_app_limited=recovery.rate_app_limited,
        retransmits=tcb.retransmits,
        backoff=rtt.backoff,
        probes=tcb.persist.probes + tcb.keepalive.unanswered,
        reord_seen=recovery.reord_seen,
        dsack_dups=recovery.dsack_dups,
        rtt=rtt.srtt,
        rttvar=rtt.rttvar,
        rto=rtt.rto,
        min_rtt=rtt.min_rtt,
        ato=tcb.config.delayed_ack,
        last_data_sent=now - tcb.last_sent,
        last_ack_recv=now - tcb.last_received,
        last_data_recv=None if last_data == -inf else now - last_data,
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
        delivered=recovery.delivered,
        delivered_ce=recovery.delivered_ce,
        rcv_ooopack=receive.out_of_order.segments,
        window_scaling=tcb.window_scaling,
        snd_wscale=send.shift,
        rcv_wscale=receive.shift,
        timestamps=tcb.timestamps,
        sack=tcb.sack,
        ecn=tcb.ecn.agreed,
    )


def _seconds_left(tcb: Tcb, now: float) -> dict[str, float]:
    """Return the time left of each running timer, seconds."""
    left = {}
    if tcb.state not in (state.CLOSED, state.TIME_WAIT):
        left = {NAMES[timer]: max(0.0, due - now) for timer, due in enumerate(tcb.deadlines()) if due != inf}
    if tcb.state == state.TIME_WAIT:
        wait = tcb.stack.seconds_in_time_wait(tcb.key, now)
        if wait is not None:
            left["time_wait"] = wait
    return left
