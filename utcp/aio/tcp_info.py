"""Linux's `struct tcp_info` (linux/tcp.h), for libraries that read the socket option TCP_INFO."""

import sys
from math import inf
from struct import Struct
from typing import Final

from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.connection.info import ConnectionInfo

# Up to and including tcpi_rcv_wnd, the last field for which utcp has a value.
_LAYOUT: Final = Struct(
    "="
    "8B"  # state, ca_state, retransmits, probes, backoff, options, both wscales, delivery_rate_app_limited
    "4I"  # rto, ato, snd_mss, rcv_mss
    "5I"  # unacked, sacked, lost, retrans, fackets
    "4I"  # last_data_sent, last_ack_sent, last_data_recv, last_ack_recv
    "8I"  # pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering
    "3I"  # rcv_rtt, rcv_space, total_retrans
    "4Q"  # pacing_rate, max_pacing_rate, bytes_acked, bytes_received
    "6I"  # segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out
    "4Q"  # delivery_rate, busy_time, rwnd_limited, sndbuf_limited
    "2I"  # delivered, delivered_ce
    "2Q"  # bytes_sent, bytes_retrans
    "5I"  # dsack_dups, reord_seen, rcv_ooopack, snd_wnd, rcv_wnd
)

_STATES: Final = {
    "ESTABLISHED": 1,
    "SYN_SENT": 2,
    "SYN_RCVD": 3,
    "FIN_WAIT_1": 4,
    "FIN_WAIT_2": 5,
    "TIME_WAIT": 6,
    "CLOSED": 7,
    "CLOSE_WAIT": 8,
    "LAST_ACK": 9,
    "LISTEN": 10,
    "CLOSING": 11,
}
_CA_STATES: Final = ("open", "disorder", "cwr", "recovery", "loss")
_OPTIONS: Final = {"ts": 1, "sack": 2, "wscale": 4, "ecn": 8}
_DUP_THRESH: Final = 3
"""Linux's initial `reordering`, in segments. RACK does not change it."""
_INFINITE_SSTHRESH: Final = 0x7FFFFFFF
_MAX_U32: Final = 0xFFFFFFFF
_MAX_U64: Final = 0xFFFFFFFFFFFFFFFF


def tcp_info(info: ConnectionInfo) -> bytes:
    """Return `info` in Linux's layout and units.

    Times are in microseconds, `last_*` in milliseconds. Data in flight, the congestion windows and `delivered` are in
    segments. Fields without a value are 0.
    """
    low, high = (info.snd_wscale, info.rcv_wscale) if sys.byteorder == "little" else (info.rcv_wscale, info.snd_wscale)
    app_limited = 1 if sys.byteorder == "little" else 0x80

    def segments(octets: int) -> int:
        return min(-(-octets // info.snd_mss), _MAX_U32)

    return _LAYOUT.pack(
        _STATES[info.state],
        _CA_STATES.index(info.ca_state),
        min(info.retransmits, 255),
        min(info.probes, 255),
        min(info.backoff, 255),
        sum(_OPTIONS[name] for name in info.options),
        low | high << 4,
        app_limited if info.delivery_rate_app_limited else 0,
        _scaled(info.rto, 1_000_000),
        _scaled(info.ato, 1_000_000),
        info.snd_mss,
        info.rcv_mss,
        segments(info.unacked),
        segments(info.sacked),
        segments(info.lost),
        segments(info.retrans),
        0,
        _scaled(info.last_data_sent, 1000),
        0,
        _MAX_U32 if info.last_data_recv is None else _scaled(info.last_data_recv, 1000),
        _scaled(info.last_ack_recv, 1000),
        info.pmtu,
        0,
        _scaled(info.rtt, 1_000_000),
        _scaled(info.rttvar, 1_000_000),
        _INFINITE_SSTHRESH if info.snd_ssthresh >= UNLIMITED else segments(info.snd_ssthresh),
        segments(info.snd_cwnd),
        info.advmss,
        _DUP_THRESH,
        0,
        info.rcv_space,
        info.total_retrans & _MAX_U32,
        _MAX_U64 if info.pacing_rate == inf else int(info.pacing_rate),
        _MAX_U64,
        info.bytes_acked,
        info.bytes_received,
        info.segs_out & _MAX_U32,
        info.segs_in & _MAX_U32,
        min(info.notsent_bytes, _MAX_U32),
        _scaled(info.min_rtt, 1_000_000) if info.rtt else _MAX_U32,
        info.data_segs_in & _MAX_U32,
        info.data_segs_out & _MAX_U32,
        int(info.delivery_rate),
        0,
        0,
        0,
        -(-info.delivered // info.snd_mss) & _MAX_U32,
        -(-info.delivered_ce // info.snd_mss) & _MAX_U32,
        info.bytes_sent,
        info.bytes_retrans,
        info.dsack_dups & _MAX_U32,
        info.reord_seen & _MAX_U32,
        info.rcv_ooopack & _MAX_U32,
        min(info.snd_wnd, _MAX_U32),
        min(info.rcv_wnd, _MAX_U32),
    )


def _scaled(seconds: float, per_second: int) -> int:
    return min(round(seconds * per_second), _MAX_U32)
