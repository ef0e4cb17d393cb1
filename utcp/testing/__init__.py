"""A deterministic network in virtual time, for tests of utcp and of asyncio applications.

    net = Network(seed=1)
    server, client = net.host("server"), net.host("client")
    net.link(server, client, latency=0.05, loss=0.02)

    async def scenario():
        server.run(serve())                    # utcp.start_server(..., "0.0.0.0", 9000)
        await client.run(talk("server"))       # utcp.open_connection("server", 9000)

    net.run(scenario())

A scenario can also inject faults: `net.link(..., loss=0.3)` at any time, `partition` and `repair`, `hold` and
`release`, `crash` and `restart` of a host (`server.crash()`), and for single packets
`with net.rule(nth(3, lambda segment: segment.flags & FIN)):`. The same seed gives the same bytes at the same times
(`net.digest()`). A program that hangs fails the run.

The application needs no change if it uses only asyncio and utcp. Plain asyncio (`asyncio.open_connection()`) uses TCP
and UDP sockets of the simulated hosts. The loop's time is virtual, and while a network runs, so are `time.time()` and
the other clocks of the module `time`. Random numbers come from the seed (`random`, `os.urandom()`, `secrets`). No time
passes while a callback is ready to run. A program that polls is the exception: after 1000 consecutive turns of the
loop, each further turn takes 10 microseconds (`utcp.testing.VirtualLoop`).

pytest finds the fixture `simnet` by itself (see `pytest_aioutcp`).
"""

from utcp.testing.capture import NetworkCapture
from utcp.testing.faults import Fault
from utcp.testing.firewall import Firewall
from utcp.testing.host import Host
from utcp.testing.kernel import KERNEL
from utcp.testing.link import SimulatedLink
from utcp.testing.loop import OutOfBounds, Stalled, VirtualLoop
from utcp.testing.nat import Mapping, Nat
from utcp.testing.network import Network
from utcp.testing.path import Conditions, Path
from utcp.testing.record import Sent
from utcp.testing.rules import DROP, PASS, Packet, Rule, Verdict, nth
from utcp.testing.search import simulate

__all__ = [
    "DROP",
    "KERNEL",
    "PASS",
    "Conditions",
    "Fault",
    "Firewall",
    "Host",
    "Mapping",
    "Nat",
    "Network",
    "NetworkCapture",
    "OutOfBounds",
    "Packet",
    "Path",
    "Rule",
    "Sent",
    "SimulatedLink",
    "Stalled",
    "Verdict",
    "VirtualLoop",
    "nth",
    "simulate",
]
