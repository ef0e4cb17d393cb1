"""What a control socket answers: the table, captures, and errors; and that no client can do harm."""

import asyncio
import gc
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

import utcp
from tests.aio.peers import FAST, Peers, Polite, Recorder, connection_of, opened, until
from tests.inspect.callers import ask, calling, capturing, controls, read_capture, table
from utcp.inspect import control, session
from utcp.inspect.loop import open_control
from utcp.inspect.table import rows
from utcp.trace.pcapng import CaptureObserver
from utcp.wire import FIN, SYN
from utcp.wire.seq import MASK

# ------------------------------------------------------------------ the table


async def test_the_table_tells_what_ss_tells(tmp_path: Path) -> None:
    open_control(tmp_path / "x.sock")
    async with Peers() as peers:
        transport, _, accepted = await peers.connect(Recorder, Recorder)
        transport.write(b"x" * 1000)
        await until(lambda: len(accepted.received) == 1000)
        accepted.transport.pause_reading()
        transport.write(b"y" * 500)
        await until(lambda: accepted.transport.get_extra_info("utcp").unread == 500)
        rows = {
            row.get("role", row["type"]): row for row in await table(tmp_path / "x.sock") if row["type"] != "endpoint"
        }
        assert rows["listener"]["state"] == "LISTEN"
        assert (rows["listener"]["recv_q"], rows["listener"]["send_q"]) == (0, 100)
        assert rows["server"]["recv_q"] == 500
        assert rows["client"]["local"] == rows["server"]["peer"]
        assert rows["client"]["peer"] == rows["server"]["local"] == rows["listener"]["local"]
        assert rows["client"]["local"]["udp_port"] == peers.client.address[1]
        info = rows["client"]["info"]
        assert info["bytes_sent"] == 1500
        assert info["snd_ssthresh"] is None
        assert info["pacing_rate"] is None
        assert set(info) == set(utcp.ConnectionInfo.__dataclass_fields__)
        accepted.transport.resume_reading()
    controls()[0].close()


async def test_time_wait_is_in_the_table_with_its_time_left(tmp_path: Path) -> None:
    open_control(tmp_path / "x.sock")
    config = utcp.Config(msl=20)
    async with Peers(config) as peers:
        transport, protocol, _ = await peers.connect(Polite, Polite)
        transport.close()
        await until(lambda: protocol.lost and len(peers.client.stack.time_wait))
        (row,) = [row for row in await table(tmp_path / "x.sock") if row["type"] == "time_wait"]
        assert row["state"] == "TIME_WAIT"
        assert 30 < row["seconds_left"] <= 40
        assert row["peer"]["udp_port"] == peers.port
    controls()[0].close()


async def test_a_long_table_is_made_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads it slowly gets all of it, and the loop is not held up for it."""
    monkeypatch.setattr(session, "CHUNK", 2048)
    path = tmp_path / "x.sock"
    async with utcp.Endpoint(("127.0.0.1", 0), control=path) as endpoint:
        for port in range(1, 5001):
            opened(endpoint).listen(port, 100, None)
        async with calling(path) as (reader, writer):
            writer.write(b'{"request":"table"}\n')
            await reader.readline()
            control_socket = controls()[0]
            (client,) = control_socket.sessions
            assert len(client._outbox) < 2 * 2048
            rows = (await reader.read()).splitlines()
        assert len(rows) == 1 + 5000 + 1


async def test_what_goes_while_the_table_is_read_is_left_out(peers: Peers) -> None:
    _, protocol, _ = await peers.connect(Recorder, Polite)
    transport, other, _ = await peers.connect(Recorder, Polite)
    found = rows(opened(peers.client))
    assert next(found)["state"] == "ESTABLISHED"
    transport.abort()
    await until(lambda: other.lost)
    assert list(found) == []
    assert not protocol.lost


# ------------------------------------------------------------------ captures


async def test_a_capture_begins_and_ends_while_the_endpoint_runs(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    open_control(path)
    async with Peers() as peers:
        transport, _, accepted = await peers.connect(Recorder, Polite)
        transport.write(b"before")
        await until(lambda: accepted.received == b"before")
        async with capturing(path) as (reader, writer):
            transport.write(b"meanwhile")
            await until(lambda: accepted.received.endswith(b"meanwhile"))
            writer.write_eof()
            seen = read_capture(await reader.read())
        transport.write(b"after")
        await until(lambda: accepted.received.endswith(b"after"))
        assert peers.client.stack.observer is None
        assert peers.server.stack.observer is None
    texts = [packet.segment.payload for packet in seen if packet.segment.payload]
    assert texts == [b"meanwhile"]  # once: the two endpoints are both seen
    said = next(packet.comment for packet in seen if packet.segment.payload)
    assert (said["role"], said["state"]) == ("client", "ESTABLISHED")
    controls()[0].close()


async def test_a_capture_ends_with_the_last_endpoint_and_has_its_last_segment(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    async with utcp.Endpoint(("127.0.0.1", 0)) as server:
        client = await utcp.Endpoint(("127.0.0.1", 0), control=path, config=FAST).start()
        async with await server.create_server(Polite), capturing(path) as (reader, _):
            await client.create_connection(Recorder, "127.0.0.1", server.address[1])
            await client.aclose()
            seen = read_capture(await reader.read())
    assert seen[0].segment.flags == SYN
    assert [packet.comment["direction"] for packet in seen[:2]] == ["out", "in"]
    assert any(packet.segment.flags & FIN and packet.comment["direction"] == "out" for packet in seen)
    assert not path.exists()


async def test_a_capture_takes_in_endpoints_that_come_later(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    opened = open_control(path)
    async with capturing(path) as (reader, writer):
        async with Peers() as peers:
            transport, protocol, _ = await peers.connect(Recorder, Polite)
            transport.close()
            await until(lambda: protocol.lost)
        writer.write_eof()
        seen = read_capture(await reader.read())
    assert seen[0].segment.flags == SYN
    opened.close()


async def test_a_capture_ends_after_as_many_packets_as_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    opened = open_control(path)
    async with Peers() as peers, capturing(path, count=2) as (reader, _):
        await peers.connect(Recorder, Polite)
        seen = read_capture(await reader.read())
        assert [packet.segment.flags & SYN for packet in seen] == [SYN, SYN]
    opened.close()


async def test_who_does_not_read_misses_packets_and_learns_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_BEHIND", 100_000)
    path = tmp_path / "x.sock"
    opened = open_control(path)
    async with Peers() as peers, calling(path) as (reader, writer):
        writer.write(b'{"request":"capture"}\n')
        await until(lambda: peers.client.stack.observer)
        callers: Any = writer.transport  # both loops' can pause, whatever its base class
        callers.pause_reading()
        transport, _, accepted = await peers.connect(Recorder, Polite)
        transport.write(bytes(4_000_000))
        await until(lambda: len(accepted.received) == 4_000_000)
        (client,) = opened.sessions
        assert client._recording is not None
        dropped, packets = client._recording.dropped, client._recording.packets
        assert dropped > 0
        assert len(client._outbox) < 100_000 + 2 * 65536
        callers.resume_reading()
        writer.write_eof()
        await reader.readline()
        data = await reader.read()
        assert len(read_capture(data)) == packets
        # Of an interface statistics block: what there was, what was left out.
        assert (
            data[-4 - 28 :]
            == b"".join(
                (b"\0\4\0\10", (packets + dropped).to_bytes(8, "big"), b"\0\5\0\10", dropped.to_bytes(8, "big"))
            )
            + data[-8:]
        )
    opened.close()


# ------------------------------------------------------------------ nonsense


@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"\xff\xfe\n",
        b"[" * 4000 + b"\n",
        b"x" * 5000,
        b"[]\n",
        b"{}\n",
        {"request": "dance"},
        {"request": ["table"]},
        {"request": "capture", "count": 0},
        {"request": "capture", "count": True},
        {"request": "capture", "count": "many"},
        {"request": "capture", "form": "sctp"},
    ],
)
async def test_nonsense_is_answered_with_an_error(tmp_path: Path, request_: object) -> None:
    path = tmp_path / "x.sock"
    async with utcp.Endpoint(("127.0.0.1", 0), control=path):
        (answer,) = await ask(path, request_)
        assert list(answer) == ["error"]
        assert len(await table(path)) == 1


@pytest.mark.parametrize("words", [b"", b'{"request":', b'{"request":"table"}\n', b'{"request":"capture"}\n'])
async def test_who_vanishes_leaves_nothing(tmp_path: Path, words: bytes) -> None:
    opened = open_control(tmp_path / "x.sock")
    async with Peers() as peers:
        transport, _, accepted = await peers.connect(Recorder, Polite)
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(opened.path)
                caller.sendall(words)
                if b"capture" in words:
                    await until(lambda: peers.client.stack.observer)
        transport.write(b"text")
        await until(lambda: accepted.received == b"text")
        await until(lambda: not opened.sessions)
        assert peers.client.stack.observer is None
    opened.close()


async def test_no_more_than_so_many_may_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    opened = open_control(tmp_path / "x.sock")
    async with calling(opened.path), calling(opened.path):
        await until(lambda: len(opened.sessions) == 2)
        assert await ask(opened.path, b"") == [{"error": "2 others are connected"}]
    opened.close()


async def test_who_says_nothing_is_let_go_when_it_closes(tmp_path: Path) -> None:
    opened = open_control(tmp_path / "x.sock")
    async with calling(opened.path) as (reader, _):
        await until(lambda: opened.sessions)
        opened.close()
        assert await reader.read() == b""
    assert controls() == []


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_loops_end_waits_for_the_last_words_of_a_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A program that just ends: who is behind by more than its socket holds gets all, and the capture's end."""
    path = tmp_path / "x.sock"
    monkeypatch.setattr(control, "LAST_WORDS", 30.0)  # on a busy machine too
    ending = threading.Event()
    data = bytearray()
    iss = 0

    def read() -> None:
        ending.wait()
        while more := caller.recv(65536):
            data.extend(more)

    with socket.socket(socket.AF_UNIX) as caller, asyncio.Runner(loop_factory=new_loop) as runner:
        reading = threading.Thread(target=read)
        reading.start()

        async def main() -> None:
            nonlocal iss
            opened = open_control(path)
            async with Peers() as peers:
                transport, _, accepted = await peers.connect(Recorder, Polite)
                iss = connection_of(transport).send_side.iss
                caller.connect(opened.path)
                caller.sendall(b'{"request":"capture"}\n')
                await until(lambda: peers.client.stack.observer)
                transport.write(bytes(2_000_000))
                await until(lambda: len(accepted.received) == 2_000_000)
            (client,) = opened.sessions
            assert client._outbox
            ending.set()

        runner.run(main())
        runner.close()
        reading.join()
    seen = read_capture(bytes(data).partition(b"\n")[2])
    octets = bytearray(2_000_000)
    for packet in seen:  # some may have been sent again, in other segments
        start, length = (packet.segment.seq - iss - 1) & MASK, len(packet.segment.payload)
        octets[start : start + length] = b"x" * length
    assert octets == b"x" * 2_000_000
    assert data[-32:-28] == b"\0\4\0\10"  # the counts, which come last
    gc.collect()
    assert not path.exists()


@pytest.mark.defect(91)
@pytest.mark.parametrize("request_", [b'{"request":"capture"}\n', b'{"request":"table"}\n'])
async def test_a_client_whose_answer_fails_is_let_go_and_nobody_else_is_harmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(CaptureObserver, "segment_sent", fail)
    monkeypatch.setattr(session, "rows", fail)
    opened = open_control(tmp_path / "x.sock")
    async with Peers() as peers:
        transport, _, accepted = await peers.connect(Recorder, Polite)
        async with calling(opened.path) as (reader, writer):
            writer.write(request_)
            await until(lambda: peers.client.stack.observer or reported)
            transport.write(b"text")
            await reader.read()
        await until(lambda: accepted.received == b"text" and not opened.sessions)
        assert peers.client.stack.observer is None
    opened.close()
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]
