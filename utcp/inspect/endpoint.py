"""The interface of inspected endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from utcp.link.base import Link
from utcp.link.path import SocketAddress
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack


class InspectedEndpoint(Protocol):
    """The common interface of `utcp.Endpoint` and the shared endpoints of `utcp.open_connection()` and others."""

    @property
    def address(self) -> SocketAddress: ...
    @property
    def link(self) -> Link: ...
    @property
    def stack(self) -> Stack: ...
    def observe(self, observer: Observer) -> Callable[[], None]: ...
    def snmp(self) -> dict[str, int]: ...
