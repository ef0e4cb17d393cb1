"""Capture files made from a fuzzer's octets: the packets of a conversation, nearly right, and what breaks them."""

from collections.abc import Callable
from typing import Final, TypeAlias

from tests.fuzz.source import Source
from tests.trace import capture_files as made
from utcp.trace.dissect import LINK_TYPES
from utcp.wire import ACK, FIN, PSH, RST, SYN, Segment, encode

MAX_PACKETS: Final = 24
"""A fuzzer's packets beyond that find little and take long."""

FLAGS: Final = (SYN, SYN | ACK, ACK, ACK, PSH | ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, FIN, 0)

KEYS: Final = (
    "direction=in",
    "direction=out",
    "role=server",
    *(f"state={name}" for name in ("ESTABLISHED", "TIME_WAIT", "LAST_ACK", "CLOSED", "LISTEN", "SYN_RCVD", "NONE")),
    "timer=retransmit",
    "retransmission",
    "lost",
    "duplicated",
    "copy",
)

NUMBERED: Final = ("iss", "irs", "cwnd", "snd_wnd", "srtt", "rto", "closed", "flight", "retransmits")

VALUES: Final = ("0", "1", "0.01", "0.5", "10", "100", "1000", "4294967295", "9" * 400, "9" * 5000, "0.2,0.1", "x")

LENGTHS: Final = (None, None, None, 0, 20, 60, 1500, 65_535, 300_000, 600_000, 2**32 - 1)
"""Of packets in their records; None: the right one."""

TIMES: Final = (0, 0, 1, 1000, 50_000, 200_000, 10**6, 10**9, 2**62)
"""Between two packets, in units of the file."""


def capture_of(source: Source) -> bytes:
    """Return a capture file."""
    order = source.choice("<>")
    link_type = source.choice((made.RAW, made.ETHERNET, *sorted(LINK_TYPES)))
    is_pcap = source.number(1) < 64
    content = made.pcap_header(order, link_type=link_type)
    if not is_pcap:
        resolution = made.option(order, 9, source.choice((b"\6", b"\x09", b"\0", b"\x7f", b"\xff")))
        content = made.section(order) + made.interface(order, link_type, 0, resolution) + made.interface(order)
    time = 0
    conversation = _Conversation(source)
    for _ in range(MAX_PACKETS):
        if source.exhausted:
            break
        packet, length = _damaged(source, _framed(link_type, conversation.packet()))
        time = (time + source.choice(TIMES)) % 2**64
        if is_pcap:
            content += made.pcap_record(order, time // 10**6 % 2**32, time % 10**6, packet, length)
            continue
        options = b"".join(
            made.option(order, 1, _comment(source).encode() if source.number(1) < 240 else source.octets(8))
            for _ in range(source.choice((0, 1, 1, 2)))
        )
        if source.number(1) < 8:
            content += made.simple(order, packet, length)
        else:
            number = source.choice((0, 0, 0, 1))
            content += made.enhanced(order, time, packet, number=number, length=length, options=options)
    return content[: source.number(2)] if source.number(1) >= 240 else content


_Layer: TypeAlias = Callable[[bytes], bytes]


class _Conversation:
    """Two ends, each with the number that it sends next."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._next = [source.number(4), source.number(4)]
        self._layers: list[_Layer] = [
            made.ipv4,
            made.ipv6,
            lambda segment: made.ipv4(made.udp(segment), 17),
            lambda segment: made.ipv6(made.udp(segment), 17),
            lambda segment: made.ipv6(b"\x06\0" + bytes(6) + segment, source.choice((0, 43, 60, 51, 135))),
        ]
        self._layer: _Layer = source.choice(self._layers)

    def packet(self) -> bytes:
        """Return an IP packet of either end."""
        source = self._source
        end = source.number(1) & 1
        flags = source.choice(FLAGS)
        text = bytes(source.choice((0, 0, 1, 10, 500, 1400)))
        seq = (self._next[end] + source.choice((0, 0, 0, 0, -1, -1400, 1400, 2**31, 1))) % 2**32
        ack = (self._next[1 - end] + source.choice((0, 0, 0, 0, -1, 1, 1400, 2**31))) % 2**32 if flags & ACK else 0
        self._next[end] = (seq + len(text) + bool(flags & SYN) + bool(flags & FIN)) % 2**32
        ports = (50000, 80) if end else (80, 50000)
        stamps = source.number(1)
        blocks = ((ack + 1000, ack + 2000),) if stamps & 1 else ()
        segment = Segment(*ports, seq, ack, flags, source.choice((0, 1, 1000, 65535)), text)
        if stamps & 2:
            segment.ts_val, segment.ts_ecr = source.number(4), source.number(2)
        segment.sack_blocks = tuple((left % 2**32, right % 2**32) for left, right in blocks)
        if flags & SYN:
            segment.mss, segment.window_scale = source.choice((None, 0, 1460)), source.choice((None, 0, 7, 14, 255))
        octets = encode(segment)
        if stamps & 4:
            octets += encode(Segment(*ports, (seq + len(text)) % 2**32, ack, ACK, 1, text))  # a train
        return (source.choice(self._layers) if stamps & 56 == 56 else self._layer)(octets)


def _framed(link_type: int, packet: bytes) -> bytes:
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    head = {
        1: bytes(12) + kind.to_bytes(2, "big"),
        113: bytes(14) + kind.to_bytes(2, "big"),
        276: kind.to_bytes(2, "big") + bytes(18),
        0: b"\2\0\0\0",
        108: b"\0\0\0\2",
    }
    return head.get(link_type, b"") + packet


def _damaged(source: Source, packet: bytes) -> tuple[bytes, int | None]:
    """Return the captured octets of a packet, and its length in the record."""
    if source.number(1) < 176:
        return packet, None
    octets = bytearray(packet)
    for _ in range(source.number(1) % 4):
        octets[source.number(1) % min(len(octets), 120)] = source.choice((0, 255, 1, 128, source.number(1)))
    length = source.choice(LENGTHS)
    cut = source.number(1) if source.number(1) & 1 else len(octets)
    return bytes(octets[:cut]), len(packet) if length is None else length


def _comment(source: Source) -> str:
    words = [source.choice(("client", "server", "other", "\n"))]
    for _ in range(source.number(1) % 8):
        numbered = source.number(1) & 1
        words.append(f"{source.choice(NUMBERED)}={source.choice(VALUES)}" if numbered else source.choice(KEYS))
    running = source.number(1)
    if running & 1:
        words.append(f"running=time_wait:{source.choice(VALUES)},retransmit:{source.choice(VALUES)}")
    return " ".join(words)
