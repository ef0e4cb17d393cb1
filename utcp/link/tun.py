"""`TunLink`: TCP directly in IP over a TUN interface (Linux), for connections to kernel TCP on this and other hosts."""

import errno
import fcntl
import os
import socket
import time
from struct import pack, unpack_from
from typing import Final, Self

from utcp.link.allocator import keep_freed_memory
from utcp.link.base import (
    BATCH_OCTETS,
    MAX_PATH_ERRORS,
    QUOTED,
    Link,
    LinkCounters,
    PathError,
    Received,
    SendError,
)
from utcp.link.path import SocketAddress
from utcp.link.pending import NO_BUFFERS, NO_ROOM, Pending
from utcp.tcp.transmit import Remote, Transmit
from utcp.wire import icmp, ip
from utcp.wire.checksum import PROTOCOL, fill, pseudo_header, verify

DEVICE: Final = "/dev/net/tun"

# From linux/if_tun.h and linux/sockios.h.
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_SIOCGIFMTU: Final = 0x8921
_SIOCGIFTXQLEN: Final = 0x8942

_MAX_NAME: Final = 15
_MAX_PACKET: Final = 65575  # an IPv6 header and the longest payload without a jumbo option
_QUEUE: Final = 500  # packets; Linux's default for a TUN interface

# The descriptor is closed, or its interface is gone, for which only Linux has an errno.
_MISUSE: Final = frozenset({errno.EBADF, getattr(errno, "EBADFD", errno.EBADF)})


class TunCounters(LinkCounters):
    """Counters of a TunLink, whose datagrams are TCP segments.

    Each reason for dropping a received packet has its own counter. `not_unicast` counts invalid source addresses
    (MUST-63).
    """

    def __init__(self) -> None:
        super().__init__()
        self.bad_checksums = 0  # wrong TCP checksums (MUST-3)
        self.malformed = 0  # invalid IP packets, also by their header checksum
        self.fragments = 0
        self.foreign = 0  # another protocol, or another IP version than that of our address
        self.not_ours = 0  # packets to another address
        self.icmp_malformed = 0  # invalid ICMP messages, also by their checksum
        self.icmp_foreign = 0  # not an error, or not about a segment of ours


class TunLink(Link):
    """A link that writes IP packets to a descriptor and reads them from it.

    Each read must return one packet, and each write must accept one, as with a TUN interface without packet information
    (`open_tun`) or a SOCK_SEQPACKET socket. A remote is `(host, 0)`, in IPv6 `(host, 0, 0, 0)`, because there are no
    UDP ports.

    Args:
        descriptor: the descriptor, which the link owns from now on and makes non-blocking.
        address: the numeric IPv4 or IPv6 address of this end.
        mtu: the largest packet, octets.
        queue: the number of packets that can wait to be read.

    Raises ValueError for an address that is not unicast, or an MTU below IP's minimum.
    """

    counters: TunCounters

    def __init__(self, descriptor: int, address: str, *, mtu: int, queue: int = _QUEUE) -> None:
        self.family: int = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._octets = socket.inet_pton(self.family, address)
        except OSError:
            raise ValueError(f"address must be numeric, not {address!r}") from None
        if not ip.is_unicast(self._octets):
            raise ValueError(f"address must be a unicast address, not {address}")
        self._version = 6 if self.family == socket.AF_INET6 else 4
        self._smallest_mtu = ip.IPV6_SMALLEST_MTU if self._version == 6 else ip.IPV4_SMALLEST_MTU
        if mtu < self._smallest_mtu:
            raise ValueError(f"mtu must be {self._smallest_mtu} octets or more, not {mtu}")
        self._address = self._socket_address(self._octets)
        self._header_length = ip.IPV6_HEADER_LENGTH if self._version == 6 else ip.IPV4_HEADER_LENGTH
        self._payload = mtu - self._header_length
        self._queue = queue
        self._path_errors: list[PathError] = []
        self.counters = TunCounters()
        self._pending: Pending[tuple[Transmit, bytes]] = Pending(self.counters)
        self.pending = self._pending.waiting
        keep_freed_memory()
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    @classmethod
    def open(cls, interface: str, address: str) -> Self:
        """Return a link on a TUN interface. If the interface does not exist, create it until the link is closed.

        The caller must configure the interface (an address, link up).

        Args:
            interface: the name of the interface.
            address: the address of this end. To the kernel it is another host, reached through the interface.

        Raises OSError, and PermissionError without CAP_NET_ADMIN.
        """
        descriptor = open_tun(interface)
        try:
            return cls(descriptor, address, mtu=interface_mtu(interface), queue=_interface_queue(interface))
        except BaseException:
            os.close(descriptor)
            raise

    @property
    def address(self) -> SocketAddress:
        return self._address

    def fileno(self) -> int:
        return self._descriptor

    def now(self) -> float:
        return time.monotonic()

    def receive(self, limit: int = 512) -> list[Received]:
        counters = self.counters
        received: list[Received] = []
        packets = octets = 0
        self.drained = False
        while packets < limit and octets < BATCH_OCTETS:
            counters.receive_calls += 1
            try:
                data = os.read(self._descriptor, _MAX_PACKET)
            except BlockingIOError:
                self.drained = True
                break
            except OSError as error:
                if error.errno in _MISUSE:
                    raise
                counters.receive_errors += 1
                packets += 1
                continue
            packets += 1
            octets += len(data)
            segment = self._unpack(data)
            if segment is not None:
                counters.datagrams_received += 1
                counters.bytes_received += len(segment.data)
                received.append(segment)
        return received

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        errors: list[SendError] = []
        for transmit in transmits:
            destination = socket.inet_pton(self.family, self.peername(transmit.remote)[0])
            pseudo = pseudo_header(self._octets, destination)
            for segment in transmit.datagrams():
                packet = ip.build(self._octets, destination, transmit.ecn, fill(segment, pseudo))
                code = errno.EAGAIN if self.pending else self._write(packet)
                if code in NO_ROOM:
                    self._keep(transmit, packet)
                elif code:
                    errors.append(SendError(transmit.remote, code, transmit.flows()))
                    break  # the rest would fail too
        return errors

    def path_errors(self) -> list[PathError]:
        errors, self._path_errors = self._path_errors, []
        self.counters.path_errors += len(errors)
        return errors

    def flush_pending(self) -> list[SendError]:
        errors: list[SendError] = []
        while (first := self._pending.first()) is not None:
            transmit, packet = first
            code = self._write(packet)
            if code in NO_ROOM:
                self._pending.drop_stale(self.now())
                break
            if code:
                errors.append(SendError(transmit.remote, code, transmit.flows()))
            self._pending.remove_first()
        return errors

    def remote(self, address: SocketAddress) -> Remote:
        octets = socket.inet_pton(self.family, address[0])
        if not ip.is_unicast(octets):  # MUST-46
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return self._socket_address(octets)

    def peername(self, remote: Remote) -> SocketAddress:
        if not isinstance(remote, tuple):
            raise TypeError(f"remote must be a tuple of host and 0, not {remote!r}")
        return remote

    def sockname(self, remote: Remote) -> SocketAddress:
        return self._address

    def mtu(self, remote: Remote) -> int:
        """Return the largest TCP segment, octets, by the interface's MTU at the creation of the link."""
        return self._payload

    @property
    def receive_capacity(self) -> int:
        return self._queue * self._payload

    def close(self) -> None:
        self._pending.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _socket_address(self, octets: bytes) -> SocketAddress:
        host = socket.inet_ntop(self.family, octets)
        return (host, 0, 0, 0) if self.family == socket.AF_INET6 else (host, 0)

    def _unpack(self, data: bytes) -> Received | None:
        """Return the segment in a packet. If there is none for this link, count the reason and return None."""
        counters = self.counters
        try:
            packet = ip.parse(self._version, data)
        except ip.MalformedPacket:
            counters.malformed += 1
        except ip.FragmentedPacket:
            counters.fragments += 1
        except ip.ForeignPacket:
            counters.foreign += 1
        else:
            if packet.destination != self._octets:
                counters.not_ours += 1
            elif not ip.is_unicast(packet.source):
                counters.not_unicast += 1
            elif packet.protocol != PROTOCOL:
                self._store_icmp_error(packet)
            elif not verify(packet.segment, pseudo_header(packet.source, packet.destination)):
                counters.bad_checksums += 1
            else:
                return Received(packet.segment, self._socket_address(packet.source), None, packet.ecn)
        return None

    def _store_icmp_error(self, packet: ip.Packet) -> None:
        """Store an ICMP error about a segment of ours for `path_errors()`."""
        counters = self.counters
        try:
            error = icmp.parse(packet.source, packet.destination, packet.segment)
        except icmp.MalformedMessage:
            counters.icmp_malformed += 1
            return
        except icmp.ForeignMessage:
            counters.icmp_foreign += 1
            return
        if error.source != self._octets or not ip.is_unicast(error.destination):
            counters.icmp_foreign += 1
            return
        if len(self._path_errors) >= MAX_PATH_ERRORS:
            counters.path_errors_dropped += 1
            return
        mtu = None
        if error.mtu is not None and error.mtu >= self._smallest_mtu:
            mtu = error.mtu - self._header_length
        remote = self._socket_address(error.destination)
        self._path_errors.append(PathError(remote, error.errno, mtu, error.quoted[:QUOTED]))

    def _write(self, packet: bytes) -> int:
        """Write one packet. Return 0 or the errno. Return 0 also for a packet that is lost for lack of buffers."""
        counters = self.counters
        counters.send_calls += 1
        try:
            os.write(self._descriptor, packet)
        except OSError as error:
            if error.errno in _MISUSE:
                raise
            code = error.errno or errno.EIO
            if code in NO_BUFFERS:
                counters.no_buffers += 1
                return 0
            if code not in NO_ROOM:
                counters.send_errors += 1
            return code
        counters.datagrams_sent += 1
        counters.bytes_sent += len(packet) - self._header_length
        return 0

    def _keep(self, transmit: Transmit, packet: bytes) -> None:
        """Add the packet to the pending ones. An answer to an unverified sender is dropped instead."""
        if transmit.unverified:
            self.counters.answers_dropped += 1
        else:
            self._pending.add((transmit, packet), len(packet), 1, self.now())


def open_tun(interface: str) -> int:
    """Return a descriptor of a TUN interface, without packet information. Create the interface if it does not exist.

    Raises ValueError for a name that is empty or longer than 15 octets, and OSError.
    """
    request = _interface_request(interface, pack("=H", _IFF_TUN | _IFF_NO_PI))
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def interface_mtu(interface: str) -> int:
    """Return the MTU of an interface, octets. Raises OSError if there is no interface of that name."""
    return _ask_interface(interface, _SIOCGIFMTU)


def _interface_queue(interface: str) -> int:
    """Return the length of the interface's queue, packets."""
    return _ask_interface(interface, _SIOCGIFTXQLEN)


def _ask_interface(interface: str, question: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, question, _interface_request(interface, b""))
    (value,) = unpack_from("=i", answer, 16)
    return int(value)


def _interface_request(interface: str, value: bytes) -> bytes:
    """Return a `struct ifreq` with the name, of up to 15 octets, and the value."""
    name = interface.encode()
    if not 0 < len(name) <= _MAX_NAME:
        raise ValueError(f"the name of an interface must have 1 to {_MAX_NAME} octets: {interface!r}")
    return pack("=16s24s", name, value)
