"""All faults that the tests here try a part of, and failing allocations: `python -m tests.injection`."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from functools import partial

from tests import contained
from tests.injection import sockets, tunnels
from tests.injection.allocations import allocations
from tests.injection.faults import KINDS, Fault, plan, say
from tests.injection.test_core import (
    faults_of_calls,
    faults_of_interrupts,
    run_with_calls,
    run_with_handed,
    run_with_interrupts,
)
from tests.injection.test_endpoints import run
from utcp.tcp import COMPILED


def _on_sockets(sites: sockets.Sites, fault: Fault | None) -> sockets.Run:
    return asyncio.run(sockets.play(fault, sites))


def _through_a_tunnel(fault: Fault | None) -> tunnels.Run:
    return asyncio.run(tunnels.play(fault))


def main() -> int:
    """Try each, print what fails, and return how many did."""
    gc.disable()  # as in the tests
    failed = tried = 0
    work: list[tuple[str, Callable[[Fault | None], object], list[Fault]]] = []
    if not COMPILED:
        work.append(("calls of the core", run_with_calls, faults_of_calls()))
        work.append(("interrupts behind calls of the core", run_with_interrupts, faults_of_interrupts()))
    else:
        say("calls of the core: left out, the compiled core has no frames to be seen")
    handed = run_with_handed(None).injected.counts
    work.append(("what a stack is handed", run_with_handed, list(plan(handed))))
    work.append(("what an endpoint calls", run, list(plan(run(None).faults.counts))))
    sites: sockets.Sites
    for sites, kinds in (("socket", sockets.SYSTEM), ("link", KINDS), ("loop", KINDS)):
        on_sockets = partial(_on_sockets, sites)
        faults = list(plan(on_sockets(None).faults.counts, kinds))
        work.append((f"two endpoints on loopback: {sites}", on_sockets, faults))
    work.append(("a tunnel", _through_a_tunnel, list(plan(_through_a_tunnel(None).faults.counts))))
    for title, call, faults in work:
        say(f"{title}: {len(faults)}")
        for fault in faults:
            tried += 1
            try:
                call(fault)
            except BaseException as error:
                failed += 1
                say(f"  {fault}: {type(error).__name__}: {error}")
    more_tried, more_failed = allocations()
    say(f"{tried + more_tried} faults, {failed + more_failed} of them harmed others or were not told of")
    return failed + more_failed


if __name__ == "__main__":
    with contained.allowed():
        sys.exit(main() > 0)
