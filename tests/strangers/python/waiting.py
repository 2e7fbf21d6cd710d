"""How long the programs beside this one wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable

# In seconds. It detects a server that hangs, and is shorter than the limit of the program.
WITHIN = 60.0


async def eventually(check: Callable[[], Awaitable[None]]) -> None:
    """Repeat a check until it passes: for data that one worker writes and another serves."""
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            return await check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)
