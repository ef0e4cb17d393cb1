"""asyncio: endpoints, transports, servers, streams. The only room that knows an event loop."""
