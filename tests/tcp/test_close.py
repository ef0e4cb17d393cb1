"""Closing, segment by segment: each test is a row of the close table, RFC 9293 3.6 and 3.10."""

from collections.abc import Callable
from itertools import pairwise, product

import pytest

from tests.tcp.notation import stream
from tests.tcp.pair import DROP, PASS, Packet, Pair, Rule
from tests.tcp.reach import close_wait, closing, established, fin_wait_1, fin_wait_2, last_ack, time_wait
from tests.tcp.script import MSS, Script
from utcp.errors import ConnectionAborted, ConnectionReset, FinTimedOut, InvalidState, LingerTimedOut
from utcp.tcp.connection import Connection
from utcp.tcp.event import ENDED, PEER_CLOSED, READABLE
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.wire import ACK, FIN, RST

# The retransmissions of a FIN at the smallest RTO, 0.2 s, doubling; 102.2 s is when the eighth is given up.
FIN_TIMES = (0.2, 0.6, 1.4, 3.0, 6.2, 12.6, 25.4, 51.0)
FIN_LIMIT = 102.2


# --- active close, passive close


def test_active_close() -> None:
    t = established()
    t.close()
    assert t.state == FIN_WAIT_1
    t.sends("F. 1:1 ack 1")
    t.receives(". 1:1 ack 2")
    t.silent()
    assert t.state == FIN_WAIT_2
    assert t.error is None
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT
    assert t.path == (CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT)


@pytest.mark.rfc9293("MUST-12")
def test_passive_close() -> None:
    t = established(passive=True)
    t.receives("F. 1:1 ack 1")
    t.sends(". 1:1 ack 2")
    assert t.state == CLOSE_WAIT
    assert t.events & PEER_CLOSED
    assert t.connection.at_eof
    assert not t.ended
    t.close()
    assert t.state == LAST_ACK
    t.sends("F. 1:1 ack 2")
    assert not t.ended
    t.receives(". 2:2 ack 2")
    t.silent()
    assert t.state == CLOSED
    assert t.error is None
    assert t.path == (LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED)
    assert t.stack.next_timeout() is None


def test_passive_close_any_later_segment_gets_rst() -> None:
    t = last_ack()
    t.receives(". 2:2 ack 2")
    t.receives(". 2:2 ack 2")
    t.sends("R 2:2")


def test_state_moves_at_the_call() -> None:
    """Known defect 26: not when the FIN leaves."""
    t = established(window=0)
    t.write(5000)
    t.close()
    assert t.state == FIN_WAIT_1
    t = close_wait()
    t.close()
    assert t.state == LAST_ACK


def test_three_segments_the_fin_rides_on_the_ack_of_ours() -> None:
    t = fin_wait_1()
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT
    assert t.error is None


def test_three_segments_close_in_the_same_batch_as_the_peers_fin() -> None:
    t = established()
    t.receives("F. 1:1 ack 1")
    t.close()
    t.sends("F. 1:1 ack 2")
    assert t.state == LAST_ACK


def test_ack_of_a_fin_does_not_wait_for_a_close() -> None:
    """Never delayed beyond the batch: the peer would retransmit its FIN."""
    t = established(delayed_ack=0.4)
    t.receives("F. 1:1 ack 1")
    t.sends(". 1:1 ack 2")


def test_fin_with_data_one_ack_covers_both() -> None:
    t = established()
    t.receives("F. 1:101 ack 1")
    t.sends(". 1:1 ack 102")
    assert t.events & (READABLE | PEER_CLOSED) == READABLE | PEER_CLOSED
    assert not t.connection.at_eof
    assert t.read() == 100
    assert t.connection.at_eof


def test_our_fin_rides_on_the_last_data() -> None:
    t = established()
    t.write(1500)
    t.close()
    t.sends(". 1:1001 ack 1", "F. 1001:1501 ack 1")
    t.receives(". 1:1 ack 1502")
    t.silent()
    assert t.state == FIN_WAIT_2


def test_our_fin_rides_on_a_full_segment_too() -> None:
    """Known defect 30: a FIN takes no room in a segment."""
    t = established()
    t.write(MSS)
    t.close()
    t.sends("F. 1:1001 ack 1")


def test_duplicate_data_with_fin() -> None:
    t = established()
    t.receives(". 1:1001 ack 1")
    t.receives("F. 1:1001 ack 1")
    t.sends(". 1:1 ack 1002")
    assert t.state == CLOSE_WAIT
    assert t.read() == 1000
    assert t.connection.at_eof


def test_partly_old_data_with_fin() -> None:
    t = established()
    t.receives(". 1:501 ack 1")
    t.receives("F. 1:1001 ack 1")
    t.sends(". 1:1 ack 1002")
    assert t.read() == 1000


# --- FIN before a gap (known defect 11)


def test_fin_before_a_gap_is_held() -> None:
    t = established(options="mss 1000,sackOK")
    t.receives("F. 1001:2001 ack 1")
    t.sends(". 1:1 ack 1 <sack 1001:2001>")  # the FIN's own number is in no SACK block
    assert t.state == ESTABLISHED
    assert not t.events & PEER_CLOSED
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 2002")
    assert t.state == CLOSE_WAIT
    assert t.read() == 2000
    assert t.connection.at_eof


def test_fin_alone_before_a_gap_is_held() -> None:
    t = established(options="mss 1000,sackOK")
    t.receives("F. 1001:1001 ack 1")
    (segment,) = t.sends(". 1:1 ack 1")
    assert segment.sack_blocks == ()
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 1002")
    assert t.state == CLOSE_WAIT


def test_fin_behind_text_that_does_not_fit_comes_again() -> None:
    t = established(recv_buffer=2048)
    t.receives("F. 1:3001 ack 1")
    t.sends(". 1:1 ack 2049 win 0")
    assert t.state == ESTABLISHED
    assert t.read() == 2048
    t.sends(". 1:1 ack 2049 win 2048")
    t.receives("F. 2049:3001 ack 1")
    t.sends(". 1:1 ack 3002")
    assert t.read() == 952
    assert t.connection.at_eof


def test_fin_before_a_gap_without_sack() -> None:
    t = established()
    t.receives("F. 1001:2001 ack 1")
    t.sends(". 1:1 ack 1")
    t.receives(". 1:1001 ack 1")
    t.sends(". 1:1 ack 2002")


def test_fin_before_a_gap_in_fin_wait_1() -> None:
    """Known defect 23: after our own FIN, what arrives is held as in ESTABLISHED."""
    t = established()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.receives("F. 101:201 ack 1")
    t.sends(". 2:2 ack 1")
    t.receives(". 1:101 ack 1")
    t.sends(". 2:2 ack 202")
    assert t.state == CLOSING
    assert t.read() == 200


def test_fin_before_a_gap_in_fin_wait_2() -> None:
    t = fin_wait_2(half=True)
    t.receives("F. 101:201 ack 2")
    t.sends(". 2:2 ack 1")
    assert t.state == FIN_WAIT_2
    t.receives(". 1:101 ack 2")
    t.sends(". 2:2 ack 202")
    assert t.state == TIME_WAIT
    assert t.read() == 200


# --- simultaneous close


def test_simultaneous_close() -> None:
    t = established()
    t.close()
    t.sends("F. 1:1 ack 1")
    t.receives("F. 1:1 ack 1")
    t.sends(". 2:2 ack 2")  # a pure ACK, not the FIN again
    assert t.state == CLOSING
    assert not t.ended
    t.receives(". 2:2 ack 2")
    t.silent()
    assert t.state == TIME_WAIT
    assert t.error is None


def test_simultaneous_close_with_data_in_both_fins() -> None:
    t = established()
    t.write(100)
    t.shutdown()
    t.sends("F. 1:101 ack 1")
    t.receives("F. 1:201 ack 1")
    t.sends(". 102:102 ack 202")
    assert t.state == CLOSING
    t.receives(". 202:202 ack 102")
    t.silent()
    assert t.state == TIME_WAIT
    assert t.read() == 200
    t.close()
    assert t.error is None


def test_simultaneous_close_with_our_data_acknowledged_but_not_our_fin() -> None:
    t = established()
    t.write(100)
    t.close()
    t.sends("F. 1:101 ack 1")
    t.receives("F. 1:1 ack 101")
    t.sends(". 102:102 ack 2")
    assert t.state == CLOSING
    t.sends_after(0.2, "F. 101:101 ack 2")


def fins_lost(client: int, server: int) -> Rule:
    """Lose the first FINs of both sides, so many of each."""
    left = {"client": client, "server": server}

    def rule(packet: Packet) -> tuple[float, ...]:
        if packet.segment.flags & FIN and left[packet.sender]:
            left[packet.sender] -= 1
            return DROP
        return PASS

    return rule


@pytest.mark.parametrize("close_after", [0.0, 0.005, 0.01, 0.015, 0.02])
@pytest.mark.parametrize(("client_lost", "server_lost"), list(product((0, 1, 2), repeat=2)))
@pytest.mark.parametrize("octets", [0, 1, 3000])
def test_both_sides_close_and_every_octet_arrives(
    octets: int, client_lost: int, server_lost: int, close_after: float
) -> None:
    """Simultaneous or nearly, data under way, FINs on data or ACKs, FINs lost on one side or both."""
    p = Pair(fins_lost(client_lost, server_lost))
    near, far = p.established()
    near.send(stream(1, 1 + octets))
    far.send(stream(1, 1 + octets))
    near.shutdown(p.now)
    p.run_for(close_after)
    far.shutdown(p.now)
    p.run(lambda: near.state in (TIME_WAIT, CLOSED) and far.state in (TIME_WAIT, CLOSED), seconds=30)
    for connection in (near, far):
        assert connection.read() == stream(1, 1 + octets)
        assert connection.at_eof
        connection.close(p.now)
        assert connection.take_events() & ENDED
        assert connection.error is None
    p.run()
    assert not p.client.connections
    assert not p.server.connections
    assert len(p.client.time_wait) == len(p.server.time_wait) == 0


@pytest.mark.parametrize("lost", range(1, 12))
@pytest.mark.parametrize("sender", ["client", "server"])
def test_a_close_survives_the_loss_of_any_one_segment(sender: str, lost: int) -> None:
    def answer(ready: object) -> None:
        if isinstance(ready, Connection) and ready.at_eof:
            ready.close(p.now)

    p = Pair(app=answer)
    near, far = p.established()
    base = p.counts[sender]
    p.rule = lambda packet: DROP if (packet.sender, packet.count) == (sender, base + lost) else PASS
    near.send(stream(1, 5001))
    near.close(p.now)
    got = bytearray()

    def done() -> bool:
        got.extend(far.read())
        if far.at_eof and far.state == CLOSE_WAIT:
            far.close(p.now)
        return near.state == TIME_WAIT and far.state == CLOSED

    p.run(done, seconds=30)
    assert bytes(got) == stream(1, 5001)
    assert near.error is None
    assert far.error is None


# --- our FIN is not acknowledged


@pytest.mark.parametrize(
    ("reach", "ack"), [(fin_wait_1, 1), (closing, 2), (last_ack, 2)], ids=["FIN_WAIT_1", "CLOSING", "LAST_ACK"]
)
def test_fin_is_retransmitted_with_its_sequence_number_until_the_limit(reach: Callable[[], Script], ack: int) -> None:
    """RFC 6298; known defects 1, 22, 25, 36."""
    t = reach()
    state = t.state
    for time in FIN_TIMES:
        t.sends_at(time, f"F. 1:1 ack {ack}")
        assert t.state == state
        assert not t.ended
    t.sends_at(FIN_LIMIT, "R? 2:2")
    assert t.state == CLOSED
    assert isinstance(t.error, FinTimedOut)
    assert isinstance(t.error, TimeoutError)
    assert t.stack.next_timeout() is None
    assert t.stack.counters.retrans_segs == len(FIN_TIMES)


def test_fin_retries_bounds_the_close() -> None:
    t = fin_wait_1(fin_retries=2)
    t.sends_at(0.2, "F. 1:1 ack 1")
    t.sends_at(0.6, "F. 1:1 ack 1")
    t.sends_at(1.4, "R? 2:2")
    assert isinstance(t.error, FinTimedOut)


def test_fin_retransmitted_with_the_data_before_it() -> None:
    t = established()
    t.write(100)
    t.close()
    t.sends("F. 1:101 ack 1")
    t.sends_at(0.2, "F. 1:101 ack 1")
    t.sends_at(0.6, "F. 1:101 ack 1")
    t.receives(". 1:1 ack 102")
    t.silent()
    assert t.state == FIN_WAIT_2
    assert t.error is None


def test_fin_acknowledged_late_ends_the_retransmissions() -> None:
    t = fin_wait_1()
    t.sends_at(0.2, "F. 1:1 ack 1")
    t.receives(". 1:1 ack 2")
    assert t.state == FIN_WAIT_2
    t.silent_for(30)


def test_duplicate_acks_with_only_the_fin_in_flight_do_not_disarm_the_timer() -> None:
    """Known defect 20."""
    t = fin_wait_1()
    for _ in range(4):
        t.receives(". 1:1 ack 1")
        t.drain()  # a fast retransmission is allowed
    t.advance(0.5)
    assert any(segment.flags & FIN for segment in t.drain())
    assert t.state == FIN_WAIT_1
    t.advance(200)
    assert isinstance(t.error, FinTimedOut)


def test_fin_does_not_wait_for_the_congestion_window() -> None:
    """Known defect 27."""
    t = established()
    cwnd = t.info.snd_cwnd
    t.write(cwnd)
    assert sum(len(segment.payload) for segment in t.drain()) == cwnd
    t.close()
    t.sends(f"F. {cwnd + 1}:{cwnd + 1} ack 1")


def test_rst_does_not_wait_for_the_congestion_window() -> None:
    t = established()
    t.write(t.info.snd_cwnd + 5000)
    sent = sum(len(segment.payload) for segment in t.drain())
    t.abort()
    t.sends(f"R? {sent + 1}:{sent + 1}")


def test_close_delivers_what_was_written_before_it() -> None:
    """Known defect 28."""
    p = Pair()
    near, far = p.established()
    near.send(stream(1, 200_001))
    near.close(p.now)
    got = bytearray()

    def arrived() -> bool:
        got.extend(far.read())
        return far.at_eof

    p.run(arrived)
    assert bytes(got) == stream(1, 200_001)
    p.run(lambda: bool(near.take_events() & ENDED))
    assert near.error is None
    assert near.info().bytes_acked == 200_000


# --- half-close


def test_half_close_goes_on_reading() -> None:
    t = established()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    assert t.state == FIN_WAIT_1
    t.receives("P. 1:101 ack 1")
    assert t.read() == 100
    t.sends_after(0.04, ". 2:2 ack 101")
    t.receives(". 101:101 ack 2")
    assert t.state == FIN_WAIT_2
    t.receives("P. 101:201 ack 2")
    assert t.read() == 100
    t.sends_after(0.04, ". 2:2 ack 201")
    t.receives("F. 201:301 ack 2")
    t.sends(". 2:2 ack 302")
    assert t.state == TIME_WAIT
    assert t.read() == 100
    assert t.connection.at_eof
    assert not t.ended
    t.close()
    t.silent()
    assert t.error is None


def test_half_close_writes_after_it_raise() -> None:
    t = fin_wait_2(half=True)
    with pytest.raises(InvalidState):
        t.connection.send(b"too late")
    t.silent()


def test_half_close_twice_is_silent() -> None:
    t = established()
    t.shutdown()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.shutdown()
    t.silent()


def test_half_close_of_a_passive_closer() -> None:
    t = close_wait()
    t.shutdown()
    t.sends("F. 1:1 ack 2")
    assert t.state == LAST_ACK
    t.receives(". 2:2 ack 2")
    assert t.state == CLOSED
    assert not t.ended
    t.close()
    t.silent()
    assert t.error is None


def test_half_close_has_no_limit_of_time() -> None:
    """Known defect 29."""
    t = fin_wait_2(half=True)
    t.silent_for(7 * 86400)
    assert t.state == FIN_WAIT_2
    t.receives("P. 1:101 ack 2")
    assert t.read() == 100
    t.sends_after(0.04, ". 2:2 ack 101")


def test_half_close_goes_on_opening_the_window() -> None:
    t = fin_wait_2(half=True, recv_buffer=4000)
    t.receives(*(f". {start}:{start + 1000} ack 2" for start in range(1, 4001, 1000)))
    t.sends(". 2:2 ack 4001 win 0")
    assert t.read() == 4000
    t.sends(". 2:2 ack 4001 win 4000")


def test_close_after_half_close_starts_the_limit() -> None:
    t = fin_wait_2(half=True)
    t.silent_for(1000)
    t.close()
    assert t.error is None
    t.silent_for(59.9)
    assert t.state == FIN_WAIT_2
    t.silent_for(0.2)
    assert t.state == CLOSED


def test_half_closed_both_ways_waits_for_the_users_close() -> None:
    t = fin_wait_2(half=True)
    t.receives("F. 1:101 ack 2")
    t.sends(". 2:2 ack 102")
    t.silent_for(61)
    assert t.state == CLOSED
    assert not t.ended
    assert t.read() == 100  # known defect 6: expiry wipes no data
    assert t.connection.at_eof
    t.close()
    t.silent()
    assert t.error is None


# --- FIN_WAIT_2 (known defect 17)


def test_fin_wait_2_after_a_full_close_has_a_limit() -> None:
    t = fin_wait_2()
    t.silent_for(59.9)
    assert t.state == FIN_WAIT_2
    t.silent_for(0.2)
    assert t.state == CLOSED
    assert not t.stack.connections
    assert t.stack.next_timeout() is None
    assert t.error is None  # all we sent was acknowledged long ago
    t.receives("F. 1:1 ack 2")
    t.sends("R 2:2")


def test_fin_wait_2_timeout_is_configured() -> None:
    t = fin_wait_2(fin_wait_2_timeout=5.0)
    t.silent_for(4.9)
    assert t.state == FIN_WAIT_2
    t.silent_for(0.2)
    assert t.state == CLOSED


def test_rst_in_fin_wait_2() -> None:
    t = fin_wait_2()
    t.receives("R 1:1")
    t.silent()
    assert t.state == CLOSED
    assert t.error is None  # the close had been delivered


# --- data that nobody will read (SHLD-3, RFC 2525 2.17)


@pytest.mark.rfc9293("SHLD-3", "MAY-1")
def test_data_after_our_full_close_in_fin_wait_2_gets_rst() -> None:
    t = fin_wait_2()
    t.receives("P. 1:101 ack 2")
    t.sends("R 2:2")
    assert t.state == CLOSED


@pytest.mark.rfc9293("SHLD-3", "MAY-1")
def test_data_after_our_full_close_in_fin_wait_1_gets_rst() -> None:
    t = fin_wait_1()
    t.receives("P. 1:101 ack 1")
    t.sends("R 1:1", "R 2:2")
    assert t.state == CLOSED
    assert t.ended


def test_data_after_our_full_close_is_an_error_when_ours_was_not_delivered() -> None:
    t = established()
    t.write(100)
    t.close()
    t.sends("F. 1:101 ack 1")
    t.receives("P. 1:101 ack 1")
    t.sends("R 1:1", "R 102:102")
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionAborted)


def test_data_with_the_peers_fin_after_our_full_close_gets_rst() -> None:
    t = fin_wait_2()
    t.receives("F. 1:101 ack 2")
    t.sends("R? 2:2")
    assert t.state == CLOSED


def test_old_data_after_our_full_close_gets_an_ack() -> None:
    """It was read; the peer has lost our ACK."""
    t = established()
    t.receives("P. 1:101 ack 1")
    assert t.read() == 100
    t.close()
    t.sends("F. 1:1 ack 101")
    t.receives("P. 1:101 ack 1")
    t.sends(". 2:2 ack 101")
    assert t.state == FIN_WAIT_1


@pytest.mark.rfc9293("SHLD-3")
def test_close_with_unread_data_resets() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    t.close()
    t.sends("R. 1:1 ack 101")
    assert t.state == CLOSED
    assert t.ended
    assert t.stack.next_timeout() is None


def test_close_with_unread_data_is_an_error_when_ours_was_not_delivered() -> None:
    t = established()
    t.write(100)
    t.sends("P. 1:101 ack 1")
    t.receives("P. 1:101 ack 1")
    t.close()
    t.sends("R. 101:101 ack 101")
    assert isinstance(t.error, ConnectionAborted)


def test_close_with_unread_data_after_our_fin_resets_behind_it() -> None:
    t = established()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.receives("P. 1:101 ack 2")
    t.close()
    t.sends("R. 2:2 ack 101")
    assert t.state == CLOSED


def test_close_with_unread_data_in_close_wait_resets() -> None:
    t = established()
    t.receives("F. 1:101 ack 1")
    t.sends(". 1:1 ack 102")
    t.close()
    t.sends("R. 1:1 ack 102")
    assert t.state == CLOSED


def test_close_with_data_held_out_of_order_is_a_close() -> None:
    """It was never acknowledged, so nobody was told that it would be read; when it is complete it gets its RST."""
    t = established()
    t.receives(". 101:201 ack 1")
    t.sends(". 1:1 ack 1")
    t.close()
    assert t.state in (FIN_WAIT_1, CLOSED)
    t.drain()


def test_close_with_everything_read_is_a_close() -> None:
    t = established()
    t.receives("P. 1:101 ack 1")
    assert t.read() == 100
    t.close()
    t.sends("F. 1:1 ack 101")


# --- after the peer's FIN


def test_data_after_the_peers_fin_is_ignored() -> None:
    """RFC 9293 3.10.7.4, seventh; known defect 13."""
    t = close_wait()
    t.receives("P. 2:102 ack 1")
    t.drain()
    assert t.connection.readable == 0
    assert t.state == CLOSE_WAIT
    t.write(10)
    t.sends("P. 1:11 ack 2")


@pytest.mark.parametrize(
    ("reach", "seq"), [(close_wait, 1), (closing, 2), (last_ack, 2)], ids=["CLOSE_WAIT", "CLOSING", "LAST_ACK"]
)
def test_the_peers_fin_again_gets_an_ack(reach: Callable[[], Script], seq: int) -> None:
    """Its number is not acceptable any more: RFC 9293 3.10.7.4, first check."""
    t = reach()
    state = t.state
    t.receives("F. 1:1 ack 1")
    t.sends(f". {seq}:{seq} ack 2")
    assert t.state == state


def test_every_retransmission_of_the_peers_fin_is_answered() -> None:
    t = close_wait()
    for _ in range(4):
        t.advance(0.2)
        t.receives("F. 1:1 ack 1")
        t.sends(". 1:1 ack 2")


def test_old_ack_on_a_fin_is_still_a_fin() -> None:
    t = established()
    t.write(1000)
    t.sends("P. 1:1001 ack 1")
    t.receives(". 1:1 ack 1001")
    t.receives("F. 1:1 ack 501")
    t.sends(". 1001:1001 ack 2")
    assert t.state == CLOSE_WAIT


def test_reading_goes_on_after_the_peers_fin() -> None:
    t = established()
    t.receives("F. 1:101 ack 1")
    t.sends(". 1:1 ack 102")
    t.silent_for(3600)
    assert t.read(60) == 60
    assert not t.connection.at_eof
    assert t.read() == 40
    assert t.connection.at_eof


def test_writing_goes_on_after_the_peers_fin() -> None:
    t = close_wait()
    t.silent_for(3600)
    t.write(100)
    t.sends("P. 1:101 ack 2")
    t.receives(". 2:2 ack 101")
    t.close()
    t.sends("F. 101:101 ack 2")
    t.receives(". 2:2 ack 102")
    assert t.state == CLOSED
    assert t.error is None


# --- FIN and zero windows


def test_fin_at_the_edge_of_our_closed_window_is_accepted() -> None:
    """Else the peer repeats it for ever."""
    t = established(recv_buffer=2048)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2049 ack 1")
    t.sends(". 1:1 ack 2049 win 0")
    t.receives("F. 2049:2049 ack 1")
    t.sends(". 1:1 ack 2050")
    assert t.state == CLOSE_WAIT
    assert t.read() == 2048
    assert t.connection.at_eof


def test_our_fin_behind_a_closed_window_is_probed_for_and_bounded() -> None:
    """The probes back off although each is answered, and after `fin_retries` the connection ends."""
    t = established(window=0, fin_retries=4)
    t.write(100)
    t.close()
    t.silent()
    times = []
    while t.state == FIN_WAIT_1 and t.time < 300:
        t.advance(0.1)
        for segment in t.drain():
            if segment.flags & RST:
                continue
            times.append(t.time)
            t.receives(". 1:1 ack 1 win 0")
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 4
    assert all(after >= 1.5 * before for before, after in pairwise(gaps))
    assert t.state == CLOSED
    assert isinstance(t.error, FinTimedOut)


def test_our_fin_behind_a_window_that_opens() -> None:
    t = established(window=0)
    t.write(100)
    t.close()
    t.silent()
    t.receives(". 1:1 ack 1 win 1000")
    t.sends("F. 1:101 ack 1")


def test_our_fin_alone_is_not_held_by_a_closed_window_for_ever() -> None:
    t = established(window=0)
    t.close()
    t.advance(2.0)
    assert t.drain()[0].flags & FIN


# --- ACKs in closing states


def test_last_ack_partial_ack_of_the_data_before_the_fin() -> None:
    """SND.UNA moves, timers with it; the state stays (known defects 14, 24)."""
    t = close_wait()
    t.write(100)
    t.close()
    t.sends("F. 1:101 ack 2")
    t.advance(0.1)
    t.receives(". 2:2 ack 51")
    t.silent()
    assert t.state == LAST_ACK
    assert not t.ended
    t.sends_after(t.info.rto, "F. 51:101 ack 2")
    t.receives(". 2:2 ack 101")
    t.silent()
    assert t.state == LAST_ACK
    t.receives(". 2:2 ack 102")
    assert t.state == CLOSED
    assert t.error is None


def test_fin_wait_1_ack_of_the_data_is_not_the_ack_of_the_fin() -> None:
    t = established()
    t.write(100)
    t.close()
    t.sends("F. 1:101 ack 1")
    t.receives(". 1:1 ack 101")
    t.silent()
    assert t.state == FIN_WAIT_1
    t.receives(". 1:1 ack 102")
    assert t.state == FIN_WAIT_2


@pytest.mark.parametrize(
    ("reach", "nxt", "ack"),
    [
        (established, 1, 1),
        (fin_wait_1, 2, 1),
        (fin_wait_2, 2, 1),
        (close_wait, 1, 2),
        (closing, 2, 2),
        (last_ack, 2, 2),
    ],
    ids=["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK"],
)
def test_ack_of_something_never_sent_gets_an_ack(reach: Callable[[], Script], nxt: int, ack: int) -> None:
    """RFC 9293 3.10.7.4, fifth check; known defect 3."""
    t = reach()
    state = t.state
    t.receives(f". {ack}:{ack} ack {nxt + 1}")
    t.sends(f". {nxt}:{nxt} ack {ack}")
    assert t.state == state
    assert not t.ended or state == FIN_WAIT_2


# --- LINGER and ABORT


@pytest.mark.defect(64)
def test_delivery_after_the_close_has_a_total_time() -> None:
    """However often the peer acknowledges: here one octet, each 55 s. 10,000 octets have 10 s beyond orphan_timeout."""
    t = established(window=1)
    t.write(10_000)
    t.close()
    t.drain()
    acked = 1
    while t.state != CLOSED and t.time < 1000:
        t.advance(min(55, 310 - t.time) if t.time < 310 else 55)
        if any(segment.flags & RST for segment in t.drain()):
            break
        acked += 1
        t.receives(f". 1:1 ack {acked} win 1")
        t.drain()
    assert t.state == CLOSED
    assert t.time == pytest.approx(310, abs=0.1)
    assert isinstance(t.error, FinTimedOut)


@pytest.mark.defect(64)
def test_delivery_after_the_close_may_take_what_its_rate_needs() -> None:
    """2,000 octets a second are no attack: 1 MB has 1,300 s."""
    t = established(window=2000, send_buffer=1 << 20)
    t.write(1_000_000)
    t.close()
    t.drain()
    acked = 1
    while acked < 1_000_002:
        t.advance(1)
        t.drain()
        acked = min(acked + 2000, 1_000_001 + t.connection.send_side.fin_sent)
        t.receives(f". 1:1 ack {acked} win 2000")
        t.drain()
    assert t.time > 500
    assert t.state == FIN_WAIT_2
    assert t.error is None


@pytest.mark.defect(64)
def test_delivery_after_the_close_without_a_limit() -> None:
    t = established(window=1, orphan_timeout=None)
    t.write(1000)
    t.close()
    t.drain()
    for acked in range(2, 102):
        t.advance(55)
        t.drain()
        t.receives(f". 1:1 ack {acked} win 1")
        t.drain()
    assert t.state == FIN_WAIT_1


@pytest.mark.parametrize("reach", [established, close_wait], ids=["ESTABLISHED", "CLOSE_WAIT"])
def test_linger_zero_close_sends_rst(reach: Callable[[], Script]) -> None:
    t = reach()
    t.connection.linger = 0.0
    t.close()
    t.sends("R? 1:1")
    assert t.state == CLOSED
    assert t.ended


def test_linger_zero_drops_what_is_queued() -> None:
    t = established(window=0)
    t.write(100)
    t.connection.linger = 0.0
    t.close()
    t.sends("R? 1:1")
    assert t.ended


def test_linger_waits_for_the_ack_of_the_fin_then_rst() -> None:
    t = established()
    t.connection.linger = 1.0
    t.close()
    t.sends("F. 1:1 ack 1")
    t.sends_at(0.2, "F. 1:1 ack 1")
    t.sends_at(0.6, "F. 1:1 ack 1")
    t.sends_at(1.0, "R? 2:2")
    assert t.state == CLOSED
    assert isinstance(t.error, LingerTimedOut)


def test_linger_counts_from_the_close_also_when_the_fin_left_long_before() -> None:
    """The retransmission timer, which runs already, is due later."""
    t = established()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.sends_at(0.2, "F. 1:1 ack 1")
    t.sends_at(0.6, "F. 1:1 ack 1")
    t.connection.linger = 0.3
    t.close()
    t.sends_at(0.9, "R? 2:2")
    assert isinstance(t.error, LingerTimedOut)


def test_linger_ends_with_the_ack_of_the_fin() -> None:
    t = established()
    t.connection.linger = 1.0
    t.close()
    t.sends("F. 1:1 ack 1")
    t.receives(". 1:1 ack 2")
    assert t.error is None
    t.silent_for(10)
    assert t.state == FIN_WAIT_2


@pytest.mark.parametrize(
    ("reach", "seq"),
    [(established, 1), (fin_wait_1, 2), (lambda: fin_wait_2(half=True), 2), (close_wait, 1)],
    ids=["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT"],
)
def test_abort_sends_rst(reach: Callable[[], Script], seq: int) -> None:
    """RFC 9293 3.10.5: <SEQ=SND.NXT><CTL=RST>."""
    t = reach()
    t.abort()
    t.sends(f"R? {seq}:{seq}")
    assert t.state == CLOSED
    assert t.error is None
    assert not t.stack.connections
    assert t.stack.next_timeout() is None


@pytest.mark.defect(45)
@pytest.mark.parametrize("passive", [True, False], ids=["LAST_ACK", "CLOSING"])
def test_abort_sends_rst_while_the_fin_waits_for_the_window(passive: bool) -> None:
    """RFC 9293 3.10.4: CLOSE waits in CLOSE-WAIT or ESTABLISHED until the FIN can be sent, and 3.10.5 resets there. Our
    state is ahead of that. The peer has its FIN acknowledged, and would wait for ever."""
    t = established(window=0)
    t.write(100)
    if passive:
        t.receives("F. 1:1 ack 1")
        t.close()
    else:
        t.close()
        t.receives("F. 1:1 ack 1")
    t.sends(". 1:1 ack 2")
    assert t.state == (LAST_ACK if passive else CLOSING)
    t.abort()
    t.sends("R 1:1")
    assert t.state == CLOSED


def test_abort_during_a_retransmission_uses_snd_nxt() -> None:
    """Known defect 1: no rewound number in a RST."""
    t = established()
    t.write(3000)
    t.drain()
    t.advance(0.3)
    t.drain()
    t.abort()
    t.sends("R? 3001:3001")


def test_abort_in_time_wait_is_silent() -> None:
    t = fin_wait_2(half=True)
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    t.abort()
    t.silent()
    assert t.error is None


def test_close_twice_is_once() -> None:
    t = established()
    t.close()
    t.close()
    t.sends("F. 1:1 ack 1")
    t.close()
    t.silent()


def test_send_after_close_raises() -> None:
    t = fin_wait_1()
    with pytest.raises(InvalidState):
        t.connection.send(b"too late")


# --- RST while closing


@pytest.mark.parametrize(
    ("reach", "seq"), [(fin_wait_1, 1), (closing, 2), (last_ack, 2)], ids=["FIN_WAIT_1", "CLOSING", "LAST_ACK"]
)
def test_rst_before_our_fin_is_acknowledged_is_an_error(reach: Callable[[], Script], seq: int) -> None:
    t = reach()
    t.receives(f"R {seq}:{seq}")
    t.silent()
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionReset)
    assert t.stack.next_timeout() is None


# --- nothing is left behind


@pytest.mark.parametrize("reach", [fin_wait_2, time_wait, last_ack], ids=["FIN_WAIT_2", "TIME_WAIT", "LAST_ACK"])
def test_everything_ends(reach: Callable[[], Script]) -> None:
    """Every state that the application does not own has a bound."""
    t = reach()
    t.advance(300)
    assert t.state == CLOSED
    assert not t.stack.connections
    assert not t.stack.time_wait
    assert t.stack.next_timeout() is None


@pytest.mark.rfc("7323", "3.2-3")
def test_timestamps_stay_on_all_segments_of_a_close() -> None:
    """RFC 7323 3.2: once negotiated, on every segment but RST."""
    t = established(options="mss 1000,ts 100")
    t.close()
    t.sends("F. 1:1 ack 1 <ts>")
    t.receives("F. 1:1 ack 1")
    t.sends(". 2:2 ack 2 <ts>")
    t.receives(". 2:2 ack 2")
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2 <ts>")


def test_no_fin_is_sent_twice_in_a_lossless_close() -> None:
    fins = {"client": 0, "server": 0}

    def count(packet: Packet) -> tuple[float, ...]:
        fins[packet.sender] += bool(packet.segment.flags & FIN)
        assert packet.segment.flags & ACK or packet.count == 1
        return PASS

    p = Pair(count, app=lambda ready: ready.close(p.now) if isinstance(ready, Connection) and ready.at_eof else None)
    near, _ = p.established()
    near.close(p.now)
    p.run()
    assert fins == {"client": 1, "server": 1}


def test_linger_does_not_count_once_the_fin_is_acknowledged() -> None:
    """The user closes after a half-close that was delivered: nothing is left to wait for."""
    t = established()
    t.shutdown()
    t.sends("F. 1:1 ack 1")
    t.receives(". 1:1 ack 2")
    t.connection.linger = 1.0
    t.close()
    assert t.ended
    t.silent_for(30)
    assert t.state == FIN_WAIT_2
