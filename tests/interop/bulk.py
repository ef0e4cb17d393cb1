"""Much data, and its ways into a connection."""

import hashlib
import random
import socket

from tests.interop import kernel
from utcp import StreamWriter

MIB = 1 << 20

_CHUNK = 256 * 1024


def octets(size: int, seed: int = 0) -> bytes:
    """`size` octets without a pattern, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    """SHA-256: what a failing comparison shows instead of megabytes."""
    return hashlib.sha256(data).hexdigest()


async def write(writer: StreamWriter, data: bytes) -> None:
    """Send it all, and FIN, by utcp."""
    for start in range(0, len(data), _CHUNK):
        writer.write(data[start : start + _CHUNK])
        await writer.drain()
    writer.write_eof()


async def send(sock: socket.socket, data: bytes) -> None:
    """Send it all, and FIN, by the kernel."""
    await kernel.send(sock, data)
    sock.shutdown(socket.SHUT_WR)
