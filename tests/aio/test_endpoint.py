"""Endpoint: its start, its ports, and the ways in which it ends."""

import asyncio
import errno
import logging
import socket
import sys
from types import SimpleNamespace

import pytest

import utcp
from tests.aio.peers import FAST, Peers, Polite, Recorder, connection_of, opened, started, turns, until
from utcp import Config, ConnectionAborted, ConnectionRefused, Endpoint, FinTimedOut
from utcp.link.udp import UdpLink
from utcp.tcp.observer import Observer


def silence(endpoint: Endpoint) -> None:
    """From now on nothing that it sends arrives."""
    link = endpoint.link
    assert isinstance(link, UdpLink)
    link.send = lambda transmits: []  # type: ignore[method-assign]  # a link that loses everything


# --- starting


async def test_addresses() -> None:
    async with Endpoint() as anywhere, Endpoint(family=socket.AF_INET6) as six, Endpoint(("localhost", 0)) as named:
        assert anywhere.address[0] == "0.0.0.0"
        assert six.address[0] == "::"
        assert named.address[0] in ("127.0.0.1", "::1")
        with pytest.raises(OSError, match="address already in use") as raised:
            await Endpoint(("127.0.0.1", anywhere.address[1])).start()
        assert raised.value.errno == errno.EADDRINUSE


async def test_a_socket_of_ones_own() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    async with Endpoint(sock=sock) as endpoint:
        assert endpoint.address == sock.getsockname()
    assert sock.fileno() == -1
    with pytest.raises(ValueError, match="local_addr and sock can not be specified at the same time"):
        Endpoint(("127.0.0.1", 0), sock=sock)


@pytest.mark.parametrize("host", ["127.0.0.1", None])
async def test_reuse_port_lets_endpoints_share_a_udp_port(host: str | None) -> None:
    async with Endpoint((host, 0), reuse_port=True) as one:
        port = one.address[1]
        async with Endpoint((host, port), reuse_port=True) as two:
            assert two.address == one.address
        with pytest.raises(OSError, match="address already in use"):
            await Endpoint((host, port)).start()
    text = "reuse_port and sock can not be specified at the same time"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match=text):
        Endpoint(sock=sock, reuse_port=True)


async def test_before_and_after() -> None:
    endpoint = Endpoint(("127.0.0.1", 0))
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = endpoint.address
    with pytest.raises(RuntimeError, match="is not open"):
        await endpoint.open_connection("127.0.0.1", 1)
    await endpoint.aclose()  # nothing to close
    await endpoint.start()
    with pytest.raises(RuntimeError, match="has been started already"):
        await endpoint.start()
    await endpoint.aclose()
    await endpoint.aclose()
    with pytest.raises(RuntimeError, match="is not open"):
        await endpoint.create_server(Recorder)
    assert endpoint.stack.counters.in_segs == 0  # still to be looked at


@pytest.mark.usefixtures("replaceable")
async def test_the_window_never_exceeds_what_the_socket_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp.link.platform.UdpLink.receive_capacity", 100_000)
    async with Endpoint(config=Config(recv_buffer=200_000)) as endpoint:
        assert endpoint.stack.config.recv_buffer == 100_000
        assert endpoint.config.recv_buffer == 200_000
    async with Endpoint() as endpoint:  # it begins so, and grows with what arrives
        assert endpoint.stack.config.initial_recv_buffer == 100_000
        assert endpoint.stack.config.max_recv_buffer == Config().max_recv_buffer


async def test_the_observer_is_the_stacks() -> None:
    observer = Observer()
    async with Endpoint(observer=observer) as endpoint:
        assert endpoint.stack.observers == (observer,)


async def test_structlog_is_asked_only_when_the_application_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    default = Observer()
    monkeypatch.setattr("utcp.aio.registry.default_observer", lambda: default)
    monkeypatch.setitem(sys.modules, "structlog", SimpleNamespace(is_configured=lambda: False))
    async with Endpoint() as endpoint:
        assert endpoint.stack.observers == (default,)


async def test_without_structlog_and_logging_nobody_observes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "structlog", raising=False)
    monkeypatch.setattr(logging.getLogger("utcp"), "disabled", True)
    async with Endpoint() as endpoint:
        assert endpoint.stack.observer is None


async def test_warnings_alone_cost_a_connection_nothing() -> None:
    async with Endpoint() as endpoint:
        assert endpoint.stack.routine_observer is None


async def test_udp_ports_and_utcp_ports_are_apart() -> None:
    async with Peers() as peers:
        one = await peers.server.create_server(peers.remember(Polite), 80)
        two = await peers.server.create_server(peers.remember(Recorder), 443)
        for port, kind in ((80, Polite), (443, Recorder)):
            before = len(peers.accepted)
            transport, _ = await peers.client.create_connection(
                Polite, peers.host, port, udp_port=peers.port, local_port=9999
            )
            assert transport.get_extra_info("sockname")[1] == 9999
            await until(lambda before=before: len(peers.accepted) > before)  # type: ignore[misc]  # a loop variable, bound
            assert type(peers.accepted[-1]) is kind
        one.close()
        two.close()


# --- closing


async def test_aclose_delivers_what_is_still_queued(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    transport.write(b"x" * 3_000_000)
    await peers.client.aclose()
    assert client.lost == [None]
    assert len(server.received) == 3_000_000
    assert server.lost == [None]
    assert peers.client.link.fileno() == -1


async def test_aclose_waits_for_nothing_when_nothing_is_open() -> None:
    async with asyncio.timeout(40), Endpoint(config=Config(close_timeout=60)):
        pass


@pytest.mark.usefixtures("replaceable")
async def test_aclose_gives_up_after_its_bound() -> None:
    async with Peers(Config(msl=0.05, close_timeout=0.05)) as peers:
        transport, client, _ = await peers.connect(Recorder)
        silence(peers.client)
        transport.write(b"x")
        await peers.client.aclose()
        assert isinstance(client.lost[0], FinTimedOut)
        assert not peers.client.stack.connections


async def test_what_the_bound_cuts_off_is_reset() -> None:
    async with Peers(Config(msl=0.05, close_timeout=0.05)) as peers:
        transport, client, server = await peers.connect(Recorder)
        server.transport.pause_reading()
        transport.write(b"x" * 5_000_000)
        await peers.client.aclose()
        assert isinstance(client.lost[0], FinTimedOut)
        await until(lambda: server.lost)
        assert isinstance(server.lost[0], ConnectionResetError)


async def test_aclose_includes_connections_that_finish_in_the_background(peers: Peers) -> None:
    transport, client, server = await peers.connect(Recorder)
    transport.write(b"x" * 3_000_000)
    transport.close()
    transport.abort()
    await peers.client.aclose()
    assert client.lost == [None]
    assert len(server.received) == 3_000_000


async def test_aclose_waits_a_little_for_a_peer_that_has_not_closed(peers: Peers) -> None:
    """Its FIN would find nobody to acknowledge it."""
    transport, _, server = await peers.connect(Recorder, Recorder)
    transport.close()
    closing = asyncio.create_task(peers.client.aclose())
    await until(lambda: "eof" in server.calls)
    await turns(5)
    assert not closing.done()
    server.transport.close()
    await closing
    await until(lambda: server.lost)
    assert server.lost == [None]


async def test_aclose_of_a_connection_over_in_both_directions(peers: Peers) -> None:
    """TIME_WAIT has begun, the user has not closed: connection_lost() comes all the same."""
    transport, client, server = await peers.connect(Recorder)
    transport.write_eof()
    await until(lambda: server.lost and "eof" in client.calls)
    assert not peers.client.stack.connections
    assert client.lost == []
    await peers.client.aclose()
    assert client.lost == [None]


@pytest.mark.usefixtures("replaceable")
async def test_aclose_ends_attempts_and_servers(peers: Peers) -> None:
    server = await peers.client.create_server(Polite, 7)
    serving = asyncio.create_task(server.serve_forever())
    silence(peers.client)
    opening = asyncio.create_task(peers.client.open_connection(peers.host, peers.port))
    await until(lambda: peers.client.stack.connections)
    await peers.client.aclose()
    with pytest.raises(ConnectionAborted, match="The endpoint was closed"):
        await opening
    assert not server.is_serving()
    with pytest.raises(asyncio.CancelledError):
        await serving


@pytest.mark.usefixtures("replaceable")
async def test_two_may_wait_for_aclose_and_cancelling_it_closes_at_once() -> None:
    async with Peers(Config(msl=0.05, close_timeout=60)) as peers:
        transport, client, _ = await peers.connect(Recorder)
        silence(peers.client)
        transport.write(b"x")
        first = asyncio.create_task(peers.client.aclose())
        await turns(3)
        second = asyncio.create_task(peers.client.aclose())
        await turns(3)
        assert not first.done()
        assert not second.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert peers.client.link.fileno() == -1
        await until(lambda: client.lost)
        peers.abort_server()


async def test_a_closed_endpoint_is_quiet(peers: Peers) -> None:
    transport, client, _ = await peers.connect(Recorder)
    facade = transport.get_extra_info("socket")
    driver = peers.client.driver
    await peers.client.aclose()
    transport.write(b"x")
    transport.close()
    transport.abort()
    transport.resume_reading()
    assert transport.get_extra_info("peername") == facade.getpeername()
    driver.schedule_flush()
    driver.close()
    await turns(3)
    assert client.lost == [None]
    assert driver._timer is None


async def test_the_same_ports_again_from_a_new_socket() -> None:
    """A SYN from the ports of a connection in LAST_ACK: refused within a round trip, LAST_ACK untouched."""
    async with Endpoint(("127.0.0.1", 0), config=FAST) as server:
        client = await Endpoint(("127.0.0.1", 0), config=FAST).start()
        accepted: list[Recorder] = []

        def accept() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        await server.create_server(accept, 80)
        transport, _ = await client.create_connection(
            Recorder, "127.0.0.1", 80, udp_port=server.address[1], local_port=5000
        )
        transport.close()
        await until(lambda: accepted and "eof" in accepted[0].calls)
        own = client.address
        # The client's host goes down without a word, and comes back.
        client.driver.close()
        assert accepted[0].transport is not None
        connection = connection_of(accepted[0].transport)
        accepted[0].transport.close()
        assert connection.info().state == "LAST_ACK"
        before = connection.info()
        await turns(5)  # the FIN is lost

        async with Endpoint((own[0], own[1]), config=FAST) as again:
            with pytest.raises(ConnectionRefused):
                await again.create_connection(Recorder, "127.0.0.1", 80, udp_port=server.address[1], local_port=5000)
            assert again.stack.counters.retrans_segs == 0  # the first SYN was answered
            after = connection.info()
            assert (after.state, after.snd_una, after.rcv_nxt) == ("LAST_ACK", before.snd_una, before.rcv_nxt)
            assert accepted[0].lost == []
        connection.abort(server.link.now())


# --- the loop's own


async def test_no_endpoint_is_left_in_the_loops_list(peers: Peers) -> None:
    assert opened(peers.client) in started()
    await peers.client.aclose()
    assert opened(peers.client) not in started()


async def test_a_lingering_endpoint_is_closed_by_aclose() -> None:
    server = await utcp.create_server(Recorder, "127.0.0.1", 0, config=Config(msl=1000))
    (endpoint,) = server._endpoints
    address = server.sockets[0].getsockname()
    _, client = await utcp.create_connection(Polite, *address, config=FAST)
    await until(lambda: server._clients)
    server.close_clients()
    await until(lambda: client.lost)
    server.close()
    await turns(3)
    await endpoint.aclose()
    assert endpoint.link.fileno() == -1
    again = await utcp.create_server(Recorder, *address, config=Config(msl=1000))
    assert again._endpoints != server._endpoints
    again.close()


async def test_a_drained_endpoint_can_be_closed() -> None:
    endpoint = Endpoint()
    await endpoint.start()
    await opened(endpoint).drain()
    async with asyncio.timeout(60):
        await endpoint.aclose()
    assert endpoint.link.fileno() == -1


async def test_a_loop_that_cannot_watch_the_socket_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows' proactor loop, or Linux when the user watches too many descriptors."""
    loop = asyncio.get_running_loop()

    def add_reader(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(loop, "add_reader", add_reader)
    link = UdpLink.bind(socket.AF_INET, ("127.0.0.1", 0))
    endpoint = Endpoint()
    with pytest.raises(NotImplementedError):
        endpoint.run(link)
    assert link.fileno() == -1
    assert not endpoint.started
