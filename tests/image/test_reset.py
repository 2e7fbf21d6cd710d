"""A container in test mode is reset, also one that was committed and runs again."""

import contextlib
import http.client
import json
from typing import Any

from tests.image.engine import CLIENT_ENVIRONMENT, Container, container, docker

ENVIRONMENT = {**CLIENT_ENVIRONMENT, "WORKERS": "client_reader", "GANGLION_TEST_MODE": "yes"}


def users(server: Container) -> list[str]:
    """The names of two new users, made from inside."""
    made = json.loads(server.ganglion("test", "users", "2", "--json").stdout)["users"]
    assert all(whoami(server, user["access_token"]) == 200 for user in made)
    return [user["localpart"] for user in made]


def whoami(server: Container, token: str) -> int:
    host = server.base_url.removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(host, timeout=120)) as connection:
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("GET", "/_matrix/client/v3/account/whoami", headers=headers)
        return connection.getresponse().status


def reset(server: Container) -> float:
    answer: dict[str, Any] = json.loads(server.ganglion("test", "reset", "--json").stdout)
    return float(answer["seconds"])


def test_a_container_is_reset_and_so_is_what_was_committed(image: str) -> None:
    with container(image, ENVIRONMENT) as first:
        first.wait_healthy()
        assert users(first) == ["user1", "user2"]
        reset(first)
        assert users(first) == ["user1", "user2"]
        first.stop()
        prepared = docker("commit", first.id)
    try:
        changed = {**ENVIRONMENT, "POSTGRES_PASSWORD": "another"}
        with container(prepared, changed) as second:
            second.wait_healthy()
            assert users(second) == ["user3", "user4"]
            for _ in range(2):
                reset(second)
                assert users(second) == ["user1", "user2"]
            second.stop()
    finally:
        docker("image", "rm", prepared)
