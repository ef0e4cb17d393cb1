"""Whatever a system call or the link raises, in real time, on both loops."""

from collections import Counter

import pytest

from tests.injection.faults import KINDS, Fault
from tests.injection.sockets import SYSTEM, play

pytestmark = [pytest.mark.defect(91), pytest.mark.usefixtures("contained")]


async def test_whatever_a_system_call_raises_no_connection_is_lost() -> None:
    counts = (await play(None, socket_sites=True)).faults.counts
    assert counts["socket.recvmsg"]
    assert counts["socket.sendmsg"]
    raised: Counter[str] = Counter()
    number = 0
    for site, count in sorted(counts.items()):
        often = site in ("socket.sendto", "socket.sendmsg", "socket.recvmsg")
        for ordinal in range(min(count, len(SYSTEM))) if often else [0]:
            run = await play(Fault(site, ordinal, SYSTEM[number % len(SYSTEM)]), socket_sites=True)
            raised[site] += run.faults.error is not None
            number += 1
    assert raised.keys() == counts.keys()
    assert all(raised.values()), raised


async def test_whatever_the_link_raises_no_connection_is_lost() -> None:
    counts = (await play(None, socket_sites=False)).faults.counts
    assert {"link.send", "link.receive", "link.path_errors", "link.flush_pending", "link.watch_room"} <= counts.keys()
    for number, site in enumerate(sorted(counts)):
        run = await play(Fault(site, 0, KINDS[number % len(KINDS)]), socket_sites=False)
        assert run.faults.error is not None, site
