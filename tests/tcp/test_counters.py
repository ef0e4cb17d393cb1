"""The stack's totals under nstat's names: what counts once in each of them, and in no other."""

from collections.abc import Callable
from dataclasses import fields
from errno import EHOSTUNREACH
from typing import Any

import pytest

from tests.tcp.reach import closed, established, fin_wait_2, syn_rcvd, syn_sent, time_wait
from tests.tcp.script import MSS, Script
from utcp.tcp.counters import Counters
from utcp.wire import encode
from utcp.wire.segment import CONGESTION_EXPERIENCED

SACK = f"mss {MSS},sackOK"
EVERY_SEGMENT = {"TcpInSegs", "TcpOutSegs"}
"""They change all the time, and have tests of their own below."""

Reach = Callable[[], Script]
Step = Callable[[Script], object]


def sending(segments: int, **knobs: Any) -> Reach:
    """ESTABLISHED with so many full segments in flight."""

    def reach() -> Script:
        t = established(**knobs)
        t.write(segments * MSS)
        t.drain()
        return t

    return reach


def after(reach: Reach, *steps: Step) -> Reach:
    """What `steps` lead to from there."""

    def reached() -> Script:
        t = reach()
        for step in steps:
            step(t)
            t.drain()
        return t

    return reached


def receives(*lines: str) -> Step:
    return lambda t: t.receives(*lines)


def waits(seconds: float) -> Step:
    return lambda t: t.advance(seconds)


def writes(octets: int) -> Step:
    return lambda t: t.write(octets)


def abort(t: Script) -> None:
    t.abort()


def close(t: Script) -> None:
    t.close()


def linger_not_and_close(t: Script) -> None:
    t.connection.linger = 0.0
    t.close()


def connect(t: Script) -> None:
    t.connect()


def another_syn(t: Script) -> None:
    t.flow_to(50001, 80).receives(f"S 0:0 <mss {MSS}>")


def another_ack(ack: int) -> Step:
    return lambda t: t.flow_to(50001, 80).receives(f". 1:1 ack {ack}")


def host_unreachable(t: Script) -> None:
    t.stack.path_error("peer", EHOSTUNREACH, None, bytes(8), t.now)


def marked_text(t: Script) -> None:
    segment = t.flow.segment("P. 1:101 ack 1")
    t.stack.receive_datagram(encode(segment), "peer", t.now, ecn=CONGESTION_EXPERIENCED)


def listening(*, backlog: int = 100, **knobs: Any) -> Script:
    t = Script(**knobs)
    t.listen(backlog=backlog)
    return t


def full() -> Script:
    """A listener with a backlog of one connection, which waits."""
    t = listening(backlog=1)
    t.receives(f"S 0:0 <mss {MSS}>")
    t.drain()
    t.receives(". 1:1 ack 1")
    return t


def ecn_established() -> Script:
    t = Script()
    t.listen()
    t.receives(f"SEW 0:0 <mss {MSS}>")
    t.drain()
    t.receives(". 1:1 ack 1")
    t.accept()
    return t


def served_again() -> Script:
    """TIME_WAIT between ports of which ours has a listener now."""
    t = time_wait()
    t.stack.listen(50000, t.now)
    return t


def crowded(peers: int, *steps: Step) -> Reach:
    """So many connections in a budget for 102, of which 89 may exist; the first of them is the script's."""

    def reach() -> Script:
        t = listening(max_memory=1 << 20)
        for number in range(peers):
            flow = t.flow_to(50000 + number, 80)
            flow.receives(f"S 0:0 <{SACK}>")
            t.drain()
            flow.receives(". 1:1 ack 1")
            t.drain()
            t.accept()
        t.connection = t.stack.connections[t.flow.key]
        for step in steps:
            step(t)
            t.drain()
        return t

    return reach


def another_receives(peer: int, *places: int) -> Step:
    """Text of a thousand octets at each of these places, from another peer."""
    return lambda t: t.flow_to(50000 + peer, 80).receives(*(f". {place}:{place + 1000} ack 1" for place in places))


def closes_with_much_unsent(t: Script) -> None:
    t.connection.send(bytes(200_000))
    t.close()


def with_holes(count: int) -> Reach:
    return after(established, receives(*(f"P. {start}:{start + 10} ack 1" for start in range(21, 20 * count + 21, 20))))


CASES: dict[str, tuple[Reach, Step, dict[str, int]]] = {
    "active open": (Script, connect, {"TcpActiveOpens": 1}),
    "passive open": (listening, receives(f"S 0:0 <mss {MSS}>"), {"TcpPassiveOpens": 1}),
    "refused": (syn_sent, receives("R. 0:0 ack 1"), {"TcpAttemptFails": 1}),
    "opened": (syn_sent, receives(f"S. 0:0 ack 1 <mss {MSS}>"), {"TcpCurrEstab": 1}),
    "reset": (established, receives("R 1:1"), {"TcpEstabResets": 1, "TcpCurrEstab": -1}),
    "peer closed": (established, receives("F. 1:1 ack 1"), {}),
    "closed": (established, close, {"TcpExtTCPOrigDataSent": 1, "TcpCurrEstab": -1}),
    "no segment": (established, lambda t: t.receives_bytes(b"short"), {"TcpInErrs": 1}),
    "unknown port": (closed, receives("S 0:0"), {"TcpOutRsts": 1}),
    # loss
    "timeout": (sending(3), waits(0.21), {"TcpExtTCPTimeouts": 1, "TcpRetransSegs": 1}),
    "after a timeout": (
        after(sending(3), waits(0.21)),
        receives(". 1:1 ack 1001"),
        {"TcpExtTCPSlowStartRetrans": 2, "TcpRetransSegs": 2},
    ),
    "second timeout": (
        after(sending(1), waits(0.21)),
        waits(0.41),
        {"TcpExtTCPTimeouts": 1, "TcpRetransSegs": 1, "TcpExtTCPLostRetransmit": 1},
    ),
    "spurious timeout": (
        after(sending(1, options=f"mss {MSS + 12},ts 100"), waits(0.25)),
        receives(". 1:1 ack 989 <ts 2000:1>"),
        {"TcpExtTCPSpuriousRTOs": 1},
    ),
    "duplicate ACKs": (
        sending(10),
        receives(*[". 1:1 ack 1"] * 3),
        {"TcpExtTCPRenoRecovery": 1, "TcpExtTCPFastRetrans": 1, "TcpRetransSegs": 1},
    ),
    "SACK": (
        sending(10, options=SACK),
        receives(". 1:1 ack 1 <sack 1001:4001>"),
        {"TcpExtTCPSackRecovery": 1, "TcpExtTCPFastRetrans": 1, "TcpRetransSegs": 1},
    ),
    "reordering": (
        after(sending(3, options=SACK, rtt=0.1), waits(0.1), receives(". 1:1 ack 1 <sack 1001:2001>")),
        receives(". 1:1 ack 3001"),
        {"TcpExtTCPSACKReorder": 1},
    ),
    "tail loss probe": (
        sending(1, options=SACK, rtt=0.1, max_ack_delay=0.02),
        waits(0.23),
        {"TcpExtTCPLossProbes": 1, "TcpRetransSegs": 1},
    ),
    "probe repaired": (
        after(
            sending(1, options=SACK, rtt=0.1, max_ack_delay=0.02), waits(0.23), receives(". 1:1 ack 1001"), writes(MSS)
        ),
        receives(". 1:1 ack 2001"),
        {"TcpExtTCPLossProbeRecovery": 1},
    ),
    "DSACK": (
        after(sending(2, options=SACK, rtt=0.1), receives(". 1:1 ack 1001")),
        receives(". 1:1 ack 1001 <sack 1:1001>"),
        {"TcpExtTCPDSACKRecv": 1},
    ),
    "DSACK out of order": (
        after(sending(5, options=SACK), receives(". 1:1 ack 1 <sack 1001:4001>")),
        receives(". 1:1 ack 1 <sack 2001:3001 1001:4001>"),
        {"TcpExtTCPDSACKOfoRecv": 1},
    ),
    # receiving
    "received twice": (
        after(lambda: established(options=SACK), receives("P. 1:101 ack 1")),
        receives("P. 1:101 ack 1"),
        {"TcpExtTCPDSACKOldSent": 1},
    ),
    "received twice out of order": (
        after(lambda: established(options=SACK), receives("P. 101:201 ack 1")),
        receives("P. 101:201 ack 1"),
        {"TcpExtTCPDSACKOfoSent": 1, "TcpExtTCPOFOQueue": 1},
    ),
    "out of order": (established, receives("P. 101:201 ack 1"), {"TcpExtTCPOFOQueue": 1}),
    "too many holes": (with_holes(1024), receives("P. 30001:30011 ack 1"), {"TcpExtTCPOFODrop": 1}),
    "congestion mark": (ecn_established, marked_text, {"IpExtInCEPkts": 1}),
    "old timestamp": (
        lambda: established(options=f"mss {MSS},ts 1000"),
        receives("P. 1:101 ack 1 <ts 999>"),
        {"TcpExtPAWSEstab": 1},
    ),
    "no timestamp": (
        lambda: established(options=f"mss {MSS},ts 1000"),
        receives("P. 1:101 ack 1 <nots>"),
        {"TcpExtPAWSEstab": 1},
    ),
    # memory
    "half of the memory": (
        crowded(51),
        another_receives(1, *range(1, 8001, 1000)),
        {"TcpExtTCPMemoryPressures": 1},
    ),
    "no memory for text": (
        crowded(89, another_receives(1, *range(1, 20_000, 1000))),
        receives(". 1:1001 ack 1", ". 1001:2001 ack 1"),
        {"TcpExtTCPRcvQDrop": 1},
    ),
    "no memory for text out of order": (
        crowded(76),
        another_receives(1, *range(1001, 20_000, 2000)),
        {"TcpExtOfoPruned": 10, "TcpExtTCPOFOQueue": 10},
    ),
    "no memory for an orphan": (
        crowded(
            40, closes_with_much_unsent, *(another_receives(peer, *range(1, 60_000, 1000)) for peer in (1, 2, 3, 4))
        ),
        another_receives(5, *range(1, 60_000, 1000)),
        {
            "TcpExtTCPAbortOnMemory": 1,
            "TcpEstabResets": 1,
            "TcpOutRsts": 1,
        },
    ),
    "no memory for TIME_WAIT": (
        crowded(89, close, receives(". 1:1 ack 2"), another_receives(1, *range(1, 20_000, 1000))),
        receives("F. 1:1 ack 2"),
        {"TcpExtTCPTimeWaitOverflow": 1},
    ),
    # TIME_WAIT
    "TIME_WAIT": (fin_wait_2, receives("F. 1:1 ack 2"), {"TcpExtTW": 1}),
    "TIME_WAIT reused": (
        served_again,
        receives(f"S 1000:1000 <mss {MSS}>"),
        {"TcpExtTWRecycled": 1, "TcpPassiveOpens": 1},
    ),
    "TIME_WAIT attacked": (time_wait, receives("S 5:5"), {"TcpExtTCPChallengeACK": 1}),
    # listeners
    "half open and reset": (syn_rcvd, receives("R 1:1"), {"TcpAttemptFails": 1}),
    "backlog": (full, another_syn, {"TcpExtListenOverflows": 1, "TcpExtListenDrops": 1}),
    "no cookies": (
        lambda: syn_rcvd(syn_backlog=1, syn_cookies="never"),
        another_syn,
        {"TcpExtListenDrops": 1},
    ),
    "cookie": (
        lambda: syn_rcvd(syn_backlog=1),
        another_syn,
        {"TcpExtTCPReqQFullDoCookies": 1, "TcpExtSyncookiesSent": 1},
    ),
    "cookies for all": (lambda: listening(syn_cookies="always"), another_syn, {"TcpExtSyncookiesSent": 1}),
    "cookie back": (
        after(lambda: listening(syn_cookies="always"), another_syn),
        another_ack(1),
        {"TcpExtSyncookiesRecv": 1, "TcpPassiveOpens": 1, "TcpCurrEstab": 1},
    ),
    "cookie back at a full backlog": (
        after(
            lambda: listening(backlog=1, syn_backlog=1, syn_cookies="always"),
            another_syn,
            Script.drain,
            receives(f"S 0:0 <mss {MSS}>"),
            Script.drain,
            lambda t: t.flow_to(50002, 80).receives(f"S 0:0 <mss {MSS}>"),
            Script.drain,
            receives(". 1:1 ack 1"),
            lambda t: t.flow_to(50002, 80).receives(". 1:1 ack 1"),
        ),
        another_ack(1),
        {"TcpExtListenOverflows": 1, "TcpExtListenDrops": 1, "TcpOutRsts": 1},
    ),
    "no such cookie": (
        after(lambda: listening(syn_cookies="always"), another_syn),
        another_ack(1 + (1 << 25)),
        {"TcpExtSyncookiesFailed": 1, "TcpOutRsts": 1},
    ),
    "the mark of a cookie": (
        after(lambda: listening(syn_cookies="always"), another_syn),
        another_ack(77),
        {"TcpExtSyncookiesFailed": 1},
    ),
    # attacks
    "ACK of nothing": (established, receives(". 1:1 ack 5000"), {"TcpExtTCPChallengeACK": 1}),
    "SYN": (established, receives("S 5:5"), {"TcpExtTCPChallengeACK": 1, "TcpExtTCPSYNChallenge": 1}),
    "SYN too many": (after(established, receives("S 5:5")), receives("S 5:5"), {"TcpExtTCPSYNChallenge": 1}),
    "ICMP of nothing": (established, host_unreachable, {"TcpExtOutOfWindowIcmps": 1}),
    # endings
    "no answer": (
        lambda: syn_sent(syn_retries=0),
        waits(1.1),
        {"TcpExtTCPAbortOnTimeout": 1, "TcpAttemptFails": 1},
    ),
    "closed unread": (
        after(established, receives("P. 1:101 ack 1")),
        close,
        {"TcpExtTCPAbortOnClose": 1, "TcpEstabResets": 1, "TcpOutRsts": 1, "TcpCurrEstab": -1},
    ),
    "aborted": (
        established,
        abort,
        {"TcpExtTCPAbortOnData": 1, "TcpEstabResets": 1, "TcpOutRsts": 1, "TcpCurrEstab": -1},
    ),
    "linger 0": (
        established,
        linger_not_and_close,
        {"TcpExtTCPAbortOnData": 1, "TcpEstabResets": 1, "TcpOutRsts": 1, "TcpCurrEstab": -1},
    ),
    "text after close": (
        fin_wait_2,
        receives("P. 1:101 ack 2"),
        {"TcpExtTCPAbortOnData": 1, "TcpEstabResets": 1, "TcpOutRsts": 1},
    ),
    "keepalive": (lambda: established(keepalive=True, keepalive_idle=10.0), waits(10.1), {"TcpExtTCPKeepAlive": 1}),
}


@pytest.mark.parametrize(("reach", "step", "expected"), CASES.values(), ids=list(CASES))
@pytest.mark.rfc("2883", "5-2")
@pytest.mark.rfc("6928", "12-1")
def test_what_counts_where(reach: Reach, step: Step, expected: dict[str, int]) -> None:
    t = reach()
    t.drain()
    before = t.stack.snmp()
    step(t)
    t.drain()
    changed = {name: value - before[name] for name, value in t.stack.snmp().items() if value != before[name]}
    assert {name: change for name, change in changed.items() if name not in EVERY_SEGMENT} == expected


def test_the_table_has_every_counter() -> None:
    names = {name for _, _, expected in CASES.values() for name in expected}
    assert names | EVERY_SEGMENT == set(Script().stack.snmp())


def test_each_counter_has_a_name_of_its_own() -> None:
    """One counter after another is 1: exactly one name shows it."""
    shown = {}
    for field in fields(Counters):
        counters = Counters(**{field.name: 1})
        shown[field.name] = [name for name, value in counters.snmp().items() if value > 0]
    nameless = ["resets_withheld", "ports_exhausted", "broken_off", "past_bytes_sent", "past_bytes_received"]
    nameless += [name for name in shown if name.startswith("refused_by_")]
    for name in nameless:
        assert shown.pop(name) == []
    assert all(len(names) == 1 for names in shown.values())
    assert len({names[0] for names in shown.values()}) == len(Counters().snmp())


def test_segments_in_and_out() -> None:
    """RFC 4022: OutSegs is without segments that only carry what was sent before."""
    t = established()  # SYN, SYN-ACK, ACK
    t.write(2 * MSS)
    t.drain()
    t.advance(0.21)  # one of them again
    t.drain()
    t.receives(". 1:1 ack 2001", ". 1:1 ack 2001")
    snmp = t.stack.snmp()
    assert (snmp["TcpInSegs"], snmp["TcpOutSegs"], snmp["TcpRetransSegs"]) == (3, 4, 1)
