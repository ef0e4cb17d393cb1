"""Simulated hosts, ready for use."""

from tests.testing.apps import serve
from utcp import Config
from utcp.testing import Conditions, Host, Network

QUICK = Config(msl=0.5, retries=3, fin_retries=3, syn_retries=2)


def pair(net: Network, **conditions: float) -> tuple[Host, Host]:
    """A server's host, where the echo server runs, and a client's."""
    server, client = net.host("server"), net.host("client")
    net.link(server, client, Conditions(**conditions))  # type: ignore[arg-type]  # each value fits its own field
    server.start(lambda: serve(QUICK))
    return server, client


def flags_sent(net: Network, source: str) -> list[int]:
    return [sent.packet.segment.flags for sent in net.trace if sent.packet.source == source and sent.packet.segment]
