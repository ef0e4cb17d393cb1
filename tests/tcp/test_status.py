"""STATUS (RFC 9293 3.10.6): each variable under its name; and what observers and errors say."""

import pytest

from tests.tcp.reach import established, fin_wait_1
from tests.tcp.script import MSS, PEER_ISS
from utcp.errors import InvalidState
from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer
from utcp.wire.seq import add


def test_status_of_an_established_connection() -> None:
    t = established(options=f"mss {MSS},sackOK,ts 1000,wscale 7", window=1000 << 7)
    t.receives("P. 1:101 ack 1")
    t.read(30)
    t.write(11 * MSS)
    t.drain()
    t.receives(f". 101:101 ack {MSS + 1 - 12}")
    t.drain()
    info = t.info
    assert info.state == "ESTABLISHED"
    assert info.path == ("CLOSED", "SYN_SENT", "ESTABLISHED")
    assert (info.local_port, info.remote_port) == (50000, 80)
    assert info.rcv_nxt == add(PEER_ISS, 101)
    assert info.rcv_wnd == t.connection.receive_side.window
    assert info.snd_wnd == 1000 << 7
    assert info.snd_mss == MSS - 12
    assert info.unacked == info.bytes_sent - info.bytes_acked
    assert info.notsent_bytes == 11 * MSS - info.bytes_sent
    assert info.bytes_acked == MSS - 12
    assert info.unread == 70
    assert info.bytes_received == 100
    assert (info.window_scaling, info.timestamps, info.sack) == (True, True, True)


def test_status_without_options() -> None:
    info = established(options=f"mss {MSS}").info
    assert (info.window_scaling, info.timestamps, info.sack) == (False, False, False)


def test_an_observer_is_told_what_is_sent_again() -> None:
    told: list[tuple[Connection, int, int]] = []

    class Retransmissions(Observer):
        def retransmitted(self, connection: Connection, seq: int, length: int, now: float) -> None:
            told.append((connection, seq, length))

    t = established(rto_initial=1.0)
    t.stack.observe(Retransmissions())
    t.write(100)
    t.close()
    seq = t.info.snd_nxt
    t.drain()
    t.advance(0.3)
    t.drain()
    assert told == [(t.connection, seq, 101)]


def test_errors_of_calls_say_what_was_done_before() -> None:
    t = fin_wait_1()
    with pytest.raises(InvalidState, match=r" cannot send after shutdown\(\) or close\(\)$"):
        t.connection.send(b"more")
    t = established()
    t.receives("R 1:1")
    with pytest.raises(InvalidState, match=r" cannot send: the connection has ended$"):
        t.connection.send(b"more")
    with pytest.raises(InvalidState, match=r" cannot shut down: the connection has ended$"):
        t.connection.shutdown(t.now)
