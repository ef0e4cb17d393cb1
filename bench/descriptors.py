"""The limit of file descriptors, because kernel TCP needs one for each end of each connection."""

import resource

SPARE = 64
"""Descriptors for the interpreter, the loop and the listener."""


def require(count: int) -> None:
    """Raise the soft limit to the hard limit. Raises OSError if that is too low for `count` sockets in this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and count + SPARE > hard:
        raise OSError(f"{count} sockets and {SPARE} descriptors besides exceed the hard limit of {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
