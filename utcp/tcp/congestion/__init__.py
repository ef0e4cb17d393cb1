"""Congestion control: controllers with a common interface, selected by name (`Config.congestion_control`)."""

from utcp.config import CONTROLLERS
from utcp.tcp.congestion.base import HANDSHAKE, CongestionController, initial_window
from utcp.tcp.congestion.bbr import BBR
from utcp.tcp.congestion.cubic import Cubic
from utcp.tcp.congestion.newreno import NewReno

# Each is called with the effective send MSS in octets and a seed. Another controller must be added before a Config
# names it.
CONTROLLERS.update(bbr=BBR, cubic=Cubic, newreno=NewReno)


def controller(name: str, mss: int, seed: int = 0) -> CongestionController:
    """Return a new controller.

    Args:
        name: the name in `CONTROLLERS`.
        mss: the effective send MSS, octets.
        seed: the only source of randomness.

    Raises:
        ValueError: the name is not registered.
    """
    try:
        make = CONTROLLERS[name]
    except KeyError:
        known = ", ".join(sorted(CONTROLLERS))
        raise ValueError(f"congestion_control must be one of {known}, not {name!r}") from None
    made: CongestionController = make(mss, seed)
    return made


__all__ = [
    "BBR",
    "CONTROLLERS",
    "HANDSHAKE",
    "CongestionController",
    "Cubic",
    "NewReno",
    "controller",
    "initial_window",
]
