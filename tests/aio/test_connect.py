"""create_connection and open_connection: asyncio's arguments, its errors word for word, its choice of addresses."""

import asyncio
import errno
import gc
import inspect
import re
import socket
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, Peers, Polite, Recorder, opened, started, until
from tests.link.sockets import ScriptedSocket, needs_ipv6
from tests.ports import free_port
from utcp import (
    AddressInUse,
    AddressNotAvailable,
    Config,
    ConnectionRefused,
    Endpoint,
    PathUnreachable,
    SynTimedOut,
    Transport,
)
from utcp.aio.address import Resolved, interleave
from utcp.aio.opening import Opening
from utcp.aio.race import first_to_open
from utcp.link.base import SendError
from utcp.link.path import Route, Routes, SocketAddress, UdpPath
from utcp.link.udp import UdpLink
from utcp.tcp.connection import Connection
from utcp.tcp.transmit import Transmit

HASTY = Config(msl=0.05, rto_initial=0.02, syn_retries=1)
SECONDS_OF_TIME_WAIT = Config(msl=1, close_timeout=30)


def udp_socket(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: SocketAddress) -> None:
    """Whatever name is looked up, these are its addresses."""

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        families = {2: socket.AF_INET, 4: socket.AF_INET6}
        return [(families[len(address)], socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (utcp.create_connection, asyncio.BaseEventLoop.create_connection),
        (utcp.create_server, asyncio.BaseEventLoop.create_server),
    ],
)
def test_signatures_are_asyncios(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    own = inspect.signature(ours).parameters
    for name, parameter in inspect.signature(theirs).parameters.items():
        if name != "self":
            assert (own[name].kind, own[name].default) == (parameter.kind, parameter.default), name
    added = {"config", "all_errors"} if ours is utcp.create_connection else {"config", "keep_alive"}
    assert set(own) - set(inspect.signature(theirs).parameters) <= added


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "host and port was not specified and no sock specified"),
        ({"host": "h", "sock": "s"}, "host/port and sock can not be specified at the same time"),
        ({"host": "h", "server_hostname": "s"}, "server_hostname is only meaningful with ssl"),
        ({"port": 1, "ssl": True}, "You must set server_hostname when using ssl without a host"),
        ({"host": "h", "ssl_handshake_timeout": 1}, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"host": "h", "ssl_shutdown_timeout": 1}, "ssl_shutdown_timeout is only meaningful with ssl"),
    ],
)
async def test_arguments_that_do_not_go_together(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        await utcp.create_connection(Recorder, **arguments)


# --- failures


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "('127.0.0.1', {})"), ("::1", "('::1', {}, 0, 0)")])
async def test_refused(host: str, address: str) -> None:
    async with Endpoint((host, 0)) as nobody_listens:
        port = nobody_listens.address[1]
        text = f"[Errno {errno.ECONNREFUSED}] Connect call failed {address.format(port)}"
        with pytest.raises(ConnectionRefused, match=f"^{re.escape(text)}$") as raised:
            await utcp.open_connection(host, port)
        assert raised.value.errno == errno.ECONNREFUSED


@pytest.mark.defect(79)
async def test_many_at_once_are_refused_at_once() -> None:
    """Without the second that a SYN waits before it is repeated, although the kernel may tell of one alone."""
    port = free_port()
    opens = [utcp.open_connection("127.0.0.1", port, config=Config(rto_initial=60.0)) for _ in range(20)]
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*opens, return_exceptions=True)
    assert [type(each) for each in outcomes] == [ConnectionRefused] * 20


async def test_a_refused_attempt_is_garbage_without_cycles(peers: Peers) -> None:
    async def refused() -> weakref.ref[ConnectionRefused]:
        try:
            await peers.client.open_connection(peers.host, peers.port)
        except ConnectionRefused as error:
            return weakref.ref(error)
        raise AssertionError

    def connections() -> set[int]:
        return {id(item) for item in gc.get_objects() if isinstance(item, Connection)}

    gc.collect()
    gc.disable()
    try:
        before = connections()  # a transport that something keeps, as a failed test, keeps its connection
        assert (await refused())() is None
        assert connections() <= before
    finally:
        gc.enable()


async def test_no_answer_times_out() -> None:
    with udp_socket() as silent, pytest.raises(SynTimedOut, match="Connect call failed") as raised:
        await utcp.open_connection(*silent.getsockname(), config=HASTY)
    assert raised.value.errno == errno.ETIMEDOUT


@pytest.mark.usefixtures("replaceable")
async def test_a_path_that_cannot_be_sent_on(peers: Peers) -> None:
    link = peers.client.link
    assert isinstance(link, UdpLink)
    link.send = lambda transmits: [SendError(item.remote, errno.EHOSTUNREACH, item.flows()) for item in transmits]  # type: ignore[method-assign]  # a failing link
    with pytest.raises(PathUnreachable, match="Connect call failed") as raised:
        await peers.client.open_connection("127.0.0.1", peers.port)
    assert raised.value.errno == errno.EHOSTUNREACH


@pytest.mark.defect(79)
@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:FFFF:127.0.0.1"])
async def test_an_ipv4_address_mapped_into_ipv6_is_connected_to_over_ipv4(host: str, peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    for create_connection in (utcp.create_connection, peers.client.create_connection):
        transport, protocol = await create_connection(Recorder, host, peers.port)
        assert transport.get_extra_info("peername") == ("127.0.0.1", peers.port)
        transport.close()
        await until(lambda protocol=protocol: protocol.lost)  # type: ignore[misc]  # a loop variable, bound
    transport, protocol = await utcp.create_connection(Recorder, host, peers.port, local_addr=("::ffff:127.0.0.1", 0))
    transport.close()
    await until(lambda: protocol.lost)


@pytest.mark.defect(79)
@needs_ipv6
async def test_a_mapped_address_may_be_connected_to_from_the_ipv6_wildcard(peers: Peers) -> None:
    """As with kernel TCP, where such a socket carries both families. An IPv4 address needs a local one, there too."""
    await peers.server.create_server(peers.remember(Polite))
    transport, protocol = await utcp.create_connection(
        Recorder, "::ffff:127.0.0.1", peers.port, local_addr=("::", 1234)
    )
    assert transport.get_extra_info("peername") == ("127.0.0.1", peers.port)
    assert transport.get_extra_info("sockname") == ("127.0.0.1", 1234)
    transport.close()
    await until(lambda: protocol.lost)
    for host, local in (("127.0.0.1", "::"), ("::ffff:127.0.0.1", "::1")):
        with pytest.raises(OSError, match="no matching local address"):
            await utcp.create_connection(Recorder, host, peers.port, local_addr=(local, 0))


@pytest.mark.defect(79)
@needs_ipv6
async def test_a_mapped_address_is_out_of_reach_of_an_endpoint_without_ipv4(peers: Peers) -> None:
    async with Endpoint(("::1", 0)) as endpoint, Endpoint(("::", 0)) as everywhere, asyncio.timeout(60):
        for each in (endpoint, everywhere):
            with pytest.raises(OSError, match=r"::ffff:127\.0\.0\.1 is an IPv4 address"):
                await each.open_connection("::ffff:127.0.0.1", peers.port)


@pytest.mark.defect(79)
@needs_ipv6
async def test_sock_may_be_connected_to_a_mapped_address(peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::ffff:127.0.0.1", 0))
    local = sock.getsockname()[1]
    sock.connect(("::ffff:127.0.0.1", peers.port))
    transport, protocol = await utcp.create_connection(Recorder, sock=sock)
    assert transport.get_extra_info("peername") == ("127.0.0.1", peers.port)
    await until(lambda: peers.accepted)
    assert peers.accepted[0].transport.get_extra_info("peername")[0] == "127.0.0.1"
    (connection,) = peers.server.stack.connections.values()
    assert peers.server.link.peername(connection.remote) == ("127.0.0.1", local)
    transport.close()
    await until(lambda: protocol.lost)


@pytest.mark.defect(79)
@pytest.mark.parametrize(
    "code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES, errno.EPERM, errno.ECONNREFUSED]
)
async def test_a_lasting_error_of_sends_ends_an_open_at_once_and_nothing_that_is_established(
    code: int, peers: Peers
) -> None:
    sock = ScriptedSocket()
    await peers.server.create_server(peers.remember(Polite))
    async with Endpoint(sock=sock, config=FAST) as client, asyncio.timeout(60):
        transport, protocol = await client.create_connection(Recorder, peers.host, peers.port)
        await until(lambda: peers.accepted)
        sock.send_script.extend([code] * 1000)
        with pytest.raises(PathUnreachable) as caught:
            await client.open_connection(peers.host, peers.port)
        assert caught.value.errno == code
        transport.write(b"lost at first")
        failures = client.link.counters.send_errors
        await until(lambda: client.link.counters.send_errors > failures)
        assert not protocol.lost
        sock.send_script.clear()
        await until(lambda: peers.accepted[0].received == b"lost at first")
        transport.close()
        await until(lambda: protocol.lost)
        assert protocol.lost == [None]


@pytest.mark.usefixtures("replaceable")
@pytest.mark.defect(87)
async def test_an_open_whose_first_send_fails_asks_for_the_route_again(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    """The address of this host that it would have left from is gone."""
    await peers.server.create_server(peers.remember(Polite))
    locals_ = {"127.0.0.7": "127.0.0.8"}
    asked: list[str] = []
    ask = Routes._look_up

    def first_the_former_address(self: Routes, peer: SocketAddress, local: str) -> Route:
        route = ask(self, peer, local)
        if local:
            return route
        asked.append(peer[0])
        return route._replace(local="127.0.0.7" if len(asked) == 1 else "127.0.0.8")

    monkeypatch.setattr(Routes, "_look_up", first_the_former_address)
    async with Endpoint(config=FAST) as client, asyncio.timeout(60):
        link = client.link
        assert isinstance(link, UdpLink)
        attempt = link._try

        def gone(transmit: Transmit, segment_size: int | None) -> int:
            remote = transmit.remote
            assert isinstance(remote, UdpPath)
            return errno.EINVAL if remote.local in locals_ else attempt(transmit, segment_size)

        monkeypatch.setattr(link, "_try", gone)
        transport, protocol = await client.create_connection(Recorder, peers.host, peers.port)
        assert transport.get_extra_info("sockname")[0] == "127.0.0.8"
        assert len(asked) == 2
        transport.close()
        await until(lambda: protocol.lost)
        assert not client.stack.connections  # nothing is left of the first attempt
        failures = link.counters.send_errors + 1
        locals_["127.0.0.8"] = ""
        with pytest.raises(PathUnreachable):  # the route is the same: nothing else can be tried
            await client.open_connection(peers.host, peers.port)
        asked.clear()
        opening = asyncio.create_task(client.open_connection(peers.host, peers.port))
        await until(lambda: link.counters.send_errors > failures)
        await client.aclose()
        # On a busy machine, the second attempt has begun by now, and the close of the endpoint ends it.
        with pytest.raises(OSError, match=r"Connect call failed|The endpoint was closed"):
            await opening


async def test_an_unknown_name_raises_what_the_resolver_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        await utcp.open_connection("nowhere.invalid", 1)


async def test_a_failing_factory_leaves_nothing(peers: Peers) -> None:
    def factory() -> Recorder:
        raise LookupError("no protocol today")

    await peers.server.create_server(peers.remember(Recorder))
    with pytest.raises(LookupError, match="no protocol today"):
        await peers.client.create_connection(factory, peers.host, peers.port)
    assert not peers.client.stack.connections
    await until(lambda: not peers.server.stack.connections)


async def test_cancelling_an_attempt_leaves_nothing(peers: Peers) -> None:
    peers.server.driver.loop.remove_reader(peers.server.link.fileno())  # nobody answers
    opening = asyncio.create_task(peers.client.open_connection(peers.host, peers.port))
    await until(lambda: peers.client.stack.counters.out_segs)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not peers.client.stack.connections


async def test_cancelling_in_the_turn_of_the_answer_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    await peers.server.create_server(peers.remember(Recorder))
    opening = asyncio.create_task(peers.client.open_connection(peers.host, peers.port))
    ready = Opening.ready

    def cancelled(self: Opening, connection: Connection) -> None:
        ready(self, connection)
        opening.cancel()

    monkeypatch.setattr(Opening, "ready", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not peers.client.stack.connections
    assert not peers.client.driver.transports
    await until(lambda: not peers.server.stack.connections)  # by RST


# --- several addresses


async def test_addresses_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch, peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    async with Endpoint(("127.0.0.1", 0)) as nobody_listens:
        resolve_to(monkeypatch, ("127.0.0.1", nobody_listens.address[1]), ("127.0.0.1", peers.port))
        transport, client = await utcp.create_connection(Recorder, "name", peers.port, config=FAST)
        assert transport.get_extra_info("peername") == ("127.0.0.1", peers.port)
        transport.close()
        await until(lambda: client.lost)


@pytest.mark.parametrize("delay", [None, 0.01])
async def test_when_all_addresses_fail(monkeypatch: pytest.MonkeyPatch, delay: float | None) -> None:
    async with Endpoint(("127.0.0.1", 0)) as one, Endpoint(("127.0.0.1", 0)) as two:
        first, second = one.address, two.address
        resolve_to(monkeypatch, first, first)
        with pytest.raises(ConnectionRefused, match=re.escape(f"Connect call failed {first}")):
            await utcp.open_connection("name", 1, happy_eyeballs_delay=delay)

        resolve_to(monkeypatch, first, second)
        text = (
            f"Multiple exceptions: [Errno {errno.ECONNREFUSED}] Connect call failed {first}, "
            f"[Errno {errno.ECONNREFUSED}] Connect call failed {second}"
        )
        with pytest.raises(OSError, match=f"^{re.escape(text)}$"):
            await utcp.open_connection("name", 1, happy_eyeballs_delay=delay)

        with pytest.raises(ExceptionGroup, match="create_connection failed") as raised:
            await utcp.open_connection("name", 1, happy_eyeballs_delay=delay, all_errors=True)
        assert [type(error) for error in raised.value.exceptions] == [ConnectionRefused] * 2


async def test_happy_eyeballs_overtake_a_silent_address(monkeypatch: pytest.MonkeyPatch, peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    with udp_socket() as silent:
        resolve_to(monkeypatch, silent.getsockname(), ("127.0.0.1", peers.port))
        transport, client = await utcp.create_connection(
            Recorder, "name", peers.port, happy_eyeballs_delay=0.01, config=FAST
        )
        assert transport.get_extra_info("peername") == ("127.0.0.1", peers.port)
        (shared,) = started() - {opened(peers.client), opened(peers.server)}
        assert len(shared.stack.connections) == 1  # the other attempt is gone
        transport.close()
        await until(lambda: client.lost)


async def test_of_two_attempts_that_succeed_in_one_turn_one_is_abandoned(peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    ready = asyncio.Event()

    async def wait_for_the_other() -> Opening:
        opening = await Opening.establish(peers.client.driver, peers.server.address, peers.port, None)
        await ready.wait()
        return opening

    async def succeed() -> Opening:
        await until(lambda: len(peers.accepted) == 1)
        opening = await Opening.establish(peers.client.driver, peers.server.address, peers.port, None)
        ready.set()
        return opening

    winner = await first_to_open([wait_for_the_other, succeed], 0, all_errors=False)
    assert len(peers.client.stack.connections) == 1
    winner.abandon()
    assert not peers.client.stack.connections
    await until(lambda: len(peers.accepted) == 2 and all(accepted.lost for accepted in peers.accepted))


async def test_cancelling_happy_eyeballs_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with udp_socket() as one, udp_socket() as two:
        resolve_to(monkeypatch, one.getsockname(), two.getsockname())
        opening = asyncio.create_task(utcp.open_connection("name", 1, happy_eyeballs_delay=0.01))
        await until(started)
        (shared,) = started()
        await until(lambda: len(shared.stack.connections) == 2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not shared.stack.connections


def test_interleaving() -> None:
    six = [Resolved(socket.AF_INET6, (host, 1, 0, 0)) for host in ("a", "b", "c")]
    four = [Resolved(socket.AF_INET, (host, 1)) for host in ("d", "e")]
    assert interleave([*six, *four], 1) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleave([*six, *four], 2) == [six[0], six[1], four[0], six[2], four[1]]


# --- where from


async def test_a_loops_connections_share_one_endpoint_per_family_host_and_config(peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    before = started()
    opened = []

    async def connect(**options: Any) -> tuple[str, int]:
        transport, _ = await utcp.create_connection(Recorder, "127.0.0.1", peers.port, **options)
        opened.append(transport)
        address: tuple[str, int] = transport.get_extra_info("udp_sockname")
        return address

    one, two = await asyncio.gather(connect(config=FAST), connect(config=FAST))
    assert one == two
    equal = Config(msl=FAST.msl, close_timeout=FAST.close_timeout)
    assert await connect(config=equal) == one
    assert await connect(config=HASTY) != one
    host, port = await connect(config=FAST, local_addr=("127.0.0.1", 0))
    assert (host, port) != one
    assert await connect(config=FAST, local_addr=(None, 0)) == one
    assert len(started() - before) == 3
    for transport in opened:
        transport.close()


async def test_local_addr_names_our_utcp_port(peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    transport, client = await utcp.create_connection(
        Recorder, "127.0.0.1", peers.port, local_addr=("127.0.0.1", 5555), config=FAST
    )
    assert transport.get_extra_info("sockname") == ("127.0.0.1", 5555)
    to = f"127.0.0.1:{peers.port} port {peers.port}"
    with pytest.raises(AddressInUse, match=f"port 5555 is in use by a connection to {to}$") as raised:
        await utcp.open_connection("127.0.0.1", peers.port, local_addr=("127.0.0.1", 5555), config=FAST)
    assert raised.value.seconds is None
    transport.close()
    await until(lambda: client.lost)


@pytest.mark.defect(80)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_port_zero_is_refused_as_by_the_kernels_tcp(host: str) -> None:
    errors = []
    for streams in (asyncio, utcp):
        with pytest.raises(ConnectionRefusedError) as raised:
            await streams.open_connection(host, 0)
        errors.append(raised.value.errno)
    assert errors == [errno.ECONNREFUSED] * 2


@pytest.mark.defect(80)
async def test_udp_port_zero_is_refused_too(peers: Peers) -> None:
    for port, udp_port in ((7, 0), (0, 7)):
        with pytest.raises(ConnectionRefused, match="Connect call failed"):
            await peers.client.open_connection(peers.host, port, udp_port=udp_port)
    assert not peers.client.stack.connections


@pytest.mark.defect(80)
@pytest.mark.parametrize("address", ["127.0.0.1", "h:", b"::1", 5, {"host": "127.0.0.1", "port": 0}])
async def test_a_local_addr_that_is_no_tuple(address: Any) -> None:
    text = f"local_addr must be a tuple of host and port, not {address!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        await utcp.open_connection("127.0.0.1", 9, local_addr=address)
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        Endpoint(address)


@pytest.mark.defect(80)
@pytest.mark.parametrize("address", [(), ("127.0.0.1",), ("127.0.0.1", 0, 0)])
async def test_a_local_addr_of_another_length(address: Any) -> None:
    with pytest.raises(ValueError, match=r"^local_addr must be a tuple of host and port, not "):
        await utcp.open_connection("127.0.0.1", 9, local_addr=address)


async def test_a_local_addr_as_getsockname_has_it() -> None:
    """Of IPv6 that has four parts."""
    server = await utcp.create_server(Polite, "::1", 0, config=FAST)
    address: Any = ("::1", 0, 0, 0)
    transport, client = await utcp.create_connection(
        Recorder, *server.sockets[0].getsockname()[:2], local_addr=address, config=FAST
    )
    assert transport.get_extra_info("sockname")[0] == "::1"
    transport.close()
    await until(lambda: client.lost)
    server.close()


async def test_local_addr_of_another_host_or_family() -> None:
    with pytest.raises(OSError, match="no matching local address with family="):
        await utcp.open_connection("127.0.0.1", 1, local_addr=("::1", 0))
    text = "error while attempting to bind on address ('192.0.2.1', 0): cannot assign requested address"
    with pytest.raises(OSError, match=re.escape(text)) as raised:
        await utcp.open_connection("127.0.0.1", 1, local_addr=("192.0.2.1", 0))
    assert raised.value.errno == errno.EADDRNOTAVAIL


async def test_a_port_in_use_on_a_wildcard_address_names_the_peers_address(peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    async with Endpoint(("0.0.0.0", 0), config=FAST) as endpoint:
        transport, _ = await endpoint.create_connection(Recorder, "127.0.0.1", peers.port, local_port=6000)
        text = f"port 6000 is in use by a connection to 127.0.0.1:{peers.port} port {peers.port}$"
        with pytest.raises(AddressInUse, match=text):
            await endpoint.create_connection(Recorder, "127.0.0.1", peers.port, local_port=6000)
        transport.close()


async def test_the_clients_port_is_reserved_for_two_msl() -> None:
    async with Peers(SECONDS_OF_TIME_WAIT) as peers:
        await peers.server.create_server(peers.remember(Polite))

        async def connect() -> Transport:
            transport, _ = await peers.client.create_connection(Recorder, peers.host, peers.port, local_port=6000)
            assert isinstance(transport, Transport)
            return transport

        transport = await connect()
        transport.close()
        await until(lambda: len(peers.client.stack.time_wait) == 1)
        with pytest.raises(
            AddressInUse,
            match=rf"port 6000 is in TIME_WAIT towards {peers.host}:\d+ port \d+ for another [012]\.\d+ seconds",
        ) as raised:
            await connect()
        assert raised.value.errno == errno.EADDRINUSE
        assert raised.value.seconds is not None
        assert 0 < raised.value.seconds <= 2 * SECONDS_OF_TIME_WAIT.msl
        await until(lambda: not len(peers.client.stack.time_wait))
        (await connect()).close()


async def test_a_small_ephemeral_range_is_exhausted_and_free_again_after_two_msl() -> None:
    async with Peers(replace(SECONDS_OF_TIME_WAIT, ephemeral_ports=(50000, 50001))) as peers:
        await peers.server.create_server(peers.remember(Polite))

        async def connect() -> int:
            transport, _ = await peers.client.create_connection(Recorder, peers.host, peers.port)
            port: int = transport.get_extra_info("sockname")[1]
            transport.close()
            return port

        assert {await connect(), await connect()} == {50000, 50001}
        with pytest.raises(AddressNotAvailable, match="every ephemeral port") as raised:
            await connect()
        assert raised.value.errno == errno.EADDRNOTAVAIL
        await until(lambda: len(peers.client.stack.time_wait) == 2)
        await until(lambda: not len(peers.client.stack.time_wait))
        assert await connect() in (50000, 50001)


async def test_sock_is_a_connected_udp_socket(peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Polite))
    sock = udp_socket()
    own = sock.getsockname()
    sock.connect(("127.0.0.1", peers.port))
    before = started()
    transport, client = await utcp.create_connection(Recorder, sock=sock, config=FAST)
    assert transport.get_extra_info("udp_sockname") == own
    assert transport.get_extra_info("peername") == ("127.0.0.1", peers.port)
    assert sock.fileno() == -1
    (endpoint,) = started() - before
    transport.close()
    await until(lambda: client.lost)
    # It goes with the last connection, when TIME_WAIT is over.
    assert endpoint in started()
    await until(lambda: endpoint not in started())


async def test_sock_must_be_a_connected_udp_socket() -> None:
    with udp_socket() as sock, pytest.raises(OSError, match="not connected"):
        await utcp.create_connection(Recorder, sock=sock)
    with socket.socket() as sock, pytest.raises(ValueError, match="A Datagram Socket was expected, got"):
        await utcp.create_connection(Recorder, sock=sock)


async def test_names_go_through_the_loops_resolver_and_numbers_do_not(
    monkeypatch: pytest.MonkeyPatch, peers: Peers
) -> None:
    await peers.server.create_server(peers.remember(Polite))
    resolver: Callable[..., Awaitable[Any]] = asyncio.get_running_loop().getaddrinfo
    asked: list[Any] = []

    def getaddrinfo(host: Any, port: Any, **options: Any) -> Awaitable[Any]:
        asked.append(host)
        return resolver(host, port, **options)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    for host in ("127.0.0.1", "localhost"):
        transport, _ = await utcp.create_connection(Recorder, host, peers.port, family=socket.AF_INET, config=FAST)
        transport.close()
    assert asked == ["localhost"]
