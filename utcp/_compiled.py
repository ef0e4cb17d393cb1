"""Marks of classes for mypyc, which compiles them (utcp/README.md, "Compiled").

`allow_interpreted_subclasses`: users may subclass the class. `acyclic`: the attributes of an object never lead back to
it, so that the garbage collector does not track it. `free_list_len`: number of freed objects that are kept for reuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:
    # Only mypyc reads the marks, so that the interpreted code does not need mypy_extensions.
    T = TypeVar("T")

    def mypyc_attr(**_: object) -> Callable[[T], T]:
        return lambda marked: marked


__all__ = ["mypyc_attr"]
