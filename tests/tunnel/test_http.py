"""HTTP through a tunnel of real processes: large, over a lossy path; and very many at once."""

import asyncio
import hashlib
import resource
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.tunnel.processes import LOCAL, listen, lossy_path, reverse, serve, tunnel
from tests.tunnel.web import MEBIBYTE, body, web

CURL = shutil.which("curl")
USERS = 1000


def fetch(port: int, path: str, to: Path) -> None:
    assert CURL is not None
    url = f"http://{LOCAL}:{port}/{path}"
    subprocess.run([CURL, "--silent", "--show-error", "--fail", "-m", "100", "-o", str(to), url], check=True)  # noqa: S603


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("loop", "mtu", "congestion_control", "mebibytes"),
    # Several times what the buffers of all connections on the way hold. On loopback as it is, 32 MiB are no more than
    # 500 packets.
    [("asyncio", 9000, "cubic", 32), ("uvloop", 9000, "cubic", 32), ("uvloop", 1500, "bbr", 16)],
)
def test_a_large_file_over_a_path_that_drops_2_percent(
    loop: str, mtu: int, congestion_control: str, mebibytes: int, tmp_path: Path
) -> None:
    octets = mebibytes * MEBIBYTE
    options = ("--mtu", str(mtu), "--loop", loop, "--congestion-control", congestion_control)
    with (
        web() as service,
        serve(service.port, *options) as far,
        lossy_path(far.port("UDP"), loss=0.02, seed=6) as (relay_port, relay),
        listen(relay_port, *options) as near,
    ):
        fetch(near.port(), str(octets), tmp_path / "fetched")
        relay.terminate()
        passed, dropped = map(int, relay.communicate()[0].split())
    fetched = (tmp_path / "fetched").read_bytes()
    assert hashlib.sha256(fetched).digest() == hashlib.sha256(body(octets)).digest()
    assert passed > octets / mtu
    assert 0.012 < dropped / (passed + dropped) < 0.028


async def ask(port: int, number: int) -> tuple[int, bytes]:
    """The body that a user gets."""
    reader, writer = await asyncio.open_connection(LOCAL, port)
    writer.write(b"GET /together/%d HTTP/1.1\r\nHost: tunnel\r\n\r\n" % (1000 + number))
    head, _, data = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 200 ")
    return number, data


@pytest.mark.parametrize("way", ["forward", "reverse"])
def test_a_thousand_requests_at_once(way: str) -> None:
    """Each is answered only when all have come, so they are open all at once."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < 3 * USERS:
        pytest.skip(f"too few descriptors: ulimit -n is {limit}")

    async def ask_all(port: int) -> list[tuple[int, bytes]]:
        async with asyncio.timeout(60):
            return await asyncio.gather(*(ask(port, number) for number in range(USERS)))

    with ExitStack() as stack:
        service = stack.enter_context(web(gathering=USERS))
        near, _, port = stack.enter_context((tunnel if way == "forward" else reverse)(service.port, "-v"))
        answers = asyncio.run(ask_all(port))
        assert service.most_at_once == USERS
        assert [number for number, _ in answers] == list(range(USERS))
        assert all(data == body(1000 + number) for number, data in answers)
        assert near.end() == 0
        assert sum("joined" in line for line in near.lines) == USERS
        assert sum("bytes, closed" in line for line in near.lines) == USERS
