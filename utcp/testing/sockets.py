"""`socket.socket` for programs in a simulation."""

from __future__ import annotations

import asyncio
import errno
import socket
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, TypeVar

from utcp.link.path import SocketAddress
from utcp.testing.kernel import WILDCARD, Kernel, error
from utcp.testing.loop import VirtualLoop
from utcp.testing.tcp_socket import TcpSocket
from utcp.testing.udp_socket import UdpSocket

T = TypeVar("T")

RealSocket: Final = socket.socket

_BLOCKS: Final = (
    "a blocking call of a simulated socket would stop virtual time: call setblocking(False), and use asyncio's streams,"
    " or loop.sock_connect(), loop.sock_recv() and so on"
)


class SimulatedSocket(socket.socket):
    """A socket of the simulated host on which the calling code runs. Outside a simulation, the call makes a real one.

    While a simulation runs, this class replaces `socket.socket`, so that asyncio and all libraries use it. It has TCP
    and UDP over IPv4. A call that would block raises RuntimeError.
    """

    _inner: TcpSocket | UdpSocket | None = None

    def __new__(
        cls,
        family: int = -1,
        type: int = -1,  # noqa: A002  # the name that it has in the base class
        proto: int = -1,
        fileno: int | None = None,
    ) -> Any:
        loop = _running_loop()
        if loop is None or fileno is not None:
            return RealSocket(family, type, proto, fileno)
        return super().__new__(cls)

    # The base class would create a real descriptor.
    def __init__(
        self,
        family: int = -1,
        type: int = -1,  # noqa: A002  # the name that it has in the base class
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        if family not in (-1, socket.AF_INET):
            raise error(errno.EAFNOSUPPORT, "the simulated network has IPv4 only")
        loop = _running_loop()
        if loop is None:  # __new__() has made a real socket
            return
        platform: Any = loop.utcp_platform  # a Process
        kernel: Kernel = platform.kernel
        kind = socket.SOCK_STREAM if type == -1 else type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if kind == socket.SOCK_STREAM:
            self._adopt(kernel, TcpSocket(kernel, platform), max(proto, 0))
        elif kind == socket.SOCK_DGRAM:
            self._adopt(kernel, UdpSocket(kernel, platform), max(proto, 0))
        else:
            raise error(errno.EPROTONOSUPPORT, "the simulated network has TCP and UDP only")
        if type != -1 and type & socket.SOCK_NONBLOCK:
            self.setblocking(False)

    def _adopt(self, kernel: Kernel, inner: TcpSocket | UdpSocket, proto: int) -> None:
        self._inner = inner
        self._kernel = kernel
        self._kind = inner.kind
        self._proto = proto
        self._timeout: float | None = socket.getdefaulttimeout()

    def __repr__(self) -> str:
        inner = self._inner
        where = "" if inner is None else f" laddr={inner.getsockname()}"
        return f"<{type(self).__name__}{' closed' if inner is None else ''} type={self.type!s}{where}>"

    def __del__(self) -> None:
        inner = self._inner
        if inner is not None and not inner.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)
            self.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ properties

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return self._kind

    @property
    def proto(self) -> int:
        return self._proto

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def fileno(self) -> int:
        return -1 if self._inner is None else self._inner.descriptor

    def setblocking(self, flag: bool) -> None:
        self._check_open()
        self._timeout = None if flag else 0.0

    def settimeout(self, value: float | None) -> None:
        self._check_open()
        self._timeout = value

    def gettimeout(self) -> float | None:
        return self._timeout

    def getblocking(self) -> bool:
        return self._timeout != 0

    def get_inheritable(self) -> bool:
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        """Do nothing, because the simulation has no subprocesses."""

    # ------------------------------------------------------------------ addresses

    def bind(self, address: Any) -> None:
        self._open.bind(self._resolved(address))

    def getsockname(self) -> SocketAddress:
        return self._open.getsockname()

    def getpeername(self) -> SocketAddress:
        return self._open.getpeername()

    def _resolved(self, address: Any) -> tuple[str, int]:
        if not isinstance(address, tuple) or len(address) != 2:
            raise TypeError(f"an address must be a pair of host and port, not {address!r}")
        host, port = address
        if not 0 <= port <= 0xFFFF:
            raise OverflowError("port must be 0-65535.")
        name = host.decode() if isinstance(host, (bytes, bytearray)) else host
        return self._kernel.host.resolve(name) if name else WILDCARD, port

    # ------------------------------------------------------------------ connections

    def listen(self, backlog: int = 128, /) -> None:
        self._tcp.listen(backlog)

    def accept(self) -> tuple[socket.socket, Any]:
        inner = self._waiting(self._tcp.accept)
        accepted = RealSocket.__new__(type(self))
        accepted._adopt(self._kernel, inner, self._proto)  # noqa: SLF001  # of this class
        return accepted, inner.peer

    def connect(self, address: Any) -> None:
        inner = self._open
        if isinstance(inner, TcpSocket) and self._timeout != 0:
            raise RuntimeError(_BLOCKS)
        inner.connect(self._resolved(address))

    def connect_ex(self, address: Any) -> int:
        try:
            self.connect(address)
        except OSError as failure:
            return failure.errno or errno.EIO
        return 0

    def shutdown(self, how: int) -> None:
        self._open.shutdown(how)

    def close(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

    def detach(self) -> NoReturn:
        raise error(errno.EOPNOTSUPP, "a simulated socket cannot be detached")

    def dup(self) -> NoReturn:
        raise error(errno.EOPNOTSUPP, "a simulated socket cannot be duplicated")

    def makefile(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(_BLOCKS)

    # ------------------------------------------------------------------ data

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        _check_flags(flags)
        _check_size(bufsize, "recv")
        if bufsize == 0:  # Python makes no system call
            return b""
        return self._waiting(self._open.recv, bufsize)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        _check_flags(flags)
        _check_size(bufsize, "recvfrom")
        inner = self._open
        if isinstance(inner, UdpSocket):
            return self._waiting(inner.recvfrom, bufsize)
        return self._waiting(inner.recv, bufsize), None

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        view = memoryview(buffer).cast("B")
        data, source = self.recvfrom(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data), source

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        data, source = self.recvfrom(bufsize, flags)
        return data, [], 0, source

    def send(self, data: Any, flags: int = 0, /) -> int:
        _check_flags(flags)
        return self._waiting(self._open.send, bytes(data))

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        rest = memoryview(bytes(data))
        while rest:
            rest = rest[self.send(rest, flags) :]

    def sendto(self, data: Any, *rest: Any) -> int:
        *flags, address = rest
        _check_flags(*flags)
        inner = self._open
        if isinstance(inner, UdpSocket):
            return self._waiting(inner.sendto, bytes(data), self._resolved(address))
        return self._waiting(inner.send, bytes(data))

    def sendmsg(
        self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None, /
    ) -> int:
        if list(ancdata):
            raise error(errno.EOPNOTSUPP, "the simulated kernel takes no control messages")
        data = b"".join(map(bytes, buffers))
        return self.send(data, flags) if address is None else self.sendto(data, flags, address)

    # ------------------------------------------------------------------ options

    def getsockopt(self, level: int, option: int, buflen: int = 0, /) -> Any:
        return self._open.getsockopt(level, option, buflen)

    def setsockopt(self, level: int, option: int, value: Any, optlen: int | None = None, /) -> None:
        self._open.setsockopt(level, option, value, optlen)

    # ------------------------------------------------------------------ parts

    @property
    def _open(self) -> TcpSocket | UdpSocket:
        if self._inner is None:
            raise error(errno.EBADF)
        return self._inner

    def _check_open(self) -> None:
        if self._inner is None:
            raise error(errno.EBADF)

    @property
    def _tcp(self) -> TcpSocket:
        inner = self._open
        if not isinstance(inner, TcpSocket):
            raise error(errno.EOPNOTSUPP)
        return inner

    def _waiting(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return the result of a call that may have to wait, which only a socket that does not block may try."""
        try:
            return call(*arguments)
        except BlockingIOError:
            if self._timeout != 0:
                raise RuntimeError(_BLOCKS) from None
            raise


def _check_flags(flags: int = 0) -> None:
    if flags & ~socket.MSG_NOSIGNAL & ~socket.MSG_DONTWAIT:
        raise error(errno.EOPNOTSUPP, "a simulated socket takes no flags such as MSG_PEEK")


def _check_size(size: int, call: str) -> None:
    if size < 0:
        raise ValueError(f"negative buffersize in {call}")


def _running_loop() -> VirtualLoop | None:
    """Return the loop of the simulation that runs in this thread, or None."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  # get_running_loop() without the exception
    return loop if isinstance(loop, VirtualLoop) else None
