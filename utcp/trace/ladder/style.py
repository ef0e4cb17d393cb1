"""The colours and fonts of drawn ladders, for light and dark themes."""

from __future__ import annotations

from typing import Final

from utcp.tcp.state import NAMES

SANS: Final = (
    "system-ui,-apple-system,'Segoe UI','Noto Sans','PingFang SC','Microsoft YaHei','Noto Sans CJK SC',sans-serif"
)
MONO: Final = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Noto Sans Mono CJK SC',monospace"

_STATE_COLOURS: Final = {
    "CLOSED": "#b9bec6",
    "LISTEN": "#8d96a3",
    "SYN_SENT": "#e3b341",
    "SYN_RCVD": "#d18f1e",
    "ESTABLISHED": "#3fa45b",
    "FIN_WAIT_1": "#6cb2f0",
    "FIN_WAIT_2": "#2f7fd6",
    "CLOSE_WAIT": "#c58ae0",
    "CLOSING": "#2aa5a0",
    "LAST_ACK": "#9145b6",
    "TIME_WAIT": "#e0634a",
}
STATE_COLOURS: Final = [_STATE_COLOURS[name] for name in NAMES]
"""The colours of the states, by their numbers."""

_LIGHT: Final = {
    "page": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#1f2328",
    "faint": "#59636e",
    "line": "#c8ced6",
    "again": "#a04b00",
    "lost": "#c62828",
    "timer": "#8a3ffc",
    "note": "#fff6d6",
    "frame": "#e8d48a",
    "accent": "#0a5fc2",
    "client": "#0a5fc2",
    "server": "#b0307f",
}
_DARK: Final = {
    "page": "#0d1117",
    "panel": "#161b22",
    "ink": "#e6edf3",
    "faint": "#9aa4af",
    "line": "#3d444d",
    "again": "#f0a35e",
    "lost": "#ff7b72",
    "timer": "#c297ff",
    "note": "#2b2611",
    "frame": "#5c5020",
    "accent": "#6cb0ff",
    "client": "#6cb0ff",
    "server": "#f08ac4",
}


def _colours(palette: dict[str, str]) -> str:
    rules = {
        ".page,.break-gap": "fill:{page}",
        "text": "fill:{ink}",
        ".time,.silence,.stay-text": "fill:{faint}",
        ".label,.state,.timer": "stroke:{page}",
        ".line": "stroke:{line}",
        ".break,.clock,.stay": "stroke:{faint}",
        ".arrow": "stroke:{ink}",
        ".head": "fill:{ink}",
        ".arrow.again": "stroke:{again}",
        ".head.again,.label.again": "fill:{again}",
        ".arrow.lost,.cross": "stroke:{lost}",
        ".label.lost": "fill:{lost}",
        ".timer": "fill:{timer}",
        ".clock": "stroke:{timer}",
        ".note": "fill:{note};stroke:{frame}",
    }
    return "".join(f"{selector}{{{rule.format(**palette)}}}" for selector, rule in rules.items())


def _variables(palette: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


_SHAPES: Final = (
    f"text{{font:12px {SANS}}}"
    ".title{font-size:16px;font-weight:600;text-anchor:middle}.name{font-size:14px;font-weight:600;text-anchor:middle}"
    f".label{{font:11.5px {MONO}}}.flags{{font-weight:700}}"
    ".label,.state,.timer{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}"
    ".time,.silence{font-size:11px;text-anchor:end;font-variant-numeric:tabular-nums}.silence{font-style:italic}"
    ".state{font-weight:600;font-size:11px}.timer{font-size:11px}.l{text-anchor:end}"
    ".stay-text{font-size:11px;text-anchor:middle}.note-text{font-size:13px}"
    ".arrow,.break,.clock,.cross,.line,.stay{fill:none;stroke-width:1.4}.line{stroke-width:1}"
    ".cross{stroke-width:2.2}.arrow.copy{stroke-dasharray:5 3}.before{stroke-dasharray:2 3}"
    + "".join(f".s{state}{{fill:{colour}}}" for state, colour in enumerate(STATE_COLOURS))
)

# Plain colours instead of CSS variables, because some SVG viewers do not support those.
STYLE: Final = f"{_SHAPES}{_colours(_LIGHT)}@media(prefers-color-scheme:dark){{{_colours(_DARK)}}}"
"""The style of a drawing by itself."""

PAGE_STYLE: Final = (
    f":root{{{_variables(_LIGHT)}--sans:{SANS};--mono:{MONO}}}"
    f"@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{_variables(_DARK)}}}}}"
    f":root[data-theme=dark]{{{_variables(_DARK)}}}"
    f".drawing{{{_SHAPES}{_colours({name: f'var(--{name})' for name in _LIGHT})}}}"
    + "".join(f".state-{state}{{--state:{colour}}}" for state, colour in enumerate(STATE_COLOURS))
)
"""The style of drawings in a page, within elements of class `drawing`, and variables for the page's own style: colours,
fonts, and the colour of a state `N` for elements of class `state-N`. `data-theme` at the root chooses light or dark."""
