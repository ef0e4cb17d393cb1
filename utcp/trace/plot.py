"""Plots one direction of a connection: sequence numbers, windows and round-trip times over time.

    captured = read_capture("life.pcapng")
    connections = find_connections([captured])
    save_plot(series_of([captured], connections[0], "client"), "life.svg")

The first panel is like that of tcptrace and Wireshark: bars for data, below them the line of acknowledgments, above
them the line of the receiver's window edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Final, TypeAlias

from utcp.trace.figure import BLUE, CREATOR, GREEN, GREY, ORANGE, PURPLE, RED, save, style
from utcp.trace.series import Block, Mark, Point, Series, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS: Final = ("sequence", "cwnd", "rtt")

_HEIGHTS: Final = {"sequence": 4.6, "cwnd": 2.6, "rtt": 2.2}
"""Height of each panel, inches."""
_WIDTH: Final = 10.0
_TITLE: Final = 0.5

_MANY: Final = 4000
"""Number of marks of one kind from which on they are drawn as an image, because an SVG or PDF would be too big
otherwise."""

_LABELS: Final = 25
"""Maximum number of timer names next to the segments that they caused, because more would hide the plot."""

_TIMERS: Final = {"retransmit": "RTO", "probe": "TLP", "persist": "ZWP", "keepalive": "KA"}
"""Names of the timers in the plot."""
_EXPIRED: Final = {
    "RTO": "retransmission timeout",
    "TLP": "tail loss probe",
    "ZWP": "zero-window probe",
    "KA": "keepalive probe",
}

_Draw: TypeAlias = "Callable[[Axes, Series], None]"


def save_plot(series: Series, file: str | PathLike[str], panels: Sequence[str] = PANELS, title: str = "") -> None:
    """Draw these panels one above the other and write them as SVG, PNG or PDF, depending on the file's suffix.

    The same series give the same bytes. Raises ImportError without matplotlib, OSError if the file cannot be written,
    ValueError for another suffix.
    """
    with style("utcp plot"):
        from matplotlib.figure import Figure

        heights = [_HEIGHTS[panel] for panel in panels]
        figure = Figure(figsize=(_WIDTH, sum(heights) + _TITLE), layout="constrained")
        figure.suptitle(title or f"{series.sender} to {series.receiver}", fontsize=10)
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
        axes: list[Axes] = list(grid[:, 0])
        for axis, panel in zip(axes, panels, strict=True):
            _DRAW[panel](axis, series)
            axis.grid(visible=True, color="#e6e6e6", linewidth=0.5)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
            if axis.get_legend_handles_labels()[0]:
                axis.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
        margin = (series.end or 1.0) * 0.02
        axes[-1].set_xlim(-margin, (series.end or 1.0) + margin)
        axes[-1].set_xlabel("time since the first segment, seconds")
        save(figure, file, creator=CREATOR)


def _sequence(axes: Axes, series: Series) -> None:
    _steps(axes, series.window, GREY, _window_label(series), linestyle="--")
    _steps(axes, series.acks, GREEN, "acknowledged")
    _bars(axes, series.blocks, PURPLE, "selectively acknowledged", linewidth=0.6, alpha=0.5)
    _bars(axes, [span for span in series.spans if not span.again and not span.copy], BLUE, "data sent")
    # A single segment is hardly visible in a large picture, so retransmissions and duplicates are circled.
    _circled(axes, [span for span in series.spans if span.again], RED, "retransmitted")
    _circled(axes, [span for span in series.spans if span.copy], ORANGE, "duplicate by the network")
    _crosses(axes, series)
    _flags(axes, series)
    _timers(axes, series)
    low, high = _range(series)
    margin = max((high - low) * 0.05, 1.0)
    axes.set_ylim(low - margin, high + 2 * margin)
    axes.set_ylabel("sequence number, bytes from SYN")
    _octets(axes)


def _window_label(series: Series) -> str:
    if not series.window_scaled:
        return "receiver's window (its scale was not captured)"
    top = _range(series)[1]
    above = sum(1 for point in series.window if point.value > top)
    return "receiver's window (mostly above)" if 2 * above > len(series.window) else "receiver's window"


def _range(series: Series) -> tuple[float, float]:
    """Return the range of the sequence space that was sent or acknowledged. The window edge may lie far above it."""
    values = [float(mark.seq) for mark in series.marks if mark.by_sender]
    for span in series.spans:
        values += (span.low, span.high)
    values += [point.value for point in series.acks]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _bars(
    axes: Axes,
    spans: Sequence[Span | Block],
    colour: str,
    label: str = "",
    linewidth: float = 1.6,
    alpha: float | None = None,
) -> None:
    if spans:
        axes.vlines(
            [span.time for span in spans],
            [span.low for span in spans],
            [span.high for span in spans],
            colors=colour,
            linewidth=linewidth,
            alpha=alpha,
            label=label,
            rasterized=len(spans) > _MANY,
        )


def _circled(axes: Axes, spans: Sequence[Span], colour: str, label: str) -> None:
    if not spans:
        return
    _bars(axes, spans, colour)
    axes.plot(
        [span.time for span in spans],
        [(span.low + span.high) / 2 for span in spans],
        "o",
        color=colour,
        markersize=5,
        markerfacecolor="none",
        markeredgewidth=0.8,
        label=label,
        rasterized=len(spans) > _MANY,
    )


def _crosses(axes: Axes, series: Series) -> None:
    lost = [(span.time, (span.low + span.high) / 2) for span in series.spans if span.lost]
    lost += [(mark.time, float(mark.seq)) for mark in series.marks if mark.lost and mark.by_sender]
    if lost:
        axes.plot(
            [time for time, _ in lost],
            [place for _, place in lost],
            "x",
            color="black",
            markersize=5,
            markeredgewidth=1.0,
            label="lost",
            rasterized=len(lost) > _MANY,
        )


def _flags(axes: Axes, series: Series) -> None:
    """Draw SYN, FIN and RST: the sender's above the line, the receiver's below."""
    kinds: dict[tuple[str, bool], list[Mark]] = {}
    for mark in series.marks[:_MANY]:
        kinds.setdefault((_flag_colour(mark), mark.by_sender), []).append(mark)
    for (colour, by_sender), marks in kinds.items():
        names = ", ".join(sorted({mark.name for mark in marks}, reverse=True))
        axes.plot(
            [mark.time for mark in marks],
            [mark.seq for mark in marks],
            "v" if by_sender else "^",
            color=colour,
            markersize=4,
            linestyle="none",
            zorder=3,
            label=f"{names} of the {'sender' if by_sender else 'receiver'}",
        )
    for mark in series.marks[: 2 * _LABELS]:
        _label(axes, mark.time, mark.seq, mark.name, _flag_colour(mark), above=mark.by_sender)


def _flag_colour(mark: Mark) -> str:
    return RED if mark.name == "RST" else "black" if mark.by_sender else GREEN


def _timers(axes: Axes, series: Series) -> None:
    named = [span for span in series.spans if span.timer in _TIMERS]
    for name in dict.fromkeys(_TIMERS[span.timer] for span in named):
        axes.plot(
            [], [], linestyle="none", marker=f"${name}$", color=RED, markersize=5 * len(name), label=_EXPIRED[name]
        )
    for span in named[:_LABELS]:
        _label(axes, span.time, span.high, _TIMERS[span.timer], RED, above=True)


def _label(axes: Axes, time: float, place: float, text: str, colour: str, *, above: bool) -> None:
    axes.annotate(
        text,
        (time, place),
        xytext=(0, 5 if above else -5),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        fontsize=6,
        color=colour,
    )


def _cwnd(axes: Axes, series: Series) -> None:
    known = bool(series.cwnd)
    if known:
        _steps(axes, series.cwnd, BLUE, "congestion window (cwnd)")
        _steps(axes, series.ssthresh, ORANGE, "slow start threshold (ssthresh)", linestyle="--")
        _steps(axes, series.in_flight, GREEN, "in flight")
        shown = [point.value for points in (series.cwnd, series.in_flight) for point in points]
        high = max(shown)
        if series.ssthresh and min(point.value for point in series.ssthresh) <= 2 * high:
            high = max(high, min(2 * high, max(point.value for point in series.ssthresh)))
        axes.set_ylim(0, high * 1.1 or 1)
    else:
        _steps(axes, series.outstanding, GREEN, "sent and not acknowledged")
        axes.set_ylim(bottom=0)
        _remark(axes, "this capture has no cwnd and ssthresh, which utcp writes as comments at the sender")
    axes.set_ylabel("bytes")
    _octets(axes)


def _rtt(axes: Axes, series: Series) -> None:
    samples = series.round_trips
    if samples:
        axes.plot(
            [point.time for point in samples],
            [point.value * 1000 for point in samples],
            ".",
            color=BLUE,
            markersize=3,
            label="from a segment to its ACK",
            rasterized=len(samples) > _MANY,
        )
    _steps(axes, _milliseconds(series.srtt), GREEN, "smoothed (srtt)")
    if not samples and not series.srtt:
        _remark(axes, "this capture shows no round-trip time")
    axes.set_ylim(bottom=0)
    if series.rto:  # much larger than the round-trip time, so it has a scale of its own
        right = axes.twinx()
        _steps(right, _milliseconds(series.rto), ORANGE, "timeout", linestyle="--")
        right.set_ylim(bottom=0)
        right.set_ylabel("timeout (rto), ms", color=ORANGE)
        right.tick_params(axis="y", colors=ORANGE)
        right.spines[["top", "left"]].set_visible(False)
        axes.plot(
            [], [], color=ORANGE, linewidth=1.0, linestyle="--", label="retransmission timeout (rto), right scale"
        )
    axes.set_ylabel("round-trip time, ms")


_DRAW: Final[dict[str, _Draw]] = {"sequence": _sequence, "cwnd": _cwnd, "rtt": _rtt}


def _milliseconds(points: Sequence[Point]) -> list[Point]:
    return [Point(point.time, point.value * 1000) for point in points]


def _steps(axes: Axes, points: Sequence[Point], colour: str, label: str, linestyle: str = "-") -> None:
    """Draw a step line. Of several values at one time the last one counts."""
    latest = {point.time: point.value for point in points}
    if latest:
        axes.step(
            list(latest),
            list(latest.values()),
            where="post",
            color=colour,
            linewidth=1.0,
            linestyle=linestyle,
            label=label,
            rasterized=len(latest) > _MANY,
        )


def _remark(axes: Axes, text: str) -> None:
    axes.text(0.01, 0.97, text, transform=axes.transAxes, ha="left", va="top", color=GREY, fontsize=8)


def _octets(axes: Axes) -> None:
    from matplotlib.ticker import EngFormatter

    axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
