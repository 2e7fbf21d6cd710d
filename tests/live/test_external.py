"""PostgreSQL and Redis servers outside of Ganglion."""

import asyncio
import contextlib
import json
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from ganglion.programs.postgres import database_lock
from ganglion.programs.postgres.external import arguments
from ganglion.settings.environment import from_environ
from tests.controls import ControlledServer
from tests.dependencies import PASSWORD, REDIS_PASSWORD, Postgres, Redis
from tests.flows import whole_flow
from tests.harness import GANGLION, SHARED_SECRET, WITHIN, Server, free_port, wait_until
from tests.matrix import CLIENT, Clients

# In seconds: more than GANGLION_WATCHDOG, and less than requests wait.
AWAY = 5.0


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A running server with the database `wrong`, whose locale is unusable."""
    server = Postgres()
    quoted = PASSWORD.replace("'", "''")
    server.start()
    server.execute(
        f"CREATE ROLE synapse LOGIN PASSWORD '{quoted}'",
        "CREATE DATABASE wrong OWNER synapse TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C'",
    )
    yield server
    server.remove()


def environment(postgres: Postgres, redis: Redis) -> dict[str, str]:
    return {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_PASSWORD": PASSWORD,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis.port),
        "REDIS_PASSWORD": REDIS_PASSWORD,
    }


def files(directory: Path) -> list[str]:
    """The names of all files in a data directory, but for its lock."""
    found = (path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")
    return sorted(str(path) for path in found)


def test_a_wrong_locale_is_rejected_with_a_working_statement(
    postgres: Postgres, redis: Redis
) -> None:
    with Server("none", environment(postgres, redis)) as server:
        answer = server.ganglion("run", POSTGRES_DB="wrong")
        assert answer.returncode == 2
        assert "LC_COLLATE C.UTF-8" in answer.stderr
        # Run the statement of the message.
        found = re.search(r'CREATE DATABASE "wrong" .*?;', answer.stderr)
        assert found
        statement = found[0].replace('"wrong"', '"right"')
        postgres.execute(statement)
        postgres.execute('DROP DATABASE "right"')


def test_a_wrong_password_is_rejected(postgres: Postgres, redis: Redis) -> None:
    with Server("none", environment(postgres, redis)) as server:
        answer = server.ganglion("run", POSTGRES_DB="wrong", POSTGRES_PASSWORD="guess")
        assert answer.returncode == 2
        assert "authentication failed" in answer.stderr
        assert "POSTGRES_PASSWORD" in answer.stderr
        assert "guess" not in answer.stderr


def test_pools_shrink_to_the_servers_connections_and_too_few_are_rejected(
    postgres: Postgres, redis: Redis
) -> None:
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres.execute(
        f"CREATE DATABASE few OWNER synapse {right}", "ALTER ROLE synapse CONNECTION LIMIT 8"
    )
    few = {"POSTGRES_DB": "few"}
    with Server("small", environment(postgres, redis) | few) as server:
        answer = server.ganglion("run")
        assert answer.returncode == 2
        assert (
            "the server has 4 connections for us: of 8, 0 are reserved, 1 in use and 3 spare;"
            " 5 processes of Synapse need 10 at the least" in answer.stderr
        )
    with Server("none", environment(postgres, redis) | few) as server:
        server.launch()
        server.log.wait_for(
            "PostgreSQL has 4 connections for Synapse: the pools have 4 together instead of 10"
        )
        server.stop()
    postgres.execute("ALTER ROLE synapse CONNECTION LIMIT -1", "DROP DATABASE few")


def test_an_empty_database_does_not_replace_one_with_accounts(
    postgres: Postgres, redis: Redis
) -> None:
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres.execute(f"CREATE DATABASE other OWNER synapse {right}")
    before = {"kind": "embedded", "name": "synapse", "role": "synapse"}
    record = {"format": 1, "server_name": "localhost", "database": before}
    with Server("none", environment(postgres, redis) | {"POSTGRES_DB": "other"}) as server:
        (server.data / "server.json").write_text(json.dumps(record))
        answer = server.ganglion("run")
        assert answer.returncode == 2
        assert (
            "its database other is empty, and this server's is synapse of synapse, embedded"
            f" ({server.data}/server.json)" in answer.stderr
        )
        assert json.loads((server.data / "server.json").read_text()) == record
    postgres.execute("DROP DATABASE other")


def test_a_database_that_needs_a_newer_synapse_is_refused_and_not_touched(
    postgres: Postgres, redis: Redis
) -> None:
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres.execute(f"CREATE DATABASE newer OWNER synapse {right}")
    tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_stat_user_tables"
    with postgres.connected("newer") as cursor:
        cursor.execute("CREATE TABLE schema_compat_version (compat_version int)")
        cursor.execute("CREATE TABLE schema_version (version int)")
        cursor.execute("INSERT INTO schema_compat_version VALUES (9998)")
        cursor.execute("INSERT INTO schema_version VALUES (9999)")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO synapse")
    with Server("none", environment(postgres, redis) | {"POSTGRES_DB": "newer"}) as server:
        before = files(server.data)
        answer = server.ganglion("run")
        assert answer.returncode == 2
        assert "is too old for the database newer at 127.0.0.1" in answer.stderr
        assert "needs 9998 or later" in answer.stderr
        assert "use an image with the Synapse that used it last" in answer.stderr
        assert files(server.data) == before
    with postgres.connected("newer") as cursor:
        cursor.execute(tables)
        assert cursor.fetchone() == ("schema_compat_version schema_version",)
    postgres.execute("DROP DATABASE newer")


def test_a_backup_goes_into_an_empty_external_database_and_never_into_the_old_one(
    postgres: Postgres, redis: Redis
) -> None:
    """Also if the restore is killed while it fills the database."""
    if redis.process is None:
        redis.start()
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    for database in ("origin", "target"):
        postgres.execute(f"CREATE DATABASE {database} OWNER synapse {right}")
    with postgres.connected("origin") as cursor:
        # Synapse's role may not read them.
        cursor.execute("CREATE SCHEMA others CREATE TABLE kept (a int)")
        cursor.execute('CREATE TABLE public."not Synapse\'s" (a int)')
    old = environment(postgres, redis) | {"POSTGRES_DB": "origin"}
    new = environment(postgres, redis) | {"POSTGRES_DB": "target"}
    with Server("none", old) as server, Server("none", new) as other:
        server.start()
        user = asyncio.run(registered(server))
        backup = server.root / "b.tar"
        answer = server.ganglion("backup", str(backup))
        assert answer.returncode == 0, answer.stderr
        server.stop()
        shutil.rmtree(other.data)
        answer = other.ganglion("restore", str(backup), POSTGRES_DB="origin")
        assert answer.returncode == 2
        assert "the database origin at 127.0.0.1 is not empty" in answer.stderr
        assert not other.data.exists()
        with postgres.connected("target") as cursor:
            cursor.execute("BEGIN; LOCK TABLE pg_class IN EXCLUSIVE MODE")
            process = subprocess.Popen(
                [*GANGLION, "restore", str(backup)],
                env=other.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

            def is_waiting() -> bool:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return process.poll() is not None or cursor.fetchone() != (0,)

            wait_until("restore of the database", is_waiting)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            cursor.execute("ROLLBACK")
        answer = other.ganglion("run")
        assert answer.returncode == 2
        assert "holds a restore that has not ended" in answer.stderr
        answer = other.ganglion("restore", str(backup))
        assert answer.returncode == 0, answer.stderr
        assert "a restore was interrupted here: it goes on" in answer.stderr
        other.start()
        assert asyncio.run(whoami(other, user[1])) == user[0]
        other.stop()
    with postgres.connected("target") as cursor:
        cursor.execute("SELECT to_regclass('others.kept'), to_regclass('\"not Synapse''s\"')")
        assert cursor.fetchone() == (None, None)
        cursor.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchall() == [("synapse",)]
    postgres.execute("DROP DATABASE origin", "DROP DATABASE target")


async def registered(server: Server) -> tuple[str, str]:
    """Register a user. Returns its name and its token."""
    async with Clients(server.base_url) as clients:
        user = await clients.register("user")
        return user.user_id, str(user.nio.access_token)


async def whoami(server: Server, token: str) -> str:
    async with Clients(server.base_url) as clients:
        user = clients.resume("@unknown:localhost", token)
        return str((await user.call("GET", f"{CLIENT}/account/whoami"))["user_id"])


def test_ganglion_waits_for_servers_that_start_later(postgres: Postgres, redis: Redis) -> None:
    right = (
        "CREATE DATABASE synapse OWNER synapse TEMPLATE template0 ENCODING 'UTF8'"
        " LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    postgres.execute(right)
    postgres.stop()
    redis.stop()
    with Server("event_persister, client_reader", environment(postgres, redis)) as server:
        server.launch()
        server.log.wait_for(rf"waiting for PostgreSQL at 127\.0\.0\.1:{postgres.port}")
        postgres.start()
        server.log.wait_for(rf"waiting for Redis at 127\.0\.0\.1:{redis.port}")
        redis.start()
        server.wait_ready()
        names = {row["name"] for row in server.status()}
        assert names == {"main", "event_persister1", "client_reader1", "nginx", "control"}
        asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        assert not (server.data / "postgres").exists()
        log = server.log.text()
        assert PASSWORD not in log
        assert REDIS_PASSWORD not in log


def test_a_reset_replaces_only_synapses_tables(postgres: Postgres, redis: Redis) -> None:
    """The role cannot create databases, and others may have tables in this one."""
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    if redis.process is None:
        redis.start()
    postgres.execute(f"CREATE DATABASE tested OWNER synapse {right}")
    with ControlledServer(
        "client_reader", environment(postgres, redis) | {"POSTGRES_DB": "tested"}
    ) as server:
        server.start()
        with postgres.connected("tested") as cursor:
            cursor.execute("CREATE SCHEMA others CREATE TABLE kept (a int)")
            cursor.execute("CREATE TABLE public.kept (a int)")
            cursor.execute("CREATE EXTENSION pg_trgm")
        for _ in range(2):
            alice, bob = server.users(2)
            assert (alice.localpart, bob.localpart) == ("user1", "user2")
            alice.create_room()
            server.control("/test/reset")
            assert alice.call("GET", f"{CLIENT}/account/whoami", expect=None) == 401
        with postgres.connected("tested") as cursor:
            cursor.execute("SELECT count(*) FROM others.kept, public.kept")
            cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'")
            assert cursor.fetchone() == (1,)
            cursor.execute("SELECT count(*) FROM users")
            assert cursor.fetchone() == (0,)
        server.stop()
    # With a new data directory, the database itself says that it is a test server's.
    with Server("none", environment(postgres, redis) | {"POSTGRES_DB": "tested"}) as server:
        refused = server.ganglion("run")
        assert refused.returncode == 2
        assert "the data in tested at 127.0.0.1 were made in test mode" in refused.stderr


def test_test_mode_leaves_a_database_that_is_not_of_tests(postgres: Postgres, redis: Redis) -> None:
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    if redis.process is None:
        redis.start()
    postgres.execute(f"CREATE DATABASE production OWNER synapse {right}")
    with postgres.connected("production") as cursor:
        cursor.execute("CREATE TABLE schema_version (version int)")
    variables = environment(postgres, redis) | {"POSTGRES_DB": "production"}
    with ControlledServer("none", variables) as server:
        refused = server.ganglion("run")
        assert refused.returncode == 2
        assert (
            "the data in production at 127.0.0.1 were made outside of test mode" in refused.stderr
        )
        assert not list(server.data.glob("*.signing.key"))
        wrong = server.ganglion("run", GANGLION_SWITCH_TEST_MODE="example.org")
        assert wrong.stderr.endswith(refused.stderr)
        with postgres.connected("production") as cursor:
            cursor.execute("SELECT to_regclass('ganglion_test_mode') IS NULL")
            assert cursor.fetchone() == (True,)


def test_a_start_moves_sequences_forward_that_are_behind_their_streams(
    postgres: Postgres, redis: Redis
) -> None:
    """After a failover to a server that replicates no sequences, all begin anew."""
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    for dependency in (postgres, redis):
        if dependency.process is None:
            dependency.start()
    postgres.execute(f"CREATE DATABASE behind OWNER synapse {right}")
    variables = environment(postgres, redis) | {"POSTGRES_DB": "behind"}
    with Server("none", variables) as server:
        server.start()
        asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        server.stop()
        with postgres.connected("behind") as cursor:
            cursor.execute(
                "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
                " AND relname <> 'user_id_seq'"
            )
            cursor.execute("SELECT max(stream_id) FROM stream_positions WHERE stream_name='events'")
            ((position,),) = cursor.fetchall()
        mark = server.log.mark()
        server.start()
        server.log.wait_for(
            # Synapse has moved the first one as far as its tables require.
            r"The sequence receipts_sequence was at 0, behind \d+ in stream_positions of receipts;"
            r" it would have given out numbers again\. It was moved forward;",
            mark,
        )
        asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        server.stop()
        with postgres.connected("behind") as cursor:
            cursor.execute("SELECT last_value FROM events_stream_seq")
            assert cursor.fetchall()[0][0] > position
    postgres.execute("DROP DATABASE behind")


def test_stop_while_waiting(postgres: Postgres, redis: Redis) -> None:
    nowhere = {"POSTGRES_PORT": str(free_port())}
    with Server("none", environment(postgres, redis) | nowhere) as server:
        server.launch()
        server.log.wait_for("waiting for PostgreSQL")
        server.stop()


def test_a_database_has_one_server(postgres: Postgres, redis: Redis) -> None:
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    for dependency in (postgres, redis):
        if dependency.process is None:
            dependency.start()
    postgres.execute(f"CREATE DATABASE single OWNER synapse {right}")
    variables = environment(postgres, redis) | {"POSTGRES_DB": "single"}
    with Server("none", variables) as first, Server("none", variables) as second:
        first.start()
        refused = second.ganglion("run", GANGLION_WAIT="2s")
        assert refused.returncode == 2
        assert "another server uses it, at 127.0.0.1" in refused.stderr
        assert not (second.data / "server.json").exists()

        # The lock outlives a restart of PostgreSQL.
        mark = first.log.mark()
        postgres.stop()
        postgres.start()
        first.log.wait_for("the database is locked again", mark)
        assert second.ganglion("run", GANGLION_WAIT="2s").returncode == 2

        # Once the first is gone, however it went, the second may have it.
        first.kill()
        second.start()
        second.stop()


def test_requests_wait_for_a_database_that_is_away(postgres: Postgres, redis: Redis) -> None:
    """For longer than a process may hang, whose health is another matter. Not without an end."""
    for dependency in (postgres, redis):
        if dependency.process is None:
            dependency.start()
    right = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres.execute(f"CREATE DATABASE waited OWNER synapse {right}")
    # A process whose threads wait must end long before this.
    variables = {"POSTGRES_DB": "waited", "GANGLION_WATCHDOG": "2s", "GANGLION_STOP_TIMEOUT": "90"}
    with ControlledServer("client_reader", environment(postgres, redis) | variables) as server:
        server.start()
        (alice,) = server.users(1)
        pids = {row["name"]: row["pid"] for row in server.status()}
        # No process keeps them in a cache.
        devices = f"{CLIENT}/devices"
        alice.call("GET", devices)

        mark = server.log.mark()
        postgres.stop()
        room_ids: list[str] = []
        creating = threading.Thread(target=lambda: room_ids.append(alice.create_room()))
        creating.start()
        server.log.wait_for("does not answer; requests wait for it", mark)
        time.sleep(AWAY)
        postgres.start()
        creating.join(WITHIN)
        assert room_ids
        server.log.wait_for("answers again after", mark)
        assert {row["name"]: row["pid"] for row in server.status()} == pids

        # Later ones fail at once, and all works again once it is back.
        mark = server.log.mark()
        postgres.stop()
        assert alice.call("GET", devices, expect=None) == 500
        server.log.wait_for("has not answered for 10 s; requests fail", mark)
        assert {row["name"]: row["pid"] for row in server.status()} == pids
        postgres.start()
        wait_until("it to answer", lambda: alice.call("GET", devices, expect=None) == 200)

        # A process that is to end waits no longer.
        mark = server.log.mark()
        postgres.stop()
        with alice.asking(devices, at="client_reader1"):
            server.log.wait_for("does not answer; requests wait for it", mark)
            server.stop()
        # The main process may still be waiting since the last time, with its own end of patience.
        own = [line for line in server.log.text(mark).splitlines() if "client_reader1 |" in line]
        assert not [line for line in own if "has not answered for" in line]
    postgres.start()


def test_a_server_whose_lock_another_one_got_stops(postgres: Postgres, redis: Redis) -> None:
    if postgres.process is None:
        postgres.start()
    postgres.execute("CREATE DATABASE taken OWNER synapse")
    variables = environment(postgres, redis) | {"POSTGRES_DB": "taken"}
    settings = from_environ(variables, str)
    where = arguments(settings)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    thread = threading.Thread(
        target=database_lock.hold, args=(where, 0.0, lines.put), kwargs={"lost": 3.0}, daemon=True
    )
    thread.start()
    assert lines.get(timeout=WITHIN) == database_lock.HELD
    with contextlib.closing(psycopg2.connect(**where)) as other, other.cursor() as cursor:
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'ganglion lock'"
        )
        cursor.execute("SELECT pg_advisory_lock(%s)", (database_lock.KEY,))
        assert "was lost" in lines.get(timeout=WITHIN)
        assert lines.get(timeout=WITHIN).startswith("stop another server uses it, at 127.0.0.1")
    thread.join(WITHIN)
    assert not thread.is_alive()
