"""The order in which test mode sends rows of a stream to other processes."""

import asyncio
from types import SimpleNamespace
from typing import Any

from ganglion.in_synapse.test_agent.consistency import send_in_order

ROWS = [(299, "a"), (301, "b"), (302, "c")]


def sent(upto: int, limit: int = 100) -> Any:
    """Return the rows sent up to a position; 300 is still being written."""

    async def update(_writer: str, from_token: int, upto_token: int, limit: int) -> Any:
        # As DatabaseStore.get_all_updated_caches: without an upper bound.
        rows = [row for row in ROWS if row[0] > from_token][:limit]
        limited = len(rows) == limit
        return rows, rows[-1][0] if limited else upto_token, limited

    stream = SimpleNamespace(update_function=update)
    send_in_order(stream)
    return asyncio.run(stream.update_function("master", 298, upto, limit))


def test_a_row_is_not_sent_before_one_with_a_lower_id() -> None:
    assert sent(299) == ([(299, "a")], 299, False)
    assert sent(298) == ([], 298, False)
    assert sent(302) == (ROWS, 302, False)


def test_a_limit_does_not_pass_the_position() -> None:
    assert sent(299, 2) == ([(299, "a")], 299, True)
    assert sent(302, 2) == (ROWS[:2], 301, True)
