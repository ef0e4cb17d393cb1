"""asyncssh over utcp: SSH clients and servers whose connections take another way, by asyncssh's own hook for tunnels.

    acceptor = await asyncssh.listen("0.0.0.0", 8022, tunnel=UtcpTunnel(), server_host_keys=[key], ...)
    connection = await asyncssh.connect("192.0.2.1", 8022, tunnel=UtcpTunnel(), ...)

`connect_reverse()` and `listen_reverse()` take it too. asyncssh logs that it goes "via SSH tunnel"; it does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from utcp import Config, Endpoint, Server
from utcp.integrations.via import Via

SessionT = TypeVar("SessionT", bound=asyncio.BaseProtocol)


class UtcpTunnel:
    """For the `tunnel=` of asyncssh's functions. One can serve any number of connections and servers.

    `endpoint` is the one to use, and its `listen()` port is a utcp port then; without it the loop's clients share
    sockets of that `config`, and each server has one.
    """

    def __init__(self, *, config: Config | None = None, endpoint: Endpoint | None = None) -> None:
        self._via = Via(config, endpoint)

    async def create_connection(
        self, session_factory: Callable[[], SessionT], host: str, port: int
    ) -> tuple[asyncio.Transport, SessionT]:
        """asyncssh calls it. Raises OSError as `utcp.create_connection` does."""
        return await self._via.create_connection(session_factory, host, port)

    async def create_server(self, session_factory: Callable[[str, int], Any], host: str, port: int) -> Server:
        """asyncssh calls it. Raises OSError as `utcp.create_server` does."""
        # The factory wants to know where a tunnelled connection came from; asyncssh makes nothing of it.
        return await self._via.create_server(lambda: session_factory("", 0), host, port)
