"""The work of `utcp nc` after parsing its arguments: connecting, listening, and messages on stderr."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import Any, Final

import click

from utcp import Config, create_connection, create_server
from utcp.aio.registry import LoopEndpoints
from utcp.aio.streams import stream_factory
from utcp.cli.conversation import Conversation, StdioFailed, Streams
from utcp.cli.stdio import CHUNK, Input, Output
from utcp.link.platform import Platform
from utcp.tcp.connection import Connection
from utcp.tcp.observer import Observer
from utcp.tcp.state import NAMES
from utcp.tunnel.tls import GuardedTls

CONFIG: Final = Config(fin_retries=15, orphan_timeout=None)
"""The reader at the other end may be slow, so delivery may take as long after the close as before it."""


class Netcat:
    """One run of `utcp nc`.

    Args:
        family: address family of the socket module; 0: any.
        tls: TLS context; None: no encryption.
        server_name: name in the server's certificate; None: the host to connect to.
        wait: seconds to wait for the connection; None: as long as TCP tries.
        shutdown: whether the end of stdin is sent as FIN.
        verbose: whether events are reported on stderr.
    """

    def __init__(
        self,
        *,
        family: int = 0,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        wait: float | None = None,
        shutdown: bool = True,
        verbose: bool = False,
    ) -> None:
        self._family = family
        self._tls = tls
        self._server_name = server_name
        self._wait = wait
        self._shutdown = shutdown
        self._paths = _Paths() if verbose else None

    async def connect(self, host: str, port: int, local_port: int | None) -> None:
        """Connect, and carry stdin and stdout until both directions are finished.

        Raises click.ClickException for any failure, BrokenPipeError when stdout has no reader any more.
        """
        stdin, stdout = Input.stdin(), _stdout()
        try:
            async with asyncio.timeout(self._wait):
                streams = await self._dial(host, port, local_port)
        except (OSError, UnicodeError) as error:
            raise click.ClickException(f"{host} port {port}: {self._reason(error)}") from error
        self._observe()
        self._say(f"connected to {_peer(streams)} from port {streams[1].get_extra_info('sockname')[1]}")
        await self._converse(streams, stdin, stdout, patient=True)

    async def listen(self, host: str | None, port: int, *, keep: bool) -> None:
        """Accept a connection and carry stdin and stdout; with `keep`, one connection after the other, for ever. Raises
        as `connect`."""
        stdin, stdout = Input.stdin(), _stdout()
        arrived: asyncio.Queue[Streams] = asyncio.Queue()

        def refuse(peer: str, error: BaseException) -> None:
            _complain(f"{peer}: {self._reason(error)}")

        factory = self._secured(lambda *streams: arrived.put_nowait(streams), refuse, server_side=True)
        try:
            server = await create_server(factory, host, port, family=self._family, config=CONFIG)
        except (OSError, UnicodeError) as error:
            raise click.ClickException(f"cannot listen on {host or '*'} port {port}: {self._reason(error)}") from error
        self._observe()
        for each in server.sockets:
            self._say(f"listening on {_address(each.getsockname())}")
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
            async with asyncio.timeout(self._wait):
                return await arrived.get()
        except TimeoutError:
            raise click.ClickException(f"no connection arrived for {self._wait:g} s") from None

    async def _dial(self, host: str, port: int, local_port: int | None) -> Streams:
        """Connect. Raises OSError, or UnicodeError for an invalid host name."""
        opened: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

        def fail(_: str, error: BaseException) -> None:
            if not opened.done():
                opened.set_exception(error)

        factory = self._secured(
            lambda *streams: opened.set_result(streams), fail, server_side=False, server_name=self._server_name or host
        )
        transport: Any
        try:
            transport, _ = await create_connection(
                factory,
                host,
                port,
                family=self._family,
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
        context = self._tls
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
        conversation = Conversation(streams, stdin, stdout, shutdown=self._shutdown, patient=patient)
        try:
            await conversation.run()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise click.ClickException(f"{peer}: {self._reason(error)}") from error
        finally:
            if self._paths is not None:
                states = self._paths.of(streams[1])
                self._say(f"{peer}: {conversation.sent} octets sent, {conversation.received} received; {states}")

    # --- messages

    def _observe(self) -> None:
        if self._paths is not None:
            for endpoint in LoopEndpoints.of(Platform.of(asyncio.get_running_loop())):
                endpoint.observe(self._paths)

    def _say(self, text: str) -> None:
        if self._paths is not None:
            _complain(text)

    def _reason(self, error: BaseException) -> str:
        """Return the reason of an error in one line."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted: {error.verify_message} (--ca FILE, or --insecure)"
        if isinstance(error, ssl.SSLError):
            why = getattr(error, "reason", None)  # OpenSSL's reason, in capitals
            return f"TLS failed: {why.replace('_', ' ').lower() if why else error.strerror or error}"
        if isinstance(error, UnicodeError):
            return "this cannot be a host's name"
        if isinstance(error, TimeoutError) and not error.args:  # raised by asyncio.timeout()
            return f"no connection within {self._wait:g} s"
        if isinstance(error, OSError) and error.errno and (error.strerror or "").startswith("Connect call failed"):
            return os.strerror(error.errno)
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        return str(error)


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


def _stdout() -> Output:
    try:
        return Output.stdout()
    except OSError as error:
        raise click.ClickException(f"stdout: {error.strerror}") from error


def _complain(text: str) -> None:
    click.echo(f"utcp nc: {text}", err=True)


def _peer(streams: Streams) -> str:
    return _address(streams[1].get_extra_info("peername"))


def _address(address: Any) -> str:
    return f"{address[0]} port {address[1]}"
