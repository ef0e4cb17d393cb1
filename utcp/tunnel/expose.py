"""The inside end of a reverse tunnel, which connects to the public end and waits there for users."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from utcp.errors import ConnectionReset
from utcp.tunnel.control import GO, GO_MARK, HELLO, HERE, WELCOME, Control
from utcp.tunnel.dial import Dialer, check_name
from utcp.tunnel.end import LOG, End, reason
from utcp.tunnel.options import EXPOSE_PORT, Options
from utcp.tunnel.pump import address_text

SPARE: Final = 4
"""Number of idle connections kept open for the next users."""

MOST_SPARE: Final = 1024
"""Maximum number of idle connections, regardless of the number of waiting users that the public end reports."""

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 10.0
"""Seconds between two attempts while the public end cannot be reached. The first pause is doubled up to the longest."""

KEEPALIVE_IDLE: Final = 3.0
"""Seconds without a segment before a keepalive probe. Short, so that a killed and restarted public end is detected
soon."""
KEEPALIVE_INTERVAL: Final = 2.0


class Expose(End):
    """Keeps some idle utcp connections to `to`, where `Reverse` listens.

    When one gets a user, it is joined to a kernel TCP connection to `target`, and a new idle connection replaces it.
    While the public end cannot be reached, attempts are repeated.
    """

    def __init__(self, target: tuple[str, int], to: tuple[str, int], options: Options) -> None:
        config = replace(options.config, keepalive_idle=KEEPALIVE_IDLE, keepalive_interval=KEEPALIVE_INTERVAL)
        super().__init__(replace(options, config=config))
        self.target: Final = target
        self.to: Final = to
        self._dialer = Dialer(to, EXPOSE_PORT, self.options)
        self._opening = 0
        self._spare = 0
        self._more = 0
        """Number of users that were waiting when the last one connected."""
        self._reached: bool | None = None
        """Whether the last attempt reached the public end; None: no attempt yet."""
        self._pause = FIRST_PAUSE
        self._retry: asyncio.TimerHandle | None = None

    @property
    def description(self) -> str:
        return f"exposing {address_text(self.target)} at {address_text(self.to)}"

    async def _open(self) -> None:
        await check_name(self.target)
        await check_name(self.to)
        self._fill()

    def _close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()

    async def _release(self) -> None:
        await self._dialer.aclose()

    def _fill(self) -> None:
        """Open the missing connections, or only one while it is unknown whether the public end can be reached."""
        if self.stopping or self._retry is not None:
            return
        wanted = min(SPARE + self._more, MOST_SPARE) if self._reached or self._spare else 1
        while self._opening + self._spare < wanted:
            self._opening += 1
            self.background(self._offer())

    async def _offer(self) -> None:
        """Keep one connection until a user gets it."""
        try:
            control = await self._welcomed()
        except OSError as error:
            self._opening -= 1
            self._failed(error)
            return
        self._opening -= 1
        self._spare += 1
        self._succeeded()
        try:
            mark, more = GO.unpack(await control.read(GO.size))
            if mark != GO_MARK:
                raise ConnectionReset("the public end speaks another protocol")
        except OSError as error:
            control.abort()
            # A pause, because a public end that drops every connection would otherwise be flooded.
            self._failed(error)
            return
        except asyncio.CancelledError:
            control.transport.close()
            raise
        finally:
            self._spare -= 1
            self._fill()
        self._more = more
        self._fill()
        control.write(HERE)
        side = control.become_side()
        self.spawn(side, self.forward(side, self.target))

    async def _welcomed(self) -> Control:
        async with asyncio.timeout(self.options.connect_timeout):
            control = await self._dialer.dial_once(Control)
            try:
                control.write(HELLO)
                heard = await control.read(len(WELCOME))
            except BaseException:
                control.abort()
                raise
        if heard != WELCOME:
            control.abort()
            raise ConnectionReset("it is no `utcp tunnel serve --reverse`")
        return control

    def _succeeded(self) -> None:
        self._pause = FIRST_PAUSE
        if not self._reached:
            self._reached = True
            LOG.info("connected to %s", address_text(self.to))
        self._fill()

    def _failed(self, error: OSError) -> None:
        if self._reached is not False:
            self._reached = False
            LOG.error("%s: %s; trying again", address_text(self.to), reason(error))
        if self._retry is None and not self.stopping:
            self._retry = asyncio.get_running_loop().call_later(self._pause, self._try_again)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _try_again(self) -> None:
        self._retry = None
        self._fill()
