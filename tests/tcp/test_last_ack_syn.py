"""A SYN that meets LAST_ACK: RST by default, so that its sender fails at once; the connection itself is untouched."""

import pytest

from tests.tcp.pair import Pair
from tests.tcp.reach import last_ack
from tests.tcp.script import MSS
from utcp.errors import ConnectionRefused, ConnectionReset, FinTimedOut
from utcp.tcp.connection import Connection
from utcp.tcp.event import ENDED
from utcp.tcp.state import CLOSED, ESTABLISHED, LAST_ACK, SYN_RCVD, SYN_SENT
from utcp.wire.seq import add

# --- reset (default): <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>


@pytest.mark.parametrize("seq", [5000, 1, 2, 3, 0, -1, -100_000, 70_000, 1 << 30])
def test_syn_gets_rst_whatever_its_sequence_number(seq: int) -> None:
    t = last_ack()
    t.receives(f"S {seq}:{seq} <mss 1460>")
    t.sends(f"R. #0:#0 ack {seq + 1}")
    assert t.state == LAST_ACK
    assert not t.ended


def test_data_in_the_syn_counts_in_the_rst() -> None:
    t = last_ack()
    t.receives("S 5000:5100")
    t.sends("R. #0:#0 ack 5101")


@pytest.mark.rfc("5961", "4.2-2")
def test_state_is_kept_and_the_fin_goes_on_being_retransmitted() -> None:
    """A spoofed SYN kills nothing, and delays nothing."""
    t = last_ack()
    t.advance(0.1)
    t.receives("S 5000:5000")
    t.sends("R. #0:#0 ack 5001")
    t.sends_at(0.2, "F. 1:1 ack 2")
    t.receives("S 5000:5000")
    t.sends("R. #0:#0 ack 5001")
    t.sends_at(0.6, "F. 1:1 ack 2")
    t.receives(". 2:2 ack 2")
    t.silent()
    assert t.state == CLOSED
    assert t.error is None


def test_syns_do_not_lengthen_the_fin_limit() -> None:
    t = last_ack(fin_retries=2)
    for _ in range(12):
        t.advance(0.1)
        t.drain()
        t.receives("S 5000:5000")
        t.sends("R. #0:#0 ack 5001")
    t.advance(0.3)
    assert isinstance(t.error, FinTimedOut)


def test_listener_on_the_port_changes_nothing() -> None:
    t = last_ack(passive=True)
    t.receives("S 5000:5000")
    t.sends("R. #0:#0 ack 5001")
    assert t.state == LAST_ACK
    assert t.listener.accept() is None


def test_syn_ack_gets_a_challenge_ack() -> None:
    """Only the bare SYN of a new connection is answered with RST."""
    t = last_ack()
    t.receives("S. 5000:5000 ack 2")
    t.sends(". 2:2 ack 2")
    assert t.state == LAST_ACK


def test_retransmitted_fin_reaches_the_new_syn_sent_peer() -> None:
    """Its RST has SEQ = SEG.ACK of our FIN, an exact match: LAST_ACK is gone."""
    t = last_ack()
    t.sends_at(0.2, "F. 1:1 ack 2")
    t.receives("R 2:2")
    t.silent()
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionReset)


def test_syn_in_last_ack_with_data_outstanding() -> None:
    t = last_ack()
    t.receives("S 5000:5000")
    t.sends("R. #0:#0 ack 5001")
    t.receives(". 2:2 ack 1")
    t.silent()
    t.sends_at(0.2, "F. 1:1 ack 2")


# --- challenge (RFC 5961 4)


def test_challenge_ack() -> None:
    t = last_ack(syn_in_last_ack="challenge")
    t.receives("S 5000:5000")
    t.sends(". 2:2 ack 2")
    assert t.state == LAST_ACK
    assert t.stack.counters.challenge_acks == 1
    t.sends_at(0.2, "F. 1:1 ack 2")


def test_challenged_peer_resets_and_its_next_syn_connects() -> None:
    """The peer in SYN_SENT finds the challenge's ACK unacceptable: R with SEQ = SEG.ACK, exact."""
    t = last_ack(passive=True, syn_in_last_ack="challenge")
    t.receives(f"S 5000:5000 <mss {MSS}>")
    t.sends(". 2:2 ack 2")
    t.receives("R 2:2")
    t.silent()
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionReset)
    t.advance(1.0)
    t.receives(f"S 5000:5000 <mss {MSS}>")
    t.flow.begin(add(t.flow.peer_iss, 5000))
    t.sends("S. 0:0 ack 1")
    assert t.state == SYN_RCVD


def test_challenge_that_the_new_peer_finds_acceptable_leaves_the_fin_limit() -> None:
    """The peer's ISN is our RCV.NXT - 1, so its SND.NXT is what we acknowledge, and no RST comes."""
    t = last_ack(syn_in_last_ack="challenge")
    t.receives("S 1:1")
    t.sends(". 2:2 ack 2")
    for time in (0.2, 0.6, 1.4, 3.0, 6.2, 12.6, 25.4, 51.0):
        t.sends_at(time, "F. 1:1 ack 2")
    t.sends_at(102.2, "R? 2:2")
    assert isinstance(t.error, FinTimedOut)


def test_challenges_are_rate_limited() -> None:
    t = last_ack(syn_in_last_ack="challenge")
    t.receives("S 5000:5000")
    t.sends(". 2:2 ack 2")
    t.receives("S 5000:5000")
    t.silent()


# --- between two stacks: the client forgot everything, and comes back from the same port


def server_in_last_ack(p: Pair) -> tuple[Connection, int]:
    """The client closed first, lost power, and its port now meets the server's LAST_ACK."""
    near, far = p.established()
    port = near.local_port
    near.close(p.now)
    p.run_for(0.2)
    p.reboot("client")
    far.close(p.now)
    assert far.state == LAST_ACK
    return far, port


def test_reconnect_is_refused_within_a_round_trip() -> None:
    p = Pair(delay=0.05)
    far, port = server_in_last_ack(p)
    p.rule = lambda packet: () if packet.sender == "server" and packet.segment.flags & 1 else (0.0,)
    began = p.time
    near = p.client.connect("server", 80, p.now, local_port=port)
    p.run(lambda: bool(near.take_events() & ENDED))
    assert isinstance(near.error, ConnectionRefused)
    assert p.time - began == pytest.approx(0.1, abs=1e-3)
    assert far.state == LAST_ACK


def test_reconnect_succeeds_once_last_ack_is_gone() -> None:
    """The FIN, retransmitted to the stack that knows nothing of it, gets the RST that ends LAST_ACK."""
    p = Pair(delay=0.05)
    far, port = server_in_last_ack(p)
    p.run(lambda: far.state == CLOSED)
    near = p.client.connect("server", 80, p.now, local_port=port)
    p.run(lambda: near.state == ESTABLISHED)


def test_reconnect_in_challenge_mode_succeeds_with_the_second_syn() -> None:
    p = Pair(delay=0.05, syn_in_last_ack="challenge")
    far, port = server_in_last_ack(p)
    near = p.client.connect("server", 80, p.now, local_port=port)
    began = p.time
    p.run(lambda: far.state == CLOSED)
    assert near.state == SYN_SENT
    assert isinstance(far.error, ConnectionReset)
    p.run(lambda: near.state == ESTABLISHED)
    assert p.time - began < 0.21  # behind the RST, not after a second (defect 55)
