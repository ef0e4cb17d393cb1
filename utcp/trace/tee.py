"""Combines several observers into one."""

from utcp.tcp.observer import Tee

__all__ = ["Tee"]
