"""What classes have to say of themselves to mypyc, when it compiles them (utcp/README.md, "Compiled").

`allow_interpreted_subclasses`: users may subclass it. `acyclic`: what its attributes hold never leads back to it, and
so the garbage collector need not know of it. `free_list_len`: how many that are let go are kept for the next ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:
    # mypyc reads these marks when it compiles; nobody does when the code runs, so nothing has to be installed.
    T = TypeVar("T")

    def mypyc_attr(**_: object) -> Callable[[T], T]:
        return lambda marked: marked


__all__ = ["mypyc_attr"]
