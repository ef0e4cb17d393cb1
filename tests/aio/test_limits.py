"""The limits of an endpoint, as applications meet them: memory, connections, connections of one host."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.aio.peers import FAST, Peers, Recorder, connection_of, until
from utcp import Config, Endpoint
from utcp.errors import LimitReached
from utcp.link import platform
from utcp.link.platform import Platform
from utcp.tcp.accounts import DEFAULT
from utcp.trace import registry

MIB = 1 << 20


class Writer(Recorder):
    """Writes as long as it may, up to `size` octets in pieces of 4096."""

    size = 3 * MIB

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.paused = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while not self.paused and self.written < self.size and self.transport is not None:
            self.transport.write(bytes(4096))
            self.written += 4096


@pytest.mark.defect(96)
async def test_memory_pauses_writers_and_loses_nothing() -> None:
    """Ten clients that read nothing, of a server with 1 MiB; then they read all."""
    async with Peers(replace(FAST, max_memory=MIB)) as peers:
        peers.listening = await peers.server.create_server(peers.remember(Writer))
        clients: list[Recorder] = []
        for _ in range(10):
            transport, client = await peers.client.create_connection(Recorder, peers.host, peers.port)
            transport.pause_reading()
            clients.append(client)
        await until(lambda: len(peers.accepted) == 10 and all(writer.paused for writer in peers.accepted))
        memory = peers.server.stack.memory
        assert memory.used < MIB
        assert memory.level
        assert sum(writer.written for writer in peers.accepted) < 4 * MIB
        for writer in peers.accepted:
            writer.size = writer.written
        for client in clients:
            assert client.transport is not None
            client.transport.resume_reading()
        await until(
            lambda: sum(len(client.received) for client in clients) == sum(writer.written for writer in peers.accepted)
        )
        peers.abort_server()


@pytest.mark.defect(96)
async def test_small_writes_that_wait_in_the_transport_are_joined() -> None:
    async with Peers() as peers:
        transport, _, server = await peers.connect(Recorder)
        server.transport.pause_reading()
        connection_of(transport).send_side.resize(2048)
        for number in range(10_000):
            transport.write(bytes([number & 0xFF]) * 2)
        assert transport.get_write_buffer_size() == 20_000 - 2048
        assert transport._buffer is not None
        assert len(transport._buffer) < 60
        server.transport.resume_reading()
        await until(lambda: len(server.received) == 20_000)
        assert server.received == b"".join(bytes([number & 0xFF]) * 2 for number in range(10_000))
        transport.close()


@pytest.mark.defect(96)
async def test_an_open_beyond_max_connections_is_an_error_that_says_so() -> None:
    async with Peers(replace(FAST, max_connections=1)) as peers:
        transport, _, _ = await peers.connect(Recorder)
        with pytest.raises(LimitReached, match=r"Config\.max_connections") as raised:
            await peers.client.create_connection(Recorder, peers.host, peers.port)
        assert raised.value.errno == errno.ENOBUFS
        assert isinstance(raised.value, OSError)
        transport.close()


@pytest.mark.defect(96)
async def test_max_connections_per_remote_is_about_hosts_not_sockets() -> None:
    config = replace(FAST, max_connections_per_remote=1)
    async with Peers(config) as peers, Endpoint((peers.host, 0), config=FAST) as other:
        transport, _, _ = await peers.connect(Recorder)
        second = asyncio.create_task(other.create_connection(Recorder, peers.host, peers.port))
        await until(lambda: peers.server.stack.counters.refused_by_max_connections_per_remote)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert len(peers.accepted) == 1
        transport.close()


@pytest.mark.defect(96)
async def test_max_connections_per_remote_counts_a_network_of_ipv6_as_one_host() -> None:
    async with Endpoint(("::1", 0), config=replace(FAST, max_connections_per_remote=1)) as endpoint:
        count = endpoint.stack.admission._host_of
        assert count(("2001:db8::1", 1, 0, 0)) == count(("2001:db8::2:0:0:1", 2, 0, 0))
        assert count(("2001:db8::1", 1, 0, 0)) != count(("2001:db8:0:1::1", 1, 0, 0))
        assert count(("fe80::1%eth0", 1, 0, 2)) == count(("fe80::2", 1, 0, 2))
        assert count(("::ffff:192.0.2.1", 1, 0, 0)) == count(("192.0.2.1", 1)) != count(("192.0.2.2", 1))


@pytest.mark.defect(96)
async def test_text_that_a_paused_protocol_never_reads_is_charged_until_connection_lost() -> None:
    async with Peers() as peers:
        transport, _, server = await peers.connect(Recorder)
        server.transport.pause_reading()
        memory, connection = peers.server.stack.memory, connection_of(server.transport)
        transport.write(bytes(50_000))
        await until(lambda: memory.used > 50_000)
        transport.abort()
        await until(lambda: server.lost)
        assert memory.used == 0
        assert connection.readable == 0


async def test_the_default_of_max_memory_is_a_quarter_of_what_other_endpoints_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "_usable_memory", lambda: 1024 * MIB)
    taken = registry.memory_limits()
    async with Endpoint(("127.0.0.1", 0), config=Config(max_memory=1024 * MIB - taken - 800 * MIB)) as given:
        assert given.config == Config(max_memory=given.stack.memory.limit)
        async with Endpoint(("127.0.0.1", 0)) as second:
            async with Endpoint(("127.0.0.1", 0)) as first:
                assert [each.stack.memory.limit for each in (second, first)] == [200 * MIB, 150 * MIB]
            async with Endpoint(("127.0.0.1", 0)) as third:
                assert third.stack.memory.limit == 150 * MIB, "the share of the one that is closed"
        monkeypatch.setattr(platform, "_usable_memory", lambda: 0)
        async with Endpoint(("127.0.0.1", 0)) as least:
            assert least.stack.memory.limit == 16 * MIB


@pytest.mark.parametrize(
    ("says", "share"),
    [("max\n", DEFAULT), ("1073741824\n", 1 << 28), ("9223372036854771712\n", DEFAULT), ("1\n", 16 * MIB)],
)
def test_the_limit_of_a_control_group_counts(
    says: str, share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of 1 GiB on a host of 64."""
    monkeypatch.setattr("os.sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 1 << 24)
    (tmp_path / "memory.max").write_text(says)
    monkeypatch.setattr(platform, "_GROUP_LIMITS", (str(tmp_path / "none"), str(tmp_path / "memory.max")))
    assert Platform().share_of_memory(0) == share
