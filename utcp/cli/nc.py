"""`utcp nc`: stdin and stdout over one utcp connection, like netcat over kernel TCP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from utcp import Config, create_connection, create_server
from utcp.aio.registry import LoopEndpoints
from utcp.aio.streams import stream_factory
from utcp.cli.conversation import CHUNK, Conversation, Input, Output, StdioFailed, Streams
from utcp.cli.options import FILE, PORT, REMOTE_PORT, SECONDS, SERVER_NAME, loop_option, run
from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer
from utcp.tcp.state import NAMES
from utcp.tunnel.accept import free_port
from utcp.tunnel.credentials import client_context, server_context
from utcp.tunnel.end import reason
from utcp.tunnel.tls import GuardedTls

CONFIG: Final = Config(fin_retries=15, orphan_timeout=None)
"""The reader at the other end may be slow, so delivery may take as long after the close as before it."""


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
    utcp nc -l [HOST] PORT   listen for a connection, with -k for several

    At the end of stdin, a FIN is sent (half-close), and data is printed until the FIN of the peer. If the FIN of the
    peer arrives first, the rest of stdin is still sent, except by a listener whose stdin is a terminal: it closes.

    The exit status is 0 if everything was delivered in both directions, including both FINs. Ctrl-C, SIGTERM and SIGHUP
    reset the connection. TIME_WAIT ends with the process.
    """
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
        paths=_Paths() if options["verbose"] else None,
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
        if len(words) > 1 or (words and words[0].isdecimal()):
            raise click.UsageError("the port is given twice: use -l PORT or -l -p PORT")
        words.append(str(options["local_port"]))
    if not (1 if listen else 2) <= len(words) <= 2:
        form = "[HOST] PORT" if listen else "HOST PORT"
        given = f"{len(words)} word{'' if len(words) == 1 else 's'}"
        raise click.UsageError(f"the arguments must be {form}, not {given}")
    port = (PORT if listen else REMOTE_PORT).convert(words.pop(), None, click.get_current_context())
    return (words[0] or None) if words else None, port


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    """Return the TLS context, or None without TLS. Raises click.UsageError, or CredentialError for unusable files."""
    if not options["tls"]:
        for name in ("ca", "insecure", "server_name", "cert", "key"):
            if options[name]:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --tls")
        return None
    if options["key"] is not None and options["cert"] is None:
        raise click.UsageError("--key needs --cert")
    if options["listen"]:
        if options["cert"] is None:
            raise click.UsageError("--tls with -l needs --cert FILE")
        if options["insecure"] or options["server_name"] is not None:
            raise click.UsageError("--insecure and --server-name are for the connecting end")
        return server_context(options["cert"], options["key"], options["ca"])
    if options["insecure"] and options["ca"] is not None:
        raise click.UsageError("--insecure and --ca do not go together")
    context = client_context(options["ca"], options["cert"], options["key"])
    if options["insecure"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(kw_only=True)
class Netcat:
    """One run of `utcp nc`, with its options."""

    family: int
    """Address family of the socket module; 0: any."""
    tls: ssl.SSLContext | None
    server_name: str | None
    """Name in the server's certificate; None: the host to connect to."""
    wait: float | None
    """Seconds to wait for the connection; None: as long as TCP tries."""
    shutdown: bool
    """Whether the end of stdin is sent as FIN."""
    paths: _Paths | None
    """Records the states of connections, if events are reported on stderr."""

    async def connect(self, host: str, port: int, local_port: int | None) -> None:
        """Connect, and carry stdin and stdout until both directions are finished.

        Raises click.ClickException for any failure, BrokenPipeError when stdout has no reader any more.
        """
        stdin, stdout = Input(), Output()
        try:
            async with asyncio.timeout(self.wait):
                streams = await self._dial(host, port, local_port)
        except (OSError, UnicodeError) as error:
            raise click.ClickException(f"{host} port {port}: {self._reason(error)}") from error
        self._observe()
        self._say(f"connected to {_peer(streams)} from port {streams[1].get_extra_info('sockname')[1]}")
        await self._converse(streams, stdin, stdout, patient=True)

    async def listen(self, host: str | None, port: int, *, keep: bool) -> None:
        """Accept a connection and carry stdin and stdout; with `keep`, one connection after the other, for ever. Raises
        as `connect`."""
        stdin, stdout = Input(), Output()
        arrived: asyncio.Queue[Streams] = asyncio.Queue()

        def refuse(peer: str, error: BaseException) -> None:
            _complain(f"{peer}: {self._reason(error)}")

        factory = self._secured(lambda *streams: arrived.put_nowait(streams), refuse, server_side=True)
        try:
            bound = port or (free_port(socket.SOCK_DGRAM) if host is None and self.family == 0 else 0)
            server = await create_server(factory, host, bound, family=self.family, config=CONFIG)
        except (OSError, UnicodeError) as error:
            raise click.ClickException(f"cannot listen on {host or '*'} port {port}: {self._reason(error)}") from error
        self._observe()
        for each in server.sockets:
            if port == 0 or self.paths is not None:  # nobody else knows which port the system has chosen
                _complain(f"listening on {_address(each.getsockname())}")
        patient = not stdin.is_terminal()  # at a terminal, the peer does not wait for the user's Ctrl-D
        try:
            while True:
                streams = await self._accept(arrived)
                if not keep:
                    server.close()
                self._say(f"{_peer(streams)} has connected")
                try:
                    await self._converse(streams, stdin, stdout, patient=patient)
                except StdioFailed:
                    raise
                except click.ClickException as error:
                    if not keep:
                        raise
                    _complain(error.message)
                if not keep:
                    return
        finally:
            server.close()
            while not arrived.empty():
                arrived.get_nowait()[1].transport.abort()

    # --- connections

    async def _accept(self, arrived: asyncio.Queue[Streams]) -> Streams:
        try:
            async with asyncio.timeout(self.wait):
                return await arrived.get()
        except TimeoutError:
            raise click.ClickException(f"no connection arrived within {self.wait:g} s") from None

    async def _dial(self, host: str, port: int, local_port: int | None) -> Streams:
        """Connect. Raises OSError, or UnicodeError for an invalid host name."""
        opened: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

        def fail(_: str, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(error)

        factory = self._secured(
            lambda *streams: opened.set_result(streams), fail, server_side=False, server_name=self.server_name or host
        )
        transport: Any
        try:
            transport, _ = await create_connection(
                factory,
                host,
                port,
                family=self.family,
                local_addr=None if local_port is None else (None, local_port),
                all_errors=True,
                config=CONFIG,
            )
        except ExceptionGroup as several:  # one error for each address
            raise several.exceptions[0] from None
        try:
            return await opened
        except BaseException:
            transport.abort()
            raise

    def _secured(
        self,
        opened: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
        failed: Callable[[str, BaseException], None],
        *,
        server_side: bool,
        server_name: str | None = None,
    ) -> Callable[[], asyncio.Protocol]:
        """Return a factory of protocols.

        Args:
            opened: called with the streams of each connection, over TLS if there is a context.
            failed: called with the peer's name and the error when a TLS handshake fails.
            server_side: whether this end is the TLS server.
            server_name: the name to verify.
        """
        streams = stream_factory(opened, CHUNK)
        context = self.tls
        if context is None:
            return streams

        def make() -> asyncio.Protocol:
            transport: GuardedTls

            def shaken(error: BaseException | None) -> None:
                if error is not None:
                    failed(_address(transport.get_extra_info("peername")), error)

            transport = GuardedTls(streams(), context, shaken, server_side=server_side, server_name=server_name)
            return transport

        return make

    async def _converse(self, streams: Streams, stdin: Input, stdout: Output, *, patient: bool) -> None:
        peer = _peer(streams)
        conversation = Conversation(streams, stdin, stdout, shutdown=self.shutdown, patient=patient)
        try:
            await conversation.run()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise click.ClickException(f"{peer}: {self._reason(error)}") from error
        finally:
            if self.paths is not None:
                states = self.paths.of(streams[1])
                self._say(f"{peer}: {conversation.sent} bytes sent, {conversation.received} received; {states}")

    # --- messages

    def _observe(self) -> None:
        if self.paths is not None:
            for endpoint in LoopEndpoints.of_running_loop():
                endpoint.observe(self.paths)

    def _say(self, text: str) -> None:
        if self.paths is not None:
            _complain(text)

    def _reason(self, error: BaseException) -> str:
        """Return the reason of an error in one line."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate is not trusted: {error.verify_message} (use --ca FILE or --insecure)"
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {reason(error)}"
        if isinstance(error, UnicodeError):
            return "this cannot be a host's name"
        if isinstance(error, TimeoutError) and not error.args:  # raised by asyncio.timeout()
            return f"no connection within {self.wait:g} s"
        return reason(error)


class _Paths(Observer):
    """Records the states of connections, by their ports."""

    def __init__(self) -> None:
        self._paths: dict[tuple[int, int], list[int]] = {}

    def state_changed(self, connection: Connection, before: int, after: int, now: float) -> None:
        self._paths.setdefault((connection.remote_port, connection.local_port), [before]).append(after)

    def of(self, writer: asyncio.StreamWriter) -> str:
        """Return the states of one connection from ESTABLISHED on, and forget them."""
        ports = writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1]
        names = [NAMES[state] for state in self._paths.pop(ports, [])]
        return " > ".join(names[names.index("ESTABLISHED") :] if "ESTABLISHED" in names else names)


def _complain(text: str) -> None:
    click.echo(f"utcp nc: {text}", err=True)


def _peer(streams: Streams) -> str:
    return _address(streams[1].get_extra_info("peername"))


def _address(address: Any) -> str:
    return f"{address[0]} port {address[1]}"
