"""asyncssh over utcp: commands and files, both ways."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, transports_of

pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'integrations'")

import asyncssh

from utcp.integrations.asyncssh import UtcpTunnel

pytestmark = pytest.mark.usefixtures("nothing_left")

SIZE = 2 << 20
HOST = "127.0.0.1"


class Open(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        return False


async def run_command(process: Any) -> None:
    """`sum` says the digest of its input, `say N` says N octets."""
    command, _, argument = process.command.partition(" ")
    if command == "sum":
        process.stdout.write(hashlib.sha256(await process.stdin.read()).hexdigest().encode())
    elif command == "say":
        process.stdout.write(bytes(range(256)) * (int(argument) // 256))
        process.stderr.write(b"said it")
    process.exit(0 if command in ("sum", "say") else 127)


@pytest.fixture(scope="module")
def key() -> Any:
    return asyncssh.generate_private_key("ssh-ed25519")


@asynccontextmanager
async def served(key: Any, tmp_path: Path, tunnel: UtcpTunnel, port: int = 0) -> AsyncIterator[int]:
    """The port of an SSH server over utcp, whose files are in `tmp_path`."""

    def sftp(channel: Any) -> Any:
        return asyncssh.SFTPServer(channel, chroot=os.fsencode(tmp_path))

    acceptor = await asyncssh.listen(
        HOST,
        port,
        tunnel=tunnel,
        server_factory=Open,
        server_host_keys=[key],
        process_factory=run_command,
        sftp_factory=sftp,
        allow_scp=True,
        encoding=None,
    )
    async with acceptor:
        yield acceptor.get_port()


def connect(key: Any, port: int, tunnel: UtcpTunnel) -> Any:
    trusted = asyncssh.import_public_key(key.export_public_key())
    return asyncssh.connect(
        HOST, port, tunnel=tunnel, username="guest", config=None, client_keys=None, agent_path=None,
        known_hosts=([trusted], [], []),
    )  # fmt: skip


async def test_commands(key: Any, tmp_path: Path) -> None:
    tunnel = UtcpTunnel(config=FAST)
    data = os.urandom(SIZE)
    async with served(key, tmp_path, tunnel) as port, connect(key, port, tunnel) as client:
        assert client.get_extra_info("utcp").state == "ESTABLISHED"
        assert client.get_extra_info("peername") == (HOST, port)
        done = await client.run("sum", input=data, encoding=None, check=True)
        assert done.stdout == hashlib.sha256(data).hexdigest().encode()
        done = await client.run(f"say {SIZE}", encoding=None, check=True)
        assert done.stdout == bytes(range(256)) * (SIZE // 256)
        assert done.stderr == b"said it"
        assert (await client.run("nonsense")).exit_status == 127


async def test_files(key: Any, tmp_path: Path) -> None:
    tunnel = UtcpTunnel(config=FAST)
    (tmp_path / "served").mkdir()
    ours, theirs, back = tmp_path / "ours", tmp_path / "served" / "theirs", tmp_path / "back"
    ours.write_bytes(os.urandom(SIZE))
    async with served(key, tmp_path / "served", tunnel) as port, connect(key, port, tunnel) as client:
        async with client.start_sftp_client() as sftp:
            await sftp.put(str(ours), "theirs")
            assert theirs.read_bytes() == ours.read_bytes()
            assert "theirs" in await sftp.listdir()
            await sftp.get("theirs", str(back))
        assert back.read_bytes() == ours.read_bytes()
        await asyncssh.scp((client, "theirs"), str(tmp_path / "copied"))
        assert (tmp_path / "copied").read_bytes() == ours.read_bytes()


async def test_a_tunnel_within(key: Any, tmp_path: Path) -> None:
    """Port forwarding: the connection within is SSH's, the one without utcp's."""
    tunnel = UtcpTunnel(config=FAST)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    class Forwards(Open):
        def connection_requested(self, *_: Any) -> bool:
            return True

    kernel = await asyncio.start_server(echo, HOST, 0)
    acceptor = await asyncssh.listen(HOST, 0, tunnel=tunnel, server_factory=Forwards, server_host_keys=[key])
    async with kernel, acceptor, connect(key, acceptor.get_port(), tunnel) as client:
        reader, writer = await client.open_connection(*kernel.sockets[0].getsockname())
        writer.write(bytes(100_000))
        writer.write_eof()
        assert await reader.read() == bytes(100_000)
        writer.close()
        await writer.wait_closed()


async def test_reverse(key: Any, tmp_path: Path) -> None:
    """The SSH server connects, the SSH client listens."""
    tunnel = UtcpTunnel(config=FAST)
    connected: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    trusted = asyncssh.import_public_key(key.export_public_key())
    acceptor = await asyncssh.listen_reverse(
        HOST, 0, tunnel=tunnel, username="guest", config=None, client_keys=None, agent_path=None,
        known_hosts=([trusted], [], []), acceptor=connected.set_result,
    )  # fmt: skip
    async with acceptor:
        server = await asyncssh.connect_reverse(
            HOST, acceptor.get_port(), tunnel=tunnel, server_factory=Open, server_host_keys=[key],
            process_factory=run_command, encoding=None,
        )  # fmt: skip
        async with server, await connected as client:
            done = await client.run("sum", input=b"x", encoding=None, check=True)
            assert done.stdout == hashlib.sha256(b"x").hexdigest().encode()


async def test_on_an_endpoint(key: Any, tmp_path: Path) -> None:
    """Client and server on endpoints of their own, the server at the utcp port 22 of it."""
    async with utcp.Endpoint((HOST, 0), config=FAST) as ours, utcp.Endpoint((HOST, 0), config=FAST) as theirs:
        port = theirs.address[1]
        async with (
            served(key, tmp_path, UtcpTunnel(endpoint=theirs), port),
            connect(key, port, UtcpTunnel(endpoint=ours)) as client,
        ):
            assert client.get_extra_info("udp_sockname") == ours.address
            assert (await client.run("sum", input=b"x", encoding=None)).exit_status == 0
            client.close()
            await client.wait_closed()


async def test_nobody_listens(key: Any) -> None:
    async with utcp.Endpoint((HOST, 0)) as endpoint:
        with pytest.raises(ConnectionRefusedError):
            await connect(key, endpoint.address[1], UtcpTunnel())


async def test_a_server_that_goes_away(key: Any, tmp_path: Path) -> None:
    async with utcp.Endpoint((HOST, 0), config=FAST) as theirs:
        port = theirs.address[1]
        async with (
            served(key, tmp_path, UtcpTunnel(endpoint=theirs), port),
            connect(key, port, UtcpTunnel(config=FAST)) as client,
        ):
            for transport in transports_of(theirs):
                transport.abort()
            with pytest.raises(asyncssh.ChannelOpenError, match="SSH connection closed"):
                await client.run("sum", input=b"x")


async def test_both_ways_to_say_where(key: Any) -> None:
    endpoint = utcp.Endpoint()
    with pytest.raises(ValueError, match="config and endpoint can not be specified at the same time"):
        UtcpTunnel(config=FAST, endpoint=endpoint)
