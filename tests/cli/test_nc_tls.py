"""`utcp nc --tls`: who is trusted, half-close under TLS, and peers that have none."""

import asyncio
import hashlib
import random
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import utcp
from tests import certificates
from tests.cli.netcats import line, listener, outcome, run
from utcp.cli import main

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Files(NamedTuple):
    """Paths of PEM files. `chain` holds certificate and key."""

    ca: str
    chain: str
    cert: str
    key: str
    other_ca: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("certificates")
    found = Files(*(str(directory / f"{name}.pem") for name in Files._fields))
    leaf = certificates.certificate("127.0.0.1", "nc.example")
    certificates.authority("ours").cert_pem.write_to_path(found.ca)
    certificates.authority("another").cert_pem.write_to_path(found.other_ca)
    leaf.private_key_and_cert_chain_pem.write_to_path(found.chain)
    leaf.cert_chain_pems[0].write_to_path(found.cert)
    leaf.private_key_pem.write_to_path(found.key)
    return found


@both_loops
def test_a_question_and_an_answer_after_its_end(files: Files, loop: str, tmp_path: Path) -> None:
    question, answer = random.Random(1).randbytes(5_000_000), random.Random(2).randbytes(5_000_000)
    (tmp_path / "answer").write_bytes(answer)
    with (
        (tmp_path / "answer").open("rb") as stdin,
        (tmp_path / "arrived").open("wb") as stdout,
        listener(*("--loop", loop, "--tls", "--cert", files.cert, "--key", files.key), stdin=stdin, stdout=stdout) as (
            server,
            port,
        ),
    ):
        status, out, err = run("--loop", loop, "--tls", "--ca", files.ca, "127.0.0.1", port, given=question)
        assert (status, err) == (0, "")
        assert hashlib.sha256(out).digest() == hashlib.sha256(answer).digest()
        assert outcome(server, None)[0] == 0
    assert hashlib.sha256((tmp_path / "arrived").read_bytes()).digest() == hashlib.sha256(question).digest()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "unable to get local issuer certificate"),
        (["--ca", "other_ca"], "unable to get local issuer certificate"),
        (["--ca", "ca", "--server-name", "other.example"], "'other.example'"),
    ],
)
def test_whoever_is_not_to_be_trusted_gets_nothing(arguments: list[str], complaint: str, files: Files) -> None:
    paths = [getattr(files, argument, argument) for argument in arguments]
    with listener("--tls", "--cert", files.chain, stdin=subprocess.DEVNULL) as (server, port):
        status, out, err = run("--tls", *paths, "127.0.0.1", port, given=b"secret")
        assert (status, out) == (1, b"")
        assert err.startswith(f"utcp nc: 127.0.0.1 port {port}: the certificate is not trusted: ")
        assert complaint in err
        assert err.count("\n") == 1
        assert "TLS failed: " in line(server)
        # The listener has not had its connection yet.
        assert run("--tls", "--insecure", "127.0.0.1", port, given=b"hello") == (0, b"", "")
        assert outcome(server, None)[:2] == (0, b"hello")


def test_the_name_in_the_certificate(files: Files) -> None:
    with listener("--tls", "--cert", files.chain, stdin=subprocess.DEVNULL) as (server, port):
        options = ("--tls", "--ca", files.ca, "--server-name", "nc.example")
        assert run(*options, "127.0.0.1", port, given=b"hello") == (0, b"", "")
        assert outcome(server, None)[:2] == (0, b"hello")


def test_certificates_of_clients(files: Files) -> None:
    options = ("--tls", "--cert", files.chain, "--ca", files.ca)
    with listener(*options, stdin=subprocess.DEVNULL) as (server, port):
        assert run("--tls", "--ca", files.ca, "127.0.0.1", port, given=b"nobody")[0] == 1
        assert "TLS failed: peer did not return a certificate" in line(server)
        assert run(*options, "127.0.0.1", port, given=b"hello") == (0, b"", "")
        assert outcome(server, None)[:2] == (0, b"hello")


def test_without_tls_there_is_no_way_in(files: Files) -> None:
    with listener("--tls", "--cert", files.chain, stdin=subprocess.DEVNULL) as (server, port):
        run("127.0.0.1", port, given=b"GET / HTTP/1.0\r\n\r\n")
        assert "TLS failed: " in line(server)
        assert run("--tls", "--ca", files.ca, "127.0.0.1", port, given=b"hello") == (0, b"", "")
        assert outcome(server, None)[:2] == (0, b"hello")


@both_loops
async def test_a_server_on_asyncios_tls_which_closes_first(files: Files, loop: str) -> None:
    """It waits for our close_notify before it sends its FIN."""
    handled = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()
        handled.set()

    async with asyncio.timeout(60), utcp.Endpoint(("127.0.0.1", 0)) as endpoint:
        await endpoint.start_server(answer, ssl=certificates.server_context("127.0.0.1"))
        port = str(endpoint.address[1])
        arguments = ("--loop", loop, "--tls", "--ca", files.ca, "--no-shutdown", "127.0.0.1", port)
        assert await asyncio.to_thread(lambda: run(*arguments, given=b"hello\n")) == (0, b"hello\n", "")
        await handled.wait()


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--tls", "-l", "9000"], 2, "--tls with -l needs --cert FILE"),
        (["--tls", "--cert", "missing.pem", "-l", "9000"], 2, "File 'missing.pem' does not exist"),
        (["--tls", "--ca", "missing.pem", "host", "9000"], 2, "File 'missing.pem' does not exist"),
        (["--tls", "--cert", "{text}", "-l", "9000"], 1, "no certificate with its private key, in PEM, in {text}"),
        (["--tls", "--ca", "{text}", "host", "9000"], 1, "{text} has no certificate of an authority in PEM"),
        (["--tls", "--key", "{text}", "host", "9000"], 2, "--key needs --cert"),
        (["--tls", "--ca", "{text}", "--insecure", "host", "9000"], 2, "--insecure and --ca do not go together"),
        (["--tls", "--insecure", "--cert", "{text}", "-l", "9000"], 2, "--insecure and --server-name are for the conn"),
        (["--ca", "{text}", "host", "9000"], 2, "--ca needs --tls"),
        (["--server-name", "x", "host", "9000"], 2, "--server-name needs --tls"),
        (["--tls", "--server-name", ".x", "host", "9000"], 2, "'.x' is not a host's name"),
        (["--insecure", "host", "9000"], 2, "--insecure needs --tls"),
    ],
)
def test_bad_input(
    arguments: list[str], status: int, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no certificate\n")
    assert main(["nc", *(argument.format(text=text) for argument in arguments)]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint.format(text=text) in err
    assert err.count("\n") == 1
