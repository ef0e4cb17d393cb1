"""Log lines about single connections, with a limit, so that unauthenticated peers cannot fill a disk."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

PERIOD: Final = 60.0
"""Seconds within which each kind of problem gets one line per host. Repetitions are counted and logged at the end."""

MOST_LINES: Final = 64
"""Maximum number of lines per period. Problems of further hosts are only counted."""


class Complaints:
    """Logs problems of connections, one line per host, kind of problem and period.

    Belongs to the running loop. Must be closed.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._repeated: dict[tuple[int, str, str], int] = {}
        """Suppressed repetitions of each line in this period, by level, host and text."""
        self._others = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, level: int, name: str, text: str) -> None:
        """Log `text` about a peer, unless its host had the same line in this period.

        Args:
            level: the level of `logging`.
            name: the peer's HOST:PORT.
            text: the problem.
        """
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
        """Log the counts and stop the timer."""
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
