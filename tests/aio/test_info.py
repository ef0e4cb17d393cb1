"""What programs see of a connection and of an endpoint: "utcp", TCP_INFO, totals."""

import asyncio
import socket
import struct
from typing import Any

import pytest

from tests.aio.peers import Peers, Polite, Recorder, connection_of, turns, until
from tests.certificates import client_context, server_context
from utcp import ConnectionInfo
from utcp.aio.tcp_info import tcp_info

TCP_MAXSEG, TCP_INFO, TCP_CONGESTION = 2, 11, 13


class Secured(asyncio.Protocol):
    """Looks at its transport when that is lost."""

    last_seen: ConnectionInfo | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: BaseException | None) -> None:
        self.last_seen = self.transport.get_extra_info("utcp")


async def echoed(peers: Peers) -> Any:
    """The transport of a connection on which 5000 octets went one way, and were acknowledged."""
    transport, _, _ = await peers.connect(Recorder)
    transport.write(bytes(5000))
    await until(lambda: transport.get_extra_info("utcp").bytes_acked == 5000)
    return transport


async def test_each_call_looks_anew(peers: Peers) -> None:
    transport, _, _ = await peers.connect(Recorder)
    before = transport.get_extra_info("utcp")
    assert isinstance(before, ConnectionInfo)
    transport.write(bytes(100))
    await until(lambda: transport.get_extra_info("utcp").bytes_acked == 100)
    assert before.bytes_acked == 0


async def test_after_the_end_it_is_the_last(peers: Peers) -> None:
    transport, client, _ = await peers.connect(Polite, Polite)
    transport.write(bytes(100))
    await until(lambda: transport.get_extra_info("utcp").bytes_acked == 100)
    transport.close()
    await until(lambda: client.lost)
    info = transport.get_extra_info("utcp")
    assert info.bytes_acked == 100
    assert info.state in ("FIN_WAIT_2", "TIME_WAIT")
    await turns(3)
    assert transport.get_extra_info("utcp") == info
    assert info.last_data_sent >= 0


async def test_an_aborted_connection_has_one_too(peers: Peers) -> None:
    transport, client, _ = await peers.connect(Recorder)
    transport.abort()
    await until(lambda: client.lost)
    assert transport.get_extra_info("utcp").state == "CLOSED"


async def test_through_tls(peers: Peers) -> None:
    """Also after the end."""
    server = await peers.server.create_server(Polite, 443, ssl=server_context())
    transport, protocol = await peers.client.create_connection(
        Secured, peers.host, 443, udp_port=peers.server.address[1], ssl=client_context()
    )
    assert transport.get_extra_info("utcp").state == "ESTABLISHED"
    transport.abort()
    await until(lambda: protocol.last_seen)
    assert protocol.last_seen is not None
    assert protocol.last_seen.state == "CLOSED"
    assert protocol.last_seen.bytes_received > 0
    info = transport.get_extra_info("utcp")
    assert (info.state, info.bytes_received) == ("CLOSED", protocol.last_seen.bytes_received)
    await turns(3)
    assert transport.get_extra_info("utcp") == info
    server.close()


async def test_totals_of_an_endpoint(peers: Peers) -> None:
    transport, _, server = await peers.connect(Recorder)
    assert peers.client.snmp()["TcpActiveOpens"] == peers.server.snmp()["TcpPassiveOpens"] == 1
    assert peers.client.snmp()["TcpCurrEstab"] == 1
    transport.abort()
    await until(lambda: server.lost)
    assert peers.client.snmp()["TcpCurrEstab"] == 0
    assert peers.server.snmp()["TcpEstabResets"] == 1


# --- sockets


async def test_tcp_info_as_linux_packs_it(peers: Peers) -> None:
    transport = await echoed(peers)
    facade = transport.get_extra_info("socket")
    info = transport.get_extra_info("utcp")
    packed = facade.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1024)
    assert packed[:6] == bytes([1, 0, 0, 0, 0, 7])  # ESTABLISHED, open, ..., timestamps | SACK | window scaling
    assert packed[6] == info.snd_wscale | info.rcv_wscale << 4
    rto, _, snd_mss, rcv_mss = struct.unpack_from("=4I", packed, 8)
    assert (rto, snd_mss, rcv_mss) == (round(info.rto * 1e6), info.snd_mss, info.rcv_mss)
    rtt, rttvar, _, cwnd, advmss, reordering = struct.unpack_from("=6I", packed, 68)
    assert (rtt, rttvar) == (round(info.rtt * 1e6), round(info.rttvar * 1e6))
    assert (cwnd, advmss, reordering) == (-(-info.snd_cwnd // info.snd_mss), info.advmss, 3)
    assert struct.unpack_from("=2Q2I", packed, 120) == (5000, 0, info.segs_out, info.segs_in)
    assert struct.unpack_from("=2Q", packed, 200) == (5000, 0)
    assert struct.unpack_from("=2I", packed, 228) == (info.snd_wnd, info.rcv_wnd)
    assert len(packed) == 236


async def test_tcp_info_is_cut_to_the_size_asked_for(peers: Peers) -> None:
    facade = (await echoed(peers)).get_extra_info("socket")
    assert len(facade.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104)) == 104
    assert facade.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1) == b"\1"
    assert facade.getsockopt(socket.IPPROTO_TCP, TCP_INFO) & 0xFF == 1


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel shows no TCP_INFO")
async def test_the_layout_is_the_kernels(peers: Peers) -> None:
    """What both know stands at the same place, and reads as one program reads both."""
    transport = await echoed(peers)
    ours = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, TCP_INFO, 236)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as near,
        listening.accept()[0] as far,
    ):
        near.sendall(bytes(5000))
        received = 0
        while received < 5000:
            received += len(far.recv(5000))
        theirs = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 236)
    if len(theirs) < 232:
        pytest.skip("an old kernel")
    for packed in (ours, theirs):
        assert packed[0] == 1
        assert struct.unpack_from("=Q", packed, 120)[0] in (5000, 5001)  # bytes_acked; Linux counts the SYN
        assert struct.unpack_from("=Q", packed, 200)[0] == 5000  # bytes_sent
        assert struct.unpack_from("=I", packed, 100)[0] == 0  # total_retrans
        assert struct.unpack_from("=Q", packed, 112)[0] == 0xFFFFFFFFFFFFFFFF  # max_pacing_rate: unlimited
        assert struct.unpack_from("=I", packed, 228)[0] > 10_000  # snd_wnd


async def test_before_anything_is_known(peers: Peers) -> None:
    """Nothing of what is infinite or unknown stands in the way of packing it."""
    connection = peers.client.stack.connect(peers.server.address, 9, 0.0)
    packed = tcp_info(connection.info())
    assert packed[0] == 2
    assert struct.unpack_from("=I", packed, 52)[0] == 0xFFFFFFFF  # last_data_recv
    assert struct.unpack_from("=I", packed, 76)[0] == 0x7FFFFFFF  # snd_ssthresh
    assert struct.unpack_from("=I", packed, 148)[0] == 0xFFFFFFFF  # min_rtt
    connection.abort(0.0)


async def test_congestion_control_and_segment_size(peers: Peers) -> None:
    transport, _, _ = await peers.connect(Recorder)
    facade = transport.get_extra_info("socket")
    assert facade.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16) == b"cubic".ljust(16, b"\0")
    assert facade.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG) == connection_of(transport).mss
