"""Runs an end of a tunnel as a process, until SIGTERM or SIGINT causes an orderly stop."""

from __future__ import annotations

import asyncio
import resource
import signal

from utcp.tunnel.end import LOG, End


async def run(end: End, grace: float) -> None:
    """Start an end and run it until SIGTERM or SIGINT, then stop accepting connections and wait for open ones to end.

    A second signal ends the wait. Raises OSError when the end cannot be started.

    Args:
        end: the end.
        grace: maximum duration of the wait, seconds.
    """
    _allow_descriptors()
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    await end.start()
    # Not earlier, because before the start there is nothing to stop, and resolving a name may take long.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    LOG.info("%s", end.description)
    await stop.wait()
    await end.stop(grace, hurry)
    LOG.info("stopped")


def _allow_descriptors() -> None:
    """Raise the descriptor limit to the maximum, because each user takes one, and 1024 is a usual limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
