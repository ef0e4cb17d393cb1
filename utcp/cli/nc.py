"""`utcp nc`: stdin and stdout over one utcp connection, like netcat over kernel TCP."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, Final

import click

from utcp.cli.options import PORT, SECONDS, SERVER_NAME, loop_option, run

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command
@click.argument("address", nargs=-1, metavar="[HOST] PORT")
@click.option("-l", "--listen", is_flag=True, help="Listen on PORT. With HOST: on this address only.")
@click.option("-k", "--keep", is_flag=True, help="After each connection, wait for the next one, until Ctrl-C.")
@click.option("-p", "--local-port", type=PORT, help="Local utcp port. With -l, the same as PORT.")
@click.option(
    "-w",
    "--wait",
    type=SECONDS,
    help="Seconds to wait for the connection.  [default: as long as TCP tries; with -l: no limit]",
)
@click.option("-4", "--ipv4", is_flag=True, help="Use IPv4 only.")
@click.option("-6", "--ipv6", is_flag=True, help="Use IPv6 only.")
@click.option("--no-shutdown", is_flag=True, help="Send no FIN at the end of stdin, but wait for the FIN of the peer.")
@click.option("--tls", is_flag=True, help="Encrypt, and check the certificate of the listening end.")
@click.option(
    "--ca", type=FILE, help="Authority that must have signed the certificate, in PEM.  [default: those of the system]"
)
@click.option("--insecure", is_flag=True, help="Encrypt without a check of the certificate.")
@click.option("--server-name", type=SERVER_NAME, help="Name in the certificate.  [default: HOST]")
@click.option("--cert", type=FILE, help="Certificate of this end, in PEM. Required for -l with --tls.")
@click.option("--key", type=FILE, help="Private key of --cert, in PEM.  [default: in the file of --cert]")
@click.option("-v", "--verbose", is_flag=True, help="Report each connection, and how it closed, on stderr.")
@loop_option
def command(address: tuple[str, ...], loop: str, wait: float | None, **options: Any) -> None:
    """Send stdin over a utcp connection, and print what arrives.

    \b
    utcp nc HOST PORT        connect
    utcp nc -l [HOST] PORT   listen for one connection, or with -k for one after the other

    At the end of stdin, a FIN is sent (half-close), and data is printed until the FIN of the peer. If the FIN of the
    peer arrives first, the rest of stdin is still sent. A listener whose stdin is a terminal closes at once instead.

    The exit status is 0 if everything was delivered in both directions, including both FINs. Ctrl-C, SIGTERM and SIGHUP
    reset the connection. TIME_WAIT ends with the process.
    """
    from utcp.cli.netcat import Netcat

    host, port = _target(address, options)
    if options["ipv4"] and options["ipv6"]:
        raise click.UsageError("-4 and -6 do not go together")
    context = _tls(options)
    family = socket.AF_INET if options["ipv4"] else socket.AF_INET6 if options["ipv6"] else 0
    netcat = Netcat(
        family=family,
        tls=context,
        server_name=options["server_name"],
        wait=wait,
        shutdown=not options["no_shutdown"],
        verbose=options["verbose"],
    )
    if options["listen"]:
        run(netcat.listen(host, port, keep=options["keep"]), loop)
    else:
        assert host is not None  # noqa: S101  # _target() ensures this
        run(netcat.connect(host, port, options["local_port"]), loop)


def _target(address: tuple[str, ...], options: dict[str, Any]) -> tuple[str | None, int]:
    """Return host (None: all interfaces) and port. Raises click.UsageError for conflicting arguments."""
    listen: bool = options["listen"]
    if options["keep"] and not listen:
        raise click.UsageError("-k needs -l")
    words = list(address)
    if listen and options["local_port"] is not None:
        if len(words) > 1:
            raise click.UsageError("say the port once: -l PORT, or -l -p PORT")
        words.append(str(options["local_port"]))
    if not (1 if listen else 2) <= len(words) <= 2:
        raise click.UsageError(f"say {'[HOST] PORT' if listen else 'HOST PORT'}, not {len(words)} words")
    port = PORT.convert(words.pop(), None, click.get_current_context())
    if port == 0 and not listen:
        raise click.UsageError("there is no port 0 to connect to")
    return (words[0] or None) if words else None, port


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    """Return the TLS context, or None without TLS. Raises click.UsageError, or click.ClickException for unusable
    files."""
    if not options["tls"]:
        for name in ("ca", "insecure", "server_name", "cert", "key"):
            if options[name]:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --tls")
        return None
    if options["key"] is not None and options["cert"] is None:
        raise click.UsageError("--key needs --cert")
    from utcp.tunnel.credentials import CredentialError, client_context, server_context

    try:
        if options["listen"]:
            if options["cert"] is None:
                raise click.UsageError("--tls with -l needs --cert FILE")
            if options["insecure"] or options["server_name"] is not None:
                raise click.UsageError("--insecure and --server-name are for the connecting end")
            return server_context(options["cert"], options["key"], options["ca"])
        if options["insecure"] and options["ca"] is not None:
            raise click.UsageError("--insecure and --ca do not go together")
        context = client_context(options["ca"], options["cert"], options["key"])
    except CredentialError as error:
        raise click.ClickException(str(error)) from error
    if options["insecure"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
