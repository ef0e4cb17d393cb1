"""ICMP port unreachable on synchronized connections: how the death of the peer's process is noticed (RFC 5927 5.2)."""

from collections.abc import Callable
from errno import ECONNREFUSED, EHOSTUNREACH
from typing import Any

import pytest

from tests.tcp.reach import close_wait, closing, established, fin_wait_1, fin_wait_2, last_ack
from tests.tcp.script import Script
from utcp.errors import ConnectionRefused, ConnectionReset, FinTimedOut, KeepaliveTimedOut, PathUnreachable
from utcp.tcp.connection import Connection
from utcp.tcp.connection.path_errors import peer_socket_closed
from utcp.tcp.event import TROUBLE
from utcp.tcp.state import CLOSED, ESTABLISHED, FIN_WAIT_2, LAST_ACK
from utcp.wire import ACK, Segment, encode
from utcp.wire.seq import add

PROBE = ". 0:0 ack 1"
OFTEN: dict[str, Any] = {"keepalive": True, "keepalive_idle": 60.0, "keepalive_interval": 10.0, "keepalive_count": 5}


def quoting(t: Script, seq: int, code: int = ECONNREFUSED) -> None:
    """An ICMP error arrives that quotes a segment of ours with this relative SEQ."""
    flow = t.flow
    quoted = encode(Segment(flow.local_port, flow.remote_port, add(flow.our_iss or 0, seq), 0, ACK))
    t.stack.path_error(flow.remote, code, None, quoted, t.now)


def watched(**knobs: Any) -> Script:
    """ESTABLISHED without keepalive, where probes may leave."""
    t = established(**knobs)
    t.keepalive = True
    return t


def answered_by_icmp(t: Script, probes: int, probe: str = PROBE) -> None:
    """So many probes leave, 0.5 s apart, the first one now, and each is answered by ICMP."""
    for number in range(probes):
        if number:
            t.silent_for(0.49)
            t.advance(0.01)
        t.sends(probe)
        quoting(t, int(probe.split()[1].partition(":")[0]))


def timeouts_answered_by_icmp(t: Script, line: str) -> None:
    """This segment, whose SEQ is 1, goes three times again, and each is answered by two ICMP messages."""
    for delay in (0.2, 0.4, 0.8):
        assert not t.ended
        t.sends_after(delay, line)
        quoting(t, 1)
        quoting(t, 1)


@pytest.mark.defect(100)
@pytest.mark.parametrize("knobs", [{}, OFTEN], ids=["without keepalive", "with keepalive"])
@pytest.mark.parametrize("quoted", [1, 0], ids=["an ACK", "the octet before"])
def test_third_unreachable_in_answer_to_a_probe_ends_the_connection(quoted: int, knobs: dict[str, Any]) -> None:
    t = watched(**knobs)
    t.advance(5)
    quoting(t, quoted)
    answered_by_icmp(t, 3)
    t.sends("R 1:1")  # a firewall may have sent the messages, and the peer live
    assert t.time == pytest.approx(6.0)
    assert t.state == CLOSED
    assert isinstance(t.error, ConnectionReset)
    assert isinstance(t.error.__cause__, PathUnreachable)
    assert "port is closed" in str(t.error)
    assert t.stack.endings.reset == 1
    assert t.stack.next_timeout() is None


@pytest.mark.defect(100)
def test_unreachable_about_a_keepalive_probe_counts() -> None:
    """The connection is idle when the peer dies, and the first probe finds that out."""
    t = watched(**OFTEN)
    t.advance(60)
    answered_by_icmp(t, 3)
    t.sends("R 1:1")
    assert t.time == pytest.approx(61.0)
    assert isinstance(t.error, ConnectionReset)


@pytest.mark.defect(100)
@pytest.mark.rfc("5927", "4.1-1")
def test_peer_that_answers_a_probe_lives() -> None:
    t = watched()
    quoting(t, 1)
    answered_by_icmp(t, 2)
    t.receives(". 1:1 ack 1")
    t.silent_for(60)
    quoting(t, 1)
    answered_by_icmp(t, 2)  # counted from the beginning
    assert t.state == ESTABLISHED


@pytest.mark.defect(100)
def test_messages_about_one_probe_count_once() -> None:
    t = watched()
    quoting(t, 1)
    t.sends(PROBE)
    for _ in range(10):
        quoting(t, 0)
        quoting(t, 1)
    t.silent()
    assert t.state == ESTABLISHED


@pytest.mark.defect(100)
def test_messages_call_for_two_probes_a_second_at_most() -> None:
    """Whoever sends them, while the peer lives."""
    t = watched()
    probes = 0
    for _ in range(100):
        quoting(t, 1)
        t.advance(0.01)
        if t.drain():
            probes += 1
            t.receives(". 1:1 ack 1")
        t.advance(0.01)
    assert probes == 4


@pytest.mark.defect(100)
def test_probe_without_an_answer_is_followed_by_keepalive() -> None:
    """The peer's host limits how many ICMP messages it sends."""
    t = watched(**OFTEN)
    quoting(t, 1)
    t.sends(PROBE)
    for time in (10, 20, 30, 40):
        t.sends_at(time, PROBE)
    t.advance(10.1)
    t.drain()
    assert isinstance(t.error, KeepaliveTimedOut)
    assert isinstance(t.error.__cause__, PathUnreachable)


@pytest.mark.defect(100)
def test_without_keepalive_one_probe_and_no_more_is_sent_for_one_message() -> None:
    t = watched()
    quoting(t, 1)
    t.sends(PROBE)
    t.silent_for(3600)
    assert t.state == ESTABLISHED
    assert t.stack.next_timeout() is None


@pytest.mark.defect(100)
def test_third_unreachable_about_a_retransmission_ends_the_connection() -> None:
    t = watched(**OFTEN)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    quoting(t, 1)  # not fresh: it might be one of many guesses while much is in flight
    timeouts_answered_by_icmp(t, "P. 1:101 ack 1")
    t.sends("R? 101:101")
    assert isinstance(t.error, ConnectionReset)
    assert t.time == pytest.approx(1.4, abs=1e-4)


@pytest.mark.defect(100)
@pytest.mark.parametrize("quoted", [2, 100], ids=["within", "the last octet"])
def test_unreachable_about_other_octets_in_flight_counts_for_nothing(quoted: int) -> None:
    """Who guesses has one number of 2^32, however much is in flight."""
    t = established(retries=6)
    t.write(100)
    t.sends("P. 1:101 ack 1")
    for time in (0.2, 0.6, 1.4, 3.0, 6.2):
        t.sends_at(time, "P. 1:101 ack 1")
        quoting(t, quoted)
    assert t.state == ESTABLISHED


@pytest.mark.defect(100)
def test_ack_of_a_retransmission_begins_the_count_anew() -> None:
    t = established()
    for _ in range(3):
        begin = t.flow.snd_nxt
        t.write(100)
        t.sends(f"P. {begin}:{begin + 100} ack 1")
        for _ in range(2):
            t.advance(3)
            t.drain()
            quoting(t, begin)
        t.receives(f". 1:1 ack {begin + 100}")
    assert t.state == ESTABLISHED


@pytest.mark.defect(100)
def test_host_unreachable_about_an_ack_is_a_soft_error() -> None:
    t = watched(**OFTEN)
    for _ in range(20):
        quoting(t, 1, EHOSTUNREACH)
        quoting(t, 0, EHOSTUNREACH)
    t.silent()
    assert t.connection.take_events() & TROUBLE
    t.advance(120)
    t.drain()
    assert isinstance(t.error, KeepaliveTimedOut)
    assert isinstance(t.error.__cause__, PathUnreachable)


@pytest.mark.defect(100)
@pytest.mark.rfc("5927", "4.1-1")
@pytest.mark.parametrize("quoted", [-1, 2, 3, 1 << 31])
def test_unreachable_about_what_was_never_sent_is_ignored(quoted: int) -> None:
    t = watched()
    quoting(t, quoted)
    t.silent()
    assert not t.connection.take_events() & TROUBLE
    assert t.stack.counters.out_of_window_icmps == 1


@pytest.mark.defect(100)
def test_half_closed_reader_knows() -> None:
    t = fin_wait_2(half=True)
    t.keepalive = True
    quoting(t, 2)
    answered_by_icmp(t, 3, ". 1:1 ack 1")
    t.drain()
    assert isinstance(t.error, ConnectionReset)


@pytest.mark.defect(100)
def test_nothing_is_awaited_of_a_peer_that_has_closed() -> None:
    """In CLOSE_WAIT the user may close without a word."""
    t = close_wait()
    quoting(t, 1)
    t.silent_for(3600)
    t.close()
    t.sends("F. 1:1 ack 2")
    assert t.state == LAST_ACK


@pytest.mark.defect(102)
@pytest.mark.parametrize("reach", [last_ack, closing])
def test_unreachable_about_a_fin_that_is_sent_again_ends_the_close(reach: Callable[..., Script]) -> None:
    t = reach()
    seq = t.flow.snd_nxt - 1
    quoting(t, seq)  # about the first one
    assert t.stack.connections
    t.sends_after(0.2, f"F. {seq}:{seq} ack 2")
    quoting(t, seq)
    t.silent()
    assert t.state == CLOSED
    assert t.ended
    assert t.error is None
    assert t.stack.endings.delivered == 1
    assert t.stack.next_timeout() is None


@pytest.mark.defect(102)
def test_close_that_a_half_close_began_ends_as_well() -> None:
    t = close_wait()
    t.shutdown()
    t.sends("F. 1:1 ack 2")
    t.sends_after(0.2, "F. 1:1 ack 2")
    quoting(t, 1)
    assert t.state == CLOSED
    t.close()
    assert t.ended
    assert t.error is None
    assert t.stack.endings.delivered == 1


@pytest.mark.defect(102)
def test_data_before_the_fin_that_nobody_acknowledged_is_an_error() -> None:
    t = close_wait()
    t.write(100)
    t.close()
    t.sends("FP. 1:101 ack 2")
    timeouts_answered_by_icmp(t, "FP. 1:101 ack 2")
    t.drain()
    assert isinstance(t.error, ConnectionReset)


@pytest.mark.defect(102)
def test_fin_of_a_peer_that_has_not_closed_is_an_error() -> None:
    """In FIN_WAIT_1 the peer may have had more to say."""
    t = fin_wait_1()
    timeouts_answered_by_icmp(t, "F. 1:1 ack 1")
    t.drain()
    assert isinstance(t.error, ConnectionReset)


@pytest.mark.defect(102)
def test_without_icmp_it_stays_an_error() -> None:
    t = last_ack()
    t.advance(130)
    t.drain()
    assert isinstance(t.error, FinTimedOut)


def test_delivered_connection_in_fin_wait_2_ends_without_a_word() -> None:
    t = fin_wait_2()
    t.keepalive = True
    assert t.state == FIN_WAIT_2
    assert t.error is None
    quoting(t, 2)
    answered_by_icmp(t, 3, ". 1:1 ack 1")
    t.drain()
    assert t.state == CLOSED
    assert t.error is None


def beside(t: Script, *, remote: str = "peer", local_port: int = 50001) -> Connection:
    """One more established connection."""
    connection = t.stack.connect(remote, 80, t.now, local_port=local_port)
    flow = t.flow_to(80, local_port, remote=remote)
    flow.sends("S 0:0")
    flow.receives("S. 0:0 ack 1 <mss 1000>")
    flow.sends(". 1:1 ack 1")
    return connection


@pytest.mark.defect(100)
def test_closed_port_ends_all_connections_to_it_that_heard_nothing_since() -> None:
    """The kernel sends segments of several connections as one datagram, and ICMP quotes its beginning only."""
    t = watched()
    same, elsewhere = beside(t), beside(t, remote="other")
    opening = t.stack.connect("peer", 443, t.now, local_port=50002)
    t.advance(0.1)
    t.drain()
    quoting(t, 1)
    for number in range(3):
        t.advance(0.5 if number else 0.0)
        t.drain()
        quoting(t, 0)
    t.drain()
    assert isinstance(same.error, ConnectionReset)
    assert isinstance(opening.error, ConnectionRefused)
    assert elsewhere.state == ESTABLISHED


def test_unreachable_about_one_fin_ends_all_closes_that_wait_for_that_port() -> None:
    """The kernel sends the FINs of several connections as one datagram, and ICMP quotes its beginning only. A FIN that
    has just left may still be answered, and an open connection has not lost anything."""
    t = established()
    same, late, opened = (beside(t, local_port=50001 + number) for number in range(3))
    flows = [t.flow_to(80, 50001 + number) for number in range(2)]
    elsewhere = beside(t, remote="other")
    flows.append(t.flow_to(80, 50001, remote="other"))
    for flow in (t.flow, *flows):
        flow.receives("F. 1:1 ack 1")
        flow.sends(". 1:1 ack 2")
    t.connection.close(t.now)
    same.close(t.now)
    elsewhere.close(t.now)
    t.drain()
    t.advance(0.2)
    late.close(t.now)
    assert len(t.drain()) == 4  # three FINs for the second time
    quoting(t, 1)
    t.silent()
    for ended in (t.connection, same):
        assert ended.state == CLOSED
        assert ended.ended
        assert ended.error is None
    assert late.state == elsewhere.state == LAST_ACK
    assert opened.state == ESTABLISHED
    assert t.stack.endings.delivered == 2


@pytest.mark.defect(100)
def test_connection_that_was_answered_meanwhile_lives() -> None:
    t = watched()
    same = beside(t)
    t.advance(0.1)
    quoting(t, 1)
    answered_by_icmp(t, 2)
    t.flow_to(80, 50001).receives(". 1:1 ack 1")
    t.advance(0.5)
    t.drain()
    quoting(t, 0)
    t.drain()
    assert t.state == CLOSED
    assert same.state == ESTABLISHED


@pytest.mark.defect(100)
def test_other_connections_are_looked_for_once_a_second_on_average() -> None:
    """A peer may close any number of ports."""
    t = watched()
    looks = 0

    class Counted(dict[Any, Any]):
        def values(self) -> Any:
            nonlocal looks
            looks += 1
            return super().values()

    flows = []
    for number in range(20):
        beside(t, remote=f"peer {number}")
        flows.append(t.flow_to(80, 50001, remote=f"peer {number}"))
    t.stack.connections = Counted(t.stack.connections)
    t.advance(0.1)
    for flow in flows:
        t.flow = flow
        quoting(t, 1)
    for number in range(3):
        t.advance(0.5 if number else 0.0)
        t.drain()
        for flow in flows:
            t.flow = flow
            quoting(t, 0)
    t.drain()
    assert t.stack.endings.reset == 20
    assert looks == 10  # at once, as many as are spared


@pytest.mark.defect(100)
def test_closed_socket_on_this_host_has_the_peer_probed() -> None:
    """Whatever was asked before: the peer may have stood still before it died."""
    t = watched(**OFTEN)
    t.advance(60)
    t.sends(PROBE)
    t.advance(1)
    peer_socket_closed(t.connection, t.now)
    peer_socket_closed(t.connection, t.now)
    answered_by_icmp(t, 3)
    t.sends("R 1:1")
    assert isinstance(t.error, ConnectionReset)


@pytest.mark.defect(100)
def test_closed_socket_proves_nothing() -> None:
    t = watched()
    peer_socket_closed(t.connection, t.now)
    t.sends(PROBE)
    t.advance(0.1)
    t.receives(". 1:1 ack 1")
    t.silent_for(60)
    assert t.state == ESTABLISHED
