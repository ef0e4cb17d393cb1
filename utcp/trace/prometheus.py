"""Metrics for Prometheus. The `metrics` extra installs the required packages.

    import prometheus_client
    from utcp.trace.prometheus import UtcpCollector

    prometheus_client.REGISTRY.register(UtcpCollector())  # all endpoints of this process
    prometheus_client.start_http_server(9100)             # GET /metrics

| metric                               | type    | labels | what                                                       |
|--------------------------------------|---------|--------|------------------------------------------------------------|
| utcp_endpoints                       | gauge   |        | open endpoints (UDP sockets with a stack)                  |
| utcp_connections                     | gauge   | state  | connections by state (RFC 9293 3.3.2); TIME_WAIT: records  |
| utcp_listeners                       | gauge   |        | listening ports                                            |
| utcp_accept_queue_connections        | gauge   |        | established connections waiting to be accepted             |
| utcp_send_queue_bytes                | gauge   |        | accepted from applications, not acknowledged by the peers  |
| utcp_receive_queue_bytes             | gauge   |        | received in order, not read by applications                |
| utcp_memory_bytes                    | gauge   |        | estimate of the memory that `Config.max_memory` limits     |
| utcp_memory_limit_bytes              | gauge   |        | sum of `Config.max_memory` over all endpoints              |
| utcp_orphans                         | gauge   |        | connections closed by the application with data left to    |
|                                      |         |        | deliver                                                    |
| utcp_ephemeral_ports_in_use          | gauge   |        | ports in use towards the destination with the most,        |
|                                      |         |        | including TIME_WAIT                                        |
| utcp_ephemeral_ports_used_ratio      | gauge   |        | the same as a share of `Config.ephemeral_ports`; at 1      |
|                                      |         |        | opens fail                                                 |
| utcp_opens_total                     | counter | side   | active opens (SYNs sent) and passive opens (handshakes     |
|                                      |         |        | started)                                                   |
| utcp_open_failures_total             | counter |        | opens that never reached ESTABLISHED                       |
| utcp_closes_total                    | counter | cause  | connections that ended for the application, by cause (see  |
|                                      |         |        | below)                                                     |
| utcp_sent_bytes_total                | counter |        | payload sent, including retransmissions                    |
| utcp_received_bytes_total            | counter |        | payload received in order                                  |
| utcp_sent_segments_total             | counter |        | segments of all kinds sent, including retransmissions      |
| utcp_received_segments_total         | counter |        | segments of all kinds received                             |
| utcp_retransmitted_segments_total    | counter |        | segments retransmitted for any reason                      |
| utcp_retransmission_timeouts_total   | counter |        | retransmission timeouts (RFC 6298)                         |
| utcp_spurious_timeouts_total         | counter |        | spurious retransmission timeouts (RFC 5682)                |
| utcp_fast_recoveries_total           | counter |        | losses detected by ACKs (RFC 6675, RFC 8985)               |
| utcp_tail_loss_probes_total          | counter |        | tail loss probes sent (RFC 8985 7)                         |
| utcp_keepalive_probes_total          | counter |        | keepalive probes sent (RFC 9293 3.8.4)                     |
| utcp_out_of_order_segments_total     | counter |        | segments received out of order and kept                    |
| utcp_congestion_marks_total          | counter |        | segments received with a CE mark (RFC 3168)                |
| utcp_time_waits_total                | counter |        | connections that entered TIME_WAIT                         |
| utcp_time_wait_reuses_total          | counter |        | TIME_WAIT records ended by a new connection (RFC 6191)     |
| utcp_time_wait_overflows_total       | counter |        | TIME_WAIT records omitted or ended early for lack of       |
|                                      |         |        | memory                                                     |
| utcp_memory_pressures_total          | counter |        | times that usage exceeded half of `Config.max_memory`      |
| utcp_memory_aborts_total             | counter |        | closed connections reset for lack of memory                |
| utcp_memory_drops_total              | counter | order  | data dropped: in-order segments, out-of-order ranges       |
| utcp_connections_refused_total       | counter | limit  | connections refused, by field of Config: `max_memory`,     |
|                                      |         |        | `max_connections`, `max_connections_per_remote`            |
| utcp_ephemeral_ports_exhausted_total | counter |        | opens that failed because every ephemeral port was in use  |
| utcp_listen_overflows_total          | counter |        | handshakes not completed because `backlog` connections     |
|                                      |         |        | waited                                                     |
| utcp_syn_backlog_overflows_total     | counter |        | SYNs answered with a cookie because `syn_backlog` was      |
|                                      |         |        | reached or memory was short                                |
| utcp_listen_drops_total              | counter |        | SYNs and ACKs dropped by listeners for any reason          |
| utcp_syn_cookies_total               | counter | event  | SYN cookies sent, accepted (a connection resulted), failed |
| utcp_resets_sent_total               | counter |        | RSTs sent                                                  |
| utcp_resets_withheld_total           | counter |        | RSTs not sent because of `Config.reset_rate`               |
| utcp_challenge_acks_total            | counter |        | challenge ACKs sent (RFC 5961)                             |
| utcp_faults_total                    | counter |        | connections ended by an exception in their processing      |
| utcp_malformed_datagrams_total       | counter |        | datagrams that were not a TCP segment                      |
| utcp_rejected_icmps_total            | counter |        | ICMP errors about segments that were not in flight         |

`side` is "active" or "passive". `cause` of a close is "delivered" (all data acknowledged), "aborted" (reset by this
side), "refused", "reset" (by the peer), "unreachable" (no route), or one of the timeouts that `utcp.errors` describes:
"syn_timed_out", "retransmission_timed_out", "fin_timed_out", "user_timed_out", "keepalive_timed_out",
"linger_timed_out".

No work is done between two scrapes. A scrape visits every connection and TIME_WAIT record in the calling thread, which
takes about a microsecond for each connection and a tenth of that for each record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, LISTEN, NAMES, TIME_WAIT
from utcp.trace import registry

_STATES: Final = tuple(name for state, name in enumerate(NAMES) if state not in (CLOSED, LISTEN))


class _Total(NamedTuple):
    """A counter. Its value is the sum of `fields` of `registry.totals()`. With a label, `values` maps each value of the
    label to a field."""

    name: str
    help: str
    fields: tuple[str, ...] = ()
    label: str = ""
    values: Mapping[str, str] = {}


_CAUSES: Final = (
    "delivered",
    "aborted",
    "refused",
    "reset",
    "unreachable",
    "syn_timed_out",
    "retransmission_timed_out",
    "fin_timed_out",
    "user_timed_out",
    "keepalive_timed_out",
    "linger_timed_out",
)

_TOTALS: Final = (
    _Total(
        "utcp_opens",
        "Active opens (SYNs sent) and passive opens (handshakes begun).",
        label="side",
        values={"active": "active_opens", "passive": "passive_opens"},
    ),
    _Total("utcp_open_failures", "Opens that ended before they were established.", ("attempt_fails",)),
    _Total(
        "utcp_closes",
        "Connections that are over for their user, by cause.",
        label="cause",
        values={cause: f"ended_{cause}" for cause in _CAUSES},
    ),
    _Total("utcp_sent_bytes", "Payload sent, each time that it was.", ("past_bytes_sent",)),
    _Total("utcp_received_bytes", "Payload received in order.", ("past_bytes_received",)),
    _Total("utcp_sent_segments", "Segments sent, each time that they were.", ("out_segs",)),
    _Total("utcp_received_segments", "Segments received.", ("in_segs",)),
    _Total("utcp_retransmitted_segments", "Segments sent again.", ("retrans_segs",)),
    _Total("utcp_retransmission_timeouts", "Retransmission timers that expired.", ("timeouts",)),
    _Total("utcp_spurious_timeouts", "Retransmission timeouts after which nothing had been lost.", ("spurious_rtos",)),
    _Total("utcp_fast_recoveries", "Losses noticed by ACKs.", ("sack_recoveries", "reno_recoveries")),
    _Total("utcp_tail_loss_probes", "Tail loss probes sent.", ("loss_probes",)),
    _Total("utcp_keepalive_probes", "Keepalive probes sent.", ("keepalives",)),
    _Total("utcp_out_of_order_segments", "Segments received out of order and kept.", ("ofo_queued",)),
    _Total("utcp_congestion_marks", "Segments received with a congestion mark.", ("in_ce_pkts",)),
    _Total("utcp_time_waits", "Connections that went through TIME_WAIT.", ("time_waits",)),
    _Total("utcp_time_wait_reuses", "New connections accepted from TIME_WAIT.", ("time_wait_reuses",)),
    _Total(
        "utcp_time_wait_overflows",
        "Connections that left no TIME_WAIT record: memory was full.",
        ("time_wait_overflows",),
    ),
    _Total("utcp_memory_pressures", "Times that half of max_memory was exceeded.", ("memory_pressures",)),
    _Total("utcp_memory_aborts", "Closed connections reset because memory was short.", ("aborts_on_memory",)),
    _Total(
        "utcp_memory_drops",
        "Text dropped because memory was short: segments in order, runs out of order.",
        label="order",
        values={"in": "rcvq_drops", "out": "ofo_pruned"},
    ),
    _Total(
        "utcp_connections_refused",
        "Connections refused, by the field of Config that limits them.",
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
        "utcp_listen_overflows",
        "Handshakes not let in because as many connections as the backlog waited to be accepted.",
        ("listen_overflows",),
    ),
    _Total(
        "utcp_syn_backlog_overflows",
        "SYNs answered by a cookie because as many handshakes as syn_backlog were under way.",
        ("tcp_req_q_full_do_cookies",),
    ),
    _Total("utcp_listen_drops", "SYNs and ACKs dropped by listeners.", ("listen_drops",)),
    _Total(
        "utcp_syn_cookies",
        "SYN cookies sent, accepted and failed.",
        label="event",
        values={"sent": "syncookies_sent", "accepted": "syncookies_recv", "failed": "syncookies_failed"},
    ),
    _Total("utcp_resets_sent", "RSTs sent.", ("out_rsts",)),
    _Total("utcp_resets_withheld", "RSTs not sent because of reset_rate.", ("resets_withheld",)),
    _Total("utcp_challenge_acks", "ACKs to segments that may be an attacker's.", ("challenge_acks",)),
    _Total("utcp_faults", "Connections ended by an exception in their processing.", ("broken_off",)),
    _Total("utcp_malformed_datagrams", "Datagrams that were no TCP segment.", ("in_errs",)),
    _Total("utcp_rejected_icmps", "ICMP errors about segments that were not under way.", ("out_of_window_icmps",)),
)


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
        yield from _gauges()
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
        now = _Now()
        for endpoint in alive:
            now.look_at(endpoint.stack)
        totals["past_bytes_sent"] = totals.get("past_bytes_sent", 0) + now.bytes_sent
        totals["past_bytes_received"] = totals.get("past_bytes_received", 0) + now.bytes_received
        # A connection that ends during the scrape may be missed once. A counter must not decrease, because that looks
        # like a restart.
        for name, count in totals.items():
            self._shown[name] = max(count, self._shown.get(name, 0))
        yield from _gauges(now, len(alive))
        yield from _counters(self._shown)


class _Now:
    """The current values of some stacks' connections."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(_STATES, 0)
        self.listeners = 0
        self.waiting = 0
        self.unacknowledged = 0
        self.unread = 0
        self.memory = 0
        self.memory_limit = 0
        self.orphans = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.ports = 0
        self.ports_ratio = 0.0

    def look_at(self, stack: Stack) -> None:
        for connection in list(stack.connections.values()):
            name = NAMES[connection.state]
            if name in self.states:
                self.states[name] += 1
            send, receive = connection.send_side, connection.receive_side
            self.unacknowledged += send.queued - send.acked
            self.unread += receive.readable
            self.bytes_sent += send.sent + send.bytes_retrans
            self.bytes_received += receive.bytes_received
        self.memory += stack.memory.used
        self.memory_limit += stack.memory.limit
        self.orphans += len(stack.memory.orphans)
        self.states[NAMES[TIME_WAIT]] += len(stack.time_wait)
        for listener in list(stack.listeners.values()):
            self.listeners += 1
            self.waiting += len(listener.queue)
        first, last = stack.config.ephemeral_ports
        ports = stack.ports_in_use()
        self.ports = max(self.ports, ports)
        self.ports_ratio = max(self.ports_ratio, ports / (last - first + 1))


def _gauges(now: _Now | None = None, endpoints: int = 0) -> Iterable[Metric]:
    now = now or _Now()
    yield GaugeMetricFamily("utcp_endpoints", "Open endpoints.", value=endpoints)
    states = GaugeMetricFamily("utcp_connections", "Connections by state.", labels=["state"])
    for state, count in now.states.items():
        states.add_metric([state], count)
    yield states
    yield GaugeMetricFamily("utcp_listeners", "Ports that are listened on.", value=now.listeners)
    waiting = "Established connections that wait to be accepted."
    yield GaugeMetricFamily("utcp_accept_queue_connections", waiting, value=now.waiting)
    queued = "Octets accepted from applications and not acknowledged."
    yield GaugeMetricFamily("utcp_send_queue_bytes", queued, value=now.unacknowledged)
    yield GaugeMetricFamily(
        "utcp_receive_queue_bytes", "Octets received in order and not read by applications.", value=now.unread
    )
    yield GaugeMetricFamily("utcp_memory_bytes", "Octets that max_memory limits.", value=now.memory)
    yield GaugeMetricFamily("utcp_memory_limit_bytes", "max_memory of all endpoints.", value=now.memory_limit)
    closed = "Connections closed by the application that still deliver."
    yield GaugeMetricFamily("utcp_orphans", closed, value=now.orphans)
    in_use = "Ephemeral ports in use towards the destination where most are."
    yield GaugeMetricFamily("utcp_ephemeral_ports_in_use", in_use, value=now.ports)
    used = "Used part of the ephemeral ports towards the destination where most are in use."
    yield GaugeMetricFamily("utcp_ephemeral_ports_used_ratio", used, value=now.ports_ratio)


def _counters(totals: Mapping[str, int]) -> Iterable[Metric]:
    for total in _TOTALS:
        if total.label:
            family = CounterMetricFamily(total.name, total.help, labels=[total.label])
            for value, field in total.values.items():
                family.add_metric([value], totals.get(field, 0))
            yield family
        else:
            count = sum(totals.get(field, 0) for field in total.fields)
            yield CounterMetricFamily(total.name, total.help, value=count)
