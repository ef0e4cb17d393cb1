"""uvicorn with `--loop MODULE:FACTORY`: the whole program unmodified, its loop from utcp.loop_factory()."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import utcp
from tests.aio.peers import FAST
from tests.examples.test_examples import ROOT

pytest.importorskip("uvicorn", reason="uvicorn comes with the extra 'integrations'")


@contextmanager
def serving(factory: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process of `uvicorn`, and its port."""
    module = "tests.integrations.routed_app"
    command = [sys.executable, "-m", "uvicorn", f"{module}:app", "--loop", f"{module}:{factory}", "--port", "0"]
    process = subprocess.Popen(  # noqa: S603  # our own command line
        [*command, "--lifespan", "off"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if running := re.search(r"Uvicorn running on http://127\.0\.0\.1:(\d+)", line):
                yield process, int(running[1])
                break
        else:
            raise AssertionError("".join(lines))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("factory", "base"), [("on_asyncio", "asyncio.unix_events"), ("on_uvloop", "uvloop")], ids=["asyncio", "uvloop"]
)
def test_a_request(factory: str, base: str) -> None:
    with serving(factory) as (process, port):

        async def ask() -> None:
            reader, writer = await utcp.open_connection("127.0.0.1", port, config=FAST)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            own_port = writer.get_extra_info("sockname")[1]
            assert f"\r\n{base} {own_port}\n".encode() in answer
            writer.close()
            await writer.wait_closed()

        asyncio.run(ask())
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=200)
        assert "Finished server process" in rest
        assert "Error" not in rest
        assert process.returncode in (0, -signal.SIGTERM)  # uvicorn passes the signal on when it is done
