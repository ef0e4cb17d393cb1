"""Totals of one stack, under the names that SNMP and Linux's nstat gave them where they have one."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counts since the stack was made; each only grows."""

    in_segs: int = 0
    out_segs: int = 0
    in_errs: int = 0
    """Datagrams that were no TCP segment."""
    retrans_segs: int = 0
    timeouts: int = 0
    """Retransmission timeouts."""
    active_opens: int = 0
    passive_opens: int = 0
    attempt_fails: int = 0
    """Opens that ended before they were established."""
    estab_resets: int = 0
    """Established connections ended by RST, theirs or ours."""
    out_rsts: int = 0
    listen_drops: int = 0
    """SYNs not answered because the backlog was full."""
    challenge_acks: int = 0
    paws_drops: int = 0
    time_waits: int = 0
    """Connections that went through TIME_WAIT."""
    time_wait_reuses: int = 0
    """New connections accepted from TIME_WAIT (RFC 6191)."""
