"""Observation of connections: log events (`log`), metrics (`prometheus`), ladder diagrams (`ladder`), plots (`plot`),
writing captures (`pcapng`) and reading them (`capture_file`). `utcp.tcp.observer.Tee` combines observers."""

from typing import TYPE_CHECKING

from utcp.extras import submodules
from utcp.trace.log import default_observer, log_event

__all__ = ["default_observer", "log_event"]

if not TYPE_CHECKING:  # a type checker would take any name for an attribute
    __getattr__ = submodules(__name__, ("capture_file", "ladder", "plot", "prometheus"))
