"""`UdpLink`: one UDP socket, with batches in both directions, and segmentation offload if the kernel supports it."""

import errno
import os
import select
import socket
import time
from math import inf
from typing import Any, Final, NamedTuple, Self, cast

from utcp._compiled import mypyc_attr
from utcp.link import answers, error_queue, sockopt
from utcp.link.allocator import keep_freed_memory
from utcp.link.base import BATCH_OCTETS, MAX_PATH_ERRORS, Link, LinkCounters, PathError, Received, SendError
from utcp.link.path import OPEN_ROUTE_LIFETIME, Route, Routes, SocketAddress, UdpPath
from utcp.link.pending import NO_BUFFERS, NO_ROOM, Pending
from utcp.link.sockopt import CONTROL_SIZE, RECEIVE_SIZE
from utcp.tcp.transmit import Remote, Transmit
from utcp.wire.ip import is_unicast

__all__ = ["Link", "LinkCounters", "PathError", "Received", "SendError", "UdpLink", "UdpPath"]

BUFFER_SIZE: Final = 8 * 1024 * 1024
"""Requested size of each socket buffer, octets. Thousands of connections share one socket."""

MAX_REMOTES: Final = 1024
"""Addresses for which remote() caches its result, so that thousands of connections to one peer share the object."""

JOIN_BELOW: Final = 1024
"""Octets per buffer below which joining a train's buffers is cheaper than passing them to the kernel separately.

Measured: 92 buffers of 700 octets, 5.4 against 6.4 microseconds; 14 of 4450, 4.9 against 3.8.
"""

PATH_ERROR_RATE: Final = 2000.0
"""ICMP errors read per second, with bursts of MAX_PATH_ERRORS. The others are discarded, which takes a quarter of the
time."""

_REPLACEMENT: Final = 0.1
"""Seconds between two new send buffers for answers to unverified senders."""

_RETRY_TIME: Final = 0.005
"""Seconds in one `send()` during which calls that fail because of ICMP errors are repeated more than once."""

_UNKNOWN_CAUSE: Final = -1
"""Pseudo errno: every attempt failed because of ICMP errors."""

# EINVAL, EMSGSIZE: a segment larger than the path's MTU. EIO, EOPNOTSUPP: a device or tunnel that cannot checksum.
_SEGMENTATION_REFUSED: Final = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP})

_TRUNCATED: Final = sockopt.MSG_TRUNC | sockopt.MSG_CTRUNC


MAX_CONTROL: Final = 1024
"""Combinations of control messages whose meaning is cached."""

_IP_LEVEL: Final[dict[int, int]] = {socket.AF_INET: socket.IPPROTO_IP, socket.AF_INET6: socket.IPPROTO_IPV6}
_ECN: Final = frozenset({(socket.IPPROTO_IP, sockopt.IP_TOS), (socket.IPPROTO_IPV6, sockopt.IPV6_TCLASS)})
_LOCAL_ADDRESS: Final = frozenset(
    {(socket.IPPROTO_IP, sockopt.IP_PKTINFO), (socket.IPPROTO_IPV6, sockopt.IPV6_PKTINFO)}
)


class _Control(NamedTuple):
    """The meaning of a datagram's control messages."""

    segment_size: int | None
    ecn: int
    local: str | None
    """The local address, "" if remotes do not name it, None if it is a broadcast or multicast address."""


@mypyc_attr(allow_interpreted_subclasses=True)
class UdpLink(Link):
    """A link over a bound, unconnected UDP socket, which it owns from now on and makes non-blocking.

    On a socket bound to one address, a remote is the peer's socket address, as in received datagrams. On a socket bound
    to the wildcard address it is a UdpPath on Linux, so that replies leave from the address to which the peer has sent
    (MUST-45). Other systems do not report that address. Without `offload`, every datagram takes a system call.

    On Linux the link reads ICMP errors (`path_errors`). A socket with such an error reports EPOLLERR, after which
    uvloop no longer watches its descriptor. So event loops watch an epoll descriptor that watches the socket.

    On Linux the link has a second socket with the same address, which sends answers to unverified senders
    (`utcp.link.answers`). On other systems, or if the system refuses it, the first socket sends them if there is room
    at once. With SO_REUSEPORT, only a link on the wildcard address has a second socket.

    Raises ValueError for a socket that is not UDP over IP, is connected, or is not bound.
    """

    def __init__(self, sock: socket.socket, *, offload: bool = True) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_DGRAM:
            raise ValueError(f"sock must be a UDP socket, not {sock!r}")
        if sockopt.is_connected(sock):
            raise ValueError("the UDP socket must not be connected")
        self._address = cast("SocketAddress", sock.getsockname())
        if self._address[1] == 0:
            raise ValueError("the UDP socket must be bound")
        keep_freed_memory()
        sock.setblocking(False)
        sockopt.send_at_once(sock)
        sockopt.discover_path_mtu(sock)
        sockopt.enlarge_buffers(sock, BUFFER_SIZE)
        self._socket = sock
        self.family: int = sock.family
        self._wildcard = self._address[0] in sockopt.WILDCARDS
        self._local = "" if self._wildcard else self._address[0]  # the local host; "" if the kernel chooses it
        self._names_local = self._wildcard and sockopt.report_local_address(sock)
        self._takes_ipv4 = sockopt.takes_ipv4(sock)
        receives_trains = sockopt.receive_trains(sock, offload)
        self._sends_trains = offload and sockopt.can_segment(sock)
        # Without sendmsg(), as on Windows, all buffers are joined.
        self._join_below = JOIN_BELOW if hasattr(sock, "sendmsg") else RECEIVE_SIZE
        self._receive_capacity = sockopt.receive_capacity(sock)
        # Each operand enables messages. Without any, as on Windows, recvfrom() receives.
        reports_ecn = sockopt.report_ecn(sock)
        self._has_control = receives_trains or self._names_local or reports_ecn
        self._control: dict[tuple[sockopt.ControlMessage, ...], _Control] = {}
        self._traffic_class = sockopt.traffic_class(sock)
        self._routes = Routes(sock.family, takes_ipv4=self._takes_ipv4)
        self._remotes: dict[SocketAddress, tuple[Route, Remote]] = {}
        self._last_path: Any = None  # a UdpPath, of which compiled code would make a tuple
        """The last remote of `receive()` with a local address. Datagrams of one peer follow each other."""
        self.counters = LinkCounters()
        self._pending: Pending[Transmit] = Pending(self.counters)
        self.pending = self._pending.waiting
        self._path_errors: list[PathError] = []  # for the next path_errors()
        self._error_budget = float(MAX_PATH_ERRORS)  # number of errors that may still be read
        self._errors_read_at = 0.0
        self.has_path_errors = False
        self._found_nothing = False  # in the last receive()
        self._reports_errors = sockopt.report_errors(sock)
        self._epoll: select.epoll | None = None
        self._events: int = select.EPOLLIN if self._reports_errors else 0  # for which it watches the socket
        if self._reports_errors:
            self._epoll = select.epoll()
            self._epoll.register(sock.fileno(), self._events)
        second = answers.open_second(sock)
        self._answers = sock if second is None else second  # sends answers to unverified senders
        self._replace_at = inf if second is None else 0.0
        self._retry_until = 0.0  # for this send(); 0 until a call fails

    @classmethod
    def bind(cls, family: int, address: SocketAddress, *, reuse_port: bool = False, offload: bool = True) -> Self:
        """Return a link on a new socket bound to `address`. An IPv6 socket does not receive IPv4.

        Raises OSError with asyncio's text: "error while attempting to bind on address ...: address already in use".
        """
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                sock.bind(address)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                text = f"error while attempting to bind on address {address!r}: {reason}"
                raise OSError(error.errno, text) from None
            return cls(sock, offload=offload)
        except BaseException:
            sock.close()
            raise

    @property
    def address(self) -> SocketAddress:
        return self._address

    def fileno(self) -> int:
        if self._epoll is None or self._epoll.closed:
            return self._socket.fileno()
        return self._epoll.fileno()

    def now(self) -> float:
        return time.monotonic()

    @property
    def receive_capacity(self) -> int:
        return self._receive_capacity

    def receive(self, limit: int = 512) -> list[Received]:
        counters = self.counters
        received: list[Received] = []
        datagrams = dropped = octets = 0
        self.drained = False
        while datagrams < limit and octets < BATCH_OCTETS:
            counters.receive_calls += 1
            try:
                # recvmsg_into() with a permanent buffer is slower. A train of 46 segments takes 29 to 32 microseconds
                # as new bytes, but 32 to 35 as views of a buffer; one of 64 small segments 11 to 12, but 17 to 20. A
                # single datagram takes the same time.
                if self._has_control:
                    data, control, flags, peer = self._socket.recvmsg(RECEIVE_SIZE, CONTROL_SIZE)
                else:
                    (data, peer), control, flags = self._socket.recvfrom(RECEIVE_SIZE), [], 0
            except BlockingIOError:
                self.drained = True
                break
            except OSError as error:
                if error.errno in sockopt.MISUSE:
                    raise
                # An ICMP error or lack of memory. It concerns one datagram and is reported only once.
                counters.receive_errors += 1
                datagrams += 1
                dropped += 1
                self.has_path_errors = True
                continue
            if flags & _TRUNCATED or not peer[1]:
                if peer[1]:
                    # A train without its segment size would be processed as one datagram, with headers in its data.
                    counters.truncated += 1
                else:
                    counters.no_source_port += 1
                datagrams += 1
                dropped += 1
                continue
            key = tuple(control)
            segment_size, ecn, local = self._control.get(key) or self._read_control(key)
            if local is None:
                counters.not_unicast += 1
                datagrams += 1
                dropped += 1
                continue
            size = len(data)
            octets += size
            count = 1 if segment_size is None else -(-size // segment_size)
            datagrams += count
            remote: Remote = peer
            if local:
                if self._last_path != (peer, local):
                    self._last_path = UdpPath(peer, local)
                remote = self._last_path
            received.append(Received(data, remote, segment_size, ecn))
        if datagrams:
            counters.bytes_received += octets
            counters.datagrams_received += datagrams - dropped
            self._found_nothing = False
        elif limit > 0:
            # After two wakeups without a datagram, the error queue may have an entry that no call has reported.
            self.has_path_errors |= self._found_nothing
            self._found_nothing = True
        return received

    def _read_control(self, control: tuple[sockopt.ControlMessage, ...]) -> _Control:
        """Return the meaning of a datagram's control messages, and cache it, because they repeat."""
        segment_size = None
        ecn = 0
        local: str | None = ""
        for level, kind, value in control:  # may include others that the socket's former owner has enabled
            if level == sockopt.SOL_UDP:
                if kind == sockopt.UDP_GRO:
                    segment_size = sockopt.read_segment_size(value)
            elif (level, kind) in _ECN:
                ecn = sockopt.read_ecn(value)
            elif (level, kind) in _LOCAL_ADDRESS and self._names_local and local is not None:
                host = sockopt.read_local_address(level, value)
                # An IPv6 socket gets IPv4's message as well, which shows only whether the address is a unicast one.
                local = host if host is None or level == _IP_LEVEL[self.family] else local
        if len(self._control) >= MAX_CONTROL:
            self._control.clear()
        self._control[control] = meaning = _Control(segment_size, ecn, local)
        return meaning

    def send(self, transmits: list[Transmit]) -> list[SendError]:
        errors = self.flush_pending() if self.pending else []
        self._retry_until = 0.0
        for transmit in transmits:
            if self.pending and (not transmit.unverified or self._answers is self._socket):
                self._keep(transmit)
                continue
            rest = self._send(transmit, errors)
            if rest is not None:
                self._keep(rest)
        return errors

    def path_errors(self) -> list[PathError]:
        if self._reports_errors and self.has_path_errors:
            self._read_error_queue()
        else:
            self.has_path_errors = False
        found, self._path_errors = self._path_errors, []
        self.counters.path_errors += len(found)
        return found

    def watch_room(self, wanted: bool) -> bool:
        return self._watch(select.EPOLLOUT, wanted)

    def watch_input(self, wanted: bool) -> bool:
        return self._watch(select.EPOLLIN, wanted)

    def _watch(self, event: int, wanted: bool) -> bool:
        if self._epoll is None:
            return False
        if not self._epoll.closed:
            events = self._events | event if wanted else self._events & ~event
            self._epoll.modify(self._socket.fileno(), events)
            self._events = events
        return True

    def flush_pending(self) -> list[SendError]:
        self._retry_until = 0.0
        errors: list[SendError] = []
        while (transmit := self._pending.first()) is not None:
            rest = self._send(transmit, errors)  # still in the queue, because a signal handler may raise
            if rest is not None:
                self._pending.shorten_first(rest, rest.size, _datagram_count(rest))
                self._pending.drop_stale(self.now())
                break
            self._pending.remove_first()
        return errors

    def remote(self, address: SocketAddress) -> Remote:
        route = self._routes.find(address, self._local, self.now(), OPEN_ROUTE_LIFETIME)
        known = self._remotes.get(address)
        if known is not None and known[0] is route:
            return known[1]
        host = sockopt.unmapped(route.host)
        if not is_unicast(socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)):  # MUST-46
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        peer: SocketAddress = (route.host, address[1])
        if self.family == socket.AF_INET6:
            peer = (route.host, address[1], 0, route.scope_id)
        remote = UdpPath(peer, route.local) if self._names_local else peer
        if len(self._remotes) >= MAX_REMOTES:
            self._remotes.clear()
        self._remotes[address] = (route, remote)
        return remote

    def peername(self, remote: Remote) -> SocketAddress:
        return remote.peer if isinstance(remote, UdpPath) else cast("SocketAddress", remote)

    def sockname(self, remote: Remote) -> SocketAddress:
        if not isinstance(remote, UdpPath):
            return self._address
        if len(remote.peer) == 4:
            return (remote.local, self._address[1], 0, remote.peer[3])
        return (remote.local, self._address[1])

    def receives_at(self, address: SocketAddress) -> bool:
        if address[1] != self._address[1]:
            return False
        host, scope_id = sockopt.unmapped(address[0]), address[3] if len(address) == 4 else 0
        if not self._wildcard:
            own_scope_id = self._address[3] if len(self._address) == 4 else 0
            return (host, scope_id) == (sockopt.unmapped(self._address[0]), own_scope_id)
        is_carried = self.family == socket.AF_INET6 if ":" in host else self._takes_ipv4
        return is_carried and sockopt.is_ours(host, scope_id)

    def mtu(self, remote: Remote) -> int:
        """Return the largest payload of a datagram to `remote`, octets; without a route, that of an Ethernet.

        The route is cached for ROUTE_LIFETIME (`Routes.find`).
        """
        peer, local = remote if isinstance(remote, UdpPath) else (cast("SocketAddress", remote), self._local)
        try:
            return self._routes.find(peer, local, self.now()).mtu
        except OSError:
            # Not an error here, because the send will fail with the reason.
            return sockopt.default_payload(self.family)

    def close(self) -> None:
        self._pending.clear()
        self._path_errors.clear()
        self.has_path_errors = False
        self._routes.close()
        if self._epoll is not None:
            self._epoll.close()
        self._answers.close()
        self._socket.close()

    def _name_remote(self, peer: SocketAddress, local: str | None) -> Remote | None:
        """Return the remote of a datagram to `peer` from our address `local`."""
        if not self._names_local:
            return peer
        return None if local is None else UdpPath(peer, local)

    def _read_error_queue(self) -> bool:
        """Read ICMP errors within the limits of `path_errors()`. Return whether there were any."""
        now = self.now()
        grown = (now - self._errors_read_at) * PATH_ERROR_RATE
        self._error_budget = min(self._error_budget + grown, float(MAX_PATH_ERRORS))
        self._errors_read_at = now
        reading = error_queue.read(self._socket, self._name_remote, int(self._error_budget))
        self._error_budget -= len(reading.errors)
        self.has_path_errors = not reading.emptied
        self._path_errors += reading.errors
        self.counters.path_errors_dropped += reading.dropped
        return reading.has_icmp

    def _keep(self, transmit: Transmit) -> None:
        """Add the train to the pending ones. An answer to an unverified sender is dropped instead."""
        if transmit.unverified:
            self.counters.answers_dropped += _datagram_count(transmit)
        else:
            self._pending.add(transmit, transmit.size, _datagram_count(transmit), self.now())

    def _send(self, transmit: Transmit, errors: list[SendError]) -> Transmit | None:
        """Send a train with as few calls as possible. Return the part without room in the socket, or None; append
        failures to `errors`."""
        size, segment_size, datagrams = transmit.size, transmit.segment_size, 1
        if segment_size is not None:
            datagrams = -(-size // segment_size)
            if datagrams == 1:
                segment_size = None
            elif not self._sends_trains:
                return self._send_parts(transmit, segment_size, errors)
            elif size > sockopt.MAX_TRAIN_BYTES or datagrams > sockopt.MAX_TRAIN_SEGMENTS:
                segments = min(sockopt.MAX_TRAIN_SEGMENTS, sockopt.MAX_TRAIN_BYTES // segment_size)
                return self._send_parts(transmit, segment_size * max(1, segments), errors)
        code = self._try(transmit, segment_size)
        if code:
            code = self._retry(transmit, segment_size, code)
            if code:
                return self._refused(transmit, segment_size, code, errors)
        counters = self.counters
        counters.datagrams_sent += datagrams
        counters.bytes_sent += size
        return None

    def _refused(
        self, transmit: Transmit, segment_size: int | None, code: int, errors: list[SendError]
    ) -> Transmit | None:
        """Handle a train that a call has refused. Return the result of `_send`."""
        counters = self.counters
        if code in NO_ROOM:
            return transmit
        if code in NO_BUFFERS:
            counters.no_buffers += _datagram_count(transmit)
            return None
        if code == _UNKNOWN_CAUSE:
            counters.datagrams_dropped += _datagram_count(transmit)
            return None
        if not transmit.unverified:  # an unverified sender may have no route
            self._routes.forget()  # the routes may have changed
        if segment_size is not None and code in _SEGMENTATION_REFUSED:
            # Not cached, because a refused call costs less than one datagram of the train.
            counters.segmentation_refused += 1
            return self._send_parts(transmit, segment_size, errors)
        counters.send_errors += 1
        errors.append(SendError(transmit.remote, code, transmit.flows()))
        return None

    def _retry(self, transmit: Transmit, segment_size: int | None, code: int) -> int:
        """Send a train again that a call has refused with `code`, unless a further attempt cannot succeed.

        Returns 0, an errno, or _UNKNOWN_CAUSE. An ICMP error about any datagram joins the error queue and makes the
        next call fail once. So a failure is the send's own only if two calls in a row fail and the queue has no ICMP
        error. While ICMP errors keep arriving, the cause is unknown, and a flood of them must not end connections to
        other hosts.
        """
        if code in NO_ROOM:
            return self._try(transmit, segment_size) if transmit.unverified and self._replace_answers() else code
        has_own_socket = transmit.unverified and self._answers is not self._socket  # has no ICMP errors
        if code in NO_BUFFERS or has_own_socket or not self._reports_errors:
            return code
        while True:
            code = self._try(transmit, segment_size)
            if not code or code in NO_ROOM or code in NO_BUFFERS or not self._read_error_queue():
                break
            now = self.now()
            if not self._retry_until:
                self._retry_until = now + _RETRY_TIME
            elif now >= self._retry_until:
                code = _UNKNOWN_CAUSE
                break
        self.has_path_errors = True  # path_errors() returns the errors of this call with the others
        return code

    def _replace_answers(self) -> bool:
        """Replace the socket for answers by one with an empty send buffer, at most once per _REPLACEMENT.

        Returns whether it was replaced. The full buffer holds datagrams to neighbours that do not exist, and genuine
        clients must be answered meanwhile. The kernel keeps these datagrams after the socket is closed.
        """
        now = self.now()
        if now < self._replace_at:
            return False
        self._replace_at = now + _REPLACEMENT
        if self._answers is not self._socket:
            self._answers.close()
            self._answers = self._socket
        second = answers.open_second(self._socket)
        if second is None:
            return False
        self._answers = second
        return True

    def _try(self, transmit: Transmit, segment_size: int | None) -> int:
        """Send with one system call. Return 0 or the errno."""
        self.counters.send_calls += 1
        sock = self._answers if transmit.unverified else self._socket
        buffers, count = transmit.buffers, len(transmit.buffers)
        if count > 1 and transmit.size < self._join_below * count:
            buffers, count = [b"".join(buffers)], 1
        peer: Any = transmit.remote
        control: list[sockopt.ControlMessage] = []
        if isinstance(peer, UdpPath):
            control.append(sockopt.source_message(self.family, peer.local))
            peer = peer.peer
        if segment_size is not None:
            control.append(sockopt.segment_size_message(segment_size))
        if transmit.ecn and sockopt.IS_LINUX:
            family = sockopt.packet_family(peer)
            control.append(sockopt.traffic_class_message(family, self._traffic_class[family] | transmit.ecn))
        try:
            if control or count > 1:
                sock.sendmsg(buffers, control, 0, peer)
            else:
                sock.sendto(buffers[0], peer)
        except OSError as error:
            if error.errno in sockopt.MISUSE:
                raise
            return error.errno or errno.EIO
        return 0

    def _send_parts(self, transmit: Transmit, octets: int, errors: list[SendError]) -> Transmit | None:
        """Send a train as several trains of `octets` each. After a failure the rest is dropped, because it would fail
        too."""
        data = b"".join(transmit.buffers)
        failed = len(errors)
        for start in range(0, len(data), octets):
            rest = self._send(_part(transmit, data[start : start + octets]), errors)
            if rest is not None:
                return _part(transmit, data[min(start + octets, len(data)) - rest.size :])
            if len(errors) > failed:
                errors[-1] = errors[-1]._replace(flows=_part(transmit, data[start:]).flows())
                break
        return None


def _part(transmit: Transmit, data: bytes) -> Transmit:
    return Transmit(
        transmit.remote, [data], len(data), transmit.segment_size, transmit.ecn, unverified=transmit.unverified
    )


def _datagram_count(transmit: Transmit) -> int:
    return -(-transmit.size // (transmit.segment_size or transmit.size))
