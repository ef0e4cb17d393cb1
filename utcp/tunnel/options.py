"""Options of all ends of a tunnel."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

from utcp.config import Config

KEEPALIVE_IDLE: Final = 20.0
"""Seconds without a segment before the first keepalive probe. Many NATs drop a UDP mapping after 30 s, although RFC
4787 4.3 requires two minutes."""


FORWARD_PORT: Final = 1
EXPOSE_PORT: Final = 2
"""The utcp ports on which `Serve` and `Reverse` listen, behind any UDP port. They differ, so that a connection to the
wrong kind of end is refused."""

HEADERS: Final = 40 + 8 + 20
"""Bytes of the IPv6, UDP and TCP headers (IPv4's is shorter)."""


def tunnel_config(congestion_control: str = "cubic", mtu: int | None = None) -> Config:
    """Return a Config for tunnels.

    Keepalive preserves NAT mappings, and detects a dead peer in less than a minute. With data in flight, detection
    takes 162 s or more (`retries`), so that a tunnel survives an outage of two minutes. After the close, the reader at
    the far end may still be slow, and `fin_retries` also counts zero-window probes, so it allows these a quarter of an
    hour, and `orphan_timeout` allows delivery an hour in total. All ports of an end's own UDP socket belong to the
    tunnel, so all but the first 1024 are ephemeral. With 60 s of TIME_WAIT they suffice for a thousand connections per
    second.

    Args:
        congestion_control: the algorithm's name.
        mtu: largest IP packet that either end sends, bytes; None: the path MTU.
    """
    return Config(
        congestion_control=congestion_control,
        mss=None if mtu is None else mtu - HEADERS,
        keepalive=True,
        keepalive_idle=KEEPALIVE_IDLE,
        keepalive_interval=5.0,
        keepalive_count=5,
        retries=9,
        fin_retries=15,
        orphan_timeout=3600.0,
        ephemeral_ports=(1024, 65535),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of an end of a tunnel. `tls` None: no encryption."""

    config: Config = field(default_factory=tunnel_config)
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    """The name in the server's certificate, if it differs from the host to connect to."""
    tls_hint: str = ""
    """Text that a log line about a failed TLS handshake ends with, as a hint to its reader."""
    connect_timeout: float = 10.0
    """Seconds for which a user's connection waits for the connection to the other side."""
