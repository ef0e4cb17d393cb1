"""The programs of tests/aio/side_by_side over a simulated kernel: what becomes of them is the same as over a real one.

Both run on asyncio's own transports, so that a difference is one of the sockets.
"""

import asyncio
import gc
import logging
import warnings
from typing import Final

import pytest

from tests.aio.side_by_side import table as tables
from tests.aio.side_by_side.cancelling import CANCELLING
from tests.aio.side_by_side.opening import OPENING
from tests.aio.side_by_side.serving import SERVING
from tests.aio.side_by_side.sides import Kernel
from tests.aio.side_by_side.sockets import SOCKETS
from tests.aio.side_by_side.streams import STREAMS
from tests.aio.side_by_side.table import Outcome, Row, Table, same
from tests.aio.side_by_side.transports import TRANSPORTS
from utcp.testing import Network

NO_IPV6: Final = "there is no IPv6"
NAMES: Final = "the resolver of the simulation knows the names of hosts and dotted addresses only"
NETWORK: Final = "a simulated network has no route, or no broadcast and multicast, for another reason"
OPTION: Final = "ConnectionSocket has no such option"
REAL: Final = "the program connects a socket that blocks"

DIFFERENCES: Final[dict[str, dict[str, str]]] = {
    "opening": {
        "host None": NO_IPV6,
        "host '::1'": NO_IPV6,
        "host '::'": NO_IPV6,
        "host '::ffff:127.0.0.1'": NO_IPV6,
        "host 'fe80::1'": NO_IPV6,
        "IPv6 only to a name of both": NO_IPV6,
        "family IPv6, address IPv4": NO_IPV6,
        "family IPv4, address IPv6": NO_IPV6,
        "local address of four parts": NO_IPV6,
        "host '127.1'": NAMES,
        f"host {'x' * 70!r}": NAMES,
        "host 'x..y'": NAMES,
        "port ()": NAMES,
        "proto UDP, name": NAMES,
        "proto 12345": NAMES,
        "flags 1 << 30": NAMES,
        "host '224.0.0.1'": NETWORK,
        "sock connected": REAL,
        "sock with ssl and no server_hostname": REAL,
        "sock with ssl": REAL,
    },
    "serving": {
        "host ''": NO_IPV6,
        "host '::1'": NO_IPV6,
        "host '::'": NO_IPV6,
        "host ('127.0.0.1', '::1')": NO_IPV6,
        "host [None]": NO_IPV6,
        "host 'fe80::1'": NO_IPV6,
        "host None": NO_IPV6,
        "family IPv6, host IPv4": NO_IPV6,
        "family IPv6, host None": NO_IPV6,
        "flags 0, host None": NO_IPV6,
        f"host {'x' * 70!r}": NAMES,
        "host a name, port -1": NAMES,
        "reuse_port, two servers": "one listener has a port, without SO_REUSEPORT",
        "close in the turn in which a client is told that it is connected": "the kernels' ACKs take another time",
    },
    "transports": {
        "open: write memoryview with gaps": "the octets are copied, so that gaps do no harm",
    },
    "sockets": {
        "get SOL_SOCKET SO_OOBINLINE": OPTION,
        "get SOL_SOCKET SO_OOBINLINE as octets": OPTION,
        "set SOL_SOCKET SO_OOBINLINE": OPTION,
        "get SOL_SOCKET SO_RCVLOWAT": OPTION,
        "get SOL_SOCKET SO_RCVLOWAT as octets": OPTION,
        "set SOL_SOCKET SO_RCVLOWAT": OPTION,
        "get IPPROTO_IP IP_TTL": OPTION,
        "get IPPROTO_IP IP_TTL as octets": OPTION,
        "set IPPROTO_IP IP_TTL": OPTION,
        "get of an unknown level": OPTION,
    },
}
"""The rows that differ, by table, and why. They need not differ on each Python and each machine."""


class Simulated(Kernel):
    """asyncio over a simulated kernel."""

    async def serve_both(self) -> int:
        _, port = await self.serve()
        return port


def outcome(row: Row, limit: float) -> Outcome:
    """Return what is seen of a program in a simulation of its own."""
    seen, stray = Outcome(), Outcome()
    log = tables._Log()
    logging.getLogger("asyncio").addHandler(log)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: tables._told(context, stray).append(tables._report(context)),
        )
        loop.getaddrinfo = tables._Resolver(loop)  # type: ignore[method-assign]  # a fake
        await tables._run_all([row], limit, Simulated, {row.name: seen})

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Network(max_time=10_000).run(main())
    finally:
        logging.getLogger("asyncio").removeHandler(log)
    seen.told = sorted(seen.told + stray.told)
    return seen


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # programs forget transports on purpose
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "table", [OPENING, SERVING, TRANSPORTS, STREAMS, CANCELLING, SOCKETS], ids=lambda table: table.name
)
def test_a_simulated_kernel_does_what_the_real_one_does(table: Table) -> None:
    real = table.outcomes("kernel", "asyncio")
    meant = DIFFERENCES.get(table.name, {})
    assert meant.keys() <= table.rows.keys()
    different = {}
    for name, row in table.rows.items():
        if name in meant:
            continue
        ours, model = outcome(row, table.limit), real[name]
        if not same((ours.result, ours.told, ours.logged), (model.result, model.told, model.logged)):
            different[name] = ours.seen()[:3], model.seen()[:3]
    gc.collect()
    assert not different
