"""Requirements of RFC 9293 that are asyncio's to show."""

import socket

import pytest

import utcp
from tests.aio.peers import FAST, Polite, Recorder, until
from tests.link.sockets import needs_ipv6, needs_linux
from utcp import Endpoint


@needs_linux  # which has the whole of 127.0.0.0/8
@pytest.mark.rfc9293("MUST-43", "MUST-44")
@pytest.mark.parametrize("named", ["127.0.0.2", None])
async def test_open_takes_a_local_address_or_asks_ip_for_one(named: str | None) -> None:
    async with Endpoint(("127.0.0.3", 0), config=FAST) as server:
        port = server.address[1]
        await server.create_server(Polite, port)
        transport, client = await utcp.create_connection(
            Recorder, "127.0.0.3", port, local_addr=None if named is None else (named, 0), config=FAST
        )
        assert transport.get_extra_info("sockname")[0] == (named or "127.0.0.1")
        assert server.stack.counters.passive_opens == 1
        transport.close()
        await until(lambda: client.lost)


@pytest.mark.rfc9293("MUST-15")
@pytest.mark.parametrize(
    ("family", "mss"), [(socket.AF_INET, 536), pytest.param(socket.AF_INET6, 1220, marks=needs_ipv6)]
)
async def test_mss_without_the_option_by_family(family: int, mss: int) -> None:
    async with Endpoint(family=socket.AddressFamily(family)) as endpoint:
        assert endpoint.stack.default_mss == mss
