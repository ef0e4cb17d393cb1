"""The program of utcp/tcp/README.md, which drives a stack over a plain socket."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import utcp


def program() -> dict[str, Any]:
    """What the program defines."""
    text = (Path(utcp.__file__).parent / "tcp" / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # our own text
    return names


async def test_the_echo_server_over_a_plain_socket_echoes_and_closes() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        server = threading.Thread(target=program()["serve"], args=(sock, port, 2), daemon=True)
        server.start()
        for _ in range(2):
            reader, writer = await utcp.open_connection("127.0.0.1", port)
            writer.write(b"x" * 100_000)
            writer.write_eof()
            assert await reader.read() == b"x" * 100_000
            writer.close()
            await writer.wait_closed()
        await asyncio.to_thread(server.join, 10)
        assert not server.is_alive()
