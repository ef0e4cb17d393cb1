"""A real TCP (RFC 9293) in user space, over UDP, for asyncio."""
