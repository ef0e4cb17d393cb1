"""ICMP errors from the kernel's error queue: told with the remote's name, to whoever watches; and nothing else lost."""

import asyncio
import errno
import select
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvloop

from tests.aio.peers import until
from tests.link.conftest import Keep
from tests.link.sockets import (
    LOOPBACK,
    WILDCARD,
    QueueEntry,
    ReplaceableLink,
    ScriptedSocket,
    all_arrive,
    arrives,
    both_families,
    needs_ipv6,
    needs_linux,
    needs_offload,
)
from tests.ports import free_port
from utcp.link import base, error_queue, sockopt
from utcp.link import udp as udp_module
from utcp.link.path import SocketAddress, UdpPath
from utcp.link.udp import PathError, UdpLink
from utcp.tcp.transmit import Remote, Transmit

pytestmark = needs_linux

both_loops = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
SEGMENT = bytes(range(100, 140))


class Queue:
    """A socket that has these entries in its error queue."""

    def __init__(self, family: int, entries: list[QueueEntry]) -> None:
        self.family = family
        self.entries = entries

    def recvmsg(self, size: int, control_size: int, flags: int) -> QueueEntry:
        if not self.entries:
            raise BlockingIOError
        return self.entries.pop(0)


def closed_port(family: int) -> SocketAddress:
    """An address where nobody receives."""
    host = LOOPBACK[family][0]
    port = free_port(host=host)
    return (host, port, 0, 0) if family == socket.AF_INET6 else (host, port)


def single(remote: Remote, data: bytes = SEGMENT) -> Transmit:
    return Transmit(remote, [data], len(data))


def is_readable(link: UdpLink) -> bool:
    return bool(select.select([link], [], [], 0)[0])


def errors_of(link: UdpLink) -> list[PathError]:
    """What is told after something has been heard."""
    assert select.select([link], [], [], 5)[0], "nothing was heard within 5 s"
    assert link.receive() == []
    return link.path_errors()


@both_families
@pytest.mark.parametrize("offload", [True, False])
def test_a_port_unreachable_is_told_with_the_segment(family: int, offload: bool, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family], offload=offload))
    remote = a.remote(closed_port(family))
    assert a.path_errors() == []
    assert a.send([single(remote)]) == []
    assert errors_of(a) == [PathError(remote, errno.ECONNREFUSED, None, SEGMENT)]
    assert a.path_errors() == []
    assert not is_readable(a)
    assert a.counters.path_errors == 1


@both_families
def test_on_a_wildcard_socket_the_remote_is_the_path(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, WILDCARD[family]))
    address = closed_port(family)
    remote = a.remote(address)
    assert isinstance(remote, UdpPath)
    a.send([single(remote)])
    assert [error.remote for error in errors_of(a)] == [remote]


def test_the_path_has_the_address_that_the_datagram_left_from(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, WILDCARD[socket.AF_INET]))
    remote = UdpPath(closed_port(socket.AF_INET), "127.0.0.9")
    a.send([single(remote)])
    assert [error.remote for error in errors_of(a)] == [remote]


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "::ffff:127.0.0.1"])
def test_ipv4_on_an_ipv6_socket(host: str, keep: Keep) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, 0))
    a = keep(UdpLink(sock))
    remote = a.remote(("::ffff:127.0.0.1", closed_port(socket.AF_INET)[1], 0, 0))
    a.send([single(remote)])
    assert errors_of(a) == [PathError(remote, errno.ECONNREFUSED, None, SEGMENT)]


def test_no_more_is_quoted_than_the_headers_need(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    a.send([single(closed_port(socket.AF_INET), SEGMENT * 10)])
    (error,) = errors_of(a)
    assert error.quoted == (SEGMENT * 10)[: base.QUOTED]


@needs_offload
def test_a_train_that_nobody_receives(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    address = closed_port(socket.AF_INET)
    a.send([Transmit(address, [SEGMENT * 5], 200, 40)])
    errors = errors_of(a)
    assert {(error.remote, error.errno, error.quoted[:40]) for error in errors} == {
        (address, errno.ECONNREFUSED, SEGMENT)
    }


@both_families
def test_the_error_of_one_peer_costs_no_other_a_datagram(family: int, keep: Keep) -> None:
    """The kernel has the next call fail, whoever it is for."""
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    b = keep(UdpLink.bind(family, LOOPBACK[family]))
    refused, remote = a.remote(closed_port(family)), a.remote(b.address)
    for number in range(10):
        assert a.send([single(refused), single(remote, bytes((number,)))]) == []
        b.send([single(b.remote(a.address), b"reply")])
    assert all_arrive(b, 10) == [bytes((number,)) for number in range(10)]
    assert all_arrive(a, 10) == [b"reply"] * 10
    assert a.counters.send_errors == 0
    assert [error.remote for error in a.path_errors()] == [refused] * 10


@needs_offload
def test_the_error_of_one_peer_does_not_split_the_train_of_another(keep: Keep) -> None:
    sock = ScriptedSocket()
    a = keep(UdpLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    sock.send_script.append(errno.EMSGSIZE)  # a router's, about another datagram
    assert a.send([Transmit(b.address, [bytes(2300)], 2300, 1000)]) == []
    assert a.counters.segmentation_refused == 0
    assert sock.sends == 1


def test_a_send_that_fails_for_itself_leaves_nothing_in_the_queue(keep: Keep) -> None:
    """What the kernel says of itself is in the queue too, and would have the descriptor readable for ever."""
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    address = closed_port(socket.AF_INET)
    (failed,) = a.send([single(address, bytes(65_530))])
    assert failed.errno == errno.EMSGSIZE
    assert a.path_errors() == []
    assert not is_readable(a)


def test_what_one_call_tells_is_bounded_and_the_rest_is_dropped(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is emptied: what it holds uses up the receive buffer, and makes calls fail."""
    a = keep(ReplaceableLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    now = 100.0
    monkeypatch.setattr(a, "now", lambda: now)
    a._error_budget, a._errors_read_at = 4.0, now
    address = closed_port(socket.AF_INET)
    for number in range(10):
        a.send([single(address, bytes((number,)))])
    assert [error.quoted[0] for error in a.path_errors()] == [0, 1, 2, 3]
    assert a.counters.path_errors_dropped == 6
    assert not is_readable(a)
    calls = a.counters.send_calls
    a.send([single(address)])
    assert a.counters.send_calls == calls + 1  # nothing is left that makes a call fail
    now += 1.0 / udp_module.PATH_ERROR_RATE
    assert len(errors_of(a)) == 1


def test_a_queue_that_no_call_was_told_of_is_found(keep: Keep) -> None:
    """Should it come to that, the descriptor must not be readable for ever."""
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    address = closed_port(socket.AF_INET)
    a.send([single(address)])
    with pytest.raises(ConnectionRefusedError):
        a._socket.recv(1)  # somebody else's call took the hint
    turns = 0
    while is_readable(a):
        turns += 1
        assert turns < 5
        a.receive()
        a.path_errors()
    assert a.counters.path_errors == 1


def test_the_queue_is_not_asked_while_all_is_well(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    monkeypatch.setattr(error_queue, "read", lambda *_: pytest.fail("a system call for nothing"))
    for _ in range(3):
        b.send([single(a.address)])
        assert a.path_errors() == []
        arrives(a)
        assert a.path_errors() == []
        a.send([single(b.address)])
        a.receive()  # a timer's look
        assert a.path_errors() == []


@pytest.mark.defect(94)
def test_too_big_changes_nothing_but_what_is_told(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be forged: the stack looks at the quote. Routes are not even asked for again."""
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    remote = closed_port(socket.AF_INET)
    before = a.mtu(remote)
    monkeypatch.setattr("utcp.link.path.path_payload", lambda _: 1172)
    told = PathError(remote, errno.EMSGSIZE, 1172, b"")
    monkeypatch.setattr(error_queue, "read", lambda *_: error_queue.Reading([told], 0, True, True))
    a.has_path_errors = True
    assert a.path_errors() == [told]
    assert a.mtu(remote) == before


def test_what_a_too_big_message_says() -> None:
    """As struct sock_extended_err has it: Linux writes it in the machine's own byte order."""

    def understood(code: int, origin: int, info: int, family: int = socket.AF_INET) -> PathError | None:
        level, kind = (
            (socket.IPPROTO_IP, sockopt.IP_RECVERR)
            if family == socket.AF_INET
            else (socket.IPPROTO_IPV6, sockopt.IPV6_RECVERR)
        )
        value = sockopt._EXTENDED_ERROR.pack(code, origin, 3, 4, 0, info, 0) + bytes(16)
        peer: SocketAddress = ("192.0.2.1", 9) if family == socket.AF_INET else ("2001:db8::1", 9, 0, 0)
        queue = Queue(family, [(b"quoted", [(level, kind, value)], socket.MSG_ERRQUEUE, peer)])
        errors, dropped, has_icmp, emptied = error_queue.read(cast("socket.socket", queue), lambda address, _: address)
        assert (dropped, emptied) == (0, True)
        assert has_icmp == bool(errors)
        return errors[0] if errors else None

    four, six = ("192.0.2.1", 9), ("2001:db8::1", 9, 0, 0)
    assert understood(errno.EMSGSIZE, 2, 1400) == PathError(four, errno.EMSGSIZE, 1372, b"quoted")
    assert understood(errno.EMSGSIZE, 3, 1400, socket.AF_INET6) == PathError(six, errno.EMSGSIZE, 1352, b"quoted")
    for too_small in (0, 67):
        assert understood(errno.EMSGSIZE, 2, too_small) == PathError(four, errno.EMSGSIZE, None, b"quoted")
    assert understood(errno.EMSGSIZE, 3, 1279, socket.AF_INET6) == PathError(six, errno.EMSGSIZE, None, b"quoted")
    assert understood(errno.EHOSTUNREACH, 2, 1400) == PathError(four, errno.EHOSTUNREACH, None, b"quoted")
    assert understood(errno.EMSGSIZE, 1, 1400) is None  # the kernel's own
    assert understood(0, 4, 0) is None  # a time stamp


@both_loops
def test_a_loop_hears_errors_and_then_datagrams_and_rests(
    new_loop: Callable[[], asyncio.AbstractEventLoop], keep: Keep
) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    refused = closed_port(socket.AF_INET)
    heard: list[bytes] = []
    errors: list[PathError] = []
    wakeups = 0

    def readable() -> None:
        nonlocal wakeups
        wakeups += 1
        heard.extend(item.data for item in a.receive())
        errors.extend(a.path_errors())

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(a.fileno(), readable)
        try:
            for number in range(1, 6):
                a.send([single(refused)])
                await until(lambda number=number: len(errors) == number)  # type: ignore[misc]  # a loop variable, bound
                b.send([single(a.address, bytes((number,)))])
                await until(lambda number=number: len(heard) == number)  # type: ignore[misc]  # a loop variable, bound
            before = wakeups
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert wakeups == before
        finally:
            loop.remove_reader(a.fileno())

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(listen())
    assert wakeups <= 10
    assert errors == [PathError(refused, errno.ECONNREFUSED, None, SEGMENT)] * 5


@both_loops
def test_a_loop_hears_of_room(new_loop: Callable[[], asyncio.AbstractEventLoop], keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    calls = 0

    def readable() -> None:
        nonlocal calls
        calls += 1

    async def turns() -> int:
        before = calls
        for _ in range(5):
            await asyncio.sleep(0.001)
        return calls - before

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(a.fileno(), readable)
        try:
            assert await turns() == 0
            assert a.watch_room(True)
            assert await turns() > 0
            assert a.watch_room(False)
            await turns()  # one may be on its way
            assert await turns() == 0
        finally:
            loop.remove_reader(a.fileno())

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(listen())


def test_elsewhere_than_on_linux_the_socket_itself_is_watched(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockopt, "IS_LINUX", False)
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    assert a.fileno() == a._socket.fileno()
    assert not a.watch_room(True)
    assert a.path_errors() == []


def test_a_closed_link_is_silent() -> None:
    a = UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET])
    address = closed_port(socket.AF_INET)
    for _ in range(2):
        a.send([single(address)])
    a._read_error_queue()
    assert a._path_errors
    a.close()
    assert a.fileno() == -1
    assert a.watch_room(False)
    assert a.path_errors() == []


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EINVAL, errno.EOPNOTSUPP])
def test_an_error_queue_that_cannot_be_read_disturbs_nothing(code: int, keep: Keep) -> None:
    class Queueless(ScriptedSocket):
        def recvmsg(self, *arguments: Any) -> QueueEntry:
            if len(arguments) > 2:
                raise OSError(code, "no queue")
            return super().recvmsg(*arguments)

    sock = Queueless()
    a = keep(UdpLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    sock.receive_script.append(errno.ECONNREFUSED)
    b.send([single(a.address, b"text")])
    assert [item.data for item in arrives(a)] == [b"text"]
    assert a.path_errors() == []
    sock.send_script.append(errno.ECONNREFUSED)
    assert a.send([single(b.address, b"reply")]) == []
    assert all_arrive(b, 1) == [b"reply"]
