"""get_extra_info("socket"): the options that libraries set are those of the TCP below."""

import errno
import socket
import struct
from typing import Any

import pytest

from tests.aio.peers import Peers, Recorder, connection_of, until
from utcp.tcp.timers import KEEPALIVE

TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT = 4, 5, 6, 18


async def open_socket(peers: Peers) -> tuple[Any, Any]:
    transport, _, _ = await peers.connect(Recorder)
    return transport.get_extra_info("socket"), connection_of(transport)


async def test_it_looks_like_a_tcp_socket(peers: Peers) -> None:
    transport, _, _ = await peers.connect(Recorder)
    facade = transport.get_extra_info("socket")
    assert transport.get_extra_info("socket") is facade
    assert (facade.family, facade.type, facade.proto) == (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    assert facade.fileno() == -1
    assert facade.getsockname() == transport.get_extra_info("sockname")
    assert facade.getpeername() == transport.get_extra_info("peername")
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    assert "ConnectionSocket" in repr(facade)


@pytest.mark.rfc9293("MUST-17")
async def test_nodelay(peers: Peers) -> None:
    facade, connection = await open_socket(peers)
    assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    facade.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    assert not connection.nodelay
    facade.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, struct.pack("i", 1))
    assert connection.nodelay
    assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 4) == struct.pack("i", 1)


@pytest.mark.rfc9293("MUST-24", "MUST-27")
async def test_keepalive(peers: Peers) -> None:
    facade, connection = await open_socket(peers)
    facade.setsockopt(socket.IPPROTO_TCP, TCP_KEEPIDLE, 60)
    assert not facade.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    now = peers.client.link.now()
    assert 59 < connection.timers.deadlines[KEEPALIVE] - now < 61
    facade.setsockopt(socket.IPPROTO_TCP, TCP_KEEPIDLE, 30)
    facade.setsockopt(socket.IPPROTO_TCP, TCP_KEEPINTVL, 7)
    facade.setsockopt(socket.IPPROTO_TCP, TCP_KEEPCNT, 3)
    assert 29 < connection.timers.deadlines[KEEPALIVE] - now < 31
    assert [facade.getsockopt(socket.IPPROTO_TCP, option) for option in (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT)] == [
        30,
        7,
        3,
    ]
    assert (connection.keepalive_interval, connection.keepalive_count) == (7.0, 3)
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    assert not connection.keepalive


async def test_linger(peers: Peers) -> None:
    facade, connection = await open_socket(peers)
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER) == 0
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    assert connection.linger == 5.0
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 5)
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, None, 8)
    assert connection.linger is None


async def test_user_timeout_is_in_milliseconds(peers: Peers) -> None:
    facade, connection = await open_socket(peers)
    facade.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 1500)
    assert connection.user_timeout == 1.5
    assert facade.getsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT) == 1500
    facade.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 0)
    assert connection.user_timeout is None


async def test_buffer_sizes_can_be_read(peers: Peers) -> None:
    facade, connection = await open_socket(peers)
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == connection.send_side.limit > 0
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == connection.config.initial_recv_buffer


@pytest.mark.parametrize(
    ("level", "option", "value", "code"),
    [
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20, errno.ENOPROTOOPT),
        (socket.SOL_SOCKET, socket.SO_BROADCAST, 1, errno.ENOPROTOOPT),
        (socket.IPPROTO_IP, socket.IP_TOS, 0, errno.ENOPROTOOPT),
        (socket.IPPROTO_TCP, TCP_KEEPIDLE, 0, errno.EINVAL),
        (socket.IPPROTO_TCP, TCP_KEEPIDLE, 32768, errno.EINVAL),
        (socket.IPPROTO_TCP, TCP_KEEPCNT, 128, errno.EINVAL),
        (socket.IPPROTO_TCP, TCP_KEEPCNT, 1, errno.EINVAL),
        (socket.IPPROTO_TCP, TCP_USER_TIMEOUT, -1, errno.EINVAL),
        (socket.SOL_SOCKET, socket.SO_LINGER, 1, errno.EINVAL),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, b"\1", errno.EINVAL),
    ],
)
async def test_what_cannot_be_set(peers: Peers, level: int, option: int, value: Any, code: int) -> None:
    facade, _ = await open_socket(peers)
    with pytest.raises(OSError) as raised:
        facade.setsockopt(level, option, value)
    assert raised.value.errno == code


async def test_an_unknown_option_cannot_be_read(peers: Peers) -> None:
    facade, _ = await open_socket(peers)
    with pytest.raises(OSError) as raised:
        facade.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
    assert raised.value.errno == errno.ENOPROTOOPT


async def test_after_the_connection_names_stay_and_options_go(peers: Peers) -> None:
    transport, client, _ = await peers.connect(Recorder)
    facade = transport.get_extra_info("socket")
    name = facade.getsockname()
    transport.close()
    await until(lambda: client.lost)
    assert facade.getsockname() == name
    with pytest.raises(OSError) as raised:
        facade.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert raised.value.errno == errno.EBADF


async def test_a_servers_sockets(peers: Peers) -> None:
    server = await peers.server.create_server(Recorder, 80)
    (facade,) = server.sockets
    assert facade.getsockname() == (peers.host, 80)
    assert facade.fileno() == -1
    for call in (facade.getpeername, lambda: facade.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)):
        with pytest.raises(OSError):
            call()
