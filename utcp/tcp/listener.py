"""A port that accepts connections (RFC 9293 3.10.1, passive OPEN)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection
    from utcp.tcp.stack import Stack


class Listener:
    """The LISTEN state of one local port: half-open connections, and established ones that wait for `accept`.

    A SYN is left unanswered while `backlog` connections wait to be accepted or `syn_backlog` handshakes are under way:
    its sender tries again. Nothing is accepted and then reset.
    """

    __slots__ = ("_stack", "backlog", "context", "half_open", "local_port", "queue", "ready", "syn_backlog")

    def __init__(self, stack: Stack, local_port: int, backlog: int, syn_backlog: int, context: object) -> None:
        self._stack: Stack | None = stack
        self.local_port = local_port
        self.backlog = backlog
        self.syn_backlog = syn_backlog
        self.context = context
        self.half_open: dict[Connection, None] = {}  # in order: the same calls give the same bytes
        self.queue: deque[Connection] = deque()
        self.ready = False
        """It stands in the stack's list of those with something to tell."""

    @property
    def full(self) -> bool:
        """No further SYN is answered now."""
        return len(self.queue) >= self.backlog or len(self.half_open) >= self.syn_backlog

    @property
    def closed(self) -> bool:
        return self._stack is None

    def accept(self) -> Connection | None:
        """The connection that has waited longest, None when none does. It is the caller's from here on."""
        if not self.queue:
            return None
        connection = self.queue.popleft()
        connection.accepted()
        return connection

    def close(self, now: float) -> None:
        """Stop listening. Half-open connections vanish: what they send next gets RST. Those that were established and
        not accepted get RST at once. Accepted ones are not touched. A second call does nothing."""
        if self._stack is None:
            return
        self._stack.forget_listener(self)
        self._stack = None
        for connection in list(self.half_open):
            connection.vanish(now)
        while self.queue:
            connection = self.queue.popleft()
            connection.accepted()
            connection.abort(now)
