"""The configuration of a stack: one frozen value with all its parameters."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple, Self

CONTROLLERS: Final[dict[str, Callable[[int, int], Any]]] = {}
"""The congestion controllers by name. `utcp.tcp.congestion` fills it, and describes the interface of a controller. It
is kept here so that a Config can check a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The parameters of a stack. Times are in seconds, sizes in bytes.

    Raises ValueError for a value of a wrong type or out of range. The text names the field and its valid values.
    """

    # --- opening
    syn_retries: int = 7
    """Retransmissions of an active SYN before TimeoutError. With `rto_initial` 1 and `rto_max` 60 they take 183 s, more
    than the 3 minutes that RFC 9293 3.8.3 requires (MUST-23)."""
    syn_ack_retries: int = 5
    """Retransmissions of a SYN-ACK before the half-open connection is dropped (after 63 s; Linux's number). No local
    caller waits for this handshake, and its sender is unverified. For each SYN with a forged source, utcp sends one
    SYN-ACK and these retransmissions to the victim within 31 s, none longer than the SYN. With 0 or
    `syn_cookies="always"`, it sends one SYN-ACK only."""

    syn_backlog: int = 1024
    """Half-open connections that a listener may have. Further SYNs get a cookie or no answer (`syn_cookies`). The same
    happens when the half-open connections of all listeners, at 4 KiB each, reach 1/32 of `max_memory`. While the accept
    queue is full (the listener's `backlog`), no SYN gets an answer."""
    syn_cookies: Literal["always", "overflow", "never"] = "overflow"
    """When a SYN is answered without keeping any state (RFC 4987 3.6): always, never, or while `syn_backlog` is reached
    or memory is short (`max_memory`). A connection from a cookie has one of eight MSS values, and has window scaling
    and SACK only if the peer uses timestamps. Do not use "always" for a protocol in which the server sends first: if
    the ACK that completes the handshake is lost, the client waits for ever."""
    reset_rate: float = 1000.0
    """RSTs per second in reply to segments that belong to no connection. A burst may use the allowance of ten seconds,
    so that many clients are refused at once. FreeBSD's limit is 200. All senders share this limit, so an attacker that
    exhausts it can find out whether a forged segment matched a connection, but nothing more."""

    # --- limits of the endpoint
    max_memory: int | None = None
    """Memory of the queues and records of all connections of an endpoint, bytes. `utcp.tcp.memory` estimates it, and
    counts 10 KiB for an idle connection and 4 KiB for a half-open one.

    Above 1/2 of the limit, windows and send buffers shrink to an equal share of the rest. Above 3/4, out-of-order data
    is dropped (the peer retransmits it), SYNs get cookies, and closed connections that hold much are reset, the oldest
    first. Above 7/8, new connections are refused, and each connection may still hold 2 KiB in each direction, so that
    none stalls. Acknowledged data is never dropped, and neither is data that an application has written to a connection
    that it has not closed.

    The limit does not cover the socket's own buffers, up to 16 MiB of datagrams that wait for room there, the
    transports' write buffers (bounded by `pause_writing()`, as in asyncio), and data that the application has read.

    TIME_WAIT records take at most 1/8 of the limit. When that is full, a new record ends the oldest one early.

    Each endpoint has its own limit. A process may have several endpoints: one for each address that a server binds, and
    one for each `config` and local host of clients. None: a quarter of the memory that the process may use (that of the
    host or of its control group) and that is not part of the limits of its other endpoints, 16 MiB to 2 GiB. So the sum
    of the limits stays below the available memory. 2 GiB are enough for 180,000 idle connections."""
    max_connections: int | None = None
    """Connections that an endpoint may have. TIME_WAIT and half-open connections do not count (`syn_backlog` limits the
    latter). At the limit a SYN is dropped, a connection that completes its handshake is reset, and `connect()` raises
    LimitReached. None: no limit except `max_memory`."""
    max_connections_per_remote: int | None = None
    """Connections that the peers on one host may have opened. A host is an IPv4 address or the /64 network of an IPv6
    address; UDP ports do not count. At the limit a SYN is dropped, and a connection that completes its handshake is
    reset. None: no limit, because a NAT may have thousands of clients behind one address."""

    # --- segments and windows
    mss: int | None = None
    """Largest payload of a segment in either direction, bytes. None: the path MTU determines it."""
    send_buffer: int | None = None
    """Bytes that a connection accepts from its application before the peer acknowledges them (SO_SNDBUF). None: 1 MiB
    at first, then twice the congestion window, up to `max_send_buffer`."""
    max_send_buffer: int = 16 << 20
    """Upper bound of a `send_buffer` that grows automatically, bytes."""
    recv_buffer: int | None = None
    """Received bytes that a connection holds until its application reads them, which is also the largest window that
    it offers (SO_RCVBUF). None: `initial_recv_buffer` at first, then it grows with the measured bandwidth-delay
    product, up to `max_recv_buffer`."""
    initial_recv_buffer: int = 1 << 20
    """Initial size of a `recv_buffer` that grows automatically, bytes; `max_recv_buffer` if that is less."""
    max_recv_buffer: int = 16 << 20
    """Upper bound of a `recv_buffer` that grows automatically, bytes. It determines the window scale of a connection
    (RFC 7323 2.2)."""
    nodelay: bool = True
    """True: send small segments at once (asyncio sets TCP_NODELAY too). False: Nagle's algorithm (RFC 9293 3.7.4)."""
    window_scaling: bool = True
    """Offer window scaling (RFC 7323 2)."""
    timestamps: bool = True
    """Offer timestamps, and with them PAWS (RFC 7323 3, 5)."""
    sack: bool = True
    """Offer SACK (RFC 2018), and with it DSACK (RFC 2883) and RACK-TLP (RFC 8985)."""
    ecn: Literal["off", "accept", "request"] = "accept"
    """Explicit congestion notification (RFC 3168): "accept" uses it if the peer requests it, "request" also requests it
    on active opens."""
    max_ack_delay: float = 0.2
    """How long the peer is expected to delay the ACK of a single segment. It is added to the tail loss probe timeout
    when one segment is in flight (RFC 8985 7.2: 200 ms)."""

    # --- acknowledging
    delayed_ack: float = 0.04
    """How long an ACK may wait for data that can carry it; below 0.5 s (RFC 9293 3.8.6.3, MUST-40). A SACK may also
    wait, for 1 ms at most, for further contiguous out-of-order segments, if the round-trip time is 20 ms or more and
    four SACKs were sent since the last in-order segment. 0: neither waits."""
    challenge_ack_interval: float = 0.5
    """Minimum time between challenge ACKs, for each connection and each kind of segment: SYN, RST, data, and ACK
    without data (RFC 5961 7). The answer to any unacceptable segment without data and FIN counts as a challenge ACK.
    Each further answer to ACKs without data doubles the time, up to 16 times this value, so that two stacks in
    different states stop answering each other."""

    # --- retransmission (RFC 6298)
    congestion_control: str = "cubic"
    """Name of the congestion controller, as registered in `utcp.tcp.congestion`."""
    rto_initial: float = 1.0
    """Retransmission timeout before the first round-trip time sample."""
    rto_min: float = 0.2
    """Minimum by which the retransmission timeout exceeds the smoothed round-trip time, as in Linux. RFC 6298 2.4 has a
    lower bound of 1 s instead."""
    rto_max: float = 60.0
    """Upper bound of the retransmission timeout, and of the zero-window probe interval (RFC 6298 2.5: at least 60
    s)."""
    retries: int = 15
    """R2 of RFC 9293 3.8.3: retransmissions of the same data before the connection ends with TimeoutError."""
    fin_retries: int = 8
    """R2 after the application has closed the connection: retransmissions of the FIN or of the data before it, and
    zero-window probes. Then RST is sent and the user gets TimeoutError (after 102 s at `rto_min`, more than the 100 s
    of SHLD-11)."""
    orphan_timeout: float | None = 300.0
    """How long a connection may take to deliver its data after the application has closed it, even if the peer still
    acknowledges some: this time, and one second more for each 1,000 bytes that were queued at the close. Then RST is
    sent and the user gets TimeoutError. Without this limit, a peer that acknowledges one byte a minute can keep a
    megabyte in memory for two years. None: no limit."""
    user_timeout: float | None = None
    """How long sent data may stay unacknowledged before the connection ends with TimeoutError, regardless of `retries`.
    It also applies while the peer keeps its window closed (RFC 9293 3.9.1.1, RFC 5482). It never ends an idle
    connection. None: no such limit."""

    # --- keepalive (RFC 9293 3.8.4)
    keepalive: bool = True
    """Send keepalive probes on idle connections. RFC 9293 has this off by default (MUST-25). Here it is on, because no
    kernel sends FIN or RST for a killed process, and because NATs drop the mappings of idle UDP sockets."""
    keepalive_idle: float = 60.0
    """Idle time before the first keepalive probe (MUST-28 has two hours or more). With the defaults, a connection to a
    peer that no longer answers ends after 110 s: 60 s, and five probes 10 s apart. An answered probe costs two segments
    of 32 bytes. 100,000 idle connections cost 1,700 probes a second.

    If a NAT or a firewall is on the path, this must be shorter than its timeout for idle UDP mappings. RFC 4787 (REQ-5)
    requires 2 minutes at least and recommends 5. Many devices have 30 s, so 15 to 25 s is safe with nearly all of them.
    It is enough that one end sends probes, because the answers refresh the mapping of the other."""
    keepalive_interval: float = 10.0
    """Time between unanswered keepalive probes. A utcp peer answers at most ten probes a second, Linux at most two."""
    keepalive_count: int = 5
    """Unanswered keepalive probes before the connection ends with TimeoutError."""

    # --- closing
    msl: float = 30.0
    """Maximum segment lifetime (2 minutes in RFC 9293 3.4.2). TIME_WAIT lasts twice as long; Linux's lasts 60 s. With 0
    there is no TIME_WAIT, which is only for tests of what goes wrong then."""
    fin_wait_2_timeout: float = 60.0
    """How long FIN_WAIT_2 waits for the peer's FIN after a full close. A half-close has no limit."""
    rfc1337: bool = True
    """Ignore RST in TIME_WAIT (RFC 1337). False: RST ends TIME_WAIT, as in RFC 9293 3.10.7.4."""
    time_wait_reuse: bool = True
    """Let a SYN that is provably new, by its timestamp or its sequence number, replace a connection in TIME_WAIT
    (RFC 6191, MAY-2)."""
    syn_in_last_ack: Literal["reset", "challenge"] = "reset"
    """The answer to a SYN in LAST_ACK: RST, so that the new connection of the peer fails at once, or the challenge ACK
    of RFC 5961. Either way, the connection in LAST_ACK stays."""
    close_timeout: float = 5.0
    """Maximum time that `Endpoint.aclose()`, a cancelled `serve_forever()` and the end of the loop take. Connections
    that have not delivered everything by then are reset."""

    # --- ports (RFC 6056)
    ephemeral_ports: tuple[int, int] = (32768, 60999)
    """First and last ephemeral port, for active opens without a given local port. The default is Linux's range. IANA's
    dynamic range, 49152 to 65535, would allow only 16,384 connections to one server, TIME_WAIT included."""

    def __new__(cls, *_: Any, **values: Any) -> Self:
        # Here, because a compiled __init__() checks the types itself, and its TypeError does not name the field.
        for name, value in values.items():
            _check(name, value)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for field in fields(self):  # again: a subclass may have other defaults, or its own __init__()
            _check(field.name, getattr(self, field.name))
        _require(self.rto_min <= self.rto_max, "rto_min", f"at most rto_max ({self.rto_max})", self.rto_min)

    def check_shares(self, endpoint: "Config") -> None:
        """Raise ValueError if the shared limits of this configuration differ from those of `endpoint`.

        This configuration is that of one connection, `endpoint` that of its endpoint.
        """
        for name in _SHARED:
            value, limit = getattr(self, name), getattr(endpoint, name)
            _require(value in (None, limit), name, f"that of the endpoint ({limit}) or None", value)

    # In a compiled class, @dataclass makes neither of these two, and mypyc's own would assign to frozen fields.
    def __getstate__(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def __setstate__(self, state: list[Any]) -> None:
        for field, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, field.name, value)


class _Signature:
    """The class attribute `__signature__`, so that `inspect.signature()` and `help()` show the fields, although
    `__new__()` takes any keywords."""

    def __get__(self, instance: object, owner: type[Any]) -> inspect.Signature:
        initialized_by = next(each for each in owner.__mro__ if "__init__" in vars(each))
        if "__dataclass_fields__" not in vars(initialized_by):
            raise AttributeError("__signature__")  # a subclass with its own __init__()
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature(
            [inspect.Parameter(each.name, kind, default=each.default, annotation=each.type) for each in fields(owner)]
        )


setattr(Config, "__signature__", _Signature())  # noqa: B010  # in the class it would be a field once compiled


class _Bounds(NamedTuple):
    """The range of a numeric field."""

    lowest: float
    highest: float
    right: str
    """The range in words."""
    whole: bool = True
    """Whether the number must be an integer."""
    none: str = ""
    """Meaning of None; empty if None is not allowed."""


_MAX_COUNT: Final = 1 << 30
_MAX_SECONDS: Final = 1e9
_ABOVE_ZERO: Final = 5e-324
"""Smallest number above 0."""
_BELOW_HALF: Final = 0.49999999999999994
"""Greatest number below 0.5."""

_COUNT: Final = _Bounds(0, _MAX_COUNT, "a whole number, 0 or more")
_LIMIT: Final = _Bounds(1, _MAX_COUNT, "a whole number, 1 or more", none="for no limit")
_BUFFER: Final = _Bounds(2048, 1 << 30, "a whole number of bytes, 2 KiB to 1 GiB")
_GROWING_BUFFER: Final = _BUFFER._replace(none="to grow automatically")
_SECONDS: Final = _Bounds(_ABOVE_ZERO, _MAX_SECONDS, "a number of seconds, above 0 and at most 1e9", whole=False)
_SECONDS_OR_NONE: Final = _SECONDS._replace(none="for no limit")

_BOUNDS: Final[dict[str, _Bounds]] = {
    "syn_retries": _COUNT,
    "syn_ack_retries": _COUNT,
    "syn_backlog": _LIMIT._replace(none=""),
    "max_memory": _Bounds(
        1 << 20, 1 << 50, "a whole number of bytes, 1 MiB to 1 PiB", none="for a share of the available memory"
    ),
    "max_connections": _LIMIT,
    "max_connections_per_remote": _LIMIT,
    "reset_rate": _Bounds(0.1, 1e9, "a number of RSTs per second, 0.1 to 1e9", whole=False),
    "mss": _Bounds(64, 65495, "a whole number of bytes, 64 to 65495", none="for the path MTU"),
    "send_buffer": _GROWING_BUFFER,
    "max_send_buffer": _BUFFER,
    "recv_buffer": _GROWING_BUFFER,
    "initial_recv_buffer": _BUFFER,
    "max_recv_buffer": _BUFFER,
    "max_ack_delay": _Bounds(0, 60, "a number of seconds, 0 to 60", whole=False),
    "delayed_ack": _Bounds(0, _BELOW_HALF, "a number of seconds, 0 or more and below 0.5", whole=False),
    "challenge_ack_interval": _SECONDS,
    "rto_initial": _SECONDS,
    "rto_min": _SECONDS,
    "rto_max": _SECONDS,
    "retries": _COUNT,
    "fin_retries": _COUNT,
    "user_timeout": _SECONDS_OR_NONE,
    "orphan_timeout": _SECONDS_OR_NONE,
    "keepalive_idle": _SECONDS,
    "keepalive_interval": _SECONDS,
    "keepalive_count": _Bounds(
        2, _MAX_COUNT, "a whole number, 2 or more, because one lost probe proves nothing (RFC 9293 MUST-29)"
    ),
    "msl": _Bounds(0, _MAX_SECONDS, "a number of seconds, 0 to 1e9", whole=False),
    "fin_wait_2_timeout": _SECONDS,
    "close_timeout": _SECONDS,
}

_CHOICES: Final[dict[str, Collection[str]]] = {
    "syn_cookies": ("always", "overflow", "never"),
    "ecn": ("off", "accept", "request"),
    "congestion_control": CONTROLLERS,
    "syn_in_last_ack": ("reset", "challenge"),
}

_SHARED: Final = ("max_memory", "max_connections", "max_connections_per_remote")
"""Fields that limit all connections of an endpoint together."""

_FLAGS: Final = ("nodelay", "window_scaling", "timestamps", "sack", "keepalive", "rfc1337", "time_wait_reuse")


def _check(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is valid for the field `name`."""
    if name in _FLAGS:
        _require(isinstance(value, bool), name, "True or False", value)
    elif name in _CHOICES:
        choices = _CHOICES[name]
        right = "one of " + ", ".join(f'"{choice}"' for choice in sorted(choices))
        _require(isinstance(value, str) and value in choices, name, right, value)
    elif name == "ephemeral_ports":
        right = "a tuple of two ports, first and last, from 1 to 65535 and in order"
        pair = isinstance(value, tuple) and len(value) == 2 and all(type(port) is int for port in value)
        _require(pair and 1 <= value[0] <= value[1] <= 65535, name, right, value)
    elif name in _BOUNDS:
        bounds = _BOUNDS[name]
        if value is None and bounds.none:
            return
        number = isinstance(value, int if bounds.whole else (int, float)) and not isinstance(value, bool)
        within = number and bounds.lowest <= value <= bounds.highest  # NaN is in no range
        _require(within, name, f"{bounds.right}, or None {bounds.none}" if bounds.none else bounds.right, value)


def _require(condition: bool, name: str, right: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{name} must be {right}, not {value!r}")
