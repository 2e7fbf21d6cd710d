"""Backups of a running server, and the server after a restore elsewhere."""

import asyncio
import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ganglion.data.backup import restoring
from tests.backups import SUMMARY, Member, build
from tests.harness import GANGLION, WITHIN, Server, wait_until
from tests.matrix import CLIENT, Clients, Json, Session

MB = 1024**2
KEYS = f"{CLIENT}/keys"
ONE_TIME_KEY = "signed_curve25519:AAAAAQ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A server before its backup."""

    backup: Path
    user: str
    device: str
    token: str
    room: str
    message: str
    media: str
    key: str
    requests: int
    most_memory: int


# A process begins with the memory of the one that starts it: this one's is small.
MEASURE = """\
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], check=False).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, status)
"""


def memory_and_status(server: Server, *words: str) -> tuple[int, int]:
    """Run a verb. Returns the most memory of it or a program below it in bytes, and its status."""
    found = subprocess.run(
        [sys.executable, "-I", "-c", MEASURE, *GANGLION, *words],
        env=server.environment,
        cwd=server.root,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=True,
    )
    memory, status = found.stdout.split()[-2:]
    return int(memory), int(status)


async def say(session: Session, room: str, text: str) -> str:
    path = f"{CLIENT}/rooms/{room}/send/m.room.message/{text}"
    answer = await session.call("PUT", path, {"msgtype": "m.text", "body": text})
    return str(answer["event_id"])


async def upload(session: Session, content: bytes) -> str:
    answer = await session.call("POST", "/_matrix/media/v3/upload", content)
    return str(answer["content_uri"])


async def download(session: Session, uri: str) -> bytes:
    path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
    response = await session.nio.send(
        "GET", path, headers={"Authorization": f"Bearer {session.nio.access_token}"}
    )
    async with response:
        assert response.status == 200
        return bytes(await response.read())


def one_time_key(session: Session) -> Json:
    key = {"key": "x" * 43, "signatures": {session.user_id: {"ed25519:D": "y" * 86}}}
    return {"one_time_keys": {ONE_TIME_KEY: key}}


async def with_traffic(server: Server, backup: Path) -> Past:
    """Fill a server, and back it up while others use it. Each of their requests must succeed."""
    async with Clients(server.base_url) as clients:
        anna = await clients.register("anna")
        room = str((await anna.call("POST", f"{CLIENT}/createRoom", {}))["room_id"])
        message = await say(anna, room, "before")
        media = await upload(anna, b"picture" * 100)
        await anna.call("POST", f"{KEYS}/upload", one_time_key(anna))
        others = [await clients.register("other") for _ in range(3)]
        rooms = [
            (await user.call("POST", f"{CLIENT}/createRoom", {}))["room_id"] for user in others
        ]
        done, asked, busy = False, 0, asyncio.Event()

        async def use(user: Session, own: str) -> None:
            nonlocal asked
            while not done:
                await say(user, own, f"during-{asked}")
                await download(user, await upload(user, b"more" * 50))
                await user.sync()
                asked += 4
                if asked >= 20:
                    busy.set()

        traffic = [asyncio.create_task(use(*pair)) for pair in zip(others, rooms, strict=True)]
        try:
            await asyncio.wait_for(busy.wait(), WITHIN)
            since = asked
            memory, status = await asyncio.to_thread(
                memory_and_status, server, "backup", str(backup)
            )
            assert status == 0
            assert asked > since
        finally:
            done = True
            # The first failed request is raised here.
            await asyncio.gather(*traffic)
        return Past(
            backup=backup,
            user=anna.user_id,
            device=anna.device_id,
            token=str(anna.nio.access_token),
            room=room,
            message=message,
            media=media,
            key=(server.data / "localhost.signing.key").read_text(),
            requests=asked,
            most_memory=memory,
        )


@pytest.fixture(scope="module")
def origin() -> Iterator[Server]:
    with Server("small") as server:
        server.start()
        with connected(server) as cursor:
            cursor.execute(REMOTE_MEDIA)
            cursor.connection.commit()
        for name in ("remote_content/far.org/aa/bb/cc", "url_cache/2026-01-01/abc"):
            path = server.data / "media_store" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(b"copy")
        yield server


@pytest.fixture(scope="module")
def past(origin: Server) -> Past:
    return asyncio.run(with_traffic(origin, origin.root / "backup.tar"))


@contextlib.contextmanager
def connected(server: Server, role: str = "synapse") -> Iterator[Any]:
    """Yield a cursor of Synapse's role."""
    password = (server.data / "secrets" / "postgres_password").read_text().strip()
    connection = psycopg2.connect(
        host=f"{server.run}/postgres", user=role, dbname="synapse", password=password
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor


# Copies of two media of another server, of which one is in quarantine, and a preview of a URL.
REMOTE_MEDIA = """
INSERT INTO remote_media_cache (media_origin, media_id, media_type, created_ts, media_length,
    filesystem_id, quarantined_by) VALUES
    ('far.org', 'plain', 'image/png', 1, 9, 'aabbcc', NULL),
    ('far.org', 'bad', 'image/png', 1, 9, 'aabbdd', '@admin:localhost');
INSERT INTO remote_media_cache_thumbnails (media_origin, media_id, thumbnail_width,
    thumbnail_height, thumbnail_method, thumbnail_type, thumbnail_length, filesystem_id)
    VALUES ('far.org', 'plain', 32, 32, 'scale', 'image/png', 9, 'aabbcc');
INSERT INTO local_media_repository (media_id, media_type, media_length, created_ts, url_cache)
    VALUES ('2026-01-01_abc', 'image/png', 9, 1, 'https://far.org/');
"""


def remote_media(server: Server) -> list[str]:
    """Return the rows for files that a backup leaves out."""
    with connected(server) as cursor:
        cursor.execute(
            "SELECT media_id FROM remote_media_cache"
            " UNION ALL SELECT 'thumbnail' FROM remote_media_cache_thumbnails"
            " UNION ALL SELECT media_id FROM local_media_repository WHERE url_cache IS NOT NULL"
        )
        return [row[0] for row in cursor.fetchall()]


def empty(server: Server) -> Server:
    """Give a server an empty data directory."""
    shutil.rmtree(server.data)
    return server


async def is_as_before(server: Server, past: Past) -> None:
    """Use a restored server with the token from before the backup."""
    assert (server.data / "localhost.signing.key").read_text() == past.key
    async with Clients(server.base_url) as clients:
        anna = clients.resume(past.user, past.token)
        path = f"{CLIENT}/rooms/{past.room}/event/{past.message}"
        assert (await anna.call("GET", path))["content"]["body"] == "before"
        assert await download(anna, past.media) == b"picture" * 100
        answer = await anna.sync()
        assert answer["device_one_time_keys_count"].get("signed_curve25519", 0) == 0
        # Nobody is given a key for a second time.
        wanted = {"one_time_keys": {past.user: {past.device: "signed_curve25519"}}}
        claimed = await anna.call("POST", f"{KEYS}/claim", wanted)
        assert claimed["one_time_keys"] == {}
        await anna.call("POST", f"{KEYS}/upload", one_time_key(anna))
        claimed = await anna.call("POST", f"{KEYS}/claim", wanted)
        assert list(claimed["one_time_keys"][past.user][past.device]) == [ONE_TIME_KEY]
        await say(anna, past.room, "after")
        await download(anna, await upload(anna, b"new"))
        other = await clients.register("new")
        await other.call("POST", f"{CLIENT}/createRoom", {})


def test_a_backup_under_traffic_fails_no_request_and_takes_little_memory(past: Past) -> None:
    assert past.requests > 20
    assert past.most_memory <= 100 * MB
    assert past.backup.stat().st_mode & 0o777 == 0o600
    assert not list(past.backup.parent.glob("*.part"))


def test_it_is_never_overwritten(origin: Server, past: Past) -> None:
    before = past.backup.stat()
    answer = origin.ganglion("backup", str(past.backup))
    assert answer.returncode == 2
    assert "exists already" in answer.stderr
    assert past.backup.stat() == before


def test_it_is_verified_and_rehearsed_without_the_server(past: Past) -> None:
    with Server("none") as other:
        answer = other.ganglion("backup", "--rehearse", "--json", str(past.backup))
        assert answer.returncode == 0, answer.stderr
        found = json.loads(answer.stdout)
        assert found["rehearsal"]["users"] == 4
        assert found["rehearsal"]["rooms"] == 4
        assert found["rehearsal"]["events"] > 20
        assert found["cut"] == []
        answer = other.ganglion("backup", "--verify", str(past.backup))
        assert answer.returncode == 0, answer.stderr
        assert "every byte is as it was written" in answer.stdout
        assert not list(Path(tempfile.gettempdir()).glob("ganglion-rehearsal-*"))


def test_a_restored_server_is_the_same_server(past: Past) -> None:
    with Server("small") as server:
        answer = empty(server).ganglion("restore", str(past.backup))
        assert answer.returncode == 0, answer.stderr
        server.start()
        asyncio.run(is_as_before(server, past))
        # Synapse compares sequences with tables and streams, at each start of each process.
        server.stop()
        server.start()
        assert sequences_behind(server) == []
        # Without a file, a row means 404 for good; that of a medium in quarantine has no file.
        assert remote_media(server) == ["bad"]
        assert not (server.data / "media_store" / "remote_content").exists()
        server.stop()


def test_remote_media_are_in_it_on_demand(origin: Server, past: Past) -> None:
    path = past.backup.with_name("all.tar")
    answer = origin.ganglion("backup", "--remote-media", str(path))
    assert answer.returncode == 0, answer.stderr
    with tarfile.open(path) as archive:
        names = archive.getnames()
    with tarfile.open(past.backup) as archive:
        without = archive.getnames()
    for name in ("media/remote_content/far.org/aa/bb/cc", "media/url_cache/2026-01-01/abc"):
        assert name in names
        assert name not in without


def test_a_full_disk_leaves_nothing(origin: Server, past: Past, tmp_path: Path) -> None:
    """A limit for the size of files stands for the disk."""
    limit = ("prlimit", "--fsize=100000")
    path = tmp_path / "b.tar"
    answer = subprocess.run(
        [*limit, *GANGLION, "backup", str(path)],
        env=origin.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2, answer.stderr
    assert f"{path}: cannot be written: File too large" in answer.stderr
    assert list(tmp_path.iterdir()) == []
    with Server("none") as server:
        answer = subprocess.run(
            [*limit, *GANGLION, "restore", str(past.backup)],
            env=empty(server).environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 2, answer.stderr
        assert "Traceback" not in answer.stderr
        assert {path.name for path in server.data.iterdir()} <= {".lock", "secrets"}


def sequences_behind(server: Server) -> list[str]:
    """Return sequences that would give a value out again that a stream has passed."""
    program = max(Path("/usr/lib/postgresql").glob("*/bin")) / "psql"
    query = (
        "SELECT s.stream_name FROM stream_positions s JOIN (VALUES"
        " ('events', 'events_stream_seq'), ('receipts', 'receipts_sequence'),"
        " ('account_data', 'account_data_sequence'), ('to_device', 'device_inbox_sequence'))"
        " AS n (stream, seq) ON n.stream = s.stream_name JOIN pg_sequences q"
        " ON q.sequencename = n.seq WHERE abs(s.stream_id) > coalesce(q.last_value, 0)"
        " UNION ALL SELECT 'events table' FROM events HAVING max(stream_ordering) >"
        " (SELECT last_value FROM events_stream_seq)"
    )
    arguments = f"host={server.run}/postgres user=synapse dbname=synapse"
    arguments += f" passfile={server.run}/conf/secrets/pgpass"
    answer = subprocess.run(
        [program, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", arguments, "-c", query],
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.split()


def test_only_an_empty_directory_is_restored_into(origin: Server, past: Past) -> None:
    answer = origin.ganglion("restore", str(past.backup))
    assert answer.returncode == 2
    assert "is not empty: it holds 'homeserver.d', 'localhost.signing.key'" in answer.stderr


def test_a_damaged_backup_is_refused_with_nothing_written(past: Past, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tar"
    content = bytearray(past.backup.read_bytes())
    content[len(content) // 3] ^= 1
    damaged.write_bytes(content)
    with Server("none") as server:
        empty(server)
        answer = server.ganglion("restore", str(damaged))
        assert answer.returncode == 2
        assert "does not have the SHA-256" in answer.stderr
        assert not server.data.exists()


def test_a_dump_that_is_none_is_refused_with_nothing_written(tmp_path: Path) -> None:
    """Its checksums are right, and it is not what pg_dump writes."""
    bad = tmp_path / "bad.tar"
    bad.write_bytes(build([Member(path="database/000000", content=b"PGDMP" + b"\xff" * 5000)]))
    with Server("none") as server:
        empty(server)
        for words in (("restore",), ("backup", "--verify")):
            answer = server.ganglion(*words, str(bad), SYNAPSE_SERVER_NAME=SUMMARY.server_name)
            assert answer.returncode == 2
            assert "has a dump that cannot be read: pg_restore failed" in answer.stderr
        assert not server.data.exists()


def killed(server: Server, past: Past, moment: str) -> None:
    """Kill a restore once a file is there."""
    path = server.data / ".restoring" / moment
    process = subprocess.Popen(
        [*GANGLION, "restore", str(past.backup)],
        env=server.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(moment, lambda: path.exists() or process.poll() is not None)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_an_interrupted_restore_starts_no_server_and_begins_anew(past: Past) -> None:
    with Server("none") as server:
        empty(server)
        for moment in (restoring.JOURNAL, "data/homeserver.d", "postgres/PG_VERSION"):
            killed(server, past, moment)
            for verb in ("run", "check"):
                answer = server.ganglion(verb)
                assert answer.returncode == 2
                assert "holds a restore that has not ended" in answer.stderr
        answer = server.ganglion("restore", str(past.backup))
        assert answer.returncode == 0, answer.stderr
        assert "a restore was interrupted here: it begins anew" in answer.stderr
        assert not list(server.data.glob(".restoring*"))
        server.start()
        asyncio.run(is_as_before(server, past))
        server.stop()


def test_a_restore_that_is_ended_leaves_nothing(past: Past) -> None:
    with Server("none") as server:
        process = subprocess.Popen(
            [*GANGLION, "restore", str(past.backup)],
            env=empty(server).environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        cluster = server.data / ".restoring" / "postgres" / "PG_VERSION"
        wait_until("the cluster", cluster.exists)
        process.terminate()
        process.communicate(timeout=WITHIN)
        assert process.returncode == 128 + signal.SIGTERM
        assert {path.name for path in server.data.iterdir()} <= {".lock", "secrets"}


def test_standard_output_and_a_reader_that_goes_away(origin: Server, tmp_path: Path) -> None:
    path = tmp_path / "piped.tar"
    with path.open("wb") as out:
        process = subprocess.run(
            [*GANGLION, "backup", "-"],
            env=origin.environment,
            stdout=out,
            stderr=subprocess.PIPE,
            check=True,
        )
    assert b"-: " in process.stderr
    assert origin.ganglion("backup", "--verify", str(path)).returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    gone = subprocess.run(
        [*GANGLION, "backup", "-"],
        env=origin.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert gone.returncode == 1
    assert gone.stderr == b"ganglion: the reader of the backup has gone\n"


@contextlib.contextmanager
def locked_table(server: Server) -> Iterator[Callable[[], bool]]:
    """Keep a dump waiting: it reads all tables. Yields a function that says whether it waits."""
    with connected(server) as cursor:
        cursor.execute("LOCK TABLE threepid_validation_token")

        def is_waiting() -> bool:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(cursor.fetchone() != (0,))

        yield is_waiting


def test_a_database_that_dies_or_a_killed_backup_leave_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    part = tmp_path / "b.tar.part"
    with Server("none") as server:
        server.start()

        def begin() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [*GANGLION, "backup", str(path)],
                env=server.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )

        with locked_table(server) as is_waiting:
            first = begin()
            wait_until("the dump", is_waiting)
            first.kill()
            first.communicate()
            assert part.exists()
            wait_until("the end of the dump", lambda: not is_waiting())
        with locked_table(server) as is_waiting:
            second = begin()
            wait_until("the dump", is_waiting)
            os.kill(server.pid("postgres"), signal.SIGKILL)
            _, said = second.communicate(timeout=WITHIN)
        assert second.returncode == 1
        assert b"pg_dump failed" in said
        assert not list(tmp_path.iterdir())
        wait_until("an answer", lambda: server.ganglion("ready").returncode == 0)
        assert server.ganglion("backup", str(path)).returncode == 0
        assert server.ganglion("backup", "--verify", str(path)).returncode == 0
        server.stop()


def test_scheduled_backups_are_made_checked_and_deleted_and_failures_are_said() -> None:
    with Server("none", {"UID": "4712", "GID": "4713"}) as server:
        place = server.root / "scheduled"
        server.environment |= {
            "GANGLION_BACKUP": str(place),
            "GANGLION_BACKUP_EVERY": "1s",
            "GANGLION_BACKUP_KEEP": "2",
        }
        server.start()
        server.log.wait_for(r"backed up: .*/ganglion-000004-\w+\.tar, ")
        kept = sorted(path.name for path in place.glob("*.tar"))
        assert len(kept) <= 3
        assert place.stat().st_mode & 0o777 == 0o700
        row = next(row for row in server.all_status() if row["name"] == "backup")
        assert row["state"] in {"WAITING", "RUNNING"}
        foreign = place / "of-mine.tar"
        foreign.touch()
        # Nothing can be written there now.
        place.rename(server.root / "moved")
        place.touch()
        server.log.wait_for("the scheduled backup failed: .*scheduled: File exists")
        said = server.ganglion("status").stdout
        assert re.search(r"^backup +FAILED .*scheduled: File exists$", said, re.MULTILINE)
        assert (server.root / "moved" / "of-mine.tar").exists()
        assert server.ganglion("ready").returncode == 0
        place.unlink()
        server.log.wait_for(r"backed up: .*/ganglion-000001-\w+\.tar, ", server.log.mark())
        newest = str(max(place.glob("*.tar")))
        server.stop()
        with Server("none", {"UID": "4712", "GID": "4713"}) as other:
            answer = empty(other).ganglion("restore", newest)
            assert answer.returncode == 0, answer.stderr
            assert (other.data / "media_store").stat().st_uid == 4712
            other.start()
            other.stop()


# Runs a program on the server whenever its view is filled, as the end of a restore does.
RUNS_A_PROGRAM = """
CREATE FUNCTION run() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN COPY (SELECT 1) TO PROGRAM 'touch {path}'; RETURN 1; END $$;
CREATE MATERIALIZED VIEW trap AS SELECT run();
"""


def test_a_restore_never_has_the_rights_of_postgresqls_administrator() -> None:
    """Even if the database belongs to the administrator, whose dump could run programs."""
    administrator = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    role = {"POSTGRES_USER": administrator}
    with Server("none", role) as server, Server("none", role) as other:
        server.start()
        (server.root / "open").mkdir()
        (server.root / "open").chmod(0o777)
        trap = server.root / "open" / "run"
        with connected(server, administrator) as cursor:
            cursor.execute(RUNS_A_PROGRAM.format(path=trap))
            cursor.connection.commit()
            assert trap.exists()
            trap.unlink()
            answer = server.ganglion("backup", str(server.root / "bad.tar"))
            assert answer.returncode == 0, answer.stderr
            cursor.execute("DROP MATERIALIZED VIEW trap")
            cursor.connection.commit()
            answer = server.ganglion("backup", str(server.root / "good.tar"))
            assert answer.returncode == 0, answer.stderr
        server.stop()
        for words in (("restore",), ("backup", "--rehearse")):
            answer = empty(other).ganglion(*words, str(server.root / "bad.tar"))
            assert answer.returncode == 1
            # PostgreSQL's words for a role without the right differ between its versions.
            assert "REFRESH MATERIALIZED VIEW public.trap" in answer.stderr
            assert not trap.exists()
            other.data.mkdir(exist_ok=True)
        answer = empty(other).ganglion("restore", str(server.root / "good.tar"))
        assert answer.returncode == 0, answer.stderr
        other.start()
        with connected(other, administrator) as cursor:
            cursor.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
            assert cursor.fetchall() == [(administrator,)]
            cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'ganglion_restoring'")
            assert cursor.fetchone() == (0,)
        other.stop()
