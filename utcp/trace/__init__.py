"""What happened: log events (`log`), metrics (`prometheus`), ladders (`ladder`), captures written (`pcapng`) and read
(`capture_file`), plots (`plot`), several observers as one (`tee`)."""

import logging
import sys

from utcp.tcp.observer import Observer
from utcp.trace import log
from utcp.trace.log import StructlogObserver


def default_observer() -> Observer | None:
    """An observer that logs to the structlog that the application has configured; None when it has configured none.

    Asked when an endpoint starts. Neither imports nor configures structlog: `import utcp` stays free of it.
    """
    if not _structlog_is_configured():
        return None
    try:
        return StructlogObserver()
    except Exception:  # the application's classes may raise anything
        logging.getLogger("utcp").exception("structlog has made no logger: nothing is logged of this endpoint")
        return None


def log_event(event: str, **fields: object) -> None:
    """Log an event that no stack knows of (see `utcp.trace.log`), if the application has configured structlog."""
    if _structlog_is_configured():
        try:
            log.log_event(event, **fields)
        except Exception:  # the application's classes may raise anything
            logging.getLogger("utcp").exception("structlog has made no logger for %s", event)


def _structlog_is_configured() -> bool:
    structlog = sys.modules.get("structlog")
    return structlog is not None and structlog.is_configured()
