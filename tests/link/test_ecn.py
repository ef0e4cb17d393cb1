"""ECN bits (RFC 3168), out and in: of single datagrams, of trains, of IPv4 on an IPv6 socket."""

import socket

import pytest

from tests.link.conftest import Keep
from tests.link.sockets import LOOPBACK, WILDCARD, arrives, both_families, needs_ipv6, needs_linux, needs_offload, port
from utcp.link import sockopt
from utcp.link.udp import Received, UdpLink
from utcp.tcp.transmit import Transmit

pytestmark = needs_linux


def received(link: UdpLink, count: int) -> list[Received]:
    """The next `count` datagrams or trains."""
    found: list[Received] = []
    while len(found) < count:
        found += arrives(link)
    return found


@both_families
@pytest.mark.parametrize("addresses", [LOOPBACK, WILDCARD], ids=["one-address", "wildcard"])
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.rfc("3168", "5-1")
def test_each_datagram_arrives_with_the_bits_it_was_sent_with(
    family: int, addresses: dict[int, tuple[str, int]], offload: bool, keep: Keep
) -> None:
    a = keep(UdpLink.bind(family, addresses[family], offload=offload))
    b = keep(UdpLink.bind(family, addresses[family], offload=offload))
    remote = a.remote((LOOPBACK[family][0], port(b)))
    a.send([Transmit(remote, [bytes((ecn,))], 1, ecn=ecn) for ecn in (0, 1, 2, 3, 0)])
    assert [(item.data[0], item.ecn) for item in received(b, 5)] == [(0, 0), (1, 1), (2, 2), (3, 3), (0, 0)]


@needs_offload
@both_families
def test_a_train_has_one_mark(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    b = keep(UdpLink.bind(family, LOOPBACK[family]))
    remote = a.remote(b.address)
    a.send([Transmit(remote, [bytes(2300)], 2300, 1000, ecn) for ecn in (2, 3, 0)])
    trains = received(b, 3)
    assert [(len(train.data), train.segment_size, train.ecn) for train in trains] == [
        (2300, 1000, 2),
        (2300, 1000, 3),
        (2300, 1000, 0),
    ]
    assert a.counters.send_calls == 3


@needs_ipv6
def test_ipv4_on_an_ipv6_socket(keep: Keep) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    a = keep(UdpLink(sock))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b.send([Transmit(b.remote(("127.0.0.1", port(a))), [b"x"], 1, ecn=2)])
    (question,) = received(a, 1)
    assert question.ecn == 2
    a.send([Transmit(question.remote, [b"y"], 1, ecn=3)])
    (answer,) = received(b, 1)
    assert (answer.data, answer.ecn) == (b"y", 3)


def test_no_option_is_set_for_a_mark_and_none_sent_without(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    monkeypatch.setattr(
        sockopt, "traffic_class_message", lambda *_: pytest.fail("a message for a packet without marks")
    )
    assert a.send([Transmit(b.address, [b"x"], 1)]) == []
    monkeypatch.undo()
    a.send([Transmit(b.address, [b"x"], 1, ecn=3)])
    assert a._socket.getsockopt(socket.IPPROTO_IP, sockopt.IP_TOS) == 0


@pytest.mark.parametrize("value", [b"\x02", b"\xba", (0x42).to_bytes(4, "little"), (0x42).to_bytes(4, "big")])
@pytest.mark.rfc("3168", "5-1")
def test_only_two_bits_of_the_octet_are_ecn(value: bytes) -> None:
    assert sockopt.read_ecn(value) == 2
