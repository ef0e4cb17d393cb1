"""A full socket, failed sends, asynchronous errors, misuse: what is kept, reported, counted, raised."""

import asyncio
import errno
import gc
import os
import socket
from collections.abc import Callable
from itertools import count

import pytest
import uvloop

from tests.link.conftest import Keep
from tests.link.sockets import (
    LOOPBACK,
    ReplaceableLink,
    ScriptedSocket,
    all_arrive,
    arrives,
    both_families,
    needs_offload,
)
from utcp.link import pending, sockopt
from utcp.link import udp as udp_module
from utcp.link.base import MAX_PATH_ERRORS
from utcp.link.udp import SendError, UdpLink
from utcp.tcp.transmit import Transmit

IPV4 = LOOPBACK[socket.AF_INET]
EAGAIN = errno.EAGAIN

AGAIN = int(sockopt.IS_LINUX)
"""How often a send is tried again where ICMP errors are heard: the first may have failed with another's."""


TRIES = 1 + AGAIN
"""Calls until an error is believed."""


def single(receiver: UdpLink, number: int) -> Transmit:
    return Transmit(receiver.address, [bytes((number,))], 1)


def waits(link: UdpLink) -> bool:
    """Whether something is `pending`, asked anew each time: a type checker takes an attribute for constant."""
    return bool(link.pending)


@pytest.fixture
def scripted(keep: Keep) -> tuple[ScriptedSocket, UdpLink, UdpLink]:
    """A socket that fails on command, the link over it, and a link that receives."""
    sock = ScriptedSocket()
    return sock, keep(UdpLink(sock)), keep(UdpLink.bind(socket.AF_INET, IPV4))


def test_what_a_full_socket_refuses_waits_in_order(scripted: tuple[ScriptedSocket, UdpLink, UdpLink]) -> None:
    sock, a, b = scripted
    sock.send_script.extend([0, 0, EAGAIN, 0, EAGAIN, 0, 0, EAGAIN])
    assert a.send([single(b, number) for number in range(4)]) == []
    assert waits(a)
    assert a.send([single(b, 4), single(b, 5)]) == []  # behind 2, which leaves, and 3
    assert sock.sends == 3
    assert a.flush_pending() == []  # 3 and 4 leave
    assert sock.sends == 5
    assert waits(a)
    assert a.flush_pending() == []
    assert not waits(a)
    assert all_arrive(b, 6) == [bytes((number,)) for number in range(6)]
    assert (a.counters.datagrams_sent, a.counters.bytes_sent) == (6, 6)
    assert a._pending.octets == 0


def test_a_train_half_sent_goes_on_where_it_stopped(keep: Keep) -> None:
    sock = ScriptedSocket()
    a = keep(UdpLink(sock, offload=False))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    data = b"".join(bytes((number,)) * 10 for number in range(7)) + b"end"
    sock.send_script.extend([0, 0, 0, EAGAIN, 0, EAGAIN, 0, 0, 0, EAGAIN])
    assert a.send([Transmit(b.address, [data], len(data), 10), single(b, 99)]) == []
    assert waits(a)
    assert a.flush_pending() == []
    assert waits(a)
    assert a.flush_pending() == []  # only the short last datagram is left of the train
    assert waits(a)
    assert a.flush_pending() == []
    assert not waits(a)
    assert a._pending.octets == 0
    assert all_arrive(b, 9) == [bytes((number,)) * 10 for number in range(7)] + [b"end", bytes((99,))]


@needs_offload
def test_a_split_train_half_sent_goes_on_where_it_stopped(scripted: tuple[ScriptedSocket, UdpLink, UdpLink]) -> None:
    sock, a, b = scripted
    data = b"".join(number.to_bytes(4, "big") for number in range(200))
    sock.send_script.extend([0, EAGAIN, 0, EAGAIN])
    a.send([Transmit(b.address, [data], len(data), 4)])
    assert a.flush_pending() == []
    assert waits(a)
    a.flush_pending()
    assert not waits(a)
    assert a._pending.octets == 0
    assert all_arrive(b, 200) == [number.to_bytes(4, "big") for number in range(200)]
    assert a.counters.send_calls == 6


def test_a_signal_handler_that_raises_costs_nothing_that_waits(
    scripted: tuple[ScriptedSocket, UdpLink, UdpLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, a, b = scripted
    sock.send_script.append(EAGAIN)
    a.send([single(b, number) for number in range(3)])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sock, "sendto", interrupted)
        with pytest.raises(KeyboardInterrupt):
            a.flush_pending()
    assert a.flush_pending() == []
    assert all_arrive(b, 3) == [b"\0", b"\1", b"\2"]
    assert a._pending.octets == 0


def test_what_waits_is_bounded(
    scripted: tuple[ScriptedSocket, UdpLink, UdpLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, a, b = scripted
    monkeypatch.setattr(pending, "MAX_PENDING", 3 * (1 + pending.PENDING_OVERHEAD))
    sock.send_script.extend([EAGAIN, EAGAIN])
    a.send([single(b, number) for number in range(5)])
    a.send([Transmit(b.address, [bytes(25)], 25, 10)])
    assert a.counters.datagrams_dropped == 2 + 3
    a.flush_pending()
    assert all_arrive(b, 3) == [b"\0", b"\1", b"\2"]


@needs_offload
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EMSGSIZE, errno.EIO])
def test_a_refused_train_leaves_as_single_datagrams(
    code: int, scripted: tuple[ScriptedSocket, UdpLink, UdpLink]
) -> None:
    sock, a, b = scripted
    sock.refuses_trains = code
    transmit = Transmit(b.address, [b"x" * 25, b"y" * 5, b"z" * 7], 37, 10)
    assert a.send([transmit, single(b, 1)]) == []
    assert all_arrive(b, 5) == [*transmit.datagrams(), b"\1"]
    assert a.counters.segmentation_refused == 1
    assert a.counters.send_errors == 0
    sock.refuses_trains = 0
    assert a.send([transmit]) == []
    assert a.counters.segmentation_refused == 1  # it was that path, then; not the socket


@needs_offload
def test_a_refused_train_half_sent_goes_on_where_it_stopped(scripted: tuple[ScriptedSocket, UdpLink, UdpLink]) -> None:
    sock, a, b = scripted
    sock.refuses_trains = errno.EMSGSIZE
    sock.send_script.extend([0, EAGAIN])
    transmit = Transmit(b.address, [b"x" * 10, b"y" * 10, b"z" * 7], 27, 10)
    a.send([transmit])
    assert waits(a)
    a.flush_pending()
    assert all_arrive(b, 3) == transmit.datagrams()


@needs_offload
def test_a_split_train_refused_and_half_sent_goes_on_where_it_stopped(
    scripted: tuple[ScriptedSocket, UdpLink, UdpLink],
) -> None:
    sock, a, b = scripted
    sock.refuses_trains = errno.EIO
    sock.send_script.extend([0] * 70 + [EAGAIN])  # in the second part of 64
    data = b"".join(number.to_bytes(4, "big") for number in range(200)) + b"end"
    a.send([Transmit(b.address, [data], len(data), 4)])
    assert sock.sends == 70
    assert waits(a)
    a.flush_pending()
    assert not waits(a)
    assert all_arrive(b, 201) == [number.to_bytes(4, "big") for number in range(200)] + [b"end"]


def test_a_train_of_datagrams_too_large_is_reported_once(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, IPV4))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    assert a.send([Transmit(b.address, [bytes(140_000)], 140_000, 70_000)]) == [
        SendError(b.address, errno.EMSGSIZE, ((0, 0),))
    ]


@both_families
def test_a_datagram_too_large_is_reported_and_the_next_one_sent(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    b = keep(UdpLink.bind(family, LOOPBACK[family]))
    remote = a.remote(b.address)
    errors = a.send([Transmit(remote, [bytes(65528)], 65528), Transmit(remote, [b"x"], 1)])
    assert errors == [SendError(remote, errno.EMSGSIZE, ((0, 0),))]
    assert all_arrive(b, 1) == [b"x"]
    assert (a.counters.send_errors, a.counters.datagrams_sent, a.counters.send_calls) == (1, 1, 2 + AGAIN)
    assert not waits(a)


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.EACCES])
@pytest.mark.defect(79)
def test_a_failed_train_is_reported_once(code: int, offload: bool, keep: Keep) -> None:
    """Whether or not the kernel would let another socket, such as one that asks for a route, send there."""
    sock = ScriptedSocket()
    a = keep(UdpLink(sock, offload=offload))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    sock.send_script.extend([code] * TRIES)
    assert a.send([Transmit(b.address, [bytes(100)], 100, 10), single(b, 1)]) == [SendError(b.address, code, ((0, 0),))]
    assert all_arrive(b, 1) == [b"\1"]
    assert a.counters.send_errors == 1


@pytest.mark.skipif(not AGAIN, reason="ICMP is heard on Linux only")
@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH])
@pytest.mark.defect(95)
def test_a_flood_of_icmp_ends_nothing_that_goes_elsewhere(
    code: int, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call is told of the last ICMP error, whoever it is about: no verdict on this remote. The datagram is sent
    again for a few milliseconds, and lost only if every call fails, as datagrams may be."""
    sock = ScriptedSocket()
    a = keep(ReplaceableLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    monkeypatch.setattr(a, "now", count(100.0, udp_module._RETRY_TIME / 50).__next__)
    sock.icmp_per_failure = 1
    sock.send_script.extend([code] * 15)
    assert a.send([single(b, 0), single(b, 1)]) == []
    assert (a.counters.send_errors, a.counters.datagrams_dropped) == (0, 0)
    assert len(a.path_errors()) == 15
    sock.send_script.extend([code] * 100)
    assert a.send([single(b, 2)]) == []
    assert 20 < 100 - len(sock.send_script) < 30
    assert (a.counters.send_errors, a.counters.datagrams_dropped) == (0, 1)
    sock.send_script.clear()
    assert a.send([single(b, 3)]) == []
    assert all_arrive(b, 3) == [b"\0", b"\1", b"\3"]


@pytest.mark.skipif(not AGAIN, reason="ICMP is heard on Linux only")
@pytest.mark.defect(79)
def test_an_error_of_its_own_is_told_from_icmp_errors_that_come_meanwhile(keep: Keep) -> None:
    sock = ScriptedSocket()
    a = keep(UdpLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    sock.icmp.extend([ScriptedSocket.port_unreachable] * 2)
    sock.send_script.extend([errno.ENETUNREACH] * 3)
    assert a.send([single(b, 0)]) == [SendError(b.address, errno.ENETUNREACH, ())]
    assert [error.errno for error in a.path_errors()] == [errno.ECONNREFUSED] * 2


@pytest.mark.skipif(not AGAIN, reason="ICMP is heard on Linux only")
def test_icmp_errors_that_a_send_finds_in_the_queue_are_bounded(keep: Keep) -> None:
    sock = ScriptedSocket()
    a = keep(UdpLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    sock.icmp.extend([ScriptedSocket.port_unreachable] * (MAX_PATH_ERRORS + 6))
    sock.send_script.extend([errno.ECONNREFUSED, errno.ECONNREFUSED, 0])
    assert a.send([single(b, 0)]) == []
    assert [len(a.path_errors()) for _ in range(2)] == [MAX_PATH_ERRORS, 0]
    assert a.counters.path_errors_dropped == 6


@needs_offload
@pytest.mark.defect(90)
@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.ENOMEM])
def test_what_finds_no_buffer_is_lost_and_not_tried_again(
    code: int, scripted: tuple[ScriptedSocket, UdpLink, UdpLink]
) -> None:
    """The socket is writable all the time: whoever waited for room would spin."""
    sock, a, b = scripted
    sock.send_script.extend([code, 0, code])
    train = Transmit(b.address, [bytes(25)], 25, 10)
    assert a.send([single(b, 0), single(b, 1), train, single(b, 2)]) == []
    assert not waits(a)
    assert a.counters.send_calls == 4
    assert (a.counters.no_buffers, a.counters.send_errors, a.counters.datagrams_dropped) == (4, 0, 0)
    assert all_arrive(b, 2) == [b"\1", b"\2"]


def test_a_failure_while_flushing_is_reported(
    scripted: tuple[ScriptedSocket, UdpLink, UdpLink],
) -> None:
    sock, a, b = scripted
    sock.send_script.extend([EAGAIN, *[errno.ENETUNREACH] * TRIES, 0])
    assert a.send([single(b, 0), single(b, 1)]) == []
    assert a.flush_pending() == [SendError(b.address, errno.ENETUNREACH, ())]
    assert all_arrive(b, 1) == [b"\1"]


def test_a_failed_send_has_the_route_asked_for_again(
    scripted: tuple[ScriptedSocket, UdpLink, UdpLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, a, b = scripted
    before = a.mtu(b.address)
    monkeypatch.setattr("utcp.link.path.path_payload", lambda _: 1200)
    assert a.mtu(b.address) == before
    sock.send_script.extend([errno.EMSGSIZE] * (1 + AGAIN))
    a.send([single(b, 0)])
    assert a.mtu(b.address) == 1200


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENOMEM])
def test_an_asynchronous_error_does_not_stop_a_batch(code: int, offload: bool, keep: Keep) -> None:
    sock = ScriptedSocket()
    a = keep(UdpLink(sock, offload=offload))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    b.send([single(a, 1), single(a, 2)])
    sock.receive_script.extend([code, 0, code])
    assert [item.data for item in arrives(a)] == [b"\1", b"\2"]
    assert a.counters.receive_errors == 2


def test_errors_without_end_leave_receive_after_its_limit(scripted: tuple[ScriptedSocket, UdpLink, UdpLink]) -> None:
    sock, a, _ = scripted
    sock.receive_script.extend([errno.ECONNREFUSED] * 100)
    assert a.receive(limit=10) == []
    assert len(sock.receive_script) == 90


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_refused_port_does_not_deafen_a_link(new_loop: Callable[[], asyncio.AbstractEventLoop], keep: Keep) -> None:
    """The socket reports EPOLLERR, at which uvloop would stop watching it."""
    a = keep(UdpLink.bind(socket.AF_INET, IPV4))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    closed = UdpLink.bind(socket.AF_INET, IPV4)
    closed.close()
    heard: list[bytes] = []

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def readable() -> None:
            heard.extend(item.data for item in a.receive())
            if heard:
                done.set()

        loop.add_reader(a.fileno(), readable)
        try:
            assert a.send([single(closed, 0), single(closed, 1)]) == []
            await asyncio.sleep(0.05)
            b.send([single(a, 2)])
            await asyncio.wait_for(done.wait(), 60)
        finally:
            loop.remove_reader(a.fileno())

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(listen())
    assert heard == [b"\2"]


def test_an_address_in_use_is_told_in_the_words_of_asyncio(keep: Keep) -> None:
    address = keep(UdpLink.bind(socket.AF_INET, IPV4)).address
    with pytest.raises(OSError, match="error while attempting to bind") as caught:
        UdpLink.bind(socket.AF_INET, address)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.strerror == f"error while attempting to bind on address {address!r}: address already in use"


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError, match="cannot assign requested address") as caught:
        UdpLink.bind(socket.AF_INET, ("192.0.2.77", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")
def test_a_port_can_be_shared_when_asked(keep: Keep) -> None:
    first = keep(UdpLink.bind(socket.AF_INET, IPV4, reuse_port=True))
    second = keep(UdpLink.bind(socket.AF_INET, first.address, reuse_port=True))
    assert first.address == second.address


def test_sockets_that_are_no_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream, pytest.raises(ValueError, match="UDP"):
        UdpLink(stream)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound, pytest.raises(ValueError, match="bound"):
        UdpLink(unbound)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connected:
        connected.connect(("127.0.0.1", 9))
        with pytest.raises(ValueError, match="connected"):
            UdpLink(connected)


def test_the_socket_never_blocks(keep: Keep) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(IPV4)
    assert sock.gettimeout() is None
    link = keep(UdpLink(sock))
    assert sock.gettimeout() == 0
    assert link.receive() == []


def test_receive_capacity_is_what_a_burst_may_fill(keep: Keep) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(IPV4)
    a = keep(UdpLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    assert 0 < a.receive_capacity <= sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    size = 1400
    count = a.receive_capacity // size
    b.send([Transmit(a.address, [bytes(size)], size)] * count)
    received = 0
    while batch := a.receive():
        received += len(batch)
    assert received == count


def test_a_link_that_failed_to_bind_leaves_no_descriptor(keep: Keep) -> None:
    """An open socket would be a ResourceWarning, and that an error here."""
    address = keep(UdpLink.bind(socket.AF_INET, IPV4)).address
    with pytest.raises(OSError, match="already in use"):
        UdpLink.bind(socket.AF_INET, address)
    gc.collect()


def test_close_twice_and_then_use(keep: Keep) -> None:
    sock = ScriptedSocket()
    a = UdpLink(sock)
    b = keep(UdpLink.bind(socket.AF_INET, IPV4))
    sock.send_script.append(EAGAIN)
    a.send([single(b, 0)])
    a.close()
    a.close()
    assert a.fileno() == -1
    assert not waits(a)
    for use in (a.receive, lambda: a.send([single(b, 0)])):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            use()


@pytest.mark.skipif(not hasattr(socket, "IP_RECVTOS"), reason="this system does not tell the TOS octet")
@both_families
def test_ecn_bits_are_sent(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        sock.bind(LOOPBACK[family])
        sock.settimeout(5)
        for ecn in (2, 0, 3):
            assert a.send([Transmit(a.remote(sock.getsockname()), [b"x"], 1, ecn=ecn)]) == []
            ((_, _, value),) = sock.recvmsg(100, 100)[1]
            assert value[0] == ecn


def test_the_clock_is_monotonic(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, IPV4))
    assert a.now() <= a.now()


@pytest.mark.defect(92)
def test_a_datagram_from_port_0_is_dropped(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer could be sent: each would fail."""
    link = keep(UdpLink.bind(socket.AF_INET, IPV4))
    peer = keep(UdpLink.bind(socket.AF_INET, IPV4))
    peer.send([single(link, 1)] * 2)
    take = link._socket.recvmsg
    ports = iter([0, 1])

    class FromPort0:
        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def recvmsg(self, *arguments: int) -> object:
            data, control, flags, address = take(*arguments)
            return data, control, flags, (address[0], next(ports))

        def __getattr__(self, name: str) -> object:
            return getattr(self._sock, name)

    monkeypatch.setattr(link, "_socket", FromPort0(link._socket))
    assert [item.remote for item in link.receive()] == [("127.0.0.1", 1)]
    assert link.counters.no_source_port == 1
