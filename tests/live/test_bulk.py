"""Many servers at once on one machine."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.certificates import Authority
from tests.federation import confer, federating
from tests.harness import WITHIN, Server

COUNT = 5
FEDERATING = 3


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[list[Server]]:
    """Five servers, every second one with a worker. In the end each stops and leaves no process."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(Server("client_reader" if number % 2 else "none"))
            for number in range(COUNT)
        ]
        for number, server in enumerate(made[:FEDERATING]):
            federating(server, ("localhost", "127.0.0.1")[number % 2], authority)
        began = time.monotonic()
        for server in made:
            server.launch()
        for server in made:
            server.wait_ready()
        print(f"{COUNT} servers ready after {time.monotonic() - began:.1f} s")
        yield made
        for server in made:
            server.stop()


def test_each_server_is_separate(servers: list[Server]) -> None:
    for server in servers:
        names = {row["name"] for row in server.status()}
        worker = {"client_reader1"} if server.environment["WORKERS"] != "none" else set()
        assert names - {"main", "postgres", "redis", "nginx"} >= worker
        assert server.get("/_matrix/client/versions").status == 200
    assert len({server.http_port for server in servers}) == COUNT


def test_they_federate(servers: list[Server]) -> None:
    urls = [server.base_url for server in servers[:FEDERATING]]
    found = asyncio.run(confer(urls, WITHIN))
    print(f"joined after {found.joined:.1f} s, heard after {found.heard:.1f} s more")
