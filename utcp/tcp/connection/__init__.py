"""A connection: `Connection` for its user, and the room behind it."""

from utcp.tcp.connection.connection import Connection

__all__ = ["Connection"]
