"""Where an attack takes place: a server, an innocent client and an attacker, each a process of its own.

With root, the server has a network namespace, and the two others share a second one at the other end of a pair of
virtual Ethernet interfaces. Without, all are on loopback, and nobody can forge.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from tests.hostile.attacker import Orders
from tests.hostile.attacks import Attack
from tests.hostile.forge import Stack
from tests.interop import namespace

ROOT: Final = Path(__file__).parents[2]

_PREFIX: Final = 16
_SERVER_SIDE: Final = "srv0"
_CLIENT_SIDE: Final = "net0"
_SERVER_MAC: Final = "02:00:00:00:00:01"
_CLIENT_MAC: Final = "02:00:00:00:00:02"
_DOWN: Final = 1.0
"""Seconds for which the interface is down."""
_SLOW: Final = "tbf rate 20mbit burst 32kbit latency 50ms"
_PATIENCE: Final = 90.0
"""Seconds that a process may take beyond what it was asked for."""
_LAST_OCTETS: Final = {"server": 1, "client": 2, "attacker": 66}


class ArenaFailed(Exception):
    """A process of the arena has ended, or does not answer."""


class Process:
    """A Python module that answers lines by lines of JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"tests.hostile.{module}", *arguments]
        self._name = module
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )

    def ask(self, line: str, seconds: float = 0.0) -> Any:
        """The answer to `line`, which may take `seconds` and some patience."""
        self.tell(line)
        return self.hear(seconds)

    def tell(self, line: str) -> None:
        """Write `line`."""
        pipe = _pipe(self._process.stdin)
        try:
            pipe.write(line.encode() + b"\n")
            pipe.flush()
        except BrokenPipeError as error:
            raise ArenaFailed(f"{self._name} has ended") from error

    def hear(self, seconds: float = 0.0) -> Any:
        """Its next line."""
        pipe = _pipe(self._process.stdout)
        if not select.select([pipe], [], [], seconds + _PATIENCE)[0]:
            raise ArenaFailed(f"{self._name} does not answer")
        line = pipe.readline()
        if not line:
            raise ArenaFailed(f"{self._name} has ended")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            _pipe(pipe).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


@dataclass(frozen=True, slots=True)
class Side:
    """What was measured in one period, of the innocent client and of the server. Times are in seconds."""

    p50: float
    p99: float
    longest: float
    """The longest that one echo took."""
    opens: list[float | None]
    """How long each new connection took to open; None: it did not."""
    octets_per_second: float | None
    """Of the download, if there was one."""
    cpu: float
    """The server's share of a CPU."""
    blocked: float
    """By how much the server's event loop was late at most."""
    memory: int
    """Octets that the server's process and the kernel's TCP held at the end."""
    mss: float | None
    """The server's MSS towards the client."""


@dataclass(frozen=True, slots=True)
class Result:
    """One attack on one stack: `quiet` once it was prepared, `attacked` meanwhile. `sent` packets or connections.
    `growth` of the memory, octets, the preparation included."""

    attack: str
    stack: Stack
    quiet: Side
    attacked: Side
    sent: int
    growth: int


class Arena:
    """A server and an innocent client that is connected to it."""

    def __init__(self, stack: Stack, *, root: bool) -> None:
        self._stack: Stack = stack
        self._networks: tuple[int, int] | None = None
        self._root = root
        # Another address of loopback for each process: the ports are always the same.
        self._network = "10.99.0" if root else f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}"
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            if self._root:
                self._networks = exits.enter_context(_two_networks(self._host("server"), self._host("client")))
                self._know_attacker()
            self._server = exits.enter_context(self._start(0, "services", self._stack, self._host("server")))
            self._server.hear()
            self._client = exits.enter_context(
                self._start(1, "innocent", self._stack, self._host("server"), self._host("client"))
            )
            self._client.hear()
            self._udp_port, self._port = self._client.ask("")
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _host(self, name: str) -> str:
        """The address of one of the three. In namespaces no kernel has the attacker's, or it would answer."""
        return f"{self._network}.{_LAST_OCTETS[name]}"

    def suffer(self, attack: Attack, seconds: float, *, quiet: float | None = None, scale: float = 1.0) -> Result:
        """Measure for `quiet` seconds without the attack (None: for as long as with it), once it is prepared, then for
        `seconds` with it."""
        orders = Orders(
            attack=attack.name,
            stack=self._stack,
            server=self._host("server"),
            own=self._host("attacker"),
            victim=(self._host("client"), self._udp_port, self._port),
            seconds=seconds,
            scale=scale,
            interface=_CLIENT_SIDE if self._root else None,
            server_mac=_SERVER_MAC,
        )
        memory = self._server.ask("")["memory"]
        with self._start(1, "attacker", orders.text()) as attacker:
            attacker.hear()
            before = self._measure(attack, seconds if quiet is None else quiet)
            attacker.tell("")
            with self._disturbed(attack.link):
                attacked = self._measure(attack, seconds)
            sent = attacker.hear(seconds)
        return Result(attack.name, self._stack, before, attacked, sent, attacked.memory - memory)

    def _measure(self, attack: Attack, seconds: float) -> Side:
        self._server.ask("")
        begin = time.monotonic()
        client = self._client.ask(f"{seconds} bulk" if attack.bulk else f"{seconds}", seconds)
        server = self._server.ask("")
        server["cpu"] /= time.monotonic() - begin
        return Side(**client, **server)

    def _start(self, side: int, module: str, *arguments: str) -> Process:
        if self._networks is None:
            return Process(module, *arguments)
        with namespace.inside(self._networks[side]):
            return Process(module, *arguments)

    @contextmanager
    def _disturbed(self, link: str | None) -> Iterator[None]:
        """What happens to the server's interface meanwhile."""
        if link is None:
            yield
        elif link == "slow":
            self._command("tc", "qdisc", "replace", "dev", _SERVER_SIDE, "root", *_SLOW.split())
            yield
        else:
            thread = threading.Thread(target=self._down_and_up)
            thread.start()
            yield
            thread.join()

    def _down_and_up(self) -> None:
        time.sleep(0.2)
        self._command("ip", "link", "set", _SERVER_SIDE, "down")
        time.sleep(_DOWN)
        self._command("ip", "link", "set", _SERVER_SIDE, "up")
        self._know_attacker()

    def _know_attacker(self) -> None:
        """Tell the server's kernel where the attacker's own address is, for which no kernel answers."""
        where = f"to {self._host('attacker')} lladdr {_CLIENT_MAC} dev {_SERVER_SIDE} nud permanent"
        self._command("ip", "neigh", "replace", *where.split())

    def _command(self, *command: str) -> None:
        assert self._networks is not None
        with namespace.inside(self._networks[0]):
            subprocess.run(command, check=True)  # noqa: S603


@contextmanager
def _two_networks(*hosts: str) -> Iterator[tuple[int, int]]:
    """The server's namespace, and that of its clients, joined."""
    server, clients = namespace.new_network(), -1
    try:
        clients = namespace.new_network()
        with namespace.inside(server):
            other = f"/proc/{os.getpid()}/fd/{clients}"
            namespace.ip(
                f"link add {_SERVER_SIDE} address {_SERVER_MAC} type veth"
                f" peer name {_CLIENT_SIDE} address {_CLIENT_MAC} netns {other}"
            )
        sides = zip((server, clients), (_SERVER_SIDE, _CLIENT_SIDE), hosts, strict=True)
        for network, interface, host in sides:
            with namespace.inside(network):
                for name in ("all", "default"):
                    namespace.sysctl(f"ipv4/conf/{name}/rp_filter", 0)  # or the kernel drops what is forged
                namespace.sysctl("ipv6/conf/all/disable_ipv6", 1)
                namespace.ip(f"addr add {host}/{_PREFIX} dev {interface}", f"link set {interface} up")
        yield server, clients
    finally:
        for network in (server, clients):
            if network >= 0:
                os.close(network)
