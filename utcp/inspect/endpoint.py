"""An endpoint as this package sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from utcp.link.base import Link
from utcp.link.path import SocketAddress
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack


class InspectedEndpoint(Protocol):
    """What is needed of `utcp.Endpoint`, and of the endpoints that `utcp.open_connection()` and others share."""

    @property
    def address(self) -> SocketAddress: ...
    @property
    def link(self) -> Link: ...
    @property
    def stack(self) -> Stack: ...
    def observe(self, observer: Observer) -> Callable[[], None]: ...
    def snmp(self) -> dict[str, int]: ...
