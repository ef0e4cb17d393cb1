"""Event loops that use utcp for chosen addresses, for libraries in which the transport cannot be chosen."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

from utcp.aio.address import Host, Port
from utcp.aio.connect import create_connection
from utcp.aio.listen import create_server
from utcp.aio.tls.upgrade import start_tls
from utcp.config import Config

LoopT = TypeVar("LoopT", bound=asyncio.AbstractEventLoop)

Address: TypeAlias = tuple[str | None, int | None]
"""A host, as the library passes it to the loop, and a port; None matches any."""

Predicate: TypeAlias = Callable[[str | None, int | str | None], bool]
Route: TypeAlias = Predicate | Collection[Address]

_MIXED: Final = "some of the hosts use utcp and others do not: create one server for each kind"


def loop_factory(
    base: type[LoopT] = asyncio.SelectorEventLoop,  # type: ignore[assignment]  # a type variable's default
    *,
    route: Route,
    config: Config | None = None,
) -> Callable[[], LoopT]:
    """Return a factory of event loops that use utcp for the connections to some addresses, and for servers on them.

        factory = utcp.loop_factory(uvloop.Loop, route=[("127.0.0.1", 9000)])
        utcp.run(main(), loop_factory=factory)

    The loops are instances of a subclass of `base`. For addresses that match `route`, `create_connection()` and
    `create_server()` are those of utcp, and so is `start_tls()` on their transports. All other addresses, for example
    that of a database, and calls with a given socket (`sock=`), for UDP and for Unix sockets use `base`.

    Hosts are compared as they are given, without a look-up, so "localhost" does not match "127.0.0.1". The host of a
    server on all interfaces is None, which only a pair with None or a predicate matches.

    Args:
        base: an event loop class, such as asyncio.SelectorEventLoop or uvloop.Loop.
        route: a collection of pairs of host and port, in which None matches any, and which may be changed while the
            loop runs; or a predicate that is called with host (None: all interfaces) and port (an int if numeric).
        config: the configuration of the routed connections and servers; None: the default.

    Raises TypeError for a wrong `base` or `route`.
    """
    if not (isinstance(base, type) and issubclass(base, asyncio.AbstractEventLoop)):
        raise TypeError(f"base must be a class of event loops, such as asyncio.SelectorEventLoop, not {base!r}")
    routed = route if callable(route) else _matcher(route)
    members = {"_utcp_routed": staticmethod(routed), "_utcp_config": config, "__module__": base.__module__}
    made: type[LoopT] = type(f"Utcp{base.__name__.lstrip('_')}", (_RoutingLoop, base), members)
    return made


class _RoutingLoop(asyncio.AbstractEventLoop):
    """The methods that replace those of the base class."""

    _utcp_routed: Predicate
    _utcp_config: Config | None

    async def create_connection(  # type: ignore[override]  # for the options of every loop
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Host = None,
        port: Port = None,
        *,
        sock: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        if sock is None and (host is not None or port is not None) and self._utcp_routed(_host(host), _port(port)):
            return await create_connection(protocol_factory, host, port, config=self._utcp_config, **options)
        base: Any = super()
        return await base.create_connection(protocol_factory, host, port, sock=sock, **options)  # type: ignore[no-any-return]

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Iterable[str | None] | None = None,
        port: Port = None,
        *,
        sock: Any = None,
        **options: Any,
    ) -> asyncio.AbstractServer:
        if host is not None and not isinstance(host, (str, bytes)):
            host = list(host)
        if sock is None and (host is not None or port is not None) and self._routes_server(host, port):
            return await create_server(protocol_factory, host, port, config=self._utcp_config, **options)
        base: Any = super()
        return await base.create_server(protocol_factory, host, port, sock=sock, **options)  # type: ignore[no-any-return]

    async def start_tls(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        **options: Any,
    ) -> asyncio.Transport | None:
        # Also for TLS above TLS above a utcp transport, in which the lower TLS may be asyncio's, but never uvloop's.
        if isinstance(transport, asyncio.BaseTransport) and transport.get_extra_info("utcp") is not None:
            return await start_tls(transport, protocol, sslcontext, **options)
        return await super().start_tls(transport, protocol, sslcontext, **options)

    def _routes_server(self, host: str | list[str | None] | None, port: Port) -> bool:
        hosts: list[str | None] = host if isinstance(host, list) else [host]
        routed = {bool(self._utcp_routed(_host(each), _port(port))) for each in hosts}
        if len(routed) > 1:
            raise ValueError(_MIXED)
        return True in routed


def _matcher(route: Any) -> Predicate:
    """Return the predicate for pairs of host and port. Raises TypeError for anything else."""
    if isinstance(route, (str, bytes)) or not isinstance(route, Collection):
        raise TypeError(f"route must be a predicate or a collection of (host, port), not {route!r}")

    def pairs() -> list[Address]:
        return [_pair(each) for each in route]

    pairs()  # raises TypeError for a wrong pair at once

    def matches(host: str | None, port: int | str | None) -> bool:
        return any(wanted in (None, host) and number in (None, port) for wanted, number in pairs())

    return matches


def _pair(pair: object) -> Address:
    if isinstance(pair, tuple) and len(pair) == 2:
        host, port = pair
        if (host is None or isinstance(host, str)) and (port is None or isinstance(port, int)):
            return _host(host), port
    raise TypeError(f"an address of route must be a pair (host, port), with None for any, not {pair!r}")


@lru_cache(maxsize=1024)
def _host(host: Host) -> str | None:
    """Return a host in normal form for comparisons; None for all interfaces."""
    if isinstance(host, bytes):
        host = host.decode("idna")
    if not host:
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _port(port: Port) -> int | str | None:
    """Return a numeric port as an int, and the name of a service unchanged."""
    if isinstance(port, bytes):
        port = port.decode("ascii")
    if isinstance(port, str) and port.isdecimal():
        return int(port)
    return port
