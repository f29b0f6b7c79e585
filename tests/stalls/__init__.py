"""How long an asyncio loop is kept from other work."""
