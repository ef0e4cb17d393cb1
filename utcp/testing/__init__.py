"""A deterministic network in virtual time, for utcp's tests and for those of asyncio applications that use utcp.

    net = Network(seed=1)
    server, client = net.host("server"), net.host("client")
    net.link(server, client, latency=0.05, loss=0.02)

    async def scenario():
        server.run(serve())                    # utcp.start_server(..., "0.0.0.0", 9000)
        await client.run(talk("server"))       # utcp.open_connection("server", 9000)

    net.run(scenario())

pytest finds the fixture `simnet` by itself: a Network with a seed per test, which a failing test tells.
"""

from utcp.testing.link import SimulatedLink
from utcp.testing.loop import OutOfBounds, Stalled, VirtualLoop
from utcp.testing.network import DROP, PASS, Host, Network, Packet, Rule, Sent, nth
from utcp.testing.path import Conditions, Path

__all__ = [
    "DROP",
    "PASS",
    "Conditions",
    "Host",
    "Network",
    "OutOfBounds",
    "Packet",
    "Path",
    "Rule",
    "Sent",
    "SimulatedLink",
    "Stalled",
    "VirtualLoop",
    "nth",
]
