"""README.md's Python works as pasted, and that of the tests' own README.md."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def snippets(readme: Path = README) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_server_and_the_client_talk() -> None:
    server_code, client_code = (code.replace("9000", str(port)) for port in [free_udp_port()] for code in snippets())
    server = subprocess.Popen([sys.executable, "-c", server_code], stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        # The client may come first: its SYN is sent again until the server is there.
        client = subprocess.run(  # noqa: S603
            [sys.executable, "-W", "error", "-c", client_code], capture_output=True, text=True, timeout=60
        )
        assert client.stdout == "HELLO\nYOU HAVE FINISHED, I HAVE NOT. NOW I HAVE.\n"
        assert client.stderr == ""
        assert client.returncode == 0
        assert server.poll() is None
    finally:
        server.terminate()
        _, complaints = server.communicate(timeout=60)
    assert complaints == ""


def test_one_interrupt_ends_the_server_though_a_client_is_idle() -> None:
    port = free_udp_port()
    server_code = snippets()[0].replace("9000", str(port))
    idle = f"""
import asyncio, utcp
async def main():
    reader, writer = await utcp.open_connection("127.0.0.1", {port})
    print("open", flush=True)
    await reader.read()
asyncio.run(main())
"""
    server = subprocess.Popen([sys.executable, "-c", server_code], stderr=subprocess.PIPE, text=True)  # noqa: S603
    client = subprocess.Popen([sys.executable, "-c", idle], stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "open\n"
        server.send_signal(signal.SIGINT)
        _, complaints = server.communicate(timeout=20)
        assert complaints.splitlines()[-1] == "KeyboardInterrupt"
    finally:
        for process in (server, client):
            process.kill()
            process.communicate()


def test_each_fits_on_twenty_lines() -> None:
    assert [len(code.splitlines()) <= 20 for code in snippets()] == [True, True]


def test_the_packet_traces_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("\n\n".join(snippets(Path(__file__).with_name("README.md"))))
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
