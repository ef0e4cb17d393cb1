"""An end of a tunnel as a process: until SIGTERM or SIGINT, and then in good order."""

from __future__ import annotations

import asyncio
import resource
import signal

from utcp.tunnel.end import LOG, End


async def run(end: End, grace: float) -> None:
    """Start an end and keep it until SIGTERM or SIGINT. Then take no more connections in, and give those that are open
    `grace` seconds to end; a second signal ends them at once. Raises OSError when the end cannot be started."""
    _allow_descriptors()
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    await end.start()
    # Not before: there is nothing yet to end in good order, and a name may take long to resolve.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    LOG.info("%s", end.description)
    await stop.wait()
    await end.stop(grace, hurry)
    LOG.info("stopped")


def _allow_descriptors() -> None:
    """As many as the system lets us have: each user takes one, and 1024 is a usual limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
