"""Send messages to echo_server.py, print the answers, and close.

    python examples/echo_client.py [--host 127.0.0.1] [--port 9000] [MESSAGE ...]

Each message is sent after the echo of the previous one.
"""

import argparse
import asyncio
import sys

import utcp


async def main(host: str, port: int, messages: list[str]) -> None:
    async with asyncio.timeout(5):
        reader, writer = await utcp.open_connection(host, port)
        try:
            for message in messages:
                writer.write(f"{message}\n".encode())
                answer = await reader.readline()
                print(f"said {message!r}, heard {answer.decode().rstrip()!r}")
        finally:
            writer.close()
        await writer.wait_closed()
    print("closed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An echo client over utcp.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("messages", nargs="*", metavar="MESSAGE", default=["hello", "and goodbye"])
    arguments = parser.parse_args()
    try:
        utcp.run(main(arguments.host, arguments.port, arguments.messages))
    except TimeoutError:  # an unused UDP port has the same effect
        sys.exit(f"echo_client: no answer from {arguments.host} port {arguments.port}")
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: such a port, or such a host, cannot exist
        sys.exit(f"echo_client: {error}")
