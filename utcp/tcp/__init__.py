"""The protocol without I/O: it has no socket, clock or event loop, and no randomness except the given secret."""

from typing import Final

COMPILED: Final[bool] = not __file__.endswith(".py")
"""True if the package was compiled by mypyc (utcp/README.md, "Compiled")."""
