"""Whatever the loop raises below a tunnel, or what carries octets through it, in real time, on both loops."""

import pytest

from tests.injection.faults import KINDS, Fault
from tests.injection.tunnels import play

pytestmark = [pytest.mark.defect(91), pytest.mark.usefixtures("contained")]

STRIDE = 3
"""Every so many of the faults are tried here; `python -m tests.injection` tries all."""


async def test_one_user_of_a_tunnel_is_harmed_at_most() -> None:
    counts = (await play(None)).faults.counts
    assert {
        "Side.data_received",
        "Side.eof_received",
        "TlsTransport.data_received",
        "TlsTransport.write",
    } <= counts.keys()
    assert {site.partition(" ")[0] for site in counts} >= {"loop.call_soon", "loop.call_later"}
    for number, site in enumerate(sorted(counts)):
        if number % STRIDE == 0:
            await play(Fault(site, counts[site] // 2, KINDS[number % len(KINDS)]))
