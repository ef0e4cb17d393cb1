"""The host's addresses and routes change while endpoints are open: new connections go by what holds now."""

import asyncio
import errno

import pytest

import utcp
from tests.aio.peers import FAST, GIVES_UP
from tests.interop.namespace import ip

PEER = "10.9.0.1"
PORT = 9000


def have(*addresses: str) -> None:
    """The host has these addresses; PEER is reached from the first."""
    ip(*(f"addr add {address}/32 dev lo" for address in addresses))
    leave_from(addresses[0])


def leave_from(address: str) -> None:
    """From now on the kernel chooses `address` towards PEER, which is the same machine: no packet leaves it."""
    ip(f"route replace local {PEER} dev lo src {address}")


def move(former: str, address: str) -> None:
    """The host has another address, as after a new DHCP lease."""
    ip(f"addr del {former}/32 dev lo", f"addr add {address}/32 dev lo")
    leave_from(address)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """The client's address; the connection has worked."""
    writer.write(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    writer.close()
    host: str = writer.get_extra_info("sockname")[0]
    return host


@pytest.mark.defect(87)
async def test_a_host_whose_address_has_changed_connects_from_the_new_one() -> None:
    """At once, with an endpoint of its own and with the one that all clients of the loop share."""
    have("10.1.0.1")
    async with (
        asyncio.timeout(60),
        utcp.Endpoint((PEER, PORT), config=GIVES_UP) as server,
        utcp.Endpoint(config=GIVES_UP) as client,
    ):
        await server.start_server(answer)
        for former, address in (("10.1.0.1", "10.1.0.2"), ("10.1.0.2", "10.1.0.3")):
            for open_connection in (client.open_connection, utcp.open_connection):
                assert await ask(*await open_connection(PEER, PORT)) == former
            move(former, address)
            for open_connection in (client.open_connection, utcp.open_connection):
                assert await ask(*await open_connection(PEER, PORT)) == address


@pytest.mark.defect(87)
async def test_a_new_connection_leaves_from_the_address_that_the_kernel_prefers_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The former address is still there, so that no send fails: as when a VPN has come up."""
    have("10.1.0.1", "10.1.0.2")
    async with (
        asyncio.timeout(60),
        utcp.Endpoint((PEER, PORT), config=FAST) as server,
        utcp.Endpoint(config=FAST) as client,
    ):
        await server.start_server(answer)
        assert await ask(*await client.open_connection(PEER, PORT)) == "10.1.0.1"
        leave_from("10.1.0.2")
        monkeypatch.setattr("utcp.link.udp.OPEN_ROUTE_LIFETIME", 0.0)  # as if that time had passed
        assert await ask(*await client.open_connection(PEER, PORT)) == "10.1.0.2"


@pytest.mark.defect(79)
@pytest.mark.parametrize(
    ("rule", "code"),
    [("unreachable", errno.ENETUNREACH), ("prohibit", errno.EACCES), ("blackhole", errno.EINVAL)],
)
async def test_a_policy_that_concerns_our_socket_alone_ends_opens_at_once(rule: str, code: int) -> None:
    """A socket of another port, by which the link asks for routes, would meet a route."""
    ip(
        "rule add pref 100 lookup local",
        "rule del pref 0",
        f"rule add pref 10 ipproto udp sport 5555 type {rule}",  # in front of the local addresses
    )
    async with asyncio.timeout(60), utcp.Endpoint(("127.0.0.1", 5555)) as client:
        client.link.remote(("127.0.0.1", PORT))
        with pytest.raises(utcp.PathUnreachable) as caught:
            await client.open_connection("127.0.0.1", PORT)
        assert caught.value.errno == code
