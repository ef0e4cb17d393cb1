"""Echo all received data, until Ctrl-C or SIGTERM.

    python examples/echo_server.py [--host 127.0.0.1] [--port 9000]

Then, in another terminal, run echo_client.py.
"""

import argparse
import asyncio
import sys

import utcp


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, port, *_ = writer.get_extra_info("peername")
    echoed = 0
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            echoed += len(data)
        writer.close()
        await writer.wait_closed()  # until the client has acknowledged all data
        print(f"{host} port {port}: {echoed} bytes echoed, closed")
    except OSError as error:
        print(f"{host} port {port}: {error}")


async def main(host: str, port: int) -> None:
    server = await utcp.start_server(echo, host, port)
    host, port, *_ = server.sockets[0].getsockname()
    print(f"listening on {host} port {port}")
    await server.serve_forever()  # until Ctrl-C or SIGTERM, which close the clients too


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An echo server over utcp.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    arguments = parser.parse_args()
    try:
        utcp.run(main(arguments.host, arguments.port))
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: such a port, or such a host, cannot exist
        sys.exit(f"echo_server: {error}")
    except KeyboardInterrupt:
        print("stopped")
