"""utcp over a simulated path: bulk flows from one host to another, in virtual time."""

import asyncio
from collections.abc import Sequence
from typing import Final

import utcp
from utcp.testing import Conditions, Network

from .greedy import Receiver, Sender
from .path_cells import Run

_UDP_PORT: Final = 7000
_PORT: Final = 80


def run(
    conditions: Conditions,
    controllers: Sequence[str],
    seconds: float,
    seed: int,
    stagger: float = 0.0,
    ack_conditions: Conditions | None = None,
) -> Run:
    """Run one flow for each congestion controller. The same arguments give the same result.

    Args:
        conditions: conditions of the path for data.
        controllers: names of the congestion controllers.
        seconds: duration of the measurement, from when the receiver has accepted the last flow.
        seed: seed of the network.
        stagger: seconds between the starts of the flows.
        ack_conditions: conditions of the path for acknowledgments; None: the same.
    """
    network = Network(seed, conditions=conditions, max_steps=1 << 62)
    network.keep_trace = False
    sender, receiver = network.host("sender"), network.host("receiver")
    if ack_conditions is not None:
        network.link_oneway(receiver, sender, ack_conditions)
    path = network.path(sender, receiver)
    path.waits = []

    async def receive(connected: asyncio.Queue[Receiver], listening: asyncio.Event) -> None:
        endpoint = utcp.Endpoint((receiver.address, _UDP_PORT))
        await endpoint.start()
        await endpoint.create_server(lambda: Receiver(connected), _PORT)
        listening.set()

    async def send(controller: str) -> None:
        config = utcp.Config(congestion_control=controller)
        endpoint = utcp.Endpoint((sender.address, 0), config=config)
        await endpoint.start()
        await endpoint.create_connection(Sender, receiver.address, _PORT, udp_port=_UDP_PORT)

    async def measure() -> list[int]:
        connected: asyncio.Queue[Receiver] = asyncio.Queue()
        listening = asyncio.Event()
        serving = receiver.run(receive(connected, listening))
        await listening.wait()
        await serving
        flows: list[Receiver] = []
        for number, controller in enumerate(controllers):
            if number:
                await asyncio.sleep(stagger)
            opening = sender.run(send(controller))
            flows.append(await connected.get())
            await opening
        before = [flow.octets for flow in flows]
        await asyncio.sleep(seconds)
        octets = [flow.octets - start for flow, start in zip(flows, before, strict=True)]
        sender.crash()  # end without closing the connections
        receiver.crash()
        return octets

    return Run.over(path, network.run(measure()), seconds)
