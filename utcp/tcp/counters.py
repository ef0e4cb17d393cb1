"""Totals of one stack, and the names that SNMP (RFC 4022) and Linux's `nstat` have for them."""

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
    fast_retrans: int = 0
    """Segments sent again in fast recovery."""
    slow_start_retrans: int = 0
    """Segments sent again after a timeout, other than the one that the timer stood for."""
    lost_retransmits: int = 0
    """Segments that were taken for lost again after they had been sent again."""
    loss_probes: int = 0
    """Tail loss probes sent (RFC 8985 7)."""
    loss_probe_recoveries: int = 0
    """Tail loss probes that repaired a loss."""
    sack_recoveries: int = 0
    """Fast recoveries of connections with SACK, and of those without."""
    reno_recoveries: int = 0
    spurious_rtos: int = 0
    """Timeouts after which it turned out that nothing had been lost (RFC 5682, RFC 4015)."""
    sack_reorderings: int = 0
    """ACKs that told of something overtaken on the way."""
    dsacks_received: int = 0
    """ACKs that told of something received twice (RFC 2883): in order, and out of order."""
    dsacks_ofo_received: int = 0
    dsacks_sent: int = 0
    """DSACKs of ours: about what had been received in order, and out of order."""
    dsacks_ofo_sent: int = 0
    ofo_queued: int = 0
    """Segments that arrived out of order and were kept, and those that were not for want of room."""
    ofo_drops: int = 0
    ofo_pruned: int = 0
    """Runs of text that were held out of order, and dropped because memory was short."""
    rcvq_drops: int = 0
    """Segments that arrived in order, and were dropped, all or in part, because memory was full."""
    memory_pressures: int = 0
    """How often half of `Config.max_memory` was exceeded."""
    aborts_on_memory: int = 0
    """Closed connections that were reset while they delivered, because memory was short."""
    refused_by_max_memory: int = 0
    """Connections, of peers and of ours, that this limit forbade; and those that the next two did."""
    refused_by_max_connections: int = 0
    refused_by_max_connections_per_remote: int = 0
    in_ce_pkts: int = 0
    """Segments of connections with ECN that arrived with a congestion mark."""
    keepalives: int = 0
    """Keepalive probes."""
    active_opens: int = 0
    passive_opens: int = 0
    attempt_fails: int = 0
    """Opens that ended before they were established."""
    estab_resets: int = 0
    """Established connections ended by RST, theirs or ours; also when the peer's UDP port is closed."""
    aborts_on_timeout: int = 0
    """Connections and active opens ended because the peer did not answer in time."""
    aborts_on_close: int = 0
    """Connections closed by their user with data unread, and so reset (RFC 9293 3.6.1, SHLD-3)."""
    aborts_on_data: int = 0
    """Connections reset by their user (`abort`, a linger time of 0), or because data came after `close`."""
    out_rsts: int = 0
    listen_overflows: int = 0
    """SYNs, and ACKs that would have completed a cookie's handshake, dropped because `backlog` connections waited to
    be accepted."""
    listen_drops: int = 0
    """SYNs and such ACKs dropped by a listener for whatever reason."""
    tcp_req_q_full_do_cookies: int = 0
    """SYNs answered with a cookie because `syn_backlog` handshakes were under way, or memory was short."""
    syncookies_sent: int = 0
    """SYN-ACKs that were cookies."""
    syncookies_recv: int = 0
    """Connections that came of a cookie."""
    syncookies_failed: int = 0
    """ACKs to a listener, while cookies were outstanding, that brought back none."""
    resets_withheld: int = 0
    """RSTs in reply to unknown segments that did not leave because of `reset_rate`."""
    challenge_acks: int = 0
    """ACKs to segments that may be an attacker's (RFC 5961)."""
    syn_challenges: int = 0
    """SYNs on a connection that had seen one; few of them are answered by a challenge ACK."""
    paws_drops: int = 0
    out_of_window_icmps: int = 0
    """ICMP errors about segments that are neither under way nor our last ACK."""
    time_waits: int = 0
    """Connections that went through TIME_WAIT."""
    time_wait_overflows: int = 0
    """Connections that did not, because memory was full, and records that ended before their time, because there were
    too many."""
    time_wait_reuses: int = 0
    """New connections accepted from TIME_WAIT (RFC 6191)."""
    ports_exhausted: int = 0
    """Active opens that failed because every ephemeral port was in use."""
    broken_off: int = 0
    """Connections ended because of an exception in the middle of their processing (`utcp.tcp.failures`)."""
    past_bytes_sent: int = 0
    """Payload octets sent, each time that they were, and received in order, by connections that the stack has no
    more."""
    past_bytes_received: int = 0

    def snmp(self) -> dict[str, int]:
        """The totals as `nstat` names them, MIB and all: Tcp and Ip as in RFC 4022, TcpExt and IpExt as in Linux.

        OutSegs is without what was sent again, and EstabResets counts resets while closing as well. Not among them are
        `resets_withheld`, `ports_exhausted`, `broken_off`, `refused_by_*` and octets, which have no names there, and
        TCPAbortFailed: no reset fails for want of memory.
        """
        return {
            "TcpActiveOpens": self.active_opens,
            "TcpPassiveOpens": self.passive_opens,
            "TcpAttemptFails": self.attempt_fails,
            "TcpEstabResets": self.estab_resets,
            "TcpInSegs": self.in_segs,
            "TcpOutSegs": self.out_segs - self.retrans_segs,
            "TcpRetransSegs": self.retrans_segs,
            "TcpInErrs": self.in_errs,
            "TcpOutRsts": self.out_rsts,
            "TcpExtSyncookiesSent": self.syncookies_sent,
            "TcpExtSyncookiesRecv": self.syncookies_recv,
            "TcpExtSyncookiesFailed": self.syncookies_failed,
            "TcpExtOutOfWindowIcmps": self.out_of_window_icmps,
            "TcpExtTW": self.time_waits,
            "TcpExtTWRecycled": self.time_wait_reuses,
            "TcpExtTCPTimeWaitOverflow": self.time_wait_overflows,
            "TcpExtPAWSEstab": self.paws_drops,
            "TcpExtListenOverflows": self.listen_overflows,
            "TcpExtListenDrops": self.listen_drops,
            "TcpExtTCPReqQFullDoCookies": self.tcp_req_q_full_do_cookies,
            "TcpExtTCPRenoRecovery": self.reno_recoveries,
            "TcpExtTCPSackRecovery": self.sack_recoveries,
            "TcpExtTCPSACKReorder": self.sack_reorderings,
            "TcpExtTCPLostRetransmit": self.lost_retransmits,
            "TcpExtTCPFastRetrans": self.fast_retrans,
            "TcpExtTCPSlowStartRetrans": self.slow_start_retrans,
            "TcpExtTCPTimeouts": self.timeouts,
            "TcpExtTCPLossProbes": self.loss_probes,
            "TcpExtTCPLossProbeRecovery": self.loss_probe_recoveries,
            "TcpExtTCPSpuriousRTOs": self.spurious_rtos,
            "TcpExtTCPDSACKOldSent": self.dsacks_sent,
            "TcpExtTCPDSACKOfoSent": self.dsacks_ofo_sent,
            "TcpExtTCPDSACKRecv": self.dsacks_received,
            "TcpExtTCPDSACKOfoRecv": self.dsacks_ofo_received,
            "TcpExtTCPAbortOnData": self.aborts_on_data,
            "TcpExtTCPAbortOnClose": self.aborts_on_close,
            "TcpExtTCPAbortOnTimeout": self.aborts_on_timeout,
            "TcpExtTCPAbortOnMemory": self.aborts_on_memory,
            "TcpExtTCPMemoryPressures": self.memory_pressures,
            "TcpExtTCPKeepAlive": self.keepalives,
            "TcpExtTCPOFOQueue": self.ofo_queued,
            "TcpExtTCPOFODrop": self.ofo_drops,
            "TcpExtOfoPruned": self.ofo_pruned,
            "TcpExtTCPRcvQDrop": self.rcvq_drops,
            "TcpExtTCPChallengeACK": self.challenge_acks,
            "TcpExtTCPSYNChallenge": self.syn_challenges,
            "IpExtInCEPkts": self.in_ce_pkts,
        }
