"""The attacker's packets are what a kernel takes for packets."""

from tests.hostile.crowd import MSS, _segments
from tests.hostile.forge import HOST, Forge, address
from utcp.wire import ACK, SYN, Segment, checksum, decode, encode

SERVER, CLIENT = address("10.99.0.1"), address("10.99.0.2")
SEGMENT = Segment(1024, 9000, 5, 6, ACK, 1000, b"odd")


def test_a_datagram_for_utcp() -> None:
    packet = Forge("utcp", SERVER, 9000).segment(CLIENT, 7000, SEGMENT)
    assert checksum.internet_checksum(packet[:20]) == 0
    assert int.from_bytes(packet[2:4], "big") == len(packet)
    assert packet[9] == 17
    assert packet[12:20] == CLIENT + SERVER
    assert packet[20:28] == bytes.fromhex("1b58 2328 001f 0000")
    assert packet[28:] == encode(SEGMENT)


def test_a_segment_for_the_kernel() -> None:
    packet = Forge("kernel", SERVER, 9000).segment(CLIENT, 7000, SEGMENT)
    assert packet[9] == 6
    assert checksum.verify(packet[20:], checksum.pseudo_header(CLIENT, SERVER))
    assert decode(packet[20:]).payload == b"odd"


def test_an_icmp_message_quotes_what_the_server_sent() -> None:
    for stack, quoted in (("utcp", 36), ("kernel", 28)):
        forge = Forge(stack, SERVER, 9000)  # type: ignore[arg-type]  # both are Stacks
        packet = forge.unreachable(CLIENT, HOST, CLIENT, 7000, SEGMENT)
        message = packet[20:]
        assert checksum.internet_checksum(message) == 0
        assert message[:2] == bytes((3, HOST))
        assert len(message) == 8 + quoted
        assert message[8 + 12 : 8 + 20] == SERVER + CLIENT
        assert message[-8:] == encode(SEGMENT)[:8]


def test_what_the_server_sends_is_read() -> None:
    answer = Forge("utcp", CLIENT, 7000).segment(SERVER, 9000, SEGMENT)
    assert Forge("utcp", SERVER, 9000).read(answer) == (7000, encode(SEGMENT))
    assert Forge("utcp", SERVER, 9001).read(answer) is None


def test_a_train_is_cut_into_segments() -> None:
    synchronizing = [Segment(9000, port, 1, 1, SYN | ACK, 1000, mss=1432) for port in (1024, 1025)]
    assert list(_segments(b"".join(map(encode, synchronizing)), cut=True)) == synchronizing
    texts = [
        Segment(9000, 1024, place, 1, ACK, 1000, bytes(size)) for place, size in ((0, MSS), (MSS, MSS), (2 * MSS, 7))
    ]
    train = b"".join(map(encode, texts))
    assert list(_segments(train, cut=True)) == texts
    assert [len(segment.payload) for segment in _segments(train, cut=False)] == [len(train) - 20]
