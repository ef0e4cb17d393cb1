"""What the package knows of its compilation by mypyc (utcp/README.md, "Compiled"): the marks of classes, and the check
of modules that were compiled in place.

`allow_interpreted_subclasses`: users may subclass the class. `acyclic`: the attributes of an object never lead back to
it, so that the garbage collector does not track it. `free_list_len`: number of freed objects that are kept for reuse.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:
    # Only mypyc reads the marks, so that the interpreted code does not need mypy_extensions.
    T = TypeVar("T")

    def mypyc_attr(**_: object) -> Callable[[T], T]:
        return lambda marked: marked


__all__ = ["mypyc_attr"]

COMPILED: Final = (
    "wire",
    "tcp",
    "config.py",
    *(f"link/{name}.py" for name in ("base", "udp")),
    *(f"aio/{name}.py" for name in ("driver", "streams", "transport", "transport_base")),
)
"""What is compiled, directories and modules of the package: the protocol, and the path of a datagram between the socket
and the application."""

SHOWN: Final = (
    "_compiled.py",
    "errors.py",
    *(f"link/{name}.py" for name in ("allocator", "answers", "error_queue", "netlink", "path", "pending", "sockopt")),
    *(f"aio/{name}.py" for name in ("address", "containment", "flow_control", "moderation", "sendfile")),
    *(f"aio/{name}.py" for name in ("socket_facade", "stream_reader", "stream_writer", "tcp_info")),
    *(f"aio/tls/{name}.py" for name in ("asyncio_private", "machine", "options", "transport", "upgrade")),
)
"""What the compiled modules import. The compiler must see it, and compiles it into nothing."""

_RECORD: Final = f"{__file__.removesuffix('.py')}{EXTENSION_SUFFIXES[0]}.digest"


def record() -> Path:
    """Return the file that holds the digest of the sources that were compiled in place for this Python."""
    return Path(_RECORD)


def compiled() -> list[Path]:
    """Return the sources that are compiled."""
    package = Path(__file__).parent
    return [
        path
        for name in COMPILED
        for path in (sorted((package / name).rglob("*.py")) if not name.endswith(".py") else [package / name])
    ]


def sources() -> list[Path]:
    """Return all sources on which the compiled modules depend."""
    package = Path(__file__).parent
    return [*compiled(), *(package / name for name in SHOWN)]


def digest() -> str:
    """Return a digest of the names and the contents of `sources()`."""
    import hashlib

    found = hashlib.sha256()
    for path in sources():
        content = path.read_bytes()
        found.update(f"{path.relative_to(Path(__file__).parent).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def refuse_stale() -> None:
    """Raise ImportError if the modules beside the sources were compiled from other sources.

    In an installed wheel there is no record, so that the check is the search for one file, 3 us. With a record it takes
    6 ms.
    """
    if os.path.exists(_RECORD) and record().read_text() != digest():  # noqa: PTH110  # a tenth of the time of Path's
        root = Path(__file__).parent.parent
        raise ImportError(
            f"the compiled modules in {root} are not those of its sources. In that directory, "
            "`UTCP_COMPILE=1 pip install -e .` compiles them again, and `pip install -e .` removes them."
        )


if __name__ == "utcp._compiled":  # and not where the build reads this file
    refuse_stale()
