"""Whatever a system call or the link raises, in real time, on both loops."""

from collections import Counter

import pytest

from tests.injection.faults import KINDS, LOOP_METHODS, Fault
from tests.injection.sockets import SYSTEM, play

pytestmark = [pytest.mark.defect(91), pytest.mark.usefixtures("contained")]


async def test_whatever_a_system_call_raises_no_connection_is_lost() -> None:
    counts = (await play(None, "socket")).faults.counts
    assert counts["socket.recvmsg"]
    assert counts["socket.sendmsg"]
    raised: Counter[str] = Counter()
    number = 0
    for site, count in sorted(counts.items()):
        often = site in ("socket.sendto", "socket.sendmsg", "socket.recvmsg")
        for ordinal in range(min(count, len(SYSTEM))) if often else [0]:
            run = await play(Fault(site, ordinal, SYSTEM[number % len(SYSTEM)]), "socket")
            raised[site] += run.faults.error is not None
            number += 1
    assert raised.keys() == counts.keys()
    assert all(raised.values()), raised


async def test_whatever_the_link_raises_no_connection_is_lost() -> None:
    counts = (await play(None, "link")).faults.counts
    assert {"link.send", "link.receive", "link.path_errors", "link.flush_pending", "link.watch_room"} <= counts.keys()
    for number, site in enumerate(sorted(counts)):
        run = await play(Fault(site, 0, KINDS[number % len(KINDS)]), "link")
        assert run.faults.error is not None, site


async def test_whatever_the_loop_raises_no_connection_is_lost() -> None:
    counts = (await play(None, "loop")).faults.counts
    assert {site.partition(" ")[0] for site in counts} == {f"loop.{method}" for method in LOOP_METHODS}
    raised = set()  # in real time, not each site is passed in each run
    for number, site in enumerate(sorted(counts)):
        for ordinal in sorted({0, counts[site] // 2}):
            run = await play(Fault(site, ordinal, KINDS[number % len(KINDS)]), "loop")
            if run.faults.error is not None:
                raised.add(site)
                assert run.raised == ([run.faults.error] if site.startswith("loop.add_reader") else []), site
    assert raised >= {
        "loop.call_soon driver._dispatch",
        "loop.call_later driver._arm",
        "loop.add_reader driver.__init__",
    }
