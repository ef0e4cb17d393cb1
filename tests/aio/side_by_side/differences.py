"""Where utcp differs from asyncio over kernel TCP on purpose, and why."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple


class Difference(NamedTuple):
    """What becomes of a row over utcp, and the reason."""

    table: str
    rows: str
    """Its name, or a pattern for several."""
    utcp: Any
    why: str
    loops: tuple[str, ...] = ("asyncio", "uvloop")
    """Those on which it holds."""
    sometimes: bool = False
    """Some versions of asyncio, or of the kernel, do as utcp does."""


DIFFERENCES: Final = (
    Difference(
        "opening",
        "host '255.255.255.255'",
        "PermissionError 13",
        "the kernel refuses a datagram to a broadcast address with EACCES, and a SYN with ENETUNREACH",
    ),
    Difference(
        "opening",
        "host '::ffff:127.0.0.1'",
        "AF_INET",
        "utcp's IPv6 sockets carry no IPv4, so the connection runs over an IPv4 socket and its addresses are IPv4's",
    ),
    Difference(
        "opening",
        "local host, port of the server",
        "AF_INET",
        "the utcp ports of each UDP socket are its own, so that a client's do not collide with a server's",
    ),
    Difference(
        "opening",
        "sock connected",
        [True, False, True],
        "`sock` names the local UDP address; the utcp port that `sockname` has is an ephemeral one",
    ),
    Difference(
        "opening",
        "sock unconnected",
        "OSError 107",
        "a UDP socket that is not connected has no peer; asyncio gives out a transport that ends at once",
    ),
    Difference(
        "opening",
        "factory returns None",
        [None, True],
        "a protocol without connection_made() fails as one whose connection_made() raises",
    ),
    Difference(
        "serving",
        "host ()",
        "OSError",
        "as asyncio since 3.12; before, a server without an address",
        sometimes=True,
    ),
    Difference(
        "serving",
        "host '203.0.113.1'",
        "OSError",
        "as asyncio since 3.12, which passes over addresses that the host does not have",
        sometimes=True,
    ),
    Difference(
        "serving",
        "host ('127.0.0.1', '203.0.113.1')",
        [("AF_INET", "SOCK_STREAM", 2, "127.0.0.1"), True],
        "as asyncio since 3.12, which passes over addresses that the host does not have",
        sometimes=True,
    ),
    Difference(
        "serving",
        "wait_closed with a client",
        [False, None],
        "as asyncio since 3.12, whose wait_closed() waits for the clients",
        sometimes=True,
    ),
    Difference(
        "serving",
        "wait_closed cancelled",
        ["CancelledError", None],
        "as asyncio since 3.12, whose wait_closed() waits for the clients",
        sometimes=True,
    ),
    Difference(
        "serving",
        "handler is cancelled",
        [b"", ["made", "eof", "lost"]],
        "as asyncio since 3.12, which closes the connection of a handler that was cancelled",
        sometimes=True,
    ),
    Difference(
        "transports",
        "half-closed: writelines of *",
        ["RuntimeError", ["made", "lost"], ["made", "eof", "lost"], b"", False],
        "as asyncio since 3.12, which looks at the half-close before it looks at the data",
        sometimes=True,
    ),
    Difference("serving", "sock unbound", "ValueError", "a UDP socket that is not bound has no address to listen on"),
    Difference(
        "serving",
        "ssl context of a client",
        "ConnectionResetError 104",
        "an exception that keeps a server from serving a connection is reported; asyncio does that in debug mode only",
    ),
    Difference(
        "serving",
        "factory raises",
        ["made", "lost ConnectionResetError 104"],
        "reported as above, and the client gets RST: nobody has served it",
    ),
    Difference(
        "serving",
        "start_server limit 0",
        ["made", "lost ConnectionResetError 104"],
        "reported as above, and the client gets RST: nobody has served it",
    ),
    Difference(
        "serving",
        "start_serving after close",
        ["RuntimeError", False],
        "asyncio fails by accident (TypeError), and says that it serves",
    ),
    Difference(
        "serving",
        "serve_forever cancelled with an idle client",
        [True, ["made", "eof", "lost"], "CancelledError"],
        "a cancelled serve_forever() closes the clients, for which it waits; asyncio waits until they leave",
    ),
    Difference(
        "serving",
        "abort_clients",
        [["made", "lost ConnectionResetError 104"], True, None],
        "abort() is RST; over kernel TCP it is a FIN, so that the peer cannot tell it from a close",
    ),
    Difference(
        "transports",
        "what the peer sees of abort",
        ["made", "lost ConnectionResetError 104"],
        "abort() is RST; over kernel TCP it is a FIN, so that the peer cannot tell it from a close",
    ),
    Difference(
        "serving",
        "handler is a function that raises",
        [b"", ["made", "lost ConnectionResetError 104"]],
        "an exception in connection_made() ends the connection; asyncio leaves it open, with nobody to serve it",
    ),
    Difference(
        "transports",
        "LookupError in callback made",
        [["made", "lost LookupError"], True],
        "an exception in connection_made() ends the connection; asyncio leaves it open, with nobody to serve it",
    ),
    Difference(
        "transports",
        "ConnectionResetError in callback made",
        [["made", "lost ConnectionResetError"], True],
        "an exception in connection_made() ends the connection; an OSError is not reported, as in other callbacks",
    ),
    Difference(
        "transports",
        "CancelledError in callback made",
        [["made", "lost CancelledError"], True],
        "an exception in connection_made() ends the connection; asyncio leaves it open, with nobody to serve it",
    ),
    Difference(
        "transports",
        "open: write memoryview with gaps",
        [None, ["made", "lost"], ["made", "data", "lost"], b"xz", False],
        "it is copied; asyncio hands it to send(), which refuses it",
        sometimes=True,
    ),
    Difference(
        "transports",
        "open: writelines of None",
        ["TypeError", ["made", "lost"], ["made", "lost"], b"", False],
        "asyncio takes None for nothing by accident since 3.12",
        sometimes=True,
    ),
    Difference(
        "after the end",
        "clos*: writelines*",
        [None, ["made", "lost"], ["made", "eof", "lost"], b"", True],
        "dropped in silence like write(); asyncio fails by accident since 3.12",
        sometimes=True,
    ),
    Difference(
        "after the end",
        "reset: writelines*",
        [None, ["made", "lost ConnectionResetError 104"], ["made", "lost"], b"", True],
        "dropped in silence like write(); asyncio fails by accident since 3.12",
        sometimes=True,
    ),
    Difference(
        "forgotten",
        "a server",
        None,
        "the loop's end closes it; asyncio leaves its socket to the collector, which warns",
    ),
    Difference(
        "securing",
        "TLS: the peer aborts",
        [["made", "lost ConnectionResetError 104"], ["made", "lost"]],
        "abort() is RST; over kernel TCP it is a FIN, so that the peer cannot tell it from a close",
    ),
    Difference(
        "securing",
        "TLS server: *",
        [False, ["made", "lost ConnectionResetError 104"], []],
        "asyncio's TLS aborts a connection whose handshake fails, and abort() is RST",
        sometimes=True,
    ),
    Difference(
        "securing",
        "start_tls, the peer resets",
        ["ConnectionResetError 104", ["made", "lost ConnectionResetError 104"]],
        "a protocol that had its connection_made() has its connection_lost(); asyncio forgets it during the handshake",
    ),
    Difference(
        "securing",
        "start_tls, the peer is silent",
        ["ConnectionAbortedError", ["made", "lost ConnectionAbortedError"], True],
        "as above: a reader that waits would wait for ever",
    ),
    Difference(
        "securing",
        "TLS: much to a peer that reads late",
        [["made", "pause"], ["made", "pause", "resume", "eof", "lost"], ["made", "data", "eof", "lost"]],
        "what TLS has written and TCP has not accepted counts; in asyncio one large write never asks for a pause",
    ),
    Difference(
        "securing",
        "start_tls after close",
        "ConnectionAbortedError",
        "asyncio waits for a handshake that cannot begin",
    ),
    Difference(
        "sockets",
        "fileno()",
        [False, ["made", "lost"], ["made", "lost"]],
        "no descriptor belongs to one connection",
    ),
    Difference("sockets", "fileno() of a server", False, "the descriptor is that of the endpoint's UDP socket"),
    Difference(
        "sockets",
        "getsockname() after the end",
        [2, ["made", "lost"], ["made", "lost"]],
        "the addresses of a connection that is over can still be asked for",
    ),
    Difference(
        "sockets",
        "get SOL_SOCKET SO_KEEPALIVE",
        [1, ["made", "lost"], ["made", "lost"]],
        "keepalive is on by default: no kernel ends the connections of a process that is killed",
    ),
    *(
        Difference(
            "sockets",
            f"?et {option}*",
            ["OSError 92", ["made", "lost"], ["made", "lost"]],
            "utcp does not have the option, and says so",
            sometimes=True,
        )
        for option in ("SOL_SOCKET SO_OOBINLINE", "SOL_SOCKET SO_RCVLOWAT", "IPPROTO_IP IP_TTL")
    ),
    Difference(
        "sockets",
        "get of an unknown level",
        ["OSError 92", ["made", "lost"], ["made", "lost"]],
        "one errno for all that utcp does not have",
    ),
    Difference(
        "ending",
        "os._exit()",
        [100_000, "nothing", 4],
        "a process that is killed says nothing: no kernel sends a FIN for it, and the peer learns of it by keepalive",
    ),
    Difference(
        "ending",
        "interrupt of a server with an idle client",
        [True, b"", -2, "KeyboardInterrupt"],
        "a cancelled serve_forever() closes the clients, for which it waits; asyncio waits until they leave",
        sometimes=True,
    ),
    Difference(
        "cancelling",
        "a handler is cancelled with its server's task group",
        [["cancelled"], b"", None],
        "as asyncio since 3.12, which takes the cancellation of a handler for what it is",
        sometimes=True,
    ),
    Difference(
        "cancelling",
        "the port of a server that is cancelled, turn *",
        "the port is free",
        "asyncio's create_server() leaves its socket open when it is cancelled in its last turn",
        sometimes=True,
    ),
    Difference(
        "transports",
        "peer half-closed: peer resets",
        [["made", "eof", "lost ConnectionResetError 104"], b"", True],
        "a reset is told at once; asyncio does not look at a socket that it does not read from",
    ),
    Difference(
        "transports",
        "paused: peer resets",
        [["made", "lost ConnectionResetError 104"], b"", True],
        "a reset is told at once; asyncio does not look at a socket that it does not read from",
    ),
    Difference(
        "transports",
        "closing: peer resets",
        [["made", "lost ConnectionResetError 104"], b"", True],
        "connection_lost(None) means delivered, and a reset before that is told; asyncio forgets the socket at close()",
    ),
    Difference(
        "streams",
        "drain after close",
        [None, None, "ConnectionResetError"],
        "connection_lost(), which drain() asks for, comes with the peer's acknowledgement, not in the next turn",
    ),
)


def difference(table: str, row: str, loop: str) -> Difference | None:
    """The one that speaks of this row, if there is one."""
    for each in DIFFERENCES:
        if each.table == table and loop in each.loops and fnmatchcase(row, each.rows.replace("[", "[[]")):
            return each
    return None
