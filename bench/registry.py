"""The benches, by name, in the order of the page."""

import importlib
from typing import Final

from .frame import Bench

NAMES: Final = ("closes", "churn", "bulk", "latency", "memory", "scale", "workers")


def load(name: str) -> Bench:
    """The bench of that name. Its module is imported by its own name: what it pickles, another process finds again."""
    bench: Bench = importlib.import_module(f".{name}", __package__).BENCH
    return bench
