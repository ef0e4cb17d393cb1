"""The page of the laboratory."""

from __future__ import annotations

import json
from collections.abc import Mapping


def render(data: Mapping[str, object] | None) -> str:
    """Return the page. `data` is what it shows; None: a server answers its requests."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<!DOCTYPE html>\n<title>utcp lab</title><script id="data" type="application/json">{text}</script>\n'
