"""What the network says of a connection's path: unreachable, too big (RFC 9293 3.9.2.2, RFC 1191, RFC 5927)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utcp.tcp import event
from utcp.tcp.state import SYN_RCVD, SYN_SENT
from utcp.wire import HEADER_LENGTH
from utcp.wire.options import TIMESTAMPS_LENGTH
from utcp.wire.seq import MASK

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection


def is_under_way(connection: Connection, seq: int) -> bool:
    """Whether an ICMP message about a segment with this sequence number can be about one of the connection's: who
    cannot see them has to guess (RFC 5927 4.1)."""
    send = connection.send_side
    return (seq - send.snd_una) & MASK < send.flight_size


def unreachable(connection: Connection, error: OSError, now: float) -> None:
    """The peer is out of reach: the end of an open; for anything later a soft error, of which the user hears as
    trouble, and as the cause of what ends the connection if nothing helps (RFC 9293 3.9.2.2, MUST-56)."""
    if connection.state == SYN_SENT:
        connection.finish(error, now)
    elif connection.state == SYN_RCVD and connection.passive:
        connection.vanish(now)
    else:
        connection.soft_error = error
        connection.tell(event.TROUBLE)
        observer = connection.stack.observer
        if observer is not None:
            observer.path_unreachable(connection, error, now)


def too_big(connection: Connection, mtu: int | None, now: float) -> None:
    """The kernel's path MTU has changed, or a router says what it lets through (`mtu`, as a UDP payload in octets).
    What was larger is sent again, and it is no sign of congestion (RFC 8899 4.4, RFC 1191 6.4)."""
    stack, path_mtu = connection.stack, connection.path_mtu
    options = TIMESTAMPS_LENGTH if connection.timestamps else 0
    limit = min(stack.receive_mss(connection.remote, connection.config), connection.peer_mss) - options
    before = path_mtu.size
    if limit < path_mtu.limit:
        path_mtu.set_limit(limit)
    if mtu is not None:
        path_mtu.too_big(max(mtu - HEADER_LENGTH, stack.default_mss) - options, now)
    if path_mtu.size < before:
        connection.use_mss(path_mtu.size, now)
        connection.recovery.lose_larger(path_mtu.size)
        connection.touch()
