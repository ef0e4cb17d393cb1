"""Network errors on a connection's path: unreachable, too big (RFC 9293 3.9.2.2, RFC 1191, RFC 5927)."""

from __future__ import annotations

from errno import ECONNREFUSED, EMSGSIZE
from math import inf
from typing import Final

from utcp.errors import ConnectionRefused, ConnectionReset, PathUnreachable
from utcp.tcp import event
from utcp.tcp.connection.port_evidence import PortEvidence
from utcp.tcp.connection.reset import send_reset
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.state import CLOSE_WAIT, CLOSING, LAST_ACK, SYN_RCVD, SYN_SENT
from utcp.wire import HEADER_LENGTH
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.seq import MASK

CONFIRMATIONS: Final = 3
"""Number of ICMP messages about fresh segments after which a UDP port is considered closed."""

PROBE_SPACING: Final = 0.5
"""Shortest time between probes that these messages cause, seconds. Linux answers two keepalive probes a second."""

PORT_CLOSED: Final = "Connection reset: the peer's UDP port is closed (ICMP port unreachable)"


def is_under_way(tcb: Tcb, seq: int) -> bool:
    """Return True if `seq` is in flight. An attacker that cannot see the traffic must guess it (RFC 5927 4.1)."""
    send = tcb.send_side
    return (seq - send.snd_una) & MASK < send.flight_size


def is_ours(tcb: Tcb, seq: int, code: int) -> bool:
    """Return True if an ICMP message with this errno can be about a segment of the connection with SEQ `seq`: one in
    flight, or the last one without text. A segment that is too big has text."""
    if is_under_way(tcb, seq):
        return True
    send = tcb.send_side
    if code == EMSGSIZE or not send.syn_acked:
        return False
    return seq == send.acceptable_seq or seq == _before(send.snd_nxt)  # an ACK, or a keepalive probe


def undelivered(tcb: Tcb, seq: int, code: int, now: float) -> None:
    """Handle an ICMP message, other than "too big", about a segment of ours with SEQ `seq`."""
    unreachable(tcb, PathUnreachable(code), now)
    if code == ECONNREFUSED and tcb.send_side.syn_acked:
        _port_unreachable(tcb, seq, now)


def unreachable(tcb: Tcb, error: OSError, now: float) -> None:
    """Handle an unreachable peer. A connection in SYN_SENT, or a half-open passive one, ends. For others it is a soft
    error (RFC 9293 3.9.2.2, MUST-56): the user receives TROUBLE, and if the connection times out later, `error` is the
    cause of its error."""
    if tcb.state == SYN_SENT:
        tcb.fail(error, now)
    elif tcb.state == SYN_RCVD and tcb.passive:
        tcb.drop_half_open(now)
    else:
        tcb.set_soft_error(error)
        tcb.report(event.TROUBLE)
        observer = tcb.stack.observer
        if observer is not None:
            observer.path_unreachable(tcb, error, now)


def peer_socket_closed(tcb: Tcb, now: float) -> None:
    """Probe the peer, because this host has closed a UDP socket that may have been the peer's. If it was, an ICMP
    message answers the probe."""
    if tcb.send_side.syn_acked and tcb.state != CLOSE_WAIT:
        _evidence(tcb, now, False)


def _port_unreachable(tcb: Tcb, seq: int, now: float) -> None:
    """Determine whether the peer's UDP port is closed, which it is after its process has ended (RFC 9293 SHLD-26).

    One message proves nothing, because it may be forged or come from a firewall during its setup (RFC 5461, RFC 5927
    5.2). So the first message causes a keepalive probe at once, and CONFIRMATIONS messages about fresh segments end the
    connection. A live peer answers these segments, which restarts the count.

    An attacker that cannot see the traffic must hit the exact sequence number, 1 of 2^32, with each message, and within
    the round trip between a segment of ours and its answer. A million forged messages a second hit it once in 72
    minutes for one probe. Three hits within 50 ms each have a probability of 2 in 10^15.

    The result for one connection applies to all connections to that UDP port. Most of them receive no message, because
    hosts limit the rate of ICMP messages, and because the kernel sends segments of several connections as one datagram
    (UDP_SEGMENT).

    In CLOSING and LAST_ACK with only the FIN in flight, one message about its retransmission is enough, because the
    peer has all data. It also ends the other connections to that UDP port whose FIN was retransmitted in vain.
    """
    send = tcb.send_side
    if send.flight_size:
        fresh = tcb.retransmits > 0 and seq == send.snd_una
    else:
        fresh = tcb.keepalive.unanswered > 0 and seq == _before(send.snd_nxt)
    if fresh and _awaits_last_ack(tcb):
        tcb.stack.port_closed(tcb, -inf, now)
        return
    if tcb.state == CLOSE_WAIT and not send.flight_size:
        return  # nothing is expected from the peer; data or a FIN will show whether it is alive
    evidence = _evidence(tcb, now, fresh)
    if evidence is None:
        return
    unanswered = tcb.retransmits + tcb.keepalive.unanswered
    if fresh and evidence.counts(unanswered):
        if evidence.confirmations == CONFIRMATIONS:
            tcb.stack.port_closed(tcb, evidence.since, now)
            return
        if not send.flight_size and not send.pending:  # otherwise retransmissions or window probes serve as probes
            tcb.keepalive.probe_at(now + PROBE_SPACING)


def end_for_closed_port(tcb: Tcb, since: float, now: float) -> None:
    """End a connection to a UDP port that has been closed since `since`, if nothing was received since then. `-inf`:
    the port is closed, but this is certain enough only for a FIN that was retransmitted.

    A connection in CLOSE_WAIT without data in flight goes on, because nothing is expected from the peer."""
    send, state = tcb.send_side, tcb.state
    if _awaits_last_ack(tcb):
        if tcb.retransmits or tcb.last_received <= since:
            _end_without_ack(tcb, now)
    elif tcb.last_received > since:
        pass
    elif state == SYN_SENT:
        tcb.fail(ConnectionRefused(), now)
    elif state == SYN_RCVD and tcb.passive:
        tcb.drop_half_open(now)
    elif state != CLOSE_WAIT or send.flight_size:
        error = ConnectionReset(PORT_CLOSED)
        error.__cause__ = tcb.soft_error
        send_reset(tcb, error, now)


def _awaits_last_ack(tcb: Tcb) -> bool:
    """Return True if the peer has closed, and has acknowledged everything except our FIN."""
    send = tcb.send_side
    return tcb.state in (CLOSING, LAST_ACK) and send.fin_sent and send.flight_size == 1


def _end_without_ack(tcb: Tcb, now: float) -> None:
    """End a connection in CLOSING or LAST_ACK as if our FIN were acknowledged. Only the FIN is unacknowledged, and no
    process is left at the peer to acknowledge it."""
    send = tcb.send_side
    send.acknowledge(send.snd_nxt, send.snd_wl1, send.snd_wnd)
    tcb.delete_tcb(now)
    if tcb.closed_by_user:
        tcb.end(None, now, delivered=True)


def _evidence(tcb: Tcb, now: float, fresh: bool) -> PortEvidence | None:
    """Return the evidence since the last acceptable segment of the peer.

    If there is none yet, create it and probe the peer, unless the message is `fresh`, that is, about a probe or a
    retransmission, which others will follow. Return None if the peer has answered a probe within PROBE_SPACING."""
    evidence = tcb.port_evidence
    if evidence is not None and tcb.last_received <= evidence.since:
        return evidence
    if evidence is not None and now < evidence.since + PROBE_SPACING:
        return None
    evidence = PortEvidence(now)
    tcb.set_port_evidence(evidence)
    send = tcb.send_side
    if not fresh and not send.flight_size and not send.pending:
        tcb.probe_peer(now)
    return evidence


def _before(seq: int) -> int:
    return (seq - 1) & MASK


def too_big(tcb: Tcb, mtu: int | None, now: float) -> None:
    """Reduce the segment size, because the MTU of the interface has decreased, or because a router has reported its MTU
    (`mtu`, a UDP payload in octets). Retransmit larger segments without a congestion response (RFC 8899 4.4, RFC 1191
    6.4)."""
    stack, path_mtu = tcb.stack, tcb.path_mtu
    options = TIMESTAMPS_LENGTH if tcb.timestamps else 0
    limit = min(stack.receive_mss(tcb.remote, tcb.config), tcb.peer_mss) - options
    before = path_mtu.size
    if limit < path_mtu.limit:
        path_mtu.set_limit(limit)
    if mtu is not None:
        path_mtu.too_big(max(mtu - HEADER_LENGTH, stack.default_mss) - options, now)
    if path_mtu.size < before:
        tcb.use_mss(path_mtu.size, now)
        tcb.recovery.mark_larger_lost(path_mtu.size)
        tcb.touch()
