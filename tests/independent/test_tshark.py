"""tshark reads captures of simulated runs: it must see what the applications saw, and nothing odd."""

from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest

from tests.independent import tshark
from tests.independent.runs import PORT, Talk, converse, listener, octets, speaker
from tests.independent.tshark import BAD, COMPLETE_WITH_DATA, GOOD, needs_tshark
from utcp.testing import NetworkCapture

pytestmark = needs_tshark

OVER_UDP = f"udp.port=={PORT},tcp"

FROM_CLIENT = octets(60_000, "client")
FROM_SERVER = octets(90_000, "server")

# Who closes first, and how: each a different way through the states.
CLOSES: dict[str, tuple[Talk, Talk]] = {
    "client first": (speaker(FROM_CLIENT), listener(FROM_SERVER)),
    "server first": (listener(FROM_CLIENT), speaker(FROM_SERVER)),
    "both at once": (speaker(FROM_CLIENT), speaker(FROM_SERVER)),
}

by_close = pytest.mark.parametrize("close", CLOSES)


@by_close
def test_a_clean_run_is_clean(tmp_path: Path, close: str) -> None:
    path = tmp_path / "clean.pcapng"
    run = converse(path, *CLOSES[close])
    assert run.heard == {"client": FROM_SERVER, "server": FROM_CLIENT}
    assert run.retransmissions == 0
    assert tshark.stream(path) == (FROM_CLIENT, FROM_SERVER)
    packets = tshark.fields(
        path, "ip.checksum.status", "tcp.checksum.status", "tcp.completeness", "tcp.analysis.flags", "tcp.flags.reset"
    )
    assert set(packets) == {(GOOD, GOOD, COMPLETE_WITH_DATA, "", "0")}
    assert len(packets) == sum(counters.out_segs for counters in run.counters.values())


@by_close
def test_tcp_in_udp_is_decoded_as_tcp(tmp_path: Path, close: str) -> None:
    path = tmp_path / "udp.pcapng"
    converse(path, *CLOSES[close], form="udp")
    assert tshark.stream(path, decode_as=OVER_UDP) == (FROM_CLIENT, FROM_SERVER)
    packets = tshark.fields(
        path,
        "ip.checksum.status",
        "udp.checksum.status",
        "tcp.checksum",
        "tcp.completeness",
        "tcp.analysis.flags",
        decode_as=OVER_UDP,
    )
    assert set(packets) == {(GOOD, GOOD, "0x0000", COMPLETE_WITH_DATA, "")}


@pytest.mark.parametrize("seed", range(8))
def test_retransmissions_are_those_that_the_stacks_counted(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "lossy.pcapng"
    close = list(CLOSES)[seed % len(CLOSES)]
    run = converse(path, *CLOSES[close], seed=seed, loss=0.05)
    assert run.heard == {"client": FROM_SERVER, "server": FROM_CLIENT}
    assert run.retransmissions
    assert tshark.stream(path) == (FROM_CLIENT, FROM_SERVER)
    # Captured where they were sent, segments are never out of order: what tshark takes for that was sent again, too.
    again = tshark.fields(path, "frame.number", matching="tcp.analysis.retransmission || tcp.analysis.out_of_order")
    assert len(again) == run.retransmissions
    packets = tshark.fields(path, "ip.checksum.status", "tcp.checksum.status", "tcp.completeness")
    assert set(packets) == {(GOOD, GOOD, COMPLETE_WITH_DATA)}


def test_the_trace_of_a_network_is_a_capture_too(tmp_path: Path) -> None:
    observed, traced = tmp_path / "observed.pcapng", tmp_path / "traced.pcapng"
    run = converse(observed, *CLOSES["client first"], seed=1, loss=0.05, duplicate=0.05)
    with traced.open("wb") as file:
        NetworkCapture(run.network).write(file)
    columns = ("frame.time_epoch", "ip.src", "tcp.srcport", "tcp.seq_raw", "tcp.checksum", "tcp.checksum.status")
    assert tshark.fields(traced, *columns) == tshark.fields(observed, *columns)
    comments = Counter(word for (comment,) in tshark.fields(traced, "frame.comment") for word in comment.split())
    paths = [run.network.path(*pair) for pair in permutations(run.network.hosts.values(), 2)]
    assert comments["lost"] == sum(path.counts["lost"] for path in paths) > 0
    assert comments["duplicated"] == sum(path.counts["duplicated"] for path in paths) > 0


def test_a_changed_octet_is_noticed(tmp_path: Path) -> None:
    """Not all that tshark reads is good to it."""
    path = tmp_path / "changed.pcapng"
    converse(path, speaker(b"some words"), listener(b"some others"))
    path.write_bytes(path.read_bytes().replace(b"some", b"Some"))
    statuses = Counter(tshark.fields(path, "ip.checksum.status", "tcp.checksum.status"))
    assert statuses[GOOD, BAD] == 2
