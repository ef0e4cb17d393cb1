"""What a stack holds is bounded, and what it hands out or remembers is right at the edge."""

import pytest

from tests.tcp.reach import established, syn_sent, time_wait
from tests.tcp.script import Script
from utcp.errors import AddressNotAvailable
from utcp.wire import ACK, Segment, encode


def test_runs_out_of_order_are_bounded() -> None:
    """1024 are held; what would open another is dropped, never reported, and taken when it comes again."""
    t = established(options="mss 1000,sackOK")
    t.receives(*(f". {20 * run - 9}:{20 * run + 1} ack 1" for run in range(1, 1101)))
    t.drain()
    t.receives(". 22011:22021 ack 1")
    t.sends(". 1:1 ack 1 <sack 20471:20481 20451:20461 20431:20441 20411:20421>")
    t.receives(". 20481:20491 ack 1")  # opens no run, but lengthens one
    t.sends(". 1:1 ack 1 <sack 20471:20491 20451:20461 20431:20441 20411:20421>")
    t.receives(*(f". {20 * run - 19}:{20 * run - 9} ack 1" for run in range(1, 1025)))
    (ack,) = t.sends(". 1:1 ack 20491")
    assert ack.sack_blocks == ()
    for start in range(20491, 22021, 10):
        t.receives(f". {start}:{start + 10} ack 1")
        t.drain()
    assert t.read() == 22020


def test_ephemeral_port_is_never_a_listeners() -> None:
    """Both could not be told apart by their port (RFC 6056 3.2), and the peer's SYN to it would not be heard."""
    t = Script(ephemeral_ports=(50000, 50001))
    t.listen(local_port=50000)
    assert t.connect(local_port=None).local_port == 50001
    t.sends("S 0:0")
    with pytest.raises(AddressNotAvailable):
        t.stack.connect("peer", 80, t.now)
    for number in range(10):
        assert t.connect(local_port=None, remote=f"other {number}").local_port == 50001
    t.drain()


def test_ack_of_a_repeated_fin_echoes_that_fins_timestamp() -> None:
    """RFC 7323 4.3: not the timestamp that TIME_WAIT began with."""
    t = time_wait(options="mss 1000,ts 100")
    t.advance(1)
    t.receives("F. 1:1 ack 2 <ts 5000:*>")
    t.sends(". 2:2 ack 2 <ts *:5000>")
    t.advance(1)
    t.receives("F. 1:1 ack 2 <ts 6000:*>")
    t.sends(". 2:2 ack 2 <ts *:6000>")


def test_timers_of_connections_that_came_and_went_are_forgotten() -> None:
    t = syn_sent()
    t.advance(0.5)
    most = 0
    for number in range(1000):
        t.connect(local_port=51000 + number)
        t.sends("S 0:0")
        t.abort()
        t.silent()
        most = max(most, len(t.stack._timers._heap))
    assert list(t.stack.connections) == [("peer", 80, 50000)]
    assert most == 1


def test_text_does_not_keep_what_it_came_with() -> None:
    """Of a train with one segment that is good the window counts that, and not the 65,000 octets of the train."""
    t = established(options="mss 8960")
    (connection,) = t.stack.connections.values()
    remote, port, local_port = connection.key
    irs = connection.receive_side.rcv_nxt
    for number in range(4):
        seq = (irs + 4200 * number) & 0xFFFFFFFF
        good = encode(Segment(port, local_port, seq, connection.send_side.snd_nxt, ACK, 65535, payload=bytes(4200)))
        train = good + bytes(14 * len(good))
        t.stack.receive_datagram(train, remote, t.now, len(good))
    assert connection.readable == 4 * 4200
    for piece in connection.receive_side._pieces:
        whole = piece.obj if isinstance(piece, memoryview) else piece
        assert isinstance(whole, bytes)
        assert len(whole) <= 2 * len(piece)
