"""What an endpoint has, row by row, as `ss` lists a host's sockets: listeners, connections, TIME_WAIT records.

Every row is a dict of what JSON has, with these keys:

* `type`: "listener", "connection" or "time_wait"; `state`: as RFC 9293 names it, LISTEN and TIME_WAIT included;
* `local`, and `peer` but for listeners: `host` and `udp_port` (the UDP address), `port` (the utcp port);
* `recv_q`: octets that the application has not read, of a listener the connections that wait to be accepted;
* `send_q`: octets that the peer has not acknowledged, of a listener the most that may wait;
* listener: `half_open` and `syn_backlog`, the handshakes under way and the most that may be;
* connection: `role` ("client" opened it, "server" accepted it) and `info`, the fields of `utcp.ConnectionInfo` in
  seconds, octets and octets per second; null where ConnectionInfo has None, `math.inf` or an unlimited `snd_ssthresh`;
* time_wait: `seconds_left`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from math import inf
from typing import Any, Final

from utcp.inspect.endpoint import InspectedEndpoint
from utcp.link.path import SocketAddress
from utcp.tcp.congestion.base import UNLIMITED
from utcp.tcp.connection.info import ConnectionInfo
from utcp.tcp.state import CLOSED

_FIELDS: Final = tuple(field.name for field in fields(ConnectionInfo))


def rows(endpoint: InspectedEndpoint) -> Iterator[dict[str, Any]]:
    """The rows of `endpoint`, each as it is when it is asked for. What comes or goes meanwhile may be missing."""
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
    """JSON has no infinity."""
    return None if value == inf else value


def _ssthresh(info: ConnectionInfo) -> int | None:
    return info.snd_ssthresh if info.snd_ssthresh < UNLIMITED else None
