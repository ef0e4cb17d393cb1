"""The asyncio side: endpoints, transports, servers, streams."""
