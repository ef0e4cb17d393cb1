"""Metrics for Prometheus. The `metrics` extra installs the required packages.

    import prometheus_client
    from utcp.trace.prometheus import UtcpCollector

    prometheus_client.REGISTRY.register(UtcpCollector())  # all endpoints of this process
    prometheus_client.start_http_server(9100)             # GET /metrics

[The table of all metrics](../README.md#metrics) is written from `_GAUGES` and `_TOTALS`.

`side` is "active" or "passive". `cause` of a close is "delivered" (all data acknowledged), "aborted" (reset by this
side), "refused", "reset" (by the peer), "unreachable" (no route), or one of the timeouts that `utcp.errors` describes:
"syn_timed_out", "retransmission_timed_out", "fin_timed_out", "user_timed_out", "keepalive_timed_out",
"linger_timed_out".

No work is done between two scrapes. A scrape visits every connection and TIME_WAIT record in the calling thread, which
takes about a microsecond for each connection and a tenth of that for each record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Final, NamedTuple

from utcp.extras import needs_extra
from utcp.tcp.endings import Endings
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, LISTEN, NAMES, TIME_WAIT
from utcp.trace import registry

with needs_extra("metrics"):
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

_STATES: Final = tuple(name for state, name in enumerate(NAMES) if state not in (CLOSED, LISTEN))


class _Total(NamedTuple):
    """A counter. Its value is the sum of `counts` of `registry.totals()`. With a label, `values` maps each value of the
    label to a count."""

    name: str
    help: str
    counts: tuple[str, ...] = ()
    label: str = ""
    values: Mapping[str, str] = {}


_TOTALS: Final = (
    _Total(
        "utcp_opens",
        "Active opens (SYNs sent) and passive opens (handshakes started).",
        label="side",
        values={"active": "active_opens", "passive": "passive_opens"},
    ),
    _Total("utcp_open_failures", "Opens that never reached ESTABLISHED.", ("attempt_fails",)),
    _Total(
        "utcp_closes",
        "Connections that ended for the application, by cause.",
        label="cause",
        values={field.name: f"ended_{field.name}" for field in fields(Endings)},
    ),
    _Total("utcp_sent_bytes", "Payload sent, including retransmissions.", ("past_bytes_sent",)),
    _Total("utcp_received_bytes", "Payload received in order.", ("past_bytes_received",)),
    _Total("utcp_sent_segments", "Segments of all kinds sent, including retransmissions.", ("out_segs",)),
    _Total("utcp_received_segments", "Segments of all kinds received.", ("in_segs",)),
    _Total("utcp_retransmitted_segments", "Segments retransmitted for any reason.", ("retrans_segs",)),
    _Total("utcp_retransmission_timeouts", "Retransmission timeouts (RFC 6298).", ("timeouts",)),
    _Total("utcp_spurious_timeouts", "Spurious retransmission timeouts (RFC 5682).", ("spurious_rtos",)),
    _Total(
        "utcp_fast_recoveries", "Losses detected by ACKs (RFC 6675, RFC 8985).", ("sack_recoveries", "reno_recoveries")
    ),
    _Total("utcp_tail_loss_probes", "Tail loss probes sent (RFC 8985 7).", ("loss_probes",)),
    _Total("utcp_keepalive_probes", "Keepalive probes sent (RFC 9293 3.8.4).", ("keepalives",)),
    _Total("utcp_out_of_order_segments", "Segments received out of order and kept.", ("ofo_queued",)),
    _Total("utcp_congestion_marks", "Segments received with a CE mark (RFC 3168).", ("in_ce_pkts",)),
    _Total("utcp_time_waits", "Connections that entered TIME_WAIT.", ("time_waits",)),
    _Total("utcp_time_wait_reuses", "TIME_WAIT records ended by a new connection (RFC 6191).", ("time_wait_reuses",)),
    _Total(
        "utcp_time_wait_overflows",
        "TIME_WAIT records omitted or ended early for lack of memory.",
        ("time_wait_overflows",),
    ),
    _Total("utcp_memory_pressures", "Times that usage exceeded half of Config.max_memory.", ("memory_pressures",)),
    _Total("utcp_memory_aborts", "Closed connections reset for lack of memory.", ("aborts_on_memory",)),
    _Total(
        "utcp_memory_drops",
        "Data dropped: in-order segments, out-of-order ranges.",
        label="order",
        values={"in": "rcvq_drops", "out": "ofo_pruned"},
    ),
    _Total(
        "utcp_connections_refused",
        "Connections refused, by field of Config: max_memory, max_connections, max_connections_per_remote.",
        label="limit",
        values={
            "max_memory": "refused_by_max_memory",
            "max_connections": "refused_by_max_connections",
            "max_connections_per_remote": "refused_by_max_connections_per_remote",
        },
    ),
    _Total(
        "utcp_ephemeral_ports_exhausted",
        "Opens that failed because every ephemeral port was in use.",
        ("ports_exhausted",),
    ),
    _Total(
        "utcp_listen_overflows", "Handshakes not completed because backlog connections waited.", ("listen_overflows",)
    ),
    _Total(
        "utcp_syn_backlog_overflows",
        "SYNs answered with a cookie because syn_backlog was reached or memory was short.",
        ("tcp_req_q_full_do_cookies",),
    ),
    _Total("utcp_listen_drops", "SYNs and ACKs dropped by listeners for any reason.", ("listen_drops",)),
    _Total(
        "utcp_syn_cookies",
        "SYN cookies sent, accepted (a connection resulted), failed.",
        label="event",
        values={"sent": "syncookies_sent", "accepted": "syncookies_recv", "failed": "syncookies_failed"},
    ),
    _Total("utcp_resets_sent", "RSTs sent.", ("out_rsts",)),
    _Total("utcp_resets_withheld", "RSTs not sent because of Config.reset_rate.", ("resets_withheld",)),
    _Total("utcp_challenge_acks", "Challenge ACKs sent (RFC 5961).", ("challenge_acks",)),
    _Total("utcp_faults", "Connections ended by an exception in their processing.", ("broken_off",)),
    _Total("utcp_malformed_datagrams", "Datagrams that were not a TCP segment.", ("in_errs",)),
    _Total("utcp_rejected_icmps", "ICMP errors about segments that were not in flight.", ("out_of_window_icmps",)),
)

_GAUGES: Final = {
    "utcp_endpoints": "Open endpoints (UDP sockets with a stack).",
    "utcp_connections": "Connections by state (RFC 9293 3.3.2); TIME_WAIT: records.",
    "utcp_listeners": "Listening ports.",
    "utcp_accept_queue_connections": "Established connections waiting to be accepted.",
    "utcp_send_queue_bytes": "Accepted from applications, not acknowledged by the peers.",
    "utcp_receive_queue_bytes": "Received in order, not read by applications.",
    "utcp_memory_bytes": "Estimate of the memory that Config.max_memory limits.",
    "utcp_memory_limit_bytes": "Sum of Config.max_memory over all endpoints.",
    "utcp_orphans": "Connections closed by the application with data left to deliver.",
    "utcp_ephemeral_ports_in_use": "Ports in use towards the destination with the most, including TIME_WAIT.",
    "utcp_ephemeral_ports_used_ratio": "The same number as a share of Config.ephemeral_ports; at 1 opens fail.",
}


class UtcpCollector(Collector):
    """The metrics of the given endpoints together.

    Without arguments, they cover all endpoints of this process, present and future, including those of
    `utcp.open_connection()` and `start_server()`, and the counts of closed ones. Register the collector with any
    `prometheus_client.CollectorRegistry`. Endpoints that have not started are ignored.
    """

    def __init__(self, *endpoints: registry.Endpoint) -> None:
        self._endpoints = endpoints
        self._shown: dict[str, int] = {}

    def describe(self) -> Iterator[Metric]:
        """Yield the names for the registry, without a scrape."""
        yield from _gauges(_Now())
        yield from _counters({})

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics. Thread-safe."""
        if self._endpoints:
            totals: dict[str, int] = {}
            known = [endpoint for endpoint in self._endpoints if endpoint.started]
            alive = [endpoint for endpoint in known if not endpoint.closed]
        else:
            totals = registry.past_totals()
            known = alive = registry.endpoints()
        for endpoint in known:
            for name, count in registry.totals(endpoint).items():
                totals[name] = totals.get(name, 0) + count
        now = _Now(len(alive))
        for endpoint in alive:
            now.look_at(endpoint.stack)
        totals["past_bytes_sent"] = totals.get("past_bytes_sent", 0) + now.bytes_sent
        totals["past_bytes_received"] = totals.get("past_bytes_received", 0) + now.bytes_received
        # A connection that ends during the scrape may be missed once. A counter must not decrease, because that looks
        # like a restart.
        for name, count in totals.items():
            self._shown[name] = max(count, self._shown.get(name, 0))
        yield from _gauges(now)
        yield from _counters(self._shown)


class _Now:
    """The current values of some stacks' connections."""

    def __init__(self, endpoints: int = 0) -> None:
        self.states = dict.fromkeys(_STATES, 0)
        self.gauges: dict[str, float] = {**dict.fromkeys(_GAUGES, 0), "utcp_endpoints": endpoints}
        self.bytes_sent = 0
        self.bytes_received = 0

    def look_at(self, stack: Stack) -> None:
        gauges = self.gauges
        for connection in list(stack.connections.values()):
            name = NAMES[connection.state]
            if name in self.states:
                self.states[name] += 1
            send, receive = connection.send_side, connection.receive_side
            gauges["utcp_send_queue_bytes"] += send.queued - send.acked
            gauges["utcp_receive_queue_bytes"] += receive.readable
            self.bytes_sent += send.sent + send.bytes_retrans
            self.bytes_received += receive.bytes_received
        self.states[NAMES[TIME_WAIT]] += len(stack.time_wait)
        gauges["utcp_memory_bytes"] += stack.memory.used
        gauges["utcp_memory_limit_bytes"] += stack.memory.limit
        gauges["utcp_orphans"] += len(stack.memory.orphans)
        for listener in list(stack.listeners.values()):
            gauges["utcp_listeners"] += 1
            gauges["utcp_accept_queue_connections"] += len(listener.queue)
        first, last = stack.config.ephemeral_ports
        ports = stack.ports_in_use()
        for name, value in (("in_use", ports), ("used_ratio", ports / (last - first + 1))):
            gauges[f"utcp_ephemeral_ports_{name}"] = max(gauges[f"utcp_ephemeral_ports_{name}"], value)


def _gauges(now: _Now) -> Iterable[Metric]:
    for name, text in _GAUGES.items():
        if name == "utcp_connections":
            states = GaugeMetricFamily(name, text, labels=["state"])
            for state, count in now.states.items():
                states.add_metric([state], count)
            yield states
        else:
            yield GaugeMetricFamily(name, text, value=now.gauges[name])


def _counters(totals: Mapping[str, int]) -> Iterable[Metric]:
    for total in _TOTALS:
        if total.label:
            family = CounterMetricFamily(total.name, total.help, labels=[total.label])
            for value, field in total.values.items():
                family.add_metric([value], totals.get(field, 0))
            yield family
        else:
            count = sum(totals.get(field, 0) for field in total.counts)
            yield CounterMetricFamily(total.name, total.help, value=count)
