"""The public end of a reverse tunnel: it accepts users over kernel TCP and passes them to the end that exposes a
service."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from utcp.errors import ConnectionReset
from utcp.tunnel.accept import Acceptor, accept_kernel, names
from utcp.tunnel.control import GO, GO_MARK, HELLO, HERE, WELCOME, Control
from utcp.tunnel.end import LOG, End, reason
from utcp.tunnel.options import EXPOSE_PORT, Options
from utcp.tunnel.pump import KernelSide

PATIENCE: Final = 3.0
"""Seconds within which the other end must answer, before another of its connections is tried."""

MOST_IDLE: Final = 4096
"""Maximum number of idle connections; more are refused. One `Expose` keeps at most 1024. The limit is necessary because
idle connections cost the peer nothing but take memory here."""


class Reverse(End):
    """Accepts users over kernel TCP on `users`, and connections of `Expose` over utcp on `address` (host None: all
    interfaces).

    Each user gets one connection of `Expose`. If there is none, the user's connection waits for at most
    `connect_timeout` seconds and is then reset.
    """

    def __init__(self, address: tuple[str | None, int], users: tuple[str | None, int], options: Options) -> None:
        super().__init__(options)
        self._address = address
        self._user_address = users
        self._acceptor = Acceptor(
            lambda: Control(self._offered, self._withdrawn), EXPOSE_PORT, options, self.handshake_failed
        )
        self._user_server: asyncio.AbstractServer | None = None
        self._idle_controls: list[Control] = []
        """Idle connections, newest last. The newest are used first, because the oldest are dead if the other end
        restarted without closing them."""
        self._waiting: deque[asyncio.Future[Control]] = deque()
        """Users' connections that wait for an idle connection."""

    @property
    def description(self) -> str:
        assert self._user_server is not None  # noqa: S101  # set by start()
        return f"listening on {names(self._user_server)}, handing over to who exposes at UDP {self._acceptor.names}"

    async def _open(self) -> None:
        await self._acceptor.start(self._address)
        self._user_server = await accept_kernel(lambda: KernelSide(self.watch, self._accepted), self._user_address)

    def _close(self) -> None:
        if self._user_server is not None:
            self._user_server.close()
        self._acceptor.close()
        for control in self._idle_controls.copy():
            control.transport.close()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConnectionReset("The tunnel is being stopped"))

    async def _release(self) -> None:
        await self._acceptor.aclose()

    # --- connections of Expose

    def _offered(self, control: Control) -> None:
        self.background(self._welcome(control))

    async def _welcome(self, control: Control) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                if await control.read(len(HELLO)) != HELLO:
                    raise ConnectionReset("it is no `utcp tunnel expose`")
                if len(self._idle_controls) >= MOST_IDLE:
                    raise ConnectionReset(f"{MOST_IDLE} connections wait for users already")
        except OSError as error:
            self.complain(logging.WARNING, control.name, reason(error))
            control.abort()
            return
        except asyncio.CancelledError:
            control.abort()
            raise
        LOG.debug("%s: waits for a user", control.name)
        control.write(WELCOME)
        control.expect(len(HERE))
        self._hand_out(control)

    def _hand_out(self, control: Control) -> None:
        if control.over:
            return  # it ended after the last read
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(control)
                return
        self._idle_controls.append(control)

    def _withdrawn(self, control: Control) -> None:
        if control in self._idle_controls:
            self._idle_controls.remove(control)

    # --- users

    def _accepted(self, user: KernelSide) -> None:
        self.spawn(user, self._carry_in(user))

    async def _carry_in(self, user: KernelSide) -> None:
        try:
            async with asyncio.timeout(self.options.connect_timeout):
                control = await self._answering()
        except BaseException as error:
            user.reset()
            if isinstance(error, TimeoutError):
                self.complain(logging.ERROR, user.name, "nobody exposes a service here")
            elif isinstance(error, OSError):
                self.complain(logging.WARNING, user.name, reason(error))
            else:
                raise
        else:
            self.carry(user, control.become_side())

    async def _answering(self) -> Control:
        """Return a connection whose other end has answered."""
        while True:
            control = await self._take()
            control.write(GO.pack(GO_MARK, min(len(self._waiting), 0xFFFF)))
            try:
                async with asyncio.timeout(PATIENCE):
                    if await control.read(len(HERE)) == HERE:
                        return control
            except OSError as error:
                LOG.debug("%s: %s", control.name, reason(error))
            except asyncio.CancelledError:
                control.abort()
                raise
            control.abort()

    async def _take(self) -> Control:
        """Return an idle connection. Wait if there is none."""
        if self._idle_controls:
            return self._idle_controls.pop()
        if self.stopping:
            raise ConnectionReset("The tunnel is being stopped")
        waiter: asyncio.Future[Control] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self._hand_out(waiter.result())
            raise
