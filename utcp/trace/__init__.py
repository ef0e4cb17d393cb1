"""Observation of connections: log events (`log`), metrics (`prometheus`), ladder diagrams (`ladder`), writing captures
(`pcapng`) and reading them (`capture_file`), plots (`plot`), several observers combined (`tee`)."""

import logging
import sys

from utcp.tcp.observer import Observer
from utcp.trace import log
from utcp.trace.log import StructlogObserver


def default_observer() -> Observer | None:
    """Return an observer that logs to the application's configured structlog, or None if none is configured.

    Called when an endpoint starts. Neither imports nor configures structlog, so that `import utcp` does not depend on
    it.
    """
    if not _structlog_is_configured():
        return None
    try:
        return StructlogObserver()
    except Exception:  # structlog classes of the application may raise anything
        logging.getLogger("utcp").exception("structlog has made no logger: nothing is logged of this endpoint")
        return None


def log_event(event: str, **fields: object) -> None:
    """Log an event that does not come from a stack (see `utcp.trace.log`), if the application has configured
    structlog."""
    if _structlog_is_configured():
        try:
            log.log_event(event, **fields)
        except Exception:  # structlog classes of the application may raise anything
            logging.getLogger("utcp").exception("structlog has made no logger for %s", event)


def _structlog_is_configured() -> bool:
    structlog = sys.modules.get("structlog")
    return structlog is not None and structlog.is_configured()
