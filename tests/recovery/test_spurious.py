"""A reduction that was wrong is undone: F-RTO (RFC 5682), Eifel (RFC 4015), DSACK; and one that was right is not."""

from math import inf

import pytest

from tests.recovery.trace import MSS, OPTIONS, RTT, recovery, sender, seqs
from tests.tcp.script import Script
from utcp.tcp.connection.ecn import Ecn
from utcp.tcp.recovery.recovery import FAST, OPEN, TIMED_OUT

SACK_ONLY = "mss 1000,sackOK"
TIMESTAMPS_ONLY = "mss 1012,ts 100"
PLAIN = "mss 1000"


def timed_out(*, options: str, unsent: int = 10, cwnd: int = 10) -> Script:
    """Ten segments in flight, none was acknowledged, and the timer has expired. No probe went before: new data has
    started its timer anew, just before."""
    t = sender(options=options, cwnd=cwnd)
    t.write(5 * MSS)
    t.drain()
    t.advance(0.15)
    t.write(5 * MSS)
    t.drain()
    t.connection.recovery.probe_at = inf  # it is not what these tests are about
    before = t.info
    assert before.snd_ssthresh > 1 << 20
    t.advance(before.rto - 0.15 + 0.0001)
    assert seqs(t.drain(), t) == [1]
    assert recovery(t).phase == TIMED_OUT
    assert t.info.snd_cwnd == MSS
    assert t.info.snd_ssthresh < 1 << 20
    if unsent:
        t.write(unsent * MSS)
        t.drain()
    return t


def is_undone(t: Script) -> bool:
    """`cwnd` and `ssthresh` are what they were before, but for what ACKs have added since."""
    return t.info.snd_ssthresh > 1 << 20 and t.info.snd_cwnd >= 10 * MSS and recovery(t).phase == OPEN


# --- after a timeout


@pytest.mark.parametrize("options", [SACK_ONLY, PLAIN])
@pytest.mark.rfc("5682", "2.1-1", "2.1-4", "2.1-7")
@pytest.mark.rfc("8985", "6.3-1")
def test_frto(options: str) -> None:
    """RFC 5682: the first ACK is of the first segment only, new data goes, and the second ACK is of an original."""
    t = timed_out(options=options)
    t.receives(". 1:1 ack 1001")
    assert seqs(t.drain(), t) == [10001, 11001]
    t.receives(". 1:1 ack 2001")
    assert is_undone(t)
    assert t.info.snd_cwnd <= 12 * MSS
    assert 1001 not in seqs(t.drain(), t)
    for ack in range(3001, 10002, MSS):
        t.receives(f". 1:1 ack {ack}")
        t.drain()
    assert t.stack.counters.retrans_segs == 1
    assert recovery(t).board.lost == 0


@pytest.mark.rfc("5682", "3.1-2")
def test_frto_by_sack_alone() -> None:
    """RFC 5682 3.1: that an original was SACKed suffices as well."""
    t = timed_out(options=SACK_ONLY)
    t.receives(". 1:1 ack 1001")
    t.drain()
    t.receives(". 1:1 ack 1001 <sack 2001:3001>")
    assert is_undone(t)


@pytest.mark.rfc("5682", "4-1")
def test_frto_restores_exactly() -> None:
    t = timed_out(options=SACK_ONLY)
    t.connection.congestion.cwnd = MSS
    t.receives(". 1:1 ack 1001")
    t.drain()
    t.receives(". 1:1 ack 1001 <sack 2001:3001>")
    assert t.info.snd_cwnd == 10 * MSS
    assert t.info.snd_ssthresh == 1 << 30


@pytest.mark.parametrize("options", [SACK_ONLY, PLAIN])
@pytest.mark.rfc("5682", "2.1-6")
def test_real_timeout_is_not_undone(options: str) -> None:
    """The whole flight was lost: the ACKs that follow are of what was sent again, or of new data."""
    t = timed_out(options=options)
    t.advance(RTT)
    t.receives(". 1:1 ack 1001")
    assert seqs(t.drain(), t) == [10001, 11001]
    t.advance(RTT)
    if "sack" in options:
        t.receives(". 1:1 ack 1001 <sack 10001:11001>", ". 1:1 ack 1001 <sack 10001:12001>")
    else:
        t.receives(". 1:1 ack 1001", ". 1:1 ack 1001")
    resent = []
    for segment in range(1, 10):
        resent += [seq for seq in seqs(t.drain(), t) if seq <= 10_000]
        if segment % 2:
            t.advance(RTT)
        t.receives(f". 1:1 ack {segment * MSS + 1001}")
    t.drain()
    assert resent == [segment * MSS + 1 for segment in range(1, 10)]
    assert t.info.snd_ssthresh == 5 * MSS
    assert t.stack.counters.timeouts == 1


@pytest.mark.parametrize("options", [SACK_ONLY, PLAIN])
@pytest.mark.rfc("5682", "2.1-5")
@pytest.mark.rfc("8985", "6.3-1")
def test_frto_needs_new_data(options: str) -> None:
    """RFC 5682 2.1 step 2b: without it the retransmission of the second segment is what the next ACK may answer. Here
    both were lost, the others had arrived, and no ACK of theirs did."""
    t = timed_out(options=options, unsent=0)
    t.receives(". 1:1 ack 1001")
    assert seqs(t.drain(), t)[0] == 1001
    t.receives(". 1:1 ack 10001")
    assert t.info.snd_ssthresh == 5 * MSS


@pytest.mark.rfc("5682", "2.1-3")
def test_a_duplicate_ack_ends_frto() -> None:
    """RFC 5682 2.1 step 2a."""
    t = timed_out(options=PLAIN)
    t.receives(". 1:1 ack 1")
    t.drain()
    t.receives(". 1:1 ack 1001")
    t.drain()
    t.receives(". 1:1 ack 3001")
    assert t.info.snd_ssthresh == 5 * MSS


@pytest.mark.rfc("5682", "2.1-1", "2.1-3")
def test_an_ack_of_everything_proves_nothing() -> None:
    """RFC 5682 2.1 step 2a, 3.1 step 2: the first segment was lost, the rest had arrived, their ACKs were lost."""
    for options in (SACK_ONLY, PLAIN):
        t = timed_out(options=options)
        t.receives(". 1:1 ack 10001")
        assert t.info.snd_ssthresh == 5 * MSS


@pytest.mark.rfc("5682", "3.1-1")
def test_late_sacks_behind_a_hole_do_not_undo() -> None:
    """The first segment is lost indeed; what was behind it is late. The reduction stands."""
    t = timed_out(options=SACK_ONLY)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    t.drain()
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    assert t.info.snd_ssthresh == 5 * MSS


@pytest.mark.parametrize("options", [OPTIONS, TIMESTAMPS_ONLY])
def test_eifel(options: str) -> None:
    """RFC 4015: the first ACK echoes the timestamp of the original."""
    t = timed_out(options=options)
    original = round(RTT * 1000) - 1
    t.receives(f". 1:1 ack 1001 <ts *:{original}>")
    assert is_undone(t)
    assert t.info.snd_cwnd <= 11 * MSS
    t.drain()
    t.receives(f". 1:1 ack 10001 <ts *:{original + 150}>")
    t.drain()
    assert t.stack.counters.retrans_segs == 1


@pytest.mark.parametrize("options", [OPTIONS, TIMESTAMPS_ONLY])
def test_an_echo_of_the_retransmission_is_no_reason(options: str) -> None:
    t = timed_out(options=options)
    t.advance(RTT)
    t.receives(". 1:1 ack 1001")  # the script echoes our latest timestamp
    assert t.info.snd_ssthresh == 5 * MSS
    assert recovery(t).phase == TIMED_OUT


@pytest.mark.rfc("5682", "4-1")
def test_the_timeout_stays_doubled_until_the_path_is_measured() -> None:
    """RFC 4015 4: it was too short for what the path has become, and would be wrong again."""
    t = timed_out(options=OPTIONS)
    assert t.connection.rtt.backoff == 1
    t.receives(f". 1:1 ack 1001 <ts *:{round(RTT * 1000) - 1}>")
    assert t.connection.rtt.backoff == 1
    t.write(1000)
    t.drain()
    t.advance(RTT)
    t.receives(f". 1:1 ack {t.flow.snd_nxt}")
    assert t.connection.rtt.backoff == 0


def test_second_timeout_of_the_same_segment_is_undone_to_where_it_began() -> None:
    t = timed_out(options=OPTIONS, unsent=0)
    t.advance(t.info.rto + 0.001)
    assert seqs(t.drain(), t) == [1]
    t.receives(f". 1:1 ack 1001 <ts *:{round(RTT * 1000) - 1}>")
    assert is_undone(t)


# --- after a fast retransmission


def fast(*, cwnd: int = 10, options: str = OPTIONS) -> Script:
    """Segment 0 was sent again because of what came behind it."""
    t = sender(10, cwnd=cwnd, options=options)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    assert seqs(t.drain(), t) == [1]
    assert recovery(t).phase == FAST
    return t


def test_eifel_in_fast_recovery() -> None:
    """It had only been overtaken."""
    t = fast()
    t.advance(0.01)
    t.receives(f". 1:1 ack 4001 <ts *:{round(RTT * 1000) - 1}>")
    assert is_undone(t)
    assert t.info.snd_cwnd == 10 * MSS
    assert t.info.snd_ssthresh == 1 << 30


@pytest.mark.rfc("2883", "5-3")
def test_dsack_in_fast_recovery() -> None:
    t = fast(options=SACK_ONLY)
    t.advance(0.01)
    t.receives(". 1:1 ack 4001")
    assert t.info.snd_ssthresh == 5 * MSS
    assert recovery(t).phase == FAST
    t.receives(". 1:1 ack 4001 <sack 1:1001>")
    assert is_undone(t)
    assert t.info.snd_ssthresh == 1 << 30


@pytest.mark.rfc("2883", "5-1", "5-3")
def test_dsack_after_recovery_is_over() -> None:
    t = fast(options=SACK_ONLY)
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (5 * MSS, 5 * MSS)
    t.receives(". 1:1 ack 10001 <sack 1:1001>")
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (10 * MSS, 1 << 30)


@pytest.mark.defect(68)
def test_a_tail_loss_probe_after_recovery_needs_no_dsack_for_an_undo() -> None:
    """The probe repairs nothing that was taken for lost, so it says nothing of whether the reduction was right."""
    t = fast(options=SACK_ONLY)
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    t.write(MSS)
    assert seqs(t.drain(), t) == [10001]
    t.advance(3 * RTT)
    assert seqs(t.drain(), t) == [10001]
    assert t.stack.counters.loss_probes == 1
    t.receives(". 1:1 ack 10001 <sack 1:1001>")
    assert t.info.snd_ssthresh == 1 << 30


@pytest.mark.rfc("2883", "5-3")
def test_dsack_of_one_of_two_retransmissions_does_not_undo() -> None:
    """One of them was needed."""
    t = sender(10, options=SACK_ONLY)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 2001:7001>")
    t.drain()
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 2001:10001>")
    t.drain()
    assert t.stack.counters.retrans_segs == 2
    t.receives(". 1:1 ack 10001", ". 1:1 ack 10001 <sack 1:1001>")
    assert t.info.snd_ssthresh == 5 * MSS
    t.receives(". 1:1 ack 10001 <sack 1001:2001>")
    assert t.info.snd_ssthresh == 1 << 30


def test_a_loss_that_was_real_stays_one() -> None:
    t = fast()
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    t.advance(RTT)
    t.receives(". 1:1 ack 10001")
    t.silent_for(1)
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (5 * MSS, 5 * MSS)


@pytest.mark.rfc("2883", "5-4")
def test_dsack_of_what_the_network_doubled_before_is_no_reason() -> None:
    """It lies below all that was sent again: the copy of an old segment says nothing of the loss."""
    t = sender(10, options=SACK_ONLY)
    t.advance(RTT)
    t.receives(". 1:1 ack 2001")
    t.receives(". 1:1 ack 2001 <sack 3001:6001>")
    assert seqs(t.drain(), t) == [2001]
    t.advance(0.01)
    t.receives(". 1:1 ack 6001 <sack 1:1001>", ". 1:1 ack 6001 <sack 1001:2001>")
    t.receives(". 1:1 ack 10001")
    assert t.info.snd_ssthresh == 6 * MSS


@pytest.mark.rfc("2883", "5-4")
def test_dsack_of_what_was_not_sent_again_is_no_reason() -> None:
    """It lies above what was lost, and the network has doubled it."""
    t = fast(options=SACK_ONLY)
    t.advance(RTT)
    t.receives(". 1:1 ack 10001", ". 1:1 ack 10001 <sack 2001:3001>", ". 1:1 ack 10001 <sack 4001:5001>")
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (5 * MSS, 5 * MSS)


@pytest.mark.rfc("2883", "5-4")
@pytest.mark.defect(68)
def test_dsack_of_what_an_earlier_recovery_sent_again_is_no_reason() -> None:
    """Its segment is above what the present one has sent again, and that was lost."""
    t = sender(20, cwnd=20, options=SACK_ONLY)
    t.write(20 * MSS)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:20001>")
    sent = seqs(t.drain(), t)
    assert sent[0] == 1
    assert sent[-1] >= 25001
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:22001 23001:26001>")
    assert seqs(t.drain(), t)[:2] == [1, 22001]
    t.advance(RTT)
    t.receives(". 1:1 ack 22001 <sack 23001:26001>")  # octet 1 was lost twice; the second recovery begins
    assert seqs(t.drain(), t) == [26001]
    assert (t.info.ca_state, t.info.snd_ssthresh) == ("recovery", 5 * MSS)
    t.receives(". 1:1 ack 26001 <sack 27001:31001>")
    t.drain()
    t.receives(". 1:1 ack 26001 <sack 22001:23001 27001:31001>")
    assert (t.info.ca_state, t.info.snd_ssthresh) == ("recovery", 5 * MSS)


def test_dsack_of_two_gibibytes_is_no_reason() -> None:
    t = fast(options=SACK_ONLY)
    t.advance(0.01)
    t.receives(". 1:1 ack 4001 <sack -1000000000:1001>")
    t.receives(". 1:1 ack 10001")
    assert t.info.snd_ssthresh == 5 * MSS


def test_what_a_mark_reduced_no_dsack_restores() -> None:
    t = sender(10)
    t.connection.ecn = Ecn()
    t.advance(RTT)
    t.receives("E. 1:1 ack 1001")
    ssthresh = t.info.snd_ssthresh
    assert ssthresh == 5 * MSS
    t.receives(". 1:1 ack 1001 <sack 2001:7001>")  # what is taken for lost within the reduction reduces no further
    assert seqs(t.drain(), t) == [1001]
    t.receives(". 1:1 ack 10001")
    t.receives(". 1:1 ack 10001 <sack 1001:2001>")
    assert t.info.snd_ssthresh == ssthresh


def test_after_an_undo_the_acks_of_originals_do_not_make_the_path_look_short() -> None:
    """Two segments were sent again though both were only late. The ACK of the second original comes a moment after its
    retransmission has left: what had left before that is not lost."""
    t = sender(20, cwnd=20)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 2001:7001>")
    assert seqs(t.drain(), t) == [1, 1001]
    original = round(RTT * 1000) - 1
    t.advance(0.005)
    t.receives(f". 1:1 ack 1001 <sack 2001:7001,ts *:{original}>")
    assert is_undone(t)
    t.receives(f". 1:1 ack 7001 <ts *:{original}>")
    assert recovery(t).rack.rtt == pytest.approx(RTT)
    t.receives(f". 1:1 ack 7001 <sack 8001:9001,ts *:{original}>")
    t.silent_for(0.015)
    t.receives(f". 1:1 ack 20001 <ts *:{original}>")
    t.silent_for(10)
    assert t.stack.counters.retrans_segs == 2


# --- several losses: an ACK is of what it is of


@pytest.mark.defect(68)
@pytest.mark.rfc("6675", "5-4", "5-7", "5-8")
def test_the_ack_of_a_retransmission_of_an_earlier_recovery_is_no_reason() -> None:
    """Octet 26001 left beyond the first recovery's point, was lost, and was sent again within that recovery. The ACK of
    this retransmission comes after a second recovery has begun, for what was lost later. Its timestamp is older than
    all that the second recovery has sent again, and yet nothing of it had been late."""
    t = sender(cwnd=20)
    t.write(60 * MSS)
    assert len(t.drain()) == 20
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:4001>")
    assert seqs(t.drain(), t) == [1]  # it is lost once more
    t.receives(". 1:1 ack 1 <sack 1001:20001>")
    assert seqs(t.drain(), t) == list(range(20001, 29001, MSS))  # 26001 is lost
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:26001>")
    assert seqs(t.drain(), t) == [1, *range(29001, 35001, MSS)]  # 29001 and 30001 are lost
    t.advance(0.01)
    t.receives(". 1:1 ack 1 <sack 1001:26001 27001:29001>")
    assert seqs(t.drain(), t)[0] == 26001
    t.advance(RTT - 0.01)
    first_again, second_again = 300, 310  # when octets 1 and 26001 left for the last time, in milliseconds
    t.receives(f". 1:1 ack 26001 <sack 27001:29001,ts *:{first_again}>")
    assert (t.info.ca_state, t.info.snd_ssthresh) == ("disorder", 10 * MSS)
    t.drain()
    t.receives(f". 1:1 ack 26001 <sack 27001:29001 31001:34001,ts *:{first_again}>")
    assert (t.info.ca_state, t.info.snd_ssthresh) == ("recovery", 5 * MSS)
    assert seqs(t.drain(), t)[0] == 29001
    t.advance(0.01)
    t.receives(f". 1:1 ack 29001 <sack 31001:34001,ts *:{second_again}>")
    assert (t.info.ca_state, t.info.snd_ssthresh) == ("recovery", 5 * MSS)
    t.drain()


def test_an_original_after_a_loss_that_was_real_is_no_reason() -> None:
    """RFC 4015 3.2: the first ACK of what was sent again decides. Of two segments one was lost, one only late."""
    t = sender(20, cwnd=20)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 2001:20001>")
    assert seqs(t.drain(), t) == [1, 1001]
    again, original = 200, 100
    t.advance(RTT)
    t.receives(f". 1:1 ack 1001 <sack 2001:20001,ts *:{again}>")
    assert t.info.snd_ssthresh == 10 * MSS
    t.receives(f". 1:1 ack 20001 <ts *:{original}>")
    assert (t.info.ca_state, t.info.snd_ssthresh, t.info.snd_cwnd) == ("open", 10 * MSS, 10 * MSS)
