"""All faults that the tests here try a part of, and failing allocations: `python -m tests.injection`."""

from __future__ import annotations

import gc
import sys

from tests import contained
from tests.injection.allocations import allocations
from tests.injection.faults import Fault, plan, say
from tests.injection.test_core import faults_of_calls, run_with_calls, run_with_handed
from tests.injection.test_endpoints import run
from utcp.tcp import COMPILED


def main() -> int:
    """Try each, print what fails, and return how many did."""
    gc.disable()  # as in the tests
    failed = tried = 0
    work: list[tuple[str, object, list[Fault]]] = []
    if not COMPILED:
        work.append(("calls of the core", run_with_calls, faults_of_calls()))
    else:
        say("calls of the core: left out, the compiled core has no frames to be seen")
    handed = run_with_handed(None).injected.counts
    work.append(("what a stack is handed", run_with_handed, list(plan(handed))))
    work.append(("what an endpoint calls", run, list(plan(run(None).faults.counts))))
    for title, call, faults in work:
        say(f"{title}: {len(faults)}")
        for fault in faults:
            tried += 1
            try:
                call(fault)  # type: ignore[operator]  # of different results
            except BaseException as error:
                failed += 1
                say(f"  {fault}: {type(error).__name__}: {error}")
    more_tried, more_failed = allocations()
    say(f"{tried + more_tried} faults, {failed + more_failed} of them harmed others or were not told of")
    return failed + more_failed


if __name__ == "__main__":
    with contained.allowed():
        sys.exit(main() > 0)
