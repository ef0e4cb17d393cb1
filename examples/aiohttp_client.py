"""An aiohttp client over utcp, for aiohttp_server.py: gets the page and the file, and echoes a word by WebSocket.

Requires pip install 'aioutcp[integrations]'

python examples/aiohttp_client.py [--url http://127.0.0.1:8080]
"""

import argparse
import sys

import utcp
from utcp.integrations.aiohttp import UtcpConnector

import aiohttp


async def main(url: str) -> None:
    timeout = aiohttp.ClientTimeout(total=10, sock_connect=2)
    async with aiohttp.ClientSession(url, connector=UtcpConnector(), timeout=timeout) as session:
        async with session.get("/") as response:
            print(response.status, await response.text())
        async with session.get("/source") as response:
            print(response.status, (await response.text()).splitlines()[0])
        async with session.ws_connect("/echo") as websocket:
            await websocket.send_str("goodbye")
            print("heard", await websocket.receive_str())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An aiohttp client over utcp.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    try:
        utcp.run(main(parser.parse_args().url))
    except (aiohttp.ClientError, ValueError) as error:  # ValueError: this cannot be a URL
        sys.exit(f"aiohttp_client: {error}")
    except TimeoutError:
        sys.exit("aiohttp_client: no answer")
