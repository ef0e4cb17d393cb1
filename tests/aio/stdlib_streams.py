"""CPython's own tests of asyncio's streams, run against ours: `python -m tests.aio.stdlib_streams`.

They are patched into asyncio, and so serve its open_connection() and start_server() over the kernel's TCP.
"""

import asyncio
import asyncio.streams
import sys
import unittest

from utcp.aio.stream_reader import StreamReader
from utcp.aio.stream_writer import StreamWriter
from utcp.aio.streams import StreamProtocol


def main() -> bool:
    for module in (asyncio, asyncio.streams):
        vars(module).update(StreamReader=StreamReader, StreamReaderProtocol=StreamProtocol, StreamWriter=StreamWriter)
    suite = unittest.defaultTestLoader.loadTestsFromName("test.test_asyncio.test_streams")
    return unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful()


if __name__ == "__main__":
    sys.exit(not main())
