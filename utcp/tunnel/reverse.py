"""The two ends of a reverse tunnel, to a service that cannot be reached from outside: `Expose` beside the service
connects to `Reverse` at the public end, and waits there for users. Before a connection carries a user, the two ends
exchange these messages on it:

    Expose                          Reverse
    HELLO          ->                          exposes a service
                   <-               WELCOME    accepts; the connection waits
                                               ... until a user connects
                   <-               GO, more   a user connected, and `more` users are waiting
    HERE           ->                          confirms; all further octets are the user's and the service's

HERE takes one round trip, as opening a connection would if the service could be reached. It shows that the connection
is alive, which is not certain because the other end may have vanished silently.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from utcp.errors import ConnectionReset
from utcp.tcp.transmit import address_text
from utcp.tunnel.accept import Acceptor
from utcp.tunnel.dial import Dialer, resolve_name
from utcp.tunnel.end import LOG, End, reason
from utcp.tunnel.options import EXPOSE_PORT, Options
from utcp.tunnel.pump import Side, peer_name

HELLO: Final = b"utcp tunnel 1: expose\n"
WELCOME: Final = b"utcp tunnel 1: welcome\n"
GO: Final = struct.Struct("!2sH")
"""GO_MARK, and the number of further waiting users (at most 65535)."""
GO_MARK: Final = b"go"
HERE: Final = b"here"

PATIENCE: Final = 3.0
"""Seconds within which the other end must answer, before another of its connections is tried."""

MOST_IDLE: Final = 4096
"""Maximum number of idle connections; more are refused. One `Expose` keeps at most 1024. The limit is necessary because
idle connections cost the peer nothing but take memory here."""

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


class Control(asyncio.Protocol):
    """A utcp connection that carries no user yet.

    It reads only the expected octets. All later octets stay in the transport, because they belong to the user or the
    service.

    Args:
        made: called with this object once the connection is open.
        lost: called with this object if the connection ends before it has become a side.
    """

    def __init__(
        self, made: Callable[[Control], None] | None = None, lost: Callable[[Control], None] | None = None
    ) -> None:
        self._made = made
        self._lost = lost
        self._received = bytearray()
        self._expected = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self.transport: Any = None
        self.name = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.name = peer_name(transport)
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= self._expected:
            self.transport.pause_reading()
            self._wake()

    def eof_received(self) -> bool:
        self._end(None)
        return False  # the transport then closes

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end(exc)

    @property
    def over(self) -> bool:
        """Return whether the connection has ended, or its peer has closed it."""
        return self._error is not None

    def expect(self, octets: int) -> None:
        """Read up to this number of octets, and detect the connection's end until then."""
        self._expected = octets
        if len(self._received) < octets and not self.over:
            self.transport.resume_reading()

    async def read(self, octets: int) -> bytes:
        """Return the next octets, exactly this number. Raises the connection's error, an OSError, if it ends before."""
        self.expect(octets)
        while len(self._received) < octets:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._received[:octets])
        del self._received[:octets]
        return data

    def write(self, data: bytes) -> None:
        """Write data, unless the connection is over."""
        if not self.over:
            self.transport.write(data)

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abort()

    def become_side(self) -> Side:
        """Convert the connection into a side, for joining to another."""
        side = Side()
        side.take_over(self.transport, bytes(self._received), lost=self.over)
        self.transport.set_protocol(side)
        return side

    def _end(self, exc: BaseException | None) -> None:
        if self._error is not None:
            return
        self._error = exc or ConnectionReset("the other end of the tunnel has closed the connection")
        self._wake()
        if self._lost is not None:
            self._lost(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


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
        self.carrier: Acceptor = Acceptor(
            lambda: Control(self._offered, self._withdrawn), EXPOSE_PORT, options, self.handshake_failed
        )
        self._idle_controls: list[Control] = []
        """Idle connections, newest last. The newest are used first, because the oldest are dead if the other end
        restarted without closing them."""
        self._waiting: deque[asyncio.Future[Control]] = deque()
        """Users' connections that wait for an idle connection."""

    @property
    def description(self) -> str:
        return f"listening on {self.users_address}, for services that are exposed at UDP {self.carrier.names}"

    async def _open(self) -> None:
        await self.carrier.start(self._address)
        await self.accept_users(self._user_address)

    def _close(self) -> None:
        super()._close()
        for control in self._idle_controls.copy():
            control.transport.close()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConnectionReset("the tunnel is being stopped"))

    # --- connections of Expose

    def _offered(self, control: Control) -> None:
        self.background(self._welcome(control))

    async def _welcome(self, control: Control) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                if await control.read(len(HELLO)) != HELLO:
                    raise ConnectionReset("the other end is not `utcp tunnel expose`")
                if len(self._idle_controls) >= MOST_IDLE:
                    raise ConnectionReset(f"{MOST_IDLE} connections already wait for users")
        except OSError as error:
            self.complain(control.name, reason(error))
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

    async def _other_side(self, user: Side) -> Side:
        try:
            async with asyncio.timeout(self.options.connect_timeout):
                return (await self._answering()).become_side()
        except TimeoutError:
            raise TimeoutError("no `utcp tunnel expose` is connected") from None

    def _other_name(self, user: Side) -> str:
        return user.name

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
            raise ConnectionReset("the tunnel is being stopped")
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


class Expose(End):
    """Keeps some idle utcp connections to `to`, where `Reverse` listens.

    When one gets a user, it is joined to a kernel TCP connection to `target`, and a new idle connection replaces it.
    While the public end cannot be reached, attempts are repeated.
    """

    def __init__(self, target: tuple[str, int], to: tuple[str, int], options: Options) -> None:
        config = replace(options.config, keepalive_idle=KEEPALIVE_IDLE, keepalive_interval=KEEPALIVE_INTERVAL)
        super().__init__(replace(options, config=config))
        self._target = target
        self.to = to
        self.carrier: Dialer = Dialer(to, EXPOSE_PORT, self.options)
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
        return f"exposing {address_text(self._target)} at {address_text(self.to)}"

    async def _open(self) -> None:
        await resolve_name(*self._target)
        await resolve_name(*self.to)
        self._fill()

    def _close(self) -> None:
        super()._close()
        if self._retry is not None:
            self._retry.cancel()

    async def _other_side(self, user: Side) -> Side:
        return await self.connect_kernel(self._target)

    def _other_name(self, user: Side) -> str:
        return address_text(self._target)

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
                raise ConnectionReset("the public end uses another protocol")
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
        self.accepted(control.become_side())

    async def _welcomed(self) -> Control:
        async with asyncio.timeout(self.options.connect_timeout):
            control = await self.carrier.dial_once(Control)
            try:
                control.write(HELLO)
                heard = await control.read(len(WELCOME))
            except BaseException:
                control.abort()
                raise
        if heard != WELCOME:
            control.abort()
            raise ConnectionReset("the other end is not `utcp tunnel serve --reverse`")
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
