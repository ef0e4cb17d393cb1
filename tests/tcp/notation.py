"""How traces are written.

Segments are written as tcpdump and packetdrill write them, numbers relative to the initial sequence number of their
sender, so that data starts at 1:

    F. 1:101 ack 1 win 4000 <mss 1000,wscale 7,sackOK,ts 100:7,sack 201:301 401:501>

is a FIN with ACK that carries octets 1 to 100 (the FIN itself, as number 101, is not counted in `1:101`).

* Flags: S F R P U E W, then `.` for ACK, `-` for none at all. In an expectation a missing P says nothing about PSH, and
  `R?` is a RST with or without ACK.
* `#0:#0` are absolute sequence numbers: the RST for a segment without ACK has SEQ 0 (RFC 9293 3.10.7.1).
* `win` is in octets, scaled where the connection scales. What arrives without it offers `flow.window`.
* `ts value:echo`: in what arrives, the value is the peer's clock as it is and the echo is relative to the first
  timestamp we sent; in what leaves it is the other way round. `*`, or `ts` alone, means what an ordinary peer would put
  there. Once the peer's SYN had timestamps, all it sends has, unless the line says `<nots>`.
* An expectation is compared in what it names: options and window that it does not mention are free.
"""

import re
from dataclasses import dataclass
from typing import Final

from utcp.wire import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

FLAGS: Final = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "U": URG, "E": ECE, "W": CWR, ".": ACK}
_LINE: Final = re.compile(
    r"(?P<flags>[SFRPUEW]*\.?\??|-)"
    r"(?: (?P<seq>#?-?\d+):(?P<end>#?-?\d+))?"
    r"(?: ack (?P<ack>-?\d+))?"
    r"(?: win (?P<win>\d+))?"
    r"(?: <(?P<options>[^>]*)>)?"
)
_PERIOD: Final = bytes((i * 131 + (i >> 8)) & 0xFF for i in range(1 << 16))


def stream(start: int, end: int) -> bytes:
    """The octets that stand at the relative sequence numbers `start` to `end` of either direction."""
    first = start % len(_PERIOD)
    repeats = (first + end - start) // len(_PERIOD) + 1
    return (_PERIOD * repeats)[first : first + end - start]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a trace, parsed. None: not mentioned."""

    text: str
    flags: int
    ack_free: bool
    absolute: bool
    seq: int | None
    end: int | None
    ack: int | None
    win: int | None
    mss: int | None
    wscale: int | None
    sack_permitted: bool
    sack: tuple[tuple[int, int], ...] | None
    ts: tuple[int | None, int | None] | None
    no_ts: bool


def parse(text: str) -> Line:
    found = _LINE.fullmatch(text)
    if found is None:
        raise ValueError(f"not a line of a trace: {text!r}")
    flags = found["flags"]
    options: dict[str, str] = {}
    for option in (found["options"] or "").split(","):
        name, _, value = option.strip().partition(" ")
        options[name] = value
    options.pop("", None)
    if unknown := options.keys() - {"mss", "wscale", "sackOK", "sack", "ts", "nots"}:
        raise ValueError(f"unknown options {unknown} in {text!r}")
    seq, end = found["seq"], found["end"]
    ts_val, _, ts_ecr = options.get("ts", "").partition(":")
    return Line(
        text=text,
        flags=sum(FLAGS[letter] for letter in flags if letter in FLAGS),
        ack_free=flags.endswith("?"),
        absolute=seq is not None and seq.startswith("#"),
        seq=None if seq is None else int(seq.lstrip("#")),
        end=None if end is None else int(end.lstrip("#")),
        ack=None if found["ack"] is None else int(found["ack"]),
        win=None if found["win"] is None else int(found["win"]),
        mss=int(options["mss"]) if "mss" in options else None,
        wscale=int(options["wscale"]) if "wscale" in options else None,
        sack_permitted="sackOK" in options,
        sack=tuple(_block(block) for block in options["sack"].split()) if "sack" in options else None,
        ts=(_number_or_star(ts_val), _number_or_star(ts_ecr)) if "ts" in options else None,
        no_ts="nots" in options,
    )


def _block(text: str) -> tuple[int, int]:
    left, _, right = text.partition(":")
    return int(left), int(right)


def _number_or_star(text: str) -> int | None:
    return None if text in ("", "*") else int(text)
