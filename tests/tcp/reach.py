"""Each state, reached by real segments."""

from typing import Any

from tests.tcp.script import MSS, Script


def syn_sent(**knobs: Any) -> Script:
    t = Script(**knobs)
    t.connect()
    t.sends("S 0:0")
    return t


def syn_rcvd(*, options: str = f"mss {MSS}", **knobs: Any) -> Script:
    """Half open from a listener."""
    t = Script(**knobs)
    t.listen()
    t.receives(f"S 0:0 <{options}>")
    t.sends("S. 0:0 ack 1")
    return t


def simultaneous_open(**knobs: Any) -> Script:
    """SYN_RCVD from an active open whose SYN crossed the peer's."""
    t = syn_sent(**knobs)
    t.receives(f"S 0:0 <mss {MSS}>")
    t.sends("S. 0:0 ack 1")
    return t


def established(
    *, passive: bool = False, options: str = f"mss {MSS}", window: int = 65535, rtt: float = 0.0, **knobs: Any
) -> Script:
    """ESTABLISHED, with what the peer offers in its SYN; `rtt` is the one round-trip sample taken."""
    if passive:
        t = syn_rcvd(options=options, **knobs)
        t.advance(rtt)
        t.flow.window = window
        t.receives(". 1:1 ack 1")
        t.silent()
        t.accept()
    else:
        t = syn_sent(**knobs)
        t.advance(rtt)
        t.flow.window = window
        t.receives(f"S. 0:0 ack 1 <{options}>")
        t.sends(". 1:1 ack 1")
    return t


def fin_wait_1(**knobs: Any) -> Script:
    t = established(**knobs)
    t.close()
    t.sends("F. 1:1 ack 1")
    return t


def fin_wait_2(*, half: bool = False, **knobs: Any) -> Script:
    """FIN_WAIT_2 after a full close, or with `half` after a shutdown of our side only."""
    t = established(**knobs)
    if half:
        t.shutdown()
    else:
        t.close()
    t.sends("F. 1:1 ack 1")
    t.receives(". 1:1 ack 2")
    t.silent()
    return t


def closing(**knobs: Any) -> Script:
    t = fin_wait_1(**knobs)
    t.receives("F. 1:1 ack 1")
    t.sends(". 2:2 ack 2")
    return t


def time_wait(**knobs: Any) -> Script:
    t = fin_wait_2(**knobs)
    t.receives("F. 1:1 ack 2")
    t.sends(". 2:2 ack 2")
    return t


def close_wait(**knobs: Any) -> Script:
    t = established(**knobs)
    t.receives("F. 1:1 ack 1")
    t.sends(". 1:1 ack 2")
    return t


def last_ack(**knobs: Any) -> Script:
    t = close_wait(**knobs)
    t.close()
    t.sends("F. 1:1 ack 2")
    return t


def closed(**knobs: Any) -> Script:
    """No connection, no listener: the ports of a passive open that nobody serves."""
    t = Script(**knobs)
    t.flow = t.flow_to(50000, 80)
    return t
