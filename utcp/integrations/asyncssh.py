"""asyncssh over utcp: SSH clients and servers that use asyncssh's hook for tunnels to connect over utcp.

    acceptor = await asyncssh.listen("0.0.0.0", 8022, tunnel=UtcpTunnel(), server_host_keys=[key], ...)
    connection = await asyncssh.connect("192.0.2.1", 8022, tunnel=UtcpTunnel(), ...)

`connect_reverse()` and `listen_reverse()` accept it too. asyncssh logs "via SSH tunnel", although there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from utcp import Config, Endpoint, Server
from utcp.extras import needs_extra
from utcp.integrations.via import Via

with needs_extra("integrations"):
    import asyncssh  # noqa: F401  # not used here, but a program that uses this module needs it

SessionT = TypeVar("SessionT", bound=asyncio.BaseProtocol)


class UtcpTunnel:
    """The `tunnel=` argument of asyncssh's functions. One object serves any number of connections and servers.

    Args:
        config: utcp's configuration of the sockets that the loop's clients share and of each server's socket.
        endpoint: the endpoint to use instead; the port of `listen()` is then a utcp port.
    """

    def __init__(self, *, config: Config | None = None, endpoint: Endpoint | None = None) -> None:
        self._via = Via(config, endpoint)

    async def create_connection(
        self, session_factory: Callable[[], SessionT], host: str, port: int
    ) -> tuple[asyncio.Transport, SessionT]:
        """Connect for asyncssh. Raises OSError as `utcp.create_connection` does."""
        return await self._via.create_connection(session_factory, host, port)

    async def create_server(self, session_factory: Callable[[str, int], Any], host: str, port: int) -> Server:
        """Listen for asyncssh. Raises OSError as `utcp.create_server` does."""
        # The factory's arguments are the origin of a tunnelled connection, which asyncssh does not use.
        return await self._via.create_server(lambda: session_factory("", 0), host, port)
