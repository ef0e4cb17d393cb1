"""The two ends of a tunnel to a service that the far end can reach."""

from __future__ import annotations

from utcp.tcp.transmit import address_text
from utcp.tunnel.accept import Acceptor
from utcp.tunnel.dial import Dialer, resolve_name
from utcp.tunnel.end import End
from utcp.tunnel.options import FORWARD_PORT, Options
from utcp.tunnel.pump import Side


class Listen(End):
    """The users' end: accepts users over kernel TCP on `address`, and opens a utcp connection to `to` for each.

    If the other end does not answer, a user's connection waits for at most `connect_timeout` seconds and is then reset.
    """

    def __init__(self, address: tuple[str | None, int], to: tuple[str, int], options: Options) -> None:
        super().__init__(options)
        self._address = address
        self.to = to
        self.carrier: Dialer = Dialer(to, FORWARD_PORT, options)

    @property
    def description(self) -> str:
        return f"listening on {self.users_address}, to {address_text(self.to)}"

    async def _open(self) -> None:
        await resolve_name(*self.to)
        await self.accept_users(self._address)

    async def _other_side(self, user: Side) -> Side:
        return await self.carrier.dial(Side)

    def _other_name(self, user: Side) -> str:
        return address_text(self.to)


class Serve(End):
    """The service's end: accepts utcp connections on `address` (host None: all interfaces), and opens a kernel
    connection to `target` for each.

    With TLS, it opens that connection once the handshake is complete. If the target refuses, the utcp connection is
    reset.
    """

    def __init__(self, address: tuple[str | None, int], target: tuple[str, int], options: Options) -> None:
        super().__init__(options)
        self._address = address
        self._target = target
        self.carrier: Acceptor = Acceptor(lambda: Side(self.accepted), FORWARD_PORT, options, self.handshake_failed)

    @property
    def description(self) -> str:
        return f"listening on UDP {self.carrier.names}, forwarding to {address_text(self._target)}"

    async def _open(self) -> None:
        await resolve_name(*self._target)
        await self.carrier.start(self._address)

    async def _other_side(self, user: Side) -> Side:
        return await self.connect_kernel(self._target)

    def _other_name(self, user: Side) -> str:
        return address_text(self._target)
