"""What the random lives have found, as traces of their own."""

from tests.tcp.reach import established, fin_wait_2, simultaneous_open, syn_rcvd
from utcp.config import Config
from utcp.tcp.send import SendSide
from utcp.tcp.state import CLOSED, FIN_WAIT_1, TIME_WAIT


def test_a_user_timeout_before_there_is_a_user() -> None:
    """The half-open connection was reset and stayed in the listener's count, and close() of the listener failed."""
    t = syn_rcvd(user_timeout=5.0)
    t.advance(6.0)
    t.drain()
    assert t.state == CLOSED
    assert not t.listener.half_open
    t.listener.close(t.now)
    assert t.stack.next_timeout() is None


def test_time_wait_offers_no_less_than_the_last_ack() -> None:
    """Text and FIN in one batch, read before their ACK leaves: the record remembered the window before that."""
    t = fin_wait_2(half=True, recv_buffer=20_000)
    t.receives("P. 1:1001 ack 2", "F. 1001:1001 ack 2")
    assert t.read() == 1000
    t.sends(". 2:2 ack 1002")
    assert t.state == TIME_WAIT
    t.receives("F. 1001:1001 ack 2")
    t.sends(". 2:2 ack 1002")  # that the edge does not move left is checked with every segment


def test_fin_wait_1_before_the_syn_is_acknowledged_takes_no_ack_of_an_older_syn() -> None:
    """A peer that is synchronized with an older incarnation gets RST, as in SYN_RCVD: its data went to the wrong user.

    RFC 9293 3.10.7.4, fifth check.
    """
    t = simultaneous_open()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    assert t.state == FIN_WAIT_1
    t.receives("P. 1:101 ack -249")
    t.sends("R -249:-249")
    assert t.info.bytes_received == 0


def test_a_segment_sent_again_that_acknowledges_more_sets_the_window() -> None:
    """Its sequence number is old, and RFC 9293's rule leaves the window open that the peer has closed."""
    t = established(window=1000)
    t.write(1000)
    t.sends("P. 1:1001 ack 1")
    t.receives("P. 101:201 ack 1 win 1000")  # overtakes
    t.sends(". 1001:1001 ack 1")
    t.receives("P. 1:101 ack 1001 win 0")
    t.sends(". 1001:1001 ack 201")
    assert t.info.snd_wnd == 0
    t.write(1000)
    t.silent()


def test_every_4_gib_snd_una_comes_by_the_iss() -> None:
    """There it once looked as if the SYN was not acknowledged, and all that followed was off by one."""
    send = SendSide(1000, Config(send_buffer=1 << 30))
    send.advance_over_syn()
    send.acknowledge(1001, 0, 0)
    chunk = memoryview(bytes(1 << 24))
    for _ in range(255):
        send.append(chunk, force=True)
        send.advance(len(chunk), fin=False, probe=False, segments=1)
        send.acknowledge(send.snd_nxt, 0, 0)
    send.append(chunk[1:], force=True)
    send.advance(len(chunk) - 1, fin=False, probe=False, segments=1)
    send.acknowledge(send.snd_nxt, 0, 0)
    assert send.snd_una == send.iss
    assert send.syn_acked
    assert send.acked == (1 << 32) - 1
    send.append(chunk, force=True)
    send.advance(len(chunk), fin=False, probe=False, segments=1)
    assert send.acknowledge(send.snd_nxt, 0, 0) == len(chunk)
