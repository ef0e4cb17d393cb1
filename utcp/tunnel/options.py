"""What all ends of a tunnel are told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final

from utcp.config import Config

KEEPALIVE_IDLE: Final = 20.0
"""Seconds without a segment before the first probe: many a NAT forgets a UDP mapping after 30 (RFC 4787 4.3 asks for
two minutes, and notes what is out there)."""


FORWARD_PORT: Final = 1
EXPOSE_PORT: Final = 2
"""The utcp ports, behind whatever UDP port, that `Serve` and `Reverse` listen on: who takes one for the other is
refused."""

HEADERS: Final = 40 + 8 + 20
"""Octets of the headers of IPv6, UDP and TCP. IPv4's is shorter."""


def tunnel_config(congestion_control: str = "cubic", mtu: int | None = None) -> Config:
    """A Config for tunnels. `mtu`: the largest IP packets either end is to send; None: what the path carries.

    Keepalive holds NAT mappings, and finds a peer that has gone in less than a minute; where data is on its way it
    takes 162 s or more (`retries`), so that a tunnel outlives an outage of two minutes. After the close the reader at
    the far end may still be slow, and `fin_retries` counts the probes of its window too: they may take a quarter of an
    hour, and delivery an hour in all. The ports of an end's own UDP socket all belong to the tunnel, so all but the
    first 1024 are ephemeral: with 60 s of TIME_WAIT they last for a thousand connections a second.
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
    """How an end of a tunnel behaves. `tls` None: nothing is encrypted."""

    config: Config = field(default_factory=tunnel_config)
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    """The name in the server's certificate, if it is not the host that is connected to."""
    tls_hint: str = ""
    """What to ask whoever reads that a TLS handshake has failed."""
    connect_timeout: float = 10.0
    """Seconds for which a user's connection waits for the one that is to carry it on."""
