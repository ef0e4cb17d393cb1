"""Whatever call of the core raises, one connection ends at most, its user is told, and the others do not notice."""

from collections.abc import Callable

import pytest

from tests.injection.faults import KINDS, Calls, Fault, Faults, plan
from tests.injection.stacks import World
from tests.variant import interpreted_only

pytestmark = [pytest.mark.defect(91), pytest.mark.usefixtures("contained")]

ALWAYS = (
    "Stack.settle: _delete_tcb",
    "Stack._delete_tcb: add",
    "Stack.forget: dropped",
    "Stack.forget: remove",
    "Stack._handshake_complete: completed",
    "Stack.handle_timeout: handle_timeout",
    "Admission.left: get",
    "TimerQueue.schedule: _move",
    "TimerQueue.next: schedule",
    "TimerQueue.take_expired: append",
    "TimerQueue._take_out: _move",
    "TimeWaitTable.add: get",
    "TimeWaitTable.add: _sweep",
    "Outbox.add: append",
    "Outbox.add_train: append",
    "Outbox.take: clear",
    "SendSide.append: append",
    "Listener.accept: accept",
    "Listener.completed: append",
    "Listener.completed: pop",
    "ReceiveSide.read: take",
    "ReceiveQueue.take: join",
    "Connection.read: note",
)
"""Calls between the steps of what all connections share, and of what hands octets over."""

BEHIND = (
    "TimerQueue.take_expired: append",
    "Listener.completed: append",
)
"""Calls that change what all connections share, before the core has noted that."""

STRIDE = 60
"""Every so many of the other faults are tried here; `python -m tests.injection` tries all."""


def run_with_calls(fault: Fault | None) -> World:
    world = World(Calls(fault))
    world.run()
    world.check()
    return world


def run_with_interrupts(fault: Fault | None) -> World:
    world = World(Calls(fault, after=True))
    world.run()
    world.check()
    return world


def run_with_handed(fault: Fault | None) -> World:
    world = World(handed=Faults(fault))
    world.run()
    world.check()
    return world


def faults_of_calls() -> list[Fault]:
    """Those of the core's calls in a run without a fault."""
    return _faults(run_with_calls, [*KINDS, KeyboardInterrupt])


def faults_of_interrupts() -> list[Fault]:
    """Those behind the core's calls of C functions in a run without a fault."""
    return _faults(run_with_interrupts, [KeyboardInterrupt])


def _faults(run: Callable[[Fault | None], World], kinds: list[Callable[[], BaseException]]) -> list[Fault]:
    run(None)  # what is remembered for good is asked for once
    calls = run(None).injected
    assert isinstance(calls, Calls)
    return list(calls.plan(kinds))


def _try(run: Callable[[Fault | None], World], faults: list[Fault], sites: tuple[str, ...]) -> None:
    """Try the faults at these sites, and some of the others."""
    always = [fault for fault in faults if any(site in fault.site for site in sites)]
    missing = [site for site in sites if not any(site in fault.site for fault in always)]
    assert not missing, f"the core makes no such call any more: {missing}"
    for fault in [*always, *[fault for fault in faults if fault not in always][::STRIDE]]:
        try:
            world = run(fault)
        except BaseException as error:
            raise AssertionError(f"{fault}: {error}") from error
        assert world.injected.error is not None, fault


@interpreted_only
def test_any_call_of_the_core_may_raise() -> None:
    _try(run_with_calls, faults_of_calls(), ALWAYS)


@interpreted_only
def test_a_signal_handler_may_raise_behind_any_call_of_the_core() -> None:
    _try(run_with_interrupts, faults_of_interrupts(), BEHIND)


def test_whatever_an_observer_or_the_mtu_raises() -> None:
    """These are handed to the stack, so that the compiled one can be asked as well."""
    counts = run_with_handed(None).injected.counts
    assert {site for site in counts if site.startswith("observer.")} >= {
        "observer.segment_received",
        "observer.segment_sent",
        "observer.state_changed",
        "observer.connection_ended",
        "observer.retransmitted",
        "observer.timer_expired",
        "observer.mss_changed",
        "observer.path_unreachable",
        "observer.malformed",
        "observer.time_wait_ended",
    }
    for fault in plan(counts):
        world = run_with_handed(fault)
        assert world.injected.error is not None, fault
        if fault.site.startswith("observer."):
            assert [failure.error for failure in world.near.failures] == [world.injected.error], fault
            assert not world.near.observers
