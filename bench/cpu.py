"""The processor time of a bulk transfer over a path of 20 ms, and the goodput of a loop that other work blocks.

One flow, through streams. The sender and the receiver are two processes, each with a loop of its own. utcp sends real
UDP datagrams, kernel TCP real segments. The sender writes 64 KiB at a time, with `drain()`, and the receiver reads up
to 64 KiB at a time. Both stacks use CUBIC, except in the rows that name BBR (kernel TCP's is version 1). The path has
10, 50, 100 or 500 Mbit/s, a round trip of 20 ms, and a queue of one bandwidth-delay product (`bench.path_cells`). IP
packets have at most 1500 octets. utcp's payload is 1440 of them, kernel TCP's 1448. No offload joins packets on their
way, so that each arrives by itself. Each process has a network namespace of its own behind a TUN interface, and a relay
carries the packets between the two (`bench.real_path`). This needs root. Without root, both processes are on loopback,
the relay joins two UDP sockets, and utcp is measured alone.

The measurement takes the given time. Before it, the connection is open for a quarter of that time, one second at most,
which is not measured. Packets are the octets that the receiving application has read in the measured time, divided by
the payload of a full packet. Retransmissions are not counted as packets, but their processor time is.

CPU: processor time of the process per packet, in user mode and in the kernel, including the application's. The relay's
processor time is not included. The kernel processes an arriving packet, up to the socket, in the relay's process. On a
real host it does so in the interrupt of the network card, which is not in a process's time either. So this figure has
all of utcp's protocol work, but only a part of kernel TCP's. In particular, arriving ACKs release most segments of
kernel TCP's sender, so that the sender's ratio compares a whole TCP with the copying of its data.

wakeups: the number of times that the process slept until something happened (voluntary context switches). loop turns:
those of asyncio's loop; uvloop's are not counted. system calls: utcp's calls to send and to receive, without the loop's
own polling; kernel TCP's are not counted. segments: those that the receiver sent, which are ACKs. relay late: the delay
of packets beyond that of the path, 99th percentile. If it is longer than the time between two packets, packets arrive
together, which costs less.

blocked: a callback on the loop of one end sleeps (`time.sleep`) for 50 of every 100 ms. The path has 50 Mbit/s, 20 ms,
and a queue that takes 100 ms to drain. A shorter queue would be empty before the end of a pause, so that no sender in
user space could use the whole bandwidth.

The relay and both ends have real-time priority, if permitted, so that other load has little effect on the times at
which packets arrive and the ends run. On two CPUs, the relay and the ends cannot carry 500 Mbit/s, and the goodput is
what they have carried. A round takes 1.7 minutes for each loop.
"""

from collections.abc import Sequence
from typing import Final

from . import command, real_path
from .frame import Bench, Case, Figure, Figures, Goal, Option, Trial, Values, aims, per, ratio
from .kernel_path import unavailable
from .path_cells import BLOAT, Cell
from .real_path import PAYLOAD, RECEIVER, SENDER, Flow

BANDWIDTHS: Final = (10, 50, 100, 500)
"""Mbit/s."""
RTT: Final = 0.02
BLOCKED_BANDWIDTH: Final = 50
CONTROLLERS: Final = ("cubic", "bbr")
_ENDS: Final = (None, SENDER, RECEIVER)
_PLAIN: Final = [(mbit, 0, 0) for mbit in BANDWIDTHS]
_BLOCKED: Final = [(BLOCKED_BANDWIDTH, end, each) for end in (1, 2) for each in range(len(CONTROLLERS))]

_WARM_UP: Final = 0.25
"""Share of the measured time that passes before it, `_MAX_WARM_UP` seconds at most."""
_MAX_WARM_UP: Final = 1.0


def measure(trial: Trial) -> Figures:
    """Run one flow. Raises OSError."""
    seconds = float(trial.parameters["seconds"])
    blocked = _ENDS[trial.integer("blocked")]
    path = Cell(trial.parameters["mbit"] * 1e6, RTT, kind=BLOAT if blocked else "")
    controller = CONTROLLERS[trial.integer("controller")]
    warm_up = min(_MAX_WARM_UP, _WARM_UP * seconds)
    flow = Flow(trial.stack, trial.loop, controller, path.conditions, warm_up, seconds, blocked)
    result = real_path.run(flow, namespaces=bool(trial.parameters["namespaces"]))
    received = result.receiver
    packets = received.octets / PAYLOAD[trial.stack]
    figures: Figures = {
        "mbit": received.octets * 8e-6 / received.at,
        "late_us": 1e6 * result.lateness.p99,
        "receiver_segments": per(received.counts.segments, packets),
    }
    for end, usage in ((RECEIVER, received), (SENDER, result.sender)):
        figures[f"{end}_us"] = per(1e6 * usage.cpu, packets)
        figures[f"{end}_wakeups"] = per(usage.wakeups, packets)
        figures[f"{end}_turns"] = per(usage.turns, packets)
        figures[f"{end}_system_calls"] = per(usage.counts.system_calls, packets)
    return figures


def _name(mbit: int, blocked: int, controller: int) -> str:
    """Return the name of a case. `blocked` is an index of _ENDS, `controller` of CONTROLLERS, because parameters are
    numbers."""
    if not blocked:
        return f"{mbit} Mbit/s"
    return f"{_ENDS[blocked]} blocked, {CONTROLLERS[controller]}"


def _cases(values: Values) -> Sequence[Case]:
    reason = unavailable(CONTROLLERS)
    without = {} if reason is None else {"kernel_tcp": f"{reason}; utcp is on loopback"}
    cases = []
    for mbit, blocked, controller in (*_PLAIN, *_BLOCKED):
        parameters = {"mbit": mbit, "blocked": blocked, "controller": controller, "namespaces": int(reason is None)}
        cases.append(Case(_name(mbit, blocked, controller), {**values, **parameters}, without=without))
    return cases


BENCH: Final = Bench(
    name="cpu",
    title="Processor time per packet over a path of 20 ms",
    options=(Option("seconds", 4.0, 0.2, "measured in each trial, after its warm-up"),),
    cases=_cases,
    measure=measure,
    figures=(
        Figure("receiver_us", "receiver's CPU, µs per packet", 1, better="lower", headline=True),
        Figure("sender_us", "sender's CPU, µs per packet", 1, better="lower", headline=True),
        Figure("receiver_wakeups", "receiver's wakeups per packet", 2),
        Figure("sender_wakeups", "sender's wakeups per packet", 2),
        Figure("receiver_turns", "receiver's loop turns per packet", 2),
        Figure("sender_turns", "sender's loop turns per packet", 2),
        Figure("receiver_system_calls", "receiver's system calls per packet", 2),
        Figure("sender_system_calls", "sender's system calls per packet", 2),
        Figure("receiver_segments", "receiver's segments per packet", 2),
        Figure("mbit", "goodput, Mbit/s", 1, better="higher"),
        Figure("late_us", "relay late, µs p99"),
    ),
    goals=(
        *(
            Goal(f"receiver's CPU per packet, {name}", ratio("receiver_us", name), aims(1.3, 1.0), better="lower")
            for name in ("50 Mbit/s", "100 Mbit/s")
        ),
        *(
            Goal(f"goodput, {name}", ratio("mbit", name), aims(0.8, 0.95))
            for name in (_name(*each) for each in _BLOCKED)
        ),
    ),
    processes=(2,),
    rounds=3,
    rounds_in_all=1,
    options_in_all={"seconds": 3.0},
    seconds=100,
)

if __name__ == "__main__":
    command.main("cpu")
