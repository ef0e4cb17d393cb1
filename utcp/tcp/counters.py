"""Totals of one stack, with the names of SNMP (RFC 4022) and Linux's `nstat`."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counts since the creation of the stack, which never decrease."""

    in_segs: int = 0
    out_segs: int = 0
    orig_data_sent: int = 0
    """Segments with new data or our FIN, sent for the first time."""
    in_errs: int = 0
    """Datagrams that were not TCP segments."""
    retrans_segs: int = 0
    timeouts: int = 0
    """Retransmission timeouts."""
    fast_retrans: int = 0
    """Segments retransmitted in fast recovery."""
    slow_start_retrans: int = 0
    """Segments retransmitted after a timeout, except the one that timed out."""
    lost_retransmits: int = 0
    """Retransmissions that were considered lost."""
    loss_probes: int = 0
    """Tail loss probes sent (RFC 8985 7)."""
    loss_probe_recoveries: int = 0
    """Tail loss probes that repaired a loss."""
    sack_recoveries: int = 0
    """Fast recoveries of connections with SACK."""
    reno_recoveries: int = 0
    """Fast recoveries of connections without SACK."""
    spurious_rtos: int = 0
    """Timeouts that turned out to be spurious (RFC 5682, RFC 4015)."""
    sack_reorderings: int = 0
    """ACKs that showed reordering on the path."""
    dsacks_received: int = 0
    """Received DSACKs of text that had been received in order (RFC 2883)."""
    dsacks_ofo_received: int = 0
    """Received DSACKs of text that had been received out of order."""
    dsacks_sent: int = 0
    """Sent DSACKs of text that had been received in order."""
    dsacks_ofo_sent: int = 0
    """Sent DSACKs of text that had been received out of order."""
    ofo_queued: int = 0
    """Out-of-order segments that were held."""
    ofo_drops: int = 0
    """Out-of-order segments that were dropped, because there was no room."""
    ofo_pruned: int = 0
    """Runs of out-of-order text that were dropped, because memory was short."""
    rcvq_drops: int = 0
    """In-order segments that were dropped, wholly or in part, because memory or the buffer was full."""
    memory_pressures: int = 0
    """Number of times that the memory in use exceeded half of `Config.max_memory`."""
    aborts_on_memory: int = 0
    """Connections closed by their user that were reset before all was delivered, because memory was short."""
    refused_by_max_memory: int = 0
    """Active and passive opens refused because of `Config.max_memory`."""
    refused_by_max_connections: int = 0
    """Active and passive opens refused because of `Config.max_connections`."""
    refused_by_max_connections_per_remote: int = 0
    """Passive opens refused because of `Config.max_connections_per_remote`."""
    in_ce_pkts: int = 0
    """Received segments with a congestion mark, of connections with ECN."""
    keepalives: int = 0
    """Keepalive probes sent."""
    active_opens: int = 0
    passive_opens: int = 0
    attempt_fails: int = 0
    """Opens that ended before the connection was established."""
    estab_resets: int = 0
    """Established connections that ended by an RST of either side, or because the peer's UDP port is closed."""
    aborts_on_timeout: int = 0
    """Connections and active opens ended because the peer did not answer in time."""
    aborts_on_close: int = 0
    """Connections reset because their user closed them with unread data (RFC 9293 3.6.1, SHLD-3)."""
    aborts_on_data: int = 0
    """Connections reset by their user (`abort`, a linger time of 0), or because data arrived after `close`."""
    out_rsts: int = 0
    listen_overflows: int = 0
    """SYNs, and ACKs that would have completed a cookie's handshake, that were dropped because `backlog` connections
    waited to be accepted."""
    listen_drops: int = 0
    """SYNs, and such ACKs, that a listener dropped for any reason."""
    tcp_req_q_full_do_cookies: int = 0
    """SYNs answered with a cookie because `syn_backlog` handshakes were under way, or memory was short."""
    syncookies_sent: int = 0
    """SYN-ACKs sent with a cookie."""
    syncookies_recv: int = 0
    """Connections opened from a cookie."""
    syncookies_failed: int = 0
    """ACKs to a listener without a valid cookie, while cookies were outstanding."""
    resets_withheld: int = 0
    """RSTs in reply to unknown segments that were not sent because of `Config.reset_rate`."""
    challenge_acks: int = 0
    """ACKs sent in answer to segments that may be an attacker's (RFC 5961)."""
    syn_challenges: int = 0
    """SYNs on an existing connection. Few of them are answered with a challenge ACK."""
    paws_drops: int = 0
    """Segments dropped because of their timestamp (RFC 7323 5)."""
    out_of_window_icmps: int = 0
    """ICMP errors about segments that are neither in flight nor our last ACK."""
    time_waits: int = 0
    """Connections that entered TIME_WAIT."""
    time_wait_overflows: int = 0
    """Connections without a TIME_WAIT record because memory was full, and records that ended early because there were
    too many."""
    time_wait_reuses: int = 0
    """New connections accepted from TIME_WAIT (RFC 6191)."""
    ports_exhausted: int = 0
    """Active opens that failed because every ephemeral port was in use."""
    broken_off: int = 0
    """Connections that ended because their processing raised an exception (`utcp.tcp.failures`)."""
    past_bytes_sent: int = 0
    """Payload octets sent by connections that no longer exist, retransmissions included."""
    past_bytes_received: int = 0
    """Payload octets received in order by connections that no longer exist."""

    def snmp(self) -> dict[str, int]:
        """Return the totals by their names in `nstat`: Tcp and Ip as in RFC 4022, TcpExt and IpExt as in Linux.

        OutSegs does not include retransmissions, and EstabResets includes resets while closing. Not included are
        `resets_withheld`, `ports_exhausted`, `broken_off`, `refused_by_*` and octets, which have no such names, and
        TCPAbortFailed, because no reset fails for lack of memory.
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
            "TcpExtTCPOrigDataSent": self.orig_data_sent,
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
