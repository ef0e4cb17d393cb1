"""Linux's TCP over a path in real time: each host has a network namespace and a TUN interface, and a relay joins them.

The kernel is as it comes, but for the congestion controller, which is chosen per socket, and for remembering nothing of
earlier connections (tcp_no_metrics_save). A host may also be utcp's: bare TCP over a TunLink.
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
"""Linux's TCP whose socket paces, as the queueing discipline `fq` makes it."""
UTCP: Final = "utcp"

_RECEIVER: Final = "10.77.0.100"
_PORT: Final = 7000
_INTERFACE: Final = "tun0"
_SO_MAX_PACING_RATE: Final = 47  # asm-generic/socket.h; Python's socket module has no name for it
_ABOVE_ANY: Final = 2**31 - 1
_WIRE_BUFFER: Final = 4 << 20
_PATIENCE: Final = 60.0
"""Seconds that the handshakes may take, with all that is lost of them."""

_fork = multiprocessing.get_context("fork")  # what is forked in a namespace lives in it


def unavailable(controllers: Sequence[str] = ()) -> str | None:
    """Why nothing can be measured here; None when it can, with these congestion controllers."""
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
    """One flow for each of `senders`, pairs of a TCP (`LINUX`, `PACED_LINUX`, `UTCP`) and a congestion controller, from
    hosts of their own to one Linux host, each begun `stagger` seconds after the one before.

    The path for acknowledgements has the same conditions unless it has its own. Measured for `seconds`, from when the
    receiver has accepted the last. Raises OSError.
    """
    forth = Path(conditions, seed_of(seed, "sender", "receiver"))
    forth.waits = []
    back = Path(ack_conditions or conditions, seed_of(seed, "receiver", "sender"))
    with ExitStack() as stack:
        results, report = _fork.Pipe(duplex=False)
        stack.enter_context(results)
        with report, _linux_host(_RECEIVER) as descriptor:
            stack.callback(os.close, descriptor)
            listener = stack.enter_context(socket.create_server((_RECEIVER, _PORT)))
            _start(stack, _receive, listener, len(senders), seconds, report)
        ports = [Port(_RECEIVER, descriptor, back)]
        for number, (tcp, controller) in enumerate(senders):
            address = f"10.77.0.{number + 1}"
            delay = number * stagger
            if tcp in (LINUX, PACED_LINUX):
                with _linux_host(address) as descriptor:
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
def _linux_host(address: str) -> Iterator[int]:
    """The calling thread is in the network namespace of a new host; its interface's descriptor, for the caller to
    close. The host is there until that, and the processes started meanwhile, are gone."""
    with own_network():
        sysctl("ipv6/conf/all/disable_ipv6", 1)
        sysctl("ipv4/tcp_no_metrics_save", 1)
        descriptor = open_tun(_INTERFACE)
        # What waits in the interface waits for the relay, not for the path: nothing may be lost there.
        ip(
            f"link set {_INTERFACE} mtu {MTU} txqueuelen 10000",
            f"addr add {address}/24 dev {_INTERFACE}",
            f"link set {_INTERFACE} up",
        )
        yield descriptor


def wire() -> tuple[socket.socket, socket.socket]:
    """The two ends of what a TunLink takes for an interface."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WIRE_BUFFER)
    return ends


def _start(stack: ExitStack, application: Callable[..., None], *arguments: object) -> None:
    """Run `application` in a process of its own, in the present namespace, until `stack` is left."""
    process = _fork.Process(target=_run, args=(application, arguments), daemon=True)
    process.start()
    stack.callback(process.join)
    stack.callback(process.kill)


def _run(application: Callable[..., None], arguments: Sequence[object]) -> None:
    with first_in_line():
        application(*arguments)


def _receive(listener: socket.socket, flows: int, seconds: float, report: Connection) -> None:
    """Read all that comes; report the octets of each flow, in the order of the senders' addresses."""
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
            time.sleep(_PATIENCE)  # until it is killed: the senders are not to see the connections close


def _send(controller: str, delay: float, paced: bool) -> None:
    """Write for ever, by Linux's TCP."""
    time.sleep(delay)
    with socket.socket() as sock:
        sock.settimeout(_PATIENCE)  # for a process whose parent did not live to kill it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, controller.encode())
        if paced:  # a limit, however high, switches the socket's pacing on
            sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, _ABOVE_ANY)
        sock.connect((_RECEIVER, _PORT))
        while True:
            sock.sendall(CHUNK)


def _send_by_utcp(wire: socket.socket, address: str, controller: str, delay: float, seconds: float) -> None:
    """Write as long as anybody could want to measure it, by utcp over bare IP."""

    async def send() -> None:
        await asyncio.sleep(delay)
        endpoint = utcp.Endpoint(config=utcp.Config(congestion_control=controller))
        endpoint.run(TunLink(wire.detach(), address, mtu=MTU))
        await endpoint.create_connection(Sender, _RECEIVER, _PORT)
        await asyncio.sleep(seconds + 2 * _PATIENCE)

    loops.run(send(), "uvloop")
