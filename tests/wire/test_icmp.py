"""ICMP messages about our segments: written out by hand, cut off, foreign."""

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.wire import icmp, ip
from utcp.wire.checksum import internet_checksum


def octets(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


IPV4, IPV6 = 4, 6
OURS: dict[int, bytes] = {
    IPV4: socket.inet_pton(socket.AF_INET, "10.9.0.2"),
    IPV6: socket.inet_pton(socket.AF_INET6, "fd09::2"),
}
PEER: dict[int, bytes] = {
    IPV4: socket.inet_pton(socket.AF_INET, "10.9.0.1"),
    IPV6: socket.inet_pton(socket.AF_INET6, "fd09::1"),
}
ROUTER: dict[int, bytes] = {
    IPV4: socket.inet_pton(socket.AF_INET, "10.9.0.254"),
    IPV6: socket.inet_pton(socket.AF_INET6, "fd09::fe"),
}
SEGMENT = bytes.fromhex("1388 1770 e1ce8703 00000000 5010 faf0 7b92 0000")

both_versions = pytest.mark.parametrize("version", [pytest.param(IPV4, id="ipv4"), pytest.param(IPV6, id="ipv6")])


def message(version: int, kind: int, code: int, word: int, quoted: bytes) -> bytes:
    """An ICMP message from ROUTER to us, with a good checksum."""
    unsummed = bytes((kind, code, 0, 0)) + word.to_bytes(4, "big") + quoted
    pseudo = b""
    if version == IPV6:
        pseudo = ROUTER[IPV6] + OURS[IPV6] + len(unsummed).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    summed = pseudo + unsummed
    return unsummed[:2] + internet_checksum(summed + bytes(len(summed) % 2)).to_bytes(2, "big") + unsummed[4:]


def packet(version: int, segment: bytes = SEGMENT) -> bytes:
    """What we have sent."""
    return ip.build(OURS[version], PEER[version], 0, segment)


def parse(version: int, data: bytes) -> icmp.IcmpError:
    return icmp.parse(ROUTER[version], OURS[version], data)


def test_a_message_as_linux_writes_it() -> None:
    """Fragmentation needed, MTU 1400; the quoted packet is as long as 576 octets allow (RFC 1812 4.3.2.3)."""
    quoted = bytes.fromhex("4500 05dc 0000 4000 40 06 2108 0a090002 0a090001") + SEGMENT
    data = bytes.fromhex("0304") + bytes(2) + bytes.fromhex("0000 0578") + quoted
    data = data[:2] + internet_checksum(data).to_bytes(2, "big") + data[4:]
    assert parse(IPV4, data) == icmp.IcmpError(errno.EMSGSIZE, 1400, OURS[IPV4], PEER[IPV4], SEGMENT)


@pytest.mark.parametrize(
    ("version", "kind", "code", "error"),
    [
        (IPV4, 3, 0, errno.ENETUNREACH),
        (IPV4, 3, 1, errno.EHOSTUNREACH),
        (IPV4, 3, 2, errno.ENOPROTOOPT),
        (IPV4, 3, 3, errno.ECONNREFUSED),
        (IPV4, 3, 4, errno.EMSGSIZE),
        (IPV4, 3, 5, errno.EOPNOTSUPP),
        (IPV4, 3, 13, errno.EHOSTUNREACH),
        (IPV4, 11, 0, errno.EHOSTUNREACH),
        (IPV4, 12, 0, errno.EPROTO),
        (IPV6, 1, 0, errno.ENETUNREACH),
        (IPV6, 1, 1, errno.EACCES),
        (IPV6, 1, 3, errno.EHOSTUNREACH),
        (IPV6, 1, 4, errno.ECONNREFUSED),
        (IPV6, 2, 0, errno.EMSGSIZE),
        (IPV6, 3, 0, errno.EHOSTUNREACH),
        (IPV6, 4, 1, errno.EPROTO),
    ],
)
def test_errors(version: int, kind: int, code: int, error: int) -> None:
    found = parse(version, message(version, kind, code, 1300, packet(version)))
    mtu = 1300 if error == errno.EMSGSIZE else None
    assert found == icmp.IcmpError(error, mtu, OURS[version], PEER[version], SEGMENT)


def test_an_old_router_tells_no_mtu() -> None:
    """RFC 1191 5."""
    assert parse(IPV4, message(IPV4, 3, 4, 0, packet(IPV4))).mtu is None


@both_versions
def test_eight_octets_of_the_segment_are_enough(version: int) -> None:
    kind = 3 if version == IPV4 else 1
    quoted = packet(version)[: -len(SEGMENT) + 8]
    assert parse(version, message(version, kind, 0, 0, quoted)).quoted == SEGMENT[:8]
    with pytest.raises(icmp.MalformedMessage):
        parse(version, message(version, kind, 0, 0, quoted[:-1]))


def test_options_of_the_quoted_header_are_skipped() -> None:
    quoted = b"\x47" + packet(IPV4)[1:20] + bytes(8) + SEGMENT
    assert parse(IPV4, message(IPV4, 3, 0, 0, quoted)).quoted == SEGMENT


@both_versions
def test_malformed_messages(version: int) -> None:
    kind = 3 if version == IPV4 else 1
    good = message(version, kind, 0, 0, packet(version))
    parse(version, good)
    wrong = [
        b"",
        good[:7],
        good[:-1] + bytes((good[-1] ^ 1,)),
        message(version, kind, 0, 0, b""),
        message(version, kind, 0, 0, b"\x14" + packet(version)[1:]),
    ]
    if version == IPV4:
        wrong.append(message(version, kind, 0, 0, b"\x44" + packet(version)[1:]))
    for data in wrong:
        with pytest.raises(icmp.MalformedMessage):
            parse(version, data)


@both_versions
@pytest.mark.rfc("5927", "6.1-1")
def test_foreign_messages(version: int) -> None:
    protocol = 9 if version == IPV4 else 6
    udp = bytearray(packet(version))
    udp[protocol] = 17
    unreachable = 3 if version == IPV4 else 1
    foreign = [message(version, unreachable, 0, 0, bytes(udp)), message(version, unreachable, 77, 0, packet(version))]
    # Echo request, source quench; echo request, neighbour solicitation.
    foreign += [message(version, kind, 0, 0, packet(version)) for kind in ((8, 4) if version == IPV4 else (128, 135))]
    for data in foreign:
        with pytest.raises(icmp.ForeignMessage):
            parse(version, data)


@both_versions
@given(data=st.binary(max_size=80), checksum=st.booleans())
def test_nothing_else_comes_of_any_octets(version: int, data: bytes, checksum: bool) -> None:
    if checksum and len(data) >= 8:
        data = message(version, data[0], data[1], int.from_bytes(data[4:8], "big"), data[8:])
    try:
        found = parse(version, data)
    except (icmp.MalformedMessage, icmp.ForeignMessage):
        return
    assert len(found.quoted) >= 8
