"""A worker with more to do than it can answers 429, and serves again afterwards."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest

from tests.harness import WITHIN, Server
from tests.matrix import CLIENT, Clients

AT_ONCE = 4
# Clients, many more than are taken at once.
CROWD = 24
# Of those, in milliseconds, that wait at the same worker for something to happen.
LONG_POLL = 60_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("client_reader+synchrotron", {"GANGLION_REQUESTS_AT_ONCE": str(AT_ONCE)}) as made:
        made.start()
        yield made


async def crowd(server: Server) -> None:
    """Have users ask and wait at one worker until it refuses a request."""
    answers: Counter[int] = Counter()
    async with (
        Clients(server.base_url) as clients,
        aiohttp.ClientSession(server.base_url) as session,
    ):
        alice = await clients.register("alice")
        headers = {"Authorization": f"Bearer {alice.nio.access_token}"}

        async def get(path: str) -> tuple[int, dict[str, str], str]:
            async with session.get(path, headers=headers) as response:
                return response.status, dict(response.headers), await response.text()

        status, _, text = await get(f"{CLIENT}/sync?timeout=0")
        assert status == 200
        since = json.loads(text)["next_batch"]
        # Synapse answers equal polls of one device together, so each has a time of its own.
        polls = [
            asyncio.create_task(get(f"{CLIENT}/sync?since={since}&timeout={LONG_POLL + n}"))
            for n in range(AT_ONCE + 2)
        ]
        await asyncio.sleep(0)
        # They wait, and take no place from anybody.
        for _ in range(AT_ONCE):
            assert (await get(f"{CLIENT}/capabilities"))[0] == 200
        refused: list[tuple[int, dict[str, str], str]] = []

        async def ask() -> None:
            while not refused:
                answer = await get(f"{CLIENT}/capabilities")
                answers[answer[0]] += 1
                if answer[0] != 200:
                    refused.append(answer)

        async with asyncio.timeout(WITHIN):
            await asyncio.gather(*(ask() for _ in range(CROWD)))
        assert set(answers) == {200, 429}
        status, found, text = refused[0]
        assert json.loads(text) == {
            "errcode": "M_LIMIT_EXCEEDED",
            "error": "This part of the server is busy",
            "retry_after_ms": 2000,
        }
        assert found["Retry-After"] == "2"
        assert found["Access-Control-Allow-Origin"] == "*"
        # One after the other is never too many.
        for _ in range(AT_ONCE):
            assert (await get(f"{CLIENT}/capabilities"))[0] == 200
        for poll in polls:
            assert not poll.done()
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)


def test_a_worker_that_is_asked_too_much_refuses_and_recovers(server: Server) -> None:
    asyncio.run(crowd(server))
