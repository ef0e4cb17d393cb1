"""TIME_WAIT: it answers, restarts, expires, and gives way to a newer incarnation (RFC 9293 3.6.1, 3.10.7.4)."""

from typing import Any

import pytest

from tests.tcp.pair import Pair, lose
from tests.tcp.reach import closing, fin_wait_1, fin_wait_2, time_wait
from tests.tcp.script import MSS, Script
from utcp.tcp.connection import Connection
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_2, SYN_RCVD, TIME_WAIT
from utcp.wire import ACK, FIN
from utcp.wire.seq import add, diff, gt


def served(**knobs: Any) -> Script:
    """TIME_WAIT on a port where a listener waits for the next connection."""
    return time_wait(passive=True, **knobs)


# --- duration


@pytest.mark.rfc9293("MUST-13")
def test_lasts_2_msl() -> None:
    t = time_wait()
    t.silent_for(59.9)
    assert t.state == TIME_WAIT
    t.silent_for(0.2)
    assert t.state == CLOSED
    assert len(t.stack.time_wait) == 0
    assert t.stack.next_timeout() is None


def test_msl_is_configured() -> None:
    t = time_wait(msl=1.0)
    t.silent_for(1.9)
    assert t.state == TIME_WAIT
    t.silent_for(0.2)
    assert t.state == CLOSED


def test_it_is_a_record_and_no_connection() -> None:
    t = time_wait()
    assert not t.stack.connections
    assert list(t.stack.time_wait) == [t.flow.key]
    assert t.stack.counters.time_waits == 1


def test_no_timer_but_its_own_runs() -> None:
    """Known defect 34."""
    t = time_wait(keepalive=True, keepalive_idle=1.0, user_timeout=5.0)
    assert t.stack.next_timeout() == pytest.approx(t.now + 60)
    t.silent_for(59)
    assert t.state == TIME_WAIT


def test_msl_0_skips_it() -> None:
    t = fin_wait_2(msl=0.0)
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    assert t.state == CLOSED
    assert t.error is None
    assert t.stack.next_timeout() is None
    t.receives("F. 1:1 ack 2")  # had our ACK been lost, the peer would now see its close fail
    t.sends("R 2:2")


@pytest.mark.rfc9293("MUST-13")
def test_from_closing() -> None:
    t = closing()
    t.advance(0.1)
    t.receives(". 2:2 ack 2")
    t.silent_for(59.9)
    assert t.state == TIME_WAIT
    t.silent_for(0.2)
    assert t.state == CLOSED


# --- what arrives


@pytest.mark.rfc9293("MUST-13")
def test_last_ack_lost_fin_again_gets_the_ack_and_restarts_2_msl() -> None:
    t = time_wait()
    t.advance(30)
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    t.silent_for(59.9)
    assert t.state == TIME_WAIT
    t.silent_for(0.2)
    assert t.state == CLOSED


def test_every_retransmission_of_the_fin_is_answered() -> None:
    """However soon it comes: the peer's first ones are 0.2 and 0.4 s apart, and its close waits for this ACK."""
    t = time_wait()
    for _ in range(4):
        t.advance(0.2)
        t.receives("F. 1:1 ack 2")
        t.sends(". 2:2 ack 2")


def test_fin_with_data_again_restarts_2_msl() -> None:
    t = fin_wait_2(half=True)
    t.receives("F. 1:101 ack 2")
    t.sends(". 2:2 ack 102")
    t.advance(30)
    t.receives("F. 1:101 ack 2")
    t.sends(". 2:2 ack 102")
    t.advance(45)
    assert t.state == TIME_WAIT


def test_pure_ack_at_the_edge_is_silent() -> None:
    t = time_wait()
    t.receives(". 2:2 ack 2")
    t.silent()
    assert t.state == TIME_WAIT


@pytest.mark.parametrize(
    "line",
    [
        ". 1:1 ack 2",
        ". 3:3 ack 2",
        ". 1:1 ack 1",
        "P. 2:102 ack 2",
        "P. 1:101 ack 2",
        "P. 90000:90100 ack 2",
        "P. -500:-400 ack 2",
    ],
)
def test_anything_else_gets_an_ack_without_restart(line: str) -> None:
    t = time_wait()
    t.advance(30)
    t.receives(line)
    t.sends(". 2:2 ack 2")
    t.silent_for(29.9)
    assert t.state == TIME_WAIT
    t.silent_for(0.2)
    assert t.state == CLOSED


def test_out_of_window_segments_cannot_make_an_ack_storm() -> None:
    """RFC 5961 7; two stacks in disagreement would answer each other for ever."""
    t = time_wait()
    answers = 0
    for _ in range(50):
        t.receives("P. 90000:90100 ack 2")
        answers += len(t.drain())
    assert answers == 1
    t.advance(0.6)
    t.receives("P. 90000:90100 ack 2")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT


@pytest.mark.parametrize("line", ["R 2:2", "R. 2:2 ack 2", "R 500:500", "R 1:1"])
@pytest.mark.rfc("1337", "3-F1")
def test_rst_is_ignored(line: str) -> None:
    """RFC 1337: else an old duplicate could assassinate TIME_WAIT."""
    t = time_wait()
    t.receives(line)
    t.silent()
    assert t.state == TIME_WAIT


def test_rst_ends_it_without_rfc1337() -> None:
    """RFC 9293 3.10.7.4, second check."""
    t = time_wait(rfc1337=False)
    t.receives("R 2:2")
    t.silent()
    assert t.state == CLOSED
    assert t.stack.next_timeout() is None


def test_rst_outside_the_window_is_ignored_without_rfc1337_too() -> None:
    t = time_wait(rfc1337=False)
    t.receives("R 1:1")
    t.silent()
    assert t.state == TIME_WAIT


def test_fin_from_a_retransmission_in_the_other_order_of_closing() -> None:
    """FIN_WAIT_1, the FIN with the ACK of ours, and again."""
    t = fin_wait_1()
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")


@pytest.mark.rfc("7323", "3.2-3")
def test_answers_carry_timestamps() -> None:
    """RFC 7323 3.2; the peer would drop an ACK without. They go on from those of the connection."""
    t = time_wait(options="mss 1000,ts 500")
    t.advance(2)
    t.receives("F. 1:1 ack 2 <ts 5000>")
    (ack,) = t.sends(". 2:2 ack 2 <ts>")
    assert ack.ts_val is not None
    assert diff(ack.ts_val, t.flow.first_ts_val or 0) == 2000


def test_paws_applies() -> None:
    """RFC 7323 5.8: an old duplicate FIN gets an ACK, and does not restart 2 MSL."""
    t = time_wait(options="mss 1000,ts 500")
    t.advance(30)
    t.receives("F. 1:1 ack 2 <ts 400>")
    t.sends(". 2:2 ack 2")
    t.silent_for(30.1)
    assert t.state == CLOSED


# --- a newer incarnation (MAY-2, RFC 6191)


def renewed(t: Script, syn: str, peer_iss: int) -> int:
    """A SYN arrives and opens a new incarnation, whose ISN is above the old SND.NXT (2)."""
    assert t.flow.our_iss is not None
    old_snd_nxt = add(t.flow.our_iss, 2)
    t.receives(syn)
    t.flow.begin(add(t.flow.peer_iss, peer_iss))
    (syn_ack,) = t.sends("S. 0:0 ack 1")
    assert t.state == SYN_RCVD
    assert gt(syn_ack.seq, old_snd_nxt)
    assert len(t.stack.time_wait) == 0
    assert t.stack.counters.time_wait_reuses == 1
    return syn_ack.seq


@pytest.mark.rfc9293("MAY-2")
@pytest.mark.rfc("6191", "2-6")
def test_syn_with_a_newer_sequence_number_opens_a_new_connection() -> None:
    """Known defect 38."""
    t = served()
    renewed(t, f"S 100000:100000 <mss {MSS}>", 100_000)
    t.receives(". 1:1 ack 1")
    t.silent()
    t.accept()
    assert t.state == ESTABLISHED


def test_syn_just_beyond_the_old_connection_is_newer() -> None:
    t = served()
    renewed(t, "S 3:3", 3)


@pytest.mark.rfc9293("SHLD-4")
@pytest.mark.rfc("6191", "2-1")
def test_syn_with_a_newer_timestamp_opens_a_new_connection_whatever_its_sequence_number() -> None:
    t = served(options="mss 1000,ts 500")
    renewed(t, "S -100000:-100000 <mss 1000,ts 9000>", -100_000)


@pytest.mark.rfc9293("SHLD-4")
@pytest.mark.rfc("6191", "2-2")
def test_syn_with_an_equal_timestamp_needs_a_newer_sequence_number() -> None:
    """RFC 6191 2."""
    t = served(options="mss 1000,ts 500")
    last = t.peer_clock()
    t.receives(f"S -5:-5 <mss 1000,ts {last}>")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT
    t.advance(1)
    renewed(t, f"S 5000:5000 <mss 1000,ts {last}>", 5000)


@pytest.mark.rfc("6191", "2-3")
def test_syn_without_timestamps_after_a_connection_with_them_needs_a_newer_sequence_number() -> None:
    """RFC 6191 2."""
    t = served(options="mss 1000,ts 500")
    renewed(t, "S 5000:5000 <mss 1000>", 5000)


@pytest.mark.rfc("6191", "2-5")
def test_syn_with_timestamps_after_a_connection_without_them_is_newer() -> None:
    """RFC 6191 2: segments of the old incarnation will be known by having none."""
    t = served()
    renewed(t, "S -100000:-100000 <mss 1000,ts 5>", -100_000)


@pytest.mark.rfc9293("MAY-2")
def test_isn_is_above_the_old_snd_nxt_even_when_the_clock_has_not_caught_up() -> None:
    """Known defect 21: the old connection sent faster than the ISN clock ticks."""
    t = Script()
    t.listen()
    t.receives("S 0:0 <mss 1000>")
    t.sends("S. 0:0 ack 1")
    t.receives(". 1:1 ack 1")
    t.accept()
    sent = 1
    while sent < 2_000_000:
        sent += t.write(50_000)
        while t.connection.send_queue:
            t.drain()
            t.receives(f". 1:1 ack {t.flow.snd_nxt}")
    t.close()
    t.drain()
    t.receives(f"F. 1:1 ack {sent + 1}")
    t.drain()
    assert t.state == TIME_WAIT
    assert t.flow.our_iss is not None
    old_snd_nxt = add(t.flow.our_iss, sent + 1)
    t.receives("S 100000:100000")
    t.flow.begin(add(t.flow.peer_iss, 100_000))
    (syn_ack,) = t.sends("S. 0:0 ack 1")
    assert gt(syn_ack.seq, old_snd_nxt)


@pytest.mark.parametrize("seq", [1, 0, -1, -100_000])
def test_older_syn_gets_a_challenge_ack(seq: int) -> None:
    t = served()
    t.receives(f"S {seq}:{seq}")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT
    assert t.stack.counters.time_wait_reuses == 0


def test_syn_with_an_older_timestamp_stays_out() -> None:
    """RFC 6191 2: an old duplicate, however its sequence number looks."""
    t = served(options="mss 1000,ts 500")
    t.receives("S 100000:100000 <mss 1000,ts 300>")
    t.drain()
    assert t.state == TIME_WAIT
    assert t.stack.counters.time_wait_reuses == 0


def test_newer_syn_without_a_listener_gets_a_challenge_ack() -> None:
    t = time_wait()
    t.receives("S 100000:100000")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT


def test_newer_syn_with_a_full_backlog_stays_out() -> None:
    """Nothing is lost by waiting: the sender tries again."""
    t = served()
    t.listener.backlog = 0
    t.receives("S 100000:100000")
    t.drain()
    assert t.state == TIME_WAIT


def test_reuse_can_be_turned_off() -> None:
    t = served(time_wait_reuse=False)
    t.receives("S 100000:100000")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT


def test_syn_ack_gets_a_challenge_ack() -> None:
    t = served()
    t.receives("S. 100000:100000 ack 2")
    t.sends(". 2:2 ack 2")
    assert t.state == TIME_WAIT


def test_syn_does_not_restart_2_msl() -> None:
    t = served(time_wait_reuse=False)
    t.advance(30)
    t.receives("S 100000:100000")
    t.sends(". 2:2 ack 2")
    t.silent_for(30.1)
    assert t.state == CLOSED


@pytest.mark.rfc9293("MAY-2")
def test_new_incarnation_that_proves_an_old_duplicate_returns_to_time_wait() -> None:
    """MAY-2, second condition: the peer answers our SYN-ACK with RST."""
    t = served()
    renewed(t, "S 100000:100000", 100_000)
    t.receives("R 1:1")
    t.silent()
    assert not t.stack.connections
    assert t.state == TIME_WAIT
    t.advance(60.1)
    assert len(t.stack.time_wait) == 0
    assert t.stack.next_timeout() is None


# --- many


def test_records_expire_in_order_and_a_restart_goes_to_the_back() -> None:
    p = Pair(app=lambda ready: ready.close(p.now) if isinstance(ready, Connection) and ready.at_eof else None)
    keys = []
    for _ in range(3):
        near, _ = p.established()
        near.close(p.now)
        p.run_for(1)
        assert near.state == TIME_WAIT
        keys.append((near.remote, near.remote_port, near.local_port))
    assert list(p.client.time_wait) == keys
    p.run_for(57.5)
    assert list(p.client.time_wait) == keys[1:]
    p.run_for(1)
    assert list(p.client.time_wait) == keys[2:]
    p.run_for(1)
    assert list(p.client.time_wait) == []


def test_lost_last_ack_between_two_stacks() -> None:
    """The peer's FIN comes again, TIME_WAIT answers it, and the peer's close succeeds."""
    p = Pair(app=lambda ready: ready.close(p.now) if isinstance(ready, Connection) and ready.at_eof else None)
    near, far = p.established()
    acks = 0

    def lose_the_ack_of_the_fin(packet: object) -> tuple[float, ...]:
        nonlocal acks
        if near.state == TIME_WAIT and acks < 2:
            acks += 1
            return ()
        return (0.0,)

    p.rule = lose_the_ack_of_the_fin
    near.close(p.now)
    p.run(lambda: far.state == CLOSED)
    assert far.error is None
    assert acks == 2


def test_fin_wait_2_that_missed_the_peers_fin_does_not_time_out_into_time_wait() -> None:
    p = Pair(lose("server", FIN | ACK, times=50), server={"fin_retries": 1})
    near, far = p.established()
    near.close(p.now)
    p.run(lambda: far.at_eof)
    far.close(p.now)
    p.run(lambda: near.state == CLOSED)
    assert len(p.client.time_wait) == 0
    assert FIN_WAIT_2 in near.path


def test_reconnecting_from_the_same_port_without_waiting() -> None:
    """The server closed first and holds TIME_WAIT; the client comes again from the same port (known defect 38)."""

    def close_at_once(ready: object) -> None:
        if isinstance(ready, Connection) and ready.at_eof:
            ready.close(p.now)

    p = Pair(app=close_at_once)
    listener = p.server.listen(80, p.now)
    for _ in range(20):
        near = p.client.connect("server", 80, p.now, local_port=4444)
        p.run(lambda: bool(listener.queue))
        far = listener.accept()
        assert far is not None
        far.close(p.now)
        p.run(lambda near=near, far=far: near.state == CLOSED and far.state == TIME_WAIT)  # type: ignore[misc]  # loop variables, bound
    assert len(p.server.time_wait) == 1
    assert p.server.counters.time_wait_reuses == 19
    assert p.time < 2  # every open needed one SYN only
