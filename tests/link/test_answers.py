"""Answers to strangers: by a send buffer of their own, from the same address, and never later."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.interop import namespace
from tests.link.conftest import Keep
from tests.link.sockets import (
    LOOPBACK,
    WILDCARD,
    ReplaceableLink,
    ScriptedSocket,
    all_arrive,
    arrives,
    both_families,
    datagrams,
    needs_ipv6,
    needs_linux,
    needs_offload,
    port,
)
from utcp.link import answers, sockopt
from utcp.link import udp as udp_module
from utcp.link.path import UdpPath
from utcp.link.udp import UdpLink
from utcp.tcp.transmit import Remote, Transmit

pytestmark = [needs_linux, pytest.mark.defect(90)]

IPV4 = LOOPBACK[socket.AF_INET]


def answer(remote: Remote, data: bytes = b"answer") -> Transmit:
    return Transmit(remote, [data], len(data), unverified=True)


def segment(remote: Remote, data: bytes = b"segment") -> Transmit:
    return Transmit(remote, [data], len(data))


def has_second(link: UdpLink) -> bool:
    return link._answers is not link._socket


def second_is_empty(link: UdpLink) -> bool:
    assert has_second(link)
    try:
        link._answers.recv(1)
    except BlockingIOError:
        return True
    return False


@pytest.fixture
def senders() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(20)]


@pytest.fixture
def network() -> Iterator[None]:
    reason = namespace.missing()
    if reason is not None:
        pytest.skip(reason)
    with namespace.own_network():
        yield


@both_families
@pytest.mark.parametrize("wildcard", [True, False])
def test_answers_come_from_the_address_of_the_link(family: int, wildcard: bool, keep: Keep) -> None:
    host = LOOPBACK[family][0]
    link = keep(UdpLink.bind(family, WILDCARD[family] if wildcard else LOOPBACK[family]))
    peer = keep(UdpLink.bind(family, LOOPBACK[family]))
    assert has_second(link)
    remote = link.remote(peer.address)
    train = Transmit(remote, [b"x" * 2500], 2500, 1000, 2, unverified=True)
    assert link.send([answer(remote), train, segment(remote)]) == []
    found = arrives(peer)
    while len(datagrams(found)) < 5:
        found += arrives(peer)
    assert datagrams(found) == [b"answer", b"x" * 1000, b"x" * 1000, b"x" * 500, b"segment"]
    assert {item.remote for item in found} == {peer.remote((host, port(link)))}
    assert {item.ecn for item in found} == {0, 2}
    peer.send([segment(item.remote) for item in found])
    assert all_arrive(link, len(found)) == [b"segment"] * len(found)
    assert second_is_empty(link)


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "::ffff:127.0.0.1"])
def test_answers_of_a_socket_for_both_families(host: str, keep: Keep) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, 0))
    link = keep(UdpLink(sock))
    four = keep(UdpLink.bind(socket.AF_INET, IPV4))
    link.send([answer(link.remote(("::ffff:127.0.0.1", port(four), 0, 0)))])
    (received,) = arrives(four)
    assert received.remote == ("127.0.0.1", port(link))
    four.send([segment(received.remote)])
    assert all_arrive(link, 1) == [b"segment"]
    if host == "::":
        six = keep(UdpLink.bind(socket.AF_INET6, LOOPBACK[socket.AF_INET6]))
        link.send([answer(link.remote(six.address))])
        (received,) = arrives(six)
        six.send([segment(received.remote)])
        assert all_arrive(link, 1) == [b"segment"]
    assert second_is_empty(link)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("count", [1, 4])
def test_the_second_socket_receives_nothing(host: str, count: int, senders: list[socket.socket], keep: Keep) -> None:
    """Whoever sends; and beside others that share the port."""
    links = [keep(UdpLink.bind(socket.AF_INET, (host, 0), reuse_port=count > 1))]
    address = (host, port(links[0]))
    links += [keep(UdpLink.bind(socket.AF_INET, address, reuse_port=True)) for _ in range(count - 1)]
    for number, sender in enumerate(senders):
        for _ in range(10):
            sender.sendto(bytes((number,)), ("127.0.0.1", address[1]))
    received = [len(datagrams(link.receive())) for link in links]
    assert sum(received) == 10 * len(senders)
    if count > 1:
        assert sum(number > 0 for number in received) > 1
    assert all(second_is_empty(link) for link in links if has_second(link))
    assert has_second(links[0]) == (count == 1 or host == "0.0.0.0")  # else they would form a group of their own


@both_families
@pytest.mark.parametrize("wildcard", [True, False])
@pytest.mark.parametrize("option", [None, socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_no_third_socket_can_be_bound_to_the_port(family: int, wildcard: bool, option: int | None, keep: Keep) -> None:
    link = keep(UdpLink.bind(family, WILDCARD[family] if wildcard else LOOPBACK[family]))
    assert has_second(link)
    with socket.socket(family, socket.SOCK_DGRAM) as third:
        if option is not None:
            third.setsockopt(socket.SOL_SOCKET, option, 1)
        with pytest.raises(OSError, match="in use"):
            third.bind(link.address)


def test_a_closed_link_has_left_the_port(keep: Keep) -> None:
    link = UdpLink.bind(socket.AF_INET, IPV4)
    address = link.address
    link.close()
    assert link._answers.fileno() == -1
    assert keep(UdpLink.bind(socket.AF_INET, address)).address == address


def test_icmp_errors_about_answers_are_told(keep: Keep) -> None:
    link = keep(UdpLink.bind(socket.AF_INET, IPV4))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(IPV4)
        remote = link.remote(closed.getsockname())
    assert link.send([answer(remote)] * 2) == []
    link.receive()
    assert [(error.remote, error.errno) for error in link.path_errors()] == [(remote, errno.ECONNREFUSED)] * 2


def test_answers_leave_with_the_options_of_a_given_socket(keep: Keep) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
    sock.setsockopt(socket.IPPROTO_IP, sockopt.IP_TOS, 46 << 2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
    sock.bind(IPV4)
    link = keep(UdpLink(sock))
    second = link._answers
    assert has_second(link)
    assert second.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
    assert second.getsockopt(socket.IPPROTO_IP, sockopt.IP_TOS) == 46 << 2
    assert second.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3
    assert second.getsockopt(socket.IPPROTO_IP, sockopt.IP_MTU_DISCOVER) == sockopt.PMTUDISC_PROBE
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        assert sock.getsockopt(socket.SOL_SOCKET, option) == second.getsockopt(socket.SOL_SOCKET, option) == 0


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)])
def test_what_a_given_socket_shares_it_still_shares(options: tuple[int, ...], keep: Keep) -> None:
    def shared() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        return sock

    sock = shared()
    sock.bind(IPV4)
    link = keep(UdpLink(sock))
    assert has_second(link) == (socket.SO_REUSEPORT not in options)
    with shared() as other:
        if options:
            other.bind(link.address)
        else:
            with pytest.raises(OSError, match="in use"):
                other.bind(link.address)


def test_a_socket_of_another_network_is_not_given_a_second_one_here(keep: Keep, network: None) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(IPV4)
    with namespace.own_network():
        link = keep(UdpLink(sock))
        assert not has_second(link)
    assert link.send([answer(link.address)]) == []
    assert all_arrive(link, 1) == [b"answer"]


def test_strangers_that_nobody_is_cannot_hold_up_a_connection(
    keep: Keep, network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forged SYNs from addresses of the local network where nobody is: the answers wait for ARP, for three seconds."""
    monkeypatch.setattr(answers, "SEND_BUFFER", 4096)  # room for some six answers
    namespace.ip(
        "link add near0 type veth peer name near1",
        "address add 10.8.0.1/16 dev near0",
        "link set near0 up",
        "link set near1 up",
    )
    link = keep(ReplaceableLink.bind(socket.AF_INET, ("0.0.0.0", 0)))
    monkeypatch.setattr(link, "now", lambda: 100.0)  # no buffer is replaced twice
    peer = keep(UdpLink.bind(socket.AF_INET, IPV4))
    nobody = [UdpPath((f"10.8.{number >> 8}.{number & 255}", 9), "10.8.0.1") for number in range(256, 956)]
    assert link.send([answer(remote) for remote in nobody]) == []
    first, link._replace_at = link._answers, 0.0
    dropped = link.counters.answers_dropped
    assert 0 < dropped < 700
    assert not link.pending
    assert link.send([segment(link.remote(peer.address)), answer(link.remote(peer.address))]) == []
    assert all_arrive(peer, 2) == [b"segment", b"answer"]  # the answer had a new buffer
    assert link._answers is not first
    assert link.counters.answers_dropped == dropped


def test_what_the_kernel_holds_for_addresses_that_no_host_has_is_bounded(keep: Keep) -> None:
    """It frees the buffer of a socket that was closed when ARP has given up, after three seconds."""
    link = keep(UdpLink.bind(socket.AF_INET, IPV4))
    size = link._answers.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert size <= 2 * answers.SEND_BUFFER, "whatever the system's default is"
    assert 3.0 / udp_module._REPLACEMENT * size <= 16 * 2**20


class Full:
    """A second socket whose send buffer is full, as often as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *times: int) -> None:
        self.opened: list[ScriptedSocket] = []
        self._times = iter(times)
        monkeypatch.setattr(answers, "open_second", self._open)

    def _open(self, _: socket.socket) -> socket.socket:
        sock = ScriptedSocket()
        sock.send_script.extend([errno.EAGAIN] * next(self._times))
        self.opened.append(sock)
        return sock


def test_an_answer_that_finds_no_room_gets_a_new_buffer_or_is_dropped(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = keep(UdpLink.bind(socket.AF_INET, IPV4))
    full = Full(monkeypatch, 1, 100, 0)
    link = keep(ReplaceableLink.bind(socket.AF_INET, IPV4))
    now = 100.0
    monkeypatch.setattr(link, "now", lambda: now)
    assert link.send([answer(peer.address, b"1"), segment(peer.address, b"2"), answer(peer.address, b"3")]) == []
    assert [sock.fileno() > 0 for sock in full.opened] == [False, True]
    assert link.counters.answers_dropped == 2
    assert all_arrive(peer, 1) == [b"2"]
    now += udp_module._REPLACEMENT
    assert link.send([answer(peer.address, b"4")]) == []
    assert len(full.opened) == 3
    assert all_arrive(peer, 1) == [b"4"]
    assert not link.pending


@pytest.mark.parametrize("separate", [True, False])
def test_answers_never_wait_and_never_go_before_what_waits(
    separate: bool, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not separate:  # as elsewhere than on Linux
        monkeypatch.setattr(answers, "open_second", lambda _: None)
    sock = ScriptedSocket()
    link = keep(UdpLink(sock))
    peer = keep(UdpLink.bind(socket.AF_INET, IPV4))
    sock.send_script.extend([errno.EAGAIN] * 2)
    assert link.send([segment(peer.address), answer(peer.address)]) == []
    assert link.pending
    assert link.send([answer(peer.address)]) == []
    assert link.counters.answers_dropped == (0 if separate else 2)
    if separate:
        assert all_arrive(peer, 2) == [b"answer"] * 2
    sock.send_script.clear()
    link.flush_pending()
    assert all_arrive(peer, 1) == [b"segment"]


@needs_offload
@pytest.mark.defect(92)
def test_a_failing_answer_is_tried_once_and_changes_no_route(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address may be forged, and have no route."""
    link = keep(UdpLink.bind(socket.AF_INET, WILDCARD[socket.AF_INET]))
    monkeypatch.setattr(link._routes, "forget", lambda: pytest.fail("routes are asked for again"))
    nowhere = UdpPath(("255.255.255.255", 9), "127.0.0.1")  # EACCES: no broadcast
    data = bytes.fromhex("00500051") + bytes(16)
    (failed,) = link.send([answer(nowhere, data)])
    assert (failed.remote, failed.errno, failed.flows) == (nowhere, errno.EACCES, ((0x50, 0x51),))
    assert link.counters.send_calls == 1


@both_families
@pytest.mark.parametrize("number", [1, 9])
def test_ports_of_this_host_that_are_often_taken_for_closed_are_told_to_be(
    family: int, number: int, keep: Keep
) -> None:
    """The second socket, which is connected to a port of this host, must not get the ICMP errors about them."""
    link = keep(UdpLink.bind(family, WILDCARD[family]))
    remote = link.remote((LOOPBACK[family][0], number))
    assert link.send([segment(remote)]) == []
    link.receive()
    assert [(error.remote, error.errno) for error in link.path_errors()] == [(remote, errno.ECONNREFUSED)]
