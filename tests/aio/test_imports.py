"""`import utcp` imports what a running loop will need: an import there would block all that the loop serves."""

import subprocess
import sys
from pathlib import Path

import pytest

import utcp
from tests.certificates import authority, certificate

SOURCE = Path(utcp.__file__).parents[1]

PROGRAM = """
import asyncio, os, ssl, sys
import structlog, uvloop
import utcp

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # log events are made
contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=os.environ["AUTHORITY"])
contexts[0].load_cert_chain(os.environ["CERTIFICATE"])

async def echo(reader, writer):
    writer.write(await reader.read())
    writer.close()

async def main():
    await asyncio.sleep(0)
    before = set(sys.modules)
    for tls in (False, True):
        server = await utcp.start_server(echo, "127.0.0.1", 0, ssl=contexts[0] if tls else None)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await utcp.open_connection("localhost", port, ssl=contexts[1] if tls else None)
        writer.get_extra_info("utcp"), writer.get_extra_info("peername"), repr(writer.transport)
        writer.write(b"hello")
        if not tls:
            writer.write_eof()
            assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
        server.close()
        server.close_clients()
        await server.wait_closed()
    for failing in (utcp.open_connection("127.0.0.1", 0), utcp.open_connection("127.0.0.1", port)):
        try:
            reader, writer = await failing
        except OSError:
            pass
    async with utcp.Endpoint(("localhost", 0), control=os.environ["SOCKET"]) as endpoint:
        reader, writer = await asyncio.open_unix_connection(os.environ["SOCKET"])
        writer.write(b'{"request": "table"}\\n')
        await reader.read()
        writer.close()
    print(*sorted(set(sys.modules) - before))

with asyncio.Runner(loop_factory={"asyncio": None, "uvloop": uvloop.new_event_loop}[sys.argv[1]]) as runner:
    runner.run(main())
"""


@pytest.mark.defect(72)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_opening_in_a_running_loop_imports_nothing(loop: str, tmp_path: Path) -> None:
    """Nor does TLS, a name to be looked up, an error, a log event, a capture, or a control socket."""
    environment = {
        "PYTHONPATH": str(SOURCE),
        "UTCP_PCAP": str(tmp_path / "run.pcapng"),
        "UTCP_CONTROL": str(tmp_path / "all.sock"),
        "SOCKET": str(tmp_path / "one.sock"),
        "AUTHORITY": str(tmp_path / "authority.pem"),
        "CERTIFICATE": str(tmp_path / "certificate.pem"),
    }
    authority("ours").cert_pem.write_to_path(environment["AUTHORITY"])
    certificate("localhost").private_key_and_cert_chain_pem.write_to_path(environment["CERTIFICATE"])
    process = subprocess.run(  # noqa: S603  # our own interpreter and script
        [sys.executable, "-W", "error", "-c", PROGRAM, loop],
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert process.stderr == ""
    assert process.stdout == "\n"


@pytest.mark.defect(72)
def test_importing_utcp_leaves_alone_what_it_does_not_need() -> None:
    others = {"structlog", "rich", "click", "uvloop", "utcp.testing"}
    script = f"import sys, utcp; print(*sorted(sys.modules.keys() & {others}))"
    process = subprocess.run(  # noqa: S603  # our own interpreter and script
        [sys.executable, "-c", script], cwd=SOURCE, capture_output=True, text=True, check=True, timeout=200
    )
    assert process.stdout == "\n"
