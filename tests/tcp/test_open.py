"""Opening: RFC 9293 3.5, 3.10.1, 3.10.7.2-3, and the options negotiated there."""

import pytest

from tests.tcp.pair import Pair, both, lose
from tests.tcp.reach import established, simultaneous_open, syn_rcvd, syn_sent
from tests.tcp.script import MSS, Script
from utcp.errors import AddressInUse, ConnectionRefused, ConnectionReset, InvalidState, PathUnreachable, SynTimedOut
from utcp.tcp.event import CONNECTED, ENDED, TROUBLE
from utcp.tcp.state import (
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LISTEN,
    SYN_RCVD,
    SYN_SENT,
)
from utcp.wire import SYN, encode
from utcp.wire.seq import add

# --- active


def test_active_open() -> None:
    t = Script()
    t.connect()
    t.sends("S 0:0")
    assert t.state == SYN_SENT
    t.receives("S. 0:0 ack 1")
    t.sends(". 1:1 ack 1")
    assert t.state == ESTABLISHED
    assert t.events == CONNECTED
    t.silent_for(3600)
    assert t.stack.next_timeout() is None  # known defect 40: an idle connection costs nothing


def test_handshake_counts_as_one_active_open() -> None:
    t = established()
    assert t.stack.counters.active_opens == 1
    assert t.stack.counters.passive_opens == 0


def test_data_written_in_the_same_batch_rides_on_the_ack_of_the_syn() -> None:
    t = syn_sent()
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.write(100)
    t.sends("P. 1:101 ack 1")


def test_data_written_in_syn_sent_waits_for_the_handshake() -> None:
    """RFC 9293 3.10.2, SYN-SENT: queue the data for transmission after entering ESTABLISHED."""
    t = syn_sent()
    assert t.write(100) == 100
    t.silent()
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.sends("P. 1:101 ack 1")


@pytest.mark.rfc9293("MUST-22")
@pytest.mark.rfc("6298", "5.5", "5.6")
def test_syn_is_retransmitted_with_doubling_timeout_then_syn_timed_out() -> None:
    """RFC 6298 2.1, 5.5; MUST-23: a SYN is tried for 3 minutes at least."""
    t = syn_sent()
    for time in (1, 3, 7, 15, 31, 63, 123):
        t.sends_at(time, "S 0:0")
    t.advance(182.9 - t.time)
    t.silent()
    assert t.state == SYN_SENT
    t.silent_for(0.2)
    assert t.state == CLOSED
    assert isinstance(t.error, SynTimedOut)
    assert t.stack.next_timeout() is None
    assert t.stack.counters.attempt_fails == 1


def test_syn_retries_bounds_the_open() -> None:
    t = syn_sent(syn_retries=2)
    t.sends_at(1, "S 0:0")
    t.sends_at(3, "S 0:0")
    t.silent_for(4.1)
    assert isinstance(t.error, SynTimedOut)


@pytest.mark.rfc9293("MUST-22", "SHLD-9")
def test_user_hears_of_an_open_in_trouble() -> None:
    """R1 of RFC 9293 3.8.3: the third retransmission."""
    t = syn_sent()
    t.advance(6.9)
    t.drain()
    assert not t.events & TROUBLE
    t.sends_at(7, "S 0:0")
    assert t.events == TROUBLE


def test_retransmitted_syn_is_the_same_syn() -> None:
    t = Script()
    t.connect()
    (first,) = t.sends("S 0:0")
    (again,) = t.sends_at(1, "S 0:0")
    first.ts_val = again.ts_val
    assert again == first


def test_syn_ack_after_a_retransmission_completes_the_open() -> None:
    t = syn_sent()
    t.sends_at(1, "S 0:0")
    t.receives("S. 0:0 ack 1")
    t.sends(". 1:1 ack 1")
    t.silent_for(600)


def test_rst_with_acceptable_ack_refuses() -> None:
    """RFC 9293 3.10.7.3, second check."""
    t = syn_sent()
    t.receives("R. 0:0 ack 1")
    t.silent()
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionRefused)
    assert t.stack.next_timeout() is None


@pytest.mark.parametrize("line", ["R 0:0", "R 1:1", "R. 0:0 ack 0", "R. 0:0 ack 2", "R. 0:0 ack -7"])
def test_rst_without_acceptable_ack_is_ignored(line: str) -> None:
    t = syn_sent()
    t.receives(line)
    t.silent()
    assert t.state == SYN_SENT
    t.sends_at(1, "S 0:0")


@pytest.mark.parametrize("flags", [".", "S.", "F.", "P."])
@pytest.mark.parametrize("ack", [0, 2, 7, -1])
def test_unacceptable_ack_in_syn_sent_gets_rst(flags: str, ack: int) -> None:
    """RFC 9293 3.10.7.3, first check: SEG.ACK =< ISS or > SND.NXT."""
    t = syn_sent()
    t.receives(f"{flags} 0:0 ack {ack}")
    t.sends(f"R {ack}:{ack}", "S 0:0")
    assert t.state == SYN_SENT
    t.sends_at(1, "S 0:0")


@pytest.mark.parametrize("flags", ["S.", "."])
@pytest.mark.parametrize("ack", [0, 1])
def test_nothing_is_acceptable_before_the_syn_has_left(flags: str, ack: int) -> None:
    """Found by forged segments: in the turn in which a connection is opened, an ACK of the ISS passed for one of the
    SYN, and the stack raised."""
    t = Script()
    t.connect()
    segment = t.flow.segment(f"{flags} 0:0")
    segment.ack = add(t.connection.send_side.iss, ack)
    t.stack.receive_datagram(encode(segment), "peer", t.now)
    assert t.state == SYN_SENT
    t.sends(f"R {ack}:{ack}", "S 0:0")
    t.receives("S. 0:0 ack 1")
    t.sends(". 1:1 ack 1")


@pytest.mark.defect(55)
def test_acks_that_our_rst_refuses_make_one_syn_for_each_of_the_timers() -> None:
    """A forger sends hundreds of them: the SYN goes again once behind a RST, and then not before the timer sent it. The
    one behind a RST restarts the timer."""
    t = syn_sent(syn_retries=2)
    sent = []
    for _ in range(400):
        t.receives(". 77:77 ack 500")
        sent += [t.time for segment in t.drain() if segment.flags & SYN]
        t.advance(1 / 64)
        sent += [t.time for segment in t.drain() if segment.flags & SYN]
    assert sent == [0, 1, 1, 3, 3]
    t.advance(8)
    assert isinstance(t.error, SynTimedOut)
    assert t.stack.counters.retrans_segs == 2


@pytest.mark.defect(55)
def test_a_syn_that_follows_a_rst_was_not_lost() -> None:
    """It asks for ECN again, the congestion window begins as ever, and so does the timer."""
    t = Script(ecn="request")
    t.connect()
    t.sends("SEW 0:0")
    t.advance(0.1)
    t.receives(". 77:77 ack 500")
    t.sends("R 500:500", "SEW 0:0")
    t.silent_for(0.9)
    t.sends_after(0.1, "S 0:0")


@pytest.mark.defect(55)
def test_a_connection_after_a_repeated_syn_begins_as_any_other() -> None:
    t = Script(ecn="request")
    t.connect()
    t.sends("SEW 0:0")
    t.receives(". 77:77 ack 500")
    t.sends("R 500:500", "SEW 0:0")
    t.advance(0.1)
    t.receives(f"SE. 0:0 ack 1 <mss {MSS}>")
    t.sends(". 1:1 ack 1")
    assert t.info.ecn
    assert t.info.snd_cwnd == 10 * MSS
    assert t.info.rto == 1.0
    assert t.info.total_retrans == 0


@pytest.mark.defect(55)
def test_no_syn_follows_a_rst_that_was_withheld() -> None:
    t = syn_sent(reset_rate=0.1)
    t.receives(". 77:77 ack 500")
    t.sends("R 500:500", "S 0:0")
    t.sends_at(1, "S 0:0")
    t.receives(". 77:77 ack 500")
    t.silent()
    t.sends_at(3, "S 0:0")


@pytest.mark.defect(55)
@pytest.mark.parametrize("timestamps", [True, False])
def test_ports_of_a_connection_that_the_peer_still_has_are_usable_at_once(timestamps: bool) -> None:
    """The peer's connection is half open: we have rebooted, or given up without a word."""
    p = Pair(delay=0.05, timestamps=timestamps)
    near, old = p.established()
    p.reboot("client")
    again = p.connect(local_port=near.local_port)
    began = p.time
    p.run(lambda: again.state == ESTABLISHED)
    assert p.time - began == pytest.approx(0.2, abs=1e-3)
    assert isinstance(old.error, ConnectionReset)


@pytest.mark.parametrize("line", ["F 0:0", "F. 0:0 ack 1", ". 0:0 ack 1", "P. 0:10 ack 1", "- 0:0"])
def test_anything_without_syn_is_ignored_in_syn_sent(line: str) -> None:
    """RFC 9293 3.10.7.3, fifth: neither SYN nor RST; and "do not process the FIN" (3.10.7.4)."""
    t = syn_sent()
    t.receives(line)
    t.silent()
    assert t.state == SYN_SENT


def test_close_in_syn_sent_is_silent_and_a_late_syn_ack_gets_rst() -> None:
    """RFC 9293 3.10.4, SYN-SENT: delete the TCB."""
    t = syn_sent()
    t.close()
    t.silent()
    assert t.state == CLOSED
    assert t.error is None
    assert not t.stack.connections
    t.receives("S. 0:0 ack 1")
    t.sends("R 1:1")
    t.silent_for(600)


def test_abort_in_syn_sent_is_silent() -> None:
    """RFC 9293 3.10.5, SYN-SENT."""
    t = syn_sent()
    t.abort()
    t.silent()
    assert t.state == CLOSED
    assert t.error is None


def test_path_failure_ends_an_open() -> None:
    t = syn_sent()
    t.stack.path_failed("peer", [(t.flow.local_port, t.flow.remote_port)], 101, t.now)
    t.silent()
    assert t.state == CLOSED
    assert isinstance(t.error, PathUnreachable)
    assert t.error.errno == 101


def test_path_failure_is_a_soft_error_for_an_established_connection() -> None:
    """As ICMP's soft errors will have to be (RFC 9293 3.9.2.2, MUST-56)."""
    t = established()
    t.stack.path_failed("peer", [(t.flow.local_port, t.flow.remote_port)], 101, t.now)
    assert t.state == ESTABLISHED
    assert not t.ended


# --- passive


def test_passive_open() -> None:
    t = Script()
    t.listen()
    t.receives("S 0:0")
    t.sends("S. 0:0 ack 1")
    assert t.state == SYN_RCVD
    assert t.listener.accept() is None
    t.receives(". 1:1 ack 1")
    t.silent()
    assert t.state == ESTABLISHED
    connection = t.accept()
    assert (connection.remote, connection.remote_port, connection.local_port) == ("peer", 50000, 80)
    assert t.path == (LISTEN, SYN_RCVD, ESTABLISHED)
    assert t.stack.counters.passive_opens == 1
    t.silent_for(3600)


def test_the_acks_data_is_there_when_the_connection_is_accepted() -> None:
    t = syn_rcvd()
    t.receives("P. 1:101 ack 1")
    t.accept()
    assert t.read() == 100


def test_syn_ack_acknowledged_by_a_later_segment_when_the_ack_was_lost() -> None:
    t = syn_rcvd()
    t.receives(". 101:201 ack 1")
    t.sends(". 1:1 ack 1")
    assert t.state == ESTABLISHED


def test_fin_with_the_handshakes_ack() -> None:
    t = syn_rcvd()
    t.receives("F. 1:1 ack 1")
    t.sends(". 1:1 ack 2")
    t.accept()
    assert t.connection.at_eof


def test_syn_ack_is_retransmitted_then_the_half_open_connection_is_dropped() -> None:
    t = syn_rcvd()
    for time in (1, 3, 7, 15, 31):
        t.sends_at(time, "S. 0:0 ack 1")
    t.advance(33)
    t.drain()  # a parting RST is allowed
    assert t.state == CLOSED
    assert not t.stack.connections
    assert t.listener.accept() is None
    assert t.stack.next_timeout() is None
    t.receives(". 1:1 ack 1")
    t.sends("R 1:1")


def test_retransmitted_syn_gets_the_syn_ack_again() -> None:
    """One half-open connection, whatever timestamp the second SYN has (known defect 42)."""
    t = syn_rcvd(options=f"mss {MSS},ts 100")
    t.advance(0.9)
    t.receives(f"S 0:0 <mss {MSS},ts 1000>")
    t.drain()
    t.advance(0.2)
    assert t.state == SYN_RCVD
    assert len(t.stack.connections) == 1
    t.drain()
    t.receives(". 1:1 ack 1")
    t.silent()
    t.accept()
    assert t.listener.accept() is None


def test_syn_in_syn_rcvd_is_answered_at_once() -> None:
    """The peer that repeats its SYN has lost our SYN-ACK."""
    t = syn_rcvd()
    t.advance(0.6)
    t.receives(f"S 0:0 <mss {MSS}>")
    assert any(segment.flags & SYN and segment.seq == t.flow.our_iss for segment in t.drain())


@pytest.mark.rfc9293("MUST-11")
def test_rst_in_syn_rcvd_returns_to_listen_and_tells_nobody() -> None:
    """RFC 9293 3.10.7.4, second check, passive OPEN."""
    t = syn_rcvd()
    t.receives("R 1:1")
    t.silent()
    assert t.state == CLOSED
    assert not t.stack.connections
    assert t.listener.accept() is None
    assert t.listener not in t.stack.take_ready()
    t.flow.begin(777)
    t.receives("S 0:0")
    t.sends("S. 0:0 ack 1")


@pytest.mark.parametrize("line", ["R 0:0", "R -1:-1", "R 70000:70000"])
def test_rst_outside_the_window_leaves_syn_rcvd(line: str) -> None:
    t = syn_rcvd()
    t.receives(line)
    t.silent()
    assert t.state == SYN_RCVD
    t.receives(". 1:1 ack 1")
    assert t.state == ESTABLISHED


@pytest.mark.parametrize("ack", [0, 2, 1000])
def test_unacceptable_ack_in_syn_rcvd_gets_rst(ack: int) -> None:
    """RFC 9293 3.10.7.4, fifth check, SYN-RECEIVED."""
    t = syn_rcvd()
    t.receives(f". 1:1 ack {ack}")
    t.sends(f"R {ack}:{ack}")
    assert t.state == SYN_RCVD
    t.sends_at(1, "S. 0:0 ack 1")


# --- the listener


def test_accept_hands_out_in_order_of_establishment() -> None:
    t = Script()
    t.listen()
    flows = [t.flow_to(port, 80) for port in (50001, 50002, 50003)]
    for flow in flows:
        flow.receives("S 0:0")
        flow.sends("S. 0:0 ack 1")
    for flow in reversed(flows):
        flow.receives(". 1:1 ack 1")
        flow.silent()
    assert [t.accept().remote_port for _ in flows] == [50003, 50002, 50001]


def test_listener_is_ready_once_when_there_is_something_to_accept() -> None:
    t = syn_rcvd()
    assert t.stack.take_ready() == []
    t.receives(". 1:1 ack 1", "P. 1:101 ack 1")
    assert t.stack.take_ready().count(t.listener) == 1
    assert t.listener not in t.stack.take_ready()


def test_full_backlog_leaves_syns_unanswered_until_somebody_accepts() -> None:
    """The sender tries again; nobody is accepted and then reset."""
    t = Script()
    t.listen(backlog=2)
    for port in (50001, 50002):
        flow = t.flow_to(port, 80)
        flow.receives("S 0:0")
        flow.sends("S. 0:0 ack 1")
        flow.receives(". 1:1 ack 1")
        flow.silent()
    late = t.flow_to(50003, 80)
    late.receives("S 0:0")
    late.silent()
    assert t.stack.counters.listen_drops == 1
    t.accept()
    late.receives("S 0:0")
    late.sends("S. 0:0 ack 1")


def test_half_open_connections_are_bounded_and_none_that_was_answered_is_reset() -> None:
    t = Script(syn_backlog=16, syn_cookies="never")
    t.listen(backlog=4)
    answered = []
    for port in range(10_000, 10_050):
        flow = t.flow_to(port, 80)
        flow.receives("S 0:0")
        if t.drain():
            answered.append(flow)
    assert len(answered) == 16
    assert len(t.stack.connections) == len(answered)
    for flow in answered:
        flow.receives(". 1:1 ack 1")
        flow.silent()


@pytest.mark.defect(75)
def test_closed_listener_resets_half_open_connections() -> None:
    """RFC 9293 3.10.5, ABORT in SYN-RECEIVED: the peer may be ESTABLISHED, and send nothing by itself."""
    t = syn_rcvd()
    t.listener.close(t.now)
    t.sends("R 1:1")
    assert not t.stack.connections
    assert not t.stack.listeners
    assert t.stack.next_timeout() is None
    t.receives(". 1:1 ack 1")
    t.sends("R 1:1")
    t.listener.close(t.now)
    t.silent()


@pytest.mark.defect(75)
def test_a_stopped_listener_completes_its_handshakes_and_begins_none() -> None:
    t = syn_rcvd()
    other = t.flow_to(50001, 80)
    t.listener.stop()
    t.silent()
    other.receives("S 0:0")
    other.sends("R. 0:0 ack 1")
    again = t.stack.listen(80, t.now)  # the port is free
    t.receives("P. 1:101 ack 1")
    connection = t.listener.accept()
    assert connection is not None
    assert connection.state == ESTABLISHED
    assert connection.readable == 100
    assert again.accept() is None
    t.drain()
    t.listener.close(t.now)
    t.listener.stop()
    t.silent()
    assert t.stack.listeners == {80: again}
    assert connection.state == ESTABLISHED


def test_closed_listener_resets_what_was_not_accepted() -> None:
    """Known defect 33: nothing leaks."""
    t = syn_rcvd()
    t.receives(". 1:1 ack 1")
    t.silent()
    t.listener.close(t.now)
    t.sends("R? 1:1")
    assert not t.stack.connections
    assert t.stack.next_timeout() is None


def test_closed_listener_leaves_accepted_connections_alone() -> None:
    t = established(passive=True)
    t.listener.close(t.now)
    t.silent()
    assert t.state == ESTABLISHED
    t.receives("P. 1:101 ack 1")
    assert t.read() == 100


def test_closed_listener_refuses() -> None:
    t = Script()
    t.listen().close(t.now)
    t.receives("S 0:0")
    t.sends("R. 0:0 ack 1")


@pytest.mark.rfc9293("MUST-41")
def test_two_listeners_on_one_port() -> None:
    """MUST-41: an error, and the first goes on."""
    t = Script()
    t.listen()
    with pytest.raises(AddressInUse):
        t.stack.listen(80, t.now)
    t.receives("S 0:0")
    t.sends("S. 0:0 ack 1")


@pytest.mark.rfc9293("MUST-42")
def test_listening_on_a_port_from_which_a_connection_is_being_opened() -> None:
    t = Script()
    t.connect(local_port=80)
    t.sends("S 0:0")
    t.stack.listen(80, t.now)
    other = t.flow_to(50001, 80)
    other.receives("S 0:0")
    other.sends("S. 0:0 ack 1")
    assert t.state == SYN_SENT


@pytest.mark.rfc9293("MUST-41", "MUST-42")
def test_listening_on_a_port_of_a_simultaneous_open() -> None:
    t = simultaneous_open()
    t.stack.listen(50000, t.now)
    assert t.state == SYN_RCVD
    t.receives("S. 0:0 ack 1")
    t.sends(". 1:1 ack 1")


@pytest.mark.parametrize("line", [". 1:1 ack 1", "S. 0:0 ack 1", "F. 1:1 ack 7"])
def test_ack_at_a_listener_gets_rst(line: str) -> None:
    """RFC 9293 3.10.7.2, second check."""
    t = Script()
    t.listen()
    t.receives(line)
    ack = line.rsplit(" ", maxsplit=1)[-1]
    t.sends(f"R {ack}:{ack}")
    assert not t.stack.connections


@pytest.mark.parametrize("line", ["R 0:0", "R. 0:0 ack 1", "- 0:0", "F 0:0", "SR 0:0"])
def test_anything_else_at_a_listener_is_ignored(line: str) -> None:
    """RFC 9293 3.10.7.2, first and fourth."""
    t = Script()
    t.listen()
    t.receives(line)
    t.silent()
    assert not t.stack.connections


def test_syn_to_a_port_without_listener_is_refused() -> None:
    """RFC 9293 3.10.7.1: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>."""
    t = Script()
    t.listen(local_port=80)
    t.flow_to(50000, 81).receives("S 0:0")
    t.flow_to(50000, 81).sends("R. #0:#0 ack 1")


# --- simultaneous open (RFC 9293 3.5, figure 7; MUST-10)


@pytest.mark.rfc9293("MUST-10")
def test_simultaneous_open() -> None:
    t = simultaneous_open()
    assert t.state == SYN_RCVD
    t.receives("S. 0:0 ack 1")
    t.drain()  # an ACK is allowed
    assert t.state == ESTABLISHED
    assert t.events == CONNECTED
    t.silent_for(600)


@pytest.mark.rfc9293("MUST-10")
def test_simultaneous_open_completed_by_an_ack() -> None:
    t = simultaneous_open()
    t.receives(". 1:1 ack 1")
    t.silent()
    assert t.state == ESTABLISHED


def test_simultaneous_open_syn_ack_is_retransmitted() -> None:
    t = simultaneous_open()
    t.sends_after(1.0, "S. 0:0 ack 1")
    assert t.state == SYN_RCVD


@pytest.mark.rfc9293("MUST-11")
def test_rst_in_syn_rcvd_of_an_active_open_refuses() -> None:
    """RFC 9293 3.10.7.4, second check: simultaneous open, then refused."""
    t = simultaneous_open()
    t.receives("R 1:1")
    t.silent()
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionRefused)


@pytest.mark.rfc9293("MUST-10")
def test_simultaneous_open_of_two_stacks() -> None:
    p = Pair()
    near = p.client.connect("server", 80, p.now, local_port=70)
    far = p.server.connect("client", 70, p.now, local_port=80)
    p.run(lambda: near.state == far.state == ESTABLISHED)
    p.run()
    near.send(b"from here")
    far.send(b"from there")
    p.run()
    assert (near.read(), far.read()) == (b"from there", b"from here")


def test_simultaneous_open_with_both_syns_lost() -> None:
    p = Pair(both(lose("client", SYN), lose("server", SYN)))
    near = p.client.connect("server", 80, p.now, local_port=70)
    far = p.server.connect("client", 70, p.now, local_port=80)
    p.run(lambda: near.state == far.state == ESTABLISHED)


# --- closing before the handshake is complete


def test_close_in_syn_rcvd_the_ack_of_the_syn_is_not_the_ack_of_the_fin() -> None:
    """RFC 9293 3.10.4, SYN-RECEIVED; known defect 7."""
    t = simultaneous_open()
    t.close()
    fin = t.drain()  # the FIN may leave now, or after the handshake
    assert t.state == FIN_WAIT_1
    t.receives(". 1:1 ack 1")
    fin += t.drain()
    assert t.state == FIN_WAIT_1
    assert not t.ended
    assert [t.flow.describe(segment, outgoing=True).partition(" win")[0] for segment in fin] == ["F. 1:1 ack 1"]
    t.receives(". 1:1 ack 2")
    t.silent()
    assert t.state == FIN_WAIT_2
    assert t.error is None


def test_abort_in_syn_rcvd_resets() -> None:
    """RFC 9293 3.10.5, SYN-RECEIVED."""
    t = simultaneous_open()
    t.abort()
    t.sends("R? 1:1")
    assert t.state == CLOSED
    assert t.error is None


def test_shutdown_before_the_handshake_sends_data_and_fin_after_it() -> None:
    t = syn_sent()
    t.write(100)
    try:
        t.shutdown()
    except InvalidState:
        return  # RFC 9293 3.10.4 lets CLOSE in SYN-SENT end the connection; a half-close may be refused there
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.sends("F. 1:101 ack 1")


# --- options


@pytest.mark.rfc9293("MUST-14", "SHLD-5", "MAY-3")
@pytest.mark.rfc("7323", "2.2-1", "3.2-1", "3.2-9")
@pytest.mark.rfc("2018", "2-1")
def test_syn_offers_all_options_by_default() -> None:
    t = Script(mss=None)
    t.connect()
    (syn,) = t.sends("S 0:0 <mss 1452,sackOK,ts>")  # 1472 octets of UDP payload, less the header
    assert syn.window_scale is not None
    assert syn.window_scale > 0
    assert syn.ts_ecr == 0


@pytest.mark.rfc9293("MUST-67", "SHLD-5")
def test_mss_offered_is_what_the_path_carries() -> None:
    """MUST-67; RFC 6691: options are not subtracted from the MSS option."""
    t = Script(mtu=1232, mss=None)
    t.connect()
    t.sends("S 0:0 <mss 1212>")


@pytest.mark.rfc9293("MUST-14")
def test_configured_mss_is_offered() -> None:
    t = Script(mss=700)
    t.connect()
    t.sends("S 0:0 <mss 700>")


def test_options_turned_off_are_not_offered() -> None:
    t = Script(window_scaling=False, timestamps=False, sack=False)
    t.connect()
    (syn,) = t.sends(f"S 0:0 <mss {MSS},nots>")
    assert syn.window_scale is None
    assert not syn.sack_permitted


@pytest.mark.rfc9293("MUST-14")
@pytest.mark.rfc("7323", "2.2-1", "3.2-1", "3.2-8")
@pytest.mark.rfc("2018", "2-1")
def test_syn_ack_takes_up_what_the_syn_offers() -> None:
    t = Script()
    t.listen()
    t.receives("S 0:0 <mss 1460,wscale 7,sackOK,ts 100>")
    (syn_ack,) = t.sends(f"S. 0:0 ack 1 <mss {MSS},sackOK,ts *:100>")
    assert syn_ack.window_scale is not None


@pytest.mark.rfc("7323", "2.2-1", "3.2-1")
@pytest.mark.rfc("2018", "2-1")
def test_syn_ack_offers_nothing_that_the_syn_did_not() -> None:
    """RFC 7323 2.2, 3.2; RFC 2018 2."""
    t = Script()
    t.listen()
    t.receives("S 0:0")
    (syn_ack,) = t.sends("S. 0:0 ack 1 <nots>")
    assert syn_ack.mss is None  # nor, and that is ours alone, anything that makes the answer longer than the question
    assert syn_ack.window_scale is None
    assert not syn_ack.sack_permitted


@pytest.mark.parametrize("option", ["wscale 7", "sackOK", "ts 100"])
def test_syn_ack_refuses_what_is_turned_off(option: str) -> None:
    t = Script(window_scaling=False, timestamps=False, sack=False)
    t.listen()
    t.receives(f"S 0:0 <mss 1460,{option}>")
    (syn_ack,) = t.sends(f"S. 0:0 ack 1 <mss {MSS},nots>")
    assert syn_ack.window_scale is None
    assert not syn_ack.sack_permitted


@pytest.mark.rfc9293("MUST-65")
def test_mss_option_only_on_syn_segments() -> None:
    t = established()
    t.write(100)
    (segment,) = t.sends("P. 1:101 ack 1")
    assert segment.mss is None


@pytest.mark.rfc9293("MUST-5")
@pytest.mark.rfc("7323", "2.2-4")
@pytest.mark.rfc("2018", "2-2")
def test_options_on_segments_that_are_no_syn_change_nothing() -> None:
    """MUST-5: accepted, but negotiated at the open alone."""
    t = established()
    t.receives(". 1:1 ack 1 <mss 100,wscale 9,sackOK,ts 5:5>")
    t.write(1000)
    t.sends("P. 1:1001 ack 1 <nots>")


@pytest.mark.rfc9293("MUST-14", "MUST-16")
@pytest.mark.rfc("8899", "3-8")
def test_segments_are_as_large_as_the_peer_accepts() -> None:
    t = established(options="mss 700")
    t.write(1500)
    t.sends(". 1:701 ack 1", ". 701:1401 ack 1", "P. 1401:1501 ack 1")


@pytest.mark.rfc9293("MUST-15")
def test_without_mss_option_segments_have_536_octets() -> None:
    t = established(options="")
    t.write(1000)
    t.sends(". 1:537 ack 1", "P. 537:1001 ack 1")


@pytest.mark.rfc9293("MUST-15")
def test_without_mss_option_segments_over_ipv6_have_1220_octets() -> None:
    t = Script(mss=None)
    t.stack.default_mss = 1220
    t.connect()
    t.sends("S 0:0")
    t.receives("S. 0:0 ack 1")
    t.write(2000)
    t.sends(". 1:1221 ack 1", "P. 1221:2001 ack 1")


@pytest.mark.rfc9293("MUST-16")
def test_segments_are_no_larger_than_the_path_carries() -> None:
    t = established(options="mss 9000", mss=None, mtu=820)
    t.write(1000)
    t.sends(". 1:801 ack 1", "P. 801:1001 ack 1")


@pytest.mark.rfc9293("MUST-16")
def test_timestamps_make_room_for_themselves() -> None:
    """MUST-16; RFC 6691: the sender subtracts the options it adds, NOPs included."""
    t = established(options="mss 1000,ts 100")
    t.write(1000)
    t.sends(". 1:989 ack 1 <ts>", "P. 989:1001 ack 1 <ts>")


@pytest.mark.parametrize("mss", [0, 1, 20])
def test_absurd_mss_neither_hangs_nor_explodes(mss: int) -> None:
    t = established(options=f"mss {mss},ts 100")
    t.write(200)
    segments = t.drain()
    assert 1 <= len(segments) <= 200
    assert all(segment.payload for segment in segments)


@pytest.mark.rfc("7323", "2.2-3")
def test_window_in_a_syn_is_never_scaled() -> None:
    """RFC 7323 2.2."""
    t = syn_sent()
    t.receives("S. 0:0 ack 1 win 100 <mss 1000,wscale 7>")
    t.write(1000)
    segments = [segment for segment in t.drain() if segment.payload]
    assert sum(len(segment.payload) for segment in segments) <= 100


@pytest.mark.rfc("7323", "2.2-3")
def test_window_in_the_syn_ack_of_a_simultaneous_open_is_not_scaled_either() -> None:
    t = syn_sent()
    t.receives("S 0:0 win 90 <mss 1000,wscale 7>")
    t.sends("S. 0:0 ack 1")
    t.receives("S. 0:0 ack 1 win 100 <mss 1000,wscale 7>")
    t.drain()
    assert t.info.snd_wnd == 100


@pytest.mark.rfc9293("REC-1")
@pytest.mark.rfc("7323", "2.3-1")
def test_windows_after_the_syn_are_scaled() -> None:
    t = established(options="mss 1000,wscale 7,sackOK", window=1 << 20)
    t.receives(". 1:1 ack 1 win 1048576")
    assert t.info.snd_wnd == 1 << 20


@pytest.mark.rfc9293("REC-1")
@pytest.mark.rfc("7323", "2.3-2")
def test_shift_count_above_14_is_used_as_14() -> None:
    """RFC 7323 2.3."""
    t = established(options="mss 1000,wscale 15", window=1 << 24)
    t.receives(". 1:1 ack 1 win 16777216")
    assert t.info.snd_wnd == 1 << 24


@pytest.mark.rfc("7323", "2.2-2")
def test_without_the_peers_offer_no_window_is_scaled() -> None:
    t = established(options="mss 1000")
    t.receives(". 1:1 ack 1 win 5000")
    assert t.info.snd_wnd == 5000
    t.receives("P. 1:101 ack 1")
    (ack,) = t.sends_after(0.04, ". 1:1 ack 101")
    assert ack.window > 60_000  # of a buffer of 1 MiB, all that the field holds


@pytest.mark.rfc("7323", "2.2-2")
def test_window_scale_alone_in_our_syn_does_not_scale() -> None:
    """Both SYNs must have the option (RFC 7323 2.2)."""
    t = established(options="mss 1000,wscale 7", window_scaling=False)
    t.receives(". 1:1 ack 1 win 5000")
    assert t.info.snd_wnd == 5000


# --- two stacks, and a network that loses


@pytest.mark.parametrize("lost", ["syn", "syn-ack"])
def test_open_survives_the_loss_of_a_handshake_segment(lost: str) -> None:
    p = Pair(lose("client" if lost == "syn" else "server", SYN))
    near, far = p.established()
    assert near.state == far.state == ESTABLISHED
    assert 1.0 < p.time < 1.1


def test_open_survives_the_loss_of_the_handshakes_ack() -> None:
    p = Pair(lambda packet: () if (packet.sender, packet.count) == ("client", 2) else (0.0,))
    near, far = p.established()
    assert near.state == far.state == ESTABLISHED
    assert not near.take_events() & ENDED


def test_user_timeout_of_a_half_open_connection_frees_its_place() -> None:
    """Else a few abandoned SYNs, or forged ones, would make the listener deaf for good."""
    t = Script(user_timeout=5.0, syn_backlog=1)
    listener = t.listen()
    t.receives(f"S 0:0 <mss {MSS}>")
    t.sends("S. 0:0 ack 1")
    t.advance(6.0)
    t.drain()
    assert not t.stack.connections
    assert not listener.half_open
    assert not listener.full


def test_lost_syn_says_nothing_about_the_path_of_data() -> None:
    """One segment to begin with (RFC 5681 3.1), but slow start from there."""
    t = syn_sent()
    t.sends_at(1.0, "S 0:0")
    t.receives(f"S. 0:0 ack 1 <mss {MSS}>")
    t.sends(". 1:1 ack 1")
    assert t.info.snd_cwnd == MSS
    assert t.info.snd_ssthresh > 1 << 20


def test_syn_that_crosses_ours_is_no_loss() -> None:
    t = simultaneous_open()
    t.receives("S. 0:0 ack 1")
    t.drain()
    assert t.state == ESTABLISHED
    assert t.info.total_retrans == 0
    assert t.info.snd_cwnd == 10 * MSS


def test_congestion_control_that_nobody_registered_fails_at_once() -> None:
    with pytest.raises(ValueError, match="congestion_control must be one of"):
        Script(congestion_control="none")


def test_half_close_in_syn_sent_waits_for_the_handshake_of_a_simultaneous_open() -> None:
    t = syn_sent()
    t.shutdown()
    t.receives(f"S 0:0 <mss {MSS}>")
    t.sends("S. 0:0 ack 1")
    assert t.state == SYN_RCVD
    t.receives("S. 0:0 ack 1")
    t.sends("F. 1:1 ack 1")
    assert t.state == FIN_WAIT_1


def test_data_and_fin_wait_in_a_simultaneous_open_for_the_ack_of_our_syn() -> None:
    t = simultaneous_open(nodelay=True)
    t.write(100)
    t.silent()
    t.shutdown()
    t.silent()
    t.receives(". 1:1 ack 1")
    t.sends("FP. 1:101 ack 1")
    assert t.events & CONNECTED


def test_half_closed_before_a_simultaneous_open() -> None:
    t = syn_sent()
    t.shutdown()
    t.receives("S 0:0")
    t.sends("S. 0:0 ack 1")
    t.connection.touch()
    t.silent()
    t.receives(". 1:1 ack 1")
    t.sends("F. 1:1 ack 1")


def test_keepalive_begins_if_the_user_closes_in_a_simultaneous_open() -> None:
    t = simultaneous_open(keepalive=True)
    t.shutdown()
    t.drain()
    t.receives(". 1:1 ack 1")
    assert t.events & CONNECTED
    assert t.connection.keepalive.enabled


@pytest.mark.parametrize("on", [True, False])
def test_keepalive_that_the_user_turns_on_or_off_before_the_handshake_stays_so(on: bool) -> None:
    t = syn_sent(keepalive=not on)
    t.connection.set_keepalive(on, t.now)
    t.receives("S. 0:0 ack 1")
    t.sends(". 1:1 ack 1")
    assert t.connection.keepalive.enabled is on
    assert not syn_sent(keepalive=on).connection.keepalive.enabled, "others are not concerned"


def test_keepalive_that_the_user_configures_before_the_handshake_is_the_connections_own() -> None:
    t = syn_sent(keepalive=True)
    t.connection.configure_keepalive(t.now, idle=5.0, count=7)
    t.receives("S. 0:0 ack 1")
    t.sends(". 1:1 ack 1")
    assert (t.connection.keepalive.idle, t.connection.keepalive.count) == (5.0, 7)
    other = syn_sent(keepalive=True)
    other.receives("S. 0:0 ack 1")
    assert other.connection.keepalive.idle == other.stack.config.keepalive_idle
