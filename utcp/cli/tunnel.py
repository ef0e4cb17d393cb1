"""`utcp tunnel`: kernel TCP in, utcp across, kernel TCP out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp.cli.options import (
    ANY_ADDRESS,
    FILE,
    LOCAL_ADDRESS,
    REMOTE_ADDRESS,
    SECONDS,
    SECONDS_OR_NONE_AT_ALL,
    SERVER_NAME,
    SERVICE_ADDRESS,
    Group,
    run,
)

if TYPE_CHECKING:
    import ssl

    from utcp.tunnel.end import End
    from utcp.tunnel.options import Options

Command = Callable[..., None]

COMMON: Final = (
    click.option("--key-file", type=FILE, help="File with the key that both ends share; `utcp tunnel key` makes one."),
    click.option(
        "--congestion-control",
        type=click.Choice(["cubic", "newreno", "bbr"]),
        default="cubic",
        show_default=True,
        help="Congestion controller of this end.",
    ),
    click.option(
        "--mtu",
        metavar="N",
        type=click.IntRange(576, 65535),
        help="Size of the largest packets, in bytes.  [default: what the path carries]",
    ),
    click.option(
        "--connect-timeout",
        type=SECONDS,
        default=10.0,
        show_default=True,
        help="Seconds in which the other side of a connection must be open.",
    ),
    click.option(
        "--grace",
        type=SECONDS_OR_NONE_AT_ALL,
        default=10.0,
        show_default=True,
        help="Seconds that connections may take to end after SIGTERM or SIGINT.",
    ),
    click.option(
        "--loop",
        type=click.Choice(["asyncio", "uvloop"]),
        help="The event loop.  [default: uvloop if it is installed]",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Log a line for each connection."),
)

TLS_CERTIFICATE: Final = (
    click.option("--tls-cert", type=FILE, help="Certificate of this end, in PEM."),
    click.option(
        "--tls-key", type=FILE, help="Private key of --tls-cert, in PEM.  [default: in the file of --tls-cert]"
    ),
)

CLIENT_TLS: Final = (
    click.option(
        "--tls", is_flag=True, help="Encrypt, and check the certificate of the server by the authorities of the system."
    ),
    click.option(
        "--tls-ca", type=FILE, help="Encrypt, and check the certificate of the server by this authority, in PEM."
    ),
    click.option("--server-name", type=SERVER_NAME, help="Name in the certificate of the server.  [default: HOST]"),
    *TLS_CERTIFICATE,
)

SERVER_TLS: Final = (
    *TLS_CERTIFICATE,
    click.option("--tls-ca", type=FILE, help="Accept only clients with a certificate of this authority, in PEM."),
)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.group(name="tunnel", cls=Group)
def command() -> None:
    """Carry kernel TCP over utcp.

    \b
    At the users' end:     utcp tunnel listen 8080 --to HOST:9000
    At the service's end:  utcp tunnel serve 9000 --forward 127.0.0.1:80

    Each connection to port 8080 becomes a utcp connection to UDP port 9000 of HOST, and there a connection to port 80.
    For a service that cannot be reached from outside:

    \b
    On a public host:      utcp tunnel serve 9000 --reverse 8080
    Where the service is:  utcp tunnel expose 127.0.0.1:80 --to HOST:9000

    Both ends need a key or TLS. Without them nothing is encrypted, and `serve` runs only on a loopback address or with
    --insecure. `utcp tunnel key FILE` makes a key for --key-file of both ends.
    """


@command.command()
@click.argument("address", type=LOCAL_ADDRESS, metavar="[HOST:]PORT")
@click.option("--to", type=REMOTE_ADDRESS, required=True, metavar="HOST:PORT", help="Address of `utcp tunnel serve`.")
@_with(*CLIENT_TLS, *COMMON)
def listen(address: tuple[str, int], to: tuple[str, int], **options: Any) -> None:
    """Accept kernel TCP on a port, and carry it over utcp.

    PORT is a TCP port of 127.0.0.1, or of HOST.
    """
    from utcp.tunnel.forward import Listen

    _run(partial(Listen, _interface(address), to), options, to[0], server=False)


@command.command()
@click.argument("address", type=ANY_ADDRESS, metavar="[HOST:]PORT")
@click.option("--forward", type=REMOTE_ADDRESS, metavar="HOST:PORT", help="Connect to this address over kernel TCP.")
@click.option(
    "--reverse", type=LOCAL_ADDRESS, metavar="[HOST:]PORT", help="Accept users on this port, for `utcp tunnel expose`."
)
@click.option("--insecure", is_flag=True, help="Serve everyone who reaches the UDP port, without a key or TLS.")
@_with(*SERVER_TLS, *COMMON)
def serve(
    address: tuple[str, int], forward: tuple[str, int] | None, reverse: tuple[str, int] | None, **options: Any
) -> None:
    """Accept utcp on a UDP port, and carry it on over kernel TCP.

    PORT is a UDP port of all interfaces, or of HOST.
    """
    from utcp.tunnel.forward import Serve
    from utcp.tunnel.reverse import Reverse

    make: Callable[[Options], End]
    if forward is not None and reverse is None:
        make = partial(Serve, _interface(address), forward)
    elif reverse is not None and forward is None:
        make = partial(Reverse, _interface(address), _interface(reverse))
        if options["tls_cert"] is not None and options["tls_ca"] is None:
            raise click.UsageError(
                "--reverse with --tls-cert needs --tls-ca, because otherwise anyone could expose a service to the users"
            )
    else:
        raise click.UsageError("serve needs either --forward HOST:PORT or --reverse PORT")
    _run(make, options, address[0], server=True)


@command.command()
@click.argument("target", type=SERVICE_ADDRESS, metavar="[HOST:]PORT")
@click.option(
    "--to", type=REMOTE_ADDRESS, required=True, metavar="HOST:PORT", help="Address of `utcp tunnel serve --reverse`."
)
@_with(*CLIENT_TLS, *COMMON)
def expose(target: tuple[str, int], to: tuple[str, int], **options: Any) -> None:
    """Connect a service to `utcp tunnel serve --reverse`.

    The service listens on PORT of 127.0.0.1, or of HOST.
    """
    from utcp.tunnel.reverse import Expose

    _run(partial(Expose, target, to), options, to[0], server=False)


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def key(file: Path | None) -> None:
    """Make a random key of 256 bits, for --key-file of both ends.

    FILE is readable by its owner only. Without FILE, the key is printed.
    """
    from utcp.tunnel.credentials import new_key, write_key

    if file is None:
        click.echo(new_key(), nl=False)
    else:
        write_key(file)


def _run(make: Callable[[Options], End], options: dict[str, Any], host: str, *, server: bool) -> None:
    from utcp.tunnel.dial import is_loopback
    from utcp.tunnel.end import LOG, reason
    from utcp.tunnel.options import Options, tunnel_config

    _log_to_stderr(verbose=options["verbose"])
    context = _tls(options, server=server)
    if context is None and not is_loopback(host):
        if server and not options["insecure"]:
            raise click.UsageError(
                "everyone who reaches the UDP port could use the tunnel: add --key-file or --tls-cert, or --insecure"
            )
        LOG.warning("nothing is encrypted, and everyone who reaches the UDP port can use the tunnel")
    end = make(
        Options(
            config=tunnel_config(options["congestion_control"], options["mtu"]),
            tls=context,
            server_name=options.get("server_name"),
            tls_hint="the two ends may have different keys" if options["key_file"] is not None else "",
            connect_timeout=options["connect_timeout"],
        )
    )
    loop = options["loop"] or ("uvloop" if find_spec("uvloop") else "asyncio")
    try:
        run(end.run(options["grace"]), loop)
    except OSError as error:
        raise click.ClickException(reason(error)) from error


def _tls(options: dict[str, Any], *, server: bool) -> ssl.SSLContext | None:
    """Return the TLS context, or None without a key and TLS. Raises click.UsageError, or CredentialError for unusable
    files."""
    from utcp.tunnel.credentials import client_context, key_context, read_key, readable_by_others, server_context
    from utcp.tunnel.end import LOG

    names = ("tls", "tls_ca", "tls_cert", "tls_key", "server_name")
    given = ", ".join("--" + name.replace("_", "-") for name in names if options.get(name))
    key_file, ca, certificate, private_key = (options[name] for name in ("key_file", "tls_ca", "tls_cert", "tls_key"))
    if key_file is not None:
        if given:
            raise click.UsageError(f"--key-file and {given} do not go together")
        secret = read_key(key_file)
        if readable_by_others(key_file):
            LOG.warning("other users can read %s: make it private with chmod 600", key_file)
        return key_context(secret, server_side=server)
    if not (certificate if server else options["tls"] or ca):
        if given:
            raise click.UsageError(f"{given} needs {'--tls-cert' if server else '--tls or --tls-ca'}")
        return None
    if private_key is not None and certificate is None:
        raise click.UsageError("--tls-key needs --tls-cert")
    return server_context(certificate, private_key, ca) if server else client_context(ca, certificate, private_key)


def _interface(address: tuple[str, int]) -> tuple[str | None, int]:
    """Return an address to listen on, in which host None replaces "*" (all interfaces)."""
    host, port = address
    return (None if host == "*" else host), port


def _log_to_stderr(*, verbose: bool) -> None:
    log = logging.getLogger("utcp.tunnel")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("utcp tunnel: %(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
