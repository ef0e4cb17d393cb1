"""An httpx client over utcp, for starlette_app.py: three requests over one connection.

Requires pip install 'aioutcp[integrations]'

python examples/httpx_client.py [--url http://127.0.0.1:8000]
"""

import argparse
import sys

import utcp
from utcp.integrations.httpx import UtcpTransport

import httpx


async def main(url: str) -> None:
    async with httpx.AsyncClient(transport=UtcpTransport(), base_url=url, timeout=2) as client:
        for number in (3, 4, 5):
            response = await client.get(f"/square/{number}")
            response.raise_for_status()
            info = response.extensions["network_stream"].get_extra_info("utcp")
            print(f"{response.json()}, over utcp port {info.local_port}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An httpx client over utcp.")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    try:
        utcp.run(main(parser.parse_args().url))
    except httpx.TimeoutException:
        sys.exit("httpx_client: no answer")
    except (httpx.HTTPError, httpx.InvalidURL, OverflowError) as error:  # OverflowError: this cannot be a port
        sys.exit(f"httpx_client: {error}")
