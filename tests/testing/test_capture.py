"""A simulated network as a capture: every segment once, with what its sender was about, and its fate."""

import asyncio
import io
from typing import Literal

import pytest

import utcp
from tests.testing.apps import PORT, ask
from tests.testing.hosts import pair
from utcp.testing import Host, Network, NetworkCapture, nth
from utcp.trace.capture_file import packets
from utcp.trace.comments import Comment, packet_comments
from utcp.wire import FIN, SYN, Segment, decode


def comments(capture: NetworkCapture) -> list[Comment]:
    file = io.BytesIO()
    capture.write(file)
    file.seek(0)
    return [packet_comments(packet.comment).sender for packet in packets(file)]


def test_every_segment_is_there_once_in_order_with_its_senders_state(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.05)
    capture = NetworkCapture(simnet)

    async def scenario() -> None:
        await client.run(ask("server", b"question" * 1000))
        await asyncio.sleep(200)

    simnet.run(scenario())
    file = io.BytesIO()
    capture.write(file)
    file.seek(0)
    captured = list(packets(file))
    assert len(captured) == len(simnet.trace)
    for packet, sent in zip(captured, simnet.trace, strict=True):
        assert packet.time_ns == round(sent.packet.time * 1e9)
        comment = packet_comments(packet.comment).sender
        assert comment["role"] == sent.packet.source
        assert comment["direction"] == "out"
        segment = decode(packet.octets[20:])
        assert segment.payload == decode(sent.packet.data).payload
        if comment["state"] == "SYN_SENT":
            assert "rcv_wnd" not in comment
        elif comment["state"] != "TIME_WAIT":
            assert comment["cwnd"] > 0
            assert comment["rcv_wnd"] == segment.window << (0 if segment.flags & SYN else 9)
    states: dict[str, list[str]] = {"client": [], "server": []}
    for packet in captured:
        comment = packet_comments(packet.comment).sender
        if comment["state"] not in states[comment["role"]][-1:]:
            states[comment["role"]].append(comment["state"])
    assert states["client"] == ["SYN_SENT", "FIN_WAIT_1", "TIME_WAIT"]  # what it said at once left with its ACK
    assert states["server"] == ["SYN_RCVD", "LAST_ACK"]


def test_a_lost_syn_is_marked_and_its_repetition_names_the_timer(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.05)
    capture = NetworkCapture(simnet)

    async def scenario() -> None:
        with simnet.rule(nth(1, lambda segment: segment.flags == SYN)):
            await client.run(ask("server", b"?"))

    simnet.run(scenario())
    first, second = comments(capture)[:2]
    assert first["lost"]
    assert "timer" not in first
    assert "retransmission" not in first
    assert second["timer"] == "retransmit"
    assert second["retransmission"]
    assert second["retransmits"] == 1
    assert second["state"] == "SYN_SENT"
    assert second["rto"] == 2 * first["rto"]
    assert "lost" not in second


def test_only_segments_that_a_timer_brought_about_name_it(simnet: Network) -> None:
    """A delayed ACK does; data that the application sends a second later does not. Nor does a quick ACK, which the
    second answer gets because the first ACK waited in vain."""
    _, client = pair(simnet, latency=0.05)
    capture = NetworkCapture(simnet)

    async def talk() -> None:
        reader, writer = await utcp.open_connection("server", PORT)
        for _ in range(3):
            writer.write(b"x")
            await reader.read(1)
            await asyncio.sleep(1)
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        await client.run(talk())

    simnet.run(scenario())
    said = comments(capture)
    by_timer = [(comment["role"], comment["timer"]) for comment in said if "timer" in comment]
    assert by_timer == [("client", "delayed_ack")]
    assert all(comment["in_flight"] == 0 for comment in said if comment.get("timer") == "delayed_ack")


def test_a_timer_that_brought_nothing_about_is_not_named_later(simnet: Network) -> None:
    """The keepalive timer finds that the peer was heard of meanwhile; what is sent a while later has nothing of it."""
    _, client = pair(simnet, latency=0.05)
    capture = NetworkCapture(simnet)
    config = utcp.Config(keepalive=True, keepalive_idle=1.0)

    async def talk() -> None:
        reader, writer = await utcp.open_connection("server", PORT, config=config)
        for _ in range(3):
            await asyncio.sleep(0.7)
            writer.write(b"x")
            await reader.read(1)
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        await client.run(talk())

    simnet.run(scenario())
    said = [comment for comment in comments(capture) if comment["role"] == "client"]
    assert any("keepalive" in comment.get("running", "") for comment in said)
    assert {comment["timer"] for comment in said if "timer" in comment} == {"delayed_ack"}


def test_losses_and_duplicates_are_as_many_as_the_path_counted(simnet: Network) -> None:
    server, client = pair(simnet, latency=0.02, loss=0.1, duplicate=0.1)
    capture = NetworkCapture(simnet)

    async def scenario() -> None:
        await client.run(ask("server", bytes(100_000)))

    simnet.run(scenario())
    said = comments(capture)
    paths = [simnet.path(client, server), simnet.path(server, client)]
    for fate, counted in (("lost", "lost"), ("duplicated", "duplicated")):
        assert sum(fate in comment for comment in said) == sum(path.counts[counted] for path in paths) > 0
    again = sum("retransmission" in comment for comment in said)
    assert again > 0
    assert {comment["timer"] for comment in said if "timer" in comment} <= {
        "retransmit", "probe", "reorder", "delayed_ack", "pacing"
    }  # fmt: skip


def test_time_wait_answers_without_a_connection(simnet: Network) -> None:
    """The last ACK is lost, so the server's FIN comes again."""
    _, client = pair(simnet, latency=0.05)
    capture = NetworkCapture(simnet)
    finished = False

    def last_ack(segment: Segment) -> bool:
        nonlocal finished
        finished = finished or (segment.src_port == PORT and bool(segment.flags & FIN))
        return finished and segment.dst_port == PORT

    async def scenario() -> None:
        with simnet.rule(nth(1, last_ack)):
            await client.run(ask("server", b"?"))
            await asyncio.sleep(5)

    simnet.run(scenario())
    lost = [comment for comment in comments(capture) if "lost" in comment]
    assert [comment["state"] for comment in lost] == ["TIME_WAIT"]
    assert "cwnd" not in lost[0]
    *_, fin, answer = comments(capture)
    assert fin["role"] == "server"
    assert fin["state"] == "LAST_ACK"
    assert fin["retransmission"]
    assert fin["timer"] in ("probe", "retransmit")
    assert answer["state"] == "TIME_WAIT"
    assert answer["running"].startswith("time_wait:")


def test_where_nobody_listens_a_reset_leaves_from_closed(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.05)
    capture = NetworkCapture(simnet)

    async def knock() -> None:
        async with utcp.Endpoint() as endpoint:
            with pytest.raises(ConnectionRefusedError):
                await endpoint.open_connection("server", 5, udp_port=PORT)

    async def scenario() -> None:
        await client.run(knock())

    simnet.run(scenario())
    assert [(comment["role"], comment["state"]) for comment in comments(capture)] == [
        ("client", "SYN_SENT"),
        ("server", "CLOSED"),
    ]


def test_it_can_be_written_again(simnet: Network) -> None:
    _, client = pair(simnet, latency=0.02, loss=0.1)
    capture = NetworkCapture(simnet)

    async def scenario() -> None:
        await client.run(ask("server", bytes(30_000)))

    simnet.run(scenario())
    first, second = io.BytesIO(), io.BytesIO()
    capture.write(first)
    capture.write(second)
    assert first.getvalue() == second.getvalue()


def test_it_changes_nothing_in_the_run() -> None:
    digests = set()
    for captured in (False, True):
        net = Network(seed=7)
        _, client = pair(net, latency=0.02, loss=0.1)
        if captured:
            NetworkCapture(net)

        async def scenario(client: Host = client) -> None:
            await client.run(ask("server", bytes(30_000)))

        net.run(scenario())
        digests.add(net.digest())
    assert len(digests) == 1


def test_without_a_trace_there_is_nothing_to_write(simnet: Network) -> None:
    capture = NetworkCapture(simnet)
    simnet.keep_trace = False
    with pytest.raises(ValueError, match="keep_trace"):
        capture.write(io.BytesIO())
    simnet.close()


@pytest.mark.parametrize("form", ["tcp", "udp"])
def test_segments_of_a_kernel_are_tcp_in_ip(simnet: Network, form: Literal["tcp", "udp"]) -> None:
    """Beside those of utcp, which `form` puts into UDP."""
    server, client = pair(simnet, latency=0.05)
    capture = NetworkCapture(simnet)

    async def talk() -> None:
        await server.run(asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 80))
        reader, writer = await asyncio.open_connection("server", 80)
        assert await reader.read() == b""
        writer.close()
        await ask("server", b"?")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        plain, _ = await client.run(loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("server", 1)))
        plain.sendto(b"left out")
        await client.run(talk())
        await asyncio.sleep(1)
        plain.close()

    simnet.run(scenario())
    file = io.BytesIO()
    capture.write(file, form=form)
    file.seek(0)
    captured = list(packets(file))
    sent = [each.packet for each in simnet.trace if each.packet.carrier != "udp"]
    assert len(captured) == len(sent) == len(simnet.trace) - 1
    protocols = {"tcp": 6, "utcp": 17 if form == "udp" else 6}
    assert [each.octets[9] for each in captured] == [protocols[each.carrier] for each in sent]
    states = [packet_comments(each.comment).sender["state"] for each in captured[:6]]
    assert states[:3] == ["SYN_SENT", "SYN_RCVD", "ESTABLISHED"]
    assert "FIN_WAIT_1" in states
