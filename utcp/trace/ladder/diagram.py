"""A small state diagram of RFC 9293 (figure 5) with a marker for each end, for pages that step through a ladder."""

from __future__ import annotations

from typing import Final

from utcp.tcp.state import CLOSED, LAST_ACK, NAMES, TIME_WAIT, TRANSITIONS

_WIDTH: Final = 84
_HEIGHT: Final = 22

_PLACES: Final = {
    "CLOSED": (138, 16),
    "LISTEN": (45, 56),
    "SYN_SENT": (231, 56),
    "SYN_RCVD": (45, 100),
    "ESTABLISHED": (138, 144),
    "FIN_WAIT_1": (92, 188),
    "CLOSE_WAIT": (231, 188),
    "FIN_WAIT_2": (45, 232),
    "CLOSING": (139, 232),
    "LAST_ACK": (231, 232),
    "TIME_WAIT": (92, 276),
}
_END: Final = (231, 276)
"""Second position of CLOSED, which appears twice as in the RFC: at the start and at the end of a connection."""
_ENDING: Final = (LAST_ACK, TIME_WAIT)


def state_diagram() -> str:
    """Return the diagram as an SVG element with nodes of class `node-N` and edges of class `edge-N-M`, N and M being
    states.

    Transitions to CLOSED by reset or abort, which exist for nearly every state, are omitted in the RFC. Here they have
    the class `forced` besides, and a page shows those that are taken.
    """
    parts = ['<svg class="states" viewBox="-4 0 284 292" role="img" aria-label="The states of a TCP connection">']
    for transition in TRANSITIONS:
        before, after = transition.before, transition.after
        forced = after == CLOSED and before not in _ENDING
        target = _END if after == CLOSED else _PLACES[NAMES[after]]
        kind = "edge forced" if forced else "edge"
        parts.append(f'<path class="{kind} edge-{before}-{after}" d="{_edge(_PLACES[NAMES[before]], target)}"/>')
    places = [(NAMES.index(name), place) for name, place in _PLACES.items()]
    for state, place in [*places, (CLOSED, _END)]:
        x, y = place[0] - _WIDTH // 2, place[1] - _HEIGHT // 2
        parts.append(
            f'<g class="node node-{state} state-{state}"><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}"'
            f' rx="4"/><rect class="swatch" x="{x}" y="{y}" width="5" height="{_HEIGHT}" rx="2"/>'
            f'<text x="{place[0] + 2}" y="{place[1] + 3.5}">{NAMES[state]}</text>'
            f'<g class="client"><circle cx="{x}" cy="{y + 3}" r="7.5"/><text x="{x}" y="{y + 6.5}">C</text></g>'
            f'<g class="server"><circle cx="{x + _WIDTH}" cy="{y + 3}" r="7.5"/>'
            f'<text x="{x + _WIDTH}" y="{y + 6.5}">S</text></g></g>'
        )
    parts.append("</svg>")
    return "\n".join(parts)


def _edge(start: tuple[int, int], stop: tuple[int, int]) -> str:
    """Return the path of an edge with an arrowhead, from border to border of two boxes."""
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    across = min(_WIDTH / 2 / abs(dx) if dx else 1.0, _HEIGHT / 2 / abs(dy) if dy else 1.0)
    x1, y1 = start[0] + dx * across, start[1] + dy * across
    x2, y2 = stop[0] - dx * across, stop[1] - dy * across
    ux, uy = dx / length, dy / length
    back_x, back_y = x2 - 6 * ux, y2 - 6 * uy
    return (
        f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"
        f"M{back_x + 3 * uy:.1f} {back_y - 3 * ux:.1f}L{x2:.1f} {y2:.1f}L{back_x - 3 * uy:.1f} {back_y + 3 * ux:.1f}"
    )
