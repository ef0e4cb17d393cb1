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
    listen_overflows: int = 0
    """SYNs, and ACKs that would have completed a cookie's handshake, dropped because `backlog` connections waited to
    be accepted."""
    listen_drops: int = 0
    """SYNs and such ACKs dropped by a listener for whatever reason."""
    tcp_req_q_full_do_cookies: int = 0
    """SYNs answered with a cookie because `syn_backlog` handshakes were under way."""
    syncookies_sent: int = 0
    """SYN-ACKs that were cookies."""
    syncookies_recv: int = 0
    """Connections that came of a cookie."""
    syncookies_failed: int = 0
    """ACKs to a listener, while cookies were outstanding, that brought back none."""
    resets_withheld: int = 0
    """RSTs in reply to unknown segments that did not leave because of `reset_rate`."""
    challenge_acks: int = 0
    paws_drops: int = 0
    out_of_window_icmps: int = 0
    """ICMP errors about segments that are not under way."""
    time_waits: int = 0
    """Connections that went through TIME_WAIT."""
    time_wait_reuses: int = 0
    """New connections accepted from TIME_WAIT (RFC 6191)."""
