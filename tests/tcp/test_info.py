"""`Connection.info()`: Linux's TCP_INFO fields, each shown by a trace that moves it."""

from math import inf

import pytest

from tests.tcp.reach import established, fin_wait_1, fin_wait_2, syn_sent, time_wait
from tests.tcp.script import MSS, Script
from utcp.tcp.congestion.base import UNLIMITED
from utcp.wire import encode
from utcp.wire.options import TIMESTAMPS_LENGTH

SACK = f"mss {MSS},sackOK"


def sending(segments: int, **knobs: object) -> Script:
    t = established(**knobs)  # type: ignore[arg-type]
    t.write(segments * MSS)
    t.drain()
    return t


def test_a_window_in_flight_and_the_rest_unsent() -> None:
    t = sending(12, rtt=0.1)
    info = t.info
    assert info.rtt == pytest.approx(0.1)
    assert (info.snd_cwnd, info.snd_ssthresh, info.snd_mss) == (10 * MSS, UNLIMITED, MSS)
    assert (info.unacked, info.notsent_bytes) == (10 * MSS, 2 * MSS)


def test_before_anything_was_measured() -> None:
    info = syn_sent().info
    assert (info.rtt, info.rttvar, info.min_rtt, info.delivery_rate) == (0.0, 0.0, 0.0, 0.0)
    assert info.last_data_recv is None
    assert info.pacing_rate == inf


def test_what_is_in_flight_sacked_lost_and_sent_again() -> None:
    t = sending(10, options=SACK)
    t.receives(". 1:1 ack 1 <sack 2001:5001>")
    info = t.info
    assert (info.unacked, info.sacked, info.lost, info.in_flight) == (10 * MSS, 3 * MSS, 2 * MSS, 5 * MSS)
    assert (info.retrans, info.total_retrans, info.bytes_retrans) == (0, 0, 0)
    again = t.drain()
    info = t.info
    resent = sum(len(segment.payload) for segment in again if t.flow.seq(segment) < 2001)
    assert resent > 0
    assert info.lost == 2 * MSS - resent
    assert info.retrans == info.bytes_retrans == resent
    assert info.total_retrans == resent // MSS
    assert info.bytes_sent == sum(len(segment.payload) for segment in again) + 10 * MSS


def test_the_phases_of_recovery() -> None:
    t = sending(10, options=SACK, rtt=0.1)
    assert t.info.ca_state == "open"
    t.advance(0.1)
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    assert t.info.ca_state == "disorder"
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.drain()
    assert t.info.ca_state == "recovery"
    t.receives(". 1:1 ack 10001")
    assert t.info.ca_state == "open"
    t.write(MSS)
    t.advance(5)
    t.drain()
    assert t.info.ca_state == "loss"


def test_disorder_without_sack() -> None:
    t = sending(10)
    t.receives(". 1:1 ack 1")
    assert t.info.ca_state == "disorder"


def test_a_mark_reduces_the_window() -> None:
    t = Script()
    t.listen()
    t.receives(f"SEW 0:0 <mss {MSS}>")
    t.drain()
    t.receives(". 1:1 ack 1")
    t.accept()
    t.write(10 * MSS)
    t.drain()
    assert t.info.delivered_ce == 0
    t.receives("E. 1:1 ack 2001")
    info = t.info
    assert info.ca_state == "cwr"
    assert info.delivered_ce == 2 * MSS
    assert info.delivered == 2 * MSS + 1  # the SYN has a number too
    assert info.options == ("ecn",)


def test_timeouts_in_a_row_and_in_all() -> None:
    t = sending(1)
    t.advance(0.7)  # at 0.2 and 0.6
    t.drain()
    info = t.info
    assert (info.retransmits, info.backoff, info.total_retrans) == (2, 2, 2)
    assert info.rto == pytest.approx(0.8)
    t.receives(". 1:1 ack 1001")
    assert (t.info.retransmits, t.info.total_retrans) == (0, 2)


def test_window_and_keepalive_probes() -> None:
    t = established(window=0)
    t.write(100)
    t.advance(0.65)
    t.drain()
    assert t.info.probes == 2
    t = established(keepalive=True, keepalive_idle=10.0)
    t.advance(10.5)
    t.drain()
    assert t.info.probes == 1
    t.receives(". 1:1 ack 1")
    assert t.info.probes == 0


def test_segments_and_those_with_text() -> None:
    t = established()
    t.receives("P. 1:101 ack 1", "P. 101:201 ack 1", ". 201:201 ack 1")
    t.drain()
    t.write(2 * MSS)
    t.drain()
    t.advance(0.21)
    t.drain()
    info = t.info
    assert (info.segs_in, info.data_segs_in) == (4, 2)
    assert (info.segs_out, info.data_segs_out) == (5, 3)  # SYN, its ACK, 2 with text, and one of them again
    t.abort()
    t.drain()
    assert t.info.segs_out == 6
    assert t.info.segs_out == t.stack.counters.out_segs
    assert t.info.segs_in == t.stack.counters.in_segs


def test_out_of_order() -> None:
    t = established()
    t.receives("P. 101:201 ack 1", "P. 301:401 ack 1", "P. 1:101 ack 1")
    t.drain()
    assert t.info.rcv_ooopack == 2


def test_reordering_and_duplicates_of_ours() -> None:
    t = sending(4, options=SACK, rtt=0.1)
    t.advance(0.1)
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    t.receives(". 1:1 ack 2001")
    assert t.info.reord_seen == 1
    assert t.info.dsack_dups == 0
    t.receives(". 1:1 ack 2001 <sack 1:2001>")
    assert t.info.dsack_dups == 2


def test_sizes() -> None:
    t = established(options=f"mss {MSS - 200},ts 1")
    t.receives("P. 1:701 ack 1")
    t.drain()
    info = t.info
    assert (info.advmss, info.rcv_mss) == (MSS, 700)
    assert info.rcv_space == t.connection.receive_side.limit
    assert info.snd_mss == MSS - 200 - TIMESTAMPS_LENGTH
    t.write(MSS)
    assert info.pmtu == len(encode(t.drain()[0]))


def test_rates() -> None:
    t = sending(10, rtt=0.1)
    assert t.info.pacing_rate > 0
    t.advance(0.1)
    t.receives(f". 1:1 ack {10 * MSS + 1}")
    info = t.info
    assert info.delivery_rate == pytest.approx(10 * MSS / 0.1)
    assert info.delivery_rate_app_limited is False
    assert info.min_rtt == pytest.approx(0.1)


def test_the_rate_of_an_application_with_little_to_send() -> None:
    t = sending(1, rtt=0.1)
    for acked in (1001, 2001):
        t.advance(0.1)
        t.receives(f". 1:1 ack {acked}")
        t.write(MSS)
        t.drain()
    assert t.info.delivery_rate_app_limited is True


def test_how_long_ago() -> None:
    t = established()
    t.write(100)
    t.drain()
    t.advance(0.05)
    t.receives("P. 1:101 ack 101")
    t.advance(0.5)
    t.drain()
    t.receives(". 101:101 ack 101")
    t.advance(1.0)
    info = t.connection.info(t.now)
    assert info.last_data_sent == pytest.approx(1.55)
    assert info.last_data_recv == pytest.approx(1.5)
    assert info.last_ack_recv == pytest.approx(1.0)
    info = t.info  # as of the last that was heard
    assert info.last_ack_recv == 0.0
    assert info.last_data_recv == pytest.approx(0.5)


def test_timers_that_run() -> None:
    t = sending(1, keepalive=True, keepalive_idle=60.0, user_timeout=9.0)
    t.advance(0.05)
    assert t.connection.info(t.now).timers == pytest.approx(
        {"retransmit": 0.15, "keepalive": 59.95, "user_timeout": 8.95}
    )
    t.receives("P. 1:101 ack 1001")
    assert t.connection.info(t.now).timers == pytest.approx({"delayed_ack": 0.04, "keepalive": 59.95})


def test_timers_of_closing() -> None:
    t = fin_wait_2(fin_wait_2_timeout=60.0)
    t.advance(1.0)
    assert t.connection.info(t.now).timers == pytest.approx({"fin_wait_2": 59.0})
    t = time_wait(msl=30.0)
    t.advance(1.0)
    assert t.connection.info(t.now).timers == pytest.approx({"time_wait": 59.0})
    t.advance(60.0)
    assert t.connection.info(t.now).timers == {}


def test_what_was_agreed_on() -> None:
    info = established(options=f"mss {MSS},sackOK,ts 1,wscale 9", recv_buffer=1 << 20).info
    assert info.options == ("ts", "sack", "wscale")
    assert (info.snd_wscale, info.rcv_wscale) == (9, 5)
    assert (info.ecn, established().info.options) == (False, ())
    assert established(congestion_control="bbr").info.congestion_control == "bbr"
    assert established(delayed_ack=0.03).info.ato == 0.03


def test_the_end_leaves_the_last_values() -> None:
    t = fin_wait_1()
    t.receives("R 1:1")
    assert t.ended
    info = t.connection.info(t.now)
    assert info.state == "CLOSED"
    assert info.timers == {}
    assert (info.segs_in, info.segs_out) == (2, 3)
