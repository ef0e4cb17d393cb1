"""The listeners, connections and TIME_WAIT records of an endpoint as rows, as `ss` lists the sockets of a host.

Every row is a dict for JSON with these keys:

* `type`: "listener", "connection" or "time_wait"; `state`: the name in RFC 9293, LISTEN and TIME_WAIT included;
* `local`, and `peer` except for listeners: `host` and `udp_port` (the UDP address), `port` (the utcp port);
* `recv_q`: bytes that the application has not read; for a listener, the connections that wait to be accepted;
* `send_q`: bytes that the peer has not acknowledged; for a listener, the maximum of waiting connections;
* listener: `half_open` and `syn_backlog`, the number and the maximum of half-open connections;
* connection: `role` ("client" for an active open, "server" for a passive one) and `info`, the fields of
  `utcp.ConnectionInfo` in seconds, bytes and bytes per second; null for None, `math.inf` and an unlimited
  `snd_ssthresh`;
* time_wait: `seconds_left`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from math import inf
from typing import Any, Final

from utcp.aio.open_endpoint import OpenEndpoint
from utcp.link.path import SocketAddress
from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.connection.info import ConnectionInfo
from utcp.tcp.state import CLOSED

_FIELDS: Final = tuple(field.name for field in fields(ConnectionInfo))


def rows(endpoint: OpenEndpoint) -> Iterator[dict[str, Any]]:
    """Yield the rows of `endpoint`, each with its present values. Connections that begin or end meanwhile may be
    missing."""
    stack, link = endpoint.stack, endpoint.link
    for listener in list(stack.listeners.values()):
        if not listener.closed:
            yield {
                "type": "listener",
                "state": "LISTEN",
                "local": _end(link.address, listener.local_port),
                "recv_q": len(listener.queue),
                "send_q": listener.backlog,
                "half_open": len(listener.half_open),
                "syn_backlog": listener.syn_backlog,
            }
    for connection in list(stack.connections.values()):
        if connection.state == CLOSED:
            continue
        info = connection.info(link.now())
        yield {
            "type": "connection",
            "state": info.state,
            "local": _end(link.sockname(connection.remote), connection.local_port),
            "peer": _end(link.peername(connection.remote), connection.remote_port),
            "recv_q": info.unread,
            "send_q": connection.send_queue,
            "role": "server" if connection.passive else "client",
            "info": {name: _plain(getattr(info, name)) for name in _FIELDS} | {"snd_ssthresh": _ssthresh(info)},
        }
    for key in list(stack.time_wait):
        left = stack.time_wait.seconds_left(key, link.now())
        if left:
            remote, remote_port, local_port = key
            yield {
                "type": "time_wait",
                "state": "TIME_WAIT",
                "local": _end(link.sockname(remote), local_port),
                "peer": _end(link.peername(remote), remote_port),
                "recv_q": 0,
                "send_q": 0,
                "seconds_left": left,
            }


def _end(address: SocketAddress, port: int) -> dict[str, Any]:
    return {"host": address[0], "udp_port": address[1], "port": port}


def _plain(value: Any) -> Any:
    """Replace infinity, which JSON does not have, by None."""
    return None if value == inf else value


def _ssthresh(info: ConnectionInfo) -> int | None:
    return info.snd_ssthresh if info.snd_ssthresh < UNLIMITED else None
