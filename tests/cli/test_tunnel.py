"""`utcp tunnel`: keys, and whatever can be wrong with what it is told. Tunnels at work are in tests/tunnel."""

import os
import socket
import sys
from pathlib import Path

import pytest

from tests.certificates import certificate
from tests.tunnel.processes import started
from utcp.cli import main

SERVE = ["tunnel", "serve", "127.0.0.1:0", "--forward", "127.0.0.1:80"]
LISTEN = ["tunnel", "listen", "0", "--to", "127.0.0.1:9000"]
REVERSE = ["tunnel", "serve", "127.0.0.1:0", "--reverse", "0"]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, in one line."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("utcp tunnel")
    return printed.err


@pytest.mark.defect(98)
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["tunnel", "dance"], "No such command 'dance'"),
        (["tunnel", "listen", "65536", "--to", "127.0.0.1:9000"], "'65536' is not a port, 0 to 65535"),
        (["tunnel", "listen", "http", "--to", "127.0.0.1:9000"], "'http' is not a port"),
        (["tunnel", "listen", "8080"], "Missing option '--to'"),
        (["tunnel", "listen", "8080", "--to", "9000"], "'9000' is not HOST:PORT"),
        (["tunnel", "listen", "8080", "--to", "::1:9000"], "an IPv6 address in brackets"),
        (["tunnel", "listen"], "Missing argument"),
        (["tunnel", "serve", "9000"], "either --forward HOST:PORT or --reverse PORT"),
        ([*SERVE, "--reverse", "8080"], "either --forward HOST:PORT or --reverse PORT"),
        (["tunnel", "expose", "127.0.0.1:80"], "Missing option '--to'"),
        ([*LISTEN, "--grace", "-1"], "'-1' is not a number of seconds"),
        ([*LISTEN, "--connect-timeout", "soon"], "'soon' is not a number of seconds"),
        ([*LISTEN, "--mtu", "100"], "100 is not in the range"),
        ([*LISTEN, "--congestion-control", "vegas"], "'vegas' is not one of"),
        ([*LISTEN, "--loop", "trio"], "'trio' is not one of"),
        ([*LISTEN, "--key-file", "no-such-file"], "File 'no-such-file' does not exist"),
        ([*LISTEN, "--tls-ca", "no-such-file"], "File 'no-such-file' does not exist"),
        ([*SERVE, "--tls-cert", "no-such-file"], "File 'no-such-file' does not exist"),
        ([*LISTEN, "--server-name", "example.org"], "--server-name needs --tls or --tls-ca"),
        ([*LISTEN, "--tls-cert", __file__], "--tls-cert needs --tls or --tls-ca"),
        ([*LISTEN, "--tls", "--tls-key", __file__], "--tls-key needs --tls-cert"),
        ([*SERVE, "--tls-ca", __file__], "--tls-ca needs --tls-cert"),
        ([*LISTEN, "--tls", "--server-name", ".example.org"], "'.example.org' is not a host's name"),
        ([*LISTEN, "--tls", "--key-file", __file__], "--key-file and --tls do not go together"),
        ([*REVERSE, "--tls-cert", __file__], "--reverse with --tls-cert needs --tls-ca"),
        (
            ["tunnel", "serve", "9000", "--forward", "127.0.0.1:80"],
            "everyone who reaches the UDP port could use the tunnel",
        ),
        (["tunnel", "serve", "9000", "--reverse", "8080"], "everyone who reaches the UDP port could use the tunnel"),
        (
            ["tunnel", "serve", "127.example.org:9000", "--forward", "127.0.0.1:80"],
            "everyone who reaches the UDP port could use the tunnel",
        ),
        (["tunnel", "listen", "0", "--to", "127.0.0.1:9000", "--insecure"], "No such option"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert complaint in one_line(capsys)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is too short: 0 bits, not 256"),
        ("00" * 31, "is too short: 248 bits, not 256"),
        ("correct horse battery staple", "has no key: it must be hexadecimal digits"),
        ("é" * 64, "has no key: it must be hexadecimal digits"),
    ],
)
@pytest.mark.parametrize("command", [SERVE, LISTEN])
def test_a_key_file_without_a_good_key(
    command: list[str], content: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    assert main([*command, "--key-file", str(path)]) == 1
    assert complaint in one_line(capsys)


def test_a_key_needs_cryptography(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "key"
    path.write_text("00" * 32)
    path.chmod(0o600)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert main([*LISTEN, "--key-file", str(path)]) == 1
    assert one_line(capsys).endswith("cryptography is not installed: pip install 'aioutcp[tunnel]'\n")


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A directory with two certificates and their keys, and an encrypted key."""
    for name in ("one", "two"):
        leaf = certificate(f"{name}.example.org")
        leaf.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        leaf.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    serialization = pytest.importorskip(
        "cryptography.hazmat.primitives.serialization", reason="cryptography is missing"
    )
    key = serialization.load_pem_private_key((tmp_path / "one.key").read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    (tmp_path / "encrypted.key").write_bytes(encrypted)
    (tmp_path / "nothing.pem").write_text("nothing\n")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--tls-cert", "one.pem"], "no certificate with its private key, in PEM, in one.pem"),
        (["--tls-cert", "nothing.pem"], "no certificate with its private key, in PEM, in nothing.pem"),
        (["--tls-cert", "one.pem", "--tls-key", "two.key"], "the private key two.key is not that of one.pem"),
        (["--tls-cert", "one.pem", "--tls-key", "encrypted.key"], "the private key is encrypted"),
        (
            ["--tls-cert", "one.pem", "--tls-key", "one.key", "--tls-ca", "nothing.pem"],
            "nothing.pem has no certificate of an authority",
        ),
    ],
)
def test_certificates_that_cannot_be_used(
    options: list[str],
    complaint: str,
    pem: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pem)
    assert main([*SERVE, *options]) == 1
    assert complaint in one_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tunnel", "listen", "0", "--to", "HOST:9000"],
        ["tunnel", "listen", "HOST:0", "--to", "127.0.0.1:9000"],
        ["tunnel", "serve", "127.0.0.1:0", "--forward", "HOST:80"],
        ["tunnel", "serve", "HOST:0", "--forward", "127.0.0.1:80", "--insecure"],
        ["tunnel", "expose", "127.0.0.1:80", "--to", "HOST:9000"],
    ],
)
@pytest.mark.parametrize("host", ["no.such.host.invalid", "no..host"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_host_that_does_not_exist(
    arguments: list[str], host: str, loop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [each.replace("HOST", host) for each in arguments]
    assert main([*arguments, "--loop", loop]) == 1
    said = capsys.readouterr().err.splitlines()
    assert f"cannot resolve {host}" in said[-1]
    assert all("encrypted" in line for line in said[:-1])


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken(kind: socket.SocketKind, loop: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = str(taken.getsockname()[1])
        if kind == socket.SOCK_STREAM:
            commands = [
                ["tunnel", "listen", port, "--to", "127.0.0.1:9000"],
                ["tunnel", "serve", "127.0.0.1:0", "--reverse", port],
            ]
        else:
            commands = [["tunnel", "serve", f"127.0.0.1:{port}", "--forward", "127.0.0.1:80"]]
        for command in commands:
            assert main([*command, "--loop", loop]) == 1
            said = one_line(capsys)
            assert "address already in use" in said.lower()
            assert port in said


def test_a_new_key(capsys: pytest.CaptureFixture[str]) -> None:
    keys = []
    for _ in range(2):
        assert main(["tunnel", "key"]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        assert printed.out.endswith("\n")
        assert len(bytes.fromhex(printed.out)) == 32
        keys.append(printed.out)
    assert keys[0] != keys[1]


def test_a_new_key_in_a_file_is_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        assert main(["tunnel", "key", str(path)]) == 0
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    made = path.read_text()
    assert len(bytes.fromhex(made)) == 32
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert main(["tunnel", "key", str(path)]) == 1
    assert "already exists" in one_line(capsys)
    assert path.read_text() == made
    assert main(["tunnel", "key", str(tmp_path / "nowhere" / "key")]) == 1
    assert "No such file or directory" in one_line(capsys)


def test_it_warns_of_what_is_not_encrypted(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("00" * 32)
    key.chmod(0o600)
    with started("serve", "0.0.0.0:0", "--forward", "127.0.0.1:80", "--insecure") as process:
        process.wait_for("listening on")
        assert sum("nothing is encrypted" in line for line in process.lines) == 1
        assert process.end() == 0
    for arguments in (["0.0.0.0:0", "--key-file", str(key)], ["127.0.0.1:0"]):
        with started("serve", *arguments, "--forward", "127.0.0.1:80") as process:
            process.wait_for("listening on")
            assert process.end() == 0
            assert len(process.lines) == 2
            assert process.lines[-1] == "stopped"


def test_it_warns_of_a_key_that_others_can_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("00" * 32)
    key.chmod(0o644)
    with started("serve", "127.0.0.1:0", "--forward", "127.0.0.1:80", "--key-file", str(key), fresh=True) as process:
        process.wait_for("listening on")
        assert process.lines[0] == f"other users can read {key}: make it private with chmod 600"
        assert process.end() == 0


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_a_port_alone_is_that_of_all_interfaces() -> None:
    with started("serve", "0", "--forward", "127.0.0.1:80", "--insecure", "-v", fresh=True) as process:
        process.wait_for(r"listening on UDP 0\.0\.0\.0:\d+ and \[::\]:\d+, forwarding to 127\.0\.0\.1:80")
        assert process.end() == 0
