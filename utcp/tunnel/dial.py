"""Opens utcp connections to the other end of a tunnel, with retries while that end is down."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from utcp import Endpoint
from utcp.aio.address import Resolved, interleave, resolve
from utcp.aio.connect import HAPPY_EYEBALLS_DELAY
from utcp.aio.opening import Opening
from utcp.aio.race import first_to_open
from utcp.aio.tls.options import settles
from utcp.tunnel.options import Options
from utcp.tunnel.tls import GuardedTls

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds between two attempts while a user waits. The first pause is doubled up to the longest."""


class Dialer:
    """Connects to utcp port `port` at the UDP address `to`, from one UDP socket for each address family.

    The UDP port may differ from the one that the other end has bound, because a NAT may map it.
    """

    def __init__(self, to: tuple[str, int], port: int, options: Options) -> None:
        self._to = to
        self._port = port
        self._options = options
        self._endpoints: dict[int, Endpoint] = {}

    async def dial(self, factory: Callable[[], ProtocolT]) -> ProtocolT:
        """Connect to the other end, over TLS if the options contain it.

        Failed attempts are repeated until `connect_timeout` has passed, then the last OSError is raised. ssl.SSLError
        is raised at once, because a retry cannot correct a wrong key.
        """
        failure: OSError = TimeoutError(f"no answer in {self._options.connect_timeout:g} s")
        pause = FIRST_PAUSE
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                while True:
                    try:
                        return await self.dial_once(factory)
                    except ssl.SSLError:
                        raise
                    except OSError as error:
                        failure = error
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        except TimeoutError:
            raise failure from None

    async def dial_once(self, factory: Callable[[], ProtocolT]) -> ProtocolT:
        """Connect to the other end. Raises OSError, or ssl.SSLError when the TLS handshake fails."""
        remotes = await resolve(*self._to)
        delay = HAPPY_EYEBALLS_DELAY if len(remotes) > 1 else None
        attempts = [partial(self._attempt, remote) for remote in interleave(remotes, 1)]
        opening = await first_to_open(attempts, delay, all_errors=False)
        context = self._options.tls
        if context is None:
            _, protocol = await opening.hand_over(factory, None)
            return protocol
        return await self._secured(opening, factory(), context)

    def close(self) -> None:
        """Do nothing, because a dialer accepts no connections (see `Acceptor.close()`)."""

    async def aclose(self) -> None:
        """Close the sockets after all sent data is delivered."""
        await asyncio.gather(*(endpoint.aclose() for endpoint in self._endpoints.values()))

    async def _attempt(self, remote: Resolved) -> Opening:
        family, address = remote
        endpoint = self._endpoints.get(family)
        if endpoint is None:
            endpoint = Endpoint(family=family, config=self._options.config)
            await endpoint.start()  # does not suspend, so no other task can create a second endpoint
            self._endpoints[family] = endpoint
        return await Opening.establish(endpoint.driver, address, self._port, None)

    async def _secured(self, opening: Opening, protocol: ProtocolT, context: ssl.SSLContext) -> ProtocolT:
        handshake = asyncio.get_running_loop().create_future()
        server_name = (self._options.server_name or self._to[0]) if context.check_hostname else None

        def tls() -> GuardedTls:
            return GuardedTls(protocol, context, settles(handshake), server_side=False, server_name=server_name)

        transport: Any
        transport, _ = await opening.hand_over(tls, None)
        try:
            await handshake
        except asyncio.CancelledError:
            transport.abort()
            raise
        return protocol


async def resolve_name(host: str, port: int, flags: int = 0) -> list[Resolved]:
    """Return the addresses of a host. Raises OSError that names the host."""
    try:
        return await resolve(host, port, flags=flags)
    except UnicodeError as error:  # an empty label, or one longer than 63 octets
        raise OSError(socket.EAI_NONAME, f"cannot resolve {host}: this cannot be a host's name") from error
    except OSError as error:
        raise OSError(error.errno, f"cannot resolve {host}: {error.strerror}") from error


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, judged by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name; one that begins with "127." may be another host
        return host == "localhost"
