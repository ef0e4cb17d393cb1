"""Every knob of a stack, in one frozen value."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple, Self

CONTROLLERS: Final[dict[str, Callable[[int, int], Any]]] = {}
"""The congestion controllers by name. `utcp.tcp.congestion` fills it and describes what may be added; it is kept here
so that a Config can check a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How a stack behaves. Times are in seconds, sizes in octets.

    Raises ValueError for a value of a wrong type or out of range. The text says which field it is, and which values are
    right.
    """

    # --- opening
    syn_retries: int = 7
    """Retransmissions of an active SYN before TimeoutError: with `rto_initial` 1 and `rto_max` 60 that is 183 s, above
    the 3 minutes that RFC 9293 3.8.3 asks for (MUST-23)."""
    syn_ack_retries: int = 5
    """Retransmissions of a SYN-ACK before the half-open connection is dropped (after 63 s). Linux's number. No local
    caller waits for this handshake, and its sender is unverified. A SYN with a forged source makes utcp send its victim
    one SYN-ACK and so many retransmissions within 31 s, none longer than the SYN. With 0 or `syn_cookies="always"` it
    is one SYN-ACK."""

    syn_backlog: int = 1024
    """Half-open connections that a listener may have. Further SYNs get a cookie, or no answer (`syn_cookies`). While as
    many established connections as the listener's own `backlog` wait to be accepted, no SYN gets an answer. So the two
    limits together bound the connections that can wait. The half-open connections of all listeners take 1/32 of
    `max_memory` at most, at 4 KiB each; from there on the same happens."""
    syn_cookies: Literal["always", "overflow", "never"] = "overflow"
    """When a SYN is answered without keeping any state (RFC 4987 3.6): always, never, or while `syn_backlog` is reached
    or memory is short (`max_memory`). A connection that comes of a cookie has an MSS out of a table of eight, and
    window scaling and SACK only if the peer uses timestamps. If the server speaks first, and the client's last ACK of
    such a handshake is lost, the client waits for ever: do not use "always" for such servers."""
    reset_rate: float = 1000.0
    """RSTs per second in reply to segments that belong to no connection. RSTs for ten seconds may leave in one second,
    so that a crowd of clients is refused at once. FreeBSD limits them to 200. All senders share this limit. An attacker
    who uses it up can see from the rest whether a forged segment met a connection, and nothing more."""

    # --- limits of the endpoint
    max_memory: int | None = None
    """Octets that the queues and records of all connections of an endpoint may take together, by the estimate of
    `utcp.tcp.memory`, which counts 10 KiB for an idle connection and 4 KiB for a half-open one.

    From 1/2 of it on, windows and send buffers shrink to an equal share of what is left. From 3/4 on, text that arrives
    out of order is dropped (its sender repeats it), SYNs get cookies, and closed connections that hold much are reset,
    the oldest first. From 7/8 on, new connections are refused, and each connection may still hold 2 KiB in each
    direction, so that none stands still. Acknowledged data is never dropped, and neither is data that an application
    has written to a connection that it has not closed.

    Not counted are the socket's own buffers, up to 16 MiB of datagrams that wait for room there, and what applications
    hold: the transports' write buffers, which `pause_writing()` bounds as in asyncio, and data that they have read.

    Records in TIME_WAIT take 1/8 of it at most. A further one ends the oldest before its time.

    Each endpoint has a limit of its own, and a process may have several: one for each address that a server binds, and
    one for each `config` and local host of clients. None: a quarter of the memory that the process may use (of the
    host, or of its control group) and that its other endpoints have not been given, 16 MiB to 2 GiB. So all together
    stay below the memory that there is. 2 GiB are enough for 180,000 idle connections."""
    max_connections: int | None = None
    """Connections that an endpoint may have, without TIME_WAIT and without half-open ones, which `syn_backlog` limits.
    A SYN beyond it is dropped, a handshake that completes beyond it is reset, and `connect()` raises LimitReached.
    None: no limit but `max_memory`."""
    max_connections_per_remote: int | None = None
    """Connections that the peers on one host may have opened. A host is an IPv4 address, or the /64 network of an IPv6
    address; UDP ports do not count. A SYN beyond the limit is dropped, and a handshake that completes beyond it is
    reset. None: no limit, because a NAT may have thousands of clients behind one address."""

    # --- segments and windows
    mss: int | None = None
    """Largest payload of one segment, both ways. None: what the path's MTU carries."""
    send_buffer: int | None = None
    """Octets that a connection accepts from its application ahead of their acknowledgement (SO_SNDBUF). None: 1 MiB at
    first, then twice the congestion window, up to `max_send_buffer`."""
    max_send_buffer: int = 16 << 20
    """Octets that `send_buffer` grows to by itself."""
    recv_buffer: int | None = None
    """Octets held for an application that does not read: the largest window offered (SO_RCVBUF). None: it begins with
    `initial_recv_buffer` and grows with the bandwidth-delay product that is measured, up to `max_recv_buffer`."""
    initial_recv_buffer: int = 1 << 20
    """Octets that `recv_buffer` begins with when it grows by itself, or `max_recv_buffer` if that is less."""
    max_recv_buffer: int = 16 << 20
    """Octets that `recv_buffer` grows to by itself. The window scale of a connection is chosen for it (RFC 7323
    2.2)."""
    nodelay: bool = True
    """True: small segments leave at once, as asyncio sets TCP_NODELAY. False: Nagle's algorithm (RFC 9293 3.7.4)."""
    window_scaling: bool = True
    """Offer window scaling (RFC 7323 2)."""
    timestamps: bool = True
    """Offer timestamps, and with them PAWS (RFC 7323 3, 5)."""
    sack: bool = True
    """Offer SACK (RFC 2018), and with it DSACK (RFC 2883) and RACK-TLP (RFC 8985)."""
    ecn: Literal["off", "accept", "request"] = "accept"
    """Congestion marks instead of losses (RFC 3168): use them with peers that ask for them, or ask as well."""
    max_ack_delay: float = 0.2
    """How long the peer may delay the ACK of one segment. The tail loss probe of a single segment waits so much longer
    (RFC 8985 7.2: 200 ms)."""

    # --- acknowledging
    delayed_ack: float = 0.04
    """How long an ACK may wait for data that can carry it; below 0.5 s (RFC 9293 3.8.6.3, MUST-40). Where the round
    trip takes 20 ms or more, a SACK may also wait for further out-of-order segments, for 1 ms at most, if four SACKs
    have left since the last segment in order, and those segments continue one another. 0: neither waits."""
    challenge_ack_interval: float = 0.5
    """At most one challenge ACK in this time, for each connection and each kind of segment: SYN, RST, data, and ACK
    without data (RFC 5961 7). The answer to any unacceptable segment without text and FIN counts as one. Each further
    answer to ACKs without data doubles the time, up to 16 times this value, so that two stacks that disagree stop
    answering each other."""

    # --- retransmission (RFC 6298)
    congestion_control: str = "cubic"
    """The congestion controller, by the name under which `utcp.tcp.congestion` registers it."""
    rto_initial: float = 1.0
    """The retransmission timeout before the first round-trip sample."""
    rto_min: float = 0.2
    """The retransmission timeout exceeds the smoothed round-trip time by this time at least, as in Linux. RFC 6298 2.4
    has a lower bound of 1 s instead."""
    rto_max: float = 60.0
    """Upper bound of the retransmission timeout, and of the zero-window probe interval (RFC 6298 2.5: at least 60
    s)."""
    retries: int = 15
    """R2 of RFC 9293 3.8.3: retransmissions of one octet of data before the connection ends with TimeoutError."""
    fin_retries: int = 8
    """R2 once the application has closed: retransmissions of a FIN, or of the data before it, and zero-window probes,
    before RST is sent and the user gets TimeoutError (102 s at `rto_min`, above the 100 s of SHLD-11)."""
    orphan_timeout: float | None = 300.0
    """How long a connection that the application has closed may take to deliver, however often the peer acknowledges:
    this time, and one second more for each 1,000 octets that were queued at the close. Then RST is sent and the user
    gets TimeoutError. Without this limit, a peer that acknowledges one octet a minute keeps a megabyte for two years.
    None: no limit."""
    user_timeout: float | None = None
    """How long sent data may stay unacknowledged before the connection ends with TimeoutError, whatever `retries` says.
    It also applies while the peer keeps its window closed (RFC 9293 3.9.1.1, RFC 5482). It never ends an idle
    connection. None: no such limit."""

    # --- keepalive (RFC 9293 3.8.4)
    keepalive: bool = True
    """Probe idle connections. RFC 9293 has this off by default (MUST-25). Here it is on, because no kernel sends FIN or
    RST for a process that was killed, and because NATs forget the mappings of idle UDP sockets."""
    keepalive_idle: float = 60.0
    """Idle time before the first probe (MUST-28 has two hours or more). With the defaults, a peer that has vanished is
    given up after 110 s: 60 s, and five probes 10 s apart. Each answered probe costs two segments of 32 octets: 100,000
    idle connections cost 1,700 probes a second.

    Where a NAT or a firewall is on the path, this must be shorter than the time for which it remembers an idle UDP
    mapping. RFC 4787 (REQ-5) asks for 2 minutes at least, and recommends 5. Many devices have 30 s, so 15 to 25 s holds
    nearly all of them. One end is enough: the answer of the other holds its own mapping."""
    keepalive_interval: float = 10.0
    """Time between unanswered probes. A peer that runs utcp answers at most ten probes a second, Linux at most two."""
    keepalive_count: int = 5
    """Unanswered probes before the connection ends with TimeoutError."""

    # --- closing
    msl: float = 30.0
    """Maximum segment lifetime; TIME_WAIT lasts twice that (RFC 9293 3.4.2 says 2 minutes, Linux waits 60 s in all).
    0 skips TIME_WAIT: it exists to show what goes wrong then."""
    fin_wait_2_timeout: float = 60.0
    """How long FIN_WAIT_2 waits for the peer's FIN after a full close. A mere half-close waits for ever."""
    rfc1337: bool = True
    """Ignore RST in TIME_WAIT. False: RST ends it, as RFC 9293 3.10.7.4 has it."""
    time_wait_reuse: bool = True
    """Let a SYN that is provably newer open a new connection from TIME_WAIT (RFC 6191, MAY-2)."""
    syn_in_last_ack: Literal["reset", "challenge"] = "reset"
    """The answer to a SYN that meets LAST_ACK: RST, so that its sender fails at once, or RFC 5961's challenge ACK.
    Either way the connection in LAST_ACK stays."""
    close_timeout: float = 5.0
    """The most time that `Endpoint.aclose()`, a cancelled `serve_forever()` and the end of the loop take. Connections
    that have not delivered everything by then are reset."""

    # --- ports (RFC 6056)
    ephemeral_ports: tuple[int, int] = (32768, 60999)
    """First and last local port for active opens that name none. The default is Linux's range. IANA's dynamic range,
    49152 to 65535, would hold only 16,384 connections to one server at a time, TIME_WAIT included."""

    def __new__(cls, *_: Any, **values: Any) -> Self:
        # Before __init__(), because a compiled one knows the types of the fields, and raises TypeError without a name.
        for name, value in values.items():
            _check(name, value)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for field in fields(self):  # again, because a subclass may have other defaults, or an __init__() of its own
            _check(field.name, getattr(self, field.name))
        _require(self.rto_min <= self.rto_max, "rto_min", f"at most rto_max ({self.rto_max})", self.rto_min)

    # Those that @dataclass makes are not there once compiled, and mypyc's own assign to the frozen fields.
    def check_shares(self, endpoint: "Config") -> None:
        """Raise ValueError if this configuration, of one connection, has other limits than that of its `endpoint`."""
        for name in _SHARED:
            value, limit = getattr(self, name), getattr(endpoint, name)
            _require(value in (None, limit), name, f"that of the endpoint ({limit}) or None", value)

    def __getstate__(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def __setstate__(self, state: list[Any]) -> None:
        for field, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, field.name, value)

    @property
    def recv_buffer_sizes(self) -> tuple[int, int]:
        """How large a receive buffer is at first, and how large it may grow."""
        if self.recv_buffer is not None:
            return self.recv_buffer, self.recv_buffer
        return min(self.initial_recv_buffer, self.max_recv_buffer), self.max_recv_buffer


class _Signature:
    """A class attribute `__signature__`: `inspect.signature()` and `help()` show the fields, although `__new__()` takes
    any keywords."""

    def __get__(self, instance: object, owner: type[Any]) -> inspect.Signature:
        initialized_by = next(each for each in owner.__mro__ if "__init__" in vars(each))
        if "__dataclass_fields__" not in vars(initialized_by):
            raise AttributeError("__signature__")  # a subclass with an __init__() of its own
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature(
            [inspect.Parameter(each.name, kind, default=each.default, annotation=each.type) for each in fields(owner)]
        )


setattr(Config, "__signature__", _Signature())  # noqa: B010  # not within, where it would be a field once compiled


class _Bounds(NamedTuple):
    """The numbers that a field may have."""

    lowest: float
    highest: float
    right: str
    """The same in words."""
    whole: bool = True
    """No fractions."""
    none: str = ""
    """What None means; empty: None is not allowed."""


_MAX_COUNT: Final = 1 << 30
_MAX_SECONDS: Final = 1e9
_ABOVE_ZERO: Final = 5e-324
"""The least number above 0."""
_BELOW_HALF: Final = 0.49999999999999994
"""The greatest number below 0.5."""

_COUNT: Final = _Bounds(0, _MAX_COUNT, "a whole number, 0 or more")
_LIMIT: Final = _Bounds(1, _MAX_COUNT, "a whole number, 1 or more", none="for no limit")
_BUFFER: Final = _Bounds(2048, 1 << 30, "a whole number of octets, 2 KiB to 1 GiB")
_GROWING_BUFFER: Final = _BUFFER._replace(none="to grow by itself")
_SECONDS: Final = _Bounds(_ABOVE_ZERO, _MAX_SECONDS, "a number of seconds, above 0 and at most 1e9", whole=False)

_BOUNDS: Final[dict[str, _Bounds]] = {
    "syn_retries": _COUNT,
    "syn_ack_retries": _COUNT,
    "syn_backlog": _Bounds(1, _MAX_COUNT, "a whole number, 1 or more"),
    "max_memory": _Bounds(
        1 << 20, 1 << 50, "a whole number of octets, 1 MiB to 1 PiB", none="for a share of the memory that there is"
    ),
    "max_connections": _LIMIT,
    "max_connections_per_remote": _LIMIT,
    "reset_rate": _Bounds(0.1, 1e9, "a number of RSTs per second, 0.1 to 1e9", whole=False),
    "mss": _Bounds(64, 65495, "a whole number of octets, 64 to 65495", none="for what the path carries"),
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
    "user_timeout": _SECONDS._replace(none="for no such limit"),
    "orphan_timeout": _SECONDS._replace(none="for no such limit"),
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
"""The fields that are about all connections of an endpoint together."""

_FLAGS: Final = ("nodelay", "window_scaling", "timestamps", "sack", "keepalive", "rfc1337", "time_wait_reuse")


def _check(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is right for the field `name`."""
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
