"""Many datagrams with one system call, where the kernel can; the same datagrams where it cannot."""

import socket

import pytest

from tests.link.conftest import Keep
from tests.link.sockets import LOOPBACK, all_arrive, arrives, both_families, datagrams, needs_offload, port
from utcp.link import sockopt
from utcp.link import udp as udp_module
from utcp.link.udp import UdpLink
from utcp.tcp.transmit import Transmit

PIECES = [b"a" * 600, b"b" * 400, b"c" * 1000, b"d" * 300]


def train(receiver: UdpLink, sender: UdpLink, size: int = 2300, segment_size: int | None = 1000) -> Transmit:
    """PIECES (three datagrams) or as many octets as asked for, each datagram beginning with its number."""
    if size == 2300:
        return Transmit(sender.remote(receiver.address), list(PIECES), size, segment_size)
    step = segment_size or size
    data = b"".join(number.to_bytes(4, "big") + bytes(step - 4) for number in range(-(-size // step)))[:size]
    return Transmit(sender.remote(receiver.address), [data], size, segment_size)


@needs_offload
@both_families
def test_a_train_is_one_call_and_is_received_as_one(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    b = keep(UdpLink.bind(family, LOOPBACK[family]))
    assert a.send([train(b, a)]) == []
    (received,) = arrives(b, limit=1)
    assert received.data == b"".join(PIECES)
    assert received.segment_size == 1000
    assert received.remote == b.remote(a.address)
    assert received.ecn == 0
    assert (a.counters.send_calls, a.counters.datagrams_sent, a.counters.bytes_sent) == (1, 3, 2300)
    assert (b.counters.receive_calls, b.counters.datagrams_received, b.counters.bytes_received) == (1, 3, 2300)


@both_families
@pytest.mark.parametrize("receiver_offload", [True, False])
def test_without_offload_the_same_datagrams_leave(family: int, receiver_offload: bool, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family], offload=False))
    b = keep(UdpLink.bind(family, LOOPBACK[family], offload=receiver_offload))
    transmit = train(b, a)
    assert a.send([transmit]) == []
    assert all_arrive(b, 3) == transmit.datagrams()
    assert (a.counters.send_calls, a.counters.datagrams_sent, a.counters.bytes_sent) == (3, 3, 2300)


@needs_offload
def test_a_receiver_without_offload_gets_a_train_as_single_datagrams(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET], offload=False))
    transmit = train(b, a)
    a.send([transmit])
    received = arrives(b)
    assert [item.data for item in received] == transmit.datagrams()
    assert {item.segment_size for item in received} == {None}
    assert a.counters.send_calls == 1


def test_a_system_that_is_not_linux(monkeypatch: pytest.MonkeyPatch, keep: Keep) -> None:
    monkeypatch.setattr(sockopt, "IS_LINUX", False)
    a = keep(UdpLink.bind(socket.AF_INET, ("0.0.0.0", 0)))
    b = keep(UdpLink.bind(socket.AF_INET, ("127.0.0.1", 0)))
    remote = a.remote(b.address)
    assert remote == b.address  # no way to tell to which of our addresses a datagram was sent
    assert a.mtu(remote) == 1472
    transmit = Transmit(remote, list(PIECES), 2300, 1000, ecn=2)
    assert a.send([transmit]) == []
    assert all_arrive(b, 3) == transmit.datagrams()
    assert a.counters.send_calls == 3
    b.send([Transmit(("127.0.0.1", port(a)), [b"reply"], 5)])
    (received,) = arrives(a)
    assert received.remote == b.address
    assert a.sockname(received.remote) == a.address


def test_a_system_without_sendmsg(keep: Keep) -> None:
    class WithoutMessages(socket.socket):
        @property
        def sendmsg(self) -> None:  # type: ignore[override]
            raise AttributeError("sendmsg")

    sock = WithoutMessages(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    a = keep(UdpLink(sock, offload=False))
    b = keep(UdpLink.bind(socket.AF_INET, ("127.0.0.1", 0)))
    assert a.send([Transmit(b.address, [b"x" * 30_000, b"y" * 30_000], 60_000)]) == []
    assert all_arrive(b, 1) == [b"x" * 30_000 + b"y" * 30_000]


@needs_offload
@pytest.mark.parametrize(
    ("size", "segment_size", "calls"),
    [
        (64 * 32, 32, 1),
        (65 * 32, 32, 2),
        (200 * 32 + 7, 32, 4),
        (65507 // 1400 * 1400, 1400, 1),
        (65507 // 1400 * 1400 + 1400, 1400, 2),
        (3 * 40_000, 40_000, 3),
    ],
)
def test_a_train_longer_than_the_kernel_takes_is_split(size: int, segment_size: int, calls: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    transmit = train(b, a, size, segment_size)
    assert a.send([transmit]) == []
    assert all_arrive(b, -(-size // segment_size)) == transmit.datagrams()
    assert a.counters.send_calls == calls


@pytest.mark.parametrize("count", [2, 92])
@pytest.mark.parametrize("octets", [10, 700, udp_module.JOIN_BELOW, 20_000])
def test_buffers_joined_or_not_are_the_same_datagram(count: int, octets: int, keep: Keep) -> None:
    if count * octets > 65507:
        octets = 65507 // count
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    buffers: list[bytes | memoryview] = [memoryview(bytes((number,)) * octets) for number in range(count)]
    assert a.send([Transmit(b.address, buffers, count * octets)]) == []
    assert all_arrive(b, 1) == [b"".join(buffers)]


def test_a_train_of_one_is_a_datagram(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    assert a.send([Transmit(b.address, [b"x" * 1000], 1000, 1000), Transmit(b.address, [b"y"], 1, 1000)]) == []
    received = arrives(b)
    assert [(item.data, item.segment_size) for item in received] == [(b"x" * 1000, None), (b"y", None)]
    assert a.counters.datagrams_sent == 2


@both_families
def test_the_largest_datagram_that_loopback_carries(family: int, keep: Keep) -> None:
    a = keep(UdpLink.bind(family, LOOPBACK[family]))
    b = keep(UdpLink.bind(family, LOOPBACK[family]))
    size = a.mtu(a.remote(b.address))
    assert a.send([Transmit(a.remote(b.address), [bytes(32), bytes(size - 32)], size)]) == []
    assert datagrams(arrives(b)) == [bytes(size)]


def test_a_batch_is_bounded_and_loses_nothing(keep: Keep) -> None:
    a = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    assert b.receive() == []
    a.send([Transmit(b.address, [bytes((number,))], 1) for number in range(5)])
    first = arrives(b, limit=3)
    assert [item.data for item in first] == [b"\0", b"\1", b"\2"]
    assert b.counters.receive_calls == 4
    assert [item.data for item in arrives(b, limit=3)] == [b"\3", b"\4"]
    assert b.counters.receive_calls == 7


def test_an_empty_datagram_is_received(keep: Keep) -> None:
    b = keep(UdpLink.bind(socket.AF_INET, LOOPBACK[socket.AF_INET]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"", b.address)
    (received,) = arrives(b)
    assert received.data == b""
    assert b.counters.datagrams_received == 1
