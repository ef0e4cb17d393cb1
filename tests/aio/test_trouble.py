"""Trouble before the end: a protocol that asks for it hears of retransmissions and of what ICMP says (SHLD-10, 25)."""

import asyncio
import errno

import pytest

from utcp import Endpoint
from utcp.errors import PathUnreachable
from utcp.testing import Conditions, Network


class Worried(asyncio.Protocol):
    def __init__(self) -> None:
        self.troubles: list[OSError | None] = []

    def connection_trouble(self, exc: OSError | None) -> None:
        self.troubles.append(exc)


@pytest.mark.rfc9293("SHLD-10", "SHLD-25")
def test_a_protocol_hears_of_trouble() -> None:
    network = Network(1, conditions=Conditions(latency=0.01))
    near, far = network.host("near"), network.host("far")
    worried = Worried()
    endpoints: list[Endpoint] = []

    async def serve() -> None:
        endpoint = await Endpoint((far.address, 7000)).start()
        await endpoint.create_server(asyncio.Protocol, 80)

    async def connect() -> asyncio.Transport:
        endpoint = await Endpoint((near.address, 0)).start()
        endpoints.append(endpoint)
        transport, _ = await endpoint.create_connection(lambda: worried, far.address, 80, udp_port=7000)
        return transport

    async def scenario() -> None:
        await far.run(serve())
        transport = await near.run(connect())
        network.partition(near, far)
        transport.write(b"are you there?")
        await asyncio.sleep(10)
        assert worried.troubles == [None]
        driver = endpoints[0].driver  # what ICMP says of the path comes the same way
        (connection,) = driver.stack.connections.values()
        driver.stack.path_failed(
            connection.remote, [(connection.local_port, connection.remote_port)], errno.EHOSTUNREACH, driver.link.now()
        )
        driver.schedule_flush()
        await asyncio.sleep(0.1)
        (_, error) = worried.troubles
        assert isinstance(error, PathUnreachable)
        transport.abort()

    network.run(scenario())
