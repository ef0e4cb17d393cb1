"""create_server and Server: asyncio's contract of 3.13, on every version."""

import asyncio
import errno
import re
import socket
from dataclasses import replace
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, Peers, Polite, Recorder, started, turns, until
from utcp import AddressInUse, Config, ConnectionRefused, ConnectionReset, Server
from utcp.tcp.state import NAMES
from utcp.wire import ACK, RST, SYN, Segment, decode, encode


async def connect(server: Server, factory: type[Recorder] = Recorder) -> tuple[asyncio.Transport, Recorder]:
    host, port = server.sockets[0].getsockname()[:2]
    return await utcp.create_connection(factory, host, port, config=FAST)


async def test_port_zero_gives_one_number_to_udp_and_utcp() -> None:
    server = await utcp.create_server(Polite, "127.0.0.1", 0, config=FAST)
    (listening,) = server.sockets
    assert listening.family == socket.AF_INET
    assert listening.type == socket.SOCK_STREAM
    host, port = listening.getsockname()[:2]
    assert (host, port > 0) == ("127.0.0.1", True)
    transport, client = await connect(server)
    assert transport.get_extra_info("peername") == transport.get_extra_info("udp_peername") == (host, port)
    transport.close()
    await until(lambda: client.lost)
    server.close()


async def test_no_host_means_all_interfaces_of_both_families() -> None:
    for host in (None, ""):
        server = await utcp.create_server(Polite, host, 0, config=FAST)
        assert {each.getsockname()[0] for each in server.sockets} == {"0.0.0.0", "::"}
        for each in server.sockets:
            local, port = ("127.0.0.1" if each.family == socket.AF_INET else "::1"), each.getsockname()[1]
            transport, _ = await utcp.create_connection(Recorder, local, port, config=FAST)
            assert transport.get_extra_info("peername")[0] == local
            transport.close()
        server.close()


async def test_several_hosts_each_once() -> None:
    server = await utcp.create_server(Polite, ["127.0.0.1", "::1", "127.0.0.1"], 0, config=FAST)
    assert [each.getsockname()[0] for each in server.sockets] == ["127.0.0.1", "::1"]
    server.close()


async def test_sock_is_a_bound_udp_socket() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    server = await utcp.create_server(Polite, sock=sock, config=FAST)
    assert server.sockets[0].getsockname() == sock.getsockname()
    server.close()
    await until(lambda: sock.fileno() == -1)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "Neither host/port nor sock were specified"),
        ({"host": "h", "sock": "s"}, ValueError, "host/port and sock can not be specified at the same time"),
        ({"host": "h", "ssl": True}, TypeError, "ssl argument must be an SSLContext or None"),
        ({"host": "h", "ssl_handshake_timeout": 1}, ValueError, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"host": "h", "ssl_shutdown_timeout": 1}, ValueError, "ssl_shutdown_timeout is only meaningful with ssl"),
    ],
)
async def test_arguments_that_do_not_go_together(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{text}$"):
        await utcp.create_server(Recorder, **arguments)


async def test_a_stream_socket_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="A Datagram Socket was expected, got"):
        await utcp.create_server(Recorder, sock=sock)


async def test_a_taken_address_and_a_foreign_one() -> None:
    server = await utcp.create_server(Polite, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    before = started()
    text = f"error while attempting to bind on address {address!r}: address already in use"
    with pytest.raises(OSError, match=f"{re.escape(text)}$") as raised:
        await utcp.create_server(Polite, ["::1", "127.0.0.1"], address[1])
    assert raised.value.errno == errno.EADDRINUSE
    await until(lambda: started() == before)  # all or none
    with pytest.raises(OSError, match=re.escape("could not bind on any address out of [('192.0.2.1', 0)]")):
        await utcp.create_server(Polite, "192.0.2.1", 0)
    server.close()


async def test_reuse_port_shares_the_udp_port() -> None:
    one = await utcp.create_server(Polite, "127.0.0.1", 0, reuse_port=True)
    two = await utcp.create_server(Polite, "127.0.0.1", one.sockets[0].getsockname()[1], reuse_port=True)
    assert one.sockets[0].getsockname() == two.sockets[0].getsockname()
    one.close()
    two.close()


async def test_two_servers_on_one_utcp_port(peers: Peers) -> None:
    await peers.server.create_server(Polite, 7)
    with pytest.raises(AddressInUse, match="port 7 is being listened on"):
        await peers.server.create_server(Polite, 7)


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_keep_alive(peers: Peers, keep_alive: bool) -> None:
    config = replace(FAST, keepalive=not keep_alive)
    server = await utcp.create_server(peers.remember(Polite), "127.0.0.1", 0, keep_alive=keep_alive, config=config)
    transport, _ = await connect(server)
    await until(lambda: peers.accepted)
    facade = peers.accepted[0].transport.get_extra_info("socket")
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == keep_alive
    transport.close()
    server.close()


async def test_start_serving_false_refuses_until_started() -> None:
    server = await utcp.create_server(Polite, "127.0.0.1", 0, start_serving=False, config=FAST)
    assert not server.is_serving()
    with pytest.raises(ConnectionRefused):
        await connect(server)
    await server.start_serving()
    await server.start_serving()
    assert server.is_serving()
    transport, _ = await connect(server)
    transport.close()
    server.close()


async def test_close_stops_listening_and_leaves_connections_alone(peers: Peers) -> None:
    server = await utcp.create_server(peers.remember(Polite), "127.0.0.1", 0, config=FAST)
    address = server.sockets[0].getsockname()
    transport, client = await connect(server)
    await until(lambda: peers.accepted)
    server.close()
    server.close()
    assert server.sockets == ()
    assert not server.is_serving()
    with pytest.raises(RuntimeError, match="is closed"):
        await server.start_serving()
    with pytest.raises(ConnectionRefused):
        await utcp.open_connection(*address, config=FAST)
    transport.write(b"still here")
    await until(lambda: peers.accepted[0].received == b"still here")
    transport.close()
    await until(lambda: client.lost)


async def test_wait_closed_waits_for_the_server_and_its_connections_in_either_order(peers: Peers) -> None:
    server = await utcp.create_server(peers.remember(Polite), "127.0.0.1", 0, config=FAST)
    waiting = asyncio.create_task(server.wait_closed())
    transport, _ = await connect(server)
    await until(lambda: peers.accepted)
    await turns(5)
    assert not waiting.done()
    server.close()
    await turns(5)
    assert not waiting.done()
    transport.close()
    await until(lambda: peers.accepted[0].lost)
    await waiting

    server = await utcp.create_server(Polite, "127.0.0.1", 0, config=FAST)
    transport, client = await connect(server)
    transport.close()
    await until(lambda: client.lost)
    waiting = asyncio.create_task(server.wait_closed())
    await turns(5)
    assert not waiting.done()
    server.close()
    await waiting


async def test_a_factory_that_closes_the_server_is_given_a_connection_that_counts(peers: Peers) -> None:
    """For a server of one connection: wait_closed() waits for it."""

    def last() -> Polite:
        server.close()
        return Polite()

    server = await peers.server.create_server(last, 5)
    transport, client = await peers.client.create_connection(Recorder, peers.host, 5, udp_port=peers.port)
    await until(lambda: not server.is_serving())
    closing = asyncio.create_task(server.wait_closed())
    await turns(5)
    assert not closing.done()
    transport.close()
    await closing
    await until(lambda: client.lost)


async def test_close_clients_and_abort_clients(peers: Peers) -> None:
    server = await peers.server.create_server(peers.remember(Recorder))
    clients = []
    for _ in range(2):
        _, client = await peers.client.create_connection(Polite, peers.host, peers.port)
        clients.append(client)
    await until(lambda: len(peers.accepted) == 2)
    server.close_clients()
    await until(lambda: all(client.lost for client in clients))
    assert [client.lost for client in clients] == [[None], [None]]

    _, client = await peers.client.create_connection(Polite, peers.host, peers.port)
    await until(lambda: len(peers.accepted) == 3)
    server.abort_clients()
    await until(lambda: client.lost)
    assert isinstance(client.lost[0], ConnectionReset)


async def test_serve_forever() -> None:
    server = await utcp.create_server(Polite, "127.0.0.1", 0, start_serving=False, config=FAST)
    assert server.get_loop() is asyncio.get_running_loop()
    serving = asyncio.create_task(server.serve_forever())
    await until(server.is_serving)
    with pytest.raises(RuntimeError, match=r"is already being awaited on serve_forever\(\)$"):
        await server.serve_forever()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not server.is_serving()
    with pytest.raises(RuntimeError, match="is closed"):
        await server.serve_forever()


async def test_closing_cancels_serve_forever() -> None:
    server = await utcp.create_server(Polite, "127.0.0.1", 0, config=FAST)
    serving = asyncio.create_task(server.serve_forever())
    await turns(2)
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_async_with_closes(peers: Peers) -> None:
    async with await utcp.create_server(peers.remember(Polite), "127.0.0.1", 0, config=FAST) as server:
        transport, _ = await connect(server)
        transport.close()
        await until(lambda: peers.accepted and peers.accepted[0].lost)
    assert server.sockets == ()


async def test_a_factory_that_raises_refuses_that_connection_only(peers: Peers) -> None:
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))

    def fail() -> Recorder:
        raise LookupError("no protocol today")

    await peers.server.create_server(peers.remember(fail, Polite))
    _, one = await peers.client.create_connection(Recorder, peers.host, peers.port)
    await until(lambda: one.lost)
    assert isinstance(one.lost[0], ConnectionReset)
    assert [context["message"] for context in contexts] == ["Error on transport creation for incoming connection"]
    transport, two = await peers.client.create_connection(Recorder, peers.host, peers.port)
    transport.close()
    await until(lambda: two.lost)
    assert two.lost == [None]


async def test_a_closed_servers_socket_stays_for_time_wait_and_goes_with_it() -> None:
    before = started()
    server = await utcp.create_server(Recorder, "127.0.0.1", 0, config=Config(msl=0.5, close_timeout=30))
    transport, client = await connect(server, Polite)
    await until(lambda: server._clients)
    server.close_clients()
    await until(lambda: client.lost)
    server.close()
    await server.wait_closed()
    (endpoint,) = (each for each in started() if each.address == transport.get_extra_info("udp_peername"))
    assert len(endpoint.stack.time_wait) == 1  # it closed first
    await turns(5)
    assert endpoint.link.fileno() != -1
    await until(lambda: endpoint.link.fileno() == -1)
    assert not len(endpoint.stack.time_wait)
    assert len(started() - before) == 1  # the shared client


class Echo(Polite):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        assert self.transport is not None
        self.transport.write(data)


def half_open(server: Server) -> list[str]:
    return [NAMES[each.state] for endpoint in server._endpoints for each in endpoint.stack.connections.values()]


@pytest.mark.defect(75)
@pytest.mark.parametrize("way", ["close", "close twice", "async with"])
async def test_a_client_whose_handshake_is_under_way_is_served(way: str) -> None:
    """open_connection() has returned, so it is connected; its ACK is still on the way to the server."""
    server = await utcp.create_server(Echo, "127.0.0.1", 0, config=FAST)
    transport, client = await connect(server)
    assert half_open(server) == ["SYN_RCVD"]
    if way == "async with":
        closing = asyncio.create_task(server.__aexit__())
    else:
        server.close()
        if way == "close twice":
            server.close()
        closing = asyncio.create_task(server.wait_closed())
    await turns(1)
    assert not server.is_serving()
    transport.write(b"am I served?")
    await until(lambda: client.received == b"am I served?")
    assert not closing.done()
    transport.close()
    await until(lambda: client.lost)
    assert client.lost == [None]
    await closing
    (endpoint,) = server._endpoints
    await until(lambda: endpoint.link.fileno() == -1)


def knock(port: int) -> socket.socket:
    """The socket of a peer that has sent a SYN, and says nothing more."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", port))
    sock.send(encode(Segment(5000, port, 1, 0, SYN, 1000, mss=1000)))
    return sock


@pytest.mark.defect(75)
async def test_a_handshake_that_is_not_completed_is_reset_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp.aio.open_endpoint.HALF_OPEN_GRACE", 0.05)
    server = await utcp.create_server(Echo, "127.0.0.1", 0, config=FAST)
    with knock(server.sockets[0].getsockname()[1]) as peer:
        await until(lambda: half_open(server))
        server.close()
        closing = asyncio.create_task(server.wait_closed())
        await turns(5)
        assert not closing.done()
        assert half_open(server) == ["SYN_RCVD"]
        await closing
        flags = [decode(await asyncio.to_thread(peer.recv, 100)).flags for _ in range(2)]
        assert flags == [SYN | ACK, RST]
    (endpoint,) = server._endpoints
    await until(lambda: endpoint.link.fileno() == -1)


@pytest.mark.defect(75)
async def test_a_handshake_ends_with_its_endpoint(peers: Peers) -> None:
    server = await peers.server.create_server(Echo)
    with knock(peers.port) as peer:
        await until(lambda: half_open(server))
        server.close()
        closing = asyncio.create_task(server.wait_closed())
        await peers.server.aclose()
        await closing
        flags = [decode(await asyncio.to_thread(peer.recv, 100)).flags for _ in range(2)]
        assert flags == [SYN | ACK, RST]


@pytest.mark.defect(75)
async def test_a_client_that_holds_a_cookie_is_refused() -> None:
    """Nothing is kept of its handshake; the endpoint stays to reset it."""
    config = Config(msl=0.05, syn_cookies="always")
    server = await utcp.create_server(Echo, "127.0.0.1", 0, config=config)
    _, client = await connect(server)
    assert half_open(server) == []
    server.close()
    await server.wait_closed()
    await until(lambda: client.lost)
    assert isinstance(client.lost[0], ConnectionReset)
    (endpoint,) = server._endpoints
    await until(lambda: endpoint.link.fileno() == -1)


@pytest.mark.defect(75)
async def test_a_new_server_takes_over_while_a_handshake_is_under_way() -> None:
    server = await utcp.create_server(Echo, "127.0.0.1", 0, config=FAST)
    address = server.sockets[0].getsockname()
    transport, client = await connect(server)
    server.close()
    again = await utcp.create_server(Polite, *address, config=FAST)
    assert again._endpoints == server._endpoints
    transport.write(b"whose am I?")
    await until(lambda: client.received == b"whose am I?")
    transport.close()
    await server.wait_closed()
    again.close()


@pytest.mark.defect(75)
async def test_close_during_serve_forever_leaves_the_clients_alone(peers: Peers) -> None:
    server = await peers.server.create_server(peers.remember(Echo))
    transport, client = await peers.client.create_connection(Recorder, peers.host, peers.port)
    await until(lambda: peers.accepted)
    serving = asyncio.create_task(server.serve_forever())
    await turns(2)
    server.close()
    await turns(5)
    transport.write(b"still here")
    await until(lambda: client.received == b"still here")
    assert not serving.done()
    transport.close()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_a_server_can_be_started_again_while_its_predecessors_connections_are_in_time_wait() -> None:
    config = Config(msl=1000)
    server = await utcp.create_server(Recorder, "127.0.0.1", 0, config=config)
    address = server.sockets[0].getsockname()
    transport, client = await connect(server, Polite)
    await until(lambda: server._clients)
    server.close_clients()
    await until(lambda: client.lost)
    server.close()
    await server.wait_closed()

    again = await utcp.create_server(Polite, *address, config=config)
    transport, client = await utcp.create_connection(Recorder, *address, config=FAST)
    transport.close()
    await until(lambda: client.lost)
    assert client.lost == [None]
    again.close()
    await turns(5)
    with pytest.raises(OSError, match="address already in use"):
        await utcp.create_server(Polite, *address, config=FAST)  # another configuration is another stack


async def test_a_server_that_took_an_endpoint_over_keeps_it(peers: Peers) -> None:
    server = await utcp.create_server(peers.remember(Recorder), "127.0.0.1", 0, config=FAST)
    address = server.sockets[0].getsockname()
    _, client = await connect(server, Polite)
    await until(lambda: server._clients)
    server.close_clients()
    await until(lambda: client.lost)
    server.close()
    again = await utcp.create_server(Polite, *address, config=FAST)
    assert again._endpoints == server._endpoints
    (endpoint,) = again._endpoints
    await until(lambda: not len(endpoint.stack.time_wait))
    await turns(5)
    transport, client = await connect(again)
    transport.close()
    await until(lambda: client.lost)
    again.close()
    await until(lambda: endpoint.link.fileno() == -1)


async def test_a_server_that_cannot_start_leaves_nothing() -> None:
    before = started()
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        await utcp.create_server(Polite, "127.0.0.1", 0, backlog=1.5)  # type: ignore[arg-type]  # on purpose
    await until(lambda: started() == before)


@pytest.mark.defect(78)
@pytest.mark.parametrize("backlog", [0, -1, 1, True, 2**31 - 1])
async def test_backlogs_that_asyncio_takes(backlog: int) -> None:
    server = await utcp.create_server(Polite, "127.0.0.1", 0, backlog=backlog)
    server.close()


@pytest.mark.defect(78)
@pytest.mark.parametrize(
    ("backlog", "error"), [(1.5, TypeError), ("5", TypeError), (None, TypeError), (2**31, OverflowError)]
)
async def test_backlogs_that_asyncio_refuses(peers: Peers, backlog: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await utcp.create_server(Polite, "127.0.0.1", 0, backlog=backlog)
    server = await peers.server.create_server(Polite, backlog=backlog, start_serving=False)
    with pytest.raises(error):
        await server.start_serving()
    assert not peers.server.stack.listeners


@pytest.mark.defect(78)
@pytest.mark.parametrize("backlog", [0, -1])
async def test_the_smallest_backlog_has_room_for_one(peers: Peers, backlog: int) -> None:
    await peers.server.create_server(peers.remember(Polite), backlog=backlog)
    for _ in range(3):
        transport, client = await peers.client.create_connection(Recorder, peers.host, peers.port)
        transport.close()
        await until(lambda client=client: client.lost)  # type: ignore[misc]  # a loop variable, bound
    assert len(peers.accepted) == 3
