"""Several observers where an endpoint takes one."""

from utcp.tcp.observer import Tee

__all__ = ["Tee"]
