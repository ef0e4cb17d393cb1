"""Linux's TCP over a path in real time: each host has a network namespace and a TUN interface, and a relay joins them.

The kernel has its default settings, except for the congestion controller, which is set per socket, and for the metrics
of earlier connections, which are not kept (tcp_no_metrics_save). A host may also run utcp, as bare TCP over a TunLink.
"""

import asyncio
import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path as File
from typing import Final

import utcp
from tests.interop.namespace import ip, missing, own_network, sysctl
from utcp.link.tun import TunLink, open_tun
from utcp.testing.path import Conditions, Path

from . import loops
from .greedy import CHUNK, Sender
from .impairment import Port, Relay, first_in_line
from .path_cells import MTU, Run, seed_of

LINUX: Final = "Linux"
PACED_LINUX: Final = "Linux paced"
"""Linux's TCP with pacing by the socket, equivalent to the queueing discipline `fq`."""
UTCP: Final = "utcp"

_RECEIVER: Final = "10.77.0.100"
_PORT: Final = 7000
_INTERFACE: Final = "tun0"
_SO_MAX_PACING_RATE: Final = 47  # asm-generic/socket.h; Python's socket module has no name for it
_ABOVE_ANY: Final = 2**31 - 1
_WIRE_BUFFER: Final = 4 << 20
_PATIENCE: Final = 60.0
"""Maximum seconds for the handshakes, including their losses."""

_fork = multiprocessing.get_context("fork")  # a process forked in a namespace stays in it


def unavailable(controllers: Sequence[str] = ()) -> str | None:
    """Return why the measurement is impossible here, or None if it is possible with these congestion controllers."""
    reason = missing()
    if reason is not None:
        return reason
    offered = File("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    absent = [name for name in controllers if name not in offered]
    return f"the kernel offers no {' or '.join(absent)}, only {' '.join(offered)}" if absent else None


def run(
    conditions: Conditions,
    senders: Sequence[tuple[str, str]],
    seconds: float,
    seed: int,
    stagger: float = 0.0,
    ack_conditions: Conditions | None = None,
) -> Run:
    """Run one flow for each of `senders`, from separate hosts to one Linux host. Raises OSError.

    Args:
        conditions: conditions of the path for data.
        senders: pairs of a TCP (`LINUX`, `PACED_LINUX`, `UTCP`) and a congestion controller.
        seconds: duration of the measurement, from when the receiver has accepted the last flow.
        seed: seed of the paths' random numbers.
        stagger: seconds between the starts of the flows.
        ack_conditions: conditions of the path for acknowledgments; None: the same.
    """
    forth = Path(conditions, seed_of(seed, "sender", "receiver"))
    forth.waits = []
    back = Path(ack_conditions or conditions, seed_of(seed, "receiver", "sender"))
    with ExitStack() as stack:
        results, report = _fork.Pipe(duplex=False)
        stack.enter_context(results)
        with report, linux_host(_RECEIVER) as descriptor:
            stack.callback(os.close, descriptor)
            listener = stack.enter_context(socket.create_server((_RECEIVER, _PORT)))
            _start(stack, _receive, listener, len(senders), seconds, report)
        ports = [Port(_RECEIVER, descriptor, back)]
        for number, (tcp, controller) in enumerate(senders):
            address = f"10.77.0.{number + 1}"
            delay = number * stagger
            if tcp in (LINUX, PACED_LINUX):
                with linux_host(address) as descriptor:
                    stack.callback(os.close, descriptor)
                    _start(stack, _send, controller, delay, tcp == PACED_LINUX)
            else:
                near_end, far_end = (stack.enter_context(end) for end in wire())
                descriptor = near_end.fileno()
                _start(stack, _send_by_utcp, far_end, address, controller, delay, seconds)
            ports.append(Port(address, descriptor, forth))
        relay = Relay(*ports)
        relay.run(results.fileno(), seconds + 2 * _PATIENCE)
        try:
            octets = results.recv() if results.poll() else None
        except EOFError:
            octets = None
        if octets is None:
            raise OSError("the flows did not come about")
    return Run.over(forth, octets, seconds, relay.lateness)


@contextmanager
def linux_host(address: str) -> Iterator[int]:
    """Enter the network namespace of a new host, and yield its interface's descriptor, which the caller closes. The
    host exists until the descriptor is closed and the processes started in the namespace have ended."""
    with own_network():
        sysctl("ipv6/conf/all/disable_ipv6", 1)
        sysctl("ipv4/tcp_no_metrics_save", 1)
        descriptor = open_tun(_INTERFACE)
        # A long queue, because packets in the interface wait for the relay, not for the path, and must not be lost
        # there.
        ip(
            f"link set {_INTERFACE} mtu {MTU} txqueuelen 10000",
            f"addr add {address}/24 dev {_INTERFACE}",
            f"link set {_INTERFACE} up",
        )
        yield descriptor


def wire() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a wire that a TunLink takes for an interface."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WIRE_BUFFER)
    return ends


def _start(stack: ExitStack, application: Callable[..., None], *arguments: object) -> None:
    """Run `application` in its own process, in the current namespace, until `stack` is left."""
    process = _fork.Process(target=_run, args=(application, arguments), daemon=True)
    process.start()
    stack.callback(process.join)
    stack.callback(process.kill)


def _run(application: Callable[..., None], arguments: Sequence[object]) -> None:
    with first_in_line():
        application(*arguments)


def _receive(listener: socket.socket, flows: int, seconds: float, report: Connection) -> None:
    """Read all data, and report the octets of each flow, in the order of the senders' addresses."""
    octets: dict[str, int] = {}
    before: dict[str, int] = {}
    buffer = bytearray(1 << 18)
    end = time.monotonic() + _PATIENCE
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        selector.register(listener, selectors.EVENT_READ)
        while (now := time.monotonic()) < end:
            for key, _ in selector.select(end - now):
                host = key.data
                if host is not None:
                    octets[host] += os.readv(key.fd, [buffer])
                    continue
                sock, (host, _) = listener.accept()
                stack.enter_context(sock)
                selector.register(sock, selectors.EVENT_READ, host)
                octets[host] = 0
                if len(octets) == flows:
                    before = dict(octets)
                    end = time.monotonic() + seconds
        if before:
            report.send([octets[host] - before[host] for host in sorted(octets)])
            time.sleep(_PATIENCE)  # until it is killed, so that the senders see no close


def _send(controller: str, delay: float, paced: bool) -> None:
    """Write for ever over Linux's TCP."""
    time.sleep(delay)
    with socket.socket() as sock:
        sock.settimeout(_PATIENCE)  # ends a process whose parent died without killing it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, controller.encode())
        if paced:  # any limit switches on the socket's pacing
            sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, _ABOVE_ANY)
        sock.connect((_RECEIVER, _PORT))
        while True:
            sock.sendall(CHUNK)


def _send_by_utcp(wire: socket.socket, address: str, controller: str, delay: float, seconds: float) -> None:
    """Write over utcp on bare IP, for longer than any measurement."""

    async def send() -> None:
        await asyncio.sleep(delay)
        endpoint = utcp.Endpoint(config=utcp.Config(congestion_control=controller))
        endpoint.run(TunLink(wire.detach(), address, mtu=MTU))
        await endpoint.create_connection(Sender, _RECEIVER, _PORT)
        await asyncio.sleep(seconds + 2 * _PATIENCE)

    loops.run(send(), "uvloop")
