"""A connection's variables at one moment, for people and tools."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """Names as in RFC 9293 and 6298; times in seconds, sizes in octets, sequence numbers absolute."""

    state: str
    path: tuple[str, ...]
    """The states taken so far, the present one last."""
    local_port: int
    remote_port: int
    snd_una: int
    snd_nxt: int
    snd_wnd: int
    rcv_nxt: int
    rcv_wnd: int
    mss: int
    """Payload of a full-sized segment as we send them."""
    cwnd: int
    ssthresh: int
    srtt: float | None
    """None before the first measurement."""
    rttvar: float
    rto: float
    retransmits: int
    """Segments sent again since the connection began."""
    unacknowledged: int
    """Octets of sequence space in flight."""
    unsent: int
    """Octets accepted from the application and not sent yet."""
    unread: int
    """Octets received and not read by the application yet."""
    bytes_sent: int
    """Payload sent for the first time, acknowledged, and received in order."""
    bytes_acked: int
    bytes_received: int
    window_scaling: bool
    timestamps: bool
    sack: bool
