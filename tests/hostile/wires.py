"""How an attacker's packets reach the server: through a raw socket, or (without root) through a UDP socket."""

import ctypes
import errno
import select
import socket
from struct import Struct, pack
from typing import Final, Protocol

_ETHERTYPE_IPV4: Final = 0x0800
_LARGEST: Final = 70_000
"""Octets of a frame that a virtual interface hands over before it is cut into segments."""
_BUFFER: Final = 8 << 20

_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_INSTRUCTION: Final = Struct("HBBI")
_LOAD_HALF, _LOAD_WORD, _IS_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06

_IP_HEADER: Final = 20
_UDP: Final = Struct("!HHHH")
_UDP_PACKET: Final = bytes((0x45, *bytes(8), 17, *bytes(10)))
"""An IP header of which only the protocol counts."""


class Wire(Protocol):
    """Sends and receives IPv4 packets."""

    udp_port: int
    """The attacker's own UDP port."""

    def send(self, packet: bytes) -> None:
        """Send one packet; it is lost when there is no room."""

    def receive(self, seconds: float) -> list[bytes]:
        """What has arrived for the attacker's own address; waits up to `seconds` when nothing has."""

    def close(self) -> None:
        """Give the descriptor back."""


class RawWire:
    """An interface's frames. `own` is the address whose packets it receives. Needs root."""

    def __init__(self, interface: str, server_mac: bytes, own: bytes) -> None:
        self.udp_port = 7000
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE_IPV4))
        try:
            _receive_only(self._socket, own)
            self._socket.bind((interface, _ETHERTYPE_IPV4))
            _make_room(self._socket)
            mac = self._socket.getsockname()[4]
        except BaseException:
            self._socket.close()
            raise
        self._ethernet = server_mac + mac + _ETHERTYPE_IPV4.to_bytes(2, "big")

    def send(self, packet: bytes) -> None:
        try:
            self._socket.send(self._ethernet + packet)
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.ENETDOWN):
                raise

    def receive(self, seconds: float) -> list[bytes]:
        return [frame[len(self._ethernet) :] for frame in _received(self._socket, seconds)]

    def close(self) -> None:
        self._socket.close()


class UdpWire:
    """A UDP socket on loopback. Whatever source a packet names, it leaves from this socket."""

    def __init__(self, host: str, server: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        _make_room(self._socket)
        self._server = server
        self.udp_port: int = self._socket.getsockname()[1]
        self._header = _UDP_PACKET + _UDP.pack(server[1], self.udp_port, 0, 0)

    def send(self, packet: bytes) -> None:
        try:
            self._socket.sendto(packet[_IP_HEADER + _UDP.size :], self._server)
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                raise

    def receive(self, seconds: float) -> list[bytes]:
        return [self._header + datagram for datagram in _received(self._socket, seconds)]

    def close(self) -> None:
        self._socket.close()


def _make_room(sock: socket.socket) -> None:
    sock.setblocking(False)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)


def _received(sock: socket.socket, seconds: float) -> list[bytes]:
    """All that waits in the socket; without anything, what comes next, if it comes within `seconds`."""
    found: list[bytes] = []
    while True:
        try:
            found.append(sock.recv(_LARGEST))
        except BlockingIOError:
            if found or not select.select([sock], [], [], seconds)[0]:
                return found
            seconds = 0.0


def _receive_only(sock: socket.socket, address: bytes) -> None:
    """Have the kernel hand over IPv4 packets to `address` only (a classic BPF program)."""
    program = b"".join(
        _INSTRUCTION.pack(*instruction)
        for instruction in (
            (_LOAD_HALF, 0, 0, 12),
            (_IS_EQUAL, 0, 3, _ETHERTYPE_IPV4),
            (_LOAD_WORD, 0, 0, 30),
            (_IS_EQUAL, 0, 1, int.from_bytes(address, "big")),
            (_RETURN, 0, 0, 0xFFFFFFFF),
            (_RETURN, 0, 0, 0),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    count = len(program) // _INSTRUCTION.size
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pack("HP", count, ctypes.addressof(buffer)))
