"""`utcp ss`: shows the sockets of running processes, through their control sockets."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Any, Final

import click

from utcp.cli.processes import ControlFailed, Process, tables
from utcp.tcp.state import NAMES

if TYPE_CHECKING:
    from rich.live import Live

_STATES: Final = tuple(name for name in NAMES if name != "CLOSED")


@click.command
@click.argument("sockets", metavar="[SOCKET]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, in seconds and bytes.")
@click.option(
    "-w",
    "--watch",
    metavar="[SECONDS]",
    is_flag=False,
    flag_value="1",
    help="Repeat every second, or every SECONDS, until Ctrl-C.",
)
@click.option("-s", "--summary", is_flag=True, help="Show only the number of sockets in each state, and the counters.")
@click.option(
    "--state",
    "states",
    metavar="STATE",
    type=click.Choice(_STATES, case_sensitive=False),
    multiple=True,
    help="Show only sockets in this state; may be repeated.",
)
def command(sockets: tuple[str, ...], as_json: bool, watch: str | None, summary: bool, states: tuple[str, ...]) -> None:
    """Show the sockets of running processes, as `ss -tin` shows those of the kernel.

    SOCKET is a control socket, or a directory with control sockets. The default is the value of UTCP_CONTROL, or else
    the default directory. A program has a control socket if it was started with UTCP_CONTROL=1, or if it calls
    Endpoint(..., control=PATH) or open_control(PATH).
    """
    interval = None
    if watch is not None:
        interval = _seconds(watch)
        if interval is None:  # --watch SOCKET
            interval, sockets = 1.0, (watch, *sockets)
        elif not 0 < interval < inf:
            raise click.BadParameter(f"{watch!r} is not a number of seconds above 0", param_hint="--watch")
    wanted = frozenset(states)

    def look() -> str:
        found = tables(sockets)
        for process in found if wanted else ():
            process.keep(wanted)
        if as_json:
            return json.dumps({"processes": [asdict(process) for process in found]}, indent=None if watch else 2)
        return "\n\n".join(_safely(_summary if summary else _listing, process) for process in found)

    if interval is None:
        click.echo(look())
    else:
        _watch(look, interval, live=not as_json)


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _watch(look: Callable[[], str], interval: float, *, live: bool) -> None:
    """Repeat until Ctrl-C, or until the last process has ended."""
    seen = look()
    screen: AbstractContextManager[Live | None] = nullcontext()
    if live and sys.stdout.isatty():
        from rich.live import Live

        screen = Live(screen=True, auto_refresh=False)
    with screen as display:
        while True:
            if display is None:
                click.echo(seen if not live else seen + "\n")
            else:
                from rich.text import Text

                display.update(Text(seen, no_wrap=True, overflow="crop"), refresh=True)
            time.sleep(interval)
            seen = look()


def _safely(render: Callable[[Process], str], process: Process) -> str:
    try:
        return render(process)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ControlFailed(f"{process.socket}: the answer cannot be read: the program may run another utcp") from None


# ------------------------------------------------------------------ as text


def _heading(process: Process) -> str:
    return f"{process.program or 'process'} (pid {process.pid})  {process.socket}"


def _listing(process: Process) -> str:
    rows = [("State", "Recv-Q", "Send-Q", "Local UDP:port/utcp", "Peer UDP:port/utcp", "")]
    details = [""]
    for found in process.sockets:
        peer = _end(found["peer"]) if "peer" in found else "*"
        queues = str(found["recv_q"]), str(found["send_q"])
        rows.append((found["state"], *queues, _end(found["local"]), peer, _timers(found)))
        details.append(_details(found))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [_heading(process)]
    for row, detail in zip(rows, details, strict=True):
        cells = [cell.rjust(width) if column in (1, 2) else cell.ljust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=False))]  # fmt: skip
        lines.append("  ".join((*cells, row[5])).rstrip())
        if detail:
            lines.append(f"     {detail}")
    if not process.sockets:
        lines.append("(no sockets)")
    return "\n".join(lines)


def _summary(process: Process) -> str:
    states: dict[str, int] = {}
    counters: dict[str, int] = {}
    for row in process.sockets:
        states[row["state"]] = states.get(row["state"], 0) + 1
    for endpoint in process.endpoints:
        for name, value in endpoint["snmp"].items():
            counters[name] = counters.get(name, 0) + value
    lines = [_heading(process), f"endpoints {len(process.endpoints)}, sockets {len(process.sockets)}{_memory(process)}"]
    lines += [f"  {name:<12} {states[name]}" for name in NAMES if name in states]
    lines += [f"  {name:<28} {value}" for name, value in counters.items() if value]
    return "\n".join(lines)


def _memory(process: Process) -> str:
    """Return the memory in use and its limit over all endpoints, and the number of orphans."""
    all_memory = [endpoint["memory"] for endpoint in process.endpoints if "memory" in endpoint]
    if not all_memory:
        return ""
    used, limit, orphans = (sum(memory[key] for memory in all_memory) for key in ("used", "limit", "orphans"))
    levels = sorted({memory["level"] for memory in all_memory} - {""})
    parts = [f", memory {_size(used)} of {_size(limit)}", *levels]
    if orphans:
        parts.append(f"orphans {orphans}")
    return ", ".join(parts)


def _size(octets: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if octets < 1024:
            return f"{octets:.4g} {unit}"
        octets /= 1024
    return f"{octets:.4g} GiB"


def _end(end: dict[str, Any]) -> str:
    host = f"[{end['host']}]" if ":" in end["host"] else end["host"]
    return f"{host}:{end['udp_port']}/{end['port']}"


def _timers(row: dict[str, Any]) -> str:
    if row["type"] == "time_wait":
        return f"timer:(time_wait,{_time(row['seconds_left'])})"
    if row["type"] == "listener":
        return f"half-open:{row['half_open']}/{row['syn_backlog']}"
    left: dict[str, float] = row["info"]["timers"]
    running = [f"{name},{_time(due)}" for name, due in sorted(left.items(), key=lambda timer: timer[1])]
    return f"timer:({' '.join(running)})" if running else ""


def _details(row: dict[str, Any]) -> str:
    """Return the second line of a connection, in the order of `ss -i`."""
    if row["type"] != "connection":
        return ""
    info = row["info"]
    options = [name for name, key in (("ts", "timestamps"), ("sack", "sack"), ("ecn", "ecn")) if info[key]]
    if info["window_scaling"]:
        options.append(f"wscale:{info['snd_wscale']},{info['rcv_wscale']}")
    parts = [row["role"], *options, info["congestion_control"], f"rto:{_time(info['rto'])}"]
    if info["rtt"]:
        parts.append(f"rtt:{_time(info['rtt'])}/{_time(info['rttvar'])}")
        parts.append(f"minrtt:{_time(info['min_rtt'])}")
    parts += [f"mss:{info['snd_mss']}", f"pmtu:{info['pmtu']}", f"cwnd:{info['snd_cwnd']}"]
    if info["snd_ssthresh"] is not None:
        parts.append(f"ssthresh:{info['snd_ssthresh']}")
    parts += [f"snd_wnd:{info['snd_wnd']}", f"rcv_wnd:{info['rcv_wnd']}"]
    for key in ("bytes_sent", "bytes_retrans", "bytes_acked", "bytes_received", "segs_out", "segs_in"):
        if info[key]:
            parts.append(f"{key}:{info[key]}")
    if info["pacing_rate"] is not None:
        parts.append(f"pacing_rate:{_rate(info['pacing_rate'])}")
    if info["delivery_rate"]:
        limited = " app_limited" if info["delivery_rate_app_limited"] else ""
        parts.append(f"delivery_rate:{_rate(info['delivery_rate'])}{limited}")
    for name, key in (("in_flight", "in_flight"), ("notsent", "notsent_bytes"), ("lost", "lost"), ("sacked", "sacked")):
        if info[key]:
            parts.append(f"{name}:{info[key]}")
    if info["total_retrans"]:
        parts.append(f"retrans:{info['retrans']}/{info['total_retrans']}")
    for key in ("retransmits", "backoff", "probes", "reord_seen", "dsack_dups", "rcv_ooopack"):
        if info[key]:
            parts.append(f"{key}:{info[key]}")
    if info["ca_state"] != "open":
        parts.append(info["ca_state"])
    return " ".join(parts)


def _time(seconds: float) -> str:
    if seconds >= 60:
        return f"{seconds / 60:.4g}min"
    return f"{seconds:.3g}s" if seconds >= 1 else f"{seconds * 1000:.3g}ms"


def _rate(octets_per_second: float) -> str:
    bits = octets_per_second * 8
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if bits >= size:
            return f"{bits / size:.3g}{unit}bit/s"
    return f"{bits:.3g}bit/s"
