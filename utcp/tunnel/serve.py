"""The service's end of a tunnel: utcp in, kernel TCP out."""

from __future__ import annotations

from typing import Final

from utcp.tunnel.accept import Acceptor
from utcp.tunnel.dial import check_name
from utcp.tunnel.end import End
from utcp.tunnel.options import FORWARD_PORT, Options
from utcp.tunnel.pump import Side, address_text


class Serve(End):
    """Accepts utcp connections on `address` (host None: all interfaces), and opens a kernel connection to `target` for
    each.

    With TLS, it opens that connection once the handshake is complete. If the target refuses, the utcp connection is
    reset.
    """

    def __init__(self, address: tuple[str | None, int], target: tuple[str, int], options: Options) -> None:
        super().__init__(options)
        self.target: Final = target
        self._address = address
        self._acceptor = Acceptor(lambda: Side(self._accepted), FORWARD_PORT, options, self.handshake_failed)

    @property
    def description(self) -> str:
        return f"listening on UDP {self._acceptor.names}, forwarding to {address_text(self.target)}"

    async def _open(self) -> None:
        await check_name(self.target)
        await self._acceptor.start(self._address)

    def _close(self) -> None:
        self._acceptor.close()

    async def _release(self) -> None:
        await self._acceptor.aclose()

    def _accepted(self, side: Side) -> None:
        self.spawn(side, self.forward(side, self.target))
