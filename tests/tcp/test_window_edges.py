"""At the edges of our window (RFC 9293 3.10.7.4, first check): the ACK of a segment beyond it is not read. The ACK of a
segment before it is read, as far back as a window may reach (RFC 9293 A.2)."""

import pytest

from tests.tcp.reach import established
from tests.tcp.script import MSS, Script

WINDOW = 4096


def with_data_in_flight() -> Script:
    """100 octets of ours in flight, and a window of WINDOW octets that begins at 1."""
    t = established(recv_buffer=WINDOW)
    t.write(100)
    t.drain()
    assert t.connection.receive_side.window == WINDOW
    return t


def with_closed_window() -> Script:
    """The same, but the peer has filled the window; RCV.NXT is its right edge."""
    t = with_data_in_flight()
    for seq in range(1, WINDOW, 512):
        t.receives(f". {seq}:{seq + 512} ack 1")
        t.drain()
    assert t.connection.receive_side.window == 0
    return t


def acknowledges(t: Script, line: str) -> bool:
    """Whether the ACK in this segment counts."""
    t.receives(line)
    answers = t.drain()
    acked = t.info.bytes_acked == 100
    if not acked:
        assert [segment.length for segment in answers] == [0]
    return acked


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (f". {WINDOW}:{WINDOW} ack 101", True),
        (f". {WINDOW + 1}:{WINDOW + 1} ack 101", False),
        (f". {WINDOW}:{WINDOW + 10} ack 101", True),
        (f". {WINDOW + 1}:{WINDOW + 11} ack 101", False),
        (". 0:0 ack 101", True),
        (". 0:1 ack 101", True),
        (". 0:2 ack 101", True),
        (f". {1 - WINDOW}:{1 - WINDOW} ack 101", True),
        (f". {-WINDOW}:{-WINDOW} ack 101", False),
        (f". {1 - WINDOW}:{11 - WINDOW} ack 101", True),
        (f". {-WINDOW}:{10 - WINDOW} ack 101", False),
    ],
)
def test_edges_of_an_open_window(line: str, counts: bool) -> None:
    assert acknowledges(with_data_in_flight(), line) == counts


@pytest.mark.parametrize(
    ("seq", "octets", "counts"),
    [
        (0, 0, True),
        (0, 1, True),
        (0, 5, True),
        (1, 0, True),
        (2, 0, True),
        (3, 0, False),
        (6, 0, False),
        (1, 1, True),
        (2, 1, False),
        (6, 1, False),
    ],
)
def test_edges_of_a_closed_window(seq: int, octets: int, counts: bool) -> None:
    """MUST-66: ACKs count at RCV.NXT, with text that is dropped; and of an empty segment also one octet behind it,
    where those of a peer stand that probes the window."""
    first = WINDOW + seq
    assert acknowledges(with_closed_window(), f". {first}:{first + octets} ack 101") == counts


def test_segment_without_ack_one_octet_behind_a_closed_window_is_unacceptable() -> None:
    t = with_closed_window()
    t.receives(f"- {WINDOW + 2}:{WINDOW + 2}")
    t.sends(f". 101:101 ack {WINDOW + 1}")


def test_peer_that_answers_may_keep_its_window_closed_for_ever() -> None:
    """MUST-37, SHLD-17: whatever R2 is."""
    t = established(retries=1)
    t.receives(". 1:1 ack 1 win 0")
    t.write(MSS)
    t.silent()
    for _ in range(10):
        t.advance((t.stack.next_timeout() or 0.0) - t.now)
        assert len(t.drain()) == 1
        t.receives(". 1:1 ack 1 win 0")
        t.drain()
    assert not t.ended
