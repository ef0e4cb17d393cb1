"""A SYN in LAST_ACK gets its RST, and is not looked at any further."""

from tests.tcp.reach import last_ack
from tests.tcp.script import MSS
from utcp.tcp.state import LAST_ACK


def test_syn_with_an_older_timestamp_gets_a_rst_and_nothing_else() -> None:
    t = last_ack(options=f"mss {MSS},ts 1000")
    t.receives(f"S 5000:5000 <mss {MSS},ts 900>")
    t.sends("R. #0:#0 ack 5001")
    assert t.stack.counters.paws_drops == 0
    assert t.state == LAST_ACK


def test_syn_without_timestamps_is_no_segment_of_this_connection() -> None:
    t = last_ack(options=f"mss {MSS},ts 1000")
    t.receives("S 5000:5000 <nots>")
    t.sends("R. #0:#0 ack 5001")
    assert t.stack.counters.paws_drops == 0
