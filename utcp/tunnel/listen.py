"""The users' end of a tunnel: kernel TCP in, utcp out."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Final

from utcp.tunnel.accept import accept_kernel, names
from utcp.tunnel.dial import Dialer, check_name
from utcp.tunnel.end import End, reason
from utcp.tunnel.options import FORWARD_PORT, Options
from utcp.tunnel.pump import KernelSide, Side, address_text


class Listen(End):
    """Accepts users over kernel TCP on `address`, and opens a utcp connection to `to` for each.

    If the other end does not answer, a user's connection waits for at most `connect_timeout` seconds and is then reset.
    """

    def __init__(self, address: tuple[str | None, int], to: tuple[str, int], options: Options) -> None:
        super().__init__(options)
        self.to: Final = to
        self._address = address
        self._dialer = Dialer(to, FORWARD_PORT, options)
        self._server: asyncio.AbstractServer | None = None

    @property
    def description(self) -> str:
        assert self._server is not None  # noqa: S101  # set by start()
        return f"listening on {names(self._server)}, to {address_text(self.to)}"

    async def _open(self) -> None:
        await check_name(self.to)
        self._server = await accept_kernel(lambda: KernelSide(self.watch, self._accepted), self._address)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _release(self) -> None:
        await self._dialer.aclose()

    def _accepted(self, user: KernelSide) -> None:
        self.spawn(user, self._carry_across(user))

    async def _carry_across(self, user: KernelSide) -> None:
        try:
            across = await self._dialer.dial(Side)
        except BaseException as error:
            user.reset()
            if isinstance(error, ssl.SSLError):
                self.handshake_failed(address_text(self.to), error)
            elif isinstance(error, OSError):
                self.complain(logging.ERROR, address_text(self.to), reason(error))
            else:
                raise
        else:
            self.carry(user, across)
