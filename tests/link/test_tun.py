"""TunLink over a socket that stands for the interface. The interface itself is tests/interop's."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tests.link.sockets import needs_linux
from utcp.link import pending, tun
from utcp.link.base import QUOTED, PathError, SendError
from utcp.link.path import SocketAddress
from utcp.link.tun import TunLink
from utcp.tcp.transmit import Transmit
from utcp.wire import ACK, Segment, encode, ip
from utcp.wire.checksum import fill, internet_checksum, pseudo_header, verify

OURS: dict[int, str] = {socket.AF_INET: "10.9.0.2", socket.AF_INET6: "fd09::2"}
PEER: dict[int, str] = {socket.AF_INET: "10.9.0.1", socket.AF_INET6: "fd09::1"}
STRANGER: dict[int, str] = {socket.AF_INET: "10.9.0.3", socket.AF_INET6: "fd09::3"}
GROUP: dict[int, str] = {socket.AF_INET: "224.0.0.1", socket.AF_INET6: "ff02::1"}
SEGMENTS = [encode(Segment(9000, 9001, number, 7, ACK, 100, b"text")) for number in range(5)]

pytestmark = needs_linux


class Interface:
    """A link, and the far end of its descriptor."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.far_end, near_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far_end.setblocking(False)
        self.link = TunLink(near_end.detach(), OURS[family], mtu=1500, queue=100)
        self.remote = self.link.remote((PEER[family], 0))

    def packet(self, segment: bytes, *, source: str = "", destination: str = "", ecn: int = 0) -> bytes:
        """A packet from the peer to us, with a good checksum, unless another source or destination is given."""
        pair = [
            socket.inet_pton(self.family, host)
            for host in (source or PEER[self.family], destination or OURS[self.family])
        ]
        return ip.build(pair[0], pair[1], ecn, fill(segment, pseudo_header(pair[0], pair[1])))

    def arrives(self, packet: bytes) -> None:
        self.far_end.send(packet)

    def left(self) -> list[ip.Packet]:
        """The packets that the link has sent."""
        packets = []
        while True:
            try:
                packets.append(ip.parse(6 if self.family == socket.AF_INET6 else 4, self.far_end.recv(65536)))
            except BlockingIOError:
                return packets


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def interface(request: pytest.FixtureRequest) -> Iterator[Interface]:
    made = Interface(request.param)
    yield made
    made.link.close()
    made.far_end.close()


def test_what_is_sent_has_addresses_and_a_checksum(interface: Interface) -> None:
    train = Transmit(interface.remote, list(SEGMENTS), 24 * 5, 24, ecn=2)
    assert interface.link.send([train, Transmit(interface.remote, [SEGMENTS[0]], 24)]) == []
    packets = interface.left()
    assert [packet.ecn for packet in packets] == [2] * 5 + [0]
    for packet, segment in zip(packets, [*SEGMENTS, SEGMENTS[0]], strict=True):
        assert packet.source == socket.inet_pton(interface.family, OURS[interface.family])
        assert packet.destination == socket.inet_pton(interface.family, PEER[interface.family])
        assert packet.segment[:16] + packet.segment[18:] == segment[:16] + segment[18:]
        assert verify(packet.segment, pseudo_header(packet.source, packet.destination))
    counters = interface.link.counters
    assert (counters.send_calls, counters.datagrams_sent, counters.bytes_sent) == (6, 6, 24 * 6)


def test_what_is_received(interface: Interface) -> None:
    interface.arrives(interface.packet(SEGMENTS[0], ecn=1))
    interface.arrives(interface.packet(SEGMENTS[1]))
    first, second = interface.link.receive()
    assert (first.remote, first.segment_size, first.ecn) == (interface.remote, None, 1)
    assert first.data[18:] == SEGMENTS[0][18:]
    assert second.data[18:] == SEGMENTS[1][18:]
    assert interface.link.receive() == []
    assert interface.link.counters.datagrams_received == 2
    assert interface.link.counters.bytes_received == 48


def drained(link: TunLink) -> bool:
    """The attribute, asked anew each time: a type checker believes the last assertion."""
    return link.drained


def test_a_batch_is_bounded(interface: Interface, monkeypatch: pytest.MonkeyPatch) -> None:
    link = interface.link
    for segment in SEGMENTS:
        interface.arrives(interface.packet(segment))
    interface.arrives(b"a stray packet counts")
    assert len(link.receive(2)) == 2
    assert not drained(link)
    monkeypatch.setattr(tun, "BATCH_OCTETS", 1)
    assert len(link.receive()) == 1
    assert not drained(link)
    monkeypatch.undo()
    assert len(link.receive(3)) == 2
    assert not drained(link)
    assert link.receive() == []
    assert drained(link)


@pytest.mark.rfc9293("MUST-57", "MUST-63")
def test_what_is_dropped_is_counted(interface: Interface) -> None:
    family = interface.family
    good = interface.packet(SEGMENTS[0])
    interface.arrives(good[:-1] + bytes((good[-1] ^ 1,)))
    interface.arrives(good[:-1])
    interface.arrives(interface.packet(SEGMENTS[0], destination=STRANGER[family]))
    interface.arrives(interface.packet(SEGMENTS[0], destination=GROUP[family]))
    interface.arrives(interface.packet(SEGMENTS[0], source=GROUP[family]))
    interface.arrives(b"\x00" + good[1:])
    fragment = bytearray(good)
    if family == socket.AF_INET:
        fragment[6:8] = b"\x20\x00"
        fragment[10:12] = bytes(2)
        fragment[10:12] = internet_checksum(bytes(fragment[:20])).to_bytes(2, "big")
    else:
        fragment[6] = 44
    interface.arrives(bytes(fragment))
    interface.arrives(good)
    assert len(interface.link.receive()) == 1
    counters = interface.link.counters
    assert counters.bad_checksums == 1
    assert counters.malformed == 1
    assert counters.not_ours == 2
    assert counters.not_unicast == 1
    assert counters.foreign == 1
    assert counters.fragments == 1
    assert counters.datagrams_received == 1


def test_names(interface: Interface) -> None:
    family, link = interface.family, interface.link

    def address(host: str, port: int) -> SocketAddress:
        return (host, port) if family == socket.AF_INET else (host, port, 0, 0)

    assert link.address == link.sockname(interface.remote) == address(OURS[family], 0)
    assert link.peername(interface.remote) == interface.remote == address(PEER[family], 0)
    assert link.remote(address(PEER[family], 9000)) == interface.remote
    assert link.mtu(interface.remote) == 1500 - (20 if family == socket.AF_INET else 40)
    assert link.receive_capacity == 100 * link.mtu(interface.remote)


@pytest.mark.rfc9293("MUST-46")
def test_no_way_to_a_group(interface: Interface) -> None:
    """RFC 9293 3.9.1.1, MUST-46."""
    with pytest.raises(OSError, match="unreachable"):
        interface.link.remote((GROUP[interface.family], 9000))


def waits(link: TunLink) -> bool:
    """Whether something is `pending`, asked anew each time: a type checker takes an attribute for constant."""
    return bool(link.pending)


def test_what_a_full_interface_refuses_waits_in_order(interface: Interface) -> None:
    link = interface.link
    sent = 0
    while not waits(link):
        assert link.send([Transmit(interface.remote, [SEGMENTS[sent % 5]], 24)]) == []
        sent += 1
    link.send([Transmit(interface.remote, list(SEGMENTS), 24 * 5, 24)])
    packets = interface.left()
    assert len(packets) == sent - 1
    assert link.flush_pending() == []
    assert not waits(link)
    packets = interface.left()
    expected = [SEGMENTS[(sent - 1) % 5], *SEGMENTS]
    assert [packet.segment[18:] for packet in packets] == [segment[18:] for segment in expected]
    assert link._pending.octets == 0


def test_pending_is_bounded(interface: Interface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MAX_PENDING", 2 * pending.PENDING_OVERHEAD)
    while not waits(interface.link):
        interface.link.send([Transmit(interface.remote, [SEGMENTS[0]], 24)])
    interface.link.send([Transmit(interface.remote, list(SEGMENTS), 24 * 5, 24)])
    assert interface.link.counters.datagrams_dropped == 4


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
def test_a_failed_write_is_reported_once_a_train(
    interface: Interface, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO is what an interface says that is down."""

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    train = Transmit(interface.remote, list(SEGMENTS), 24 * 5, 24)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        assert interface.link.send([train, train]) == [SendError(interface.remote, code, train.flows())] * 2
    assert interface.link.counters.send_errors == 2
    assert not interface.link.pending


def test_close_is_idempotent(interface: Interface) -> None:
    interface.link.close()
    interface.link.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        interface.link.receive()
    with pytest.raises(OSError, match="Bad file descriptor"):
        interface.link.send([Transmit(interface.remote, [SEGMENTS[0]], 24)])


@pytest.mark.parametrize(
    ("address", "mtu"),
    [("localhost", 1500), ("", 1500), ("224.0.0.1", 1500), ("::", 1500), ("10.9.0.2", 67), ("fd09::2", 1279)],
)
def test_what_no_link_can_be(address: str, mtu: int) -> None:
    with pytest.raises(ValueError, match=r"address|mtu"):
        TunLink(-1, address, mtu=mtu)


@pytest.mark.parametrize("name", ["", "sixteen-octets-x"])
def test_names_that_no_interface_has(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 15 octets"):
        tun.open_tun(name)


def test_mtu_of_an_interface() -> None:
    assert tun.interface_mtu("lo") >= 1280
    with pytest.raises(OSError, match="No such device"):
        tun.interface_mtu("utcp-no-such")


def icmp_message(interface: Interface, kind: tuple[int, int], word: int, quoted: bytes, source: str = "") -> bytes:
    """A packet with an ICMP message for us; `kind` is IPv4's type and code."""
    family = interface.family
    if family == socket.AF_INET6:
        kind = {(3, 3): (1, 4), (3, 4): (2, 0), (8, 0): (128, 0)}[kind]
    router = socket.inet_pton(family, source or STRANGER[family])
    ours = socket.inet_pton(family, OURS[family])
    unsummed = bytes((*kind, 0, 0)) + word.to_bytes(4, "big") + quoted
    pseudo = router + ours + len(unsummed).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    summed = unsummed if family == socket.AF_INET else pseudo + unsummed
    checksum = internet_checksum(summed + bytes(len(summed) % 2)).to_bytes(2, "big")
    protocol = ip.ICMP if family == socket.AF_INET else ip.ICMPV6
    return ip.build(router, ours, 0, unsummed[:2] + checksum + unsummed[4:], protocol)


def sent(interface: Interface) -> bytes:
    """A packet that the link has sent, as the far end has it."""
    interface.link.send([Transmit(interface.remote, [SEGMENTS[0]], 24)])
    return interface.far_end.recv(65536)


def test_icmp_about_our_segments_is_told(interface: Interface) -> None:
    link, quoted = interface.link, sent(interface)
    header = 20 if interface.family == socket.AF_INET else 40
    interface.arrives(icmp_message(interface, (3, 3), 0, quoted))
    interface.arrives(icmp_message(interface, (3, 4), 1400, quoted))
    interface.arrives(icmp_message(interface, (3, 4), 60, quoted))  # less than any path has
    assert link.receive() == []
    segment = quoted[header:]
    assert link.path_errors() == [
        PathError(interface.remote, errno.ECONNREFUSED, None, segment),
        PathError(interface.remote, errno.EMSGSIZE, 1400 - header, segment),
        PathError(interface.remote, errno.EMSGSIZE, None, segment),
    ]
    assert link.path_errors() == []
    assert link.counters.path_errors == 3
    assert link.counters.datagrams_received == 0


def test_icmp_that_is_not_about_our_segments_is_counted(interface: Interface) -> None:
    family, link, quoted = interface.family, interface.link, sent(interface)
    ours, peer = (socket.inet_pton(family, host) for host in (OURS[family], PEER[family]))
    good = icmp_message(interface, (3, 3), 0, quoted)
    interface.arrives(good[:-1] + bytes((good[-1] ^ 1,)))  # checksum
    interface.arrives(icmp_message(interface, (3, 3), 0, quoted[:20]))  # nothing of the segment
    interface.arrives(icmp_message(interface, (8, 0), 0, quoted))  # a ping
    interface.arrives(icmp_message(interface, (3, 3), 0, ip.build(peer, ours, 0, SEGMENTS[0])))  # not our segment
    interface.arrives(icmp_message(interface, (3, 3), 0, quoted, source=GROUP[family]))
    assert link.receive() == []
    assert link.path_errors() == []
    counters = link.counters
    assert (counters.icmp_malformed, counters.icmp_foreign, counters.not_unicast) == (2, 2, 1)
    assert counters.foreign == 0


def test_icmp_that_nobody_asks_for_is_bounded(interface: Interface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tun, "MAX_PATH_ERRORS", 4)
    quoted = sent(interface)
    for _ in range(4 + 3):
        interface.arrives(icmp_message(interface, (3, 3), 0, quoted))
        interface.link.receive()
    assert len(interface.link.path_errors()) == 4
    assert interface.link.counters.path_errors_dropped == 3


def test_what_is_quoted_is_bounded(interface: Interface) -> None:
    quoted = sent(interface) + bytes(500)
    interface.arrives(icmp_message(interface, (3, 3), 0, quoted))
    interface.link.receive()
    (error,) = interface.link.path_errors()
    assert len(error.quoted) == QUOTED
