"""What happened: structured log events (`log`), ladder diagrams (`ladder`), several observers as one (`tee`)."""

import sys

from utcp.tcp.observer import Observer


def default_observer() -> Observer | None:
    """An observer that logs to the structlog that the application has configured; None when it has configured none.

    Asked when an endpoint is made. Neither imports nor configures structlog: `import utcp` stays free of it.
    """
    structlog = sys.modules.get("structlog")
    if structlog is None or not structlog.is_configured():
        return None
    from utcp.trace.log import StructlogObserver  # here, because it imports structlog

    return StructlogObserver()
