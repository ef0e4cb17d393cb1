"""SSH, PostgreSQL and Redis through a tunnel: the programs that people have, unchanged."""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.tunnel.processes import LOCAL, PATIENCE, tunnel

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
POSTGRES_USER = "postgres"


@contextmanager
def service(port: int, *command: str | Path) -> Iterator[None]:
    """Run a server until it is done with; it is ready when the port answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection((LOCAL, port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def run(*command: str | Path) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)  # noqa: S603
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")


@pytest.mark.skipif(SSHD is None or shutil.which("sftp") is None, reason="OpenSSH is not installed")
def test_ssh_and_sftp(tmp_path: Path) -> None:
    assert SSHD is not None
    ssh, sftp, keygen = (shutil.which(name) for name in ("ssh", "sftp", "ssh-keygen"))
    assert ssh is not None
    assert sftp is not None
    assert keygen is not None
    for name in ("host", "user"):
        run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name)
    (tmp_path / "authorized").write_bytes((tmp_path / "user.pub").read_bytes())
    port = free_port(socket.SOCK_STREAM)
    (tmp_path / "config").write_text(
        f"ListenAddress {LOCAL}:{port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd confines itself while nobody has logged in
    content = random.Random(2).randbytes(3_000_000)
    (tmp_path / "there").write_bytes(content)
    with service(port, SSHD, "-D", "-e", "-f", tmp_path / "config"), tunnel(port) as (near, _, users):
        options: list[str | Path] = ["-F", "none", "-i", tmp_path / "user", "-o", "BatchMode=yes"]
        options += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known"]
        destination = f"{getpass.getuser()}@{LOCAL}"
        assert run(ssh, *options, "-p", str(users), destination, "echo over utcp; exit 0") == "over utcp\n"
        (tmp_path / "batch").write_text(
            f"get {tmp_path}/there {tmp_path}/fetched\nput {tmp_path}/there {tmp_path}/stored\n"
        )
        run(sftp, *options, "-P", str(users), "-b", tmp_path / "batch", destination)
        assert (tmp_path / "fetched").read_bytes() == (tmp_path / "stored").read_bytes() == content
        assert near.end() == 0


@contextmanager
def directory_of(user: str) -> Iterator[Path]:
    """An empty directory that belongs to `user`, and that it can get to."""
    path = Path(tempfile.mkdtemp(prefix="utcp-"))
    try:
        if os.getuid() == 0:
            shutil.chown(path, user)
        yield path
    finally:
        shutil.rmtree(path)


@pytest.mark.skipif(not POSTGRES, reason="PostgreSQL is not installed")
def test_postgresql() -> None:
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed")
    programs = POSTGRES[-1]
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        runuser = shutil.which("runuser")
        if runuser is None:
            pytest.skip("PostgreSQL refuses root, and there is no runuser")
        as_user = [runuser, "-u", POSTGRES_USER, "--"]

    async def query(port: int) -> tuple[int, bytes]:
        connection = await asyncpg.connect(
            host=LOCAL, port=port, user=POSTGRES_USER, database="postgres", ssl=False, timeout=200
        )
        await connection.execute("CREATE TABLE octets (value bytea)")
        await connection.execute("INSERT INTO octets VALUES ($1)", bytes(range(256)) * 8000)
        total = await connection.fetchval("SELECT sum(number) FROM generate_series(1, 100000) AS number")
        value = await connection.fetchval("SELECT value FROM octets")
        await connection.close()
        return total, value

    port = free_port(socket.SOCK_STREAM)
    with directory_of(POSTGRES_USER) as data:
        options = ("-U", POSTGRES_USER, "-A", "trust", "--no-sync", "--no-instructions")
        run(*as_user, programs / "initdb", "-D", data, *options)
        server: list[str | Path] = [programs / "postgres", "-D", data, "-h", LOCAL, "-p", str(port), "-k", "", "-F"]
        with service(port, *as_user, *server), tunnel(port) as (near, _, users):
            total, value = asyncio.run(query(users))
            assert total == 5000050000
            assert value == bytes(range(256)) * 8000
            assert near.end() == 0


REDIS = shutil.which("redis-server")


@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
def test_redis() -> None:
    redis = pytest.importorskip("redis.asyncio", reason="redis is not installed")
    assert REDIS is not None

    async def use(port: int) -> None:
        async with asyncio.timeout(30), redis.Redis(host=LOCAL, port=port) as client:
            assert await client.set("greeting", "over utcp")
            assert await client.get("greeting") == b"over utcp"
            async with client.pipeline(transaction=False) as pipeline:
                for number in range(1000):
                    pipeline.set(f"key {number}", bytes([number % 256]) * 1000)
                    pipeline.get(f"key {number}")
                answers = await pipeline.execute()
            assert answers == [each for number in range(1000) for each in (True, bytes([number % 256]) * 1000)]
            async with client.pubsub() as subscriber:
                await subscriber.subscribe("news")
                assert await subscriber.get_message(timeout=100)
                assert await client.publish("news", "it works") == 1
                message = await subscriber.get_message(timeout=100)
                assert message is not None
                assert message["data"] == b"it works"

    port = free_port(socket.SOCK_STREAM)
    with (
        service(port, REDIS, "--port", str(port), "--bind", LOCAL, "--save", "", "--appendonly", "no"),
        tunnel(port) as (near, _, users),
    ):
        asyncio.run(use(users))
        assert near.end() == 0
