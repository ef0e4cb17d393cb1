"""Half-close: an end that has sent its FIN still receives data.

    python examples/half_close.py

The client sends a question and its FIN (`write_eof()`). Only then the server answers, with two messages and its own
FIN. Each line shows the state of the speaker's end of the connection.
"""

import asyncio

import utcp


def say(who: str, writer: asyncio.StreamWriter, what: str) -> None:
    state = writer.get_extra_info("utcp").state
    print(f"{who:6}  {state:12}  {what}")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    question = await reader.readline()
    say("server", writer, f"is asked {question.decode().rstrip()!r}")
    await reader.read()
    say("server", writer, "sees the client's FIN, and has two things left to say")
    for answer in ("the first", "the last"):
        writer.write(f"{answer}\n".encode())
        await writer.drain()
        await asyncio.sleep(0.1)
    say("server", writer, "closes")
    writer.close()
    await writer.wait_closed()


async def main() -> None:
    server = await utcp.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port, *_ = server.sockets[0].getsockname()
        reader, writer = await utcp.open_connection(host, port)
        say("client", writer, "asks, and sends its FIN")
        writer.write(b"what else?\n")
        writer.write_eof()
        async for answer in reader:
            say("client", writer, f"hears {answer.decode().rstrip()!r}")
        say("client", writer, "sees the server's FIN")
        writer.close()
        await writer.wait_closed()


if __name__ == "__main__":
    utcp.run(main())
