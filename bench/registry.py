"""The benches by name, in the order of the page."""

import importlib
from typing import Final

from .frame import Bench

NAMES: Final = ("closes", "churn", "bulk", "latency", "memory", "scale", "workers", "cpu")


def load(name: str) -> Bench:
    """Return the bench of that name. Its module is imported under its own name, so that another process can unpickle
    its objects."""
    bench: Bench = importlib.import_module(f".{name}", __package__).BENCH
    return bench
