"""The attacker's process: `python -m tests.hostile.attacker ORDERS`, JSON of the fields of `Orders`.

It prepares the attack and says so by a line; a line of standard input begins it; a line says how much it was.
"""

import json
import sys
from dataclasses import asdict, dataclass

from tests.hostile.attacks import BY_NAME, Attacker, Victim
from tests.hostile.forge import Forge, Stack, address
from tests.hostile.services import UDP_PORT
from tests.hostile.wires import RawWire, UdpWire, Wire


@dataclass(frozen=True, slots=True)
class Orders:
    """What to attack. Without an interface the attacker has only a UDP socket bound to `own`."""

    attack: str
    stack: Stack
    server: str
    own: str
    victim: tuple[str, int, int]
    """Host, UDP port, TCP port."""
    seconds: float
    scale: float = 1.0
    interface: str | None = None
    server_mac: str = ""

    def text(self) -> str:
        """As the process takes it."""
        return json.dumps(asdict(self))


def main(orders: Orders) -> None:
    """Prepare, wait for the word, attack."""
    wire: Wire
    if orders.interface is None:
        wire = UdpWire(orders.own, (orders.server, UDP_PORT))
    else:
        mac = bytes.fromhex(orders.server_mac.replace(":", ""))
        wire = RawWire(orders.interface, mac, address(orders.own))
    host, udp_port, port = orders.victim
    attacker = Attacker(
        Forge(orders.stack, address(orders.server), UDP_PORT),
        wire,
        address(orders.own),
        Victim(address(host), udp_port, port),
        orders.seconds,
        orders.scale,
    )
    carry_out = BY_NAME[orders.attack].begin(attacker)
    print("{}", flush=True)  # noqa: T201  # the answer to whoever waits for it
    sys.stdin.readline()
    print(json.dumps(carry_out()), flush=True)  # noqa: T201
    wire.close()


if __name__ == "__main__":
    main(Orders(**json.loads(sys.argv[1])))
