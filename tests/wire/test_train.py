"""Trains on the wire: what the segments of one connection have in common is recognised."""

import pytest

from utcp.wire import ACK, Segment, encode
from utcp.wire.train import read_train


@pytest.mark.parametrize("last", [100, 50])
@pytest.mark.parametrize("port", [0x7FFF, 0x8000, 50000, 0xFFFF])
def test_a_train_is_one_segment_whatever_its_ports(port: int, last: int) -> None:
    """Ports from 32768 on, as clients have, make a negative number of the ports and the sequence number. Segments that
    are not joined would only be slower, so that nothing else fails."""
    sizes = [100, 100, 100, last]
    datagrams = [
        encode(Segment(port, 80, 1000 + 100 * number, 7, ACK, 500, bytes(size), 1, 2))
        for number, size in enumerate(sizes)
    ]
    train = read_train(b"".join(datagrams), len(datagrams[0]))
    assert train is not None
    assert train.stretch(0) == train.segments == 4
    segment = train.segment(0, 4)
    assert (segment.src_port, segment.dst_port, segment.seq) == (port, 80, 1000)
    assert len(segment.payload) == sum(sizes)
