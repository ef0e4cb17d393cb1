"""Small applications, written as for a real network: nothing here knows of the simulation."""

import asyncio

import utcp
from utcp import Config

PORT = 9000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, until the client has finished."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve(config: Config | None = None) -> None:
    """An echo server, for ever."""
    async with await utcp.start_server(echo, "0.0.0.0", PORT, config=config) as server:
        await server.serve_forever()


async def ask(host: str, question: bytes, config: Config | None = None) -> bytes:
    """Have `question` echoed, over a connection of its own."""
    reader, writer = await utcp.open_connection(host, PORT, config=config)
    try:
        writer.write(question)
        writer.write_eof()
        answer = await reader.read()
    finally:
        writer.close()
    await writer.wait_closed()
    return answer
