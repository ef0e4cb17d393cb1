"""A Starlette application, served by uvicorn over utcp until Ctrl-C. FastAPI applications are served the same way.

Requires pip install 'aioutcp[integrations]'

    python examples/starlette_app.py [--host 127.0.0.1] [--port 8000]

Then, in another terminal, run httpx_client.py.
"""

import argparse
import sys

from utcp.integrations import uvicorn

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def square(request: Request) -> Response:
    number = request.path_params["number"]
    return JSONResponse({"number": number, "square": number * number})


app = Starlette(routes=[Route("/square/{number:int}", square)])

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A Starlette application over utcp.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        uvicorn.run(app, arguments.host, arguments.port)
    except (OverflowError, UnicodeError) as error:  # such a port, or such a host, cannot exist
        sys.exit(f"starlette_app: {error}")
