"""Observation of connections: log events (`log`), metrics (`prometheus`), ladder diagrams (`ladder`), plots (`plot`),
writing captures (`pcapng`) and reading them (`capture_file`). `utcp.tcp.observer.Tee` combines observers."""

from utcp.trace.log import default_observer, log_event

__all__ = ["default_observer", "log_event"]
