"""What the shells share around asyncio: queues, back-off, task groups, logs."""
