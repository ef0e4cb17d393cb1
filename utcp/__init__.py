"""A real TCP (RFC 9293) in user space, over UDP, for asyncio.

`open_connection`, `start_server`, `create_connection` and `create_server` correspond to asyncio's. utcp/README.md lists
the differences ("What differs from kernel TCP"). The main one is that connections live in this process. When the
process is killed, no peer gets FIN or RST, and unacknowledged data is lost. `run` is `asyncio.run` for a process in
which SIGTERM must close the connections in good order.
"""

from typing import TYPE_CHECKING

import utcp._compiled  # noqa: F401  # first, because it refuses modules that do not fit their sources
from utcp.aio.connect import create_connection, open_connection
from utcp.aio.endpoint import Endpoint
from utcp.aio.listen import create_server, start_server
from utcp.aio.loop_factory import loop_factory
from utcp.aio.registry import add_watcher
from utcp.aio.running import run
from utcp.aio.server import Server
from utcp.aio.stream_writer import StreamWriter
from utcp.aio.tls.upgrade import start_tls
from utcp.aio.transport import Transport
from utcp.config import Config
from utcp.errors import (
    AddressInUse,
    AddressNotAvailable,
    ConnectionAborted,
    ConnectionRefused,
    ConnectionReset,
    ConnectionTimedOut,
    FinTimedOut,
    InvalidState,
    KeepaliveTimedOut,
    LimitReached,
    LingerTimedOut,
    PathUnreachable,
    RetransmissionTimedOut,
    SynTimedOut,
    UserTimedOut,
)
from utcp.extras import submodules
from utcp.inspect.loop import LoopInspection, open_control
from utcp.tcp.connection.info import ConnectionInfo

__version__ = "0.1.0"
"""The version of the distribution `aioutcp`; pyproject.toml reads it here."""

__all__ = [
    "AddressInUse",
    "AddressNotAvailable",
    "Config",
    "ConnectionAborted",
    "ConnectionInfo",
    "ConnectionRefused",
    "ConnectionReset",
    "ConnectionTimedOut",
    "Endpoint",
    "FinTimedOut",
    "InvalidState",
    "KeepaliveTimedOut",
    "LimitReached",
    "LingerTimedOut",
    "PathUnreachable",
    "RetransmissionTimedOut",
    "Server",
    "StreamWriter",
    "SynTimedOut",
    "Transport",
    "UserTimedOut",
    "create_connection",
    "create_server",
    "loop_factory",
    "open_connection",
    "open_control",
    "run",
    "start_server",
    "start_tls",
]

if not TYPE_CHECKING:  # a type checker would take any name for an attribute
    __getattr__ = submodules(__name__, ("integrations", "testing"))

add_watcher(LoopInspection)  # UTCP_CONTROL, UTCP_PCAP and `Endpoint(control=...)`
