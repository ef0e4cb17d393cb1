"""How much may be in flight: controllers behind one interface, chosen by name (`Config.congestion_control`)."""

from utcp.config import CONTROLLERS
from utcp.tcp.congestion.base import CongestionController
from utcp.tcp.congestion.bbr import BBR
from utcp.tcp.congestion.cubic import Cubic
from utcp.tcp.congestion.newreno import NewReno

# Each is made with the effective MSS in octets and a seed. To plug in another, add it before a Config names it.
CONTROLLERS.update(bbr=BBR, cubic=Cubic, newreno=NewReno)


def controller(name: str, mss: int, seed: int = 0) -> CongestionController:
    """A new controller of that name; `seed` is all its randomness. Raises ValueError for a name nobody registered."""
    try:
        make = CONTROLLERS[name]
    except KeyError:
        known = ", ".join(sorted(CONTROLLERS))
        raise ValueError(f"congestion_control must be one of {known}, not {name!r}") from None
    made: CongestionController = make(mss, seed)
    return made


__all__ = ["BBR", "CONTROLLERS", "CongestionController", "Cubic", "NewReno", "controller"]
