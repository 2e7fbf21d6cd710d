"""`ganglion doctor` on a real server: healthy it is quiet, and each breakage is found and repaired.

The repair is the command that the doctor prints, typed into a shell as it stands.
"""

import json
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ganglion.doctor.content import megabytes
from ganglion.doctor.table import CHECKS
from tests.harness import WITHIN, Server, free_port, wait_until
from tests.raw_http import raw_request

PSQL = "/usr/lib/postgresql/{version}/bin/psql"
# Enough for a machine that does ten other things.
PATIENCE = ("--wait", "60")
# Checks of the machine, whose state is not the server's: its disk may be nearly full.
OF_MACHINE = ("disk", "memory")
OF_SERVER = tuple(check.name for check in CHECKS if check.name not in OF_MACHINE)


# A module of Synapse that stops the handling of replicated rows in one worker while a file exists.
STALL = """
import os

class Stall:
    def __init__(self, config, api):
        hs = api._hs
        if hs.get_instance_name() != "synchrotron1":
            return
        data = hs.get_replication_data_handler()
        handle = data.on_rdata

        async def on_rdata(stream, writer, token, rows):
            while os.path.exists({flag!r}):
                await api.sleep(0.05)
            await handle(stream, writer, token, rows)

        data.on_rdata = on_rdata
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with workers for all tests here. Each repairs what it breaks.

    No watchdog replaces the processes that tests freeze.
    """
    environment = {
        "SYNAPSE_ENABLE_METRICS": "yes",
        "CONTROL_PORT": str(free_port()),
        "GANGLION_WATCHDOG": "0",
    }
    with Server("pusher, synchrotron", environment, "modules: [{module: stall.Stall}]") as server:
        (server.data / "modules").mkdir()
        flag = server.root / "stalled"
        (server.data / "modules" / "stall.py").write_text(STALL.format(flag=str(flag)))
        server.start()
        wait_until("end of background updates", lambda: updates(server) == "0")
        make_room(server)
        yield server


def token_of_administrator(server: Server) -> str:
    """Register an administrator if there is none, and log in."""
    password = "secret-of-admin"
    server.ganglion("register-user", "admin", "--admin", stdin=f"{password}\n")
    user = {"type": "m.id.user", "user": "admin"}
    login = {"type": "m.login.password", "identifier": user, "password": password}
    return str(post(server, "/_matrix/client/v3/login", login)["access_token"])


def make_room(server: Server, name: str = "alice") -> None:
    """Register a user and make a room, so that there are events."""
    user = post(
        server,
        "/_matrix/client/v3/register",
        {"username": name, "password": f"secret-of-{name}", "auth": {"type": "m.login.dummy"}},
    )
    post(server, "/_matrix/client/v3/createRoom", {}, user["access_token"])


def post(server: Server, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    answer = raw_request(server.http_port, "POST", path, headers, json.dumps(body).encode())
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def sql(server: Server, *statements: str) -> str:
    """Run statements as the embedded server's administrator."""
    version = (server.data / "postgres" / "PG_VERSION").read_text().strip()
    command = [PSQL.format(version=version), "-XAtq", "-v", "ON_ERROR_STOP=1"]
    command += ["-h", str(server.run / "postgres"), "-d", "synapse"]
    account = pwd.getpwuid((server.data / "postgres").stat().st_uid)
    answer = subprocess.run(
        [*command, *(word for statement in statements for word in ("-c", statement))],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=WITHIN,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def updates(server: Server) -> str:
    return sql(server, "SELECT count(*) FROM background_updates")


def doctor(server: Server, *checks: str, status: int | None = None) -> list[dict[str, Any]]:
    """Return the findings of some checks, or of all that judge the server."""
    answer = server.ganglion("doctor", "--json", *PATIENCE, *(checks or OF_SERVER))
    assert answer.stderr == ""
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    assert status is None or answer.returncode == status, faults(found)
    return found


def faults(found: list[dict[str, Any]]) -> list[str]:
    return [
        f"{item['check']}: {item['message']}"
        for item in found
        if item["level"] not in ("ok", "skipped")
    ]


def repair(server: Server, command: str) -> None:
    """Type a command into a shell of the machine that the server runs on."""
    if "TOKEN-OF-AN-ADMINISTRATOR" in command:
        command = command.replace("TOKEN-OF-AN-ADMINISTRATOR", token_of_administrator(server))
    answer = subprocess.run(
        ["bash", "-c", command],
        env=server.environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert answer.returncode == 0, f"{command}: {answer.stdout}{answer.stderr}"


def test_a_healthy_server_is_quiet(server: Server) -> None:
    assert faults(doctor(server, status=0)) == []


def test_the_text_names_every_check_that_applies(server: Server) -> None:
    answer = server.ganglion("doctor", *PATIENCE, *OF_SERVER)
    assert answer.returncode == 0
    found = doctor(server)
    good = [item["check"] for item in found if item["level"] == "ok"]
    lines = answer.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == good
    assert lines[-1].startswith(f"{len(good)} ✓, 0 !, 0 ✗; not applicable: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """One thing that is broken in the database, and its line in the doctor's words.

    `repairs` is whether the printed command is typed; else `undo` repairs it.
    """

    check: str
    level: str
    message: str
    broken: tuple[str, ...]
    undo: tuple[str, ...] = ()
    repairs: bool = True
    findings: int = 1


INDEX = "event_to_state_groups_sg_index"
INVALID = f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{INDEX}'::regclass"  # noqa: S608
# Two sequences at their first number, and a position that a third has not reached.
SET_BACK = """
    INSERT INTO stream_positions VALUES ('pushers', 'gone', 1000);
    SELECT setval('events_stream_seq', 1), setval('state_group_id_seq', 1)
"""
# An order that changes under an index, as that of texts does with another C library.
FICKLE = """
    CREATE FUNCTION fickle(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT
        AS 'SELECT sign($1 - $2)::int';
    CREATE OPERATOR CLASS fickle_ops FOR TYPE int USING btree AS
        OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
        FUNCTION 1 fickle(int, int);
    CREATE TABLE shelf (number int);
    ALTER TABLE shelf OWNER TO synapse;
    INSERT INTO shelf SELECT generate_series(1, 1000);
    CREATE INDEX shelf_order ON shelf (number fickle_ops);
    CREATE OR REPLACE FUNCTION fickle(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT
        AS 'SELECT sign($2 - $1)::int'
"""
BREAKAGES = (
    Breakage(
        check="database",
        level="error",
        message="the database takes no writes: default_transaction_read_only is on",
        broken=("ALTER DATABASE synapse SET default_transaction_read_only = on",),
    ),
    Breakage(
        check="sequences",
        level="error",
        message="the sequence ",
        broken=(SET_BACK,),
        findings=3,
    ),
    Breakage(
        check="indexes",
        level="error",
        message="the index shelf_order is corrupt: item order invariant violated",
        broken=(FICKLE,),
        undo=(
            "DROP TABLE shelf",
            "DROP OPERATOR FAMILY fickle_ops USING btree CASCADE",
            "DROP FUNCTION fickle",
        ),
    ),
    Breakage(
        check="indexes",
        level="warning",
        message=f"the index {INDEX} is invalid",
        broken=(INVALID,),
    ),
    Breakage(
        check="background-updates",
        level="error",
        message="the background update of_another_server is not one of the installed Synapse",
        broken=(
            (
                "INSERT INTO background_updates (update_name, progress_json)"
                " VALUES ('of_another_server', '{}')"
            ),
        ),
    ),
    Breakage(
        check="bloat",
        level="warning",
        message="attic has 60000 dead rows beside ",
        broken=(
            (
                "CREATE TABLE attic WITH (autovacuum_enabled = off) AS"
                " SELECT generate_series(1, 60000) AS number"
            ),
            "ALTER TABLE attic OWNER TO synapse",
            "UPDATE attic SET number = number + 1",
        ),
        undo=("DROP TABLE attic",),
    ),
    Breakage(
        check="destinations",
        level="warning",
        message="1 server has not answered for more than a day: gone.example.org (2 d)",
        broken=(
            (
                "INSERT INTO destinations (destination, failure_ts, retry_last_ts, retry_interval)"
                " SELECT 'gone.example.org', now - 2 * 86400000, now, 3600000"
                " FROM (SELECT (extract(epoch FROM now()) * 1000)::bigint) AS t (now)"
            ),
        ),
        undo=("DELETE FROM destinations WHERE destination = 'gone.example.org'",),
    ),
    Breakage(
        check="collation",
        level="warning",
        message="the database synapse was made with collation version 0.1",
        broken=("UPDATE pg_database SET datcollversion = '0.1' WHERE datname = 'synapse'",),
    ),
    Breakage(
        check="clock",
        level="error",
        message="the newest event came ",
        broken=(
            (
                "CREATE TABLE kept AS SELECT event_id, received_ts FROM events"
                " ORDER BY stream_ordering DESC LIMIT 1"
            ),
            (
                "UPDATE events SET received_ts = received_ts + 9000000 WHERE event_id IN"
                " (SELECT event_id FROM kept)"
            ),
        ),
        undo=(
            (
                "UPDATE events SET received_ts = kept.received_ts FROM kept"
                " WHERE kept.event_id = events.event_id"
            ),
            "DROP TABLE kept",
        ),
        repairs=False,
    ),
)


@pytest.mark.parametrize(
    "breakage", BREAKAGES, ids=[f"{item.check}-{item.level}" for item in BREAKAGES]
)
def test_what_is_broken_in_the_database_is_found_and_repaired(
    server: Server, breakage: Breakage
) -> None:
    sql(server, *breakage.broken)
    try:
        # The statistics of the last transactions come a little later.
        wait_until(f"fault of {breakage.check}", lambda: faults(doctor(server, breakage.check)))
        found, *more = doctor(server, breakage.check)
        assert found["level"] == breakage.level
        assert breakage.message in found["message"]
        assert len(more) == breakage.findings - 1
        if breakage.repairs:
            repair(server, found["fix"][0])
            assert faults(doctor(server, breakage.check, status=0)) == []
    finally:
        if breakage.undo:
            sql(server, *breakage.undo)
    assert faults(doctor(server, breakage.check, status=0)) == []


def test_a_worker_that_answers_and_whose_streams_stand(server: Server) -> None:
    flag = server.root / "stalled"
    flag.touch()
    try:
        make_room(server, "bob")
        assert faults(doctor(server, "processes")) == []
        (found,) = doctor(server, "streams", status=2)
        assert found["message"].startswith("synchrotron1 answers, and its position stands in ")
        assert found["fix"] == ["ganglion restart synchrotron1"]
    finally:
        flag.unlink()
    wait_until("end of the stall", lambda: not faults(doctor(server, "streams")))


@pytest.mark.parametrize(
    ("process", "check", "message"),
    [
        ("pusher1", "processes", "pusher1 runs and does not answer: "),
        ("redis", "streams", "Redis does not answer: "),
        ("postgres", "database", "PostgreSQL does not answer (the embedded server): it accepts no"),
    ],
)
def test_a_process_that_hangs(server: Server, process: str, check: str, message: str) -> None:
    pid = server.pid(process)
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = server.ganglion("doctor", "--json", "--wait", "10", *OF_SERVER)
        assert answer.returncode == 2
        found = [item for item in json.loads(answer.stdout) if item["level"] == "error"]
        # Nothing else is blamed, and all others are checked meanwhile.
        assert [item["check"] for item in found] == [check]
        assert found[0]["message"].startswith(message)
        command = "ganglion restart pusher1" if process == "pusher1" else "docker restart NAME "
        assert found[0]["fix"][0].startswith(command)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until("answer", lambda: not faults(doctor(server, "processes", "streams", "database")))


@pytest.mark.parametrize(
    ("check", "name", "mode"),
    [
        ("file-modes", "secrets/form_secret", 0o644),
        ("file-modes", "postgres", 0o755),
        ("media-store", "media_store", 0o500),
    ],
)
def test_a_file_with_a_wrong_mode(server: Server, check: str, name: str, mode: int) -> None:
    path = server.data / name
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        (found,) = doctor(server, check, status=2)
        assert str(path) in found["message"]
        repair(server, found["fix"][0])
        assert faults(doctor(server, check, status=0)) == []
    finally:
        path.chmod(before)


def test_the_machine_is_measured(server: Server) -> None:
    found = doctor(server, *OF_MACHINE)
    size = os.statvfs(server.data).f_blocks * os.statvfs(server.data).f_frsize
    (disk,) = [item["message"] for item in found if item["check"] == "disk"]
    assert f" left of {megabytes(size)}" in disk
    assert [item for item in found if item["check"] == "memory"]


def test_other_workers_than_those_that_run(server: Server) -> None:
    answer = server.ganglion("doctor", "workers", WORKERS="pusher")
    assert answer.returncode == 1
    assert "synchrotron=synchrotron:1 runs, and pusher=pusher:1 would start" in answer.stdout


def test_a_broken_file_on_a_running_server_is_the_only_fault(server: Server) -> None:
    broken = server.data / "homeserver.d" / "90-broken.yaml"
    broken.write_text("server_name: [\n")
    try:
        (found,) = faults(doctor(server, status=2))
    finally:
        broken.unlink()
    assert found.startswith(f"configuration: {broken}: cannot be read: ")


def test_no_secret_is_printed(server: Server) -> None:
    printed = server.ganglion("doctor", "--all", *PATIENCE).stdout
    directories = (server.data / "secrets", server.run / "conf" / "secrets")
    secrets = [path.read_text().strip() for place in directories for path in place.iterdir()]
    assert len(secrets) > 8
    assert not [text for text in secrets if text.rpartition(":")[2] in printed]


def test_state_groups_that_nothing_references(server: Server) -> None:
    sql(
        server,
        "INSERT INTO state_groups (id, room_id, event_id)"
        " SELECT 1000000 + n, '!gone:localhost', '$gone' FROM generate_series(1, 30000) n",
        "SELECT setval('state_group_id_seq', 2000000)",
        "ANALYZE state_groups",
    )
    (found,) = doctor(server, "state-groups", status=1)
    assert found["message"].startswith("about 30")
    assert found["message"].endswith("state groups are used by nothing")
    repair(server, found["fix"][0])
    assert found["fix"][1].startswith("ganglion restart main ")
    assert server.ganglion("restart", "main").returncode == 0
    # Synapse marks them all, and deletes them some days later.
    wait_until("end of background updates", lambda: updates(server) == "0")
    assert faults(doctor(server, "state-groups", "compression", status=0)) == []


def test_a_stopped_installation_is_checked_without_a_start(server: Server) -> None:
    server.stop()
    before = sorted(path.name for path in Path(server.run).iterdir())
    try:
        found = doctor(server, status=0)
        assert faults(found) == []
        skipped = {item["check"]: item["message"] for item in found if item["level"] == "skipped"}
        assert skipped["database"] == "the embedded database is stopped"
        assert sorted(path.name for path in Path(server.run).iterdir()) == before
    finally:
        server.start()
