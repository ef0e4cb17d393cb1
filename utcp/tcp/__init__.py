"""The protocol, sans-IO: no socket, no clock, no event loop, no randomness that it was not handed."""

from typing import Final

COMPILED: Final[bool] = not __file__.endswith(".py")
"""This is the variant that mypyc compiled (`UTCP_COMPILE=1 pip install .`), not the interpreted one."""
