"""Socket addresses. Numeric ones need no thread; names are resolved by the loop."""

import asyncio
import concurrent.futures.thread  # noqa: F401  # else the first look-up imports it in the running loop
import encodings.idna  # noqa: F401  # else the first name for TLS imports it
import itertools
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeAlias, cast

from utcp.link import sockopt
from utcp.link.path import SocketAddress

Host: TypeAlias = str | bytes | None
Port: TypeAlias = int | str | bytes | None


class Resolved(NamedTuple):
    """A socket address and its family."""

    family: int
    address: SocketAddress


def with_port(address: SocketAddress, port: int) -> SocketAddress:
    """Return the address with another port."""
    if len(address) == 4:
        return (address[0], port, address[2], address[3])
    return (address[0], port)


@lru_cache(maxsize=1024)
def wildcard(family: int, port: int) -> SocketAddress:
    """Return the wildcard address of a family."""
    return ("::", port, 0, 0) if family == socket.AF_INET6 else ("0.0.0.0", port)


def host_and_port(address: object, name: str) -> tuple[Host, Port]:
    """Return the host and the port of a local address that a caller has passed as the argument `name`.

    The address may have the four parts of an IPv6 `getsockname()`; its scope becomes part of the host.

    Raises TypeError unless the address is a tuple or a list, and ValueError unless it has a host and a port.
    """
    if not isinstance(address, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of host and port, not {address!r}")
    if len(address) not in (2, 4):
        raise ValueError(f"{name} must be a tuple of host and port, not {address!r}")
    host, port, *scope = address
    return (f"{host}%{scope[1]}" if scope and scope[1] else host), port


@lru_cache(maxsize=1024)
def unmapped(resolved: Resolved) -> Resolved:
    """Return the IPv4 address of an IPv4-mapped IPv6 address (::ffff:192.0.2.1); other addresses unchanged."""
    host = sockopt.unmapped(resolved.address[0])
    return resolved if host == resolved.address[0] else Resolved(socket.AF_INET, (host, resolved.address[1]))


def network_of(host: str) -> str | bytes:
    """Return the unit to which limits per host apply: an IPv4 address, or the /64 network of an IPv6 address, because
    one host usually has all addresses of such a network.

    `host` is a numeric address. An IPv4-mapped one counts as its IPv4 address, and a scope does not count.
    """
    host = sockopt.unmapped(host.partition("%")[0])
    return socket.inet_pton(socket.AF_INET6, host)[:8] if ":" in host else host


async def resolve(host: Host, port: Port, *, family: int = 0, proto: int = 0, flags: int = 0) -> list[Resolved]:
    """Return all addresses of `host`, each once, in the resolver's order. Raises OSError as getaddrinfo does."""
    numeric = numeric_address(host, port, family, proto)
    if numeric is not None:
        return [numeric]
    infos = await asyncio.get_running_loop().getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
    )
    if not infos:
        raise OSError("getaddrinfo() returned empty list")
    return list(dict.fromkeys(Resolved(info[0], cast("SocketAddress", info[4])) for info in infos))


def interleave(addresses: Iterable[Resolved], first_family_count: int) -> list[Resolved]:
    """Return the addresses in alternating families, after `first_family_count` - 1 of the first one (RFC 8305 4)."""
    by_family: dict[int, list[Resolved]] = {}
    for resolved in addresses:
        by_family.setdefault(resolved.family, []).append(resolved)
    families = list(by_family.values())
    head = families[0][: first_family_count - 1]
    families[0] = families[0][first_family_count - 1 :]
    turns = itertools.zip_longest(*families)
    return head + [resolved for turn in turns for resolved in turn if resolved is not None]


@lru_cache(maxsize=1024)
def numeric_address(host: Host, port: Port, family: int, proto: int) -> Resolved | None:
    """Return the address if it needs no resolver, else None. Raises OverflowError for a port outside 0-65535."""
    if host is None or proto not in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    if isinstance(host, bytes):
        host = host.decode("idna")
    if "%" in host:  # a scope, which inet_pton() does not support
        return None
    try:
        number = 0 if port in (None, "", b"") else int(port)
    except (TypeError, ValueError):  # the name of a service, or invalid
        return None
    for candidate in (socket.AF_INET, socket.AF_INET6):
        if family not in (socket.AF_UNSPEC, candidate):
            continue
        try:
            socket.inet_pton(candidate, host)
        except OSError:
            continue
        if not 0 <= number <= 0xFFFF:
            raise OverflowError("port must be 0-65535.")  # as in bind() and connect() of a socket
        return Resolved(candidate, (host, number) if candidate == socket.AF_INET else (host, number, 0, 0))
    return None
