"""Rows: the socket that `get_extra_info("socket")` shows, and those of a server."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from tests.aio.side_by_side.sides import Side, attempt, settled, until
from tests.aio.side_by_side.table import Program, Table

SOCKETS: Final = Table("sockets")

NAMES: Final = (
    "SOL_SOCKET SO_BROADCAST",
    "SOL_SOCKET SO_ERROR",
    "SOL_SOCKET SO_KEEPALIVE",
    "SOL_SOCKET SO_LINGER",
    "SOL_SOCKET SO_OOBINLINE",
    "SOL_SOCKET SO_RCVBUF",
    "SOL_SOCKET SO_RCVLOWAT",
    "SOL_SOCKET SO_REUSEADDR",
    "SOL_SOCKET SO_REUSEPORT",
    "SOL_SOCKET SO_SNDBUF",
    "IPPROTO_TCP TCP_KEEPCNT",
    "IPPROTO_TCP TCP_KEEPIDLE",
    "IPPROTO_TCP TCP_KEEPINTVL",
    "IPPROTO_TCP TCP_NODELAY",
    "IPPROTO_TCP TCP_QUICKACK",
    "IPPROTO_TCP TCP_USER_TIMEOUT",
    "IPPROTO_IP IP_TOS",
    "IPPROTO_IP IP_TTL",
)
READ_ONLY: Final = (
    "SOL_SOCKET SO_ACCEPTCONN",
    "SOL_SOCKET SO_DOMAIN",
    "SOL_SOCKET SO_PROTOCOL",
    "SOL_SOCKET SO_TYPE",
    "IPPROTO_TCP TCP_INFO",
    "IPPROTO_TCP TCP_MAXSEG",
)


def _key(name: str) -> tuple[int, int]:
    level, option = name.split()
    return getattr(socket, level), getattr(socket, option)


def on(act: Callable[[Any], Any], *, of_server: bool = False, after: bool = False) -> Program:
    """Do something with the socket of a connection or of a server, while it is open or after its end."""

    async def program(side: Side) -> Any:
        if of_server:
            server, _ = await side.serve()
            return await attempt(lambda: act(server.sockets[0]))
        transport, near, far_transport, far = await side.pair()
        sock = transport.get_extra_info("socket")
        if after:
            transport.close()
            far_transport.close()
            await until(lambda: near.lost and far.lost)
        result = await attempt(lambda: act(sock))
        await settled(near, far)
        return [result, near.calls, far.calls]

    return program


def _kind(value: Any) -> Any:
    """The number of a switch, the kind of anything else: how large a buffer is, is each side's own."""
    return value if isinstance(value, int) and value in (0, 1) else type(value).__name__


ACTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "family": lambda sock: sock.family.name,
    "type": lambda sock: sock.type.name,
    "proto": lambda sock: sock.proto,
    "getsockname()": lambda sock: len(sock.getsockname()),
    "getpeername()": lambda sock: len(sock.getpeername()),
    "gettimeout()": lambda sock: sock.gettimeout(),
    "settimeout(0)": lambda sock: sock.settimeout(0),
    "settimeout(1)": lambda sock: sock.settimeout(1),
    "settimeout(None)": lambda sock: sock.settimeout(None),
    "setblocking(False)": lambda sock: sock.setblocking(False),
    "setblocking(True)": lambda sock: sock.setblocking(True),
    "get_inheritable()": lambda sock: sock.get_inheritable(),
    "fileno()": lambda sock: sock.fileno() >= 0,
    "repr": lambda sock: isinstance(repr(sock), str),
    "close": lambda sock: hasattr(sock, "close"),
    "send": lambda sock: hasattr(sock, "send"),
    "recv": lambda sock: hasattr(sock, "recv"),
}
for name, act in ACTIONS.items():
    SOCKETS.add(name, on(act), 77)
    SOCKETS.add(f"{name} of a server", on(act, of_server=True), 77)
for name in ("family", "type", "proto", "getsockname()", "gettimeout()", "fileno()"):
    SOCKETS.add(f"{name} after the end", on(ACTIONS[name], after=True), 77)

SOCKETS.add("shutdown of writing", on(lambda sock: sock.shutdown(socket.SHUT_WR)), 77)
SOCKETS.add("shutdown of an unknown kind", on(lambda sock: sock.shutdown(7)), 77)

for name in (*NAMES, *READ_ONLY):
    level, option = _key(name)

    def get(sock: Any, level: int = level, option: int = option) -> Any:
        return _kind(sock.getsockopt(level, option))

    def get_octets(sock: Any, level: int = level, option: int = option) -> Any:
        return len(sock.getsockopt(level, option, 4))

    def get_nothing(sock: Any, level: int = level, option: int = option) -> Any:
        return sock.getsockopt(level, option, -1)

    SOCKETS.add(f"get {name}", on(get), 77)
    SOCKETS.add(f"get {name} as octets", on(get_octets), 77)
    SOCKETS.add(f"get {name} of negative size", on(get_nothing), 77)

for name in NAMES:
    level, option = _key(name)
    if option in (socket.SO_ERROR, socket.SO_LINGER) and level == socket.SOL_SOCKET:
        continue

    def put(sock: Any, level: int = level, option: int = option) -> Any:
        sock.setsockopt(level, option, 8)
        return _kind(sock.getsockopt(level, option))

    SOCKETS.add(f"set {name}", on(put), 77)
    SOCKETS.add(f"set {name} after the end", on(put, after=True), 77)

NONSENSE: Final[dict[str, tuple[Any, ...]]] = {
    "octets": (struct.pack("i", 8),),
    "text": ("8",),
    "too few octets": (b"",),
    "a float": (1.5,),
    "None": (None,),
    "None of a size": (None, 4),
}
for name in ("SOL_SOCKET SO_KEEPALIVE", "SOL_SOCKET SO_SNDBUF", "IPPROTO_TCP TCP_NODELAY"):
    for what, value in NONSENSE.items():

        def put_this(sock: Any, key: tuple[int, int] = _key(name), value: tuple[Any, ...] = value) -> Any:
            return sock.setsockopt(*key, *value)

        SOCKETS.add(f"set {name} to {what}", on(put_this), 77)

SOCKETS.add("get of an unknown level", on(lambda sock: sock.getsockopt(12345, 1)), 77)
SOCKETS.add("get of an unknown option", on(lambda sock: sock.getsockopt(socket.IPPROTO_TCP, 12345)), 77)
SOCKETS.add("set of an unknown option", on(lambda sock: sock.setsockopt(socket.IPPROTO_TCP, 12345, 1)), 77)
SOCKETS.add(
    "set linger",
    on(lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))),
    77,
)
SOCKETS.add("set linger as a number", on(lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 1)), 77)
