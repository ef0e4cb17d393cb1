"""anyio over utcp: structured concurrency, and a half-close, which anyio calls send_eof().

Requires pip install 'aioutcp[integrations]'

    python examples/anyio_half_close.py

The client sends lines and its FIN. The server reads to the end and then answers with the number of lines.
"""

from utcp.integrations.anyio import UtcpAttribute, UtcpStream, connect_utcp, create_utcp_listener

import anyio
from anyio.abc import SocketAttribute


async def count_lines(stream: UtcpStream) -> None:
    async with stream:
        lines = 0
        async for data in stream:  # until the client's FIN
            lines += data.count(b"\n")
        await stream.send(f"{lines} lines".encode())


async def main() -> None:
    listener = await create_utcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, count_lines)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # not Django's extra()
        async with await connect_utcp("127.0.0.1", port) as stream:
            await stream.send(b"one\ntwo\nthree\n")
            await stream.send_eof()
            async for answer in stream:
                print(f"the server counted {answer.decode()}")
            info = stream.extra(UtcpAttribute.info)  # noqa: S610
            print(f"the client went through {' '.join(info.path)}")
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
