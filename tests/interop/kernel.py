"""The kernel's side: its sockets, driven by the loop that also runs utcp, and what it says about them."""

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TCP_LINGER_NOW = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds

# linux/tcp.h, include/net/tcp_states.h
_STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RCVD",
    4: "FIN_WAIT_1",
    5: "FIN_WAIT_2",
    6: "TIME_WAIT",
    7: "CLOSED",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
}
_OPTION_TIMESTAMPS = 1
_OPTION_SACK = 2
_OPTION_WINDOW_SCALE = 4

# State, then four counts; options; the two window scales in one octet; flags; RTO, ATO, the two MSS.
_INFO = struct.Struct("=8B4I")


class TcpInfo(NamedTuple):
    """Some of TCP_INFO: what the kernel believes of a connection."""

    state: str
    probes: int
    timestamps: bool
    sack: bool
    window_scaling: bool
    snd_wscale: int
    rcv_wscale: int
    snd_mss: int


def tcp_info(sock: socket.socket) -> TcpInfo:
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    state, _, _, probes, _, options, scales, _, _, _, snd_mss, _ = _INFO.unpack(data)
    return TcpInfo(
        _STATES[state],
        probes,
        bool(options & _OPTION_TIMESTAMPS),
        bool(options & _OPTION_SACK),
        bool(options & _OPTION_WINDOW_SCALE),
        scales & 15,
        scales >> 4,
        snd_mss,
    )


def states(port: int) -> list[str]:
    """The states of the kernel's IPv4 connections that have `port` at either end, those of closed sockets too."""
    return [state for local, remote, state in _sockets() if port in (local, remote) and state != "LISTEN"]


def listens(port: int) -> bool:
    return any(local == port and state == "LISTEN" for local, _, state in _sockets())


def _sockets() -> Iterator[tuple[int, int, str]]:
    """Local port, remote port and state of each."""
    for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        yield int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16), _STATES[int(state, 16)]


def listen(host: str, port: int) -> socket.socket:
    sock = _socket(host)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen()
    return sock


async def accept(listener: socket.socket) -> socket.socket:
    return (await asyncio.get_running_loop().sock_accept(listener))[0]


async def connect(host: str, port: int, *, local_port: int = 0, max_segment: int | None = None) -> socket.socket:
    """Connect, from `local_port` if given, offering an MSS of `max_segment` octets if given."""
    sock = _socket(host)
    try:
        if local_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", local_port))
        if max_segment is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, max_segment)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def receive(sock: socket.socket, size: int = 65536) -> bytes:
    """What one recv() gives: up to `size` octets, none at the end."""
    return await asyncio.get_running_loop().sock_recv(sock, size)


async def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the end."""
    data = bytearray()
    while chunk := await receive(sock, 1 << 18):
        data += chunk
    return bytes(data)


def reset_on_close(sock: socket.socket) -> None:
    """SO_LINGER with zero seconds: close() will send RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, TCP_LINGER_NOW)


def error_of(sock: socket.socket) -> str:
    """The name of the error that is pending on the socket, such as ECONNRESET."""
    return errno.errorcode.get(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "none")


def _socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock
