"""Admission of connections by `Config.max_memory`, `max_connections` and `max_connections_per_remote`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sized

from utcp.config import Config
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.counters import Counters
from utcp.tcp.memory import Memory
from utcp.tcp.transmit import Remote


class Admission:
    """Counts the connections of each host, if there is a limit for them.

    Handshakes under way are not counted, because anyone can forge a SYN. `Config.syn_backlog` limits them, and the
    limits here are checked again when a handshake completes.
    """

    __slots__ = ("_admitted", "_config", "_connections", "_counters", "_host", "_memory", "_per_host", "limited")

    def __init__(
        self,
        config: Config,
        memory: Memory,
        counters: Counters,
        connections: Sized,
        host: Callable[[Remote], Hashable] | None,
    ) -> None:
        self._config = config
        self._memory = memory
        self._counters = counters
        self._connections = connections
        self._host = host
        self.limited = config.max_connections is not None or config.max_connections_per_remote is not None
        """True if there is a limit for the number of connections."""
        self._admitted: dict[Tcb, Hashable] = {}
        """The host of each connection that a peer opened, if there is a limit for each host."""
        self._per_host: dict[Hashable, int] = {}

    def refusal(self, remote: Remote | None) -> str:
        """Return the Config field that forbids another connection; "": none does.

        `remote` is the peer that opens the connection; None: our user opens it.
        """
        memory, counters, config = self._memory, self._counters, self._config
        if not memory.room:
            counters.refused_by_max_memory += 1
            return "max_memory"
        if not self.limited:
            return ""
        most = config.max_connections
        if most is not None and len(self._connections) - memory.half_open >= most:
            counters.refused_by_max_connections += 1
            return "max_connections"
        most = config.max_connections_per_remote
        if most is not None and remote is not None and self._per_host.get(self._host_of(remote), 0) >= most:
            counters.refused_by_max_connections_per_remote += 1
            return "max_connections_per_remote"
        return ""

    def entered(self, connection: Tcb) -> None:
        """Count `connection`, which a peer opened."""
        if self._config.max_connections_per_remote is not None:
            host = self._host_of(connection.remote)
            self._per_host[host] = self._per_host.get(host, 0) + 1
            self._admitted[connection] = host  # last, because `left` decrements only if it finds this entry

    def left(self, connection: Tcb) -> None:
        """Count the end of `connection`."""
        host = self._admitted.get(connection)
        if host is not None:
            others = self._per_host.get(host, 0) - 1
            del self._admitted[connection]
            if others > 0:
                self._per_host[host] = others
            elif host in self._per_host:
                del self._per_host[host]

    def _host_of(self, remote: Remote) -> Hashable:
        return remote if self._host is None else self._host(remote)
