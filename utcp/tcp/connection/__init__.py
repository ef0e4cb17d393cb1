"""A connection: `Connection` for its user, and the modules that implement it."""

from utcp.tcp.connection.connection import Connection

__all__ = ["Connection"]
