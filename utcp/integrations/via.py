"""Connections and servers of an adapter, on an endpoint or on utcp's own sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from utcp import Config, Endpoint, Server, create_connection, create_server

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class Via:
    """The user's `endpoint`, or else sockets that utcp opens with `config` and that a loop's clients share."""

    __slots__ = ("_config", "_endpoint")

    def __init__(self, config: Config | None, endpoint: Endpoint | None) -> None:
        if config is not None and endpoint is not None:
            raise ValueError("config and endpoint can not be specified at the same time: an endpoint has its own")
        self._config = Config() if config is None else config
        self._endpoint = endpoint

    @property
    def config(self) -> Config:
        return self._config if self._endpoint is None else self._endpoint.config

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str,
        port: int,
        *,
        local_host: str | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """Connect as `utcp.create_connection` does, with its errors. `options` are its TLS options."""
        if self._endpoint is None:
            if local_host is not None:
                options["local_addr"] = (local_host, 0)
            return await create_connection(protocol_factory, host, port, config=self._config, **options)
        if local_host is not None:
            raise ValueError("a local address and an endpoint can not be specified at the same time")
        return await self._endpoint.create_connection(protocol_factory, host, port, **options)

    async def create_server(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int, **options: Any
    ) -> Server:
        """Listen as `utcp.create_server` does, with its errors. `options` are its TLS options and its backlog.

        With an endpoint, which has its address already, `host` is not used, and `port` is the utcp port.
        """
        if self._endpoint is None:
            return await create_server(protocol_factory, host, port, config=self._config, **options)
        return await self._endpoint.create_server(protocol_factory, port, **options)
