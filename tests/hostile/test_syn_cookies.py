"""SYN cookies (RFC 4987 3.6): no state before the third segment, and an ordinary connection after it."""

from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.tcp.script import MSS, SECRET, START, Script
from utcp.tcp import event
from utcp.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, LISTEN, SYN_RCVD
from utcp.tcp.syn_cookies import LIFETIME, MSS_TABLE, SynCookies, read_stamp, stamp
from utcp.wire import RST, Segment
from utcp.wire.seq import diff

FULL = f"mss {MSS},sackOK,ts,wscale 7"
KEY = ("peer", 50000, 80)


def answered(*, options: str = FULL, backlog: int = 100, **knobs: Any) -> Script:
    """A SYN was answered with a cookie."""
    t = Script(**{"syn_cookies": "always", **knobs})
    t.listen(backlog=backlog)
    t.receives(f"S 0:0 <{options}>")
    t.sends("S. 0:0 ack 1")
    return t


@pytest.mark.rfc("4987", "3.6-1")
def test_nothing_is_kept_of_a_syn() -> None:
    t = answered()
    assert not t.stack.connections
    assert not t.listener.half_open
    assert t.stack.next_timeout() is None
    assert not t.stack.datagrams_to_send(t.now)
    assert t.stack.counters.syncookies_sent == 1
    assert t.stack.counters.passive_opens == 0


@pytest.mark.parametrize(("mss", "sack", "ts", "scale"), list(product((True, False), repeat=4)))
def test_syn_ack_is_that_of_a_listener_that_keeps_state(mss: bool, sack: bool, ts: bool, scale: bool) -> None:
    """But for the numbers that are the cookie; and without timestamps there is no place for scaling and SACK."""
    asked = [("mss 1000", mss), ("sackOK", sack), ("ts", ts), ("wscale 7", scale)]
    answers = []
    for mode in ("always", "never"):
        t = Script(syn_cookies=mode)
        t.listen()
        t.receives(
            "S 0:0" + f" <{','.join(option for option, wanted in asked if wanted)}>" * any((mss, sack, ts, scale))
        )
        (syn_ack,) = t.sends("S. 0:0 ack 1")
        answers.append(syn_ack)
    cookie, normal = answers
    assert cookie.seq != normal.seq
    cookie.seq = normal.seq
    if ts:
        assert 0 <= diff(normal.ts_val or 0, cookie.ts_val or 0) <= 64
        cookie.ts_val = normal.ts_val
    else:
        normal.window_scale = None
        normal.sack_permitted = False
    assert cookie == normal


@pytest.mark.parametrize("scale", [None, 0, 1, 7, 14, 15, 255])
@pytest.mark.parametrize("sack", [True, False])
def test_completing_ack_makes_the_connection_that_a_handshake_makes(scale: int | None, sack: bool) -> None:
    options = f"mss {MSS},ts" + (",sackOK" if sack else "") + ("" if scale is None else f",wscale {scale}")
    t = answered(options=options)
    t.flow.window = min(1 << 20, 65535 << min(scale or 0, 14)) >> 14 << 14
    t.receives(". 1:1 ack 1")
    t.silent()
    assert t.stack.take_ready() == []  # the script has taken the listener when it looked for output
    connection = t.accept()
    assert connection.passive
    assert t.events & event.CONNECTED
    assert t.path == (LISTEN, SYN_RCVD, ESTABLISHED)
    info = t.info
    assert info.timestamps
    assert info.sack is sack
    assert info.window_scaling is (scale is not None)
    assert info.snd_mss == 536 - 12  # the largest of the table that is not above 1000
    assert info.snd_wnd == t.flow.window
    assert info.rtt == 0
    assert t.stack.counters.syncookies_recv == t.stack.counters.passive_opens == 1
    t.write(10)
    t.sends("P. 1:11 ack 1 <ts>")
    t.receives(". 1:11 ack 11")
    assert t.read() == 10


@pytest.mark.parametrize(("ecn", "flags"), [("accept", "SE."), ("off", "S.")])
def test_congestion_marks_are_agreed_on(ecn: str, flags: str) -> None:
    """RFC 3168 6.1.1, through the timestamp."""
    for scale in ("", ",wscale 7"):
        t = Script(syn_cookies="always", ecn=ecn)
        t.listen()
        t.receives(f"SEW 0:0 <mss {MSS},sackOK,ts{scale}>")
        t.sends(f"{flags} 0:0 ack 1")
        t.receives(". 1:1 ack 1")
        assert t.accept().ecn.agreed is (ecn == "accept")
        t = Script(syn_cookies="always", ecn=ecn)
        t.listen()
        t.receives(f"SEW 0:0 <mss {MSS},sackOK{scale}>")
        t.sends("S. 0:0 ack 1")
        t.receives(". 1:1 ack 1")
        assert not t.accept().ecn.agreed


def test_listener_is_told() -> None:
    t = answered()
    t.flow.receives(". 1:1 ack 1")
    assert t.stack.take_ready() == [t.listener]


@pytest.mark.rfc("4987", "3.6-4")
def test_without_timestamps_there_is_neither_scaling_nor_sack() -> None:
    t = answered(options=f"mss {MSS},sackOK,wscale 7")
    t.receives(". 1:1 ack 1")
    t.accept()
    assert (t.info.timestamps, t.info.sack, t.info.window_scaling) == (False, False, False)
    assert t.state == ESTABLISHED


def test_options_that_are_not_offered_are_not_taken() -> None:
    t = answered(window_scaling=False, sack=False)
    t.receives(". 1:1 ack 1")
    t.accept()
    assert (t.info.timestamps, t.info.sack, t.info.window_scaling) == (True, False, False)


def test_text_and_fin_on_the_completing_ack_are_taken_at_once() -> None:
    t = answered()
    t.receives("FP. 1:101 ack 1")
    t.sends(". 1:1 ack 102")
    t.accept()
    assert t.read() == 100
    assert t.connection.at_eof
    assert t.state == CLOSE_WAIT


def test_completing_ack_that_comes_several_times_opens_one_connection() -> None:
    t = answered()
    t.receives(". 1:1 ack 1", ". 1:1 ack 1", "P. 1:101 ack 1", "P. 1:101 ack 1")
    t.drain()
    t.accept()
    assert t.read() == 100
    assert t.listener.accept() is None
    assert t.stack.counters.syncookies_recv == 1
    assert len(t.stack.connections) == 1


def test_repeated_syn_gets_the_same_number() -> None:
    t = answered()
    t.advance(1)
    t.receives(f"S 0:0 <{FULL}>")
    t.sends("S. 0:0 ack 1")
    t.receives(". 1:1 ack 1")
    assert t.accept().send_side.iss == t.flow.our_iss


@pytest.mark.rfc("4987", "3.6-6")
def test_text_can_complete_when_the_ack_was_lost() -> None:
    """What comes behind the first segment says too little, and is not reset: it will come again."""
    t = answered(delayed_ack=0)
    t.receives("P. 1001:1101 ack 1")
    t.silent()
    assert t.state == CLOSED
    t.receives("P. 1:1001 ack 1")
    t.sends(". 1:1 ack 1001")
    t.receives("P. 1001:1101 ack 1")
    t.sends(". 1:1 ack 1101")
    t.accept()
    assert t.read() == 1100


@pytest.mark.parametrize("bit", range(32))
@pytest.mark.rfc("4987", "3.6-2")
def test_no_bit_of_the_number_may_differ(bit: int) -> None:
    """RFC 9293 3.10.7.2: an ACK that acknowledges nothing gets RST. Where the mark is right it gets no answer: it may
    be of a connection whose first text is lost."""
    t = answered()
    assert t.flow.our_iss is not None
    wrong = diff((t.flow.our_iss ^ 1 << bit) + 1 & 0xFFFFFFFF, t.flow.our_iss)
    t.receives(f". 1:1 ack {wrong}")
    if bit < 24:
        t.silent()
    else:
        t.sends(f"R {wrong}:{wrong}")
    assert not t.stack.connections
    assert t.stack.counters.syncookies_failed == 1
    t.receives(". 1:1 ack 1")
    assert t.state == ESTABLISHED


@pytest.mark.parametrize("seq", [0, 2, 1000, -1, 1 << 30])
@pytest.mark.rfc("4987", "3.6-2")
def test_another_sequence_number_does_not_complete(seq: int) -> None:
    t = answered()
    t.receives(f". {seq}:{seq} ack 1")
    t.silent()
    assert not t.stack.connections
    t.receives(". 1:1 ack 1")
    assert t.state == ESTABLISHED


@pytest.mark.parametrize("key", [("other", 50000, 80), ("peer", 50001, 80), ("peer", 50000, 81)])
@pytest.mark.rfc("4987", "3.6-2")
def test_a_cookie_is_good_for_its_ports_and_remote_only(key: tuple[str, int, int]) -> None:
    t = answered()
    t.stack.listen(81, t.now)
    flow = t.flow_to(key[1], key[2], remote=key[0])
    flow.our_iss = t.flow.our_iss
    flow.receives(". 1:1 ack 1 <ts *:*>")
    flow.sends("R 1:1")
    assert not t.stack.connections


@pytest.mark.rfc("4987", "3.6-2")
def test_a_cookie_of_another_stack_opens_nothing() -> None:
    """The secret changes with every process, and with it what all its cookies are worth."""
    old = answered()
    t = answered(secret=b"another sixteen octets")
    t.flow.our_iss = old.flow.our_iss
    t.receives(". 1:1 ack 1")
    t.sends("R 1:1")


@pytest.mark.rfc("4987", "3.6-5")
def test_without_cookies_outstanding_an_ack_is_not_even_looked_at() -> None:
    t = Script()
    t.listen()
    t.receives(". 1:1 ack 1")
    t.sends("R 1:1")
    assert t.stack.counters.syncookies_failed == 0


@pytest.mark.parametrize("seconds", [0, 1, 63, 64])
@pytest.mark.rfc("4987", "3.6-3")
def test_a_cookie_is_good_for_a_minute(seconds: int) -> None:
    t = answered(start=1024.0)  # where a step of 64 seconds begins
    t.advance(seconds)
    t.receives(". 1:1 ack 1")
    t.silent()
    assert t.state == ESTABLISHED


@pytest.mark.parametrize(("start", "good"), [(1024.0, 127.999), (1087.0, 64.999)])
@pytest.mark.rfc("4987", "3.6-3")
def test_a_cookie_ends_with_the_step_after_its_own(start: float, good: float) -> None:
    t = answered(start=start)
    t.advance(good)
    t.receives(". 1:1 ack 1")
    assert t.state == ESTABLISHED
    t = answered(start=start)
    t.advance(good + 0.001)
    t.receives(". 1:1 ack 1")
    t.sends("R 1:1")
    assert t.state == CLOSED


def test_an_echo_that_is_none_of_ours_completes_nothing() -> None:
    """The options are read from it: one from the future or from long ago is not what we sent."""
    t = answered()
    for echo in (1000, -200_000, 1 << 31):
        t.receives(f". 1:1 ack 1 <ts *:{echo}>")
        t.silent()
        assert not t.stack.connections
    t.receives(". 1:1 ack 1")
    assert t.state == ESTABLISHED


@pytest.mark.defect(67)
def test_clients_whose_cookies_come_back_together_are_all_kept() -> None:
    """Nobody accepts while one batch is processed. A server that speaks first must still find every client."""
    t = Script(syn_cookies="always")
    t.listen(backlog=100)
    clients = [t.flow_to(50000 + number, 80) for number in range(300)]
    for client in clients:
        client.receives(f"S 0:0 <{FULL}>")
        client.sends("S. 0:0 ack 1")
    for client in clients:
        client.receives(". 1:1 ack 1")
    t.silent()
    assert [t.accept().remote_port for _ in clients] == [50000 + number for number in range(300)]
    assert t.stack.counters.listen_overflows == 0


@pytest.mark.defect(67)
def test_a_completing_ack_that_cannot_be_kept_is_reset() -> None:
    """Its sender would wait for ever. Text is dropped: its sender repeats it, and may find room."""
    t = answered(backlog=1, syn_backlog=1, delayed_ack=0)
    flows = [t.flow, t.flow_to(50001, 80), t.flow_to(50002, 80), t.flow_to(50003, 80)]
    for flow in flows[1:]:
        flow.receives(f"S 0:0 <{FULL}>")
        flow.sends("S. 0:0 ack 1")
    flows[0].receives(". 1:1 ack 1")
    flows[1].receives(". 1:1 ack 1")
    t.silent()
    flows[2].receives(". 1:1 ack 1")
    flows[2].sends("R 1:1")
    flows[3].receives("P. 1:101 ack 1")
    t.silent()
    assert t.stack.counters.listen_overflows == t.stack.counters.listen_drops == 2
    t.accept()
    flows[3].receives("P. 1:101 ack 1")
    flows[3].sends(". 1:1 ack 101")
    t.accept()
    assert len(t.accept().read()) == 100


def test_while_nothing_can_be_accepted_a_syn_gets_no_cookie() -> None:
    t = answered(backlog=1)
    t.receives(". 1:1 ack 1")
    other = t.flow_to(50001, 80)
    other.receives(f"S 0:0 <{FULL}>")
    t.silent()
    assert t.stack.counters.listen_overflows == t.stack.counters.listen_drops == 1


@pytest.mark.rfc("4987", "3.7-1")
def test_overflow_of_the_backlog_brings_cookies_and_its_end_ends_them() -> None:
    t = Script(syn_backlog=2, syn_ack_retries=0)
    t.listen()
    flows = [t.flow_to(50000 + number, 80) for number in range(4)]
    for flow in flows[:3]:
        flow.receives(f"S 0:0 <{FULL}>")
        flow.sends("S. 0:0 ack 1")
    assert len(t.listener.half_open) == len(t.stack.connections) == 2
    assert t.stack.counters.tcp_req_q_full_do_cookies == t.stack.counters.syncookies_sent == 1
    flows[2].receives(". 1:1 ack 1")
    assert len(t.listener.queue) == 1
    flows[0].receives(". 1:1 ack 1")
    flows[3].receives(f"S 0:0 <{FULL}>")
    flows[3].sends("S. 0:0 ack 1")
    assert len(t.listener.half_open) == 2
    assert t.stack.counters.syncookies_sent == 1
    t.advance(10)
    t.drain()
    assert not t.listener.half_open
    assert len(t.listener.queue) == 2


@pytest.mark.rfc("4987", "3.7-1")
def test_cookies_can_be_forbidden() -> None:
    t = Script(syn_backlog=1, syn_cookies="never")
    t.listen()
    t.receives(f"S 0:0 <{FULL}>")
    t.sends("S. 0:0 ack 1")
    t.flow_to(50001, 80).receives(f"S 0:0 <{FULL}>")
    t.silent()
    assert t.stack.counters.listen_drops == 1
    assert t.stack.counters.listen_overflows == 0


def test_timestamps_of_the_connection_never_go_back_behind_the_cookies() -> None:
    for millisecond in range(130):
        t = answered(start=START + millisecond / 1000, delayed_ack=0)
        cookie = t.flow.last_ts_val
        t.receives("P. 1:101 ack 1")
        (ack,) = t.sends(". 1:1 ack 101")
        assert 0 <= diff(ack.ts_val or 0, cookie) <= 64


@given(st.integers(0, 2**32 - 1), st.none() | st.integers(0, 14), st.booleans(), st.booleans())
@example(0, 14, True, True)
@example(2**32 - 1, None, True, True)
@pytest.mark.rfc("4987", "3.6-4")
def test_stamp_keeps_what_it_was_told(ts_now: int, scale: int | None, sack: bool, ecn: bool) -> None:
    value = stamp(ts_now, scale, sack, ecn)
    assert read_stamp(value) == (scale, sack, ecn)
    assert 0 <= diff(ts_now, value) <= 64


@given(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.floats(0, 1e9))
@example(0, 0, 0.0)
@example(65535, 2**32 - 1, 63.9)
@pytest.mark.rfc("4987", "3.6-4")
def test_mss_is_the_largest_of_the_table_that_the_peer_takes(mss: int, irs: int, now: float) -> None:
    cookies = SynCookies(SECRET)
    kept = cookies.mss_of(KEY, irs, cookies.make(KEY, irs, mss, now), now)
    assert kept == max((size for size in MSS_TABLE if size <= mss), default=MSS_TABLE[0])


def test_sixteen_numbers_of_all_open_a_connection() -> None:
    """A blind ACK succeeds with probability 16 / 2^32 = 2^-28: for each of 8 MSS numbers, in each of 2 steps of time,
    one number fits, whose other 29 bits follow from key, time and the peer's number."""
    cookies = SynCookies(SECRET)
    now = START
    good = {cookies.make(KEY, 7, mss, moment) for mss in MSS_TABLE for moment in (now - 64, now)}
    assert len(good) == 16
    assert all(cookies.mss_of(KEY, 7, iss, now) for iss in good)
    near = {iss ^ 1 << bit for iss in good for bit in range(3, 32)}
    random = Random(7)
    sample = {random.getrandbits(32) for _ in range(20_000)} | near
    assert not [iss for iss in sample - good if cookies.mss_of(KEY, 7, iss, now)]


def test_numbers_tell_an_outsider_nothing() -> None:
    """Of 4,096 neighbours' cookies each bit is set in about half: 6 standard deviations are 192."""
    cookies = SynCookies(SECRET)
    made = [cookies.make(("peer", port, 80), 7, 1452, START) for port in range(10_000, 14_096)]
    for bit in range(3, 32):
        assert abs(sum(iss >> bit & 1 for iss in made) - 2048) < 192
    assert len({iss >> 3 for iss in made}) == 4096


@pytest.mark.rfc("4987", "3.6-5")
def test_cookies_are_not_outstanding_for_longer_than_they_are_good() -> None:
    cookies = SynCookies(SECRET)
    assert not cookies.outstanding(0.0)
    cookies.make(KEY, 7, 1452, START)
    assert cookies.outstanding(START + LIFETIME)
    assert not cookies.outstanding(START + LIFETIME + 1)


def test_a_syn_with_an_ack_is_no_completing_ack() -> None:
    t = answered()
    t.receives("S. 1:1 ack 1 <ts *:*>")
    t.sends("R 1:1")
    assert not t.stack.connections


def test_a_reset_is_not_answered() -> None:
    t = answered()
    t.receives("R 1:1", "R. 1:1 ack 1")
    t.silent()


def test_a_closed_listener_completes_nothing() -> None:
    t = answered()
    t.listener.close(t.now)
    t.receives(". 1:1 ack 1")
    (reset,) = t.sends("R 1:1")
    assert isinstance(reset, Segment)
    assert reset.flags == RST
