"""The objects that connections share until each needs one of its own. Nothing may change them, or all connections
change."""

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from utcp.tcp import receive_queue, send
from utcp.tcp.congestion import HANDSHAKE
from utcp.tcp.connection.ecn import WITHOUT_ECN
from utcp.tcp.connection.keepalive import NOT_STARTED
from utcp.tcp.connection.persist import NEVER_STARTED
from utcp.tcp.out_of_order import ALL_IN_ORDER
from utcp.tcp.pacing import UNPACED
from utcp.tcp.recovery import scoreboard

OBJECTS: Final = (WITHOUT_ECN, NEVER_STARTED, NOT_STARTED, UNPACED, HANDSHAKE, ALL_IN_ORDER)
LISTS: Final[tuple[list[Any], ...]] = (
    send._NO_CHUNKS,
    send._NO_STARTS,
    receive_queue.NO_PIECES,
    scoreboard._NO_RUNS,
)
NAMES: Final = {
    shared: tuple(
        name
        for kind in type(shared).__mro__
        for name, member in vars(kind).items()
        if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)) and not name.startswith("__")
    )
    for shared in OBJECTS
}


def present() -> list[Any]:
    """The values of all of them."""
    return [(type(shared).__name__, name, getattr(shared, name)) for shared in OBJECTS for name in NAMES[shared]] + [
        (len(shared),) for shared in LISTS
    ]
