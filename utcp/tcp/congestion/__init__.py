"""Congestion control: controllers with a common interface, selected by name (`Config.congestion_control`)."""

from utcp.config import CONTROLLERS
from utcp.tcp.congestion.base import HANDSHAKE, CongestionController, initial_window
from utcp.tcp.congestion.bbr import BBR
from utcp.tcp.congestion.cubic import Cubic
from utcp.tcp.congestion.newreno import NewReno

# Each is called with the effective send MSS in octets and a seed. Another controller must be added before a Config
# names it.
CONTROLLERS.update(bbr=BBR, cubic=Cubic, newreno=NewReno)

__all__ = [
    "BBR",
    "CONTROLLERS",
    "HANDSHAKE",
    "CongestionController",
    "Cubic",
    "NewReno",
    "initial_window",
]
