"""One connection at a time: every knob, an application that pauses, and a path that does what paths do.

Others, and more of them: `python -m tests.properties.long_knobs 20000`.
"""

import pytest

from tests.properties.knobs import run
from tests.tcp.reach import established
from tests.variant import share
from utcp.tcp.path_mtu import BASE
from utcp.wire import HEADER_LENGTH
from utcp.wire.options import TIMESTAMPS_LENGTH


@pytest.mark.parametrize("first", share(240)[::24])
def test_lives(first: int) -> None:
    for seed in range(first, first + 24):
        run(seed)


# --- what the lives have found


@pytest.mark.rfc("8899", "5.1.2-2")
def test_base_segments_have_room_for_timestamps() -> None:
    """They were 12 octets longer than what gets through nearly everywhere."""
    t = established(mss=1452, options="mss 1452,sackOK,ts 100")
    t.connection.path_mtu.black_hole_suspected(2, t.connection.mss, t.now)
    t.connection.use_mss(t.connection.path_mtu.size, t.now)
    t.write(BASE)
    assert [len(segment.payload) for segment in t.drain()] == [1200 - HEADER_LENGTH - TIMESTAMPS_LENGTH]


@pytest.mark.parametrize("room", [True, False])
def test_path_mtu_is_probed_only_where_the_peers_window_has_room_behind_the_probe(room: bool) -> None:
    """The loss of a probe with nothing behind it shows by a timeout: with a small buffer at the peer each cost one."""
    t = established(mss=1400, options="mss 1400")
    t.connection.path_mtu.black_hole_suspected(2, t.connection.mss, t.now)
    t.connection.use_mss(t.connection.path_mtu.size, t.now)
    probe = t.connection.path_mtu.due(1 << 16, t.now)
    t.receives(f". 1:1 ack 1 win {probe + 3 * BASE - (not room)}")
    t.write(20 * BASE)
    assert len(t.drain()[0].payload) == (probe if room else BASE)
