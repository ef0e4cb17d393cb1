"""tshark reads captures of running programs and of simulated networks: TCP, whole, and with comments."""

import re
from pathlib import Path

import pytest

from tests.cli.running import running
from tests.independent import tshark
from tests.independent.tshark import GOOD, needs_tshark
from tests.testing.apps import ask
from tests.testing.hosts import pair
from utcp.testing import Network, NetworkCapture
from utcp.trace.comments import parse_comment

pytestmark = needs_tshark

COLUMNS = ("frame.time_epoch", "frame.encap_type", "ip.checksum.status", "tcp.checksum.status", "frame.comment")


def check(rows: list[tuple[str, ...]]) -> None:
    for time, _, ip, tcp, text in rows:
        assert re.fullmatch(r"\d+\.\d{9}", time), "not in nanoseconds"
        assert (ip, tcp) == (GOOD, GOOD)
        comment = parse_comment(text)
        assert comment["role"] in ("client", "server")
        assert comment["state"]
        assert comment["direction"] in ("in", "out")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_utcp_pcap(tmp_path: Path, loop: str) -> None:
    """A process captured from its start to its end: two whole connections, and nothing odd about them."""
    path = tmp_path / "program.pcapng"
    with running(tmp_path, loop, UTCP_PCAP=str(path)) as program:
        program.talk()
        program.end()
    rows = tshark.fields(path, *COLUMNS)
    check(rows)
    assert len({time for time, *_ in rows}) > 1
    assert tshark.stream(path) == (b"helloword", b"helloword")
    assert {flags for (flags,) in tshark.fields(path, "tcp.analysis.flags")} == {""}
    states = [parse_comment(row[-1])["state"] for row in rows]
    assert states[:2] == ["SYN_SENT", "SYN_RCVD"]
    assert "LAST_ACK" in states


def test_a_simulated_network(tmp_path: Path) -> None:
    """Retransmissions as tshark finds them are those that comments name, and what was lost was sent again."""
    net = Network(seed=3)
    _, client = pair(net, latency=0.02, bandwidth=1e7, loss=0.05)
    capture = NetworkCapture(net)

    async def scenario() -> None:
        await client.run(ask("server", bytes(200_000)))

    net.run(scenario())
    path = tmp_path / "run.pcapng"
    with path.open("wb") as file:
        capture.write(file)
    check(tshark.fields(path, *COLUMNS))
    again = tshark.fields(path, "frame.number", matching="tcp.analysis.retransmission || tcp.analysis.out_of_order")
    said = tshark.fields(path, "frame.number", matching='frame.comment contains " retransmission "')
    assert again == said
    assert len(said) > 5
    lost = tshark.fields(path, "frame.comment", matching='frame.comment contains "lost"')
    assert len(lost) == sum(not sent.arrivals for sent in net.trace) > 0
