"""A plain Synapse with SQLite and users is imported, and goes on as `medium`."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nio import MemoryDownloadResponse

from tests.account_flows import upload
from tests.harness import GANGLION, OPERATOR_FILE, START_WITHIN, Server, free_port, wait_until
from tests.matrix import Clients, eventually, ok
from tests.raw_http import raw_request

KEY = "ed25519 a_plain cOMHJ1FvPIqZOhDxvGwZ0DIHMhqkJ4hMfTrDd2zkiPs"
HOMESERVER = f"""\
server_name: example.org
report_stats: false
pid_file: /data/homeserver.pid
listeners:
  - port: {{port}}
    bind_addresses: [127.0.0.1]
    type: http
    resources: [{{{{names: [client, federation]}}}}]
database: {{{{name: sqlite3, args: {{{{database: {{old}}/homeserver.db}}}}}}}}
media_store_path: {{old}}/media_store
signing_key_path: {{old}}/example.org.signing.key
macaroon_secret_key: a-macaroon
registration_shared_secret: only-for-tests
enable_registration: true
enable_registration_without_verification: true
{OPERATOR_FILE.replace("{", "{{").replace("}", "}}")}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The things of the old server that the new one has to have."""

    tokens: tuple[tuple[str, str], ...]
    room_id: str
    event_id: str
    media: str
    image: bytes


@contextlib.contextmanager
def plain_synapse(old: Path) -> Iterator[str]:
    """Run Synapse alone, as its own documentation says. Yields its address."""
    port = free_port()
    old.mkdir()
    (old / "homeserver.yaml").write_text(HOMESERVER.format(old=old, port=port))
    (old / "example.org.signing.key").write_text(f"{KEY}\n")
    with (old / "out.log").open("wb") as log:
        command = ("-m", "synapse.app.homeserver", "-c", f"{old}/homeserver.yaml")
        process = subprocess.Popen(
            [sys.executable, *command], cwd=old, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until("plain Synapse", lambda: _answers(port), START_WITHIN)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(START_WITHIN)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return raw_request(port, "GET", "/health").status == 200
    return False


async def live_there(url: str) -> Kept:
    """Register two users, who talk in a room and share an image."""
    async with Clients(url) as clients:
        alice, bob = await clients.register("alice"), await clients.register("bob")
        made = await alice.call(
            "POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat", "name": "before"}
        )
        room_id = str(made["room_id"])
        await bob.call("POST", f"/_matrix/client/v3/join/{room_id}", {})
        sent = await alice.call(
            "PUT",
            f"/_matrix/client/v3/rooms/{room_id}/send/m.room.message/t1",
            {"msgtype": "m.text", "body": "before the move"},
        )
        media, image = await upload(alice)
        return Kept(
            tokens=tuple((user.user_id, user.nio.access_token) for user in (alice, bob)),
            room_id=room_id,
            event_id=str(sent["event_id"]),
            media=media,
            image=image,
        )


async def go_on(url: str, kept: Kept) -> None:
    """Use the old tokens, room and image on the new server."""
    async with Clients(url) as clients:
        alice, bob = (clients.resume(*pair) for pair in kept.tokens)
        room = f"/_matrix/client/v3/rooms/{kept.room_id}"
        event = await bob.call("GET", f"{room}/event/{kept.event_id}")
        assert event["content"]["body"] == "before the move"
        content = {"msgtype": "m.text", "body": "after the move"}
        sent = await alice.call("PUT", f"{room}/send/m.room.message/t2", content)
        page = await bob.call("GET", f"{room}/messages?dir=b&limit=50")
        assert page["chunk"][0]["event_id"] == sent["event_id"]
        assert kept.event_id in [event["event_id"] for event in page["chunk"]]
        down = ok(await bob.nio.download(kept.media), MemoryDownloadResponse)
        assert down.body == kept.image

        async def found() -> bool:
            search = {"search_term": alice.user_id.removeprefix("@").partition(":")[0]}
            path = "/_matrix/client/v3/user_directory/search"
            answer = await bob.call("POST", path, search)
            return alice.user_id in [user["user_id"] for user in answer["results"]]

        await eventually(found)


def import_old(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GANGLION, "import", *words],
        env=server.environment,
        cwd=server.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * START_WITHIN,
        check=False,
    )


@pytest.fixture(scope="module")
def moved() -> Iterator[tuple[Server, Path, Kept, dict[str, str]]]:
    """A server that was not started yet, with the data of a plain Synapse, and both outputs."""
    with Server("medium", {"SYNAPSE_SERVER_NAME": "example.org"}) as server:
        shutil.rmtree(server.data)
        old = server.root / "old"
        with plain_synapse(old) as url:
            kept = asyncio.run(live_there(url))
        before = digests(old)
        done = import_old(server, str(old), "--write", str(server.data), "--from-sqlite")
        assert done.returncode == 0, done.stderr
        assert digests(old) == before
        (server.data / "homeserver.d" / "00-tests.yaml").write_text(OPERATOR_FILE)
        yield server, old, kept, {"out": done.stdout, "err": done.stderr}


def digests(directory: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_tokens_rooms_and_media_are_intact(
    moved: tuple[Server, Path, Kept, dict[str, str]],
) -> None:
    server, old, kept, said = moved
    assert "WORKERS=none" in said["out"]
    assert f"{server.data}/media_store  from {old}/media_store" in said["out"]
    for line in ("background updates: done", "checked the number of rows of", "moved "):
        assert line in said["err"]
    assert (server.data / "example.org.signing.key").read_text() == f"{KEY}\n"
    assert not (server.data / ".porting").exists()
    server.start()
    names = {row["name"] for row in server.status()}
    assert {"event_persister1", "media_repository1", "postgres"} <= names
    asyncio.run(go_on(server.base_url, kept))


def test_a_volume_is_moved_in_place_with_its_log(
    moved: tuple[Server, Path, Kept, dict[str, str]],
) -> None:
    """The volume of Synapse's image, whose last write is only in the write-ahead log."""
    _, old, kept, _ = moved
    user_id, _ = kept.tokens[0]
    with Server("none", {"SYNAPSE_SERVER_NAME": "example.org"}) as server:
        shutil.copytree(old, server.data, dirs_exist_ok=True)
        path = server.data / "homeserver.yaml"
        path.write_text(path.read_text().replace(str(old), str(server.data)))
        if os.geteuid() == 0:
            # The account of Synapse in its image is another than here.
            for item in (server.data, *server.data.rglob("*")):
                os.chown(item, 4711, 4711)
        file = server.data / "homeserver.db"
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            statement = "UPDATE profiles SET displayname = 'from the log' WHERE full_user_id = ?"
            assert connection.execute(statement, (user_id,)).rowcount == 1
            connection.commit()
            before = digests(server.data)
            assert f"{file}-wal" in before
            done = import_old(server, "--from-sqlite")
            assert done.returncode == 0, done.stderr
            after = digests(server.data)
            assert {path: after.get(path) for path in before} == before
        again = import_old(server, "--from-sqlite", str(file))
        assert again.returncode == 2
        assert "already has a PostgreSQL database" in again.stderr
        server.start()
        answer = server.get(f"/_matrix/client/v3/profile/{user_id}")
        assert answer.json()["displayname"] == "from the log"
        checked = server.ganglion("check", WORKERS="medium")
        assert checked.returncode == 0, checked.stderr


def test_a_file_that_is_damaged_or_no_synapse_leaves_nothing(
    moved: tuple[Server, Path, Kept, dict[str, str]], tmp_path: Path
) -> None:
    server, old, *_ = moved
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    content = bytearray((old / "homeserver.db").read_bytes())
    damaged = tmp_path / "damaged.db"
    for place in range(4096 * 20, 4096 * 200):
        content[place] = 0x5A
    damaged.write_bytes(content)
    for file, message in ((other, "is not a database of Synapse"), (damaged, str(damaged))):
        target = server.root / "target"
        done = import_old(server, str(old), "--write", str(target), "--from-sqlite", str(file))
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert not target.exists()


def test_the_report_is_json_too(moved: tuple[Server, Path, Kept, dict[str, str]]) -> None:
    server, old, *_ = moved
    done = import_old(server, "--json", str(old))
    assert json.loads(done.stdout)["server_name"] == "example.org"
