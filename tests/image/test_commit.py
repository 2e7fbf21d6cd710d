"""A prepared server committed as an image, from which integration tests start."""

import asyncio

from tests.image.engine import CLIENT_ENVIRONMENT, container, docker
from tests.matrix import Clients

PASSWORD = "a password of dora's"


def test_a_committed_container_starts_with_its_data(image: str) -> None:
    environment = {**CLIENT_ENVIRONMENT, "WORKERS": "none"}
    with container(image, environment) as first:
        first.wait_healthy()
        first.ganglion("register-user", "dora", stdin=f"{PASSWORD}\n")
        first.stop()
        prepared = docker("commit", first.id)
    try:
        with container(prepared, environment) as second:
            second.wait_healthy()
            asyncio.run(log_in(second.base_url))
    finally:
        docker("image", "rm", prepared)


async def log_in(base_url: str) -> None:
    async with Clients(base_url) as clients:
        session = await clients.login("@dora:localhost", PASSWORD)
        assert session.user_id == "@dora:localhost"
