"""ICMP messages about our segments: written out by hand, cut off, foreign."""

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.link import icmp, ip
from utcp.wire.checksum import internet_checksum

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
OURS: dict[int, bytes] = {IPV4: socket.inet_pton(IPV4, "10.9.0.2"), IPV6: socket.inet_pton(IPV6, "fd09::2")}
PEER: dict[int, bytes] = {IPV4: socket.inet_pton(IPV4, "10.9.0.1"), IPV6: socket.inet_pton(IPV6, "fd09::1")}
ROUTER: dict[int, bytes] = {IPV4: socket.inet_pton(IPV4, "10.9.0.254"), IPV6: socket.inet_pton(IPV6, "fd09::fe")}
SEGMENT = bytes.fromhex("1388 1770 e1ce8703 00000000 5010 faf0 7b92 0000")

both_families = pytest.mark.parametrize("family", [pytest.param(IPV4, id="ipv4"), pytest.param(IPV6, id="ipv6")])


def message(family: int, kind: int, code: int, word: int, quoted: bytes) -> bytes:
    """An ICMP message from ROUTER to us, with a good checksum."""
    unsummed = bytes((kind, code, 0, 0)) + word.to_bytes(4, "big") + quoted
    pseudo = b""
    if family == IPV6:
        pseudo = ROUTER[IPV6] + OURS[IPV6] + len(unsummed).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    summed = pseudo + unsummed
    return unsummed[:2] + internet_checksum(summed + bytes(len(summed) % 2)).to_bytes(2, "big") + unsummed[4:]


def packet(family: int, segment: bytes = SEGMENT) -> bytes:
    """What we have sent."""
    return ip.build(family, OURS[family], PEER[family], 0, segment)


def parse(family: int, data: bytes) -> icmp.IcmpError:
    return icmp.parse(family, ROUTER[family], OURS[family], data)


def test_a_message_as_linux_writes_it() -> None:
    """Fragmentation needed, MTU 1400; the quoted packet is as long as 576 octets allow (RFC 1812 4.3.2.3)."""
    quoted = bytes.fromhex("4500 05dc 0000 4000 40 06 2108 0a090002 0a090001") + SEGMENT
    data = bytes.fromhex("0304") + bytes(2) + bytes.fromhex("0000 0578") + quoted
    data = data[:2] + internet_checksum(data).to_bytes(2, "big") + data[4:]
    assert parse(IPV4, data) == icmp.IcmpError(errno.EMSGSIZE, 1400, OURS[IPV4], PEER[IPV4], SEGMENT)


@pytest.mark.parametrize(
    ("family", "kind", "code", "error"),
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
def test_errors(family: int, kind: int, code: int, error: int) -> None:
    found = parse(family, message(family, kind, code, 1300, packet(family)))
    mtu = 1300 if error == errno.EMSGSIZE else None
    assert found == icmp.IcmpError(error, mtu, OURS[family], PEER[family], SEGMENT)


def test_an_old_router_tells_no_mtu() -> None:
    """RFC 1191 5."""
    assert parse(IPV4, message(IPV4, 3, 4, 0, packet(IPV4))).mtu is None


@both_families
def test_eight_octets_of_the_segment_are_enough(family: int) -> None:
    kind = 3 if family == IPV4 else 1
    quoted = packet(family)[: -len(SEGMENT) + 8]
    assert parse(family, message(family, kind, 0, 0, quoted)).quoted == SEGMENT[:8]
    with pytest.raises(icmp.MalformedMessage):
        parse(family, message(family, kind, 0, 0, quoted[:-1]))


def test_options_of_the_quoted_header_are_skipped() -> None:
    quoted = b"\x47" + packet(IPV4)[1:20] + bytes(8) + SEGMENT
    assert parse(IPV4, message(IPV4, 3, 0, 0, quoted)).quoted == SEGMENT


@both_families
def test_malformed_messages(family: int) -> None:
    kind = 3 if family == IPV4 else 1
    good = message(family, kind, 0, 0, packet(family))
    parse(family, good)
    wrong = [
        b"",
        good[:7],
        good[:-1] + bytes((good[-1] ^ 1,)),
        message(family, kind, 0, 0, b""),
        message(family, kind, 0, 0, b"\x14" + packet(family)[1:]),
    ]
    if family == IPV4:
        wrong.append(message(family, kind, 0, 0, b"\x44" + packet(family)[1:]))
    for data in wrong:
        with pytest.raises(icmp.MalformedMessage):
            parse(family, data)


@both_families
@pytest.mark.rfc("5927", "6.1-1")
def test_foreign_messages(family: int) -> None:
    protocol = 9 if family == IPV4 else 6
    udp = bytearray(packet(family))
    udp[protocol] = 17
    unreachable = 3 if family == IPV4 else 1
    foreign = [message(family, unreachable, 0, 0, bytes(udp)), message(family, unreachable, 77, 0, packet(family))]
    # Echo request, source quench; echo request, neighbour solicitation.
    foreign += [message(family, kind, 0, 0, packet(family)) for kind in ((8, 4) if family == IPV4 else (128, 135))]
    for data in foreign:
        with pytest.raises(icmp.ForeignMessage):
            parse(family, data)


@both_families
@given(data=st.binary(max_size=80), checksum=st.booleans())
def test_nothing_else_comes_of_any_octets(family: int, data: bytes, checksum: bool) -> None:
    if checksum and len(data) >= 8:
        data = message(family, data[0], data[1], int.from_bytes(data[4:8], "big"), data[8:])
    try:
        found = parse(family, data)
    except (icmp.MalformedMessage, icmp.ForeignMessage):
        return
    assert len(found.quoted) >= 8
