"""RST: when it is sent, when it is believed (RFC 9293 3.5.2-3, 3.10.7.1; RFC 5961)."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from tests.tcp.reach import close_wait, closed, closing, established, fin_wait_1, fin_wait_2, last_ack, time_wait
from tests.tcp.script import Script
from utcp.errors import ConnectionReset
from utcp.tcp.event import ENDED
from utcp.tcp.state import CLOSED, ESTABLISHED, LAST_ACK

Reach: TypeAlias = Callable[..., Script]

# Each synchronized state with a TCB, our SND.NXT and RCV.NXT in it.
SYNCHRONIZED = [
    pytest.param(established, 1, 1, id="ESTABLISHED"),
    pytest.param(fin_wait_1, 2, 1, id="FIN_WAIT_1"),
    pytest.param(fin_wait_2, 2, 1, id="FIN_WAIT_2"),
    pytest.param(close_wait, 1, 2, id="CLOSE_WAIT"),
    pytest.param(closing, 2, 2, id="CLOSING"),
    pytest.param(last_ack, 2, 2, id="LAST_ACK"),
]
in_every_synchronized_state = pytest.mark.parametrize(("reach", "nxt", "rcv"), SYNCHRONIZED)


# --- segments for no connection (RFC 9293 3.10.7.1)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("S 0:0", "R. 0:0 ack 1"),
        ("S 0:10", "R. 0:0 ack 11"),
        ("F 5:5", "R. 0:0 ack 6"),
        ("- 5:15", "R. 0:0 ack 15"),
        ("SF 5:5", "R. 0:0 ack 7"),
        (". 5:5 ack 7", "R 7:7"),
        ("S. 5:5 ack 7", "R 7:7"),
        ("F. 5:15 ack 7", "R 7:7"),
        ("P. 5:15 ack 0", "R 0:0"),
    ],
)
def test_segment_for_no_connection(line: str, answer: str) -> None:
    t = closed()
    t.receives(line)
    (reset,) = t.sends(answer)
    assert (reset.src_port, reset.dst_port) == (80, 50000)
    assert reset.payload == b""


@pytest.mark.parametrize("line", ["R 0:0", "R. 5:5 ack 7", "SR 0:0", "FR. 1:1 ack 1", "R 1:100"])
def test_rst_for_no_connection_is_not_answered(line: str) -> None:
    """Known defect 37."""
    t = closed()
    t.receives(line)
    t.silent()


def test_another_remote_is_another_connection() -> None:
    """The key holds the UDP address: what comes from elsewhere with the right ports and numbers is for nobody."""
    t = established()
    stranger = t.flow_to(80, 50000, remote="stranger")
    assert t.flow.our_iss is not None
    stranger.our_iss = t.flow.our_iss
    stranger.receives("R 1:1")
    stranger.silent()
    stranger.receives("P. 1:101 ack 1")
    stranger.sends("R 1:1")
    assert t.state == ESTABLISHED
    assert t.connection.readable == 0


# --- RST on a connection (RFC 5961 3)


@in_every_synchronized_state
@pytest.mark.rfc("5961", "3.2-2")
def test_rst_at_rcv_nxt_resets(reach: Reach, nxt: int, rcv: int) -> None:
    t = reach()
    t.receives(f"R {rcv}:{rcv}")
    t.silent()
    assert t.state == CLOSED
    assert t.ended
    assert not t.stack.connections
    assert t.stack.next_timeout() is None


@in_every_synchronized_state
@pytest.mark.rfc("5961", "3.2-3", "3.2-4")
def test_rst_elsewhere_in_the_window_gets_a_challenge_ack(reach: Reach, nxt: int, rcv: int) -> None:
    """Known defect 12."""
    t = reach()
    state = t.state
    t.receives(f"R {rcv + 1}:{rcv + 1}")
    t.sends(f". {nxt}:{nxt} ack {rcv}")
    t.advance(0.6)
    t.drain()
    t.receives(f"R {rcv + 60_000}:{rcv + 60_000}")
    t.sends(f". {nxt}:{nxt} ack {rcv}")
    assert t.state == state
    t.receives(f"R {rcv}:{rcv}")
    t.silent()
    assert t.state == CLOSED


@in_every_synchronized_state
@pytest.mark.rfc("5961", "3.2-1")
def test_rst_outside_the_window_is_dropped(reach: Reach, nxt: int, rcv: int) -> None:
    t = reach()
    state = t.state
    for seq in (rcv - 1, rcv - 100_000, rcv + (1 << 21), rcv + (1 << 30)):
        t.receives(f"R {seq}:{seq}")
        t.silent()
    assert t.state == state


@in_every_synchronized_state
@pytest.mark.parametrize("flags", ["SR", "FR", "PR", "SFR", "SR.", "UEWR"])
def test_further_flags_do_not_carry_a_rst_into_the_window(reach: Reach, nxt: int, rcv: int, flags: str) -> None:
    """RFC 5961 3: a blind attacker has no better guess with them."""
    t = reach()
    state = t.state
    seq = rcv - 100_000
    t.receives(f"{flags} {seq}:{seq}" + (f" ack {nxt}" if "." in flags else ""))
    t.drain()
    assert t.state == state


@in_every_synchronized_state
def test_rst_with_ack_counts_by_its_sequence_number(reach: Reach, nxt: int, rcv: int) -> None:
    t = reach()
    t.receives(f"R. {rcv}:{rcv} ack {nxt + 5000}")
    t.silent()
    assert t.state == CLOSED


@pytest.mark.rfc9293("MUST-12")
def test_reset_by_peer_is_told() -> None:
    """MUST-12: an abort is told from a close."""
    t = established()
    t.receives("R 1:1")
    assert isinstance(t.error, ConnectionReset)
    assert isinstance(t.error, ConnectionResetError)
    assert t.stack.counters.estab_resets == 1


@pytest.mark.rfc9293("SHLD-2")
def test_rst_may_carry_data() -> None:
    t = established()
    t.receives("R 1:20")
    t.silent()
    assert t.state == CLOSED


@pytest.mark.rfc9293("MUST-66")
def test_rst_with_a_closed_window() -> None:
    t = established(recv_buffer=2048)
    t.receives(". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2049 ack 1")
    t.sends(". 1:1 ack 2049 win 0")
    t.receives("R 2049:2049")
    assert t.state == CLOSED


def test_rst_behind_data_in_one_batch() -> None:
    """The data came first; nothing is answered to a peer that is gone."""
    t = established()
    t.receives("P. 1:101 ack 1", "R 101:101")
    t.silent()
    assert t.state == CLOSED
    assert t.read() == 100
    assert isinstance(t.error, ConnectionReset)


def test_after_a_reset_everything_gets_rst() -> None:
    t = established()
    t.receives("R 1:1")
    t.receives("P. 1:101 ack 1")
    t.sends("R 1:1")


# --- SYN on a connection (RFC 5961 4; known defect 9)


@in_every_synchronized_state
@pytest.mark.parametrize("offset", [0, 1, -1, 5000, -100_000, 1 << 21])
@pytest.mark.parametrize("flags", ["S", "S."])
@pytest.mark.rfc("5961", "4.2-2")
def test_syn_gets_a_challenge_ack(reach: Reach, nxt: int, rcv: int, offset: int, flags: str) -> None:
    t = reach(syn_in_last_ack="challenge")
    state = t.state
    seq = rcv + offset
    t.receives(f"{flags} {seq}:{seq}" + (f" ack {nxt}" if flags == "S." else ""))
    t.sends(f". {nxt}:{nxt} ack {rcv}")
    assert t.state == state
    assert t.stack.counters.challenge_acks == 1


def test_syn_ack_again_is_acknowledged_again() -> None:
    """The peer in SYN_RCVD has lost our ACK."""
    t = established()
    t.receives("S. 0:0 ack 1 <mss 1000>")
    t.sends(". 1:1 ack 1")


@pytest.mark.rfc("5961", "4.2-2")
def test_syn_with_data_delivers_nothing() -> None:
    t = established()
    t.receives("S. 0:100 ack 1")
    t.sends(". 1:1 ack 1")
    assert t.connection.readable == 0


def test_challenged_peer_that_is_new_resets() -> None:
    """It lost its state and comes back from the same port: its RST has SEQ = SEG.ACK of the challenge."""
    t = established()
    t.receives("S 5000:5000")
    t.sends(". 1:1 ack 1")
    t.receives("R 1:1")
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionReset)


# --- challenge ACKs are rationed (RFC 5961 7)


@pytest.mark.rfc("5961", "7-1")
def test_two_challenges_in_500_ms_get_one_ack() -> None:
    t = established()
    t.receives("S 5000:5000")
    t.sends(". 1:1 ack 1")
    t.advance(0.3)
    t.receives("S 5000:5000", "S 6000:6000")
    t.silent()
    t.advance(0.3)
    t.receives("S 5000:5000")
    t.sends(". 1:1 ack 1")


_PROVES_NOTHING = {"SYN": "S 5000:5000", "RST": "R 100:100", "ACK": ". -5:-5 ack 1"}


@pytest.mark.defect(56)
@pytest.mark.parametrize("reach", [established, lambda: time_wait(rfc1337=False)], ids=["ESTABLISHED", "TIME_WAIT"])
@pytest.mark.parametrize("flood", _PROVES_NOTHING)
@pytest.mark.parametrize("other", _PROVES_NOTHING)
def test_a_flood_of_one_kind_uses_up_no_answer_to_another(reach: Reach, flood: str, other: str) -> None:
    """Forged ACKs of nothing, 20 a second, kept the SYNs of a rebooted peer without an answer."""
    t = reach()
    answers = 0
    for _ in range(18):
        t.receives(_PROVES_NOTHING[flood])
        answers += len(t.drain())
        t.advance(0.05)
    assert answers == 2
    t.receives(_PROVES_NOTHING[other])
    assert len(t.drain()) == (flood != other)


def test_ration_is_per_connection() -> None:
    """A flood at one connection silences no other: RFC 5961's global limit was a side channel (CVE-2016-5696)."""
    t = Script()
    t.listen()
    flows = [t.flow_to(port, 80) for port in (50001, 50002)]
    for flow in flows:
        flow.receives("S 0:0")
        flow.sends("S. 0:0 ack 1")
        flow.receives(". 1:1 ack 1")
        flow.silent()
    for flow in flows:
        flow.receives("S 5000:5000")
        flow.sends(". 1:1 ack 1")


def test_ration_is_configured() -> None:
    t = established(challenge_ack_interval=2.0)
    t.receives("S 5000:5000")
    t.sends(". 1:1 ack 1")
    t.advance(1.9)
    t.receives("S 5000:5000")
    t.silent()
    t.advance(0.2)
    t.receives("S 5000:5000")
    t.sends(". 1:1 ack 1")


def test_two_stacks_that_disagree_do_not_answer_each_other_for_ever() -> None:
    """An unacceptable pure ACK is answered with a pure ACK, which the other may find unacceptable in turn."""
    t = established()
    t.receives(". -100:-100 ack 1")
    t.sends(". 1:1 ack 1")
    for _ in range(50):
        t.receives(". -100:-100 ack 1")
        t.silent()


# --- acceptable ACKs (RFC 9293 3.10.7.4, fifth check; RFC 5961 5)


@pytest.mark.rfc9293("MAY-12")
@pytest.mark.rfc("5961", "5.2-1", "5.2-2")
def test_ack_older_than_any_window_is_challenged_and_its_data_dropped() -> None:
    """MAY-12: blind data injection needs a guess of SEG.ACK as well."""
    t = established(window=1000)
    t.receives("P. 1:101 ack -100000 win 1000")
    t.sends(". 1:1 ack 1")
    assert t.connection.readable == 0


@pytest.mark.rfc9293("MAY-12")
@pytest.mark.rfc("5961", "5.2-1", "5.2-2")
def test_data_with_an_ack_of_unsent_data_is_dropped() -> None:
    t = established()
    t.receives("P. 1:101 ack 1000")
    t.sends(". 1:1 ack 1")
    assert t.connection.readable == 0
    assert t.info.snd_una == t.info.snd_nxt


@pytest.mark.rfc9293("MAY-12")
@pytest.mark.rfc("5961", "5.2-1", "5.2-3")
def test_old_ack_within_the_largest_scaled_window_is_no_attack() -> None:
    """MAX.SND.WND counts scaled; here it is 1 MiB, long after the peer has closed its window."""
    t = established(options="mss 1000,wscale 7", window=1 << 20)
    t.receives(". 1:1 ack 1 win 1048576", ". 1:1 ack 1 win 0")
    t.receives("P. 1:101 ack -1000000 win 0")
    assert t.connection.readable == 100
    t.receives("P. 101:201 ack -1048600 win 0")
    t.sends(". 1:1 ack 101")
    assert t.connection.readable == 100


def test_ack_of_queued_but_unsent_data() -> None:
    t = established(window=0)
    t.write(100)
    t.receives(". 1:1 ack 101 win 0")
    t.sends(". 1:1 ack 1")
    assert t.connection.send_queue == 100


# --- our own resets


def test_rst_in_the_window_of_a_peer_that_lost_our_ack() -> None:
    """RFC 9293 3.10.5: SEQ = SND.NXT, whatever is unacknowledged."""
    t = established()
    t.write(5000)
    t.drain()
    t.receives(". 1:1 ack 2001")
    t.abort()
    t.sends("R? 5001:5001")


def test_abort_drops_what_was_queued() -> None:
    t = established()
    t.write(100_000)
    t.abort()
    t.sends("R? 1:1")
    t.silent_for(600)
    assert t.error is None


def test_abort_twice_is_once() -> None:
    t = established()
    t.abort()
    t.abort()
    t.sends("R? 1:1")
    assert t.events & ENDED


def test_close_after_abort_is_nothing() -> None:
    t = established()
    t.abort()
    t.sends("R? 1:1")
    t.close()
    t.silent()
    assert t.error is None


def test_abort_in_last_ack_leaves_nothing() -> None:
    t = last_ack()
    assert t.state == LAST_ACK
    t.abort()
    t.drain()
    assert t.state == CLOSED
    assert not t.stack.connections
    assert t.stack.next_timeout() is None


def test_resets_are_counted() -> None:
    t = established()
    t.abort()
    t.sends("R? 1:1")
    t.receives("P. 1:101 ack 1")
    t.sends("R 1:1")
    assert t.stack.counters.out_rsts == 2
