"""Log lines about single connections, limited: strangers must not be able to fill a disk with them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

PERIOD: Final = 60.0
"""Seconds in which a host's trouble of one kind gets one line. What is repeated is counted, and told at their end."""

MOST_LINES: Final = 64
"""Lines in one period; what other hosts add is only counted."""


class Complaints:
    """Writes what goes wrong with connections into `log`, one line for each host, kind of trouble and minute.

    Belongs to the running loop, and must be closed.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._repeated: dict[tuple[int, str, str], int] = {}
        """How often each line would have been written again in this period: level, host, text."""
        self._others = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, level: int, name: str, text: str) -> None:
        """Log `text` about the peer called `name`, HOST:PORT, unless its host has had that line in this period."""
        key = (level, name.rpartition(":")[0], text)
        if key in self._repeated:
            self._repeated[key] += 1
        elif len(self._repeated) < MOST_LINES:
            self._repeated[key] = 0
            self._log.log(level, "%s: %s", name, text)
        else:
            self._others += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._sum_up)

    def close(self) -> None:
        """Tell what was counted, and let go of the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._sum_up()

    def _sum_up(self) -> None:
        self._timer = None
        for (level, host, text), count in self._repeated.items():
            if count:
                self._log.log(level, "%s: %s (%d more times)", host, text, count)
        if self._others:
            self._log.warning("%d more connections of other hosts failed", self._others)
        self._repeated.clear()
        self._others = 0
