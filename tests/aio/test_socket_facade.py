"""get_extra_info("socket"): the options that libraries set are those of the TCP below."""

import asyncio
import errno
import pickle
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from tests.aio.peers import LOCALHOST, Peers, Recorder, connection_of, turns, until

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
@pytest.mark.defect(100)
async def test_keepalive(peers: Peers) -> None:
    facade, connection = await open_socket(peers)
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert facade.getsockopt(socket.IPPROTO_TCP, TCP_KEEPIDLE) == 60
    now = peers.client.link.now()
    assert 59 < connection.keepalive.deadline - now < 61
    facade.setsockopt(socket.IPPROTO_TCP, TCP_KEEPIDLE, 30)
    facade.setsockopt(socket.IPPROTO_TCP, TCP_KEEPINTVL, 7)
    facade.setsockopt(socket.IPPROTO_TCP, TCP_KEEPCNT, 3)
    assert 29 < connection.keepalive.deadline - now < 31
    assert [facade.getsockopt(socket.IPPROTO_TCP, option) for option in (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT)] == [
        30,
        7,
        3,
    ]
    assert (connection.keepalive.interval, connection.keepalive.count) == (7.0, 3)
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    assert "keepalive" not in connection.info().timers
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_linger(peers: Peers) -> None:
    facade, connection = await open_socket(peers)
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER) == 0
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    assert connection.linger == 5.0
    assert facade.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 5)
    facade.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
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


@pytest.mark.defect(77)
async def test_buffer_sizes_can_be_set(peers: Peers) -> None:
    """What is read is what was set: the kernel doubles it, for its own book-keeping."""
    transport, client, server = await peers.connect(Recorder)
    facade = transport.get_extra_info("socket")
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        for value, becomes in ((0, 2048), ((1 << 31) - 1, 1 << 30), (100_000, 100_000)):
            facade.setsockopt(socket.SOL_SOCKET, option, value)
            assert facade.getsockopt(socket.SOL_SOCKET, option) == becomes
    server.transport.pause_reading()
    transport.write(bytes(3 << 19))
    connection = connection_of(transport)
    assert connection.send_queue == 100_000
    assert transport.get_write_buffer_size() == (3 << 19) - 100_000
    server.transport.resume_reading()
    await until(lambda: len(server.received) == 3 << 19)
    assert connection.send_side.limit == 100_000  # it does not grow by itself any more

    transport.pause_reading()
    server.transport.write(bytes(3 << 19))
    await until(lambda: not connection.receive_side.window)
    held = connection.readable
    assert 100_000 <= held <= (1 << 20) + 4096  # the window that was offered before stays
    transport.resume_reading()
    await until(lambda: len(client.received) == 3 << 19)
    assert connection.receive_side.limit == 100_000
    assert connection.receive_side.window < 100_000 + 1024  # rounded up to the window scale's unit


@pytest.mark.defect(77)
async def test_quickack(peers: Peers) -> None:
    """It acts on full-sized segments, and on what waits for an ACK now; as the kernel's, it is not for good."""
    facade, connection = await open_socket(peers)
    assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
    facade.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 0
    peers.accepted[-1].transport.write(b"x")
    await until(lambda: connection.receive_side.ack_due)
    sent = connection.send_side.segs_out
    facade.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
    await turns(3)
    assert connection.send_side.segs_out == sent + 1


@pytest.mark.defect(77)
async def test_cork(peers: Peers) -> None:
    """It is Nagle's algorithm, without the kernel's 200 ms: a small segment waits for the ACK of what is in flight."""
    transport, _, server = await peers.connect(Recorder)
    facade, connection = transport.get_extra_info("socket"), connection_of(transport)
    facade.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 1
    assert facade.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    sent = connection.send_side.data_segs_out
    transport.write(b"one ")
    peers.client.driver.flush()
    transport.write(b"two ")
    peers.client.driver.flush()
    transport.write(b"three")
    peers.client.driver.flush()
    assert connection.send_side.data_segs_out == sent + 1
    facade.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    peers.client.driver.flush()
    assert connection.send_side.data_segs_out == sent + 2
    await until(lambda: server.received == b"one two three")


@pytest.mark.defect(77)
@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
async def test_shutdown(peers: Peers, how: int) -> None:
    transport, client, server = await peers.connect(Recorder, Recorder)
    facade = transport.get_extra_info("socket")
    transport.write(b"last")
    facade.shutdown(how)
    await until(lambda: "eof" in server.calls)
    assert server.received == b"last"
    server.transport.close()
    if how == socket.SHUT_WR:
        await until(lambda: "eof" in client.calls)
        transport.close()
    await until(lambda: client.lost)
    assert client.lost == [None]
    with pytest.raises(OSError, match="Bad file descriptor"):
        facade.shutdown(how)
    transport.close()


@pytest.mark.defect(77)
@pytest.mark.parametrize(("how", "code"), [(socket.SHUT_RD, errno.EOPNOTSUPP), (5, errno.EINVAL)])
async def test_what_shutdown_does_not_do(peers: Peers, how: int, code: int) -> None:
    facade, _ = await open_socket(peers)
    with pytest.raises(OSError) as raised:
        facade.shutdown(how)
    assert raised.value.errno == code


# --- beside a kernel socket


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
async def beside(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
    """The sockets of asyncio's and utcp's transports; of a client and of a listener."""
    family = request.param
    host = LOCALHOST[family]
    loop = asyncio.get_running_loop()
    theirs = await loop.create_server(asyncio.Protocol, host, 0)
    async with Peers(family=family) as peers:
        transport, _, _ = await peers.connect(Recorder)
        kernel, _ = await loop.create_connection(asyncio.Protocol, *theirs.sockets[0].getsockname()[:2])
        assert peers.listening is not None
        yield (
            kernel.get_extra_info("socket"),
            transport.get_extra_info("socket"),
            theirs.sockets[0],
            peers.listening.sockets[0],
        )
        kernel.close()
        transport.close()
    theirs.close()


def answer(call: Callable[[], object]) -> object:
    try:
        return call()
    except OSError as exc:
        return errno.errorcode.get(exc.errno or 0, str(exc))
    except Exception as exc:
        return type(exc), str(exc)


def set_and_get(sock: Any, level: int, option: int, value: Any) -> object:
    return answer(lambda: sock.setsockopt(level, option, value)), answer(lambda: sock.getsockopt(level, option))


READ_ONLY = [socket.SO_ERROR, socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ACCEPTCONN]
FLAGS = [
    (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    (socket.SOL_SOCKET, socket.SO_BROADCAST),
]
OF_CONNECTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    (socket.IPPROTO_TCP, socket.TCP_CORK),
    (socket.IPPROTO_TCP, socket.TCP_QUICKACK),
]
NUMBERS = [
    *(((socket.SOL_SOCKET, socket.SO_PRIORITY), value) for value in (1, 6, 0)),
    *(((socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT), value) for value in (16384, -1, 0)),
    *(((socket.IPPROTO_IP, socket.IP_TOS), value) for value in (0x10, 0xFF, 1, -1, 256, 0)),
    *(((socket.IPPROTO_IPV6, socket.IPV6_TCLASS), value) for value in (0x10, 0xFF, 1, -1, 256, -2, 0)),
]


@pytest.mark.defect(77)
async def test_options_beside_a_kernel_socket(beside: tuple[Any, Any, Any, Any]) -> None:
    kernel, ours, kernel_listener, our_listener = beside
    for their, our in ((kernel, ours), (kernel_listener, our_listener)):
        case: tuple[int, ...]
        for option in READ_ONLY:
            case = socket.SOL_SOCKET, option
            assert answer(partial(our.getsockopt, *case)) == answer(partial(their.getsockopt, *case)), case
            assert set_and_get(our, *case, 1) == set_and_get(their, *case, 1), case
        for key in FLAGS:
            for value in (1, 0, 2, -1, struct.pack("i", 1), struct.pack("iq", 0, 1), b"1"):
                assert set_and_get(our, *key, value) == set_and_get(their, *key, value), (key, value)
            for size in (0, 4, 1025, -1):
                case = (*key, size)
                assert answer(partial(our.getsockopt, *case)) == answer(partial(their.getsockopt, *case)), case
        for key, value in NUMBERS:
            expected = set_and_get(their, *key, value)
            if their.family == socket.AF_INET and key[0] == socket.IPPROTO_IPV6:
                expected = "ENOPROTOOPT", "ENOPROTOOPT"  # to read it, some kernels say ENOTSUP
            assert set_and_get(our, *key, value) == expected, (key, value)
    for key in OF_CONNECTIONS:
        for value in (1, 0, 2, -1, struct.pack("i", 1), b"1"):
            assert set_and_get(ours, *key, value) == set_and_get(kernel, *key, value), (key, value)
        assert answer(partial(our_listener.setsockopt, *key, 1)) == "ENOPROTOOPT"  # nothing inherits it
    for value in (0, 1, 87, 88, 1400, 32767, 32768, -1):
        case = socket.IPPROTO_TCP, socket.TCP_MAXSEG, value
        assert answer(partial(ours.setsockopt, *case)) == answer(partial(kernel.setsockopt, *case)), case


@pytest.mark.defect(77)
async def test_methods_beside_asyncios(beside: tuple[Any, Any, Any, Any]) -> None:
    of_asyncio = asyncio.trsock.TransportSocket  # type: ignore[attr-defined]  # private
    names = {name for name in dir(of_asyncio) if not name.startswith("_")} - {"getsockbyname"}  # sockets have none
    theirs = of_asyncio(socket.socket())  # uvloop's are not quite the same
    for sock in beside[1], beside[3]:
        assert not names - set(dir(sock))
        for call in (
            lambda sock: sock.gettimeout(),
            lambda sock: sock.settimeout(0),
            lambda sock: sock.settimeout(1),
            lambda sock: sock.settimeout(None),
            lambda sock: sock.setblocking(False),
            lambda sock: sock.setblocking(True),
            lambda sock: sock.get_inheritable(),
        ):
            assert answer(partial(call, sock)) == answer(partial(call, theirs))
        assert answer(sock.dup) == "ENOTSUP"
        with pytest.raises(TypeError, match="serialize"):
            pickle.dumps(sock)
    assert answer(partial(beside[3].shutdown, socket.SHUT_RDWR)) == "ENOTSUP"
    theirs._sock.close()


@pytest.mark.parametrize(
    ("level", "option", "value", "code"),
    [
        (socket.SOL_SOCKET, socket.SO_RCVBUF, -1, errno.EINVAL),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, -1, errno.EINVAL),
        (socket.SOL_SOCKET, socket.SO_PRIORITY, 7, errno.EPERM),
        (socket.SOL_SOCKET, socket.SO_PRIORITY, -1, errno.EPERM),
        # What would be a lie: a mark or a device is the Endpoint's socket's, a time-to-live as well.
        (socket.SOL_SOCKET, socket.SO_MARK, 1, errno.ENOPROTOOPT),
        (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo", errno.ENOPROTOOPT),
        (socket.IPPROTO_IP, socket.IP_TTL, 7, errno.ENOPROTOOPT),
        (socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 1, errno.ENOPROTOOPT),
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
        facade.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
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
