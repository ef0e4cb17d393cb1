"""The Python on README.md, and on the pages of utcp, the tests and the examples, works as pasted."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.examples.test_examples import SLOW_CALLBACK
from tests.ports import free_port
from utcp import ConnectionInfo, Endpoint

STRICT = [sys.executable, "-X", "dev", "-W", "error", "-c"]
README = Path(__file__).parent.parent / "README.md"
GUIDE = README.with_name("utcp") / "README.md"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def snippets(readme: Path = README) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)


def start(server_code: str, port: int) -> subprocess.Popen[str]:
    """The server, once its socket is there: before, the kernel refuses by ICMP whoever comes."""
    server = subprocess.Popen([*STRICT, server_code], stderr=subprocess.PIPE, text=True)  # noqa: S603
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", port))
        refused = True
        while refused and server.poll() is None:
            try:
                probe.send(b"")
                time.sleep(0.01)
                refused = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
            except ConnectionRefusedError:
                pass
    return server


def test_the_server_and_the_client_talk() -> None:
    port = free_port()
    server_code, client_code = (code.replace("9000", str(port)) for code in snippets()[:2])
    server = start(server_code, port)
    try:
        client = subprocess.run([*STRICT, client_code], capture_output=True, text=True, timeout=200)  # noqa: S603
        assert client.stdout == "HELLO\nYOU HAVE FINISHED, I HAVE NOT. NOW I HAVE.\n"
        assert SLOW_CALLBACK.sub("", client.stderr) == ""
        assert client.returncode == 0
        assert server.poll() is None
    finally:
        server.terminate()
        _, complaints = server.communicate(timeout=200)
    assert SLOW_CALLBACK.sub("", complaints) == ""
    assert server.returncode == 143


def test_one_interrupt_ends_the_server_though_a_client_is_idle() -> None:
    port = free_port()
    server_code = snippets()[0].replace("9000", str(port))
    idle = f"""
import asyncio, utcp
async def main():
    reader, writer = await utcp.open_connection("127.0.0.1", {port})
    print("open", flush=True)
    await reader.read()
asyncio.run(main())
"""
    server = start(server_code, port)
    client = subprocess.Popen([sys.executable, "-c", idle], stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "open\n"
        server.send_signal(signal.SIGINT)
        _, complaints = server.communicate(timeout=200)
        assert complaints.splitlines()[-1] == "KeyboardInterrupt"
    finally:
        for process in (server, client):
            process.kill()
            process.communicate()


async def test_what_there_is_to_look_into() -> None:
    """Each line names what there is: run it, and look at the values that its comments describe."""
    async with Endpoint(("127.0.0.1", 0)) as endpoint:
        accepted: asyncio.Queue[Streams] = asyncio.Queue()
        server = await endpoint.start_server(lambda *streams: accepted.put_nowait(streams))
        _, writer = await endpoint.open_connection("127.0.0.1", endpoint.address[1])
        names = {"writer": writer, "endpoint": endpoint}
        exec(snippets(GUIDE)[0], names)  # noqa: S102
        info = names["info"]
        assert isinstance(info, ConnectionInfo)
        assert info.state == "ESTABLISHED"
        assert 0 < info.rtt < info.rto
        _, other = await accepted.get()
        for each in (writer, other):
            each.close()
        server.close()


def test_the_logger_as_the_guide_configures_it() -> None:
    program = """
async def main():
    async with utcp.Endpoint(("127.0.0.1", 0)) as endpoint:
        try:
            await endpoint.open_connection("127.0.0.1", 9, udp_port=endpoint.address[1])
        except ConnectionRefusedError:
            pass

import asyncio, utcp
asyncio.run(main())
"""
    process = subprocess.run(  # noqa: S603  # our own interpreter and script
        [*STRICT, snippets(GUIDE)[1] + program], capture_output=True, text=True, timeout=200, check=True
    )
    events = re.findall("^([A-Z]+):utcp:(utcp[.a-z_]+) ", process.stderr, re.MULTILINE)
    assert ("INFO", "utcp.endpoint_opened") in events
    assert ("WARNING", "utcp.connection_refused") in events


def test_the_server_and_the_client_fit_on_twenty_lines() -> None:
    assert [len(code.splitlines()) <= 20 for code in snippets()[:2]] == [True, True]


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        (README.with_name("examples") / "README.md", slice(2, 3)),
        (README.with_name("tests") / "README.md", slice(0, 2)),
        (README.with_name("utcp") / "testing" / "README.md", slice(None)),
        (README.with_name("utcp") / "testing" / "TASKS.md", slice(None)),
    ],
)
def test_the_tests_on_the_page_pass(
    page: Path, blocks: slice, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    file = "\n\n".join(snippets(page)[blocks])
    passed = len(re.findall(r"^(?:async )?def test_", file, re.MULTILINE))
    assert passed
    pytester.makepyfile(file)
    pytester.runpytest_inprocess("-p", "pytest_aioutcp").assert_outcomes(passed=passed)


def examples() -> list[str]:
    return snippets(README.with_name("examples") / "README.md")


async def test_aiohttp_as_the_examples_page_has_it() -> None:
    web = pytest.importorskip("aiohttp.web", reason="aiohttp is not installed: it belongs to the integrations extra")
    names: dict[str, Any] = {}
    exec(examples()[0], names)  # noqa: S102

    async def hello(_: object) -> object:
        return web.Response(text="hello")

    app = web.Application()
    app.add_routes([web.get("/", hello)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    # The page says 8080, which may be taken here.
    exec(examples()[0].replace("8080", str(port)), names)  # noqa: S102
    await names["serve"](runner)
    assert await names["fetch"](f"http://127.0.0.1:{port}/") == "hello"
    await runner.cleanup()


def test_the_routed_loop_as_the_examples_page_has_it() -> None:
    names: dict[str, Any] = {}
    port = free_port()
    exec(examples()[1].replace("9000", str(port)), names)  # noqa: S102
    seen = []

    async def main() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        seen.append(writer.get_extra_info("utcp").state)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()

    names["run"](main())
    assert seen == ["ESTABLISHED"]


LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)|(?:src|href)=\"([^\"#]*)(?:#([^\"]*))?\"")


@pytest.mark.parametrize(
    "page",
    [
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
        "CHANGELOG.md",
        "README.md",
        "utcp/API.md",
        "utcp/ARCHITECTURE.md",
        "utcp/LIMITS.md",
        "utcp/README.md",
        "utcp/RFCS.md",
        "utcp/TUNING.md",
        "utcp/lab/README.md",
        "utcp/tcp/README.md",
        "utcp/testing/README.md",
        "examples/README.md",
        "tests/README.md",
        "bench/README.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    """To files that are there, and to headings as GitHub makes anchors of them."""
    path = README.parent / page
    for match in LINK.finditer(path.read_text()):
        target, anchor = (match[1] or match[3] or ""), (match[2] or match[4])
        if target.startswith("https://"):
            continue
        file = path.parent / target if target else path
        assert file.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page}: {target}#{anchor}"
