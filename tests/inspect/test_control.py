"""The control socket: who may, what it tells, and that nobody is the worse for it."""

import asyncio
import errno
import logging
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import utcp
from tests.aio.peers import started
from tests.inspect.callers import controls, table
from utcp.inspect.control_path import default_directory
from utcp.inspect.loop import open_control
from utcp.link.udp import UdpLink
from utcp.testing import Network


def inside(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


# ------------------------------------------------------------------ the socket


async def test_an_endpoint_opens_it_for_itself_and_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.sock"
    async with utcp.Endpoint(("127.0.0.1", 0), control=path) as endpoint, utcp.Endpoint(("127.0.0.1", 0)):
        found = path.lstat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
        (row,) = await table(path)
        assert (row["type"], row["host"], row["udp_port"]) == ("endpoint", "127.0.0.1", endpoint.address[1])
        assert row["snmp"]["TcpActiveOpens"] == 0
    assert not path.exists()
    assert controls() == []


async def test_endpoints_that_name_the_same_path_share_it(tmp_path: Path) -> None:
    path = tmp_path / "shared.sock"
    first = await utcp.Endpoint(("127.0.0.1", 0), control=path).start()
    second = await utcp.Endpoint(("127.0.0.1", 0), control=str(path)).start()
    assert [row["udp_port"] for row in await table(path)] == [first.address[1], second.address[1]]
    await first.aclose()
    assert [row["udp_port"] for row in await table(path)] == [second.address[1]]
    await second.aclose()
    assert not path.exists()


async def test_one_is_opened_for_all_endpoints_of_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "all.sock"
    async with utcp.Endpoint(("127.0.0.1", 0)) as present:
        opened = open_control(path)
        assert open_control(path) is opened
        assert opened.path == str(path)
        async with utcp.Endpoint(("127.0.0.1", 0)) as later:
            assert [row["udp_port"] for row in await table(path)] == [present.address[1], later.address[1]]
    assert await table(path) == []  # it stays without endpoints, until it is closed
    opened.close()
    opened.close()
    assert not path.exists()
    assert controls() == []


async def test_a_directory_stands_for_a_file_of_the_process_in_it(tmp_path: Path) -> None:
    new = f"{tmp_path}/new/"
    for name in (str(tmp_path), new):
        async with utcp.Endpoint(("127.0.0.1", 0), control=name):
            path = Path(name) / f"{os.getpid()}.sock"
            assert len(await table(path)) == 1
        assert not path.exists()
    assert mode_of(new) == 0o700


async def test_loops_of_one_process_have_a_file_each(tmp_path: Path) -> None:
    def other_loop() -> list[str]:
        async def main() -> list[str]:
            async with utcp.Endpoint(("127.0.0.1", 0), control=tmp_path):
                return inside(tmp_path)

        return asyncio.run(main())

    async with utcp.Endpoint(("127.0.0.1", 0), control=tmp_path):
        assert await asyncio.to_thread(other_loop) == [f"{os.getpid()}-2.sock", f"{os.getpid()}.sock"]
    assert inside(tmp_path) == []


async def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert default_directory() == Path(f"/tmp/utcp-{os.getuid()}")  # noqa: S108
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_directory() == tmp_path / "utcp"
    async with utcp.Endpoint(("127.0.0.1", 0), control=True):
        assert len(await table(tmp_path / "utcp" / f"{os.getpid()}.sock")) == 1
        assert mode_of(tmp_path / "utcp") == 0o700


@pytest.mark.parametrize("trap", ["writable", "link"])
async def test_a_default_directory_that_others_could_have_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = tmp_path / "utcp"
    if trap == "writable":
        directory.mkdir()
        directory.chmod(0o777)
    else:
        (tmp_path / "elsewhere").mkdir()
        directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"must belong to you|is not a directory"):
        await utcp.Endpoint(("127.0.0.1", 0), control=True).start()


async def test_what_killed_processes_left_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "utcp").mkdir(mode=0o700)
    stale, other = tmp_path / "utcp" / f"{os.getpid()}.sock", tmp_path / "utcp" / "1.sock"
    for path in (stale, other):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    async with utcp.Endpoint(("127.0.0.1", 0), control=stale):
        assert len(await table(stale)) == 1
    assert other.exists()  # in a directory that is ours alone they are swept out
    async with utcp.Endpoint(("127.0.0.1", 0), control=True):
        assert inside(tmp_path / "utcp") == [stale.name]


async def test_the_socket_of_a_running_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "taken.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        with pytest.raises(utcp.AddressInUse, match=f"{path} is in use by a running process"):
            await utcp.Endpoint(("127.0.0.1", 0), control=path).start()
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("no/such/directory.sock", errno.ENOENT, "No such file or directory"),
        ("file", errno.EEXIST, "is not a socket"),
        ("x" * 200, errno.EINVAL, "too long"),
    ],
)
async def test_what_cannot_be_opened_is_an_os_error_that_names_it(
    tmp_path: Path, name: str, code: int, reason: str
) -> None:
    (tmp_path / "file").write_text("precious")
    endpoint = utcp.Endpoint(("127.0.0.1", 0), control=tmp_path / name)
    with pytest.raises(OSError, match=reason) as caught:
        await endpoint.start()
    assert caught.value.errno == code
    assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / "file").read_text() == "precious"
    assert controls() == []


async def test_an_endpoint_without_the_socket_that_it_asks_for_leaves_nothing(tmp_path: Path) -> None:
    link = UdpLink.bind(socket.AF_INET, ("127.0.0.1", 0))
    endpoint = utcp.Endpoint(control=tmp_path / "no" / "directory.sock")
    with pytest.raises(FileNotFoundError):
        endpoint.run(link)
    assert link.fileno() == -1
    assert not endpoint.started
    assert not started()


async def test_an_empty_path_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        open_control("")


async def test_the_file_of_another_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    async with utcp.Endpoint(("127.0.0.1", 0), control=path):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


def test_simulated_hosts_have_none(tmp_path: Path, simnet: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_CONTROL", str(tmp_path))
    monkeypatch.setenv("UTCP_PCAP", str(tmp_path / "x.pcapng"))

    async def scenario() -> None:
        async with utcp.Endpoint():
            assert inside(tmp_path) == []
        with pytest.raises(RuntimeError, match="NetworkCapture"):
            await utcp.Endpoint(control=tmp_path).start()

    simnet.run(scenario())


# ------------------------------------------------------------------ the environment


async def test_the_environment_opens_one_for_all_of_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "program.sock"
    monkeypatch.setenv("UTCP_CONTROL", str(path))

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await utcp.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, writer = await utcp.open_connection("127.0.0.1", port)
    rows = await table(path)
    assert [row.get("role", row["type"]) for row in rows] == ["endpoint", "listener", "server", "endpoint", "client"]
    writer.close()
    await writer.wait_closed()
    server.close()
    for opened in controls():
        opened.close()


def test_the_environments_goes_with_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_CONTROL", str(tmp_path / "program.sock"))

    async def main() -> None:
        async with utcp.Endpoint(("127.0.0.1", 0)):
            pass
        assert (tmp_path / "program.sock").exists()

    asyncio.run(main())
    assert not (tmp_path / "program.sock").exists()


async def test_what_the_environment_asks_in_vain_is_a_warning_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UTCP_CONTROL", str(tmp_path / "missing" / "x.sock"))
    for _ in range(2):
        async with utcp.Endpoint(("127.0.0.1", 0)):
            pass
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("utcp", logging.WARNING)
    assert record.getMessage().startswith("UTCP_CONTROL: cannot open the control socket")


def test_the_socket_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    program = (
        "import asyncio, os, utcp\n"
        "async def main():\n"
        f"    async with utcp.Endpoint(('127.0.0.1', 0), control={str(path)!r}):\n"
        "        os._exit(9)\n"
        "asyncio.run(main())\n"
    )
    for _ in range(2):
        finished = subprocess.run([sys.executable, "-c", program], timeout=200)  # noqa: S603
        assert finished.returncode == 9
        assert path.exists()
