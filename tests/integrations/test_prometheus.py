"""Metrics, as Prometheus' own parser reads them, against what really happened."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import fields

import pytest

import utcp
from tests.aio.peers import FAST, Peers, opened, until
from tests.reference import metrics_table
from utcp import Endpoint
from utcp.tcp.accounts import CONNECTION
from utcp.tcp.allowance import MINIMUM
from utcp.tcp.counters import Counters
from utcp.trace import registry

prometheus_client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from utcp.trace import prometheus  # noqa: E402
from utcp.trace.prometheus import UtcpCollector  # noqa: E402


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    """A client endpoint and a server endpoint on 127.0.0.1; TIME_WAIT outlasts every test."""
    async with Peers(utcp.Config(close_timeout=30.0)) as started:
        yield started


class Scrape(Mapping[str, float]):
    """What /metrics would say: samples by name, with the label's value behind a colon if there is one."""

    def __init__(self, collector: UtcpCollector) -> None:
        served = prometheus_client.CollectorRegistry()
        served.register(collector)
        text = prometheus_client.generate_latest(served).decode()
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = {
            ":".join((sample.name, *sample.labels.values())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __getitem__(self, name: str) -> float:
        return self._samples[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def since(self, before: Scrape) -> dict[str, float]:
        """What has changed, and by how much."""
        return {name: value - before[name] for name, value in self.items() if value != before[name]}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each line with twice as much, until it hears "abort" or the end."""
    async for line in reader:
        if line == b"abort\n":
            writer.transport.abort()
            return
        writer.write(2 * line)
    writer.close()


async def test_a_connection_s_life(peers: Peers) -> None:
    server = await peers.server.start_server(serve, 80)
    collector = UtcpCollector(peers.client)
    before = Scrape(collector)
    limit = peers.client.stack.memory.limit
    assert set(before.values()) == {0, 1, limit}  # one endpoint, nothing else
    reader, writer = await peers.client.open_connection("127.0.0.1", 80, udp_port=peers.server.address[1])
    writer.write(b"four\n")
    assert await reader.readexactly(10) == b"four\nfour\n"
    now = Scrape(collector)
    changed = now.since(before)
    assert changed.pop("utcp_sent_segments_total") >= 2
    assert changed.pop("utcp_received_segments_total") >= 2
    assert changed == {
        "utcp_opens_total:active": 1,
        "utcp_memory_bytes": CONNECTION + MINIMUM,
        "utcp_connections:ESTABLISHED": 1,
        "utcp_sent_bytes_total": 5,
        "utcp_received_bytes_total": 10,
        "utcp_ephemeral_ports_in_use": 1,
        "utcp_ephemeral_ports_used_ratio": pytest.approx(1 / 28232),
    }
    writer.close()
    await writer.wait_closed()
    await until(lambda: len(peers.client.stack.time_wait) == 1)
    changed = Scrape(collector).since(now)
    assert changed["utcp_closes_total:delivered"] == 1
    assert changed["utcp_time_waits_total"] == 1
    assert (changed["utcp_connections:ESTABLISHED"], changed["utcp_connections:TIME_WAIT"]) == (-1, 1)
    assert not {"utcp_sent_bytes_total", "utcp_received_bytes_total", "utcp_ephemeral_ports_in_use"} & set(changed)
    server.close()
    await server.wait_closed()


async def test_causes_of_closes(peers: Peers) -> None:
    before = Scrape(collector := UtcpCollector(peers.client, peers.server))
    with pytest.raises(ConnectionRefusedError):
        await peers.client.open_connection("127.0.0.1", 81, udp_port=peers.server.address[1])
    async with await peers.server.start_server(serve, 80):
        reader, writer = await peers.client.open_connection("127.0.0.1", 80, udp_port=peers.server.address[1])
        writer.write(b"abort\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    changed = Scrape(collector).since(before)
    assert {name: count for name, count in changed.items() if "closes" in name} == {
        "utcp_closes_total:refused": 1,
        "utcp_closes_total:reset": 1,
        "utcp_closes_total:aborted": 1,
    }
    assert (changed["utcp_open_failures_total"], changed["utcp_resets_sent_total"]) == (1, 2)
    assert (changed["utcp_opens_total:active"], changed["utcp_opens_total:passive"]) == (2, 1)


async def test_queues_and_listeners(peers: Peers) -> None:
    before = Scrape(collector := UtcpCollector(peers.client, peers.server))
    heard = asyncio.Event()

    async def leave_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard.wait()
        writer.transport.abort()

    async with await peers.server.start_server(leave_unread, 80, limit=1000):
        _, writer = await peers.client.open_connection("127.0.0.1", 80, udp_port=peers.server.address[1])
        writer.write(bytes(4_000_000))
        await until(lambda: Scrape(collector)["utcp_receive_queue_bytes"] > 0)
        changed = Scrape(collector).since(before)
        assert changed["utcp_listeners"] == 1
        assert 0 < changed["utcp_send_queue_bytes"] <= 4_000_000
        heard.set()
        writer.transport.abort()
    after = Scrape(collector)
    assert (after["utcp_listeners"], after["utcp_send_queue_bytes"], after["utcp_receive_queue_bytes"]) == (0, 0, 0)


async def test_limits() -> None:
    config = utcp.Config(max_memory=1 << 20, max_connections=1)
    async with Endpoint(("127.0.0.1", 0), config=config) as endpoint:
        before = Scrape(collector := UtcpCollector(endpoint))
        assert before["utcp_memory_limit_bytes"] == 1 << 20
        stack, now = endpoint.stack, endpoint.link.now()
        remote = endpoint.link.remote(("127.0.0.1", 9))
        connection = stack.connect(remote, 9, now)
        with pytest.raises(OSError, match="max_connections"):
            stack.connect(remote, 10, now)
        connection.send(bytes(100_000))
        changed = Scrape(collector).since(before)
        assert changed["utcp_memory_bytes"] > 100_000
        assert changed["utcp_connections_refused_total:max_connections"] == 1
        stack.counters.rcvq_drops += 1
        stack.counters.ofo_pruned += 2
        stack.counters.memory_pressures += 3
        stack.counters.aborts_on_memory += 4
        stack.counters.time_wait_overflows += 5
        changed = Scrape(collector).since(before)
        names = ("memory_drops_total:in", "memory_drops_total:out", "memory_pressures_total", "memory_aborts_total")
        assert [changed[f"utcp_{name}"] for name in (*names, "time_wait_overflows_total")] == [1, 2, 3, 4, 5]
        connection.abort(now)


async def test_used_up_ports() -> None:
    config = utcp.Config(ephemeral_ports=(50000, 50001))
    async with (
        Endpoint(("127.0.0.1", 0)) as server,
        Endpoint(("127.0.0.1", 0), config=config) as client,
        await server.start_server(serve, 80),
    ):
        port = server.address[1]
        writers = [(await client.open_connection("127.0.0.1", 80, udp_port=port))[1] for _ in range(2)]
        with pytest.raises(utcp.AddressNotAvailable):
            await client.open_connection("127.0.0.1", 80, udp_port=port)
        metrics = Scrape(UtcpCollector(client, server))
        assert metrics["utcp_ephemeral_ports_used_ratio"] == 1
        assert metrics["utcp_ephemeral_ports_in_use"] == 2
        assert metrics["utcp_ephemeral_ports_exhausted_total"] == 1
        for writer in writers:
            writer.close()


async def test_without_arguments_all_endpoints_are_meant_also_those_that_nobody_has_in_hand() -> None:
    """A loop's clients share one, a server of `utcp.start_server()` has its own; both outlive what they were made
    for."""
    collector = UtcpCollector()
    before = Scrape(collector)
    server = await utcp.start_server(serve, "127.0.0.1", 0, config=FAST)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await utcp.open_connection("127.0.0.1", port, config=FAST)
    writer.write(b"four\n")
    assert await reader.readexactly(10) == b"four\nfour\n"
    changed = Scrape(collector).since(before)
    assert changed["utcp_endpoints"] == 2
    assert changed["utcp_connections:ESTABLISHED"] == 2
    assert (changed["utcp_sent_bytes_total"], changed["utcp_received_bytes_total"]) == (15, 15)
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_what_closed_endpoints_have_counted_is_not_forgotten() -> None:
    collector = UtcpCollector()
    before = Scrape(collector)
    endpoint = Endpoint(("127.0.0.1", 0), config=FAST)
    own = UtcpCollector(endpoint)
    assert Scrape(own)["utcp_endpoints"] == 0  # not started yet
    async with endpoint:
        assert opened(endpoint) in registry.endpoints()
        with pytest.raises(ConnectionRefusedError):
            await endpoint.open_connection("127.0.0.1", 81, udp_port=endpoint.address[1])
    assert opened(endpoint) not in registry.endpoints()
    changed = Scrape(collector).since(before)
    assert "utcp_endpoints" not in changed
    assert changed["utcp_closes_total:refused"] == 1
    metrics = Scrape(own)
    assert (metrics["utcp_endpoints"], metrics["utcp_closes_total:refused"]) == (0, 1)


async def test_scrapes_from_another_thread_while_connections_come_and_go(peers: Peers) -> None:
    """They fail never, and no counter goes back."""
    collector = UtcpCollector(peers.client, peers.server)
    scrapes: list[Scrape] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def scrape() -> None:
        try:
            while not done.is_set():
                scrapes.append(Scrape(collector))
        except BaseException as error:  # told to the test
            failures.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        async with await peers.server.start_server(serve, 80):
            for _ in range(100):
                reader, writer = await peers.client.open_connection("127.0.0.1", 80, udp_port=peers.server.address[1])
                writer.write(b"four\n")
                await reader.readexactly(10)
                writer.close()
            await writer.wait_closed()
            await until(lambda: len(peers.client.stack.time_wait) == 100)
    finally:
        done.set()
        await asyncio.to_thread(thread.join)
    assert failures == []
    scrapes.append(Scrape(collector))
    for name in scrapes[0]:
        if "_total" in name:
            counts = [metrics[name] for metrics in scrapes]
            assert counts == sorted(counts), name
    assert scrapes[-1]["utcp_sent_bytes_total"] == 1500
    assert scrapes[-1]["utcp_closes_total:delivered"] == 200


async def test_a_counter_never_goes_back(peers: Peers) -> None:
    """Not even if a connection was missed because it ended while it was looked at."""
    collector = UtcpCollector(peers.client)
    counters = peers.client.stack.counters
    for count, shown in ((7, 7), (5, 7), (8, 8)):
        counters.past_bytes_sent = count
        assert Scrape(collector)["utcp_sent_bytes_total"] == shown


def test_the_documented_table_is_what_is_served() -> None:
    documented = {}
    for row in re.findall(r"^\| (utcp_\w+) +\| (\w+) +\| (\w*) +\| \S", metrics_table(), re.MULTILINE):
        name, kind, label = row
        documented[name.removesuffix("_total")] = (kind, label)
    described = {family.name: family for family in UtcpCollector().describe()}
    served = Scrape(UtcpCollector()).families
    assert list(described) == list(documented) == list(served)
    for name, (kind, label) in documented.items():
        assert served[name].type == described[name].type == kind
        assert all(list(sample.labels) == ([label] if label else []) for sample in served[name].samples)
        assert served[name].samples
        assert described[name].documentation == served[name].documentation


def test_every_cause_of_an_ending_is_served() -> None:
    from dataclasses import fields

    from utcp.tcp.endings import Endings

    served = {sample.labels["cause"] for sample in Scrape(UtcpCollector()).families["utcp_closes"].samples}
    assert served == {field.name for field in fields(Endings)}
    for cause in served:
        assert f'"{cause}"' in (prometheus.__doc__ or "")


def test_it_can_be_registered_and_unregistered_with_the_default_registry() -> None:
    collector = UtcpCollector()
    prometheus_client.REGISTRY.register(collector)
    try:
        assert prometheus_client.REGISTRY.get_sample_value("utcp_connections", {"state": "ESTABLISHED"}) is not None
    finally:
        prometheus_client.REGISTRY.unregister(collector)


def test_each_counter_of_a_stack_can_be_seen() -> None:
    """Under a name of `nstat`, or as a metric."""
    measured = {name for total in prometheus._TOTALS for name in (*total.counts, *total.values.values())}
    for field in fields(Counters):
        assert any(Counters(**{field.name: 1}).snmp().values()) or field.name in measured, field.name
