"""ACKs below SND.UNA, which newer ones have overtaken: their SACK blocks are news all the same (RFC 6675 5, 2883 5)."""

from dataclasses import replace

import pytest

from tests.recovery.trace import MSS, RTT, consistent, recovery, sender, seqs
from tests.tcp.script import Script
from utcp.tcp.connection.ecn import Ecn
from utcp.tcp.recovery.recovery import FAST

SACK_ONLY = "mss 1000,sackOK"
"""With timestamps an ACK that was overtaken falls to PAWS."""


def half_acknowledged() -> Script:
    """Of ten segments four are acknowledged."""
    t = sender(10, options=SACK_ONLY)
    t.advance(RTT)
    t.receives(". 1:1 ack 4001")
    t.silent()
    return t


@pytest.mark.rfc("2883", "5-1", "5-3")
@pytest.mark.rfc("6675", "5-1")
@pytest.mark.defect(48)
def test_a_dsack_on_an_old_ack_undoes_the_reduction() -> None:
    t = sender(10, options=SACK_ONLY)
    t.advance(RTT)
    t.receives(". 1:1 ack 1 <sack 1001:2001>", ". 1:1 ack 1 <sack 1001:3001>", ". 1:1 ack 1 <sack 1001:4001>")
    t.sends(". 1:1001 ack 1")
    t.write(2 * MSS)
    t.receives(". 1:1 ack 10001")
    t.sends(". 10001:11001 ack 1", "P. 11001:12001 ack 1")
    t.advance(RTT)
    t.receives(". 1:1 ack 12001")
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (5 * MSS, 5 * MSS)
    t.receives(". 1:1 ack 10001 <sack 1:1001>")
    assert t.info.dsack_dups == 1
    assert (t.info.snd_cwnd, t.info.snd_ssthresh) == (10 * MSS, 1 << 30)


@pytest.mark.rfc("6675", "4-1", "5-1")
@pytest.mark.defect(48)
def test_a_sack_on_an_old_ack_is_news() -> None:
    """Three segments are SACKed with it, and the first is lost by that."""
    t = half_acknowledged()
    t.receives(". 1:1 ack 4001 <sack 7001:8001>")
    t.receives(". 1:1 ack 3001 <sack 8001:10001>")
    assert t.info.sacked == 3 * MSS
    assert seqs(t.drain(), t)[0] == 4001
    assert recovery(t).phase == FAST


@pytest.mark.rfc("2883", "5-1")
@pytest.mark.defect(48)
def test_blocks_of_an_old_ack_that_are_acknowledged_by_now_are_no_dsack() -> None:
    """They lie below SND.UNA, but above the ACK that they came with."""
    t = half_acknowledged()
    t.receives(". 1:1 ack 1 <sack 1001:2001>")
    t.receives(". 1:1 ack 1001 <sack 3001:4001 2001:2501>")
    assert t.info.dsack_dups == 0
    assert t.info.sacked == 0


@pytest.mark.rfc("2883", "5-2")
def test_a_dsack_on_an_old_ack_may_lie_within_the_second_block() -> None:
    t = half_acknowledged()
    t.receives(". 1:1 ack 3001 <sack 7001:8001 6001:9001>")
    assert t.info.dsack_dups == 1
    assert t.info.sacked == 3 * MSS


@pytest.mark.rfc("2018", "5-5")
@pytest.mark.parametrize(
    "blocks",
    ["10001:11001", "9001:11001", "6001:5001", "5001:5001", "-100000:-90000", "-90000:1001", "1000000000:1000001000"],
)
@pytest.mark.parametrize("ack", [3001, 4001])
def test_blocks_of_nonsense_change_nothing(ack: int, blocks: str) -> None:
    """Of what was never sent, empty, or older than any window allows; the peer offered 65,535 octets."""
    t = half_acknowledged()
    before = t.info
    t.receives(f". 1:1 ack {ack} <sack {blocks}>")
    t.silent()
    assert t.info == replace(before, segs_in=before.segs_in + 1)
    consistent(recovery(t).board)


def test_an_ack_older_than_any_window_tells_nothing() -> None:
    """RFC 5961 5: it is challenged, and its blocks are not looked at."""
    t = half_acknowledged()
    t.receives(". 1:1 ack -65535 <sack 7001:8001>")
    t.sends(". 10001:10001 ack 1")
    assert t.info.sacked == 0


def test_a_mark_on_an_old_ack_does_not_reduce() -> None:
    """ECE there is of before the reduction that it brought about, or the ACKs since have repeated it."""
    t = half_acknowledged()
    t.connection.ecn = Ecn()
    t.receives("E. 1:1 ack 3001 <sack 7001:8001>")
    assert t.info.sacked == MSS
    assert t.info.ca_state == "disorder"
    assert t.info.snd_ssthresh == 1 << 30


def test_the_window_of_an_old_ack_is_not_taken() -> None:
    t = half_acknowledged()
    t.receives(". 1:1 ack 3001 win 1000 <sack 7001:8001>")
    assert t.info.snd_wnd == 65535
