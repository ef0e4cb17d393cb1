"""The wire between the kernel's TCP and utcp: a TUN interface, with or without a pump in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Literal, Self, TypeAlias

from tests.interop import kernel
from tests.interop.namespace import ip
from tests.interop.pump import Pump
from tests.interop.trace import Trace
from utcp import Config, Endpoint, StreamWriter
from utcp.link.base import Link
from utcp.link.tun import TunLink, interface_mtu, open_tun
from utcp.testing.path import Conditions

INTERFACE = "utcp0"
KERNEL = "10.9.0.1"
UTCP = "10.9.0.2"
KERNEL_IPV6 = "fd09::1"
UTCP_IPV6 = "fd09::2"
PORT = 9000

DEFAULT = Config(close_timeout=30.0)

Opener: TypeAlias = Literal["kernel", "utcp"]


class Wire:
    """An endpoint that is a host behind the kernel's TUN interface. What its TCP saw is printed if the test fails."""

    def __init__(self, config: Config = DEFAULT, *, host: str = UTCP, mtu: int = 1500, trace: bool = True) -> None:
        self.trace = Trace()
        self.endpoint = Endpoint(config=config, observer=self.trace if trace else None)
        self.host = host
        self.kernel_host = KERNEL_IPV6 if ":" in host else KERNEL
        self._mtu = mtu

    async def __aenter__(self) -> Self:
        ip(f"tuntap add dev {INTERFACE} mode tun", f"link set {INTERFACE} mtu {self._mtu}")
        link = self._link()
        # Up only now: an interface that gets its carrier later drops what is sent until the kernel has noticed.
        ip(
            f"address add {KERNEL}/24 dev {INTERFACE}",
            f"link set {INTERFACE} up",
            *([f"address add {KERNEL_IPV6}/64 dev {INTERFACE} nodad"] if ":" in self.host else []),
        )
        self.endpoint.run(link)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            print(self.trace.render())  # noqa: T201  # pytest shows it with the failure
        await self.endpoint.aclose()

    def _link(self) -> Link:
        return TunLink.open(INTERFACE, self.host)

    async def open(self, opener: Opener) -> tuple[socket.socket, asyncio.StreamReader, StreamWriter]:
        """A connection, opened by the kernel or by utcp: the kernel's socket, and utcp's reader and writer."""
        if opener == "utcp":
            with kernel.listen(self.kernel_host, PORT) as listener:
                reader, writer = await self.endpoint.open_connection(self.kernel_host, PORT)
                return await kernel.accept(listener), reader, writer
        accepted = await self.serve(PORT)
        sock = await kernel.connect(self.host, PORT)
        return sock, *(await accepted.get())

    async def serve(self, port: int) -> asyncio.Queue[tuple[asyncio.StreamReader, StreamWriter]]:
        """Listen on a port of utcp's; the connections come by the queue."""
        accepted: asyncio.Queue[tuple[asyncio.StreamReader, StreamWriter]] = asyncio.Queue()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert isinstance(writer, StreamWriter)
            accepted.put_nowait((reader, writer))

        await self.endpoint.start_server(connected, port)
        return accepted


class PumpedWire(Wire):
    """A wire whose packets the test's pump carries."""

    def __init__(self, config: Config = DEFAULT, *, conditions: Conditions | None = None, seed: int = 0) -> None:
        super().__init__(config)
        self._conditions = Conditions() if conditions is None else conditions
        self._seed = seed

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        await super().__aexit__(kind, *error)
        self.pump.close()

    def _link(self) -> Link:
        self.pump = Pump(open_tun(INTERFACE), self._conditions, self._seed)
        return TunLink(self.pump.far_end, self.host, mtu=interface_mtu(INTERFACE))


async def until(condition: Callable[[], object], timeout: float = 60.0, pause: float = 0.002) -> None:
    """Wait until `condition()` is true, asking every `pause` seconds; AssertionError after `timeout` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(pause)
