"""A change wakes the long polls of all users that it concerns, in any process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.federation import trust
from tests.harness import Server, free_port
from tests.homeserver import Homeserver
from tests.matrix import CLIENT, Clients
from tests.raw_http import Answer, raw_request
from tests.wakes import KINDS, Kind, World, listeners_in, woken

# /sync in one process, each stream's writer in another.
WORKERS = "synchrotron, stream_writers, event_persister, federation_inbound"
# Without the cache, an answer to the same question holds the latest changes.
OPERATOR_FILE = """\
caches: {sync_response_cache_duration: 0}
include_profile_updates_in_sync: true
experimental_features: {msc4306_enabled: true, msc4354_enabled: true}
"""
# In milliseconds. The first is longer than anything takes here; the second a test waits out.
LONG, SHORT = 45_000, 3_000
# The changes that wake no poll without a fix, by the fix.
WITHOUT = {
    "device_list_wakes": {"signature of another user", "device of a user in no room"},
    "profile_wakes": {"profile of a user in no room"},
}


@contextmanager
def serving(
    workers: str, authority: Authority, directory: Path, fixes: str = "all"
) -> Iterator[tuple[Server, Homeserver]]:
    """A server, and another homeserver that it can verify."""
    trusted = directory / "authority.pem"
    trusted.write_bytes(authority.path.read_bytes())
    trusted.chmod(0o644)
    variables = {
        "GANGLION_FIXES": fixes,
        "SYNAPSE_ENABLE_METRICS": "yes",
        "CONTROL_PORT": str(free_port()),
    }
    with Server(workers, variables) as server:
        copy = server.root / "authority.pem"
        copy.write_bytes(authority.path.read_bytes())
        text = OPERATOR_FILE + trust(str(copy))
        Path(server.data, "homeserver.d", "50-test.yaml").write_text(text)
        server.start()
        other = Homeserver(free_port(), "localhost")
        with other.open(authority, directory):
            yield server, other


@asynccontextmanager
async def world_of(server: Server, other: Homeserver) -> AsyncIterator[World]:
    """Users of both, most of them in a room."""

    def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        return raw_request(server.http_port, method, path, headers, body)

    async with Clients(server.base_url) as clients:
        alice, bob, carol = [await clients.register(name) for name in ("alice", "bob", "carol")]
        body = {"preset": "public_chat", "room_version": "10"}
        room_id = (await alice.call("POST", f"{CLIENT}/createRoom", body))["room_id"]
        await bob.call("POST", f"{CLIENT}/join/{room_id}", {})
        path = f"{CLIENT}/rooms/{room_id}/send/m.room.message/1"
        sent = await alice.call("PUT", path, {"msgtype": "m.text", "body": "first"})
        zoe = await asyncio.to_thread(other.join, send, room_id, other.user("zoe"))
        yield World(
            alice=alice,
            alice_phone=await clients.login(alice.user_id, alice.password),
            bob=bob,
            carol=carol,
            carol_phone=await clients.login(carol.user_id, carol.password),
            room_id=room_id,
            event_id=sent["event_id"],
            other=other,
            zoe=zoe,
            send=send,
        )


async def count(server: Server, process: str) -> int:
    """Return how many polls wait in a process."""
    port = int(server.environment["CONTROL_PORT"])
    answer = await asyncio.to_thread(raw_request, port, "GET", f"/metrics/{process}")
    return listeners_in(answer.body.decode())


async def asleep(
    server: Server, other: Homeserver, process: str, kinds: list[Kind], milliseconds: int
) -> dict[str, Any]:
    """Return the kinds of change that do not wake a poll in a process, with what went wrong."""
    listeners = partial(count, server, process)
    found: dict[str, Any] = {}
    async with world_of(server, other) as world:
        for kind in kinds:
            failures = await woken(world, kind, listeners, milliseconds)
            if failures:
                found[kind.name] = failures
    return found


@pytest.mark.parametrize(
    ("workers", "process"), [(WORKERS, "synchrotron1"), ("none", "main")], ids=["workers", "main"]
)
def test_each_kind_of_change_wakes_a_long_poll(
    workers: str, process: str, authority: Authority, tmp_path: Path
) -> None:
    with serving(workers, authority, tmp_path) as (server, other):
        found = asyncio.run(asleep(server, other, process, KINDS, LONG))
        assert found == {}
        server.stop()


def test_without_the_fixes_some_changes_wake_no_long_poll(
    authority: Authority, tmp_path: Path
) -> None:
    names = {name for names in WITHOUT.values() for name in names}
    # The signature is of keys that others upload.
    keys = [kind for kind in KINDS if kind.name.endswith("cross signing keys")]
    with serving(WORKERS, authority, tmp_path, "none") as (server, other):
        found = asyncio.run(
            asleep(
                server, other, "synchrotron1",
                [kind for kind in KINDS if kind in keys or kind.name in names], SHORT,
            )
        )  # fmt: skip
        assert set(found) == names
        server.stop()
